"""Probe server: a small HTTP server for the endpoints, for applications that serve nothing else.

A connection serves one request, and ends after ``probe_timeout`` at the latest: a client that is
slow, is silent or does not speak HTTP cannot block the probes.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections import deque
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import unquote

import anyio
from anyio.abc import SocketAttribute

from hive_boot._timings import DEFAULTS, Timings
from hive_boot.exceptions import DeclarationError, LifecycleError
from hive_boot.serving.endpoints import Response, handle_asgi_request, make_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup, TaskStatus

    from hive_boot.runtime.status import Status

with suppress(ModuleNotFoundError):  # serve_probes() reports that it is missing
    import h11

log: logging.Logger = logging.getLogger("hive_boot")

MAX_CONNECTIONS = 100
"""Maximum number of open connections; one more closes the oldest."""

MAX_HEAD_LENGTH = 16 * 1024
"""Maximum bytes of a request head. It is checked after each chunk: the last may exceed it."""

MAX_DISCARDED = 64 * 1024
"""Maximum bytes that are read and discarded after the response."""

_CHUNK = 4 * 1024

_WAITS = b"hive-boot-worker-waits"
"""Header of a request by which a worker that waits for the port shows that it exists."""


async def serve_probes(
    status: Callable[[], Status],
    name: str,
    port: int,
    timings: Timings = DEFAULTS,
    *,
    host: str | None = None,
    is_worker: bool = False,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve all endpoints until cancelled.

    Args:
        status: returns the status of the application.
        name: the name of the application.
        port: the port; 0 for any free port.
        timings: how long a connection may last, and the delays of retries.
        host: the address to listen on. Default None: all interfaces.
        is_worker: whether the process may be one of several workers of a server, such as uvicorn.
            Only one of them can listen on the port. The others wait, and when it ends, one of them
            listens. Default False: a port that is in use is an error.
        task_status: receives the port when connections are accepted, or when this worker begins
            to wait for the port.

    Raises:
        DeclarationError: h11 is not installed.
        LifecycleError: the port is in use or not allowed.
    """
    if find_spec("h11") is None:
        raise DeclarationError(
            "probe_port requires h11, which is not installed. Fix: pip install 'hive_boot[probes]'"
        )
    is_waiting = False
    while True:
        try:
            multi_listener = await anyio.create_tcp_listener(
                local_host=host, local_port=port, backlog=MAX_CONNECTIONS
            )
            break
        except OSError as exc:
            # A worker that waits has started, so a later error must not end its application.
            if not is_waiting and not (is_worker and exc.errno == errno.EADDRINUSE):
                where = "" if host is None else f" of {host}"
                message = f"Cannot listen on probe_port {port}{where}: {exc.strerror or exc}."
                # The message contains the reason: a chained traceback adds nothing.
                raise LifecycleError(message) from None
        await _report_waiting(host, port, timings)
        if not is_waiting:
            is_waiting = True
            text = (
                "probe_port %d is in use, most likely by another worker: this process (%d) "
                "answers no probes there until the port is free"
            )
            log.warning(text, port, os.getpid())
            task_status.started(port)
        await anyio.sleep(timings.probe_port_retry_delay)
    try:
        async with anyio.create_task_group() as group:
            connections = _Connections(status, name, timings, is_shared=is_waiting)
            for listener in multi_listener.listeners:
                raw = listener.extra(SocketAttribute.raw_socket)  # noqa: S610  (not Django's)
                group.start_soon(connections.accept, raw, group)
            port = raw.getsockname()[1]
            log.info("Probe server listens on port %d", port)
            if not is_waiting:
                task_status.started(port)
    finally:
        with anyio.CancelScope(shield=True):
            await multi_listener.aclose()


async def _report_waiting(host: str | None, port: int, timings: Timings) -> None:
    """Show the process that listens on the port that another worker waits for it."""
    failures = (OSError, anyio.EndOfStream, anyio.BrokenResourceError)
    with suppress(*failures), anyio.move_on_after(timings.probe_timeout):
        async with await anyio.connect_tcp(host or "localhost", port) as stream:
            await stream.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n%b: 1\r\n\r\n" % _WAITS)
            await stream.receive()


class _Connections:
    """Open connections, the oldest first."""

    def __init__(
        self, status: Callable[[], Status], name: str, timings: Timings, *, is_shared: bool
    ) -> None:
        self._status = status
        self._name = name
        self._timings = timings
        # The metrics of a port that several workers share prove nothing about the other ones.
        self._is_shared = is_shared
        self._open: deque[anyio.CancelScope] = deque()

    async def accept(self, listener: socket.socket, group: TaskGroup) -> None:
        """Accept connections until cancelled."""
        is_failing = False
        while True:
            await anyio.wait_readable(listener)
            try:
                with suppress(BlockingIOError):  # the client has disconnected
                    self._start_client(listener.accept()[0], group)
                is_failing = False
            except OSError as exc:
                # Most likely no file descriptor is left.
                if not is_failing:
                    text = "The probe server cannot accept connections and keeps trying: %s"
                    log.warning(text, exc.strerror)
                await anyio.sleep(self._timings.accept_retry_delay)
                is_failing = True

    def _start_client(self, client: socket.socket, group: TaskGroup) -> None:
        client.settimeout(0)
        while len(self._open) >= MAX_CONNECTIONS:
            self._open.popleft().cancel()
        scope = anyio.CancelScope(deadline=anyio.current_time() + self._timings.probe_timeout)
        self._open.append(scope)
        group.start_soon(self._serve, client, scope)

    async def _serve(self, client: socket.socket, scope: anyio.CancelScope) -> None:
        """Answer one client, and close the connection."""
        try:
            # OSError: the client or the network ended the connection.
            with client, suppress(OSError), scope:
                await self._handle(client)
        except Exception:
            # A bug of hive_boot must not end the application.
            log.exception("Internal error of the probe server; one connection was closed")
        finally:
            with suppress(ValueError):  # _start_client() has removed it
                self._open.remove(scope)

    async def _handle(self, client: socket.socket) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_LENGTH)
        request = None
        try:
            request = await _receive_request(connection, client)
        except h11.RemoteProtocolError as exc:
            response = make_response(exc.error_status_hint, "invalid HTTP request\n")
        else:
            if request is None:
                return
            response = self._answer(request)
        date = formatdate(usegmt=True).encode()
        headers = [*response.headers, (b"date", date), (b"connection", b"close")]
        reason = HTTPStatus(response.status).phrase.encode()
        head = h11.Response(status_code=response.status, headers=headers, reason=reason)
        is_head = request is not None and request.method == b"HEAD"
        body = h11.Data(data=b"" if is_head else response.body)
        events = (head, body, h11.EndOfMessage())
        await _send(client, b"".join(connection.send(event) or b"" for event in events))
        await _drain_and_close(client)

    def _answer(self, request: h11.Request) -> Response:
        target, _, query = request.target.partition(b"?")
        path = unquote(target.decode("ascii"))
        if not path.startswith("/"):
            # The absolute form, which proxies send and servers must accept (RFC 9112, 3.2.2).
            path = f"/{path.partition('://')[2].partition('/')[2]}"
        method, headers = request.method.decode("ascii"), dict(request.headers)
        scope = {"method": method, "path": path, "query_string": query, "headers": headers.items()}
        self._is_shared = self._is_shared or _WAITS in headers
        try:
            is_own, status = not self._is_shared, self._status()
            known = {"name": self._name, "timings": self._timings, "is_probe_port": is_own}
            status = status if is_own else replace(status, worker=True)
            response = handle_asgi_request(scope, status, **known)
        except Exception:
            # A metrics collector of the application can fail; the probe server must continue.
            log.exception("Internal error while answering %s; the response is 500", path)
            return make_response(500, "internal error: see the log of the application\n")
        has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        if response.status < HTTPStatus.BAD_REQUEST and has_body:
            return make_response(413, "a request with a body is not accepted\n")
        return response


async def _receive_request(connection: h11.Connection, client: socket.socket) -> h11.Request | None:
    """Return the head of the request; None if the client closes without sending one."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        await anyio.wait_readable(client)
        connection.receive_data(client.recv(_CHUNK))
    return event if isinstance(event, h11.Request) else None


async def _send(client: socket.socket, data: bytes) -> None:
    left = memoryview(data)
    while left:
        await anyio.wait_writable(client)
        left = left[client.send(left) :]


async def _drain_and_close(client: socket.socket) -> None:
    """Shut down sending, and read until the client closes.

    Closing a socket with unread data resets the connection, and the response can be lost.
    """
    client.shutdown(socket.SHUT_WR)
    discarded = 0
    while discarded < MAX_DISCARDED:
        await anyio.wait_readable(client)
        if not (data := client.recv(_CHUNK)):
            break
        discarded += len(data)
