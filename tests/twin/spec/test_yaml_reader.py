from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.spec.errors import BadInput
from twin.spec.yaml_reader import Document, Problem, parse_document, single_document, split_documents


def document(text: str) -> Document:
    result = parse_document(text)
    assert isinstance(result, Document), result
    return result


def problem(text: str) -> Problem:
    result = parse_document(text)
    assert isinstance(result, Problem), result
    return result


def test_scalars_mean_what_they_look_like() -> None:
    text = "a: on\nb: 1:30\nc: 0644\nd: 1e3\ne: true\nf: ~\ng: '8080'\nh: 8080\ni: !!str 7\nj: 2026-01-01\nk: .inf"
    assert document(text).value == {
        "a": "on", "b": "1:30", "c": "0644", "d": 1000.0, "e": True, "f": None,
        "g": "8080", "h": 8080, "i": "7", "j": "2026-01-01", "k": float("inf"),
    }  # fmt: skip


def test_every_part_has_its_line() -> None:
    found = document("a: 1\nb:\n  - x\n  - c: 1\n    d:\n      e: 2\n")
    assert found.line(("b",)) == 2
    assert found.line(("b", 0)) == 3
    assert found.line(("b", 1, "d", "e")) == 6
    assert found.line(("b", 1, "d", "nothing", "here")) == 5


def test_json_has_lines_too() -> None:
    assert document('{"a":\n [1,\n {"b": 2}]}').line(("a", 1, "b")) == 3


def test_merged_mappings_give_what_is_not_said_otherwise() -> None:
    found = document("x: &b {q: 1, r: 2}\ny:\n  <<: *b\n  r: 3\n")
    assert found.value["y"] == {"q": 1, "r": 3}
    assert found.line(("y", "q")) == 3


def test_the_second_of_two_equal_keys_is_refused_and_both_lines_named() -> None:
    found = problem("a: 1\nb: 2\na: 3\n")
    assert (found.line, found.message) == (3, '"a" is given twice, first at line 1')
    assert problem('{"a": 1,\n"a": 2}').line == 2


@pytest.mark.timeout(20)  # The guard is against minutes, not a measurement.
def test_ten_lines_do_not_become_a_billion_values() -> None:
    rows = ["a0: &a0 [1,2,3,4,5,6,7,8,9,10]"]
    rows += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "aliases expand" in problem("\n".join(rows)).message


@pytest.mark.parametrize("text", ["a: &x [1, *x]", "a: &x {b: *x}", "&x [*x]"])
def test_an_alias_that_contains_itself_is_refused(text: str) -> None:
    assert "contains itself" in problem(text).message


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "{a: " * 200_000, "- " * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000]
)
def test_depth_is_refused_rather_than_ending_the_process(text: str) -> None:
    assert "deep" in problem(text).message


def test_a_template_says_that_it_should_be_quoted() -> None:
    assert "quote it" in problem("a: 1\nname: {{ .Values.name }}").next_step
    assert problem("a: 1\nname: {{ .Values.name }}").line == 2


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a:\n\t- b", 2, "not YAML"),
        ("a: [1, 2\nb: 3", 2, "not YAML"),
        ("a: *nobody", 1, "names no anchor"),
        ("a: !!python/object:os.system x", 1, "tag"),
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("a: 1\nb: \x00", 1, "not YAML"),
        ("\ud800", 1, "not YAML"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, line: int, message: str) -> None:
    assert problem(text).line == line
    assert message in problem(text).message


def test_documents_are_cut_at_their_separators_and_know_their_lines() -> None:
    text = "# first\na: 1\n---\nb: |\n  x\n  --- y\n--- # third\nc: 3\n"
    assert [(line, chunk.count("\n")) for line, chunk in split_documents(text)] == [(1, 2), (3, 4), (7, 2)]


def test_an_empty_file_says_so() -> None:
    with pytest.raises(BadInput, match="empty"):
        single_document("# nothing\n", "fleet.yaml")


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from("ab:-{}[]&*!|>'\"%@ \n\t#,?0.~<"), max_size=40) | st.text(max_size=40))
def test_any_text_is_a_document_or_a_problem(text: str) -> None:
    for line, chunk in split_documents(text):
        result = parse_document(chunk, line)
        if isinstance(result, Problem):
            assert line <= result.line <= line + chunk.count("\n") + 1
        elif result is not None:
            result.line(("a", 0, "b"))
