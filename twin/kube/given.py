"""A cluster that somebody else made, given to us as a shadow by its context: for us alone, and closed by policies.

Its pods are kept inside by a network policy in each namespace, where its CNI enforces them, or by the network that its
nodes are on; which of the two it is does not matter, for a pod tries to get out before anything is believed.
"""

from __future__ import annotations

import shlex
import subprocess
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twin.kube.api import LiveKubeApi
from twin.kube.cluster import MANAGED
from twin.kube.kind import KindCluster
from twin.ports.plant import KubeObject
from twin.spec.errors import BadInput, ComponentMissing, TwinError
from twin.spec.fleet import WorkloadKind

__all__ = ["GivenCluster", "not_ours"]

KIND_CONTEXT: Final = "kind-"  # kind names its contexts so
ARCHIVE: Final = "{archive}"
LOAD_MAX_S: Final = 300.0
# Kubernetes' own, and what distributions and CNIs put beside it.
SYSTEM: Final = ("kube-", "local-path-storage", "calico-", "tigera-", "cilium", "twin-proof")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenCluster:
    """`beyond`: HOST:PORT of somebody whom its nodes can reach and its pods must not. `loader`: a command that gives
    the images in {archive} to its nodes, as "k3d image import {archive} -c dev"; a cluster of kind's needs none."""

    context: str
    beyond: str
    loader: str = ""

    def __post_init__(self) -> None:
        host, _, port = self.beyond.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise BadInput(
                f'"{self.beyond}" is nobody outside', "it is not HOST:PORT",
                "name a TCP port that the cluster's nodes can reach and its pods must not",
            )  # fmt: skip
        if not self.loader and not self.context.startswith(KIND_CONTEXT):
            raise BadInput(
                f"cannot give images to {self.context}", "it is no cluster of kind's, and nothing says how",
                f"--image-loader 'k3d image import {ARCHIVE} -c NAME', or your cluster's own command",
            )  # fmt: skip
        if self.loader and ARCHIVE not in self.loader:
            raise BadInput(
                f'"{self.loader}" loads no archive', f"{ARCHIVE} is not in it", f"write {ARCHIVE} where the file goes"
            )

    @property
    def remedy(self) -> str:
        return "let its CNI enforce network policies, or close the network that its nodes are on"

    def load_images(self, archive: Path) -> None:
        if not self.loader:
            KindCluster(self.context.removeprefix(KIND_CONTEXT), Path()).load_images(archive)
            return
        command = [word.replace(ARCHIVE, str(archive)) for word in shlex.split(self.loader)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LOAD_MAX_S, check=False, stdin=subprocess.DEVNULL
            )
        except FileNotFoundError as error:
            raise ComponentMissing(
                f"there is no {command[0]} here", "the shadow's image loader needs it", "install it, or name another"
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TwinError("the images cannot be loaded", str(error), f"try it by hand: {self.loader}") from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            why = said[-1] if said else f"exit code {done.returncode}"
            raise TwinError("the images cannot be loaded", why, f"try it by hand: {self.loader}")

    def close(self, api: LiveKubeApi) -> None:
        """Nothing to be done but to see that nobody else is there: each namespace brings its walls along."""
        others = not_ours(api)
        if others:
            raise BadInput(
                f"{self.context} is in use", f"it runs {', '.join(others[:3])}, which no shadow put there",
                "give a cluster that is for this alone",
            )  # fmt: skip

    def walls(self, namespace: str) -> list[KubeObject]:
        return [
            {
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "twin-walls", "namespace": namespace},
                "spec": {
                    "podSelector": {}, "policyTypes": ["Egress"],
                    "egress": [{"to": [{"namespaceSelector": {}}]}],
                },
            }
        ]  # fmt: skip

    def outside(self) -> AbstractContextManager[str]:
        return nullcontext(self.beyond)


def not_ours(api: LiveKubeApi) -> list[str]:
    """Workloads that are neither a shadow's nor the cluster's own, as "shop/cart", in order."""
    namespaces = [one["metadata"] for one in api.list_objects("Namespace")]
    ours = {one["name"] for one in namespaces if MANAGED in one.get("labels", {})}
    found = [obj["metadata"] for kind in WorkloadKind for obj in api.list_objects(kind.value)]
    return sorted(
        f"{one['namespace']}/{one['name']}"
        for one in found
        if one["namespace"] not in ours
        and not one["namespace"].startswith(SYSTEM)
        and MANAGED not in one.get("labels", {})
    )
