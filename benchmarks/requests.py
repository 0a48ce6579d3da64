"""Request benchmark: a request through ``boot.asgi``, without a network and on uvicorn."""

from __future__ import annotations

import http.client
import json
import logging
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import anyio
from fastapi import FastAPI

from benchmarks.environment import child_environment, environment
from benchmarks.peers import MISSING
from benchmarks.processes import Child, free_port
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

_SERVED = (
    ("Starlette: boot.asgi", "starlette-asgi", "starlette", WRAPPED),
    ("FastAPI: boot.asgi", "fastapi-asgi", "fastapi", WRAPPED),
    ("FastAPI: boot.lifespan", "fastapi-lifespan", "fastapi", None),
    ("FastAPI: boot.lifespan, Depends(resource)", "depends-resource", "depends", None),
    ("FastAPI: boot.asgi, Depends(resource)", "depends-resource-asgi", "depends", WRAPPED),
)
"""The rows on a server: label, application and floor in `benchmarks.served`, bound."""

# Many short slices: other work of the machine then disturbs few of the ratios.
_SLICES = 25
_SLICE = 0.15
_CONNECTIONS = 8
_HOST = "127.0.0.1"
_VARIABLES = {"HIVE_BOOT_MODE": "environment", "API_KEY": "fake-key-0123456789"}

_ROUNDS = 200
_LOOPS = 100
_HEADERS = [(name, b"value") for name in (b"host", b"accept", b"user-agent", b"cookie", b"x-id")]


class WebSecrets(SecretSet):
    """One secret."""

    api_key: Secret


def measure(base: Path) -> Table:  # noqa: ARG001  (every subject gets a directory)
    """Return the measured table."""
    table = Table(
        "request: one route that does nothing",
        (
            "The processor time for a request. floor: the same route without hive_boot. uvicorn:",
            "of the server, while wrk sends requests on several connections.",
        ),
    )
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
        with environment(**_VARIABLES):
            anyio.run(measure_both)
    finally:
        log.removeHandler(null_handler)
    _measure_served(table)
    return table


def _measure_served(table: Table) -> None:
    """Add the rows of applications on uvicorn, in separate processes, with load from wrk."""
    if (wrk := shutil.which("wrk")) is None:
        for label, *_ in _SERVED:
            table.add_missing(f"uvicorn, {label}", f"wrk is {MISSING}")
        return
    names = dict.fromkeys(name for _, *pair, _ in _SERVED for name in pair)
    with ExitStack() as stack:
        measures = {name: _load(wrk, stack, name) for name in names}
        figures = alternate(measures, _SLICES)
    for label, name, floor, bound in _SERVED:
        table.add(f"uvicorn, {label}", figures, name, floor, bound)


def _load(wrk: str, stack: ExitStack, name: str) -> Measure:
    """Start a server, and return a measure of its processor time for one request, under load."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.served", name, str(port)]
    server = stack.enter_context(Child(command, child_environment(**_VARIABLES)))
    server.wait_for("ready")

    def processor_time() -> float:
        connection = http.client.HTTPConnection(_HOST, port)
        connection.request("GET", "/cpu")
        seconds = float(json.loads(connection.getresponse().read()))
        connection.close()
        return seconds

    def measure() -> float:
        before = processor_time()
        command = [wrk, "-t1", f"-c{_CONNECTIONS}", "-d1m", f"http://{_HOST}:{port}/"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            time.sleep(_SLICE)
            # wrk then ends, and prints its figures.
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate()
        found = re.search(r"(\d+) requests in", output)
        if found is None or "Non-2xx" in output or not int(found[1]):
            message = f"The requests have failed:\n{output}\n{server.output()}"
            raise RuntimeError(message)
        return (processor_time() - before) / int(found[1])

    return measure


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
        started = time.thread_time()
        for each in scopes:
            request: Any = app(each, receive, send)
            try:
                request.send(None)
            except StopIteration:
                continue
            message = "the application waits"
            raise RuntimeError(message)
        return (time.thread_time() - started) / _LOOPS

    return call
