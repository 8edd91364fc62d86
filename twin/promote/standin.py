"""A stand-in for the humans who approve, where none can be asked: the demo and the benchmark.

It signs what a receipt needs, if the receipt is valid, after a latency on the target's clock; every approval is
counted, because one that a human had not given is a cost of the agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from securesystemslib.signer import CryptoSigner

from twin.ports.services import Promoted, PromotionOutcome
from twin.promote.promoter import PromotionService
from twin.receipt import approve, check
from twin.spec.errors import TwinError

__all__ = ["ApprovingPromoter"]


@dataclass(slots=True)
class ApprovingPromoter:
    """A Promoter that asks its stand-in approvers first. `approvers` are (trusted name, signer)."""

    service: PromotionService
    approvers: Sequence[tuple[str, CryptoSigner]]
    latency_s: float = 30.0
    approvals_given: int = field(default=0, init=False)

    def promote(self, receipt: Mapping[str, Any]) -> Promoted:
        """Approve as often as the receipt needs, then promote. Refusals come back as REFUSED.

        What was begun already was approved then: nobody is asked twice.
        """
        clock = self.service.plant.clock
        try:
            if self.service.known(receipt) is not None:
                return self.service.promote(receipt)
            checked = check(receipt, self.service.trusted, clock.now_s())
            needed = checked.receipt.approvals_needed
            if needed:
                clock.sleep(self.latency_s)
            self.service.approvals = [
                approve(checked, name, signer, clock.now_s()) for name, signer in self.approvers[:needed]
            ]
            self.approvals_given += needed
        except TwinError as error:
            return Promoted(outcome=PromotionOutcome.REFUSED, reason=str(error), exit_code=error.exit_code)
        return self.service.promote(receipt)
