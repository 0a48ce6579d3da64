"""hypercorn without its signal handlers, lifespan and logging setup."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
from hypercorn.config import Config, Sockets
from hypercorn.logging import Logger

from hive_boot.lifecycle.tasks import handshakes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ssl import SSLContext

    from hypercorn.typing import ResponseSummary, WWWScope

    from hive_boot.serving.endpoints import App


_HANDSHAKE_TIMEOUT = 0.5
"""Seconds that a shutdown waits for the TLS handshakes of clients; on trio until its end."""


class _Logger(Logger):
    """Logger of hypercorn whose records do not contain the environment of the process."""

    async def access(
        self, request: WWWScope, response: ResponseSummary, request_time: float
    ) -> None:
        """Log a request, unless its record would be dropped."""
        if self.access_logger is not None and self.access_logger.isEnabledFor(logging.INFO):
            await super().access(request, response, request_time)

    def atoms(
        self, request: WWWScope, response: ResponseSummary | None, request_time: float
    ) -> Mapping[str, str]:
        """Return the values for the format of the access log, without environment variables."""
        atoms: Any = super().atoms(request, response, request_time)
        for name in [each for each in atoms if each.endswith("}e")]:
            del atoms[name]
        return atoms  # type: ignore[no-any-return]


class HypercornServer(Config):
    """hypercorn on asyncio or trio. The logger ``hypercorn.access`` logs requests.

    The class is itself the configuration of hypercorn, so that hypercorn uses our socket and
    loggers. hypercorn would make a socket inheritable by child processes if it got a descriptor,
    and would add handlers to loggers that it creates.

    Args:
        app: the application.
        options: options of ``hypercorn.Config``.
        context: the SSL context; None for plain HTTP.
        on_started: called when connections are accepted.

    Attributes:
        known_options: the type of each option, as in an annotation.
    """

    known_options: ClassVar[Mapping[str, str]] = {
        name: str(Config.__annotations__.get(name, type(getattr(Config, name)).__name__))
        for name in dir(Config)
        if not name.startswith("_") and not callable(getattr(Config, name))
    }
    accesslog: Any = logging.getLogger("hypercorn.access")
    backlog = 2048  # the default of uvicorn
    errorlog: Any = logging.getLogger("hypercorn.error")
    include_server_header = False
    logger_class = _Logger

    def __init__(
        self,
        app: App,
        options: Mapping[str, Any],
        context: SSLContext | None,
        on_started: Callable[[], None],
    ) -> None:
        self._app = app
        self._context = context
        self._on_started = on_started
        self._stopping = anyio.Event()
        for name, value in options.items():
            setattr(self, name, value)

    async def run_on(self, sock: socket.socket, backend: str) -> None:
        """Serve on a socket, until the shutdown has ended."""

        async def wait() -> None:
            # hypercorn calls this function when it accepts connections.
            self._on_started()
            await self._stopping.wait()
            if backend == "asyncio" and self._context is not None:
                seconds = min(_HANDSHAKE_TIMEOUT, self.graceful_timeout)
                asyncio.get_running_loop().call_later(seconds, self._end_handshakes)

        self._sock = sock
        async with anyio.create_task_group() as group:
            if backend == "trio":
                group.start_soon(_abort_connections_at_end, sock.getsockname())
            serve: Any = import_module(f"hypercorn.{backend}").serve
            await serve(self._app, self, shutdown_trigger=wait, mode="asgi")
            group.cancel_scope.cancel()

    def begin_shutdown(self, seconds: float) -> None:
        """Close the listening sockets, and limit the shutdown in seconds."""
        self.graceful_timeout = seconds
        self._stopping.set()

    def _end_handshakes(self) -> None:
        """Close connections whose handshake has not ended, for which asyncio.Server waits."""
        for task, context in handshakes().items():
            if context is self._context:
                task.cancel()

    @property
    def ssl_enabled(self) -> bool:
        """Whether the socket speaks TLS."""
        return self._context is not None

    def create_sockets(self) -> Sockets:
        """Return the socket that is already bound."""
        return Sockets([self._sock], [], []) if self.ssl_enabled else Sockets([], [self._sock], [])

    def create_ssl_context(self) -> SSLContext | None:
        """Return the context with the options of hypercorn that concern it."""
        context = self._context
        if context is not None:
            context.set_ciphers(self.ciphers)
            context.set_alpn_protocols(self.alpn_protocols)
            if self.ca_certs is not None:
                context.load_verify_locations(self.ca_certs)
            if self.verify_mode is not None:
                context.verify_mode = self.verify_mode
            if self.verify_flags is not None:
                context.verify_flags = self.verify_flags
        return context


async def _abort_connections_at_end(address: object) -> None:
    """Abort the connections that were accepted at an address, when this task is cancelled.

    hypercorn on trio sends in a shielded scope. So a client that receives nothing would hold the
    shutdown.
    """
    try:
        await anyio.sleep_forever()
    finally:
        _abort_connections(address)


def _abort_connections(address: Any) -> None:
    """Abort all connections that were accepted at an address."""
    # A connection has the address of one interface.
    is_any_host = isinstance(address, tuple) and address[0] in {"0.0.0.0", "::"}  # noqa: S104
    with suppress(OSError):
        for path in Path("/dev/fd").iterdir():
            with suppress(OSError):  # another file, or closed meanwhile
                connection = socket.socket(fileno=int(path.name))
                try:
                    name = connection.getsockname()
                    if name == address or (is_any_host and name[1:2] == address[1:2]):
                        connection.getpeername()  # fails for the listening socket
                        connection.shutdown(socket.SHUT_RDWR)
                finally:
                    connection.detach()
