"""HTTP service: the choice of a server, and its run as a listener of an application."""

from __future__ import annotations

import logging
import socket
import time
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot._timings import DEFAULTS
from hive_boot.exceptions import DeclarationError, LifecycleError
from hive_boot.lifecycle.resources import STOP_BUDGET_SHARE
from hive_boot.serving.asgi import ReadinessMiddleware, app_lifespan
from hive_boot.serving.http_server import BACKLOG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import TaskStatus

    from hive_boot._timings import Timings
    from hive_boot.lifecycle.states import State
    from hive_boot.runtime.run import Run
    from hive_boot.runtime.status import Status
    from hive_boot.serving.endpoints import App
    from hive_boot.serving.http_server import HttpServer

_BACKENDS = {"uvicorn": ("asyncio",), "hypercorn": ("asyncio", "trio")}
"""On which backends each server runs."""


def bind(host: str, port: int) -> socket.socket:
    """Open the socket to serve on. From now on clients can connect; they wait to be accepted.

    Args:
        host: an address of this machine, or a name of one.
        port: the port; 0 for any that is free.

    Raises:
        LifecycleError: it cannot be had.
    """
    sock = None
    try:
        # The port is left out: a resolver takes 70000 for 4464.
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)  # noqa: FBT003  (the standard library's)
        sock.bind((address[0], port, *address[2:]))
        sock.listen(BACKLOG)
    except (OSError, OverflowError, UnicodeError) as exc:
        if sock is not None:
            sock.close()
        why = (exc.strerror if isinstance(exc, OSError) else None) or exc
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        message = f"cannot listen on {where}: {why}"
        # The reason is in the sentence: a traceback would add nothing.
        raise LifecycleError(message) from None
    return sock


def http_server(name: str, backend: str, timings: Timings = DEFAULTS) -> HttpServer:
    """Give a server that has not begun.

    Args:
        name: ``uvicorn`` or ``hypercorn``.
        backend: ``asyncio`` or ``trio``.
        timings: how long it may take to end.

    Raises:
        DeclarationError: there is no such server, it is not installed, or it does not run
            on this backend.
    """
    if name not in _BACKENDS:
        message = f"there is no server {name!r}: choose one of {', '.join(_BACKENDS)}"
        raise DeclarationError(message)
    if backend not in _BACKENDS[name]:
        able = " and ".join(_BACKENDS[name])
        message = f"{name} runs on {able}, and not on {backend}: choose server='hypercorn'"
        raise DeclarationError(message)
    if find_spec(name) is None:
        message = f"{name} is not installed: pip install {name}"
        raise DeclarationError(message)
    if name == "uvicorn":
        from hive_boot.serving.uvicorn_server import UvicornServer  # noqa: PLC0415  (it may lack)

        return UvicornServer(timings)
    from hive_boot.serving.hypercorn_server import HypercornServer  # noqa: PLC0415  (it may not be installed)

    return HypercornServer(backend, timings)


_log = logging.getLogger("hive_boot")


class HttpService:
    """An application that is served, from its socket to its last answer.

    Args:
        app: the application.
        host: the address to listen on.
        port: the port; 0 for any that is free.
        status: returns the status that the probes report.
        phase: returns the state of the run.
        timings: how long the server may take to end.
    """

    def __init__(  # noqa: PLR0913  (an address, and what a run knows)
        self,
        app: App,
        host: str,
        port: int,
        *,
        status: Callable[[], Status],
        phase: Callable[[], State],
        timings: Timings = DEFAULTS,
    ) -> None:
        self._app = app
        self._where = host, port
        self._timings = timings
        self._values: dict[str, Any] = {}
        self._gate = ReadinessMiddleware(app, status, lambda: self._values, phase=phase)
        self._server: HttpServer | None = None
        self._done: anyio.Event | None = None

    def select_server(self, server: str, backend: str) -> None:
        """Take a server.

        Raises:
            DeclarationError: there is none of this name, or not for this backend.
        """
        backend = "trio" if backend == "trio" else "asyncio"
        self._choice = server, backend
        http_server(server, backend)

    async def start_listening(self, *, task_status: TaskStatus[None]) -> None:
        """Serve until it is told to stop; the gate lets nobody in before all is ready.

        Raises:
            LifecycleError: the address cannot be had.
        """
        done = self._done = anyio.Event()
        server = self._server = http_server(*self._choice, self._timings)
        sock = bind(*self._where)
        host, port = sock.getsockname()[:2]
        _log.info("Listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        try:
            await server.serve(self._gate, sock, task_status=task_status)
        finally:
            done.set()

    @asynccontextmanager
    async def lifespan(self, run: Run[Any, Any]) -> AsyncIterator[None]:
        """Start the application itself, and stop it.

        Raises:
            LifecycleError: it says that it cannot start, or stop.
        """
        self._values = {}
        self._values.update(run.request_state)
        async with app_lifespan(self._app, self._values):
            yield

    async def wait_until_stopped(self, run: Run[Any, Any]) -> None:
        """Be there until the stop, and let what is in flight end.

        Raises:
            LifecycleError: the server has ended by itself.
        """
        if self._server is None or self._done is None:
            return
        try:
            await self._done.wait()
        finally:
            # The resources, too, have to be stopped in the time that there is; a request in a
            # thread cannot be cancelled, and they do not wait for it.
            run.shutdown.start_deadline()
            left = max(0.0, run.shutdown.deadline - time.monotonic())
            self._server.stop(left * STOP_BUDGET_SHARE)
            with anyio.move_on_after(left * (1 + STOP_BUDGET_SHARE) / 2, shield=True):
                await self._done.wait()
        if run.runner.failure is None:
            message = "the HTTP server has ended by itself"
            raise LifecycleError(message)
