"""What the servers have in common: how they end.

A server here serves and nothing else: it touches no signal handler, configures no logging
and starts no application. Whoever runs it says when it stops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING

import anyio

from hive_boot._timings import DEFAULTS
from hive_boot.lifecycle.tasks import unwrap_single
from hive_boot.serving.asgi import InFlightRequests

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

    from anyio.abc import TaskStatus

    from hive_boot._timings import Timings
    from hive_boot.serving.endpoints import App

BACKLOG = 2048
"""How many connections may wait to be accepted; the kernel may allow less."""


class HttpServer(ABC):
    """A server, from its first connection to its last answer. It serves once.

    Args:
        timings: how long it may take to answer requests that were ended.
    """

    def __init__(self, timings: Timings = DEFAULTS) -> None:
        self._stop_timeout = timings.server_stop_timeout
        self._stopping = anyio.Event()
        self._deadline = inf
        self._limits: list[tuple[anyio.CancelScope, float]] = []

    async def serve(
        self,
        app: App,
        sock: socket,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until it is told to stop. Cancelling it is a stop without grace.

        Args:
            app: the application; somebody else has started it.
            sock: the socket that :func:`bind` gave; it is closed at the stop.
            task_status: told when connections are accepted.

        Raises:
            Exception: the server has crashed.
        """
        requests = InFlightRequests(app)
        failures: list[Exception] = []
        accepting = anyio.Event()
        policy = anyio.CancelScope()
        life = anyio.CancelScope(shield=True)
        self._limits = [(policy, 0.0), (life, 2 * self._stop_timeout)]
        self._set_limits()
        async with anyio.create_task_group() as group:

            async def serve_until_stopped() -> None:
                try:
                    with life:
                        await self._run(requests, sock, accepting.set)
                except Exception as exc:  # noqa: BLE001  (raised below, where no group is)
                    # hypercorn on asyncio complains when it is given up.
                    if not life.cancel_called:
                        failures.append(exc)
                finally:
                    sock.close()
                    accepting.set()
                    group.cancel_scope.cancel()

            async def end_in_time() -> None:
                try:
                    with policy:
                        await anyio.sleep_forever()
                finally:
                    requests.end()

            group.start_soon(serve_until_stopped)
            group.start_soon(end_in_time)
            try:
                await accepting.wait()
                if not failures:
                    task_status.started()
                await anyio.sleep_forever()
            finally:
                self.stop(0)
        for failure in failures:
            raise unwrap_single(failure)

    def stop(self, grace: float) -> None:
        """Accept no more connections, and end; called in the loop.

        Args:
            grace: seconds that requests in flight have to end by themselves. A second
                call can shorten it.
        """
        self._deadline = min(self._deadline, anyio.current_time() + grace)
        self._set_limits()
        self._stopping.set()
        self._begin_shutdown(grace + self._stop_timeout)

    def _set_limits(self) -> None:
        for scope, margin in self._limits:
            scope.deadline = self._deadline + margin

    @abstractmethod
    async def _run(self, app: App, sock: socket, on_started: Callable[[], None]) -> None:
        """Serve on a socket, and call ``on_started`` when connections are accepted."""

    @abstractmethod
    def _begin_shutdown(self, seconds: float) -> None:
        """Begin to end, which may take so many seconds."""
