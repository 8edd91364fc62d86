"""Names of span attributes. gen_ai.* follow OpenTelemetry's semantic conventions for generative AI, which are
still marked as in development: they are written out here, so that a new release of them is one edit."""

from __future__ import annotations

from typing import Final

__all__ = [
    "AGENT_NAME",
    "CONVERSATION_ID",
    "DOCUMENTS",
    "DOCUMENT_RELEVANCES",
    "EXECUTE_TOOL",
    "INCIDENT",
    "INVOKE_AGENT",
    "OPERATION",
    "OUTCOME",
    "REASON",
    "REQUEST_MODEL",
    "RETRIEVAL",
    "STAGE",
    "SYSTEM",
    "TEXT",
    "THINK",
    "TOOL_NAME",
]

OPERATION: Final = "gen_ai.operation.name"
SYSTEM: Final = "gen_ai.provider.name"
AGENT_NAME: Final = "gen_ai.agent.name"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
REQUEST_MODEL: Final = "gen_ai.request.model"
TOOL_NAME: Final = "gen_ai.tool.name"

# Values of gen_ai.operation.name
INVOKE_AGENT: Final = "invoke_agent"
EXECUTE_TOOL: Final = "execute_tool"
THINK: Final = "chat"
RETRIEVAL: Final = "retrieval"

# Ours
INCIDENT: Final = "twin.incident"
STAGE: Final = "twin.stage"
TEXT: Final = "twin.text"
OUTCOME: Final = "twin.outcome"
REASON: Final = "twin.reason"
DOCUMENTS: Final = "twin.documents"
DOCUMENT_RELEVANCES: Final = "twin.document.relevances"
