"""One shadow on a real kind cluster for all tests of a process, and who may speak to it."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.clusters.kind import GATES, docker_engine, node_image
from tests.clusters.shop import await_that
from tests.real import require_tool
from twin.kube.kind import KindCluster
from twin.kube.pool import PoolSettings, ShadowPool
from twin.kube.shadow import KubeShadow

__all__ = ["NAME", "kind_cluster", "kubeconfig_of", "shadow_pool", "users_over"]

NAME = "test"


@contextmanager
def shadow_pool(folder: Path) -> Iterator[ShadowPool]:
    """A pool with one shadow in it, taken away in the end. In CI a missing engine or image fails."""
    archive, _ = require_tool("kind-node"), require_tool("dockerd")
    with docker_engine(archive.parent):
        pool = ShadowPool(
            folder / "shadows", cache=archive.parent.parent,
            settings=PoolSettings(image=node_image(archive), gates=GATES),
        )  # fmt: skip
        pool.down(NAME)  # Whatever a killed run left.
        pool.up(NAME)
        try:
            yield pool
        finally:
            pool.down(NAME)


def kind_cluster(pool: ShadowPool) -> KindCluster:
    """The cluster under that shadow, to do things to its nodes."""
    return KindCluster(f"twin-{NAME}", pool.folder / f"{NAME}.kubeconfig")


def users_over(shadow: KubeShadow, duration_s: float) -> tuple[float, float]:
    """Users who came during a while, and who of them were let down, on all journeys."""
    first = shadow.users()
    shadow.sleep(duration_s)
    counts = [count.since(first[name]) for name, count in shadow.users().items()]
    return sum(count.came for count in counts), sum(count.let_down for count in counts)


def kubeconfig_of(user: str, *, admin: Path, folder: Path) -> Path:
    """A kubeconfig of a user whom the cluster has just been made to know, by a certificate that it signed."""
    kubectl = require_tool("control-plane") / "kubectl"

    def ask(*arguments: str, text: str | None = None) -> str:
        command = [kubectl, f"--kubeconfig={admin}", *arguments]
        return subprocess.run(command, input=text, check=True, capture_output=True, text=True, timeout=60.0).stdout

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    asked = {
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": user},
        "spec": {
            "request": base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
        },
    }  # fmt: skip
    ask("delete", "csr", user, "--ignore-not-found")
    ask("create", "-f", "-", text=json.dumps(asked))
    ask("certificate", "approve", user)
    signed: list[str] = []

    def is_signed() -> bool:
        signed[:] = [ask("get", "csr", user, "-o", "jsonpath={.status.certificate}")]
        return bool(signed[0])

    await_that(f"{user} has a certificate", is_signed)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    document = json.loads(ask("config", "view", "--raw", "-o", "json"))
    document["users"] = [
        {
            "name": document["users"][0]["name"],
            "user": {"client-certificate-data": signed[0], "client-key-data": base64.b64encode(private).decode()},
        }
    ]
    path = folder / f"{user}.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(document))
    return path
