"""HTTP servers: requests, the stop and the socket, on each backend."""

import logging
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import uvicorn
from anyio import to_thread
from httpx2 import Client, TransportError
from hypercorn.config import Config
from wsproto.events import TextMessage

from hive_boot import DeclarationError, LifecycleError
from hive_boot._timings import Timings
from hive_boot.lifecycle.tasks import handshakes
from hive_boot.serving.endpoints import App, Receive, Scope, Send
from hive_boot.serving.servers import _RESERVED_OPTIONS, HttpServer, bind
from hive_boot.serving.uvicorn_server import UvicornServer
from tests.fixtures.certificates import make_certificate
from tests.serving.talking import connected, refuses, until_refused, websocket
from tests.support import until

pytestmark = pytest.mark.anyio

CASES: dict[str, tuple[str, Any]] = {
    "uvicorn": ("uvicorn", "asyncio"),
    "uvicorn on uvloop": ("uvicorn", ("asyncio", {"use_uvloop": True})),
    "hypercorn": ("hypercorn", "asyncio"),
    "hypercorn on trio": ("hypercorn", "trio"),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    """Go through the servers, each on the loops that it runs on."""
    name: str = request.param
    return name


@pytest.fixture
def anyio_backend(case: str) -> Any:  # noqa: ANN401  (what anyio's plugin takes)
    """Run a test on the loop of its server."""
    return CASES[case][1]


@pytest.fixture
def server(case: str) -> HttpServer:
    """Return a server that has not begun."""
    return HttpServer(CASES[case][0], "trio" if "trio" in case else "asyncio")


@pytest.fixture
def hasty(case: str) -> HttpServer:
    """Return a server that gives clients little time to hear that their requests were ended."""
    backend = "trio" if "trio" in case else "asyncio"
    return HttpServer(CASES[case][0], backend, Timings(server_stop_timeout=0.1))


class Application:
    """An application that answers when it is told to.

    Attributes:
        asked: how many requests it was asked.
        to_answer: set when they are to be answered.
        ended: how each of them ended.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.to_answer = anyio.Event()
        self.ended: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer ``/`` at once, ``/slow`` when told to, and ``/half`` only half until then."""
        assert scope["type"] != "lifespan", "somebody else starts it"
        self.asked += 1
        try:
            if scope["type"] == "websocket":
                await self._echo(receive, send)
            else:
                await self._answer(scope["path"], send)
        except anyio.get_cancelled_exc_class():
            self.ended.append("cancelled")
            raise
        self.ended.append("done")

    async def _answer(self, path: str, send: Send) -> None:
        if path == "/slow":
            await self.to_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if path == "/half":
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            await self.to_answer.wait()
        if path == "/endless":
            body = b"x" * (16 << 20)  # more than the kernel buffers
            while True:
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"whole"})

    async def _echo(self, receive: Receive, send: Send) -> None:
        await receive()
        if self.to_answer.is_set():
            await anyio.sleep_forever()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


@asynccontextmanager
async def serving(
    server: HttpServer,
    app: App,
    context: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[tuple[int, anyio.Event]]:
    """Serve while the block lasts; give the port, and what is set when the server has ended."""
    sock = bind(host, 0)
    ended = anyio.Event()

    async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await server.serve(app, sock, context, task_status=task_status)
        ended.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            await group.start(serve)
            yield sock.getsockname()[1], ended
            server.stop(0)


def cancelled(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the numbers of requests at the beginning of warnings."""
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    return [number for warning in warnings for number in re.findall(r"^\d+\b", warning)]


async def test_requests_are_answered_on_one_connection(server: HttpServer) -> None:
    """A client sends two requests on one connection, and the response has no server header."""
    async with serving(server, Application()) as (port, _), connected(port) as client:
        for _each in range(2):
            answer = await client.ask()
            assert (answer.status, answer.body) == (200, b"whole")
            assert "server" not in answer.headers


async def test_clients_that_connect_before_the_server_starts_are_answered(
    server: HttpServer,
) -> None:
    """The socket is open before, so a client waits and is not refused."""
    sock = bind("127.0.0.1", 0)
    async with connected(sock.getsockname()[1]) as client:
        await client.send()
        async with anyio.create_task_group() as group:
            await group.start(partial(server.serve, Application(), sock))
            assert (await client.answer()).status == 200
            server.stop(0)


async def test_the_socket_accepts_until_the_stop_and_refuses_after_it(server: HttpServer) -> None:
    """Clients can connect until the server is stopped."""
    async with serving(server, Application()) as (port, ended):
        assert not await refuses(port)
        server.stop(5)
        await until_refused(port)
        await ended.wait()


async def test_an_idle_connection_does_not_delay_the_stop(server: HttpServer) -> None:
    """Idle connections are closed at the stop, whatever the grace period is."""
    async with serving(server, Application()) as (port, ended), connected(port) as client:
        await client.ask()
        server.stop(60)
        assert await client.is_closed()
        await ended.wait()


@pytest.mark.parametrize("case", [name for name in CASES if "trio" not in name], indirect=True)
async def test_a_shared_socket_loses_no_connection_at_a_stop(server: HttpServer) -> None:
    """Each connection is accepted and answered, or waits for another process."""
    sock = bind("127.0.0.1", 0)
    with sock.dup() as shared, ExitStack() as stack:
        async with anyio.create_task_group() as group:
            await group.start(partial(server.serve, Application(), sock))
            clients = []
            for _each in range(8):
                client = socket.create_connection(shared.getsockname(), timeout=10)
                stack.enter_context(client)
                client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
                clients.append(client)
                await anyio.lowlevel.checkpoint()
            server.stop(60)
        shared.setblocking(False)  # noqa: FBT003  (its only argument)
        with suppress(BlockingIOError):
            while True:
                with shared.accept()[0] as waiting:
                    waiting.recv(1000)
                    waiting.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        assert {client.recv(12) for client in clients} == {b"HTTP/1.1 200"}


@pytest.mark.parametrize("case", [name for name in CASES if "uvicorn" in name], indirect=True)
async def test_a_new_connection_can_send_its_request_after_the_stop(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was accepted just before the stop gets a response, not a reset."""
    shutdown, has_begun = UvicornServer.shutdown, anyio.Event()

    async def begin(self: UvicornServer, sockets: Any = None) -> None:  # noqa: ANN401  (of uvicorn)
        has_begun.set()
        await shutdown(self, sockets)

    monkeypatch.setattr("hive_boot.serving.uvicorn_server._FIRST_REQUEST_TIMEOUT", 30)
    monkeypatch.setattr(UvicornServer, "shutdown", begin)
    async with serving(server, Application()) as (port, ended):
        async with connected(port) as client, connected(port) as other:
            await other.ask()  # accepted later
            server.stop(60)
            await has_begun.wait()
            assert (await client.ask()).status == 200
            assert await client.is_closed()
        await ended.wait()


@pytest.mark.parametrize("case", [name for name in CASES if "uvicorn" in name], indirect=True)
async def test_a_connection_without_a_request_does_not_delay_the_stop(
    server: HttpServer,
) -> None:
    """A browser connects in advance, for requests that may never follow."""
    async with serving(server, Application()) as (port, ended), connected(port) as client:
        async with connected(port) as other:
            await other.ask()
        server.stop(60)
        assert await client.is_closed()
        await ended.wait()


async def test_a_request_in_progress_is_answered(server: HttpServer) -> None:
    """A request that was sent before the stop is answered within the grace period."""
    app = Application()
    async with serving(server, app) as (port, ended), connected(port) as client:
        await client.send("/slow")
        await until(lambda: app.asked)
        server.stop(60)
        await until_refused(port)
        assert not ended.is_set()
        app.to_answer.set()
        answer = await client.answer()
        assert (answer.status, answer.body, answer.is_whole) == (200, b"whole", True)
        assert await client.is_closed()
        await ended.wait()
    assert app.ended == ["done"]


# hypercorn on trio closes it too, but waits after one more request until the grace is over.
@pytest.mark.parametrize("case", [name for name in CASES if "trio" not in name], indirect=True)
async def test_the_connection_of_a_response_during_the_stop_is_closed(server: HttpServer) -> None:
    """Another request on it could be lost, if the server closes it at that moment."""
    app = Application()
    async with serving(server, app) as (port, ended), connected(port) as client:
        await client.send("/half")
        await until(lambda: app.asked)
        server.stop(60)
        await until_refused(port)
        app.to_answer.set()
        assert (await client.answer()).is_whole
        with suppress(anyio.BrokenResourceError):
            await client.send()
        assert await client.is_closed()
        await ended.wait()
    assert app.asked == 1


async def test_a_request_that_does_not_end_is_cancelled(
    server: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    """After the grace period the client gets an error, and the log has the number of requests."""
    app = Application()
    async with serving(server, app) as (port, ended), connected(port) as client:
        await client.send("/slow")
        await until(lambda: app.asked)
        server.stop(0.05)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        await ended.wait()
    assert app.ended == ["cancelled"]
    assert cancelled(caplog) == ["1"]


async def test_a_response_that_does_not_end_is_aborted(
    server: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients notice that the response is incomplete; nothing is added to it."""
    app = Application()
    async with (
        serving(server, app) as (port, ended),
        connected(port) as client,
        connected(port) as other,
    ):
        await client.send("/half")
        await other.send("/half")
        await until(lambda: app.asked == 2)
        server.stop(0.05)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.is_whole) == (200, b"half", False)
        await ended.wait()
    assert app.ended == ["cancelled"] * 2
    assert cancelled(caplog) == ["2"]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104  (as in a container)
async def test_a_client_that_does_not_read_does_not_delay_the_stop(
    hasty: HttpServer, host: str
) -> None:
    """A client that reads nothing of a long response is disconnected."""
    app = Application()
    async with serving(hasty, app, host=host) as (port, ended), connected(port) as client:
        await client.send("/endless")
        taken = 0
        while taken < 1024:  # the body has begun
            taken += len(await client.stream.receive(1024))
        hasty.stop(0.05)
        await ended.wait()
    assert app.ended == ["cancelled"]


async def test_a_second_stop_can_only_shorten_the_grace_period(server: HttpServer) -> None:
    """A grace period longer than the first one has no effect."""
    app = Application()
    async with serving(server, app) as (port, ended), connected(port) as client:
        await client.send("/slow")
        await until(lambda: app.asked)
        server.stop(60)
        server.stop(0.05)
        server.stop(60)
        assert (await client.answer()).status == 503
        await ended.wait()


async def test_a_server_that_is_stopped_during_its_start_serves_no_request(
    server: HttpServer,
) -> None:
    """It ends as soon as it has started."""
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    server.stop(60)
    with anyio.fail_after(30):
        await server.serve(Application(), sock)
    assert await refuses(port)


@pytest.mark.parametrize("case", [name for name in CASES if "trio" not in name])
async def test_a_request_that_swallows_its_cancellation_does_not_delay_the_stop(
    hasty: HttpServer,
) -> None:
    """This holds on asyncio; trio waits for the request."""
    app = Application()

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        while not app.to_answer.is_set():
            with suppress(BaseException):
                await app(scope, receive, send)

    try:
        async with serving(hasty, stubborn) as (port, ended), connected(port) as client:
            await client.send("/slow")
            await until(lambda: app.asked)
            hasty.stop(0.05)
            await ended.wait()
    finally:
        app.to_answer.set()


async def test_a_cancelled_server_ends_its_requests(server: HttpServer) -> None:
    """If the task of the server is cancelled, no task and no socket is left."""
    app = Application()
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    async with connected(port) as client:
        async with anyio.create_task_group() as group:
            await group.start(partial(server.serve, app, sock))
            await client.send("/slow")
            await until(lambda: app.asked)
            group.cancel_scope.cancel()
        assert app.ended == ["cancelled"]
        assert (await client.answer()).status == 503
    assert await refuses(port)
    assert sock.fileno() == -1


async def test_websockets_are_served_and_closed_at_the_stop(server: HttpServer) -> None:
    """A websocket is told that the service restarts, at the latest when the grace is over."""
    app = Application()
    async with serving(server, app) as (port, ended), websocket(port) as client:
        assert await client.open() == 101
        await client.send("hello")
        event = await client.next()
        assert isinstance(event, TextMessage)
        assert event.data == "hello"
        server.stop(0.05)
        assert await client.close_code() == 1012
        await ended.wait()


async def test_a_websocket_that_is_not_open_yet_is_rejected_at_the_stop(
    server: HttpServer,
) -> None:
    """A client that waits for the handshake gets an error."""
    app = Application()
    app.to_answer.set()
    async with serving(server, app) as (port, ended), websocket(port) as client:
        async with anyio.create_task_group() as group:
            statuses: list[int] = []

            async def ask() -> None:
                statuses.append(await client.open())

            group.start_soon(ask)
            await until(lambda: app.asked)
            server.stop(0.05)
        assert statuses[0] in {403, 500}
        await ended.wait()
    assert app.ended == ["cancelled"]


async def test_signals_and_logging_are_left_alone(server: HttpServer) -> None:
    """A server has no say in what a signal does, nor in where a log line goes."""

    def look() -> list[object]:
        names = ("uvicorn", "uvicorn.error", "uvicorn.access", "hypercorn.error", "")
        loggers = [logging.getLogger(name) for name in names]
        return [
            *map(signal.getsignal, (signal.SIGTERM, signal.SIGINT)),
            *[(list(each.handlers), each.level, each.propagate) for each in loggers],
        ]

    before = look()
    async with serving(server, Application()) as (port, _), connected(port) as client:
        await client.ask()
        assert look() == before
    assert look() == before


async def test_the_socket_is_inherited_by_no_program(server: HttpServer) -> None:
    """A program that the application starts does not keep the port after a restart."""
    sock = bind("127.0.0.1", 0)
    async with anyio.create_task_group() as group:
        await group.start(partial(server.serve, Application(), sock))
        assert not os.get_inheritable(sock.fileno())
        server.stop(0)


async def test_the_exception_of_a_server_that_crashes_is_raised(server: HttpServer) -> None:
    """It is not wrapped in a group."""
    sock = bind("127.0.0.1", 0)
    sock.close()
    with pytest.raises((OSError, ValueError)):
        await server.serve(Application(), sock)


class TestBind:
    """The socket, which is there before anything else; no loop is needed."""

    @pytest.fixture
    def case(self) -> str:
        """Need no server."""
        return "uvicorn"

    def test_a_port_that_is_taken_is_named(self) -> None:
        """Whoever starts a service twice is told which address is in use, in one sentence."""
        with bind("127.0.0.1", 0) as first:
            port = first.getsockname()[1]
            with pytest.raises(LifecycleError, match=rf"127\.0\.0\.1:{port}\b"):
                bind("127.0.0.1", port)

    def test_an_ipv6_address_is_shown_in_brackets(self) -> None:
        """A host with colons is an IPv6 address."""
        with bind("::1", 0) as first:
            assert first.family == socket.AF_INET6
            port = first.getsockname()[1]
            with pytest.raises(LifecycleError, match=rf"\[::1\]:{port}\b"):
                bind("::1", port)

    def test_the_error_about_an_invalid_address_names_it(self) -> None:
        """No socket is left open."""
        for address in ("127.0.0.1:70000", "no.such.host.invalid:1", "203.0.113.1:1"):
            host, _, port = address.partition(":")
            with pytest.raises(LifecycleError, match=re.escape(address)):
                bind(host, int(port))

    def test_a_port_is_free_again_at_once(self) -> None:
        """A restart is not refused because connections of the last run are still in TIME_WAIT."""
        with bind("127.0.0.1", 0) as first:
            address = first.getsockname()
            with socket.create_connection(address) as client:
                first.accept()[0].close()
                assert client.recv(1) == b""
        bind(*address).close()

    def test_a_descriptor_is_inherited_by_no_program(self) -> None:
        """A descriptor that a service manager has passed on is not passed on any further."""
        inherited = socket.create_server(("127.0.0.1", 0))
        inherited.set_inheritable(True)
        with bind("", 0, fd=inherited.detach()) as taken:
            assert not taken.get_inheritable()


class TestChoice:
    """Which server it is, said in the code."""

    @pytest.fixture
    def case(self) -> str:
        """Need no loop."""
        return "uvicorn"

    def test_an_unknown_server_is_refused(self) -> None:
        """Whoever asks for a server that is not supported is told which ones are."""
        with pytest.raises(DeclarationError, match=r"\bgunicorn\b.*\buvicorn\b.*\bhypercorn\b"):
            HttpServer("gunicorn", "asyncio")

    def test_uvicorn_is_refused_on_trio(self) -> None:
        """Whoever chooses trio is told which server runs on it."""
        with pytest.raises(DeclarationError, match=r"\btrio\b.*\bhypercorn\b"):
            HttpServer("uvicorn", "trio")

    def test_every_default_of_a_server_is_a_valid_option(self) -> None:
        """The types of options are read from the server, whose defaults are of these types."""
        parameters = signature(uvicorn.Config).parameters.values()
        defaults = {
            "uvicorn": {each.name: each.default for each in parameters},
            "hypercorn": {name: getattr(Config, name) for name in dir(Config)},
        }
        for name, values in defaults.items():
            known = HttpServer(name, "asyncio")._engine_class.known_options  # noqa: SLF001
            for option in known:
                value = values[option]
                if not (_RESERVED_OPTIONS.fullmatch(option) or isinstance(value, property)):
                    HttpServer(name, "asyncio", options={option: value})

    def test_a_server_that_is_not_installed_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever lacks the server is told what to install."""
        for name in ("uvicorn", "hypercorn"):
            monkeypatch.setitem(sys.modules, name, None)
            with pytest.raises(DeclarationError, match=f"pip install {name}"):
                HttpServer(name, "asyncio")


@pytest.mark.parametrize("case", ["uvicorn", "hypercorn"])
def test_the_trusted_proxies(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """The option takes precedence over the variable, and both may have commas."""

    def proxies(**options: object) -> list[str] | None:
        return HttpServer(case, "asyncio", options=options).trusted_proxies

    assert proxies() == ["127.0.0.1", "::1"]
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1,10.0.0.2")
    assert proxies() == proxies(forwarded_allow_ips=None) == ["10.0.0.1", "10.0.0.2"]
    assert proxies(forwarded_allow_ips="::1,::2") == ["::1", "::2"]
    assert proxies(forwarded_allow_ips=("::1", "::2"), proxy_headers=True) == ["::1", "::2"]
    assert proxies(forwarded_allow_ips="*", proxy_headers=False) is None


async def test_clients_can_be_asked_for_a_certificate(case: str, tmp_path: Path) -> None:
    """The options of each server that concern TLS apply to the context that it is given."""
    certificate, _ = make_certificate(tmp_path)
    files = tmp_path / "server.crt", tmp_path / "server.key"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    required: dict[str, dict[str, Any]] = {
        "uvicorn": {"ssl_ca_certs": files[0], "ssl_ciphers": "ECDHE+AESGCM", "ssl_cert_reqs": 2},
        "hypercorn": {
            "ca_certs": files[0],
            "verify_mode": ssl.CERT_REQUIRED,
            "verify_flags": ssl.VERIFY_X509_PARTIAL_CHAIN,
        },
    }
    name = CASES[case][0]
    backend = "trio" if "trio" in case else "asyncio"
    server = HttpServer(name, backend, options=required[name])

    def ask(port: int, *, has_certificate: bool) -> int | None:
        trusted = ssl.create_default_context(cadata=certificate)
        if has_certificate:
            trusted.load_cert_chain(*files)
        with Client(verify=trusted) as client, suppress(TransportError):
            return client.get(f"https://localhost:{port}/").status_code
        return None

    async with serving(server, Application(), context) as (port, _):
        for has_certificate, status in ((True, 200), (False, None)):
            asked = partial(ask, port, has_certificate=has_certificate)
            assert await to_thread.run_sync(asked) == status
    assert name == "uvicorn" or context.verify_flags == ssl.VERIFY_X509_PARTIAL_CHAIN


async def test_a_handshake_follows_the_options(case: str, tmp_path: Path) -> None:
    """Each server offers the versions of HTTP that it speaks, and the ciphers of its option."""
    certificate, _ = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    trusted = ssl.create_default_context(cadata=certificate)
    trusted.maximum_version = ssl.TLSVersion.TLSv1_2
    trusted.set_alpn_protocols(["h2", "http/1.1"])
    name = CASES[case][0]
    option = "ssl_ciphers" if name == "uvicorn" else "ciphers"
    backend = "trio" if "trio" in case else "asyncio"
    server = HttpServer(name, backend, options={option: "ECDHE+AESGCM:!AES256"})

    def shake(port: int) -> tuple[str, str | None]:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            trusted.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            cipher = connection.cipher()
            assert cipher is not None
            return cipher[0], connection.selected_alpn_protocol()

    async with serving(server, Application(), context) as (port, _):
        cipher, protocol = await to_thread.run_sync(shake, port)
    assert "AES128" in cipher
    assert protocol == ("http/1.1" if name == "uvicorn" else "h2")


async def test_a_client_without_a_tls_handshake_does_not_delay_the_stop(
    case: str, server: HttpServer, tmp_path: Path
) -> None:
    """Its connection is closed; on trio at the end of the grace period."""
    make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    is_on_trio = "trio" in case
    async with (
        serving(server, Application(), context) as (port, ended),
        await anyio.connect_tcp("127.0.0.1", port) as client,
    ):
        if case in {"uvicorn", "hypercorn"}:
            await until(handshakes)
        server.stop(0.05 if is_on_trio else 60)
        await ended.wait()
        if "uvloop" not in case:
            with pytest.raises(anyio.EndOfStream):
                await client.receive()


async def test_an_option_takes_precedence_over_a_default(case: str) -> None:
    """The header that names the server is sent when it is asked for."""
    name = CASES[case][0]
    option = "server_header" if name == "uvicorn" else "include_server_header"
    backend = "trio" if "trio" in case else "asyncio"
    server = HttpServer(name, backend, options={option: True})
    async with serving(server, Application()) as (port, _), connected(port) as client:
        assert name in (await client.ask()).headers["server"]


@pytest.mark.parametrize("case", ["hypercorn"])
def test_the_access_log_of_hypercorn_has_no_variable(
    monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """A record has what its format can name, but nothing of the environment of the process."""
    from hive_boot.serving.hypercorn_server import HypercornServer  # noqa: PLC0415  (optional)

    monkeypatch.setenv("FAKE_VARIABLE", "fake-value")
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "scheme": case}
    response: Any = {"status": 200, "headers": []}
    request: Any = {**scope, "headers": [(b"referer", b"here")], "client": ("127.0.0.1", 1)}
    unused: Any = None
    atoms = HypercornServer(unused, {}, None, unused).log.atoms(request, response, 0.1)
    assert (atoms["s"], atoms["{referer}i"], atoms["{fake_variable}e"]) == ("200", "here", "-")
    assert "fake-value" not in atoms.values()
