"""Promoters that are killed -9 at their N-th step, right before or right after it is durable.

On a World: python -m … RECEIPT WORLD N before|after. On a live cluster: `promote_and_die`, in a process of its own.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.limits.guard import MemoryWriteGuard
from tests.clusters.production import plant_at, service_on
from twin.cli import targets
from twin.cli.main import main
from twin.promote.journal import Journal
from twin.receipt import TrustedKeys


def _arm(steps_left: int, when: str) -> None:
    left = [steps_left]

    def wrap(function: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    Journal.begin = wrap(Journal.begin)  # type: ignore[method-assign]
    Journal.append = wrap(Journal.append)  # type: ignore[method-assign]
    targets.save_world = wrap(targets.save_world)


def promote_and_die(
    kubeconfig: Path, prometheus_url: str, journal: Path, trusted: TrustedKeys, receipt: Mapping[str, Any], number: int
) -> None:
    """Promote to a live cluster, and die before (even) or after (odd) the journal's write number `number` // 2."""
    _arm(number // 2 + 1, "after" if number % 2 else "before")
    done = service_on(
        plant_at(kubeconfig, prometheus_url), journal, trusted, MemoryWriteGuard(terminations_max=100)
    ).promote(receipt)
    sys.exit(done.exit_code)


if __name__ == "__main__":
    _arm(int(sys.argv[3]), sys.argv[4])
    main(["promote", sys.argv[1], "--prod", sys.argv[2]])
