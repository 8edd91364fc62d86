"""Plain data as YAML: always the same text, short mappings on one line, nothing that another reader misreads.

PyYAML's own writer takes minutes for a large fleet and cannot keep one step of a program on one line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from twin.spec.errors import BadInput

__all__ = ["Flow", "yaml_text"]


class Flow(dict[str, Any]):
    """A mapping that is written in one line."""


def yaml_text(data: Mapping[str, Any]) -> str:
    """YAML of mappings, lists and scalars, keys in their own order.

    Raises BadInput for text that is not Unicode (half a surrogate pair).
    """
    lines: list[str] = []
    _emit_mapping(data, "", lines)
    return "\n".join(lines) + "\n"


_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./:@-]*(?<!:)|[0-9]+(?:\.[0-9]+)?(?:ns|us|ms|s|m|h|d|k|M|G|[KMGT]i)")
_NOT_PLAIN: Final = re.compile(r"(?i)(?:y|n|yes|no|on|off|true|false|null)")  # Truths to some reader or other.
_UNPRINTABLE: Final = re.compile(
    r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|[\"\\\u2028\u2029]"
)


def _emit_mapping(data: Mapping[str, Any], indent: str, lines: list[str], first: str | None = None) -> None:
    """`first` replaces the first line's indent: a list's item begins on the line of its dash."""
    for key, value in data.items():
        lead = indent if first is None else first
        first = None
        _emit_entry(f"{lead}{_scalar(key)}:", value, indent, lines)


def _emit_entry(lead: str, value: Any, indent: str, lines: list[str]) -> None:
    if isinstance(value, Flow) or (isinstance(value, dict | list) and not value):
        lines.append(f"{lead} {_flow(value)}")
    elif isinstance(value, dict):
        lines.append(lead)
        _emit_mapping(value, indent + "  ", lines)
    elif isinstance(value, list):
        lines.append(lead)
        for item in value:
            if isinstance(item, dict) and not isinstance(item, Flow):
                _emit_mapping(item, indent + "    ", lines, first=indent + "  - ")
            else:
                lines.append(f"{indent}  - {_flow(item)}")
    else:
        lines.append(f"{lead} {_scalar(value)}")


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and not _NOT_PLAIN.fullmatch(value):
            return value
        return '"' + _UNPRINTABLE.sub(_escaped, value) + '"'
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _escaped(match: re.Match[str]) -> str:
    sign = match[0]
    if sign in '"\\':
        return "\\" + sign
    if 0xD800 <= ord(sign) <= 0xDFFF:
        raise BadInput("cannot write the file", f"{sign!r} is half a character", "use whole Unicode characters")
    return f"\\x{ord(sign):02x}" if ord(sign) < 0x100 else f"\\u{ord(sign):04x}"
