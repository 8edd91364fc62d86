"""Find network addresses in whatever text people put them: URLs, host:port, connection strings, flags, lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Address", "cluster_names", "find_addresses", "is_in_cluster"]

_TEXT_MAX: Final = 20_000  # A longer value is a document, not an address.


@dataclass(frozen=True, slots=True)
class Address:
    """`sure`: it can be nothing but an address (a port, a URL, a cluster name); else it only may be one."""

    host: str
    port: int | None
    sure: bool


_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_URL: Final = re.compile(r"(?:://|:@)([^\s/?#\"'<>()|;&]+)[^\s\"'<>,;]*")
_NEXT_URL: Final = re.compile(r",(?=[a-z][a-z0-9+.-]{0,20}://)", re.IGNORECASE)
# Go's MySQL driver writes user:password@tcp(host:port)/database.
_WRAPPED: Final = re.compile(r"[^\s@,]{0,80}@?(?:tcp|udp)\(([^()]{0,253})\)", re.IGNORECASE)
_TOKEN: Final = re.compile(
    rf"(?<![\w.$%@/-])({_LABEL}(?:\.{_LABEL})*)\.?(?::([0-9]{{1,5}})|\s+([0-9]{{2,5}}))?(?![\w.@%:-])", re.IGNORECASE
)
_PAIR: Final = re.compile(r"(?:^|[\s;,])(?:host|hostname|hostaddr|server|data source)\s*=\s*([^\s;,]+)", re.IGNORECASE)
_LOCAL: Final = frozenset({"localhost", "0.0.0.0", "host.docker.internal"})


def find_addresses(text: str) -> tuple[Address, ...]:
    """Every address in `text`, in order, each once. Loopback and numeric addresses are left out."""
    if len(text) > _TEXT_MAX:
        return ()
    found: dict[tuple[str, int | None], Address] = {}
    for address in _candidates(text):
        if _is_name(address.host):
            key = (address.host, address.port)
            if key not in found or (address.sure and not found[key].sure):
                found[key] = address
    return tuple(found.values())


def cluster_names(host: str, namespace: str) -> Iterator[tuple[str, str]]:
    """What `host` may mean to a pod in `namespace`, as (namespace, service), likeliest first."""
    parts = host.split(".")
    if "svc" in parts[1:]:
        parts = parts[: parts.index("svc", 1)]
        if len(parts) >= 2:
            yield parts[-1], parts[-2]
        return
    if len(parts) == 1:
        yield namespace, parts[0]
    elif len(parts) == 2:
        yield parts[1], parts[0]
        yield namespace, parts[1]  # pod-0.service
    elif len(parts) == 3:
        yield parts[2], parts[1]  # pod-0.service.namespace


def is_in_cluster(host: str) -> bool:
    """Whether `host` can only be a Service of this cluster: a bare name, or one that ends in .svc…"""
    parts = host.split(".")
    return len(parts) == 1 or "svc" in parts[1:]


def _candidates(text: str) -> Iterator[Address]:
    rest = _NEXT_URL.sub(" ", text)
    for pattern in (_WRAPPED, _URL):
        for match in pattern.finditer(rest):
            yield from _authority(match[1])
        rest = pattern.sub(": ", rest)  # The colon keeps the scheme before it from looking like a name.
    for match in _PAIR.finditer(rest):
        yield from _authority(match[1].removeprefix("tcp:"))
    for match in _TOKEN.finditer(rest):
        digits = match[2] or match[3]
        port = int(digits) if digits else None
        if port is None or 0 < port < 65_536:
            host = match[1].lower()
            yield Address(host, port, sure=match[2] is not None or ".svc" in host)


def _authority(text: str) -> Iterator[Address]:
    """`user:password@host:port,host:port`: the password may hold any sign, so the last @ ends it."""
    for part in text.rpartition("@")[2].split(","):
        host, _, port = part.lower().partition(":")
        digits = port if port.isascii() and port.isdigit() and len(port) <= 5 else ""
        if _HOST.fullmatch(host):
            yield Address(host.rstrip("."), int(digits) if digits else None, sure=True)


def _is_name(host: str) -> bool:
    last = host.rsplit(".", 1)[-1]
    return host not in _LOCAL and len(host) <= 253 and not last.isdigit() and any(sign.isalpha() for sign in host)
