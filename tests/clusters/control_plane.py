"""A real Kubernetes control plane for tests: API server, controllers, scheduler, etcd; nodes and pods by KWOK.

Everything listens on loopback, on ports that were free a moment ago, and keeps its files in one folder. Nothing
needs root. Processes are ended by the pid with which they were started, however the test ends.
"""

from __future__ import annotations

import base64
import csv
import datetime as dt
import ipaddress
import json
import secrets
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["ADMIN", "OBSERVER", "PROMOTER", "ControlPlane", "control_plane", "nodes"]

ADMIN: Final = "admin"
OBSERVER: Final = "twin-observer"  # May do what its role says, and has none until a test gives it one.
PROMOTER: Final = "twin-promoter"
_CONTROLLERS: Final = "system:kube-controller-manager"
_SCHEDULER: Final = "system:kube-scheduler"
_KWOK: Final = "kwok"
_MASTERS: Final = frozenset({ADMIN, _KWOK})
START_MAX_S: Final = 90.0
STOP_MAX_S: Final = 15.0
LOG_LINES: Final = 15


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where it is, and who may speak to it."""

    server: str  # https://127.0.0.1:PORT
    ca_file: Path
    tokens: dict[str, str]  # by user
    folder: Path
    kill_server: Callable[[], None] = field(repr=False)  # -9, in the middle of whatever it does
    start_server: Callable[[], None] = field(repr=False)  # again, where it was; returns when it is ready

    def kubeconfig(self, user: str) -> Path:
        """A kubeconfig of that user's, as kubectl and clients read it."""
        return self.folder / f"{user.rpartition(':')[2]}.kubeconfig"


@contextmanager
def control_plane(programs: Path, folder: Path) -> Iterator[ControlPlane]:
    """Start it, and stop it in the end. `programs`: what deploy/test-clusters/control-plane/build.sh made.

    Raises RuntimeError, with the end of its log, if a part does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    etcd_port, peer_port, api_port, controllers_port, scheduler_port, kwok_port = _free_ports(6)
    _write_certificates(folder)
    tokens = {user: secrets.token_hex(16) for user in (ADMIN, OBSERVER, PROMOTER, _CONTROLLERS, _SCHEDULER, _KWOK)}
    servers: list[subprocess.Popen[bytes]] = []

    def kill_server() -> None:
        servers[-1].kill()
        servers[-1].wait(STOP_MAX_S)

    def start_server() -> None:
        servers.append(start("kube-apiserver", *server_arguments))
        _await(f"{plane.server}/readyz", servers[-1], folder / "kube-apiserver.log", plane=plane)

    plane = ControlPlane(
        f"https://127.0.0.1:{api_port}", folder / "ca.crt", tokens, folder, kill_server, start_server
    )  # fmt: skip
    _write_tokens(plane)
    server_arguments = [
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1", f"--secure-port={api_port}", "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # It would refuse to advertise a loopback address.
        f"--tls-cert-file={folder / 'server.crt'}", f"--tls-private-key-file={folder / 'server.key'}",
        f"--client-ca-file={folder / 'ca.crt'}", f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC", "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'accounts.pub'}",
        f"--service-account-signing-key-file={folder / 'accounts.key'}",
    ]  # fmt: skip
    with ExitStack() as running:

        def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
            log = running.enter_context((folder / f"{program}.log").open("ab"))
            process = subprocess.Popen(
                [programs / program, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
            running.callback(_stop, process)
            return process

        etcd = start(
            "etcd", "--name=etcd", f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd_port}", f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=etcd=http://127.0.0.1:{peer_port}",
            "--unsafe-no-fsync=true",  # Nobody needs this data tomorrow.
            "--log-level=warn",
        )  # fmt: skip
        _await(f"http://127.0.0.1:{etcd_port}/health", etcd, folder / "etcd.log")
        start_server()
        controllers = start(
            "kube-controller-manager", *_credentials(plane, _CONTROLLERS),
            "--bind-address=127.0.0.1", f"--secure-port={controllers_port}", "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={folder / 'accounts.key'}", f"--root-ca-file={folder / 'ca.crt'}",
        )  # fmt: skip
        scheduler = start(
            "kube-scheduler", *_credentials(plane, _SCHEDULER),
            "--bind-address=127.0.0.1", f"--secure-port={scheduler_port}", "--leader-elect=false",
        )  # fmt: skip
        kwok = start(
            "kwok", f"--kubeconfig={plane.kubeconfig(_KWOK)}", f"--config={programs / 'kwok-stages.yaml'}",
            "--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-lease-duration-seconds=40", f"--server-address=127.0.0.1:{kwok_port}",
        )  # fmt: skip
        for url, process, log in (
            (f"https://127.0.0.1:{controllers_port}/healthz", controllers, "kube-controller-manager.log"),
            (f"https://127.0.0.1:{scheduler_port}/healthz", scheduler, "kube-scheduler.log"),
            (f"http://127.0.0.1:{kwok_port}/healthz", kwok, "kwok.log"),
        ):
            _await(url, process, folder / log)
        yield plane


def _credentials(plane: ControlPlane, user: str) -> list[str]:
    """A component asks the server for itself, and asks it who those are who ask the component."""
    path = plane.kubeconfig(user)
    return [f"--kubeconfig={path}", f"--authentication-kubeconfig={path}", f"--authorization-kubeconfig={path}"]


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. All are held until all are found, so no two are the same."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_MAX_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_MAX_S)


def _await(url: str, process: subprocess.Popen[bytes], log: Path, *, plane: ControlPlane | None = None) -> None:
    """Until it answers 200. With `plane` as its administrator, certificate checked; else a part's own health, whose
    certificate it has made for itself."""
    request = urllib.request.Request(url)
    context = ssl._create_unverified_context() if url.startswith("https") else None
    if plane is not None:
        request.add_header("Authorization", f"Bearer {plane.tokens[ADMIN]}")
        context = ssl.create_default_context(cafile=str(plane.ca_file))
    end_s = time.monotonic() + START_MAX_S
    said = "no answer"
    while time.monotonic() < end_s and process.poll() is None:
        try:
            with urllib.request.urlopen(request, context=context, timeout=3.0):
                return
        except (urllib.error.URLError, OSError) as error:
            said = str(error)
        time.sleep(0.05)
    how = f"ended with code {process.poll()}" if process.poll() is not None else f"is not ready: {said}"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
    raise RuntimeError(f"{log.stem} {how}\n{tail}")


def _write_tokens(plane: ControlPlane) -> None:
    """The server's list of bearer tokens, and a kubeconfig for each user."""
    with (plane.folder / "tokens.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        for user, token in plane.tokens.items():
            rows.writerow([token, user, user, *(["system:masters"] if user in _MASTERS else [])])
    authority = base64.b64encode(plane.ca_file.read_bytes()).decode()
    for user, token in plane.tokens.items():
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [
                {"name": "test", "cluster": {"server": plane.server, "certificate-authority-data": authority}}
            ],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "me"}}],
        }
        path = plane.kubeconfig(user)
        path.write_text(json.dumps(document))
        path.chmod(0o600)


def _write_certificates(folder: Path) -> None:
    """An authority, a certificate for the server on loopback, and the keys of service accounts."""
    authority_key, server_key, accounts_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    authority = (
        _certificate(authority_name, authority_key.public_key(), authority_name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = [
        x509.DNSName("localhost"),
        *(x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", "10.96.0.1")),
    ]
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    server = (
        _certificate(server_name, server_key.public_key(), authority_name)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    for name, certificate in (("ca.crt", authority), ("server.crt", server)):
        (folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    for name, key in (("server.key", server_key), ("accounts.key", accounts_key)):
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )
    (folder / "accounts.pub").write_bytes(
        accounts_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _certificate(subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)  # noqa: TID251 - certificates know no other clock
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
    )


def nodes(count: int) -> Sequence[dict[str, object]]:
    """Machines that exist in the API only, with room for 32 cores and 110 pods each."""
    room = {"cpu": "32", "memory": "128Gi", "pods": "110"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"fake-{number}",
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {
                    "kubernetes.io/hostname": f"fake-{number}",
                    "kubernetes.io/os": "linux",
                    "beta.kubernetes.io/os": "linux",  # Kubelets still write it, and old manifests ask for it.
                    "topology.kubernetes.io/zone": f"zone-{number % 3}",
                },
            },
            "status": {"allocatable": room, "capacity": room},
        }
        for number in range(count)
    ]
