"""Keep secrets out of what is shown: passwords of connection strings, and whatever literals of SQL hold.

What cannot be told apart for certain is left out, together with all that follows it.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HIDDEN", "redact_dsn", "redact_sql"]

HIDDEN: Final = "***"
_ADDRESS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)\S*")  # Cut short by an ellipsis, it may have lost its @.
_PASSWORD: Final = re.compile(
    r"""((?:ssl)?password|passwd|pwd|secret)(\s*=\s*)('(?:\\.|[^'\\])*(?:'|\Z)|"[^"]*(?:"|\Z)|[^\s&]*)""",
    re.IGNORECASE | re.DOTALL,
)
_TOKEN: Final = re.compile(
    r"""
      (?P<comment> --[^\n\r]* | /\*.*?(?:\*/|\Z) )
    | (?P<text>    '(?:''|[^'])*(?:'|\Z) )
    | (?P<dollar>  \$(?P<tag>[^\W\d]\w*|)\$ .*? (?:\$(?P=tag)\$|\Z) )
    | (?P<name>    "(?:""|[^"])*(?:"|\Z) )
    | (?P<word>    [^\W\d][\w$]* )
    | (?P<value>   \$\d+ )
    | (?P<number>  \.?\d[\w.]* )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)


def redact_dsn(text: str) -> str:
    """A text without what connection strings in it say: nothing is left of an address, and no setting's password."""
    return _PASSWORD.sub(rf"\1\2{HIDDEN}", _ADDRESS.sub(rf"\1{HIDDEN}", text))


def redact_sql(statement: str, *, length_max: int) -> str:
    """A statement on one line without its literals and comments, cut to `length_max` characters.

    PostgreSQL's lexis: quotes are doubled or, by setting and prefix, escaped by a backslash; comments nest. Where
    backslash or nesting leave open where a literal ends, the rest is hidden.
    """
    parts: list[str] = []
    for token in _TOKEN.finditer(statement):
        kind, text = token.lastgroup or "", token.group()
        if kind == "comment":
            if "/*" in text[2:]:
                parts.append(f" {HIDDEN}")
                break
            parts.append(" ")
        elif kind in ("text", "dollar", "number"):
            parts.append("?")
            if kind == "text" and "\\" in text:
                parts.append(f" {HIDDEN}")
                break
        elif kind == "name" and (not text.endswith('"') or len(text) < 2):
            parts.append(HIDDEN)
            break
        else:
            parts.append(text)
    line = " ".join("".join(char if char.isprintable() else " " for char in "".join(parts)).split())
    return line if len(line) <= length_max else line[: length_max - 1] + "…"
