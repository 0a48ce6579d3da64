"""hypercorn as an HttpServer: without its signal handlers, lifespan and logging setup."""

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
    """hypercorn on asyncio or trio, without an access log, which is hypercorn's default.

    hypercorn's access log records contain the whole environment of the process.

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
            from hypercorn.trio import serve  # noqa: PLC0415  (depends on the backend)
        else:
            from hypercorn.asyncio import serve  # type: ignore[assignment]  # noqa: PLC0415

        async def wait() -> None:
            # hypercorn calls this function when it accepts connections.
            on_started()
            await self._stopping.wait()

        self._config = _Config(sock)
        await serve(app, self._config, shutdown_trigger=wait, mode="asgi")  # type: ignore[arg-type]

    def _begin_shutdown(self, seconds: float) -> None:
        if self._config is not None:
            self._config.graceful_timeout = seconds


class _Config(Config):
    """Configuration of hypercorn.

    The socket is passed as an object: hypercorn would make a socket that it gets as a
    descriptor inheritable by child processes. The logger is passed as an object, too:
    hypercorn would add handlers to a logger that it creates.
    """

    backlog = BACKLOG
    errorlog = logging.getLogger("hypercorn.error")
    include_server_header = False

    def __init__(self, sock: socket) -> None:
        self._sock = sock

    def create_sockets(self) -> Sockets:
        """Return the socket that is already bound."""
        return Sockets([], [self._sock], [])
