"""hypercorn, told what to do by us alone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hypercorn.config import Config, Sockets

from hive_boot._timings import DEFAULTS
from hive_boot.serving.http_server import BACKLOG, HttpServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

    from hive_boot._timings import Timings
    from hive_boot.serving.endpoints import App


class HypercornServer(HttpServer):
    """hypercorn on asyncio or trio. Requests are not logged, as is its habit.

    Its record of a request would hold the whole environment of the process.

    Args:
        backend: ``asyncio`` or ``trio``.
        timings: as for :class:`HttpServer`.
    """

    def __init__(self, backend: str, timings: Timings = DEFAULTS) -> None:
        super().__init__(timings)
        self._backend = backend
        self._config: _Config | None = None

    async def _run(self, app: App, sock: socket, on_started: Callable[[], None]) -> None:
        if self._backend == "trio":
            from hypercorn.trio import serve  # noqa: PLC0415  (each needs its loop's library)
        else:
            from hypercorn.asyncio import serve  # type: ignore[assignment]  # noqa: PLC0415

        async def wait() -> None:
            # It is waited for as soon as connections are accepted.
            on_started()
            await self._stopping.wait()

        self._config = _Config(sock)
        await serve(app, self._config, shutdown_trigger=wait, mode="asgi")  # type: ignore[arg-type]

    def _begin_shutdown(self, seconds: float) -> None:
        if self._config is not None:
            self._config.graceful_timeout = seconds


class _Config(Config):
    """What hypercorn is to know.

    A socket that it finds by its descriptor would be inherited by every program that the
    application starts, and it would set up handlers for its logger.
    """

    backlog = BACKLOG
    errorlog = logging.getLogger("hypercorn.error")
    include_server_header = False

    def __init__(self, sock: socket) -> None:
        self._sock = sock

    def create_sockets(self) -> Sockets:
        """Give the socket that there is."""
        return Sockets([], [self._sock], [])
