"""Faults on a shadow: what the catalogue says of a World, said to stand-ins.

The same compilation serves both, so a fault that is added to the catalogue strikes both.
"""

from __future__ import annotations

from collections.abc import Sequence

from chaos.catalogue import compile_fault
from twin.fleet.perturbation import Behave, Configure, Deploy, HoldSlots, Load, Perturbation, SlowRoute
from twin.ports.shadow import Conduct, Shadow
from twin.spec.errors import Inconclusive
from twin.spec.fault import Fault, fault_text
from twin.spec.fields import container_path
from twin.spec.fleet import Fleet
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef, workload_ref

__all__ = ["strike"]


def strike(fault: Fault, fleet: Fleet, shadow: Shadow) -> None:
    """Let a fault strike a shadow that was loaded with this fleet. Raises BadInput; Inconclusive for a fault that a
    shadow cannot play; ApiError."""
    perturbations = [timed.what for timed in compile_fault(fault, fleet, start_ns=0)]
    for service in dict.fromkeys(one.service for one in perturbations if isinstance(one, Behave)):
        shadow.conduct(service, _conducts(perturbations, service))
    for one in perturbations:
        match one:
            case Behave():
                continue
            case Deploy(service=service, image=image, env=env):
                _deploy(fleet, shadow, service, image, env)
            case Configure(service=service, config_map=name, key=key, value=value):
                _configure(fleet, shadow, service, name, key, value)
            case HoldSlots(service=service, station=station, slots=slots):
                shadow.hold(service, station, slots)
            case Load(journey=journey, factor=factor):
                shadow.load(journey, factor)
            case SlowRoute(caller=caller, callee=callee, delay_s=delay_s):
                shadow.delay(caller, callee, delay_s)
            case _:
                raise Inconclusive(
                    f"a shadow cannot play {fault_text(fault)}",
                    "its nodes are not production's",
                    "leave the shadow out",
                )


def _conducts(perturbations: Sequence[Perturbation], service: ServiceId) -> list[Conduct]:
    return [
        Conduct(
            image=one.image, env=one.env, error_ratio=one.error_ratio, speed=one.speed, crash_after_s=one.crash_after_s,
            leak_bytes_per_s=one.leak_bytes_per_s, never_ready=one.never_ready,
        )
        for one in perturbations
        if isinstance(one, Behave) and one.service == service
    ]  # fmt: skip


def _configure(fleet: Fleet, shadow: Shadow, service: ServiceId, name: str, key: str, value: str) -> None:
    """The owners' write, and pods that start with it."""
    own = workload_ref(fleet.service(service))
    shadow.kube.patch(ObjectRef(kind="ConfigMap", name=name, namespace=own.namespace), {("data", key): value})
    shadow.kube.patch(own, {("spec", "template", "metadata", "annotations", "twin.dev/configured"): f"{key}={value}"})


def _deploy(
    fleet: Fleet, shadow: Shadow, service: ServiceId, image: str | None, env: tuple[tuple[str, str], ...]
) -> None:
    """The owners' roll-out; production may hold it already, and the shadow with it."""
    ref = workload_ref(fleet.service(service))
    containers = shadow.kube.get(ref)["spec"]["template"]["spec"]["containers"]
    own = ref.name if any(one["name"] == ref.name for one in containers) else containers[0]["name"]
    fields = {container_path(own, "env", f"[name={name}]", "value"): value for name, value in env}
    if image is not None:
        fields[container_path(own, "image")] = image
    shadow.kube.patch(ref, fields)
