"""What holds every agent back together: a rate, breakers, a fence, a kill switch."""

from __future__ import annotations

from agent.limits.guard import MemoryWriteGuard, SqliteWriteGuard

__all__ = ["MemoryWriteGuard", "SqliteWriteGuard"]
