"""What a command may reach beyond Kubernetes: who looks may not end anything, who writes may."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import twin.kube.plant
from twin.cli.targets import read_target, write_target
from twin.ports.plant import OpsApi
from twin.spec.errors import BadInput, ComponentMissing, Forbidden, Unavailable

END = {"service": "shop/db", "session": "4711-1764245333123456"}
URL = "http://127.0.0.1:9"


@pytest.fixture
def ops_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def plant(context: str | None, url: str, ops: OpsApi, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(name=f"kube:{context}", ops=ops)

    monkeypatch.setattr(twin.kube.plant, "live_plant", plant)
    monkeypatch.setenv("SHOP_DB_DSN", "postgresql://twin:hush-hush@127.0.0.1:9/orders")
    path = tmp_path / "ops.yaml"
    path.write_text("databases: [{service: shop/db, dsn_env: SHOP_DB_DSN}]")
    return path


def test_who_looks_may_not_end_a_session_and_who_writes_may(ops_file: Path) -> None:
    with pytest.raises(Forbidden, match="only read"):
        read_target("kube:prod", prometheus=URL, ops=ops_file).ops.call("terminate_session", END)
    with write_target("kube:prod", prometheus=URL, ops=ops_file) as target, pytest.raises(Unavailable):
        target.plant.ops.call("terminate_session", END)


def test_without_a_file_nothing_is_reached(ops_file: Path) -> None:
    with (
        write_target("kube:prod", prometheus=URL) as target,
        pytest.raises(ComponentMissing, match="no adapter") as told,
    ):
        target.plant.ops.call("terminate_session", END)
    assert told.value.exit_code == 11


def test_a_saved_world_has_its_own(ops_file: Path) -> None:
    with pytest.raises(BadInput, match="databases of its own"):
        read_target("prod.world", ops=ops_file)
    with pytest.raises(BadInput, match="databases of its own"), write_target("prod.world", ops=ops_file):
        pass
