"""`twin promote` that is killed -9 at its N-th journal or checkpoint step: python -m … RECEIPT WORLD N.

The kill comes right before or right after the step is durable, as the fourth argument says.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from twin.cli import targets
from twin.cli.main import main
from twin.promote.journal import Journal


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


if __name__ == "__main__":
    _arm(int(sys.argv[3]), sys.argv[4])
    main(["promote", sys.argv[1], "--prod", sys.argv[2]])
