"""What an agent or an action may touch of a fleet, whatever runs behind it."""

from twin.ports.plant import (
    Clock,
    EdgeId,
    KubeApi,
    KubeObject,
    Metric,
    OperationStats,
    OpsApi,
    Plant,
    Series,
    Session,
    Telemetry,
    TracedEdge,
)
from twin.ports.services import (
    Judged,
    Promoted,
    Promoter,
    PromotionOutcome,
    Verification,
    Verifier,
    VerifyRequest,
    WriteGuard,
)

__all__ = [
    "Clock",
    "EdgeId",
    "Judged",
    "KubeApi",
    "KubeObject",
    "Metric",
    "OperationStats",
    "OpsApi",
    "Plant",
    "Promoted",
    "Promoter",
    "PromotionOutcome",
    "Series",
    "Session",
    "Telemetry",
    "TracedEdge",
    "Verification",
    "Verifier",
    "VerifyRequest",
    "WriteGuard",
]
