"""What lies beyond Kubernetes, for real: databases behind the port OpsApi. Nothing else imports their clients."""

from __future__ import annotations

from twin.ops.databases import Database, read_databases
from twin.ops.postgres import PostgresOps

__all__ = ["Database", "PostgresOps", "read_databases"]
