"""Probe server for workers without HTTP: a probe is answered, whatever other clients send."""

import errno
import logging
import os
import random
import resource
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio.abc import SocketStream, TaskGroup

from hive_boot import DeclarationError, LifecycleError
from hive_boot._timings import DEFAULTS, Timings
from hive_boot.runtime.status import Status
from hive_boot.serving import probe_server
from hive_boot.serving.endpoints import PATHS, Response, make_response
from hive_boot.serving.probe_server import serve_probes
from tests.serving.statuses import ready, starting
from tests.support import until

pytestmark = pytest.mark.anyio

GET = b"GET %s HTTP/1.1\r\nHost: worker\r\n\r\n"

TLS_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(256)) * 2

PATIENCE = 20
"""Seconds after which a test that waits has failed."""


@asynccontextmanager
async def served(
    status: Callable[[], Status] = ready, timings: Timings = DEFAULTS
) -> AsyncIterator[int]:
    """Yield the port of a running probe server."""
    async with anyio.create_task_group() as group:
        yield await start(group, status, 0, timings)
        group.cancel_scope.cancel()


async def start(
    group: TaskGroup,
    status: Callable[[], Status] = ready,
    port: int = 0,
    timings: Timings = DEFAULTS,
) -> int:
    """Start a probe server, and return its port."""
    given: int = await group.start(serve_probes, status, "hive", port, timings)
    return given


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[SocketStream]:
    """Yield a connection to the server."""
    async with await anyio.connect_tcp("127.0.0.1", port) as client:
        yield client


async def everything(client: SocketStream) -> bytes:
    """Read until the server closes or resets the connection."""
    told = b""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                told += await client.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return told


async def ask(port: int, request: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send a request, and return the status code, the headers and the body of the response."""
    async with connected(port) as client:
        await client.send(request)
        head, _, body = (await everything(client)).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


async def assert_answers(port: int) -> None:
    """Assert that a probe is answered."""
    assert (await ask(port, GET % b"/readyz"))[0] == 200


def plain_socket(port: int) -> socket.socket:
    """Connect with a blocking socket."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def reset(client: socket.socket) -> None:
    """Reset the connection, as a client does that crashes."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.both_backends
async def test_every_endpoint_responds_and_closes_the_connection() -> None:
    """The probe server serves probes, metrics and the status page."""
    async with served() as port:
        for path in PATHS:
            status, headers, body = await ask(port, GET % path.encode())
            assert status == 200
            assert headers[b"connection"] == b"close"
            assert headers[b"cache-control"] == b"no-store"
            assert headers[b"date"].endswith(b"GMT")
            assert int(headers[b"content-length"]) == len(body) > 0


async def test_an_invalid_request_gets_an_error_status() -> None:
    """Valid requests are answered; invalid ones get an error status, and the server continues."""
    for request, status in (
        (b"HEAD /readyz HTTP/1.1\r\nHost: worker\r\n\r\n", 200),
        (b"GET /readyz HTTP/1.0\r\n\r\n", 200),
        (GET % b"/readyz?verbose=1", 200),
        (GET % b"http://worker:8081/readyz", 200),
        (GET % b"http://worker", 404),
        (GET % b"*", 404),
        (GET % b"/nothing", 404),
        (b"GET /livez HTTP/1.1\r\nHost: worker\r\nContent-Length: 0\r\n\r\n", 200),
        (b"POST /livez HTTP/1.1\r\nHost: worker\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET /livez HTTP/1.1\r\nHost: worker\r\nContent-Length: 3\r\n\r\nabc", 413),
        (
            b"GET /livez HTTP/1.1\r\nHost: worker\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            413,
        ),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"\x00\x01\x02\r\n\r\n", 400),
        (TLS_HELLO, 400),
        (b"HEAD /livez HTTP/1.1\r\nHost: worker\r\nContent-Length: 3\r\n\r\nabc", 413),
        (b"HEAD /nothing HTTP/1.1\r\nHost: worker\r\n\r\n", 404),
        (b"CONNECT worker:443 HTTP/1.1\r\nHost: worker\r\n\r\n", 404),
        (b"GET /livez HTTP/1.1\r\nHost: worker\r\nUpgrade: websocket\r\n\r\n", 200),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
        (b"GET /livez HTTP/1.1\r\nHost: worker\r\nX-Long: " + b"x" * 30_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\nHost: worker\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ):
        async with served() as port:
            told, _, body = await ask(port, request)
            assert told == status, request
            assert (body == b"") is request.startswith(b"HEAD")
            await assert_answers(port)


async def test_the_accept_header_selects_openmetrics() -> None:
    """A scraper that accepts OpenMetrics gets it."""
    request = (
        b"GET /metrics HTTP/1.1\r\nHost: worker\r\nAccept: application/openmetrics-text\r\n\r\n"
    )
    async with served() as port:
        _, headers, body = await ask(port, request)
    assert headers[b"content-type"].startswith(b"application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


async def test_a_client_may_write_slowly() -> None:
    """A request may arrive byte by byte."""
    async with served() as port, connected(port) as client:
        for byte in GET % b"/livez":
            await client.send(bytes([byte]))
            await anyio.lowlevel.checkpoint()
        assert (await everything(client)).endswith(b"\r\n\r\nready\n")


async def test_a_client_that_sends_nothing_is_disconnected() -> None:
    """A client that sends nothing, or half a request, is disconnected after ``probe_timeout``."""
    timings = Timings(probe_timeout=0.05)
    async with served(timings=timings) as port, connected(port) as silent, connected(port) as slow:
        await slow.send(b"GET /livez HTTP/1.1\r\nHo")
        assert await everything(silent) == b""
        assert await everything(slow) == b""


@pytest.mark.both_backends
async def test_a_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not read a long response is disconnected."""
    monkeypatch.setattr(probe_server, "handle_asgi_request", partial(long_answer, 30_000_000))
    async with served(timings=Timings(probe_timeout=0.5)) as port:
        client = plain_socket(port)

        def read_nothing() -> None:
            with client:
                client.sendall(GET % b"/boot")
                while True:
                    client.sendall(b"x")  # until the server has closed
                    time.sleep(0.005)

        with pytest.raises(ConnectionError):
            await anyio.to_thread.run_sync(read_nothing)
        monkeypatch.undo()
        await assert_answers(port)


def long_answer(length: int, *_: object, **__: object) -> Response:
    """Return a response with a long body."""
    return make_response(200, b"x" * length)


@pytest.mark.both_backends
async def test_a_client_that_closes_its_sending_side_gets_the_whole_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that closes its sending side, as ``nc -N`` does, still gets the whole response."""
    monkeypatch.setattr(probe_server, "handle_asgi_request", partial(long_answer, 8_000_000))
    async with served() as port, connected(port) as client:
        await client.send(GET % b"/boot")
        await client.send_eof()
        assert (await everything(client)).endswith(b"\r\n\r\n" + b"x" * 8_000_000)


async def test_a_client_that_closes_before_a_request_is_ignored() -> None:
    """A TCP check, which connects and closes, is ignored."""
    async with served() as port:
        async with connected(port) as client:
            await client.send_eof()
            assert await everything(client) == b""
        await assert_answers(port)


async def test_a_client_that_keeps_sending_is_disconnected() -> None:
    """Data after the request is read for a while, and then the connection is closed."""
    async with served(timings=Timings(probe_timeout=PATIENCE)) as port:
        client = plain_socket(port)

        def talk() -> None:
            with client:
                client.sendall(GET % b"/livez")
                while True:
                    client.sendall(b"x" * 10_000)

        with pytest.raises(ConnectionError):
            await anyio.to_thread.run_sync(talk)
        await assert_answers(port)


@pytest.mark.both_backends
async def test_resets_leave_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that is reset at any moment is not logged and does no harm."""
    caplog.set_level(logging.INFO, "hive_boot")
    async with served(lambda: ready(200)) as port:
        for said in (b"", b"GET /livez HT", GET % b"/livez", GET % b"/boot"):
            client = plain_socket(port)
            client.sendall(said)
            reset(client)
            await assert_answers(port)
        late = plain_socket(port)
        late.sendall(GET % b"/boot")
        await anyio.to_thread.run_sync(late.recv, 10)
        reset(late)
        await assert_answers(port)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert f"port {port}" in caplog.text


@pytest.mark.both_backends
async def test_a_probe_is_accepted_at_the_connection_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the connection limit the oldest connection is dropped, so idle clients block nothing."""
    monkeypatch.setattr(probe_server, "MAX_CONNECTIONS", 3)
    async with served() as port:
        silent = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(6)]
        for client in silent[:3]:
            assert await everything(client) == b""
        await assert_answers(port)
        assert await everything(silent[3]) == b""
        # The other two have not lost their turn.
        for client in silent[4:]:
            await client.send(GET % b"/livez")
            assert (await everything(client)).endswith(b"ready\n")
        for client in silent:
            await client.aclose()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log messages of level WARNING and above."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Set the limit of open files so that this process can open no further file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.both_backends
async def test_a_lack_of_descriptors_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A worker that has no free descriptor logs that once, and accepts connections again later."""
    async with served(timings=Timings(accept_retry_delay=0.0)) as port:
        client = socket.socket()
        client.settimeout(PATIENCE)
        with client:
            with no_descriptor_left():
                client.connect(("127.0.0.1", port))
                client.sendall(GET % b"/livez")
                await until(lambda: warnings(caplog))
                for _ in range(50):  # time for further attempts, which are not logged
                    await anyio.lowlevel.checkpoint()
            answered = await anyio.to_thread.run_sync(client.recv, 4096)
        assert answered.startswith(b"HTTP/1.1 200")
    (warning,) = warnings(caplog)
    assert "Too many open files" in warning


@dataclass
class FailingOnce:
    """An application whose status raises an error at the first call."""

    results: list[bool] = field(default_factory=lambda: [False, True])

    def __call__(self) -> Status:
        """Return the status, or fail."""
        if not self.results.pop(0):
            message = "not now"
            raise RuntimeError(message)
        return ready()


async def test_an_error_of_the_status_is_a_500_response(caplog: pytest.LogCaptureFixture) -> None:
    """If the status raises an error, the response is 500, and the next request is answered."""
    async with served(FailingOnce()) as port:
        assert (await ask(port, GET % b"/boot"))[0] == 500
        await assert_answers(port)
    (error,) = warnings(caplog)
    assert "/boot" in error
    assert "not now" in caplog.text


async def test_an_error_while_writing_closes_one_connection(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a response cannot be written, one connection is closed, and the server continues."""
    async with served() as port:
        monkeypatch.setattr(
            probe_server, "handle_asgi_request", lambda *_, **__: make_response(999, "")
        )
        async with connected(port) as client:
            await client.send(GET % b"/livez")
            assert await everything(client) == b""
        monkeypatch.undo()
        await assert_answers(port)
    assert len(warnings(caplog)) == 1


async def test_probes_are_answered_during_random_requests(caplog: pytest.LogCaptureFixture) -> None:
    """Random requests are answered or dropped, and are not logged."""
    dice = random.Random(4711)  # noqa: S311  (nothing secret)
    pieces = [b"GET", b"HEAD", b" ", b"/boot", b"HTTP/1.1", b"\r\n", b"\n", b"Host: a", b":", b"\0"]
    pieces += [
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"\xff",
    ]
    async with served() as port:
        for number in range(200):
            said = dice.choices(pieces, k=8)
            if number % 2:
                said = [GET % b"/livez", *said]
                said[0] = said[0].replace(
                    dice.choice([b"\r", b"1", b"/", b"e"]), dice.choice(pieces)
                )
            async with connected(port) as client:
                with suppress(anyio.BrokenResourceError):
                    await client.send(b"".join(said))
                    await client.send_eof()
                await everything(client)
        await assert_answers(port)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.both_backends
async def test_slow_clients_do_not_delay_the_stop() -> None:
    """Slow clients do not delay the end of the worker, and no connection stays open."""
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            port = await start(group, starting)
            silent, slow = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(2)]
            await slow.send(b"GET /li")
            assert (await ask(port, GET % b"/readyz"))[0] == 503
            group.cancel_scope.cancel()
    for client in (silent, slow):
        assert await everything(client) == b""
        await client.aclose()
    with pytest.raises(OSError, match="refused"):
        plain_socket(port)


async def test_the_error_about_a_port_in_use_names_it() -> None:
    """If the port is in use, the error in the log names it."""
    async with served() as port:
        with pytest.raises(LifecycleError, match=rf"probe_port\D+{port}\b"):
            await serve_probes(ready, "hive", port)


@pytest.mark.both_backends
async def test_a_host_limits_the_port_to_its_address() -> None:
    """With a host, the port is open on its address alone; an invalid host is named in the error."""
    serve = partial(serve_probes, ready, "hive")
    async with anyio.create_task_group() as group:
        port: int = await group.start(partial(serve, host="127.0.0.2"), 0)
        async with await anyio.connect_tcp("127.0.0.2", port):
            pass
        with pytest.raises(OSError, match=r"refused|attempts failed"):
            await anyio.connect_tcp("127.0.0.1", port)
        group.cancel_scope.cancel()
    for host in ("203.0.113.1", "not an address"):
        with pytest.raises(LifecycleError, match=rf"probe_port 8081 of {host}: "):
            await serve(8081, host=host)


async def test_a_given_port_is_the_one_in_use(caplog: pytest.LogCaptureFixture) -> None:
    """A port that is given is the one in use, also at a second start."""
    caplog.set_level(logging.INFO, "hive_boot")
    async with served() as port:
        await assert_answers(port)
    for _ in range(2):
        async with anyio.create_task_group() as group:
            assert await start(group, port=port) == port
            await assert_answers(port)
            group.cancel_scope.cancel()
    assert [str(port) in record.getMessage() for record in caplog.records] == [True] * 3


async def test_a_probe_port_without_h11_is_a_declaration_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The declaration of a probe port without h11 fails, and the error names the package."""
    monkeypatch.setitem(sys.modules, "h11", None)
    with pytest.raises(DeclarationError, match=r"hive_boot\[probes\]"):
        await serve_probes(ready, "hive", 0)


async def test_a_worker_listens_when_another_has_released_the_port(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the port is in use, a worker logs that once, keeps running, and listens later."""
    caplog.set_level(logging.INFO, "hive_boot")
    timings = DEFAULTS.replace(probe_port_retry_delay=0.01)
    serve = partial(serve_probes, ready, "hive", timings=timings, is_worker=True)
    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as owner:
            port = await owner.start(serve, 0)
            assert await group.start(serve, port) == port
            (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
            assert str(port) in warning.getMessage()
            caplog.clear()
            owner.cancel_scope.cancel()
        await until(lambda: f"port {port}" in caplog.text)
        await assert_answers(port)
        group.cancel_scope.cancel()


async def test_a_worker_may_not_use_every_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a port in use is explained by another worker; any other failure ends the start."""

    async def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(anyio, "create_tcp_listener", refuse)
    with pytest.raises(LifecycleError, match="probe_port 80: Permission denied"):
        await serve_probes(ready, "hive", 80, is_worker=True)


async def test_a_worker_that_waits_for_the_port_survives_any_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that waits for the port is ready; a later failure to listen does not stop it."""
    caplog.set_level(logging.INFO, "hive_boot")
    codes = iter([errno.EADDRINUSE, errno.EMFILE])
    listen = anyio.create_tcp_listener

    async def refuse_twice(**options: Any) -> object:  # noqa: ANN401  (those of anyio)
        for code in codes:
            raise OSError(code, os.strerror(code))
        return await listen(**options)

    monkeypatch.setattr(anyio, "create_tcp_listener", refuse_twice)
    timings = DEFAULTS.replace(probe_port_retry_delay=0.01)
    serve = partial(serve_probes, ready, "hive", timings=timings, is_worker=True)
    async with anyio.create_task_group() as group:
        await group.start(serve, 0)
        await until(lambda: "Probe server listens" in caplog.text)
        group.cancel_scope.cancel()
