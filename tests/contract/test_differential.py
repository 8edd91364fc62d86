"""Random changes on a World and on a real control plane: both settle to the same objects and the same pods."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.clusters.control_plane import ADMIN, ControlPlane
from tests.clusters.shop import await_that, lay_out_shop
from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.kube import connect
from twin.ports.plant import KubeApi
from twin.spec.errors import ApiError
from twin.spec.fields import FieldPath, container_path, get_field
from twin.spec.plan import ObjectRef
from twin.spec.units import NS_PER_S, parse_bytes, parse_cores

WRITES: Final = int(os.environ.get("TWIN_DIFFERENTIAL", "32"))  # `make campaigns` makes many more.
IN_A_ROW: Final = 8
SETTLE_NS: Final = 90 * NS_PER_S
SERVICES: Final = ("web", "cart", "orders")  # The autoscaler's own is left to it, and the database to itself.

BUDGET: Final = ObjectRef(kind="PodDisruptionBudget", name="cart", namespace="shop")
SCALER: Final = ObjectRef(kind="HorizontalPodAutoscaler", name="catalog", namespace="shop")
QUOTA: Final = ObjectRef(kind="ResourceQuota", name="all", namespace="shop")
SETTINGS: Final = ObjectRef(kind="ConfigMap", name="settings", namespace="shop")
FROZEN: Final = ObjectRef(kind="ConfigMap", name="frozen", namespace="shop")
RESTARTED: Final = ("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")
EVICT: Final[dict[FieldPath, Any]] = {}  # instead of fields: a workload's first pod is evicted

Write = tuple[ObjectRef, dict[FieldPath, Any]]


@st.composite
def sequences(draw: st.DrawFn) -> list[Write]:
    """Writes in a row. Quotas are tried where the autoscaler is left alone: how fast it moves is another matter, and
    its pods would take room from the others."""
    other = draw(st.sampled_from([SCALER, QUOTA]))
    return draw(st.lists(writes(other), min_size=IN_A_ROW, max_size=IN_A_ROW))


@st.composite
def writes(draw: st.DrawFn, other: ObjectRef) -> Write:
    """One write that either side may take or refuse."""
    match draw(st.integers(0, 9)):
        case 0 | 1:
            return ObjectRef(kind="Deployment", name=draw(st.sampled_from(SERVICES)), namespace="shop"), EVICT
        case 2:
            return BUDGET, {("spec", "minAvailable"): draw(st.integers(-1, 4))}
        case 3 | 4 | 5 if other == QUOTA:
            hard = st.one_of(
                st.fixed_dictionaries(
                    {("spec", "hard", "pods"): st.sampled_from(["10", "13", "14", "15", "16", "-1"])}
                ),
                st.fixed_dictionaries(
                    {("spec", "hard", "requests.cpu"): st.sampled_from(["6500m", "8", None, "lots"])}
                ),
                st.fixed_dictionaries({("spec", "hard", "limits.cpu"): st.sampled_from(["40", None])}),
                st.fixed_dictionaries({("spec", "hard", "limits.memory"): st.sampled_from(["3Gi", "4Gi", None])}),
            )
            return QUOTA, draw(hard)
        case 6 | 7 if other == QUOTA:  # What a quota is there to refuse.
            ref = ObjectRef(kind="Deployment", name=draw(st.sampled_from(SERVICES)), namespace="shop")
            return ref, {("spec", "replicas"): draw(st.integers(3, 7))}
        case 3:
            field = draw(st.sampled_from(["minReplicas", "maxReplicas"]))
            return SCALER, {("spec", field): draw(st.integers(0, 10))}
        case 8:
            entry = st.tuples(st.sampled_from(["LEVEL", "POOL", "a b"]), st.sampled_from(["info", "debug", None]))
            frozen = st.sampled_from([{("data", "a"): "1"}, {("data", "a"): "2"}, {("immutable",): False}])
            key, value = draw(entry)
            return draw(st.sampled_from([(SETTINGS, {("data", key): value}), (FROZEN, draw(frozen))]))
    name = draw(st.sampled_from(SERVICES))
    image, memory = container_path(name, "image"), container_path(name, "resources", "limits", "memory")
    env = container_path(name, "env", f"[name={draw(st.sampled_from('AB'))}]", "value")
    build = st.sampled_from([f"{name}:v1", f"{name}:v2", f"{name}:v3"])
    fields = draw(
        st.one_of(
            st.fixed_dictionaries({("spec", "replicas"): st.integers(-1, 5)}),
            st.fixed_dictionaries({image: st.one_of(build, st.just(""))}),
            st.fixed_dictionaries({env: st.sampled_from(["1", "2", None])}),
            st.fixed_dictionaries({memory: st.sampled_from(["128Mi", "256Mi", "1Gi", "lots"])}),
            st.fixed_dictionaries({("spec", "paused"): st.booleans()}),
            st.fixed_dictionaries({RESTARTED: st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", None])}),
            st.fixed_dictionaries({("spec", "nonsense"): st.just(1)}),
            st.fixed_dictionaries({("spec", "replicas"): st.integers(1, 4), image: build}),
        )
    )
    return ObjectRef(kind="Deployment", name=name, namespace="shop"), fields


def written(api: KubeApi, ref: ObjectRef, fields: Mapping[FieldPath, Any]) -> str:
    """ "done", or the kind of refusal."""
    try:
        if fields == EVICT:
            pods = [p for p in api.list_objects("Pod", "shop", {"app": ref.name}) if _is_ready(p)]
            if not pods:
                return "nobody to evict"
            api.evict(ObjectRef(kind="Pod", name=pods[0]["metadata"]["name"], namespace="shop"))
        else:
            api.patch(ref, fields)
    except ApiError as error:
        return type(error).__name__
    return "done"


def settled(api: KubeApi) -> dict[str, Any]:
    """What is wanted and what is there, by service: no names, times or versions."""
    budget, scaler, quota = api.get(BUDGET), api.get(SCALER)["spec"], api.get(QUOTA)
    found: dict[str, Any] = {
        "budget": (budget["spec"]["minAvailable"], budget["status"]["disruptionsAllowed"]),
        "autoscaler": (scaler["minReplicas"], scaler["maxReplicas"]),
        "config": [api.get(ref).get("data", {}) for ref in (SETTINGS, FROZEN)],
        # Also by its status: what is enforced is what the quota controller has seen. Amounts are spelled differently.
        "quota": [
            {name: parse_cores(amount) for name, amount in amounts.items()}
            for amounts in (quota["spec"]["hard"], quota["status"].get("hard", {}), quota["status"].get("used", {}))
        ],
    }
    for name in SERVICES:
        spec = api.get(ObjectRef(kind="Deployment", name=name, namespace="shop"))["spec"]
        container = spec["template"]["spec"]["containers"][0]
        pods = [
            (pod["spec"]["containers"][0]["image"], _is_ready(pod))
            for pod in api.list_objects("Pod", "shop", {"app": name})
            if not pod["metadata"].get("deletionTimestamp")
        ]
        found[name] = {
            "replicas": spec["replicas"],
            "restarted": get_field({"spec": spec}, RESTARTED),
            "paused": bool(spec.get("paused")),
            "image": container["image"],
            "env": sorted((entry["name"], entry.get("value", "")) for entry in container.get("env", ())),
            "memory": parse_bytes(container["resources"]["limits"]["memory"]),  # A World does not keep the spelling.
            "pods": sorted(pods),
        }
    return found


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@pytest.mark.real
@pytest.mark.xdist_group("control-plane")
@pytest.mark.requirement("R13")
@pytest.mark.timeout(900)
@settings(
    max_examples=max(WRITES // IN_A_ROW, 1),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(sequences())
def test_a_world_and_a_cluster_settle_alike(kubernetes: ControlPlane, sequence: list[Write]) -> None:
    cluster = connect(kubeconfig=kubernetes.kubeconfig(ADMIN))
    lay_out_shop(cluster)
    world = World.build(small_shop(), seed=1)
    world.run(SETTLE_NS)
    ours = plant_of(world, writes=True).kube
    for number, (ref, fields) in enumerate(sequence, start=1):
        answers = written(ours, ref, fields), written(cluster, ref, fields)
        assert answers[0] == answers[1], f"write {number}: {ref.name} {fields}"
        world.run_for(SETTLE_NS)
        if ref == QUOTA:  # Who has been refused for long is tried again after as long again, 1000 s at most.
            world.run_for(min(world.now_ns, 1000 * NS_PER_S))
        _await_alike(settled(ours), cluster, number)


def _await_alike(wanted: dict[str, Any], cluster: KubeApi, number: int) -> None:
    try:
        await_that("the cluster is like the World", lambda: settled(cluster) == wanted, patience_s=20.0)
    except AssertionError:
        assert settled(cluster) == wanted, f"after write {number}"
