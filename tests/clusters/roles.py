"""The identities of deploy/rbac on a real cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tests.real import require_tool

__all__ = ["apply_roles"]

RBAC: Final = Path(__file__).parents[2] / "deploy" / "rbac"


def apply_roles(admin: Path) -> None:
    """Roles, admission policy and the namespace for marks, as a reader of the README applies them. `admin`: an
    administrator's kubeconfig. A second time changes nothing."""
    kubectl = require_tool("control-plane") / "kubectl"
    config = f"--kubeconfig={admin}"
    subprocess.run([kubectl, config, "create", "namespace", "twin-system"], check=False, capture_output=True)
    subprocess.run([kubectl, config, "apply", "-f", str(RBAC)], check=True, capture_output=True, timeout=60.0)
