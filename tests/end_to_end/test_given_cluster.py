"""A cluster that somebody else made, taken for a shadow by its context, and run with real images: Debian's busybox as a
web server, whose second build serves nothing and whose third ends at once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.toolkit.runner import run_experiment
from tests.clusters.shadow import NAME, kind_cluster
from tests.clusters.shop import await_that
from tests.small_shop import small_shop
from twin.change.compile import compile_change
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.trial import Trial, try_on_shadow
from twin.kube import connect
from twin.kube.archive import write_image
from twin.kube.declared import DeclaredObjects
from twin.kube.given import GivenCluster
from twin.kube.kind import KindCluster
from twin.kube.loaded import Images
from twin.kube.pool import ShadowPool
from twin.kube.shadow import KubeShadow
from twin.kube.snapshot import Snapshot, take_snapshot
from twin.kube.walls import close_nodes
from twin.spec.change import Action, Change
from twin.spec.errors import BadInput, Inconclusive
from twin.spec.fault import parse_fault
from twin.spec.fields import container_path
from twin.spec.fleet import Fleet
from twin.spec.importers import ManifestText, import_kubernetes
from twin.spec.plan import ObjectRef, Plan
from twin.spec.receipt import EvidenceLevel
from twin.spec.verdict import StageResult, StageVerdict

pytestmark = [pytest.mark.real, pytest.mark.kind, pytest.mark.requirement("R13")]
EXPERIMENT = Path(__file__).parents[2] / "chaos" / "experiments" / "lost-pod-on-a-shadow.json"
CONTEXT = f"kind-twin-{NAME}"
WEB = ObjectRef(kind="Deployment", name="web", namespace="site")
IMAGE = container_path("web", "image")
MANIFESTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: site, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {disk: fast}
      serviceAccountName: web
      containers:
        - name: web
          image: site.local/web:v1
          args: [httpd, -f, -p, "8080", -h, /www]
          envFrom: [{secretRef: {name: web}}]
          ports: [{containerPort: 8080}]
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
          resources: {requests: {cpu: 100m, memory: 32Mi}}
          volumeMounts: [{name: uploads, mountPath: /uploads}]
      volumes: [{name: uploads, persistentVolumeClaim: {claimName: uploads}}]
---
apiVersion: v1
kind: Secret
metadata: {name: web, namespace: site}
stringData: {PASSWORD: "very secret"}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: site}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


@pytest.fixture(scope="module")
def ground(shadows: ShadowPool) -> KindCluster:
    """The cluster of the tests' own shadow, as somebody else's. It has the images that its maker gave it."""
    with shadows.borrow(NAME) as shadow:
        shadow.clear()
    return kind_cluster(shadows)


@pytest.fixture(scope="module")
def images(ground: KindCluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("images")
    subprocess.run(["docker", "cp", f"{ground.nodes()[0]}:/bin/busybox", folder / "busybox"], check=True)
    (folder / "index.html").write_text("hello\n")
    program = {"/bin/busybox": folder / "busybox"}
    page = {"/www/index.html": folder / "index.html"}
    for build, files, entrypoint in (
        ("v1", program | page, ["/bin/busybox"]),
        ("v2", program | {"/www/other.html": folder / "index.html"}, ["/bin/busybox"]),
        ("v3", program | page, ["/bin/busybox", "false"]),
    ):
        archive = folder / f"{build}.tar"
        write_image(archive, {f"site.local/web:{build}": {}}, files=files, entrypoint=entrypoint)
        ground.load_images(archive)


@pytest.fixture
def pool(ground: KindCluster, shadows: ShadowPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShadowPool:
    """Another home, which knows the cluster by its context alone."""
    monkeypatch.setenv("KUBECONFIG", str(ground.kubeconfig))
    monkeypatch.setenv("TWIN_HOME", str(tmp_path))
    return ShadowPool(tmp_path / "shadows", cache=shadows.cache)


@pytest.fixture
def outside(ground: KindCluster) -> Iterator[str]:
    with ground.outside() as address:
        yield address


@pytest.fixture(scope="module")
def site() -> tuple[Snapshot, Fleet]:
    texts = [ManifestText("site.yaml", MANIFESTS)]
    declared = DeclaredObjects(texts, default_namespace="default")
    return take_snapshot(declared, ["site"], source="site.yaml"), import_kubernetes(texts, name="site").fleet


def test_a_cluster_whose_pods_get_out_is_not_taken(ground: KindCluster, pool: ShadowPool, outside: str) -> None:
    """Its CNI does not enforce policies, and its nodes are open."""
    given = GivenCluster(context=CONTEXT, beyond=outside)
    node = ground.nodes()[0]
    ground.on_node(node, ["iptables", "-F", "TWIN-EGRESS"])
    try:
        with pytest.raises(Inconclusive, match="cannot be closed"):
            pool.adopt("mine", given)
    finally:
        close_nodes(connect(context=CONTEXT), ground.on_node)
    assert pool.records() == []


def test_nobody_outside_means_that_nothing_is_proved(pool: ShadowPool) -> None:
    with pytest.raises(Inconclusive, match="a node itself cannot reach"):
        pool.adopt("mine", GivenCluster(context=CONTEXT, beyond="127.0.0.1:9"))


def test_a_cluster_in_use_is_not_taken_nor_written_over(
    ground: KindCluster, shadows: ShadowPool, pool: ShadowPool, outside: str, site: tuple[Snapshot, Fleet]
) -> None:
    with shadows.borrow(NAME) as own:
        own.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "site"}})
        pause = {"containers": [{"name": "web", "image": "twin.local/stand-in:1", "args": ["rest"]}]}
        own.kube.create({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "site"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": pause},
            },
        })  # fmt: skip
        try:
            with pytest.raises(BadInput, match="runs site/web, which no shadow put there"):
                pool.adopt("mine", GivenCluster(context=CONTEXT, beyond=outside))
            with pytest.raises(BadInput, match="not ours to write over"):
                own.load_snapshot(*site)
            assert own.kube.get(WEB)["spec"]["template"]["spec"]["containers"][0]["args"] == ["rest"]
        finally:
            own.clear()
            own.kube.delete(ObjectRef(kind="Namespace", name="site"))
            _await_gone(own, "site")


@pytest.mark.usefixtures("images")
def test_real_images_do_what_they_do(pool: ShadowPool, outside: str, site: tuple[Snapshot, Fleet]) -> None:
    """Taken, loaded, tried with three builds, and given back empty."""
    record = pool.adopt("mine", GivenCluster(context=CONTEXT, beyond=outside))
    assert record.enforces["egress"]
    snapshot, fleet = site
    with pool.borrow("mine") as shadow:
        shadow.load_snapshot(snapshot, fleet, images=Images.REAL)
        assert shadow.level is EvidenceLevel.REAL_IMAGES
        pod = shadow.kube.list_objects("Pod", "site")[0]
        assert pod["spec"]["containers"][0]["image"] == "site.local/web:v1"
        secret = shadow.kube.get(ObjectRef(kind="Secret", name="web", namespace="site"))
        assert "very secret" not in json.dumps(secret)

        cure = _to(shadow, "v1", while_it_runs="v2")
        result, seen = _tried(shadow, fleet, cure, "bad_rollout(site/web, image=site.local/web:v2)")
        assert result.verdict is StageVerdict.PASS
        assert seen.users["before"] > 0.9
        assert seen.users["after"] < 0.05
        crashing = _to(shadow, "v3", while_it_runs="v1")
        result, _ = _tried(shadow, fleet, crashing, None)
        assert result.verdict is StageVerdict.FAIL
        assert "does not roll out" in result.reason
        result, _ = _tried(shadow, fleet, cure, "slow(site/web, factor=10)")
        assert result.verdict is StageVerdict.INCONCLUSIVE
        assert "real images" in result.reason
    with pool.borrow("mine") as later:
        assert later.loaded.images is Images.REAL  # A later command goes on with it.
    assert pool.down("mine")
    assert pool.records() == []


def test_an_experiment_runs_on_a_shadow(shadows: ShadowPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chaos Toolkit itself, on what an earlier command loaded."""
    monkeypatch.setenv("TWIN_HOME", str(shadows.folder.parent))
    monkeypatch.setenv("TWIN_SHADOW", NAME)
    with shadows.borrow(NAME) as shadow:
        shadow.load_snapshot(
            take_snapshot(plant_of(World.build(small_shop(), seed=1)).kube, ["shop"], source="a World"), small_shop()
        )
    result = run_experiment(EXPERIMENT)
    assert result.outcome == "passed", result.text()
    runs = result.journal["run"]
    lost = next(run["output"] for run in runs if run["activity"]["name"] == "cart loses a pod")
    with shadows.borrow(NAME) as shadow:
        assert lost not in [pod["metadata"]["name"] for pod in shadow.kube.list_objects("Pod", "shop")]
        assert not shadow.state[1].conducts  # Mended.


def _to(shadow: KubeShadow, build: str, *, while_it_runs: str) -> Plan:
    """A change to this build, as compiled while another one runs."""
    shadow.kube.patch(WEB, {IMAGE: f"site.local/web:{while_it_runs}"})
    action = Action(kind="set_image", target="site/web", parameters={"image": f"site.local/web:{build}"})
    return compile_change(Change(actions=(action,), reason="r", requester="ana"), shadow.kube, at_s=0.0)


def _tried(shadow: KubeShadow, fleet: Fleet, plan: Plan, fault: str | None) -> tuple[StageResult, Trial]:
    result, seen = try_on_shadow(shadow, fleet, plan, None if fault is None else parse_fault(fault))
    print(result.reason, seen.timeline, seen.events, sep="\n")  # pytest shows it only on failure.
    return result, seen


def _await_gone(shadow: KubeShadow, namespace: str) -> None:
    def is_gone() -> bool:
        return namespace not in [one["metadata"]["name"] for one in shadow.kube.list_objects("Namespace")]

    await_that(f"namespace {namespace} is gone", is_gone)
