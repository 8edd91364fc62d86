"""What a stand-in plays, what it keeps of the real workload, and how much of production fits into a shadow."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.kube.archive import write_image
from twin.kube.dressing import scaled
from twin.kube.scale import ROOM_SHARE, fitted, requests_share, users_share
from twin.kube.snapshot import Snapshot, take_snapshot
from twin.kube.standins import addresses_of, dress, images_of, load_script, script_of
from twin.spec.change import Change, Reversibility
from twin.spec.fields import FieldPath, container_path
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef, PatchStep, Plan


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return take_snapshot(plant_of(World.build(small_shop(), seed=1)).kube, ["shop"], source="a World")


def test_a_script_is_the_services_program(snapshot: Snapshot) -> None:
    addresses = addresses_of(snapshot)
    script = script_of(small_shop().service(ServiceId("shop/orders")), addresses)
    (hold,) = script["operations"]["serve"]
    work, call = hold["body"]
    assert (hold["do"], hold["station"]) == ("hold", "workers")
    assert (work["do"], work["mean_s"]) == ("work", 0.005)
    assert (call["target"], call["timeout_s"], call["retries"]) == ("shop/db:write", 2.0, 1)
    assert call["url"] == "http://db.shop.svc.cluster.local:80"
    assert script["stations"]["workers"]["servers"] == 32


def test_a_limit_of_the_whole_service_is_shared_by_its_pods(snapshot: Snapshot) -> None:
    script = script_of(small_shop().service(ServiceId("shop/db")), {}, held={"row-lock": 5})
    assert script["stations"]["row-lock"] == {"servers": 1, "queue_limit": None, "held": 1}


def test_users_come_at_their_share(snapshot: Snapshot) -> None:
    script = load_script(small_shop(), addresses_of(snapshot), share=0.25, factors={"browse": 2.0})
    assert script["journeys"][0]["rate_rps"] == pytest.approx(60.0)


def test_a_dressed_workload_keeps_what_kubernetes_acts_on_and_nothing_that_leads_outside(snapshot: Snapshot) -> None:
    objects = dress(snapshot, small_shop(), room=0.1)
    catalog = next(o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "catalog")
    real = next(o for o in snapshot.of("Deployment") if o["metadata"]["name"] == "catalog")
    container = catalog["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "catalog:v1"
    assert catalog["spec"]["replicas"] == real["spec"]["replicas"]
    assert catalog["spec"]["strategy"] == real["spec"]["strategy"]
    was, now = (one["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] for one in (real, catalog))
    assert {key: now[key] for key in ("periodSeconds", "failureThreshold")} == {
        key: was[key] for key in ("periodSeconds", "failureThreshold")
    }
    assert container["resources"]["requests"]["cpu"] == "50m"
    for service in (o for o in objects if o["kind"] == "Service"):
        assert service["spec"]["type"] == "ClusterIP"
        assert "externalName" not in service["spec"]
    assert not [o for o in objects if o["kind"] in ("ReplicaSet", "Endpoints")]


@pytest.mark.parametrize(
    ("resource", "quantity", "room", "expected"),
    [("cpu", "500m", 0.1, "50m"), ("requests.cpu", "2", 0.25, "500m"), ("cpu", "1m", 0.001, "1m"),
     ("memory", "1Gi", 0.5, str(2**29)), ("pods", "10", 0.1, "10"), ("limits.memory", "1Ki", 0.5, "512")],
)  # fmt: skip
def test_quantities_are_scaled(resource: str, quantity: str, room: float, expected: str) -> None:
    assert scaled(resource, quantity, room) == expected


def test_requests_are_scaled_until_all_fits_beside_what_is_there(snapshot: Snapshot) -> None:
    def asking(cpu: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"resources": {"limits": {"cpu": cpu}}}]}}

    node = {"status": {"allocatable": {"cpu": "4", "memory": "64Gi"}}}
    pods = snapshot.of("Deployment") + snapshot.of("StatefulSet")
    asked = sum(int(pod["spec"]["replicas"]) for pod in pods) * 0.5
    free = requests_share(snapshot, nodes=[node], pods=[])
    assert free == pytest.approx(ROOM_SHARE * 4.0 / asked)
    assert requests_share(snapshot, nodes=[node], pods=[asking("1")]) == pytest.approx(free * 3.0 / 4.0)
    assert requests_share(snapshot, nodes=[node] * 100, pods=[]) == 1.0


def test_a_plan_is_in_the_shadows_measure() -> None:
    def step(fields: dict[FieldPath, Any]) -> PatchStep:
        return PatchStep(ref=ObjectRef(kind="X", name="x", namespace="shop"), fields=fields)

    request, limit = (container_path("cart", "resources", part, "cpu") for part in ("requests", "limits"))
    hard = {("spec", "hard", name): value for name, value in
            (("requests.cpu", "20"), ("cpu", "20"), ("limits.cpu", "40"), ("pods", "80"))}  # fmt: skip
    change = Change(actions=(), reason="r", requester="ana")
    plan = Plan(
        change=change, steps=(step({request: "2", limit: "4"}), step(hard)), reads=(),
        reversibility=Reversibility.REVERSIBLE, strategy=change.strategy,
    )  # fmt: skip
    first, second = fitted(plan, 0.1).steps
    assert isinstance(first, PatchStep)
    assert isinstance(second, PatchStep)
    assert first.fields == {request: "200m", limit: "4"}
    assert list(second.fields.values()) == ["2000m", "2000m", "40", "80"]


def test_no_stand_in_is_given_more_users_than_its_own_limit_carries() -> None:
    import dataclasses

    fleet = small_shop()
    free = users_share(fleet, cores=1000.0)
    tight = dataclasses.replace(fleet, services=tuple(
        dataclasses.replace(one, resources=dataclasses.replace(one.resources, cpu_limit_cores=0.2))
        for one in fleet.services
    ))  # fmt: skip
    assert free == 1.0
    assert users_share(tight, cores=1000.0) < 1.0
    assert users_share(fleet, cores=2.0) < 1.0


def test_every_image_of_the_snapshot_is_known_by_its_name_and_knows_it(snapshot: Snapshot, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    names = images_of(snapshot)
    assert "cart:v1" in names
    for copy in ("a.tar", "b.tar"):
        write_image(
            tmp_path / copy, {name: {"STAND_IN_IMAGE": name} for name in names}, files={"/stand-in": program},
            entrypoint=["/stand-in"],
        )  # fmt: skip
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        index: list[dict[str, Any]] = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        for entry in index:
            config = json.load(tar.extractfile(entry["Config"]))  # type: ignore[arg-type]
            assert f"STAND_IN_IMAGE={entry['RepoTags'][0]}" in config["config"]["Env"]
    assert [entry["RepoTags"][0] for entry in index] == names
    assert len({entry["Layers"][0] for entry in index}) == 1
