"""Real Kubernetes behind the ports. Nothing else imports its client."""

from __future__ import annotations

from twin.kube.api import LiveKubeApi, connect

__all__ = ["LiveKubeApi", "connect"]
