"""What a shadow stands on: a cluster that takes images, can be closed, and has somebody outside to be kept from."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from twin.kube.api import LiveKubeApi
from twin.ports.plant import KubeObject

__all__ = ["MANAGED", "ShadowCluster"]

MANAGED: Final = "twin.dev/shadow"  # label of what a shadow put there, and may take away again


class ShadowCluster(Protocol):
    """Every method raises ComponentMissing for a program that is not here, TwinError, ApiError."""

    @property
    def remedy(self) -> str:
        """What to do if a pod gets out."""
        ...

    def load_images(self, archive: Path) -> None:
        """Give an image archive's images to every node."""
        ...

    def close(self, api: LiveKubeApi) -> None:
        """Keep its pods from everybody outside. Raises BadInput for a cluster that is in use; Inconclusive."""
        ...

    def walls(self, namespace: str) -> list[KubeObject]:
        """What each namespace needs of its own to be closed; nothing where the nodes see to it."""
        ...

    def outside(self) -> AbstractContextManager[str]:
        """HOST:PORT of somebody outside whom the nodes can reach, and pods must not. Raises Inconclusive."""
        ...
