"""What is asked for is found, with a relevance; what was learnt is kept; the past has an answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.knowledge import Knowledge, Note, load_folder

ROOT = Path(__file__).parents[3]
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def shop() -> Knowledge:
    return Knowledge(load_folder(ROOT / "examples" / "knowledge"))


@pytest.fixture(scope="module")
def runbooks() -> Knowledge:
    """Real runbooks, which other people wrote. CI must have them."""
    data = Path(os.environ.get("TWIN_REAL_DATA", ROOT.parent / "shared" / "data"))
    folder = data / "runbooks" / "content" / "runbooks"
    if not folder.is_dir():
        told = f"{folder} is missing: set TWIN_REAL_DATA to the folder with real input"
        if os.environ.get("CI"):
            pytest.fail(told, pytrace=False)
        pytest.skip(told)
    return Knowledge(load_folder(folder))


@pytest.mark.requirement("R4")
@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("orders-db architecture", "orders-db architecture"),
        ("orders-db known issues", "orders-db known issues"),
        ("cart known issues", "cart known issues"),
        ("checkout architecture", "checkout architecture"),
        ("retries keep services down after a spike", "Runbook: retry storm"),
        ("container crashes again and again after a config change", "Runbook: containers crash again and again"),
        ("OOMKilled memory limit", "Runbook: out of memory"),
        ("a node stopped answering", "Runbook: node not ready"),
    ],
)
def test_the_right_document_comes_first(shop: Knowledge, query: str, title: str) -> None:
    found = shop.recall(query, 3)
    assert found[0].title == title
    assert [d.relevance for d in found] == sorted((d.relevance for d in found), reverse=True)
    assert all(0.0 < d.relevance <= 1.0 and d.query == query for d in found)


@pytest.mark.requirement("R4")
@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("pod is in a crash loop", "KubePodCrashLooping"),
        ("crash looping container restarts", "KubePodCrashLooping"),
        ("deployment replicas mismatch", "KubeDeploymentReplicasMismatch"),
        ("node not ready", "KubeNodeNotReady"),
        ("persistent volume filling up", "KubePersistentVolumeFillingUp"),
        ("etcd has no leader", "etcdNoLeader"),
        ("hpa at maximum replicas", "KubeHpaMaxedOut"),
        ("cpu throttling", "CPUThrottlingHigh"),
        ("node clock skew", "NodeClockSkewDetected"),
    ],
)
def test_real_runbooks_are_found_among_the_first_three(runbooks: Knowledge, query: str, name: str) -> None:
    assert name in [Path(document.id).stem for document in runbooks.recall(query, 3)]


@pytest.mark.requirement("R4")
def test_what_an_incident_taught_is_found_by_the_next_agent(tmp_path: Path) -> None:
    path = tmp_path / "knowledge.jsonl"
    Knowledge(path=path).add(
        Note(id="incident/1", title="incident 1: shop/cart", sort="incident", text="Undo of the roll-out cured it.")
    )
    found = Knowledge(load_folder(ROOT / "examples" / "knowledge"), path=path).recall("incident shop/cart", 1)
    assert found[0].id == "incident/1"


@pytest.mark.requirement("R4")
def test_what_did_it_look_like_five_days_ago(shop: Knowledge) -> None:
    today_s = 1_779_840_000.0 + 1.0 * DAY_S  # 28 May 2026
    now = shop.recall("shop topology orders workers", 1, sort="snapshot", as_of_s=today_s)
    then = shop.recall("shop topology orders workers", 1, sort="snapshot", as_of_s=today_s - 5.0 * DAY_S)
    assert "4 replicas" in now[0].text
    assert "3 replicas" in then[0].text
    assert shop.snapshot("shop topology", as_of_s=1.0) is None
    note = shop.snapshot("shop topology", as_of_s=today_s - 5.0 * DAY_S)
    assert note is not None
    assert note.id.endswith("2026-05-20.md")


def test_nothing_irrelevant_is_recalled(shop: Knowledge) -> None:
    assert shop.recall("zzzz qqqq", 3) == ()
    assert Knowledge().recall("anything") == ()


def test_an_unknown_sort_is_refused() -> None:
    with pytest.raises(ValueError, match="architecture"):
        Knowledge().add(Note(id="x", title="x", sort="gossip", text="x"))
