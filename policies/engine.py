"""Two engines answer the same question with the same bundle: OPA's WebAssembly in this process, and an OPA server.

`decide` never raises and never waits long. Whatever goes wrong on the way (an input that is no JSON, a trap, no
fuel left, a server that is down or answers nothing) is a denial that says so. There is no third outcome for a
caller to forget.

WebAssembly has its traps, and each is met here: a module that wants a builtin from its host is refused at start
(`sprintf` is one); a store belongs to one thread; each call starts at the same heap pointer; a module that
trapped is thrown away with its memory; fuel and not the clock bounds a call, so that a loaded machine decides
as an idle one does; numbers beyond 2^53 and deep nesting never reach it.
"""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import wasmtime

from policies.errors import EngineError
from policies.model import Decision, read_decision

__all__ = ["DECISION_PATH", "EmbeddedEngine", "Engine", "OpaServerEngine", "question_bytes"]

DECISION_PATH = "twin/policy/decision"

QUESTION_MAX_BYTES = 256 * 1024
DEPTH_MAX = 32  # The module keeps its C stack in its own memory: deep recursion would overwrite data, not trap.
INTEGER_MAX = 2**53
FUEL_PER_DECISION = 200_000_000  # A decision takes about 1 % of it; all of it is a fraction of a second.
PAGES_MAX = 512  # 32 MiB a thread.
ANSWER_MAX_BYTES = 4 * 1024 * 1024
SERVER_TIMEOUT_S = 2.0


class Engine(Protocol):
    """Decides a question of the form {"call": …, "facts": …, "nets": …}. Thread-safe. Never raises."""

    name: str

    def decide(self, question: Mapping[str, Any]) -> Decision: ...


class _Unanswered(Exception):
    """Why an engine has no answer."""


def question_bytes(question: Mapping[str, Any]) -> bytes:
    """The question as JSON that both engines read alike. Raises ValueError for anything else."""
    _check_plain(question)
    raw = json.dumps(question, allow_nan=False, ensure_ascii=False).encode("utf-8")  # Refuses lone surrogates.
    if len(raw) > QUESTION_MAX_BYTES:
        raise ValueError(f"larger than {QUESTION_MAX_BYTES // 1024} KiB")
    return raw


def _check_plain(question: Mapping[str, Any]) -> None:
    open_values: list[tuple[Any, int]] = [(question, 1)]
    while open_values:
        value, depth = open_values.pop()
        if depth > DEPTH_MAX:
            raise ValueError(f"nested deeper than {DEPTH_MAX}")
        if isinstance(value, Mapping):
            if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
                raise ValueError("an object that is no plain JSON")
            open_values += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list | tuple):
            open_values += [(item, depth + 1) for item in value]
        elif isinstance(value, float):
            if not math.isfinite(value) or abs(value) > INTEGER_MAX:
                raise ValueError("a number that JSON readers do not agree on")
        elif isinstance(value, int):
            if abs(value) > INTEGER_MAX:
                raise ValueError("an integer beyond 2^53")
        elif value is not None and not isinstance(value, str):
            raise ValueError(f"a {type(value).__name__}, which is no JSON")


def _decide(question: Mapping[str, Any], answer: Callable[[bytes], object]) -> Decision:
    try:
        raw = question_bytes(question)
    except (TypeError, ValueError) as error:
        return Decision.denied(f"the question cannot be asked: {error}")
    try:
        return read_decision(answer(raw), question)
    except _Unanswered as error:
        return Decision.denied(str(error))
    except Exception as error:  # The one place for it: an engine that broke has not allowed anything.
        return Decision.denied(f"the policy engine broke: {type(error).__name__}: {error}")


# --- embedded ----------------------------------------------------------------------------------------------------


class EmbeddedEngine:
    """The bundle as OPA compiled it to WebAssembly, run by wasmtime."""

    name = "embedded"

    def __init__(self, wasm: bytes, *, fuel: int = FUEL_PER_DECISION) -> None:
        """Raises EngineError for a module that is not OPA's or needs more than this host gives."""
        config = wasmtime.Config()
        config.consume_fuel = True
        try:
            self._engine = wasmtime.Engine(config)
            self._module = wasmtime.Module(self._engine, wasm)
        except wasmtime.WasmtimeError as error:
            raise EngineError("the policy bundle cannot be loaded", _first_line(error), _REBUILD) from error
        self._fuel = fuel
        self._of_thread = threading.local()
        self._of_thread.machine = self._start()

    @classmethod
    def from_file(cls, path: Path) -> EmbeddedEngine:
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise EngineError(f"cannot read {path.name}", error.strerror or str(error), _REBUILD) from error

    def decide(self, question: Mapping[str, Any]) -> Decision:
        return _decide(question, self._answer)

    def _start(self) -> _Machine:
        try:
            return _Machine(self._engine, self._module, self._fuel)
        except (wasmtime.WasmtimeError, wasmtime.Trap, _Unanswered, KeyError, ValueError, StopIteration) as error:
            raise EngineError("the policy bundle cannot be started", _first_line(error), _REBUILD) from error

    def _answer(self, raw: bytes) -> object:
        machine: _Machine | None = getattr(self._of_thread, "machine", None)
        if machine is None:
            machine = self._of_thread.machine = self._start()
        try:
            return machine.ask(raw)
        except BaseException:
            self._of_thread.machine = None  # Its memory is in no known state.
            raise


class _Machine:
    """One instance of the module, for one thread. Speaks OPA's WebAssembly interface, version 1.2 or newer."""

    def __init__(self, engine: Any, module: Any, fuel: int) -> None:
        self._fuel = fuel
        self._store = wasmtime.Store(engine)
        self._store.set_fuel(fuel)
        needed = next(one.type.limits.min for one in module.imports if isinstance(one.type, wasmtime.MemoryType))
        self._memory = wasmtime.Memory(self._store, wasmtime.MemoryType(wasmtime.Limits(needed, PAGES_MAX)))
        linker = wasmtime.Linker(engine)
        linker.define(self._store, "env", "memory", self._memory)
        i32 = wasmtime.ValType.i32()
        for name, arguments in (("opa_abort", 1), ("opa_println", 1)):
            linker.define_func("env", name, wasmtime.FuncType([i32] * arguments, []), getattr(self, f"_{name}"))
        for count in range(5):
            linker.define_func("env", f"opa_builtin{count}", wasmtime.FuncType([i32] * (count + 2), [i32]), _no_builtin)
        exports = linker.instantiate(self._store, module).exports(self._store)
        self._eval = exports["opa_eval"]
        dump = exports["opa_json_dump"]

        wanted = json.loads(self._text(dump(self._store, exports["builtins"](self._store))))
        if wanted:
            raise _Unanswered(f"it needs builtins of its host: {', '.join(sorted(wanted))}")
        self._entry: int = json.loads(self._text(dump(self._store, exports["entrypoints"](self._store))))[DECISION_PATH]
        at = exports["opa_malloc"](self._store, 2)
        self._memory.write(self._store, b"{}", at)
        self._data_at = exports["opa_json_parse"](self._store, at, 2)
        self._heap_base = exports["opa_heap_ptr_get"](self._store)

    def ask(self, raw: bytes) -> object:
        """What the policy says. Raises _Unanswered when it says nothing."""
        missing = self._heap_base + len(raw) - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // 65_536))
        self._memory.write(self._store, raw, self._heap_base)
        self._store.set_fuel(self._fuel)
        heap = self._heap_base + len(raw)
        heap += -heap % 8
        try:
            at = self._eval(self._store, 0, self._entry, self._data_at, self._heap_base, len(raw), heap, 0)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            if self._store.get_fuel() == 0:
                raise _Unanswered("the policy took too long to decide") from error
            raise _Unanswered(f"the policy engine stopped: {_first_line(error)}") from error
        results = json.loads(self._text(at))
        if not isinstance(results, list) or len(results) != 1:
            raise _Unanswered("the policy gave no decision")
        return results[0]["result"]

    def _text(self, at: int) -> str:
        end = at
        limit = self._memory.data_len(self._store)
        chunks: list[bytes] = []
        while end < limit:
            chunk = bytes(self._memory.read(self._store, end, min(end + 4096, limit)))
            nul = chunk.find(0)
            if nul >= 0:
                chunks.append(chunk[:nul])
                return b"".join(chunks).decode("utf-8")
            chunks.append(chunk)
            end += len(chunk)
        raise _Unanswered("the policy's answer has no end")

    def _opa_abort(self, at: int) -> None:
        raise _Unanswered(f"the policy engine stopped: {self._text(at)}")

    def _opa_println(self, at: int) -> None:
        return None


def _no_builtin(builtin: int, *_: int) -> int:
    raise _Unanswered(f"the policy needs builtin {builtin} of its host")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


_REBUILD = "rebuild it: python -m policies.build"


# --- server ------------------------------------------------------------------------------------------------------


class OpaServerEngine:
    """An OPA server that was given the same bundle. A 200 without a result is "undefined", which denies."""

    name = "opa-server"

    def __init__(self, url: str, *, timeout_s: float = SERVER_TIMEOUT_S) -> None:
        """Raises EngineError for what is no http(s) address. Connects to nothing yet."""
        parts = urllib.parse.urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or parts.username:
            raise EngineError("OPA_URL cannot be used", "it is no plain http(s) address", "write http://HOST:8181")
        self._connection_type = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._prefix = host, port, parts.path.rstrip("/")
        self._timeout_s = timeout_s

    def decide(self, question: Mapping[str, Any]) -> Decision:
        return _decide(question, self._answer)

    def modules(self) -> list[str]:
        """The Rego sources that the server holds. Raises EngineError when it does not say."""
        try:
            answer = self._request("GET", "/v1/policies", None)
            return [str(module["raw"]) for module in answer["result"]]
        except (_Unanswered, KeyError, TypeError) as error:
            raise EngineError(
                "the OPA server does not show its policies", str(error), "let this client read /v1/policies"
            ) from error

    def _answer(self, raw: bytes) -> object:
        answer = self._request("POST", f"/v1/data/{DECISION_PATH}", b'{"input":' + raw + b"}")
        if "result" not in answer:
            raise _Unanswered("the policy gave no decision")
        return answer["result"]

    def _request(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        """One request on a connection of its own, so that threads share nothing. No proxy, no redirect."""
        deadline_s = time.monotonic() + self._timeout_s
        connection = self._connection_type(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request(method, self._prefix + path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            raw = b""
            while chunk := response.read1(65_536):
                raw += chunk
                if time.monotonic() > deadline_s:  # The socket's own time-out starts anew with every byte.
                    raise TimeoutError
                if len(raw) > ANSWER_MAX_BYTES:
                    raise _Unanswered("the OPA server's answer is too large")
        except TimeoutError as error:
            raise _Unanswered(f"the OPA server did not answer within {self._timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Unanswered(f"the OPA server cannot be asked: {_first_line(error)}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise _Unanswered(f"the OPA server answered {response.status}")
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise _Unanswered("the OPA server's answer is no JSON") from error
        if not isinstance(answer, dict):
            raise _Unanswered("the OPA server's answer is no object")
        return answer
