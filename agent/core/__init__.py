"""The pure core: one incident's context, and the step that takes it on."""

from __future__ import annotations

from agent.core.context import Attempt, Context, Document, Phase, Settings, change_key
from agent.core.step import open_context, step

__all__ = ["Attempt", "Context", "Document", "Phase", "Settings", "change_key", "open_context", "step"]
