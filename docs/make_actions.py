"""Write docs/actions.md from the catalogue of actions: python docs/make_actions.py"""

from __future__ import annotations

from pathlib import Path

from twin.change.catalogue import action_types
from twin.cli.commands.change import action_lines

HEAD = """# Actions
What a change may do: kind, target, whether it can be undone, and its parameters with their ranges. Made from the
catalogue by `python docs/make_actions.py`; a test keeps it so. `twin change targets --prod TARGET` lists what they
may name.

A change is a file:
```
apiVersion: twin/v1alpha1
kind: Change
reason: orders are slow since nine
requester: ana
strategy: {canary: 0.34, watch: 60s, settle: 2m}     # this is the default
actions:
  - {kind: scale, target: shop/cart, parameters: {replicas: 10}}
```
"""


def document() -> str:
    """The page."""
    lines = [line for kind in action_types() for line in action_lines(kind)]
    return "\n".join([HEAD, "```", *lines, "```", ""])


if __name__ == "__main__":
    Path(__file__).with_name("actions.md").write_text(document())
