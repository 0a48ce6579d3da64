"""uvicorn without its signal handlers, lifespan and logging setup."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import contextmanager, suppress
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar

import uvicorn

from hive_boot.lifecycle.tasks import handshakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from socket import socket
    from ssl import SSLContext

    from hive_boot.serving.endpoints import App


_FIRST_REQUEST_TIMEOUT = 0.5
"""Seconds that a shutdown waits for the request of a connection that has sent none."""


class UvicornServer(uvicorn.Server):
    """uvicorn on asyncio. The logger ``uvicorn.access`` logs requests if it has a handler.

    Args:
        app: the application.
        options: options of ``uvicorn.Config``.
        context: the SSL context; None for plain HTTP.
        on_started: called when connections are accepted.

    Attributes:
        known_options: the type of each option, as in an annotation.
    """

    known_options: ClassVar[Mapping[str, str]] = {
        name: str(each.annotation)
        for name, each in inspect.signature(uvicorn.Config).parameters.items()
    }

    def __init__(
        self,
        app: App,
        options: Mapping[str, Any],
        context: SSLContext | None,
        on_started: Callable[[], None],
    ) -> None:
        defaults = {"log_config": None, "server_header": False}
        fixed = {"interface": "asgi3", "lifespan": "off", "proxy_headers": False}
        config = uvicorn.Config(app, **{**defaults, **options, **fixed})
        config.load()
        if context is not None:
            context.set_alpn_protocols(["http/1.1"])
            if ciphers := options.get("ssl_ciphers"):
                context.set_ciphers(ciphers)
            if authorities := options.get("ssl_ca_certs"):
                context.load_verify_locations(authorities)
            context.verify_mode = options.get("ssl_cert_reqs", context.verify_mode)
            config.ssl = context
        super().__init__(config)
        self._on_started = on_started

    async def run_on(self, sock: socket, backend: str) -> None:
        """Serve on a socket, until the shutdown has ended."""
        del backend  # always asyncio
        try:
            await self.serve(sockets=[sock])
        finally:
            # For example a connection whose client does not read its response.
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            if self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks)

    def begin_shutdown(self, seconds: float) -> None:
        """Close the listening sockets, and limit the shutdown in seconds.

        uvicorn begins its shutdown up to 0.1 s later. Until then it would accept connections, and
        keep the connection of a response that ends for one more request, which could be lost.
        asyncio loses a connection that it has accepted if the server is closed before the task
        of the connection runs: stop accepting first, and close after such tasks.
        """
        self.config.timeout_graceful_shutdown = ceil(seconds)
        self.should_exit = True
        loop = asyncio.get_running_loop()
        for server in getattr(self, "servers", ()):
            for sock in server.sockets:
                loop.remove_reader(sock)  # without effect on uvloop
            loop.call_soon(server.close)
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)  # connections of websockets have none
            if cycle is not None and not cycle.response_complete:
                connection.shutdown()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers: hive_boot owns the signals."""
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start accepting connections, and call ``on_started``."""
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Wait for the requests of connections that were just accepted, and shut down.

        uvicorn closes them at once, and their clients get an error. Go's net/http waits for up to
        5 s: https://pkg.go.dev/net/http#Server.Shutdown

        Clients whose TLS handshake has not ended then are disconnected: from Python 3.12 on the
        end of an asyncio server waits for them.
        """
        seconds = min(_FIRST_REQUEST_TIMEOUT, self.config.timeout_graceful_shutdown or 0)
        connections = self.server_state.connections
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.config.ssl in handshakes().values() or any(  # noqa: ASYNC110  (uvicorn has no event for it)
                    getattr(each, "cycle", each) is None for each in connections
                ):
                    await asyncio.sleep(0.01)
        for task, context in handshakes().items():
            if context is self.config.ssl:
                task.cancel()
        await super().shutdown(sockets)
