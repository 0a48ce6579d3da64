"""A small server for the endpoints, for workers that serve nothing else.

One request for each connection, and no patience: a client that is slow, silent, or no
client of HTTP at all is dropped, and none of them keeps a probe out.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute

from hive_boot._timings import DEFAULTS
from hive_boot.exceptions import DeclarationError, LifecycleError
from hive_boot.serving.endpoints import Response, handle_request, make_response

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    import h11
    from anyio.abc import TaskGroup, TaskStatus

    from hive_boot._timings import Timings
    from hive_boot.runtime.status import Status

log: logging.Logger = logging.getLogger("hive_boot")

MOST = 100
"""How many connections are open at a time; for one more the oldest is dropped."""

LONGEST = 16 * 1024
"""How many bytes the head of a request may have, but for the last chunk of it."""

IGNORED = 64 * 1024
"""How many bytes that a client sends too much are read, so that it gets its answer."""

_CHUNK = 4 * 1024


async def serve_probes(
    status: Callable[[], Status],
    name: str,
    port: int,
    timings: Timings = DEFAULTS,
    *,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve all the endpoints on all interfaces, until it is cancelled.

    Args:
        status: describes the application at this moment.
        name: what people call the application.
        port: where to listen; 0 for any port that is free.
        timings: how long a connection may take.
        task_status: told the port as soon as connections are accepted.

    Raises:
        DeclarationError: h11 is not installed.
        LifecycleError: the port cannot be had.
    """
    try:
        import h11  # noqa: F401, PLC0415  (few applications have a probe port)
    except ModuleNotFoundError:
        message = "probe_port needs h11: pip install 'hive_boot[probes]'"
        raise DeclarationError(message) from None
    try:
        everywhere = await anyio.create_tcp_listener(local_port=port, backlog=MOST)
    except OSError as exc:
        message = f"probe_port {port} cannot be had: {exc.strerror or exc}"
        # The reason is in the sentence: a traceback would add nothing.
        raise LifecycleError(message) from None
    try:
        async with anyio.create_task_group() as group:
            clients = _Connections(status, name, timings)
            for listener in everywhere.listeners:
                raw = listener.extra(SocketAttribute.raw_socket)  # noqa: S610  (not Django's)
                group.start_soon(clients.accept, raw, group)
            port = raw.getsockname()[1]
            log.info("Probes are answered on port %d", port)
            task_status.started(port)
    finally:
        with anyio.CancelScope(shield=True):
            await everywhere.aclose()


class _Connections:
    """The connections that are open, the oldest first."""

    def __init__(self, status: Callable[[], Status], name: str, timings: Timings) -> None:
        self._status = status
        self._name = name
        self._timings = timings
        self._open: deque[anyio.CancelScope] = deque()

    async def accept(self, listener: socket.socket, group: TaskGroup) -> None:
        """Take in whoever comes."""
        short = False
        while True:
            await anyio.wait_readable(listener)
            try:
                with suppress(BlockingIOError):  # who came has gone again
                    self._take(listener.accept()[0], group)
            except OSError as exc:
                if not short:
                    log.warning("The probe port takes no connection: %s", exc.strerror)
                # No descriptor is left.
                await anyio.sleep(self._timings.accept_retry_delay)
                short = True
            else:
                short = False

    def _take(self, client: socket.socket, group: TaskGroup) -> None:
        client.setblocking(False)  # noqa: FBT003  (its only argument)
        while len(self._open) >= MOST:
            self._open.popleft().cancel()
        # From the first packet to the last.
        deadline = anyio.current_time() + self._timings.probe_timeout
        scope = anyio.CancelScope(deadline=deadline)
        self._open.append(scope)
        group.start_soon(self._serve, client, scope)

    async def _serve(self, client: socket.socket, scope: anyio.CancelScope) -> None:
        """Answer one client, and be done with it."""
        try:
            # What a client does wrong is its own affair; the network's faults are nobody's.
            with client, suppress(OSError), scope:
                await self._handle(client)
        except Exception:
            # A fault of ours; the application does not end because of a probe.
            log.exception("A client of the probe port could not be answered")
        finally:
            with suppress(ValueError):
                self._open.remove(scope)

    async def _handle(self, client: socket.socket) -> None:
        import h11  # noqa: PLC0415  (few applications have a probe port)

        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST)
        request = None
        try:
            request = await _request(connection, client)
        except h11.RemoteProtocolError as exc:
            response = make_response(
                exc.error_status_hint, "this is no request that can be answered\n"
            )
        else:
            if request is None:
                return
            response = self._answer(request)
        head = h11.Response(
            status_code=response.status,
            headers=[
                (b"date", formatdate(usegmt=True).encode()),
                *response.headers,
                (b"connection", b"close"),
            ],
            reason=HTTPStatus(response.status).phrase.encode(),
        )
        is_head = request is not None and request.method == b"HEAD"
        body = h11.Data(data=b"" if is_head else response.body)
        events = (head, body, h11.EndOfMessage())
        await _send(client, b"".join(connection.send(event) or b"" for event in events))
        await _drain_and_close(client)

    def _answer(self, request: h11.Request) -> Response:
        headers = dict(request.headers)
        path = request.target.decode("ascii").partition("?")[0]
        if not path.startswith("/"):
            # A proxy's way to write it, which every server has to accept (RFC 9112, 3.2.2).
            path = f"/{path.partition('://')[2].partition('/')[2]}"
        try:
            response = handle_request(
                request.method.decode("ascii"),
                path,
                self._status(),
                name=self._name,
                accept=headers.get(b"accept", b"").decode("latin-1"),
                timings=self._timings,
            )
        except Exception:
            # A collector of somebody else, perhaps; the next probe is to be answered all the same.
            log.exception("%s could not be answered", path)
            return make_response(500, "this cannot be told: the log says why\n")
        has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        if response.status < HTTPStatus.BAD_REQUEST and has_body:
            return make_response(413, "a request with a body is not answered\n")
        return response


async def _request(connection: h11.Connection, client: socket.socket) -> h11.Request | None:
    """Read until there is the head of a request; None when the client has gone before."""
    import h11  # noqa: PLC0415  (few have a probe port)

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
    """Wait for the client to close, because who closes on unread data takes the answer back."""
    import socket  # noqa: PLC0415  (few have a probe port)

    client.shutdown(socket.SHUT_WR)
    ignored = 0
    while ignored < IGNORED:
        await anyio.wait_readable(client)
        if not (data := client.recv(_CHUNK)):
            break
        ignored += len(data)
