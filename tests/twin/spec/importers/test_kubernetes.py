from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.spec.canonical import digest
from twin.spec.checks import flaws_of
from twin.spec.config import ConfigRead, Secret
from twin.spec.errors import BadInput
from twin.spec.files import read_fleet, write_fleet
from twin.spec.fleet import Fleet, Quota, Service, Source, WorkloadKind
from twin.spec.ids import ServiceId, service_of
from twin.spec.importers import (
    ImportResult,
    ManifestText,
    NoteKind,
    Severity,
    import_kubernetes,
    read_hints,
    read_sources,
)
from twin.spec.importers.kubernetes import op_rates, op_work_s
from twin.spec.program import Call, Hold, Publish, Scope, calls_of
from twin.spec.webhooks import Webhook, WebhookRule

REPOSITORY = Path(__file__).parents[4]
EXAMPLES = REPOSITORY / "examples"
SOCK_SHOP_HINTS = """\
apiVersion: twin/v1alpha1
kind: Hints
journeys:
  - {name: browse, target: front-end, rate_rps: 20}
calls:
  - {from: front-end, to: catalogue, timeout: 1s}
  - {from: front-end, to: carts}
  - {from: front-end, to: orders, retries: 1}
  - {from: catalogue, to: catalogue-db}
  - {from: carts, to: carts-db}
  - {from: orders, to: orders-db}
  - {from: shipping, to: rabbitmq, publish: true}
"""


def real_file(name: str) -> Path:
    """A manifest that other people wrote; absent where only this checkout is, and then CI fails."""
    folder = Path(os.environ.get("TWIN_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    path = folder / "manifests" / name
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing: set TWIN_REAL_DATA")
        pytest.skip(f"{path} is not there")
    return path


def imported(text: str, hints: str | None = None) -> ImportResult:
    return import_kubernetes([ManifestText("m.yaml", text)], hints=read_hints(hints) if hints else None)


def callees(fleet: Fleet, name: str) -> set[str]:
    service = next(service for service in fleet.services if service.name == name)
    return {service_of(call.target).split("/")[1] for o in service.operations for call in calls_of(o.steps)}


def kinds(result: ImportResult) -> set[NoteKind]:
    return {note.kind for note in result.notes}


def workload(name: str, *, env: str = "", kind: str = "Deployment", image: str = "app:1", more: str = "") -> str:
    return f"""\
---
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}, namespace: ns}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: {name}
          image: {image}
          env: [{env}]
{more}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: ns}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}
"""


def test_online_boutique_imports_whole_and_names_what_dangles() -> None:
    path = real_file("online-boutique.yaml")
    texts, _ = read_sources([path])
    result = import_kubernetes(texts)
    assert len(result.fleet.services) == 12
    assert callees(result.fleet, "frontend") == {
        "adservice", "cartservice", "checkoutservice", "currencyservice", "productcatalogservice",
        "recommendationservice", "shippingservice",
    }  # fmt: skip
    assert callees(result.fleet, "cartservice") == {"redis-cart"}
    assert len(callees(result.fleet, "checkoutservice")) == 6
    (note,) = [note for note in result.notes if note.kind is NoteKind.DANGLING]
    assert "shoppingassistantservice:80" in note.text
    assert (note.severity, note.line) == (Severity.WARNING, 90)
    assert [service_of(journey.target) for journey in result.fleet.journeys] == ["default/frontend"]
    load = result.fleet.service(ServiceId("default/loadgenerator"))
    assert load.operations == ()  # It makes requests; nobody calls it.
    assert result.fleet.service(ServiceId("default/redis-cart")).stateful
    assert read_fleet(write_fleet(result.fleet)) == result.fleet


def test_sock_shop_imports_whole_and_takes_its_calls_from_hints() -> None:
    texts, _ = read_sources([real_file("sock-shop.yaml")])
    alone = import_kubernetes(texts)
    assert len(alone.fleet.services) == 14
    assert callees(alone.fleet, "user") == {"user-db"}
    assert callees(alone.fleet, "front-end") == set()
    databases = {service.name for service in alone.fleet.services if service.stateful}
    assert databases == {"carts-db", "catalogue-db", "orders-db", "rabbitmq", "session-db", "user-db"}
    hinted = import_kubernetes(texts, hints=read_hints(SOCK_SHOP_HINTS))
    assert callees(hinted.fleet, "front-end") == {"catalogue", "carts", "orders"}
    assert callees(hinted.fleet, "orders") == {"orders-db"}
    assert [journey.rate_rps for journey in hinted.fleet.journeys] == [20.0]
    shipping = hinted.fleet.service(ServiceId("sock-shop/shipping"))
    assert any(isinstance(call, Publish) for o in shipping.operations for call in calls_of(o.steps))


@pytest.fixture(scope="module")
def shop() -> Fleet:
    texts, notes = read_sources([EXAMPLES / "shop"])
    assert notes == []
    result = import_kubernetes(texts, name="shop", hints=read_hints(EXAMPLES / "shop.hints.yaml"))
    assert {note.severity for note in result.notes} == {Severity.INFO}
    return result.fleet


def test_the_shop_is_moderately_busy_everywhere(shop: Fleet) -> None:
    rates = op_rates(shop.services, shop.journeys)
    for service in shop.services:
        cores = sum(rates[f"{service.id}:{o.name}"] * op_work_s(o.steps) for o in service.operations)  # type: ignore[index]
        servers = next(station.servers for station in service.stations if station.name == "cpu")
        assert 0.28 < cores / (service.replicas * servers) < 0.6, service.id


def test_the_shop_has_the_limits_that_incidents_spread_through(shop: Fleet) -> None:
    orders_db = shop.service(ServiceId("shop/orders-db"))
    assert orders_db.kind is WorkloadKind.STATEFUL_SET
    limits = {station.name: (station.servers, station.scope) for station in orders_db.stations}
    assert limits == {
        "cpu": (2, Scope.REPLICA), "connections": (100, Scope.SERVICE), "row-lock": (1, Scope.SERVICE),
    }  # fmt: skip
    orders = shop.service(ServiceId("shop/orders"))
    assert {"workers", "db-pool"} <= {station.name for station in orders.stations}
    assert isinstance(shop.service(ServiceId("shop/checkout")).operation("place").steps[0], Hold)
    assert len(shop.services) == 11
    assert shop.service(ServiceId("shop/frontend")).autoscaling is not None
    assert shop.service(ServiceId("shop/frontend")).replicas == 3  # The autoscaler's minimum.
    assert "shop/orders station[db-pool].servers" not in shop.beliefs  # Declared in the hints.


def test_the_shop_shows_its_whole_call_graph_without_hints() -> None:
    texts, _ = read_sources([EXAMPLES / "shop"])
    fleet = import_kubernetes(texts).fleet
    assert callees(fleet, "frontend") == {"catalog", "cart", "checkout", "recommendation", "orders"}
    assert callees(fleet, "checkout") == {"cart", "shipping", "payment", "orders"}
    assert callees(fleet, "orders") == {"notifier", "orders-db"}
    connections = fleet.service(ServiceId("shop/orders-db")).stations
    assert [s.servers for s in connections if s.name == "connections"] == [100]
    assert "shop/orders-db station[connections].servers" not in fleet.beliefs  # Its arguments say so.
    assert fleet.beliefs["shop/cart:serve work[0].mean_s"].source is Source.PRIOR
    assert fleet.beliefs["shop/cart:serve work[0].mean_s"].spread > 0


def test_the_same_files_give_the_same_fleet(shop: Fleet) -> None:
    texts, _ = read_sources([EXAMPLES / "shop"])
    again = import_kubernetes(texts, name="shop", hints=read_hints(EXAMPLES / "shop.hints.yaml")).fleet
    assert digest(again) == digest(shop)


@pytest.mark.parametrize(
    ("env", "found"),
    [
        ("{name: B_ADDR, value: 'b:80'}", True),
        ("{name: B_HOST, value: b}", True),
        ("{name: GREETING, value: b}", False),  # A word that happens to be a service's name.
        ("{name: URLS, value: 'http://x.example,http://b'}", True),
        ("{name: X, value: 'b.ns.svc.cluster.local'}", True),
        ("{name: H, value: b}, {name: B_URL, value: 'http://$(H):80'}", True),
        ("{name: B_URL, valueFrom: {configMapKeyRef: {name: cm, key: url}}}", True),
    ],
)
def test_an_address_in_a_variable_is_a_call(env: str, found: bool) -> None:
    config = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm, namespace: ns}\ndata: {url: 'http://b'}\n"
    fleet = imported(workload("a", env=env) + workload("b") + config).fleet
    assert callees(fleet, "a") == ({"b"} if found else set())


@pytest.mark.parametrize(
    "more",
    [
        "          args: ['--upstream', 'b']",
        "          args: ['--upstream=http://b:80']",
        "          command: [sh, -c, 'until nc -z b 5432; do sleep 1; done; run']",
        "          envFrom: [{configMapRef: {name: cm}}]",
    ],
)
def test_an_address_in_a_command_or_a_config_map_is_a_call(more: str) -> None:
    config = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm, namespace: ns}\ndata: {U: 'http://b'}\n"
    assert callees(imported(workload("a", more=more) + workload("b") + config).fleet, "a") == {"b"}


def test_what_a_pod_reads_as_it_starts_is_known_and_no_secret_value_is() -> None:
    config = (
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm, namespace: ns}\ndata: {url: x, pool: '8'}\n"
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: page, namespace: ns}\ndata: {index.html: '<p>'}\n"
        "---\napiVersion: v1\nkind: Secret\nmetadata: {name: token, namespace: ns}\nstringData: {t: hunter2}\n"
    )
    env = (
        "{name: POOL, valueFrom: {configMapKeyRef: {name: cm, key: pool}}},"
        "{name: OWN, value: mine},"
        "{name: T, valueFrom: {secretKeyRef: {name: token, key: t, optional: true}}},"
        "{name: ELSEWHERE, valueFrom: {configMapKeyRef: {name: generated, key: a}}}"
    )
    more = "          envFrom: [{configMapRef: {name: cm}, prefix: APP_}, {secretRef: {name: generated}}]"
    fleet = imported(workload("a", env=env, more=more) + config).fleet
    a = fleet.service(ServiceId("ns/a"))
    assert dict(a.env) == {"OWN": "mine"}
    assert a.reads == (
        ConfigRead(source="cm", name="APP_"),
        ConfigRead(source="cm", key="pool", name="POOL"),
        ConfigRead(source="token", secret=True, key="t", name="T", optional=True),
    )
    assert [(one.name, dict(one.data)) for one in fleet.config_maps] == [("cm", {"url": "x", "pool": "8"})]
    assert fleet.secrets == (Secret(name="token", namespace="ns", keys=("t",)),)
    assert "hunter2" not in write_fleet(fleet)
    assert read_fleet(write_fleet(fleet)) == fleet


def test_webhooks_are_asked_where_their_selectors_say_and_answered_by_who_stands_before_them() -> None:
    more = (
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ns, labels: {checked: 'yes'}}\n"
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: guard, namespace: ns}\nspec: {selector: {app: b}}\n"
        "---\nkind: ValidatingWebhookConfiguration\nmetadata: {name: guard}\nwebhooks:\n"
        "- name: one\n  clientConfig: {service: {namespace: ns, name: guard}}\n"
        "  rules: [{apiGroups: [apps], apiVersions: ['*'], operations: [UPDATE], resources: [deployments]}]\n"
        "  namespaceSelector: {matchLabels: {checked: 'yes'}}\n"
        "- name: two\n  failurePolicy: Ignore\n  clientConfig: {url: 'https://x.example/'}\n"
        "  rules: [{apiGroups: [''], apiVersions: ['*'], operations: ['*'], resources: [pods]}]\n"
        "  namespaceSelector: {matchExpressions: [{key: checked, operator: DoesNotExist}]}\n"
        "- name: three\n  clientConfig: {url: 'https://x.example/'}\n  objectSelector: {matchLabels: {a: b}}\n"
        "  rules: [{apiGroups: [''], apiVersions: ['*'], operations: ['*'], resources: [pods]}]\n"
    )
    result = imported(workload("a") + workload("b") + more)
    deployments = WebhookRule(groups=("apps",), resources=("deployments",), operations=("UPDATE",))
    assert result.fleet.webhooks == (
        Webhook(
            configuration="guard", name="one", rules=(deployments,), service=ServiceId("ns/b"), namespaces=("ns",)
        ),
        Webhook(
            configuration="guard", name="two", rules=(WebhookRule(groups=("",), resources=("pods",)),),
            fails_closed=False, namespaces=(),
        ),
    )  # fmt: skip
    assert any('webhook "three"' in note.text for note in result.notes)
    assert read_fleet(write_fleet(result.fleet)) == result.fleet


def test_callers_of_a_database_hold_a_connection_of_their_pool() -> None:
    text = workload("a", env="{name: DB, value: 'postgres://b:5432/x'}") + workload("b", image="postgres:16")
    fleet = imported(text).fleet
    a, b = fleet.service(ServiceId("ns/a")), fleet.service(ServiceId("ns/b"))
    workers = a.operations[0].steps[0]
    assert isinstance(workers, Hold)
    assert workers.station == "workers"
    pools = [step for step in workers.body if isinstance(step, Hold)]
    assert [step.station for step in pools] == ["db-pool"]
    assert isinstance(pools[0].body[0], Call)
    assert [station.name for station in b.stations] == ["cpu", "connections"]
    assert b.stateful


def test_services_that_call_each_other_do_not_run_for_ever() -> None:
    text = workload("a", env="{name: B, value: 'b:80'}") + workload("b", env="{name: A, value: 'a:80'}")
    result = imported(text)
    assert NoteKind.CYCLE in kinds(result)
    assert list(flaws_of(result.fleet)) == []


def test_a_template_and_a_broken_document_are_named_and_the_rest_goes_on() -> None:
    text = (
        workload("a")
        + "---\nkind: Deployment\nmetadata:\n  name: {{ .Values.name }}\n"
        + "---\nkind: Deployment\nmetadata: [\n  name: broken\n"
        + "---\nkind: Deployment\nmetadata: {name: '{{ .Values.x }}'}\n"
        + workload("b")
    )
    result = imported(text)
    assert {service.name for service in result.fleet.services} == {"a", "b"}
    errors = [(note.kind, note.line) for note in result.notes if note.severity is Severity.ERROR]
    rows = text.splitlines()
    first = rows.index("  name: {{ .Values.name }}") + 1
    assert errors == [(NoteKind.TEMPLATED, first), (NoteKind.BROKEN, first + 4), (NoteKind.TEMPLATED, first + 7)]


def test_braces_in_a_dashboard_are_just_text() -> None:
    config = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: d, namespace: ns}\ndata: {x: '{{instance}}'}\n"
    assert NoteKind.TEMPLATED not in kinds(imported(workload("a") + config))


@pytest.mark.parametrize(
    "text", ["", "a: 1", "kind: Service\nmetadata: {name: x}\n", "{{ template }}\n", "[" * 100_000]
)
def test_a_file_without_any_workload_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        imported(text)
    assert caught.value.exit_code == 2


def test_unknown_kinds_and_references_to_nothing_are_noted() -> None:
    text = (
        workload("a", env="{name: X, valueFrom: {configMapKeyRef: {name: gone, key: k}}}")
        + "---\nkind: Rollout\nmetadata: {name: r}\n"
        + "---\nkind: PodDisruptionBudget\nmetadata: {name: p}\nspec: {minAvailable: 1}\n"
        + "---\nkind: Service\nmetadata: {name: s, namespace: ns}\nspec: {selector: {app: nobody}}\n"
        + "---\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\n"
        + "spec: {maxReplicas: 3, scaleTargetRef: {name: zz}}\n"
    )
    texts = " | ".join(note.text for note in imported(text).notes)
    for words in ('ConfigMap "gone"', "is a Rollout", "guards nothing", "selects no workload", "scales nothing"):
        assert words in texts


def test_a_quota_is_read_and_what_it_refuses_is_noted() -> None:
    hard = '{pods: "1", cpu: 1500m, requests.cpu: "2", limits.memory: 4Gi, services: "5", requests.memory: lots}'
    text = workload("a") + "---\nkind: ResourceQuota\nmetadata: {name: q, namespace: ns}\nspec: {hard: " + hard + "}\n"
    text += "---\nkind: ResourceQuota\nmetadata: {name: some, namespace: ns}\n"
    text += 'spec: {hard: {pods: "1"}, scopes: [BestEffort]}\n'
    result = imported(text)
    [read] = result.fleet.quotas
    assert read == Quota(name="q", namespace="ns", pods=1, cpu_request_cores=1.5, memory_limit_bytes=4 * 2**30)
    texts = " | ".join(note.text for note in result.notes)
    for words in (
        "bounds services, which is not modelled", "bounds requests.memory by 'lots', which is no amount",
        '"ns/some" is for some pods only', "states no limits.memory",
    ):  # fmt: skip
        assert words in texts
    assert read_fleet(write_fleet(result.fleet)) == result.fleet


def test_lists_folders_and_policies_are_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.yaml").write_text("[")
    (tmp_path / "sub" / "a.yaml").write_text(workload("a"))
    (tmp_path / "list.json").write_text(
        '{"kind": "List", "items": [{"kind": "PodDisruptionBudget", "metadata": {"name": "a", "namespace": "ns"},'
        ' "spec": {"maxUnavailable": "30%", "selector": {"matchLabels": {"app": "a"}}}},'
        ' {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "a", "namespace": "ns"},'
        ' "spec": {"minReplicas": 4, "maxReplicas": 8, "targetCPUUtilizationPercentage": 60,'
        ' "scaleTargetRef": {"name": "a"}}}]}'
    )
    texts, notes = read_sources([tmp_path])
    a = import_kubernetes(texts).fleet.service(ServiceId("ns/a"))
    assert notes == []
    assert a.replicas == 4
    assert a.disruption is not None
    assert a.disruption.min_available == 2  # 30 % of 4, rounded up, may go.
    assert a.autoscaling is not None
    assert a.autoscaling.cpu_target_ratio == 0.6


def test_a_huge_or_unreadable_file_in_a_folder_is_noted_and_the_rest_goes_on(tmp_path: Path) -> None:
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(50 * 2**20)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    (tmp_path / "ok.yaml").write_text(workload("a"))
    texts, notes = read_sources([tmp_path])
    assert [note.severity for note in notes] == [Severity.ERROR] * 2
    assert len(import_kubernetes(texts).fleet.services) == 1


@pytest.mark.parametrize(
    ("hint", "why"),
    [
        ("services: {nobody: {work: 5ms}}", 'there is no workload "nobody"'),
        ("services: {a: {wrok: 5ms}}", 'unknown key "wrok"'),
        ("services: {a: {work: 5 ms}}", "is not a duration"),
        ("journeys: [{name: j, target: 'a:buy', rate_rps: 1}]", 'has no operation "buy"'),
        ("calls: [{from: a, to: c}]", 'there is no workload "c"'),
        ("services: {a: {operations: {x: []}}}\ncalls: [{from: a, to: b}]", "are given"),
        ("services: {a: {operations: {x: [{call: 'a:x'}]}}}", "never ends"),
    ],
)
def test_hints_that_do_not_fit_are_refused_with_their_line(hint: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        imported(workload("a") + workload("b"), f"apiVersion: twin/v1alpha1\nkind: Hints\n{hint}\n")
    assert why in caught.value.why
    assert caught.value.why.startswith("line ")


def _mutations() -> st.SearchStrategy[str]:
    base = (EXAMPLES / "shop" / "orders.yaml").read_text() + (EXAMPLES / "shop" / "frontend.yaml").read_text()
    rows = base.splitlines()
    edits = st.lists(
        st.tuples(
            st.integers(0, len(rows) - 1),
            st.sampled_from(["cut", "double", "value", "indent", "text"]),
            st.text(max_size=8),
        ),
        min_size=1,
        max_size=5,
    )

    def apply(changes: list[tuple[int, str, str]]) -> str:
        found = list(rows)
        for at, how, text in changes:
            row = found[at]
            if how == "cut":
                found[at] = ""
            elif how == "double":
                found[at] = f"{row}\n{row}"
            elif how == "value":
                value = text or "[1, {a: null}]"
                found[at] = row.split(":")[0] + ": " + value.replace("\n", " ")
            elif how == "indent":
                found[at] = "  " + row
            else:
                found[at] = row + text
        return "\n".join(found) + "\n"

    return edits.map(apply)


KINDS = [
    "Deployment", "StatefulSet", "DaemonSet", "Service", "HorizontalPodAutoscaler", "ConfigMap", "Secret",
    "ResourceQuota", "PodDisruptionBudget", "Ingress", "ValidatingWebhookConfiguration",
]  # fmt: skip
JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([
            "kind", "metadata", "name", "namespace", "spec", "template", "containers", "env", "value", "image", "ports",
            "selector", "matchLabels", "replicas", "resources", "limits", "cpu", "rollingUpdate", "strategy", "items",
        ]), inner, max_size=5),
    max_leaves=25,
)  # fmt: skip


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(_mutations() | st.text(max_size=200))
def test_a_damaged_manifest_gives_a_sound_fleet_or_a_refusal(text: str) -> None:
    try:
        result = imported(text)
    except BadInput:
        return
    assert list(flaws_of(result.fleet)) == []
    assert read_fleet(write_fleet(result.fleet)) == result.fleet


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(KINDS), JSONISH)
def test_any_content_of_an_object_gives_a_sound_fleet(kind: str, spec: object) -> None:
    odd = json.dumps(
        {"kind": kind, "metadata": {"name": "a", "namespace": "ns"}, "spec": spec, "data": spec, "webhooks": [spec]}
    )
    fleet = imported(workload("b", env="{name: A, value: 'a:80'}") + "---\n" + odd + "\n" + workload("c")).fleet
    assert {"b", "c"} <= {service.name for service in fleet.services}
    assert read_fleet(write_fleet(fleet)) == fleet


def test_resources_are_summed_and_missing_requests_equal_limits() -> None:
    more = "          resources: {limits: {cpu: 200m, memory: 1Gi}, requests: {memory: 64Mi}}"
    a: Service = imported(workload("a", more=more)).fleet.services[0]
    assert a.resources.cpu_request_cores == 0.2
    assert a.resources.memory_request_bytes == 64 * 2**20
    assert a.resources.memory_limit_bytes == 2**30
    more = "          resources: {limits: {cpu: two}}"
    assert NoteKind.BROKEN in kinds(imported(workload("a", more=more)))
