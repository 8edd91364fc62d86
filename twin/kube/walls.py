"""Walls of nodes that are ours: they drop what their pods send to anybody but pods, Services and the API server.

A network policy binds only where the CNI enforces it, and kind's does not everywhere.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from twin.kube.api import LiveKubeApi
from twin.spec.errors import Inconclusive, TwinError

__all__ = ["close_nodes", "somebody_at"]

CHAIN: Final = "TWIN-EGRESS"
API_PORT: Final = 6443


def close_nodes(api: LiveKubeApi, on_node: Callable[[str, list[str]], object]) -> None:
    """Let every node drop what its pods send outside. `on_node` runs a command on the node of that name.

    Raises TwinError, Inconclusive if it cannot be done.
    """
    nodes = api.list_objects("Node")
    ranges = [one for node in nodes for one in node["spec"].get("podCIDRs", ())]
    addresses = [one["address"] for node in nodes for one in node["status"]["addresses"] if one["type"] == "InternalIP"]
    if not ranges or any(ipaddress.ip_network(one).version != 4 for one in ranges):
        raise Inconclusive("the shadow cannot be closed", f"its pods' addresses are {ranges}", "use IPv4 only")
    rules = [["-F", CHAIN]]
    rules += [["-A", CHAIN, "-d", one, "-j", "RETURN"] for one in ranges]
    rules += [["-A", CHAIN, "-d", one, "-p", "tcp", "--dport", str(API_PORT), "-j", "RETURN"] for one in addresses]
    rules += [["-A", CHAIN, "-j", "DROP"]]
    for node in nodes:
        own = node["spec"]["podCIDRs"][0]
        name, jump = node["metadata"]["name"], ["FORWARD", "-s", own, "-j", CHAIN]
        for old in (["-D", *jump], ["-N", CHAIN]):
            with suppress(TwinError):  # From before there may be all of it, or nothing.
                on_node(name, ["iptables", *old])
        for rule in (*rules, ["-I", *jump]):
            on_node(name, ["iptables", *rule])


@contextmanager
def somebody_at(host: str) -> Iterator[str]:
    """Somebody outside: a port of this machine on the network of the nodes. Raises Inconclusive."""
    try:
        server = socket.create_server((host, 0))
    except OSError as error:
        raise Inconclusive(
            "the shadow's walls cannot be tried",
            f"nobody can listen outside, at {host}: {error}",
            "see: docker network ls",
        ) from error

    def answer() -> None:
        with suppress(OSError):  # Closed in the end.
            while True:
                server.accept()[0].close()

    with server:
        threading.Thread(target=answer, daemon=True).start()
        yield f"{host}:{server.getsockname()[1]}"
