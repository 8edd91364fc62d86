"""Long-term knowledge: what to know about a service before thinking about its incident."""

from __future__ import annotations

from agent.knowledge.base import Knowledge, Note, load_folder

__all__ = ["Knowledge", "Note", "load_folder"]
