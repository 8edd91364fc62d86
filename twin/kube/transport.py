"""One HTTP request to an API server, with the official client's configuration, credentials and connection pool.

The client's generated methods return objects of their own; we want the wire's, and every query parameter.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from twin.spec.errors import BadInput, ComponentMissing, Unreachable

__all__ = ["Answer", "ClientTransport", "Transport", "open_transport"]

CONNECT_S: Final = 5.0
READ_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`body`: what came, decoded: an object, or lines of text that are not JSON."""

    status: int
    body: Any


class Transport(Protocol):
    """Carries one request. Raises Unreachable; any status is an answer."""

    def send(
        self, method: str, path: str, *, query: Mapping[str, str], body: Any = None, content_type: str = ""
    ) -> Answer: ...


class ClientTransport:
    """A Transport over the `kubernetes` package's ApiClient."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def send(
        self, method: str, path: str, *, query: Mapping[str, str], body: Any = None, content_type: str = ""
    ) -> Answer:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        configuration = self._client.configuration
        headers = {"Accept": "application/json, text/plain;q=0.9"}
        if content_type:
            headers["Content-Type"] = content_type
        for setting in configuration.auth_settings().values():  # Read anew each time: tokens are refreshed.
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        url = f"{configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            response = self._client.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=(CONNECT_S, READ_S)
            )
            status, raw = int(response.status), response.read()
        except ApiException as error:
            if not error.status:
                raise _unreachable(method, path, str(error.reason)) from error
            status, raw = int(error.status), error.body
        except (HTTPError, OSError) as error:
            raise _unreachable(method, path, f"{type(error).__name__}: {error}") from error
        return Answer(status, _decoded(raw))


def open_transport(*, context: str | None, kubeconfig: Path | None) -> ClientTransport:
    """A connection by kubeconfig. Raises ComponentMissing without the client, BadInput for what cannot be read."""
    try:
        from kubernetes import config
        from kubernetes.client import Configuration
    except ImportError as error:
        raise ComponentMissing(
            "no Kubernetes client", "the package kubernetes is not installed", "pip install 'twin-testbed[kube]'"
        ) from error
    try:
        configuration = Configuration()
        # What is sent again, and when, is ours to decide: urllib3 by itself would repeat a deletion.
        configuration.retries = False
        named = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG")  # The client reads it only once.
        client = config.new_client_from_config(  # type: ignore[no-untyped-call]
            config_file=named, context=context, persist_config=False, client_configuration=configuration
        )
    except (config.ConfigException, OSError, ValueError) as error:
        raise BadInput(
            f"cannot use the context {context or '(current)'}", str(error), "see: kubectl config get-contexts"
        ) from error
    return ClientTransport(client)


def _unreachable(method: str, path: str, why: str) -> Unreachable:
    return Unreachable(
        f"cannot {method} {path}", f"the API server does not answer: {why}", "check the context and the network"
    )


def _decoded(raw: bytes | str | None) -> Any:
    text = raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else raw or ""
    try:
        return json.loads(text)
    except ValueError:
        return text
