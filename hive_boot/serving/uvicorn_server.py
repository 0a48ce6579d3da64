"""uvicorn as an HttpServer: without its signal handlers, lifespan and logging setup."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, ClassVar

import uvicorn

from hive_boot.serving.http_server import BACKLOG, HttpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from socket import socket
    from ssl import SSLContext

    from hive_boot.serving.endpoints import App


class UvicornServer(HttpServer):
    """uvicorn on asyncio. The logger ``uvicorn.access`` logs requests if it has a handler."""

    known_options: ClassVar[Mapping[str, str]] = {
        name: str(each.annotation)
        for name, each in inspect.signature(uvicorn.Config).parameters.items()
    }
    _server: _Server | None = None

    async def _run(self, app: App, sock: socket, on_started: Callable[[], None]) -> None:
        defaults = {"log_config": None, "server_header": False, "backlog": BACKLOG}
        fixed = {"interface": "asgi3", "lifespan": "off", "proxy_headers": False}
        config = uvicorn.Config(app, **{**defaults, **self._options, **fixed})
        config.load()
        if self._context is not None:
            config.ssl = self._configured(self._context)
        self._server = _Server(config, on_started)
        self._server.should_exit = self._stopping.is_set()
        try:
            await self._server.serve(sockets=[sock])
        finally:
            await self._server.abort_connections()

    def _configured(self, context: SSLContext) -> SSLContext:
        """Return the context with the options of uvicorn that concern it."""
        context.set_alpn_protocols(["http/1.1"])
        if ciphers := self._options.get("ssl_ciphers"):
            context.set_ciphers(ciphers)
        if authorities := self._options.get("ssl_ca_certs"):
            context.load_verify_locations(authorities)
        context.verify_mode = self._options.get("ssl_cert_reqs", context.verify_mode)
        return context

    def _begin_shutdown(self, seconds: float) -> None:
        if self._server is not None:
            self._server.begin_shutdown(seconds)


class _Server(uvicorn.Server):
    """uvicorn server that installs no signal handlers.

    Args:
        config: the configuration of uvicorn.
        on_started: called when connections are accepted.
    """

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers: hive_boot owns the signals."""
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start accepting connections, and call ``on_started``."""
        await super().startup(sockets)
        self._on_started()

    def begin_shutdown(self, seconds: float) -> None:
        """Close the listening sockets at once; uvicorn does the rest at its next tick."""
        self.config.timeout_graceful_shutdown = ceil(seconds)
        self.should_exit = True
        for server in getattr(self, "servers", ()):
            server.close()

    async def abort_connections(self) -> None:
        """Abort open connections, such as one whose client does not read its response."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks)
