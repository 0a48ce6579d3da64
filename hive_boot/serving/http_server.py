"""HTTP server base class: serving on a socket, and the shutdown with its deadlines.

A server installs no signal handlers, configures no logging and does not run the lifespan of
the application. Its caller decides when it stops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

import anyio

from hive_boot._timings import DEFAULTS
from hive_boot.exceptions import DeclarationError
from hive_boot.lifecycle.tasks import unwrap_single
from hive_boot.serving.asgi import InFlightRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from socket import socket
    from ssl import SSLContext

    from anyio.abc import TaskStatus

    from hive_boot._timings import Timings
    from hive_boot.serving.endpoints import App

BACKLOG = 2048
"""Maximum number of connections that wait to be accepted; the kernel may allow fewer."""


class HttpServer(ABC):
    """HTTP server that serves one application once.

    Args:
        backend: ``asyncio`` or ``trio``.
        options: options of the server's own configuration.
        context: the context of TLS; None for plain HTTP.
        timings: how long the server may take to answer cancelled requests.

    Attributes:
        known_options: the type of each option, as in an annotation.
    """

    known_options: ClassVar[Mapping[str, str]]

    def __init__(
        self,
        backend: str,
        options: Mapping[str, Any],
        context: SSLContext | None = None,
        timings: Timings = DEFAULTS,
    ) -> None:
        self._backend = backend
        self._options = options
        self._context = context
        self._stop_timeout = timings.server_stop_timeout
        self._stopping = anyio.Event()
        self._deadlines = inf, inf
        self._requests: InFlightRequests | None = None
        self._scopes: tuple[anyio.CancelScope, anyio.CancelScope] | None = None

    async def serve(
        self,
        app: App,
        sock: socket,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until :meth:`stop`. A cancellation is a stop with 0 seconds of grace.

        Args:
            app: the application; its lifespan is not run here.
            sock: the socket that :func:`bind` returned; it is closed at the stop.
            task_status: notified when connections are accepted.

        Raises:
            DeclarationError: the server did not start with its options.
            Exception: the server crashed.
        """
        requests = self._requests = InFlightRequests(app)
        failures: list[Exception] = []
        accepting = anyio.Event()
        is_started = False
        grace_scope = anyio.CancelScope()
        server_scope = anyio.CancelScope(shield=True)
        self._scopes = grace_scope, server_scope
        self._set_limits()
        async with anyio.create_task_group() as group:

            async def serve_until_stopped() -> None:
                try:
                    with server_scope:
                        await self._run(requests, sock, accepting.set)
                except Exception as exc:  # noqa: BLE001  (raised after the group)
                    # hypercorn on asyncio raises when it is cancelled.
                    if not server_scope.cancel_called:
                        failures.append(exc)
                finally:
                    if server_scope.cancel_called:
                        requests.report_unfinished()
                    sock.close()
                    accepting.set()
                    group.cancel_scope.cancel()

            async def end_requests_after_grace() -> None:
                try:
                    with grace_scope:
                        await anyio.sleep_forever()
                finally:
                    requests.end(self._deadlines[1] - anyio.current_time())

            group.start_soon(serve_until_stopped)
            group.start_soon(end_requests_after_grace)
            try:
                await accepting.wait()
                if not failures:
                    task_status.started()
                    is_started = True
                await anyio.sleep_forever()
            finally:
                self.stop(0)
        for failure in map(unwrap_single, failures):
            if self._options and not is_started:
                names = ", ".join(self._options)
                message = f"server_options= with {names} cannot be used: {failure!r}."
                raise DeclarationError(message) from None
            raise failure

    def describe_requests(self) -> list[str]:
        """Return a line for each request in flight."""
        lines = [] if self._requests is None else self._requests.describe()
        return [f"{'request':<9} {line}" for line in lines]

    def stop(self, grace: float, cleanup: float = 0.0) -> None:
        """Stop accepting connections and begin the shutdown; to be called in the loop.

        Args:
            grace: seconds until requests in flight are cancelled. A second call can only
                shorten the time.
            cleanup: seconds after that, in which cancelled requests can clean up. Default 0.
        """
        now = anyio.current_time()
        cancel, end = self._deadlines
        self._deadlines = min(cancel, now + grace), min(end, now + grace + cleanup)
        self._set_limits()
        self._stopping.set()
        self._begin_shutdown(self._deadlines[1] - now + self._stop_timeout)

    def _set_limits(self) -> None:
        if self._scopes is not None:
            grace_scope, server_scope = self._scopes
            grace_scope.deadline = self._deadlines[0]
            server_scope.deadline = self._deadlines[1] + 2 * self._stop_timeout

    @abstractmethod
    async def _run(self, app: App, sock: socket, on_started: Callable[[], None]) -> None:
        """Serve on a socket; call ``on_started`` when connections are accepted."""

    @abstractmethod
    def _begin_shutdown(self, seconds: float) -> None:
        """Begin the shutdown of the server, with a limit in seconds."""
