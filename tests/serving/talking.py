"""A client that keeps its connection, and sees what a server does to it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import anyio
import h11
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, Request, TextMessage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream
    from wsproto.events import Event


class Answer(NamedTuple):
    """What a server answered; whole, or cut off."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool


class Client:
    """One connection of HTTP/1.1."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self._connection = h11.Connection(h11.CLIENT)

    async def ask(self, path: str = "/", method: str = "GET") -> Answer:
        """Send a request, and wait for the answer."""
        await self.send(path, method)
        return await self.answer()

    async def send(self, path: str = "/", method: str = "GET") -> None:
        """Send a request."""
        if self._connection.our_state is h11.DONE:
            self._connection.start_next_cycle()
        request = h11.Request(method=method, target=path, headers=[("host", "here")])
        await self.stream.send(self._connection.send(request) or b"")
        self._connection.send(h11.EndOfMessage())

    async def answer(self) -> Answer:
        """Wait for an answer."""
        head, body = None, b""
        while True:
            try:
                event = self._connection.next_event()
            except h11.RemoteProtocolError:
                assert head is not None, "closed before it answered"
                return Answer(head.status_code, _headers(head), body, is_whole=False)
            if event is h11.NEED_DATA:
                self._connection.receive_data(await self._receive())
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert head is not None, "closed before it answered"
                return Answer(head.status_code, _headers(head), body, is_whole=True)

    async def is_closed(self) -> bool:
        """Wait until the server closes; nothing else may come."""
        return await self._receive() == b""

    async def _receive(self) -> bytes:
        try:
            return await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return b""


def _headers(response: h11.Response) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in response.headers}


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """Connect to a port of this machine."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield Client(stream)


async def refuses(port: int) -> bool:
    """Return whether nobody listens there."""
    try:
        async with await anyio.connect_tcp("127.0.0.1", port):
            return False
    except OSError:
        return True


async def until_refused(port: int) -> None:
    """Wait until nobody listens there any more."""
    with anyio.fail_after(20):
        while not await refuses(port):  # noqa: ASYNC110  (what is waited for sets no event)
            await anyio.sleep(0.005)


class Socket:
    """A websocket, as a client has it."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []

    async def open(self) -> int:
        """Ask for a websocket; give the status of the answer."""
        await self._stream.send(self._connection.send(Request(host="here", target="/")))
        event = await self.next()
        if isinstance(event, RejectConnection):
            return event.status_code
        assert isinstance(event, AcceptConnection)
        return 101

    async def send(self, text: str) -> None:
        """Send a text."""
        await self._stream.send(self._connection.send(TextMessage(text)))

    async def next(self) -> Event:
        """Wait for what comes next."""
        while not self._events:
            self._connection.receive_data(await self._stream.receive())
            self._events += self._connection.events()
        return self._events.pop(0)

    async def close_code(self) -> int:
        """Wait until the server closes the websocket."""
        while True:
            event = await self.next()
            if isinstance(event, CloseConnection):
                return int(event.code)


@asynccontextmanager
async def websocket(port: int) -> AsyncIterator[Socket]:
    """Connect to a port of this machine, for a websocket."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield Socket(stream)
