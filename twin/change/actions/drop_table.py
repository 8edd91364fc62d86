"""Drop a database table. It exists so that policy is seen to stop it."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled, find_workload
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.plan import OpsStep

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="drop_table",
    summary="drop a table (forbidden)",
    target="database",
    reversibility=Reversibility.IRREVERSIBLE,
    parameters=(Parameter(name="table", help="the table"),),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """One call of the database's operation. Raises BadInput without a table."""
    if not action.parameters.get("table"):
        raise BadInput(f"cannot drop a table of {action.target}", "none is named", "do not")
    ref, _ = find_workload(kube, action.target)
    step = OpsStep(
        operation="drop_table",
        arguments={"service": action.target, "table": str(action.parameters["table"])},
        summary=f"drop table {action.parameters['table']} of {action.target}",
    )
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)
