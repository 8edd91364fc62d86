"""Kubernetes objects as workloads: what is declared, in our units, with the network addresses that they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from twin.spec.config import ConfigRead
from twin.spec.errors import BadInput
from twin.spec.fleet import Autoscaling, Disruption, Probe, Resources, RollingUpdate, WorkloadKind
from twin.spec.ids import ServiceId
from twin.spec.importers.addresses import Address, find_addresses
from twin.spec.importers.configs import reads_of
from twin.spec.importers.manifests import Manifest, as_list, as_map, as_text
from twin.spec.importers.notes import Note, NoteKind, Severity
from twin.spec.importers.priors import Role, role_of
from twin.spec.importers.scaling import rolling_update_of
from twin.spec.pod_counts import whole_count
from twin.spec.units import parse_bytes, parse_cores
from twin.spec.yaml_reader import KeyPath

__all__ = ["Mention", "Workload", "selects", "workload_of"]

_POD: Final = ("spec", "template", "spec")
_REFERENCE: Final = re.compile(r"\$[({]([A-Za-z_][A-Za-z0-9_]*)[)}]")
_HOST_WORDS: Final = re.compile(
    r"hosts?|hostname|addr(?:s|ess|esses)?|ur[li]s?|endpoints?|servers?|upstream|backends?|brokers?|svc|service|target"
)


@dataclass(frozen=True, slots=True)
class Mention:
    """An address, where it stands, and whether its surroundings make a bare name an address too."""

    address: Address
    believed: bool
    place: str
    path: KeyPath


@dataclass(slots=True, kw_only=True)
class Workload:
    """A Deployment, StatefulSet or DaemonSet as declared. None: it says nothing."""

    manifest: Manifest
    id: ServiceId
    kind: WorkloadKind
    role: Role
    replicas: int | None
    image: str
    labels: Mapping[str, str]
    env: Mapping[str, str]
    reads: tuple[ConfigRead, ...]
    config_maps: tuple[str, ...]
    resources: Resources
    has_memory_request: bool
    readiness: Probe | None
    liveness: Probe | None
    strategy: RollingUpdate
    max_connections: int | None
    mentions: list[Mention]
    autoscaling: Autoscaling | None = None
    disruption: Disruption | None = None
    entry: str = ""  # why users reach it; empty: they do not
    services: list[str] = field(default_factory=list)  # names of the Service objects before it


def workload_of(manifest: Manifest, config_maps: Mapping[str, Manifest], notes: list[Note]) -> Workload:
    """The workload that `manifest` declares; whatever in it makes no sense is noted and left at its default."""
    spec = as_map(manifest.data.get("spec"))
    template = as_map(spec.get("template"))
    pod = as_map(template.get("spec"))
    labels = _texts(as_map(template.get("metadata")).get("labels"))
    containers = [as_map(item) for item in as_list(pod.get("containers"))]
    images = [as_text(container.get("image")) for container in containers]
    ports = [
        whole_count(port.get("containerPort")) or 0 for c in containers for port in map(as_map, as_list(c.get("ports")))
    ]
    main = next((c for c in containers if as_text(c.get("name")) == manifest.name), containers[0] if containers else {})
    main_index = containers.index(main) if containers else 0
    environment = _Environment(manifest, config_maps, notes)
    environment.read(pod)
    replicas = _replicas(manifest, spec, notes)
    resources, has_memory = _resources(manifest, containers, notes)
    kind = WorkloadKind(manifest.kind)
    probe_path = (*_POD, "containers", main_index)
    return Workload(
        manifest=manifest,
        id=ServiceId(manifest.id),
        kind=kind,
        role=role_of(manifest.name, images, ports),
        replicas=None if kind is WorkloadKind.DAEMON_SET else replicas,
        image=as_text(main.get("image")) or "unknown",
        labels=labels,
        env=environment.own,
        reads=reads_of(pod),
        config_maps=tuple(environment.config_maps),
        resources=resources,
        has_memory_request=has_memory,
        readiness=_probe(main.get("readinessProbe")),
        liveness=_probe(main.get("livenessProbe")),
        strategy=rolling_update_of(spec, replicas),
        max_connections=_max_connections(environment.values, environment.commands),
        mentions=list(environment.mentions(probe_path)),
    )


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Whether a Service's or a budget's selector picks pods with these labels. An empty one picks none."""
    wanted = _texts(as_map(selector).get("matchLabels") if "matchLabels" in as_map(selector) else selector)
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


# --- the environment of a pod -----------------------------------------------------------------------------


class _Environment:
    """Variables with their references resolved, commands and arguments, and where each of them stands."""

    def __init__(self, manifest: Manifest, config_maps: Mapping[str, Manifest], notes: list[Note]) -> None:
        self.values: dict[str, str] = {}
        self.own: dict[str, str] = {}  # of these, what the pod template says itself
        self.commands: list[tuple[str, str, KeyPath]] = []  # key or flag before it, text, place
        self.config_maps: list[str] = []
        self._manifest = manifest
        self._config_maps = config_maps
        self._notes = notes
        self._places: dict[str, tuple[str, KeyPath]] = {}

    def read(self, pod: Mapping[str, Any]) -> None:
        for volume in map(as_map, as_list(pod.get("volumes"))):
            self._use(as_text(as_map(volume.get("configMap")).get("name")))
        for group in ("initContainers", "containers"):
            for index, container in enumerate(map(as_map, as_list(pod.get(group)))):
                path: KeyPath = (*_POD, group, index)
                self._env_from(container, path)
                for at, item in enumerate(map(as_map, as_list(container.get("env")))):
                    self._variable(item, (*path, "env", at))
                self._command(container, path)

    def mentions(self, fallback: KeyPath) -> Iterator[Mention]:
        for key in sorted(self.values):
            place, path = self._places.get(key, (key, fallback))
            value = self._expand(self.values[key])
            for address in find_addresses(value):
                alone = any(part.strip().lower().rstrip(".") == address.host for part in value.split(","))
                yield Mention(address, _is_host_key(key) and alone, place, path)
        for flag, text, path in self.commands:
            expanded = self._expand(text)
            for address in find_addresses(expanded):
                alone = expanded.strip().lower() == address.host
                believed = address.port is not None or (alone and _is_host_key(flag))
                yield Mention(address, believed, "command", path)

    def _env_from(self, container: Mapping[str, Any], path: KeyPath) -> None:
        for at, source in enumerate(map(as_map, as_list(container.get("envFrom")))):
            reference = as_map(source.get("configMapRef"))
            name, prefix = as_text(reference.get("name")), as_text(source.get("prefix"))
            place: KeyPath = (*path, "envFrom", at)
            data = self._data_of(name, place, optional=reference.get("optional") is True) if name else {}
            for key, value in data.items():
                self._set(prefix + key, value, f"{prefix + key} (ConfigMap {name})", place)

    def _variable(self, item: Mapping[str, Any], path: KeyPath) -> None:
        key = as_text(item.get("name"))
        if not key:
            return
        if "value" in item:
            self._set(key, as_text(item["value"]), key, (*path, "value"))
            if key in self.values:
                self.own[key] = self.values[key]
            return
        source = as_map(item.get("valueFrom"))
        reference = as_map(source.get("configMapKeyRef"))
        if reference:
            name, wanted = as_text(reference.get("name")), as_text(reference.get("key"))
            data = self._data_of(name, path, optional=reference.get("optional") is True)
            if wanted in data:
                self._set(key, data[wanted], f"{key} (ConfigMap {name})", path)
            elif data:
                text = f'{self._manifest.id}: {key} wants the key "{wanted}", which ConfigMap "{name}" has not'
                self._notes.append(self._manifest.note(Severity.WARNING, NoteKind.DANGLING, text, *path))
        elif "secretKeyRef" in source and _is_host_key(key):
            text = f"{self._manifest.id}: {key} comes from a Secret, which is not read: name the call in a hints file"
            self._notes.append(self._manifest.note(Severity.INFO, NoteKind.IGNORED, text, *path))

    def _command(self, container: Mapping[str, Any], path: KeyPath) -> None:
        for part in ("command", "args"):
            flag = ""
            value = container.get(part)
            for at, item in enumerate(as_list(value) or ([value] if isinstance(value, str) else [])):
                text = as_text(item)
                name, equals, rest = text.partition("=")
                if name.startswith("-") and equals:
                    self.commands.append((name, rest, (*path, part, at)))
                else:
                    self.commands.append((flag, text, (*path, part, at)))
                flag = text if text.startswith("-") else ""

    def _data_of(self, name: str, path: KeyPath, *, optional: bool) -> Mapping[str, str]:
        self._use(name)
        found = self._config_maps.get(f"{self._manifest.namespace}/{name}")
        if found is None:
            if not optional:
                text = f'{self._manifest.id}: ConfigMap "{name}" is not among the files'
                self._notes.append(self._manifest.note(Severity.WARNING, NoteKind.DANGLING, text, *path))
            return {}
        return _texts(found.data.get("data"))

    def _use(self, name: str) -> None:
        if name and name not in self.config_maps:
            self.config_maps.append(name)

    def _set(self, key: str, value: str, place: str, path: KeyPath) -> None:
        if len(value) <= 4_096:  # Longer ones are documents: no engine needs them in every pod's row.
            self.values[key] = value
            self._places[key] = (place, path)

    def _expand(self, text: str) -> str:
        """$(NAME) as Kubernetes replaces it, and ${NAME} as shells do; one level is enough in practice."""
        return _REFERENCE.sub(lambda match: self.values.get(match[1], ""), text)


def _is_host_key(key: str) -> bool:
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower())
    return any(_HOST_WORDS.fullmatch(word) for word in words)


# --- figures ----------------------------------------------------------------------------------------------


def _texts(value: Any) -> dict[str, str]:
    return {str(key): as_text(item) for key, item in as_map(value).items()}


def _replicas(manifest: Manifest, spec: Mapping[str, Any], notes: list[Note]) -> int:
    if "replicas" not in spec or spec["replicas"] is None:
        return 1  # Kubernetes' own default.
    count = whole_count(spec["replicas"])
    if count is None:
        text = f"{manifest.id}: replicas is no count; taken as 1"
        notes.append(manifest.note(Severity.WARNING, NoteKind.BROKEN, text, "spec", "replicas"))
    return 1 if count is None else count


def _probe(value: Any) -> Probe | None:
    probe = as_map(value)
    if not probe:
        return None
    return Probe(
        period_s=float(whole_count(probe.get("periodSeconds")) or 10),
        timeout_s=float(whole_count(probe.get("timeoutSeconds")) or 1),
        failure_threshold=whole_count(probe.get("failureThreshold")) or 3,
        initial_delay_s=float(whole_count(probe.get("initialDelaySeconds")) or 0),
    )


def _resources(manifest: Manifest, containers: list[dict[str, Any]], notes: list[Note]) -> tuple[Resources, bool]:
    """The sum over the containers of a pod; a request that is missing equals the limit, as in Kubernetes."""
    totals: dict[str, float | None] = {}
    for part, name, parse in (
        ("requests", "cpu", parse_cores),
        ("limits", "cpu", parse_cores),
        ("requests", "memory", parse_bytes),
        ("limits", "memory", parse_bytes),
    ):
        figures: list[float | None] = []
        for index, container in enumerate(containers):
            given = as_map(container.get("resources"))
            value = as_map(given.get(part)).get(name)
            if value is None and part == "requests":
                value = as_map(given.get("limits")).get(name)
            try:
                figures.append(None if value is None else float(parse(value)))
            except BadInput as error:
                path = (*_POD, "containers", index, "resources", part, name)
                text = f"{manifest.id}: {part} {name}: {error.what}; left out"
                notes.append(manifest.note(Severity.WARNING, NoteKind.BROKEN, text, *path))
                figures.append(None)
        known = [figure for figure in figures if figure is not None]
        complete = part == "requests" or len(known) == len(containers)  # One unlimited container: no limit.
        totals[f"{part} {name}"] = sum(known) if known and complete else None
    default = Resources()
    cpu, cpu_limit = _in_range(totals["requests cpu"], 1e6), _in_range(totals["limits cpu"], 1e6)
    memory, memory_limit = _in_range(totals["requests memory"], 2**50), _in_range(totals["limits memory"], 2**50)
    found = Resources(
        cpu_request_cores=cpu or default.cpu_request_cores,
        memory_request_bytes=default.memory_request_bytes if memory is None else round(memory),
        cpu_limit_cores=cpu_limit,
        memory_limit_bytes=None if memory_limit is None else round(memory_limit),
    )
    return found, memory is not None


def _in_range(value: float | None, most: float) -> float | None:
    return value if value is not None and 0 < value <= most else None


def _max_connections(env: Mapping[str, str], commands: list[tuple[str, str, KeyPath]]) -> int | None:
    """A database's own limit, where somebody set it: -c max_connections=200, MAX_CONNECTIONS, --max-connections."""
    texts = [f"{key}={env[key]}" for key in sorted(env)] + [f"{flag} {text}" for flag, text, _ in commands]
    for text in texts:
        match = re.search(r"max[_-]?connections?[ =]+([0-9]{1,6})(?![0-9])", text, re.IGNORECASE)
        if match and int(match[1]) > 0:
            return int(match[1])
    return None
