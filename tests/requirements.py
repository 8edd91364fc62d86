"""Which test holds which row of the requirement table: `make requirements`.

Rows without a test are listed as open. A test marked with an unknown row is an error.
"""

from __future__ import annotations

import contextlib
import io
import sys

import pytest

ROWS = {
    "R1": "event-driven core", "R2": "stateless brain, stateful context", "R3": "incident room",
    "R4": "long-term knowledge", "R5": "local agent", "R6": "control-plane agent", "R7": "hybrid",
    "R8": "dead man's switch", "R9": "observability of thought", "R10": "global rate limit",
    "R11": "circuit breaker, backpressure", "R12": "safety nets", "R13": "sandbox-first", "R14": "ingest",
    "R15": "router", "R16": "brain", "R17": "action layer", "R18": "policy engine", "R19": "fail safe",
    "R20": "scale", "R21": "scenario benchmark", "R22": "promote by CLI", "R23": "CI regression report",
    "R24": "packages",
}  # fmt: skip


class _Collector:
    def __init__(self) -> None:
        self.held: dict[str, list[str]] = {row: [] for row in ROWS}
        self.unknown: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("requirement"):
                for row in mark.args:
                    if row in self.held:
                        self.held[row].append(item.nodeid.split("[", 1)[0])
                    else:
                        self.unknown.append(f"{item.nodeid}: {row}")


def main() -> int:
    collector = _Collector()
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "tests"], plugins=[collector])
    for row, name in ROWS.items():
        tests = list(dict.fromkeys(collector.held[row]))
        print(f"{row:<4} {name}: {len(tests) or 'open, no'} test{'' if len(tests) == 1 else 's'}")
        for test in tests:
            print(f"       {test}")
    for line in collector.unknown:
        print(f"unknown requirement: {line}", file=sys.stderr)
    return 1 if collector.unknown else 0


if __name__ == "__main__":
    sys.exit(main())
