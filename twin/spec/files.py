"""A Fleet as a file: `apiVersion: twin/v1alpha1`, `kind: Fleet`, in YAML or JSON.

Figures with a unit are text that carries it ("250ms", "64Mi", "500m"); counts, shares and rates are numbers.
What equals the default is left out, so that a file says what is special about a service. A program reads
from top to bottom:

    operations:
      add:
        - work: 5ms
        - {call: shop/catalog:get, timeout: 250ms, retries: 1}
        - hold:
            station: db-pool
            body:
              - call: shop/orders-db:write

Unknown keys are errors: a misspelt `timeout` must not run as "waits for ever".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from twin.spec.checks import Flaw, flaws_of
from twin.spec.config import ConfigMap, ConfigRead
from twin.spec.edge import (
    context_of,
    first_problem,
    schema_of,
    validated,
    words_of_error,
)
from twin.spec.errors import BadInput
from twin.spec.file_models import FleetFile
from twin.spec.fleet import (
    Belief,
    Fleet,
    Journey,
    NodePool,
    Probe,
    Quota,
    Resources,
    Service,
)
from twin.spec.gitops import SYNC_S, GitOps
from twin.spec.ids import ServiceId
from twin.spec.program import Cached, Call, Hold, Publish, Retry, Scope, Station, Step, Work
from twin.spec.units import bytes_text, cores_text, exact_duration_text
from twin.spec.webhooks import Webhook
from twin.spec.yaml_reader import Document, Problem, read_file_text, single_document
from twin.spec.yaml_writer import Flow, yaml_text

__all__ = ["API_VERSION", "fleet_schema", "read_fleet", "write_fleet", "write_fleet_json"]

API_VERSION: Final = "twin/v1alpha1"


def read_fleet(path_or_text: Path | str, name: str | None = None) -> Fleet:
    """The Fleet in a file, or in a text: a `str` with a line break, or one that opens with `{`, is a text.

    `name` is what messages call it. Raises BadInput, with the line, for whatever is wrong with it.
    """
    if isinstance(path_or_text, str) and ("\n" in path_or_text or path_or_text.lstrip()[:1] == "{"):
        return _fleet_of(single_document(path_or_text, name or "the text"), name or "the text")
    path = Path(path_or_text)
    return _fleet_of(single_document(read_file_text(path), name or str(path)), name or str(path))


def write_fleet(fleet: Fleet) -> str:
    """YAML that `read_fleet` turns into an equal Fleet; the same Fleet always gives the same text.

    Raises BadInput for a Fleet that no file can hold: contradictions, NaN, figures out of range.
    """
    return yaml_text(_checked_data(fleet))


def write_fleet_json(fleet: Fleet) -> str:
    """The same as JSON: larger, and ten times as fast to read. Raises BadInput like `write_fleet`."""
    return json.dumps(_checked_data(fleet), ensure_ascii=True, allow_nan=False, indent=1) + "\n"


def fleet_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a Fleet file."""
    return schema_of(FleetFile, "Fleet")


# --- reading ----------------------------------------------------------------------------------------------


def _fleet_of(document: Document, name: str) -> Fleet:
    fleet = validated(FleetFile, document, name).to_fleet()
    flaws = list(flaws_of(fleet))
    if flaws:
        raise first_problem(name, [_problem_of_flaw(flaw, document) for flaw in flaws])
    return fleet


def _problem_of_flaw(flaw: Flaw, document: Document) -> Problem:
    return Problem(document.line(flaw.path), context_of(flaw.path, document.value) + flaw.message, flaw.next_step)


# --- writing ----------------------------------------------------------------------------------------------


def _checked_data(fleet: Fleet) -> dict[str, Any]:
    data = _fleet_data(fleet)
    # What cannot be read back must not be written: the reader's own rules decide.
    try:
        read_back = FleetFile.model_validate(data).to_fleet()
    except ValidationError as error:
        _, message, next_step = words_of_error(error.errors(include_url=False)[0], data, FleetFile)
        raise BadInput("cannot write the fleet", message, next_step) from error
    flaw = next(flaws_of(fleet), None)
    if flaw is not None:
        raise BadInput("cannot write the fleet", context_of(flaw.path, data) + flaw.message, flaw.next_step)
    if read_back != fleet:
        raise BadInput("cannot write the fleet", "it would not read back the same", "use whole bytes and plain text")
    return data


def _fleet_data(fleet: Fleet) -> dict[str, Any]:
    data: dict[str, Any] = {"apiVersion": API_VERSION, "kind": "Fleet", "name": fleet.name}
    if fleet.epoch_s != _DEFAULT_FLEET.epoch_s:
        data["epoch_s"] = fleet.epoch_s
    if fleet.node_pools:
        data["node_pools"] = [_pool_data(pool) for pool in fleet.node_pools]
    if fleet.quotas:
        data["quotas"] = [_quota_data(quota) for quota in fleet.quotas]
    if fleet.config_maps:
        data["config_maps"] = [_config_map_data(one) for one in fleet.config_maps]
    if fleet.secrets:
        data["secrets"] = [Flow(name=s.name, namespace=s.namespace, keys=list(s.keys)) for s in fleet.secrets]
    if fleet.gitops:
        data["gitops"] = [_gitops_data(source) for source in fleet.gitops]
    if fleet.webhooks:
        data["webhooks"] = [_webhook_data(webhook) for webhook in fleet.webhooks]
    if fleet.journeys:
        data["journeys"] = [_journey_data(journey) for journey in fleet.journeys]
    data["services"] = [_service_data(service) for service in fleet.services]
    if fleet.beliefs:
        data["beliefs"] = {path: _belief_data(fleet.beliefs[path]) for path in sorted(fleet.beliefs)}
    return data


def _named(name: str) -> dict[str, Any]:
    """The name of an object, where it is not its workload's."""
    return {"name": name} if name else {}


def _pool_data(pool: NodePool) -> dict[str, Any]:
    return Flow(
        name=pool.name,
        zone=pool.zone,
        count=pool.count,
        cpu=_quantity(cores_text, pool.cpu_cores),
        memory=bytes_text(pool.memory_bytes),
        **({"nodes": list(pool.nodes)} if pool.nodes else {}),
    )


def _quota_data(quota: Quota) -> dict[str, Any]:
    data = Flow(name=quota.name, namespace=quota.namespace)
    _put(data, "pods", quota.pods, None)
    for group, cores, count in (
        ("requests", quota.cpu_request_cores, quota.memory_request_bytes),
        ("limits", quota.cpu_limit_cores, quota.memory_limit_bytes),
    ):
        if cores is not None:
            data[f"{group}_cpu"] = _quantity(cores_text, cores)
        if count is not None:
            data[f"{group}_memory"] = bytes_text(count)
    return data


def _config_map_data(one: ConfigMap) -> dict[str, Any]:
    data: dict[str, Any] = {"name": one.name, "namespace": one.namespace}
    if one.data:
        data["data"] = {key: one.data[key] for key in sorted(one.data)}
    _put(data, "immutable", one.immutable, False)
    return data


def _gitops_data(source: GitOps) -> dict[str, Any]:
    data = Flow(kind=source.kind.value, name=source.name, namespace=source.namespace)
    if source.interval_s != SYNC_S:
        data["interval"] = _time(source.interval_s)
    _put(data, "suspended", source.suspended, False)
    return data


def _webhook_data(webhook: Webhook) -> dict[str, Any]:
    data: dict[str, Any] = {"configuration": webhook.configuration, "name": webhook.name}
    _put(data, "service", webhook.service, "")
    _put(data, "failure_policy", "Fail" if webhook.fails_closed else "Ignore", "Fail")
    if webhook.namespaces is not None:
        data["namespaces"] = list(webhook.namespaces)
    data["rules"] = [
        Flow(groups=list(rule.groups), resources=list(rule.resources), operations=list(rule.operations))
        for rule in webhook.rules
    ]
    return data


def _read_data(read: ConfigRead) -> dict[str, Any]:
    data = Flow()
    data["secret" if read.secret else "config_map"] = read.source
    _put(data, "key", read.key, "")
    _put(data, "name", read.name, "")
    _put(data, "optional", read.optional, False)
    return data


def _journey_data(journey: Journey) -> dict[str, Any]:
    data: dict[str, Any] = {"name": journey.name, "target": journey.target, "rate_rps": _plain_number(journey.rate_rps)}
    if journey.timeout_s != 10.0:
        data["timeout"] = _optional_time(journey.timeout_s)
    _put_retry(data, journey.retry)
    _put(data, "weight", _plain_number(journey.weight), 1)
    _put(data, "success_slo", _plain_number(journey.success_slo_ratio), 0.999)
    if journey.latency_slo_s != 1.0:
        data["latency_slo"] = _time(journey.latency_slo_s)
    return data


def _service_data(service: Service) -> dict[str, Any]:
    default = _DEFAULT_SERVICE
    data: dict[str, Any] = {"id": service.id}
    _put(data, "kind", service.kind.value, default.kind.value)
    _put(data, "replicas", service.replicas, default.replicas)
    _put(data, "image", service.image, default.image)
    _put(data, "owner", service.owner, default.owner)
    _put(data, "stateful", service.stateful, False)
    if service.labels:
        data["labels"] = Flow({key: service.labels[key] for key in sorted(service.labels)})
    if service.env:
        data["env"] = {key: service.env[key] for key in sorted(service.env)}
    if service.config_maps:
        data["config_maps"] = list(service.config_maps)
    if service.reads:
        data["reads"] = [_read_data(read) for read in service.reads]
    if service.resources != default.resources:
        data["resources"] = _resources_data(service.resources)
    if service.memory_base_bytes != default.memory_base_bytes:
        data["memory_base"] = bytes_text(service.memory_base_bytes)
    if service.start_s != default.start_s:
        data["start"] = _time(service.start_s)
    if service.readiness is not None:
        data["readiness"] = _probe_data(service.readiness)
    if service.liveness is not None:
        data["liveness"] = _probe_data(service.liveness)
    if service.strategy != default.strategy:
        strategy = service.strategy
        data["strategy"] = Flow(
            max_surge=_plain_number(strategy.max_surge_ratio),
            max_unavailable=_plain_number(strategy.max_unavailable_ratio),
        )
    if service.autoscaling is not None:
        scaling = service.autoscaling
        data["autoscaling"] = Flow(
            min=scaling.min_replicas, max=scaling.max_replicas, cpu_target=_plain_number(scaling.cpu_target_ratio),
            **_named(scaling.name),
        )  # fmt: skip
    if service.disruption is not None:
        data["disruption"] = Flow(min_available=service.disruption.min_available, **_named(service.disruption.name))
    if service.stations:
        data["stations"] = {station.name: _station_data(station) for station in service.stations}
    if service.operations:
        data["operations"] = {operation.name: _steps_data(operation.steps) for operation in service.operations}
    return data


def _resources_data(resources: Resources) -> dict[str, Any]:
    data = Flow(
        cpu=_quantity(cores_text, resources.cpu_request_cores), memory=bytes_text(resources.memory_request_bytes)
    )
    if resources.cpu_limit_cores is not None:
        data["cpu_limit"] = _quantity(cores_text, resources.cpu_limit_cores)
    if resources.memory_limit_bytes is not None:
        data["memory_limit"] = bytes_text(resources.memory_limit_bytes)
    return data


def _probe_data(probe: Probe) -> dict[str, Any]:
    data = Flow(period=_time(probe.period_s), timeout=_time(probe.timeout_s))
    _put(data, "failure_threshold", probe.failure_threshold, 3)
    if probe.initial_delay_s:
        data["initial_delay"] = _time(probe.initial_delay_s)
    return data


def _station_data(station: Station) -> dict[str, Any]:
    data = Flow(servers=station.servers)
    _put(data, "scope", station.scope.value, Scope.REPLICA.value)
    _put(data, "queue_limit", station.queue_limit, None)
    return data


def _belief_data(belief: Belief) -> dict[str, Any]:
    data = Flow(source=belief.source.value)
    _put(data, "spread", _plain_number(belief.spread), 0)
    return data


def _steps_data(steps: tuple[Step, ...]) -> list[dict[str, Any]]:
    return [_step_data(step) for step in steps]


def _step_data(step: Step) -> dict[str, Any]:
    match step:
        case Work():
            data: dict[str, Any] = Flow(work=_time(step.mean_s))
            _put(data, "station", step.station, "cpu")
            _put(data, "cv", _plain_number(step.cv), 1)
        case Call():
            data = Flow(call=step.target)
            _put(data, "probability", _plain_number(step.probability), 1)
            if step.timeout_s is not None:
                data["timeout"] = _time(step.timeout_s)
            _put_retry(data, step.retry)
            _put(data, "group", step.group, None)
            _put(data, "cancel", step.cancel, False)
            _put(data, "required", step.required, True)
        case Publish():
            data = Flow(publish=step.target)
            _put(data, "probability", _plain_number(step.probability), 1)
        case Hold():
            hold: dict[str, Any] = {"station": step.station}
            if step.timeout_s is not None:
                hold["timeout"] = _time(step.timeout_s)
            hold["body"] = _steps_data(step.body)
            return {"hold": hold}
        case Cached():
            miss = _steps_data(step.miss)
            return {"cached": {"cache": step.cache, "hit_ratio": _plain_number(step.hit_ratio), "miss": miss}}
    return data if len(data) > 1 else dict(data)


_DEFAULT_FLEET: Final = Fleet(name="", services=())
_DEFAULT_SERVICE: Final = Service(id=ServiceId("a/b"), operations=())


def _put(data: dict[str, Any], key: str, value: Any, default: Any) -> None:
    if value != default:
        data[key] = value


def _put_retry(data: dict[str, Any], retry: Retry) -> None:
    _put(data, "retries", retry.retries, 0)
    if retry.backoff_s:
        data["backoff"] = _time(retry.backoff_s)


def _optional_time(value_s: float | None) -> str | None:
    return None if value_s is None else _time(value_s)


def _time(value_s: float) -> str:
    return exact_duration_text(value_s) if abs(value_s) < 1e12 else str(value_s)


def _quantity(text: Any, value: float) -> str | float:
    """`2` rather than `"2"`; NaN and infinities as they are, for the check to refuse."""
    return str(text(value)) if abs(value) < 1e12 and value != int(value) else _plain_number(value)


def _plain_number(value: float) -> float | int:
    """40 rather than 40.0; NaN and infinities as they are, for the check to refuse."""
    return int(value) if abs(value) < 2**53 and value == int(value) else value
