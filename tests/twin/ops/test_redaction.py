"""Nothing that a literal holds is shown, however it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.ops.redaction import redact_dsn, redact_sql

SECRET = "geheim"

CODE = st.sampled_from(
    ["SELECT ", "UPDATE t SET a = ", " WHERE x = ", ", ", "(", ")", " AND ", "::text", '"odd ''name"', '"a""b"', "$1",
     " || ", "\n", " -- geheim 'x\n", " /* geheim's */ ", "t.col", "a$b$", "+ 1.5e3"]
)  # fmt: skip
LITERALS = st.sampled_from(
    ["'geheim'", "'it''s geheim'", "E'geheim'", "E'a\\'geheim'", "'C:\\', 'geheim'", "$$geheim$$",
     "$x$it's $$ geheim$x$", "U&'geheim'", "'geheim\nmore'", "'a -- geheim'", "'a /* geheim'", "N'geheim'", "''''",
     "'''geheim'''",
     "/* /* 'geheim */ geheim */", "E'\\\\' || 'geheim'"]
)  # fmt: skip


@given(st.lists(CODE | LITERALS, max_size=12).map("".join), st.integers(0, 80))
def test_no_literal_is_shown_nor_any_part_of_one(statement: str, cut: int) -> None:
    """Servers cut long statements wherever they want to: also within a literal."""
    for text in (statement, statement[:cut]):
        assert SECRET not in redact_sql(text, length_max=1000)


@given(st.text(max_size=200), st.integers(1, 50))
def test_the_length_is_bounded_and_it_stays_on_one_line(statement: str, length_max: int) -> None:
    shown = redact_sql(statement, length_max=length_max)
    assert len(shown) <= length_max
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("UPDATE orders SET state = 'paid' WHERE id = 17", "UPDATE orders SET state = ? WHERE id = ?"),
        ("SELECT  a1,\n b_2 FROM t WHERE c=$1 -- note", "SELECT a1, b_2 FROM t WHERE c=$1"),
        ("SELECT \"it's\", 'x'", 'SELECT "it\'s", ?'),
        ("ALTER ROLE x PASSWORD 'y'", "ALTER ROLE x PASSWORD ?"),
        ("SELECT 'it", "SELECT ?"),
        ("SELECT E'a\\'b', c", "SELECT E? ***"),
        ("SELECT a$b, x$y$z, c", "SELECT a$b, ***"),
        ("", ""),
    ],
)
def test_what_is_left_can_still_be_read(statement: str, shown: str) -> None:
    assert redact_sql(statement, length_max=200) == shown


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:geheim@h/db", "postgresql://u:ge@geheim@h/db", "in postgresql://u:geheim…", "password=geheim",
        "host=h password='a geheim' user=u", "PASSWORD = geheim", "sslpassword=geheim", "password='a\\'geheim'",
        "postgres://h/db?user=u&password=geheim", "password='geheim",
    ],
)  # fmt: skip
def test_passwords_of_connection_strings_are_not_shown(text: str) -> None:
    assert SECRET not in redact_dsn(text)
