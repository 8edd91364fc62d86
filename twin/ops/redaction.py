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
    backslash, nesting or dollars leave open where a literal begins or ends, the rest is hidden.
    """
    parts: list[str] = []
    for token in _TOKEN.finditer(statement):
        kind, text = token.lastgroup or "", token.group()
        parts.append(_shown(kind, text))
        if _is_open(kind, text):
            parts.append(f" {HIDDEN}")
            break
    line = " ".join("".join(char if char.isprintable() else " " for char in "".join(parts)).split())
    return line if len(line) <= length_max else line[: length_max - 1] + "…"


def _shown(kind: str, text: str) -> str:
    if kind in ("text", "dollar", "number"):
        return "?"
    return " " if kind == "comment" or _is_open(kind, text) else text


def _is_open(kind: str, text: str) -> bool:
    """Whether nobody can tell for certain where this ends."""
    match kind:
        case "comment":
            return "/*" in text[2:]
        case "text":
            return "\\" in text
        case "word":
            return text.count("$") > 1  # A name, or one that a literal sticks to.
        case "name":
            return not text.endswith('"') or len(text) < 2
        case _:
            return False
