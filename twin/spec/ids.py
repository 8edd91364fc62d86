"""Names of things, so that one cannot be handed in for another."""

from __future__ import annotations

from typing import NewType

__all__ = ["FaultKind", "JourneyName", "NodeName", "OpId", "ServiceId", "Sha256", "op_id", "service_of"]

ServiceId = NewType("ServiceId", str)  # namespace/name, as "shop/cart"
OpId = NewType("OpId", str)  # namespace/name:operation, as "shop/cart:add"
NodeName = NewType("NodeName", str)
JourneyName = NewType("JourneyName", str)
FaultKind = NewType("FaultKind", str)
Sha256 = NewType("Sha256", str)  # 64 lower-case hex digits


def op_id(service: ServiceId, operation: str) -> OpId:
    """The operation's name within the whole fleet."""
    return OpId(f"{service}:{operation}")


def service_of(op: OpId) -> ServiceId:
    """The service that an operation belongs to."""
    return ServiceId(op.rsplit(":", 1)[0])
