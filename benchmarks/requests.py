"""Request benchmark: one request through ``boot.asgi``, without a network."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import anyio
from fastapi import FastAPI

from benchmarks.environment import environment
from benchmarks.tables import Table
from benchmarks.timing import alternate
from hive_boot import Bootstrap, Secret, SecretSet
from hive_boot.serving.asgi import app_lifespan

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.timing import Measure
    from hive_boot.serving.endpoints import App, Message, Scope

WRAPPED = 1.05
"""Maximum ratio of a request through ``boot.asgi`` to the same request without it."""

_ROUNDS = 200
_LOOPS = 100
_HEADERS = [(name, b"value") for name in (b"host", b"accept", b"user-agent", b"cookie", b"x-id")]


class WebSecrets(SecretSet):
    """One secret."""

    api_key: Secret


def measure(base: Path) -> Table:  # noqa: ARG001  (every subject gets a directory)
    """Return the measured table."""
    table = Table("request: one route of FastAPI", ("floor: the same route without boot.asgi.",))
    app = FastAPI()

    @app.get("/")
    async def root() -> dict[str, int]:
        return {"answer": 42}

    boot = Bootstrap(WebSecrets)
    wrapped = boot.asgi(app)

    async def measure_both() -> None:
        async with app_lifespan(wrapped, {}):
            figures = alternate({"floor": _requests(app), "ours": _requests(wrapped)}, _ROUNDS)
            table.add("a request through boot.asgi", figures, "ours", "floor", WRAPPED)

    null_handler = logging.NullHandler()  # discards the log of the start
    log = logging.getLogger("hive_boot")
    log.addHandler(null_handler)
    try:
        with environment(HIVE_BOOT_MODE="environment", API_KEY="fake-key-0123456789"):
            anyio.run(measure_both)
    finally:
        log.removeHandler(null_handler)
    return table


def _requests(app: App) -> Measure:
    """Return a measure of one request; the application must not wait for anything."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None: ...

    def scope() -> Scope:
        address: Any = {"client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 80)}
        path = {"method": "GET", "path": "/", "raw_path": b"/", "root_path": "", "scheme": "http"}
        more = {"asgi": {"version": "3.0"}, "http_version": "1.1", "query_string": b""}
        return {"type": "http", "headers": _HEADERS, "state": {}, **address, **path, **more}

    def call() -> float:
        scopes = [scope() for _ in range(_LOOPS)]
        started = time.perf_counter()
        for each in scopes:
            request: Any = app(each, receive, send)
            try:
                request.send(None)
            except StopIteration:
                continue
            message = "the application waits"
            raise RuntimeError(message)
        return (time.perf_counter() - started) / _LOOPS

    return call
