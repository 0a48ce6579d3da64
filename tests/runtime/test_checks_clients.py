"""Client libraries in checks and resources, when their server is down or refuses the login."""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import anyio
import asyncpg
import httpx
import psycopg
import pytest
import redis.asyncio
import sqlalchemy.exc
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sqlalchemy.ext.asyncio import create_async_engine

from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretSet, StartupError
from tests.fixtures.ports import closed_port
from tests.fixtures.timings import set_timings

pytestmark = pytest.mark.anyio

HOST = "127.0.0.1"


class Needs(SecretSet):
    """The password of the server."""

    password: Secret


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the password into the environment."""
    monkeypatch.setenv("PASSWORD", "fake-password-0123456789")


async def refuse_http(stream: SocketStream) -> None:
    """Answer a request with 401."""
    await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", 4096)
    await stream.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")


async def refuse_redis(stream: SocketStream) -> None:
    """Answer every command as Redis answers a wrong password."""
    received = BufferedByteReceiveStream(stream)
    while True:
        count = int((await received.receive_until(b"\r\n", 64))[1:])
        for _ in range(count):
            length = int((await received.receive_until(b"\r\n", 64))[1:])
            await received.receive_exactly(length + 2)
        await stream.send(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")


async def refuse_postgres(stream: SocketStream) -> None:
    """Refuse encryption, and then the login, as PostgreSQL refuses a wrong password."""
    received = BufferedByteReceiveStream(stream)
    while True:
        (length,) = struct.unpack("!I", await received.receive_exactly(4))
        body = await received.receive_exactly(length - 4)
        if body[:2] != b"\x04\xd2":  # 1234: a request for TLS or GSSAPI
            break
        await stream.send(b"N")
    text = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\0\0"
    await stream.send(b"E" + struct.pack("!I", len(text) + 4) + text)


@asynccontextmanager
async def serving(answer: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """Run a server for the block, and return its port."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with anyio.move_on_after(10):
                try:
                    await answer(stream)
                except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                    return  # the client has left

    async with (
        await anyio.create_tcp_listener(local_host=HOST) as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, serve)
        port: int = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610  (not Django)
        yield port
        group.cancel_scope.cancel()


async def with_httpx(port: int) -> None:
    """Request a page, and raise for its status."""
    async with httpx.AsyncClient(trust_env=False) as client:
        (await client.get(f"http://{HOST}:{port}/")).raise_for_status()


async def with_anyio(port: int) -> None:
    """Open a connection."""
    await anyio.connect_tcp("localhost", port)


async def with_aiohttp(port: int) -> None:
    """Request a page, and raise for its status."""
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.get(f"http://{HOST}:{port}/"),
    ):
        pass


async def with_redis(port: int) -> None:
    """Log in, and send a command."""
    retry = Retry(NoBackoff(), 0)  # its own retries take seconds
    async with redis.asyncio.Redis(host=HOST, port=port, password="fake", retry=retry) as client:
        await client.ping()


async def with_asyncpg(port: int) -> None:
    """Log in."""
    await asyncpg.connect(host=HOST, port=port, user="app", password="fake")


async def with_psycopg(port: int) -> None:
    """Log in."""
    await psycopg.AsyncConnection.connect(f"host={HOST} port={port} user=app password=fake")


async def with_sqlalchemy(driver: str, port: int) -> None:
    """Log in."""
    engine = create_async_engine(f"postgresql+{driver}://app:fake@{HOST}:{port}/app")
    async with engine.connect():
        pass


async def with_sqlalchemy_and_asyncpg(port: int) -> None:
    """Log in."""
    await with_sqlalchemy("asyncpg", port)


async def with_sqlalchemy_and_psycopg(port: int) -> None:
    """Log in."""
    await with_sqlalchemy("psycopg", port)


class Client(NamedTuple):
    """A client library.

    Attributes:
        connect: connects to a port.
        refuse: the server that refuses its login; None without a login.
        retry_on: the exception that it raises for both, so that an application has to name it.
    """

    connect: Callable[[int], Awaitable[None]]
    refuse: Callable[[SocketStream], Awaitable[None]] | None = None
    retry_on: type[Exception] | None = None


ON_BOTH_BACKENDS = [Client(with_httpx, refuse_http), Client(with_anyio)]

ON_ASYNCIO = [
    Client(with_aiohttp, refuse_http),
    Client(with_redis, refuse_redis),
    Client(with_asyncpg, refuse_postgres),
    Client(with_sqlalchemy_and_asyncpg, refuse_postgres),
    Client(with_psycopg, refuse_postgres, psycopg.OperationalError),
    Client(with_sqlalchemy_and_psycopg, refuse_postgres, sqlalchemy.exc.OperationalError),
]


class Asked:
    """An application whose check or resource connects once, and succeeds at the second call."""

    def __init__(self, client: Client, port: int, kind: str, *, with_retry_on: bool) -> None:
        self.calls = 0
        self.boot = Bootstrap(Needs, mode="environment")
        set_timings(self.boot, check_retry_delay=0.01)
        options: dict[str, Any] = {}
        if with_retry_on and client.retry_on is not None:
            options["retry_on"] = client.retry_on

        async def database() -> None:
            self.calls += 1
            if self.calls == 1:
                await client.connect(port)

        getattr(self.boot, kind)(**options)(database)

    async def start(self) -> None:
        """Start, and stop at once."""
        async with self.boot.running():
            pass


async def assert_retried_when_down(clients: list[Client]) -> None:
    """Assert that a start with a server that is down calls again."""
    with closed_port() as port:
        for client in clients:
            for kind in ("check", "resource"):
                asked = Asked(client, port, kind, with_retry_on=True)
                await asked.start()
                assert asked.calls == 2, (client, kind)


async def assert_refused_at_once(clients: list[Client]) -> None:
    """Assert that a start whose login is refused fails with the first call."""
    for client in clients:
        if client.refuse is None:
            continue
        async with serving(client.refuse) as port:
            for kind, error in (("check", InvalidSecretsError), ("resource", StartupError)):
                asked = Asked(client, port, kind, with_retry_on=False)
                with pytest.raises(error):
                    await asked.start()
                assert asked.calls == 1, (client, kind)


@pytest.mark.both_backends
async def test_a_server_that_is_down_is_called_again() -> None:
    """Whatever the library raises for a refused connection, it is no refusal of the secrets."""
    await assert_retried_when_down(ON_BOTH_BACKENDS)


async def test_a_server_that_is_down_is_called_again_by_libraries_of_asyncio() -> None:
    """Psycopg has one exception for all failures to connect, which ``retry_on=`` names."""
    await assert_retried_when_down(ON_ASYNCIO)


@pytest.mark.both_backends
async def test_a_refused_login_fails_at_once() -> None:
    """Nobody waits thirty seconds for a password that stays wrong."""
    await assert_refused_at_once(ON_BOTH_BACKENDS)


async def test_a_refused_login_fails_at_once_in_libraries_of_asyncio() -> None:
    """The exception of the library needs no translation."""
    await assert_refused_at_once(ON_ASYNCIO)


@pytest.mark.both_backends
async def test_an_unknown_host_may_become_known() -> None:
    """A name that is not resolved yet is asked for again."""
    calls: list[None] = []
    boot = Bootstrap(Needs, mode="environment")
    set_timings(boot, check_retry_delay=0.01)

    @boot.check
    async def database() -> None:
        calls.append(None)
        if len(calls) == 1:
            await anyio.connect_tcp("database.invalid", 5432)

    async with boot.running():
        assert len(calls) == 2
