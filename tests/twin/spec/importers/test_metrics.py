from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.spec.checks import flaws_of
from twin.spec.errors import BadInput
from twin.spec.files import read_fleet, write_fleet
from twin.spec.fleet import Source
from twin.spec.ids import OpId
from twin.spec.importers import ImportResult, apply_metrics, import_kubernetes, read_hints, read_metrics, read_sources
from twin.spec.importers.kubernetes import op_rates
from twin.spec.parameters import parameters_of

NAMES = ["m.csv", "m.json"]
EXAMPLES = Path(__file__).parents[4] / "examples"


@pytest.fixture(scope="module")
def bare() -> ImportResult:
    texts, _ = read_sources([EXAMPLES / "shop"])
    return import_kubernetes(texts)


def measured(result: ImportResult, text: str, folder: Path, name: str = "m.csv") -> ImportResult:
    path = folder / name
    path.write_text(text)
    return apply_metrics(result, read_metrics(path))


def test_what_was_measured_replaces_the_prior(bare: ImportResult, tmp_path: Path) -> None:
    text = "service,to,rate_rps,cpu_cores,work\nfrontend,,50,0.9,\ncart,,30,,9ms\nfrontend,cart,20,,\n"
    result = measured(bare, text, tmp_path)
    figures = dict(parameters_of(result.fleet))
    assert figures["shop/frontend:serve work[0].mean_s"] == pytest.approx(0.018)  # 0.9 cores at 50 requests/s
    assert figures["shop/cart:serve work[0].mean_s"] == pytest.approx(0.009)
    assert figures["journey:frontend rate_rps"] == pytest.approx(50)
    rates = op_rates(result.fleet.services, result.fleet.journeys)
    assert rates[OpId("shop/frontend:serve")] == pytest.approx(50)
    belief = result.fleet.beliefs["shop/cart:serve work[0].mean_s"]
    assert (belief.source, belief.spread) == (Source.MEASURED, 0.05)
    assert read_fleet(write_fleet(result.fleet)) == result.fleet


def test_json_says_the_same(bare: ImportResult, tmp_path: Path) -> None:
    csv = measured(bare, "service,to,rate_rps,cpu_cores\nfrontend,,50,0.9\nfrontend,cart,20,\n", tmp_path)
    text = '{"services": [{"service": "frontend", "rate_rps": 50, "cpu_cores": 0.9}],\n'
    text += '"calls": [{"from": "frontend", "to": "shop/cart", "rate_rps": 20}]}'
    assert measured(bare, text, tmp_path, "m.json").fleet == csv.fleet


def test_a_call_that_no_manifest_shows_is_added(bare: ImportResult, tmp_path: Path) -> None:
    result = measured(bare, "service,to,rate_rps\npayment,,10,\npayment,notifier,3\n".replace("10,", "10"), tmp_path)
    figures = dict(parameters_of(result.fleet))
    assert figures["shop/payment:serve call[0].probability"] == pytest.approx(0.3)
    assert list(flaws_of(result.fleet)) == []


def test_operations_keep_their_proportions(tmp_path: Path) -> None:
    texts, _ = read_sources([EXAMPLES / "shop"])
    shop = import_kubernetes(texts, hints=read_hints(EXAMPLES / "shop.hints.yaml"))
    before = dict(parameters_of(shop.fleet))
    after = dict(parameters_of(measured(shop, "service,rate_rps,cpu_cores\ncatalog,135,1.41\n", tmp_path).fleet))
    ratios = [after[p] / before[p] for p in ("shop/catalog:list work[0].mean_s", "shop/catalog:get work[0].mean_s")]
    assert ratios == pytest.approx([2.0, 2.0], rel=0.01)  # The hints make 0.705 cores of it.


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("service,rate\na,1\n", 1, 'unknown column "rate"'),
        ("rate_rps\n1\n", 1, '"service" is missing'),
        ("service,rate_rps\na,fast\n", 2, 'rate_rps "fast"'),
        ("service,rate_rps\na,nan\n", 2, 'rate_rps "nan"'),
        ("service,rate_rps\na,-1\n", 2, 'rate_rps "-1"'),
        ("service,work\na,5\n", 2, "is not a duration"),
        ("service,to\na,b\n", 2, "without rate_rps"),
        ("service,to\na,b,c\n", 2, "more fields"),
    ],
)
def test_what_is_no_figure_is_refused_with_its_line(text: str, line: int, why: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_metrics(path)
    assert caught.value.why.startswith(f"line {line}: ")
    assert why in caught.value.why


def test_a_file_about_another_fleet_is_refused(bare: ImportResult, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="none of its services"):
        measured(bare, "service,rate_rps\nnobody,1\n", tmp_path)
    assert any("nobody" in note.text for note in measured(bare, "service,rate_rps\nnobody,1\ncart,1\n", tmp_path).notes)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.sampled_from('service,torate_rps\n"cart0129.-fnd'), max_size=80), st.sampled_from(["m.csv", "m.json"])
)
def test_any_text_is_figures_or_a_refusal(bare: ImportResult, tmp_path: Path, text: str, name: str) -> None:
    try:
        result = measured(bare, "service,to,rate_rps\n" + text if name == "m.csv" else text, tmp_path, name)
    except BadInput:
        return
    assert list(flaws_of(result.fleet)) == []
