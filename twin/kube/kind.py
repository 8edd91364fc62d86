"""kind: a Kubernetes cluster whose nodes are containers. Made, filled with images and taken away by its own program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twin.kube.api import LiveKubeApi
from twin.kube.walls import close_nodes, somebody_at
from twin.ports.plant import KubeObject
from twin.spec.errors import ComponentMissing, TwinError

__all__ = ["KindCluster", "clusters", "create_cluster", "delete_cluster"]

CREATE_MAX_S: Final = 300.0
COMMAND_MAX_S: Final = 120.0
PREFIX: Final = "twin-"  # of every cluster that we make; others are never touched


@dataclass(frozen=True, slots=True)
class KindCluster:
    """`name` as kind knows it, and a kubeconfig of its administrator."""

    name: str
    kubeconfig: Path

    @property
    def remedy(self) -> str:
        return "see the nodes' iptables"

    def load_images(self, archive: Path) -> None:
        """Give an image archive's images to every node. Raises ComponentMissing, TwinError."""
        _run("kind", ["load", "image-archive", str(archive), "--name", self.name])

    def nodes(self) -> list[str]:
        """The nodes' containers, in order. Raises ComponentMissing, TwinError."""
        return sorted(_run("kind", ["get", "nodes", "--name", self.name]).split())

    def on_node(self, node: str, command: Sequence[str]) -> str:
        """Run a command in a node. Returns what it prints. Raises TwinError if it fails."""
        return _run("docker", ["exec", node, *command])

    def stop_node(self, node: str) -> None:
        """Let a node stand still, as a machine that hangs: its kubelet is not heard of any more."""
        _run("docker", ["pause", node])

    def start_node(self, node: str) -> None:
        _run("docker", ["unpause", node])

    def close(self, api: LiveKubeApi) -> None:
        close_nodes(api, self.on_node)

    def walls(self, namespace: str) -> list[KubeObject]:
        """None: the nodes are closed."""
        return []

    def outside(self) -> AbstractContextManager[str]:
        """A port of this machine, open as long as the block runs."""
        return somebody_at(self._gateway())

    def _gateway(self) -> str:
        """The address under which a node sees the machine that it runs on."""
        told = json.loads(_run("docker", ["inspect", self.nodes()[0]]))
        networks: Mapping[str, Any] = told[0]["NetworkSettings"]["Networks"]
        return str(next(one["Gateway"] for _, one in sorted(networks.items()) if one["Gateway"]))


def create_cluster(
    name: str, folder: Path, *, image: str | None = None, workers: int = 0, gates: Mapping[str, bool] = {}
) -> KindCluster:
    """Make a cluster; its kubeconfig lies in `folder`. `image`: the nodes' image, or kind's own choice. `gates`:
    feature gates. What is half made is taken away again.

    Raises ComponentMissing (no kind, no Docker), TwinError (it did not come up, or there is one of that name).
    """
    whole = f"{PREFIX}{name}"
    if whole in clusters():
        raise TwinError(f"there is a cluster {name} already", f"kind knows {whole}", f"twin shadow down --name {name}")
    node = {"image": image} if image else {}
    config = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "featureGates": dict(gates),
        "nodes": [{"role": "control-plane", **node}, *({"role": "worker", **node} for _ in range(workers))],
    }
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    cluster = KindCluster(whole, folder / f"{name}.kubeconfig")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(config, file)
        file.flush()
        arguments = ["create", "cluster", "--name", whole, "--config", file.name, "--wait", f"{CREATE_MAX_S:.0f}s"]
        try:
            _run("kind", [*arguments, "--kubeconfig", str(cluster.kubeconfig)], max_s=CREATE_MAX_S + 60.0)
        except BaseException:
            delete_cluster(cluster)
            raise
    return cluster


def delete_cluster(cluster: KindCluster) -> None:
    """Take it away with everything in it. Does nothing if it is not there. Raises ComponentMissing, TwinError."""
    _run("kind", ["delete", "cluster", "--name", cluster.name, "--kubeconfig", str(cluster.kubeconfig)])
    cluster.kubeconfig.unlink(missing_ok=True)


def clusters() -> list[str]:
    """Names of our clusters that are there. Raises ComponentMissing, TwinError."""
    return sorted(name for name in _run("kind", ["get", "clusters"]).split() if name.startswith(PREFIX))


def _run(program: str, arguments: Sequence[str], *, max_s: float = COMMAND_MAX_S) -> str:
    path = shutil.which(program)
    if path is None:
        raise ComponentMissing(
            f"there is no {program} here", f"a kind cluster needs the program {program}", "see: twin doctor"
        )
    try:
        done = subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=max_s, check=False, stdin=subprocess.DEVNULL,
            env={**os.environ, "KIND_EXPERIMENTAL_PROVIDER": "docker"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TwinError(f"{program} {arguments[0]} does not end", f"after {max_s:g} s", "see: docker ps") from error
    if done.returncode == 0:
        return done.stdout
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    if any("docker" in line and ("daemon" in line or "connect" in line) for line in said):
        raise ComponentMissing("Docker does not answer", said[-1], "start it, or set DOCKER_HOST; see: docker ps")
    last = " | ".join(said[-3:]) or f"exit code {done.returncode}"
    raise TwinError(f"{program} {' '.join(arguments[:2])} failed", last, "see: docker ps; kind get clusters")
