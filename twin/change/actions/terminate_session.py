"""End a database session that holds what others wait for. Its unfinished work is gone."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled, find_workload
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.plan import OpsStep

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="terminate_session",
    summary="end one database session",
    target="database",
    reversibility=Reversibility.IRREVERSIBLE,
    parameters=(Parameter(name="session", help="the session's id, as the database names it"),),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """One call of the database's operation. Raises BadInput without a session."""
    if not action.parameters.get("session"):
        raise BadInput(f"cannot end a session of {action.target}", "none is named", "add parameters: {session: its id}")
    ref, _ = find_workload(kube, action.target)
    step = OpsStep(
        operation="terminate_session",
        arguments={"service": action.target, "session": str(action.parameters["session"])},
        summary=f"end session {action.parameters['session']} on {action.target}",
    )
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)
