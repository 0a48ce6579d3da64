"""HTTP service: selection of a server, and its run as a listener of an application."""

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
"""The backends that each server supports."""


def bind(host: str, port: int) -> socket.socket:
    """Open a listening socket. Clients can connect at once, and wait until they are accepted.

    Args:
        host: an address of this machine, or a host name that resolves to one.
        port: the port; 0 for any free port.

    Raises:
        LifecycleError: the address is invalid, in use or not allowed.
    """
    sock = None
    try:
        # Without the port: getaddrinfo() accepts 70000 and returns 4464.
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)  # noqa: FBT003  (its only argument)
        sock.bind((address[0], port, *address[2:]))
        sock.listen(BACKLOG)
    except (OSError, OverflowError, UnicodeError) as exc:
        if sock is not None:
            sock.close()
        reason = (exc.strerror if isinstance(exc, OSError) else None) or exc
        address_text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        message = f"Cannot listen on {address_text}: {reason}."
        # The message contains the reason: a chained traceback adds nothing.
        raise LifecycleError(message) from None
    return sock


def http_server(name: str, backend: str, timings: Timings = DEFAULTS) -> HttpServer:
    """Return a server that has not been started.

    Args:
        name: ``uvicorn`` or ``hypercorn``.
        backend: ``asyncio`` or ``trio``.
        timings: how long the server may take to end.

    Raises:
        DeclarationError: the server is unknown, not installed, or does not support the backend.
    """
    if name not in _BACKENDS:
        message = f"Invalid server {name!r}: expected {' or '.join(map(repr, _BACKENDS))}."
        raise DeclarationError(message)
    if backend not in _BACKENDS[name]:
        supported = " and ".join(_BACKENDS[name])
        message = (
            f"{name} supports only {supported}, not the backend {backend}. Fix: server='hypercorn'"
        )
        raise DeclarationError(message)
    if find_spec(name) is None:
        message = f"{name} is not installed. Fix: pip install {name}"
        raise DeclarationError(message)
    if name == "uvicorn":
        from hive_boot.serving.uvicorn_server import UvicornServer  # noqa: PLC0415  (optional)

        return UvicornServer(timings)
    from hive_boot.serving.hypercorn_server import HypercornServer  # noqa: PLC0415  (optional)

    return HypercornServer(backend, timings)


_log = logging.getLogger("hive_boot")


class HttpService:
    """HTTP listener of an ASGI application.

    Args:
        app: the application.
        host: the address to listen on.
        port: the port; 0 for any free port.
        status: returns the status that the probes report.
        phase: returns the state of the run.
        timings: how long the server may take to end.
    """

    def __init__(  # noqa: PLR0913  (the address, and functions of the run)
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
        self._address = host, port
        self._timings = timings
        self._values: dict[str, Any] = {}
        self._middleware = ReadinessMiddleware(app, status, lambda: self._values, phase=phase)
        self._server: HttpServer | None = None
        self._done: anyio.Event | None = None

    def select_server(self, server: str, backend: str) -> None:
        """Select a server, and check that it can run.

        Raises:
            DeclarationError: the server is unknown, not installed, or does not support the backend.
        """
        backend = "trio" if backend == "trio" else "asyncio"
        self._selected = server, backend
        http_server(server, backend)

    async def start_listening(self, *, task_status: TaskStatus[None]) -> None:
        """Listen and serve until the stop; requests get 503 until the application is ready.

        Raises:
            LifecycleError: the address is invalid, in use or not allowed.
        """
        done = self._done = anyio.Event()
        server = self._server = http_server(*self._selected, self._timings)
        sock = bind(*self._address)
        host, port = sock.getsockname()[:2]
        _log.info("Listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        try:
            await server.serve(self._middleware, sock, task_status=task_status)
        finally:
            done.set()

    @asynccontextmanager
    async def lifespan(self, run: Run[Any, Any]) -> AsyncIterator[None]:
        """Run the lifespan of the ASGI application.

        Raises:
            LifecycleError: the application reported that its startup or shutdown failed.
        """
        self._values = {}
        self._values.update(run.request_state)
        async with app_lifespan(self._app, self._values):
            yield

    async def wait_until_stopped(self, run: Run[Any, Any]) -> None:
        """Wait until the stop, then stop the server and give requests in flight time to end.

        Raises:
            LifecycleError: the server ended before the stop.
        """
        if self._server is None or self._done is None:
            return
        try:
            await self._done.wait()
        finally:
            # Half of the time is for requests, a quarter for the clean-up of those that are
            # cancelled, and the rest for the resources. A request that runs in a thread cannot be
            # cancelled, so the wait is limited.
            run.shutdown.start_deadline()
            left = max(0.0, run.shutdown.deadline - time.monotonic())
            self._server.stop(left / 2, left / 4)
            with anyio.move_on_after(left * 7 / 8, shield=True):
                await self._done.wait()
        if run.runner.failure is None:
            message = "The HTTP server ended before hive_boot stopped it."
            raise LifecycleError(message)
