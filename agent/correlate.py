"""Correlation: a storm of alerts becomes few incidents, by topology and by time.

Trouble travels along calls: errors and waits from callee to caller, load from caller to callee. So two
suffering services belong together if one calls the other, or if one service lies between them on a path of
calls (it may be sick and not yet over its threshold). Two callees of a healthy caller do not: they would
share nothing but a customer. What strikes a machine strikes services that do not know each other; pushed
events name those by `also`.

Nothing is dropped silently: what exceeds a bound is counted in the incident.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.core.wire import from_json, to_json
from twin.ports.plant import TracedEdge
from twin.spec.ids import ServiceId
from twin.spec.incident import Incident
from twin.spec.signal import Signal, SignalKind, Symptom, SymptomKind

__all__ = ["Correlator", "Graph", "OpenIncident", "Update"]

QUIET_S: Final = 600.0  # An incident without a new alert for so long takes no more in, unless it still burns.
LOOK_BACK_S: Final = 900.0  # Changes and events so long before the first alert may have caused it.
MERGE_S: Final = 180.0  # Two incidents that turn out to be one are merged while the younger is so young.
SYMPTOMS_MAX: Final = 200
RECENT_MAX: Final = 500
SEEN_MAX: Final = 200_000
DEPLOYS_MAX: Final = 20
# A figure that grows worse when it rises; missing replicas grow worse when it falls.
_FALLING: Final = frozenset({SymptomKind.UNREADY})


class Graph:
    """Who calls whom. Built from traces; services that no trace has shown have no neighbours."""

    def __init__(self, edges: Iterable[TracedEdge] = ()) -> None:
        self.callees: dict[ServiceId, set[ServiceId]] = {}
        self.callers: dict[ServiceId, set[ServiceId]] = {}
        for edge in edges:
            caller, callee = ServiceId(edge.id.caller), ServiceId(edge.id.callee)
            if caller == "user" or caller == callee:
                continue
            self.callees.setdefault(caller, set()).add(callee)
            self.callers.setdefault(callee, set()).add(caller)

    def near(self, service: ServiceId) -> set[ServiceId]:
        """One call up or down, and two in one direction."""
        found: set[ServiceId] = set()
        for ways in (self.callees, self.callers):
            once = ways.get(service, set())
            found |= once
            for between in once:
                found |= ways.get(between, set())
        found.discard(service)
        return found


@dataclass(slots=True, kw_only=True)
class OpenIncident:
    """An incident as it grows. `symptoms` keeps the worst figure of each (service, kind)."""

    id: str
    opened_s: float
    onset_s: float
    last_s: float
    revision: int = 0
    symptoms: dict[tuple[ServiceId, SymptomKind], Symptom] = field(default_factory=dict)
    active: set[tuple[ServiceId, str]] = field(default_factory=set)
    alerts_seen: int = 0
    beyond: int = 0  # Symptoms that did not fit; counted, not forgotten.
    deploys: tuple[str, ...] = ()
    merged_into: str = ""
    closed: bool = False

    @property
    def services(self) -> set[ServiceId]:
        return {service for service, _ in self.symptoms}

    def as_incident(self) -> Incident:
        symptoms = tuple(self.symptoms[key] for key in sorted(self.symptoms))
        return Incident(
            id=self.id, title=self._title(), onset_s=self.onset_s, symptoms=symptoms, suspects_deploys=self.deploys
        )

    def _title(self) -> str:
        if not self.symptoms:
            return "no symptoms yet"
        first = next(iter(self.symptoms.values())).service
        count = len(self.services) + self.beyond
        return f"{first}, {count} services" if count > 1 else str(first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What correlation made of new signals: an incident that changed, with its revision."""

    incident: Incident
    revision: int
    alerts_active: int
    alerts_seen: int
    opened: bool
    merged_into: str = ""


class Correlator:
    """Takes signals in, gives updates out. The state is plain data: `save` and `load`.

    `prefix` begins incident ids, which count up from 1.
    """

    def __init__(self, *, prefix: str = "") -> None:
        self._prefix = prefix
        self._count = 0
        self._seen: dict[str, None] = {}
        self.incidents: dict[str, OpenIncident] = {}
        self.recent: list[Signal] = []  # Deploys and events, newest last.
        self._related: list[tuple[float, frozenset[ServiceId]]] = []
        self._owner: dict[ServiceId, str] = {}

    def add(
        self, signals: Iterable[Signal], graph: Graph, *, also: Mapping[str, frozenset[ServiceId]] | None = None
    ) -> list[Update]:
        """Take signals in, in any order, each once by its id. `also`: for an event's signal id, the services
        that it strikes together. Returns every incident that changed, oldest first."""
        touched: dict[str, bool] = {}
        fresh = [signal for signal in signals if self._is_new(signal)]
        for signal in sorted(fresh, key=lambda s: (s.at_s, s.kind is SignalKind.ALERT, s.id)):
            match signal.kind:
                case SignalKind.ALERT if signal.symptom is not None:
                    name, opened = self._on_alert(signal, signal.symptom, graph, touched)
                    touched[name] = touched.get(name, False) or opened
                case SignalKind.RESOLVED:
                    for incident in self.incidents.values():
                        key = (signal.service, signal.reason)
                        if key in incident.active and signal.service is not None:
                            incident.active.discard((signal.service, signal.reason))
                            touched.setdefault(incident.id, False)
                case _:
                    self._on_event(signal, (also or {}).get(signal.id, frozenset()), touched)
        for name in touched:
            self.incidents[name].revision += 1
            self._attach_deploys(self.incidents[name], graph)
        return [self._update(self.incidents[name], touched[name]) for name in self.incidents if name in touched]

    def close(self, incident_id: str) -> None:
        """The incident is over: a new alert there opens another."""
        if incident_id in self.incidents:
            self.incidents[incident_id].closed = True
            for service in [s for s, name in self._owner.items() if name == incident_id]:
                del self._owner[service]

    def active(self, incident_id: str) -> set[tuple[ServiceId, str]]:
        """Alerts (service, rule) of the incident that still fire."""
        return set(self.incidents[incident_id].active)

    def save(self) -> dict[str, Any]:
        """The whole state as plain JSON."""
        return {
            "count": self._count,
            "seen": list(self._seen),
            "recent": [to_json(signal) for signal in self.recent],
            "related": [[at_s, sorted(services)] for at_s, services in self._related],
            "incidents": [
                {
                    "id": i.id, "opened_s": i.opened_s, "onset_s": i.onset_s, "last_s": i.last_s,
                    "revision": i.revision, "symptoms": [to_json(s) for s in i.symptoms.values()],
                    "active": sorted(map(list, i.active)), "alerts_seen": i.alerts_seen, "beyond": i.beyond,
                    "deploys": list(i.deploys), "merged_into": i.merged_into, "closed": i.closed,
                }
                for i in self.incidents.values()
            ],
        }  # fmt: skip

    @classmethod
    def load(cls, data: Mapping[str, Any], *, prefix: str = "") -> Correlator:
        """Raises BadInput or KeyError for what `save` does not write."""
        self = cls(prefix=prefix)
        self._count = int(data["count"])
        self._seen = dict.fromkeys(data["seen"])
        self.recent = [from_json(Signal, signal) for signal in data["recent"]]
        self._related = [(float(at_s), frozenset(services)) for at_s, services in data["related"]]
        for item in data["incidents"]:
            symptoms = [from_json(Symptom, symptom) for symptom in item["symptoms"]]
            incident = OpenIncident(
                **{
                    **item,
                    "symptoms": {(s.service, s.kind): s for s in symptoms},
                    "active": {(ServiceId(service), reason) for service, reason in item["active"]},
                    "deploys": tuple(item["deploys"]),
                }
            )
            self.incidents[incident.id] = incident
            if not incident.closed and not incident.merged_into:
                self._owner |= dict.fromkeys(incident.services, incident.id)
        return self

    # Inside

    def _is_new(self, signal: Signal) -> bool:
        if signal.id in self._seen:
            return False
        self._seen[signal.id] = None
        if len(self._seen) > SEEN_MAX:
            for old in list(self._seen)[: SEEN_MAX // 2]:
                del self._seen[old]
        return True

    def _on_alert(self, signal: Signal, symptom: Symptom, graph: Graph, touched: dict[str, bool]) -> tuple[str, bool]:
        service = symptom.service
        found = self._homes(service, signal.at_s, graph)
        opened = not found
        if opened:
            self._count += 1
            name = f"{self._prefix}{self._count}"
            home = OpenIncident(id=name, opened_s=signal.at_s, onset_s=signal.at_s, last_s=signal.at_s)
            self.incidents[name] = home
        else:
            home = found[0]
            for other in found[1:]:
                if signal.at_s - other.opened_s <= MERGE_S:
                    self._merge(other, home)
                    touched.setdefault(other.id, False)
        home.onset_s = min(home.onset_s, signal.at_s)
        home.last_s = max(home.last_s, signal.at_s)
        home.alerts_seen += 1
        home.active.add((service, signal.reason))
        self._owner[service] = home.id
        _keep_worst(home, symptom)
        return home.id, opened

    def _homes(self, service: ServiceId, at_s: float, graph: Graph) -> list[OpenIncident]:
        """Open incidents that this service belongs to, oldest first."""
        names: dict[str, None] = {}
        if service in self._owner:
            names[self._owner[service]] = None
        for other in graph.near(service):
            if other in self._owner:
                names[self._owner[other]] = None
        for event_s, services in self._related:
            if service in services and abs(at_s - event_s) <= LOOK_BACK_S:
                names |= dict.fromkeys(self._owner[other] for other in services if other in self._owner)
        open_ones = [self.incidents[name] for name in names]
        fitting = [i for i in open_ones if i.active or at_s - i.last_s <= QUIET_S]
        return sorted(fitting, key=lambda i: (i.opened_s, i.id))

    def _merge(self, younger: OpenIncident, older: OpenIncident) -> None:
        older.onset_s = min(older.onset_s, younger.onset_s)
        older.last_s = max(older.last_s, younger.last_s)
        older.alerts_seen += younger.alerts_seen
        older.active |= younger.active
        older.beyond += younger.beyond
        for symptom in younger.symptoms.values():
            _keep_worst(older, symptom)
        for service in younger.services:
            self._owner[service] = older.id
        younger.merged_into = older.id
        younger.active.clear()

    def _on_event(self, signal: Signal, also: frozenset[ServiceId], touched: dict[str, bool]) -> None:
        self.recent.append(signal)
        del self.recent[:-RECENT_MAX]
        if also:
            self._related.append((signal.at_s, also))
            del self._related[:-50]
        if signal.service is not None and signal.service in self._owner:
            touched.setdefault(self._owner[signal.service], False)

    def _attach_deploys(self, incident: OpenIncident, graph: Graph) -> None:
        """Changes shortly before, or during, the incident on its services or what they call."""
        services = incident.services
        near = services | {callee for service in services for callee in graph.callees.get(service, ())}
        found = [
            f"{signal.service} at {signal.at_s:.0f}: {signal.text}"
            for signal in self.recent
            if signal.kind is SignalKind.DEPLOY
            and signal.service in near
            and signal.at_s >= incident.onset_s - LOOK_BACK_S
        ]
        incident.deploys = tuple(found[-DEPLOYS_MAX:])

    def _update(self, incident: OpenIncident, opened: bool) -> Update:
        return Update(
            incident=incident.as_incident(),
            revision=incident.revision,
            alerts_active=len(incident.active),
            alerts_seen=incident.alerts_seen,
            opened=opened,
            merged_into=incident.merged_into,
        )


def _keep_worst(incident: OpenIncident, symptom: Symptom) -> None:
    key = (symptom.service, symptom.kind)
    known = incident.symptoms.get(key)
    if known is None and len(incident.symptoms) >= SYMPTOMS_MAX:
        incident.beyond += 1
        return
    worse = known is None or (symptom.value < known.value if symptom.kind in _FALLING else symptom.value > known.value)
    if worse:
        incident.symptoms[key] = symptom
