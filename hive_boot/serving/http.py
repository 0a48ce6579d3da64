"""Serve an ASGI application as what an owned process is there for."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic

import anyio

from hive_boot.bootstrap.registry import C, S
from hive_boot.exceptions import LifecycleError
from hive_boot.lifecycle.parts import STOP_BUDGET_SHARE
from hive_boot.serving.gate import ReadinessMiddleware
from hive_boot.serving.lifespans import app_lifespan
from hive_boot.serving.servers import bind, http_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskStatus

    from hive_boot.bootstrap.declare import Application
    from hive_boot.bootstrap.run import Run
    from hive_boot.serving.asgi import App
    from hive_boot.serving.http_server import HttpServer

_log = logging.getLogger("hive_boot")


class HttpService(Generic[S, C]):
    """An application that is served, from its socket to its last answer.

    Args:
        boot: what starts before it.
        app: the application.
        host: where to listen.
        port: where to listen; 0 for any port that is free.
    """

    def __init__(self, boot: Application[S, C], app: App, host: str, port: int) -> None:
        self._app = app
        self._boot = boot
        self._where = host, port
        self._values: dict[str, Any] = {}
        self._gate = ReadinessMiddleware(
            app,
            boot.status,
            lambda: self._values,
            phase=lambda: boot._state,  # noqa: SLF001  (a door of its own house)
        )
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
        server = self._server = http_server(*self._choice, self._boot._declaration.timings)  # noqa: SLF001  (ours)
        sock = bind(*self._where)
        host, port = sock.getsockname()[:2]
        _log.info("Listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        try:
            await server.serve(self._gate, sock, task_status=task_status)
        finally:
            done.set()

    @asynccontextmanager
    async def lifespan(self, run: Run[S, C]) -> AsyncIterator[None]:
        """Start the application itself, and stop it.

        Raises:
            LifecycleError: it says that it cannot start, or stop.
        """
        self._values = {}
        self._values.update(run.request_state)
        async with app_lifespan(self._app, self._values):
            yield

    async def wait_until_stopped(self, run: Run[S, C]) -> None:
        """Be there until the stop, and let what is in flight end.

        Raises:
            LifecycleError: the server has ended by itself.
        """
        if self._server is None or self._done is None:
            return
        try:
            await self._done.wait()
        finally:
            # The parts, too, have to be stopped in the time that there is; a request in a
            # thread cannot be cancelled, and they do not wait for it.
            left = max(0.0, run.runner.stop_deadline - time.monotonic())
            self._server.stop(left * STOP_BUDGET_SHARE)
            with anyio.move_on_after(left * (1 + STOP_BUDGET_SHARE) / 2, shield=True):
                await self._done.wait()
        if run.runner.failure is None:
            message = "the HTTP server has ended by itself"
            raise LifecycleError(message)
