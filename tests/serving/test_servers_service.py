"""HTTP service of an application, from its socket to its last response, in this process."""

from __future__ import annotations

import logging
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from hive_boot import Bootstrap, DeclarationError, LifecycleError, Secret, SecretSet, StartupError
from hive_boot.serving.servers import HttpService, bind
from tests.serving.talking import connected, refuses, until_refused
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from hive_boot.runtime.run import Run
    from hive_boot.serving.endpoints import App, Receive, Scope, Send

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


class Needs(SecretSet):
    """The secrets of the application."""

    jwt_secret: Secret


class Inner:
    """The served application.

    Attributes:
        told: the events of the lifespan, in order.
        asked: the number of requests for ``/slow``.
        to_answer: an event on which requests for ``/slow`` wait.
        to_crash: an event that makes the lifespan crash.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self.asked = 0
        self.to_answer = anyio.Event()
        self.to_crash = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a lifespan, or answer with the values in the state."""
        if scope["type"] == "lifespan":
            async with anyio.create_task_group() as group:
                group.start_soon(self._crash)
                await self._live(scope, receive, send)
                group.cancel_scope.cancel()
            return
        if scope["path"] == "/slow":
            self.asked += 1
            await self.to_answer.wait()
        body = " ".join(f"{name}={scope['state'][name]!r}" for name in ("pool", "mine"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body.encode()})

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        self.told.append("starts")
        scope["state"]["mine"] = 1
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.told.append("stops")
        await send({"type": "lifespan.shutdown.complete"})

    async def _crash(self) -> None:
        await self.to_crash.wait()
        message = "the lifespan crashes"
        raise RuntimeError(message)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Return the log of hive_boot, from level INFO."""
    caplog.set_level(logging.INFO, "hive_boot")
    return caplog


@pytest.fixture
def server(anyio_backend_name: str) -> str:
    """Return the server that supports the backend."""
    return "hypercorn" if anyio_backend_name == "trio" else "uvicorn"


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Bootstrap[Needs]:
    """Declare an application with a resource."""
    monkeypatch.setenv("JWT_SECRET", "fake-jwt-secret-0123456789")
    boot = Bootstrap(Needs, mode="environment", shutdown_timeout=20)

    @boot.resource
    async def pool() -> str:
        return "open"

    return boot


@asynccontextmanager
async def running(
    boot: Bootstrap[Needs], serving: HttpService, cancel: Callable[[], object] = lambda: None
) -> AsyncIterator[Run[Needs, None]]:
    """Run the application as ``boot.serve`` does, but in this process."""
    start = boot._running(  # noqa: SLF001
        listeners=[("the HTTP server", serving.start_listening)],
        asgi_component=serving.lifespan,
        cancel=lambda _: cancel(),
    )
    with anyio.fail_after(30):
        async with start as run:
            yield run


def make_service(boot: Bootstrap[Any, Any], app: App, host: str, port: int) -> HttpService:
    """Return a service whose server is not selected yet."""
    return HttpService(app, (host, port, None, None), boot.status, boot._current_state)


def make(boot: Bootstrap[Needs], app: App, server: str, backend: str) -> HttpService:
    """Return a service with a selected server."""
    serving = make_service(boot, app, "127.0.0.1", 0)
    serving.select_server(server, backend)
    return serving


def port_of(told: pytest.LogCaptureFixture) -> int:
    """Return the port of the service, from the log."""
    return int(re.findall(r"http://127\.0\.0\.1:(\d+)", told.text)[0])


async def test_a_request_in_flight_ends_before_the_application_stops(
    boot: Bootstrap[Needs],
    server: str,
    anyio_backend_name: str,
    told: pytest.LogCaptureFixture,
) -> None:
    """The application stops only after the last request is answered."""
    inner = Inner()
    serving = make(boot, inner, server, anyio_backend_name)
    async with running(boot, serving) as run, anyio.create_task_group() as group:
        port = port_of(told)
        assert inner.told == ["starts"]
        group.start_soon(serving.wait_until_stopped, run)
        async with connected(port) as client:
            assert (await client.ask()).body == b"pool='open' mine=1"
            await client.send("/slow")
            await until(lambda: inner.asked)
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await until_refused(port)
                assert inner.told == ["starts"]
                inner.to_answer.set()
                answer = await client.answer()
                assert (answer.status, answer.is_whole) == (200, True)
    assert inner.told == ["starts", "stops"]


async def test_an_application_can_be_served_again(
    boot: Bootstrap[Needs],
    server: str,
    anyio_backend_name: str,
    told: pytest.LogCaptureFixture,
) -> None:
    """A second start has its own socket and state."""
    inner = Inner()
    for _ in range(2):
        told.clear()
        serving = make(boot, inner, server, anyio_backend_name)
        async with running(boot, serving), connected(port_of(told)) as client:
            assert (await client.ask()).body == b"pool='open' mine=1"
        assert await refuses(port_of(told))
    assert inner.told == ["starts", "stops"] * 2


async def test_a_path_that_another_process_has_taken_stays(
    boot: Bootstrap[Needs], server: str, anyio_backend_name: str, tmp_path: Path
) -> None:
    """The stop removes the Unix socket of this run, but not that of its successor."""
    path = tmp_path / "app.sock"
    address = "", 0, path, None
    serving = HttpService(Inner(), address, boot.status, lambda: boot.status().state)
    serving.select_server(server, anyio_backend_name)
    async with running(boot, serving):
        path.unlink()
        successor = bind("", 0, uds=path)
    successor.close()
    assert path.exists()


async def test_an_ipv6_address_is_logged_as_a_url(
    boot: Bootstrap[Needs],
    server: str,
    anyio_backend_name: str,
    told: pytest.LogCaptureFixture,
) -> None:
    """The log contains a URL that a browser accepts."""
    serving = make_service(boot, Inner(), "::1", 0)
    serving.select_server(server, anyio_backend_name)
    async with running(boot, serving):
        assert "http://[::1]:" in told.text


async def test_a_server_that_ends_by_itself_is_a_failure(
    boot: Bootstrap[Needs], server: str, anyio_backend_name: str
) -> None:
    """If the server stops by itself, the run fails."""
    serving = make(boot, Inner(), server, anyio_backend_name)

    async def live() -> None:
        async with running(boot, serving) as run:
            serving._server.stop(0)  # noqa: SLF001  (nobody else ends it)
            await serving.wait_until_stopped(run)

    with pytest.raises(LifecycleError, match="HTTP server"):
        await live()


async def test_the_failure_that_has_stopped_the_server_is_raised(
    boot: Bootstrap[Needs], server: str, anyio_backend_name: str
) -> None:
    """A failure that stopped the server is raised, not the error that the server has stopped."""
    serving = make(boot, Inner(), server, anyio_backend_name)

    async def live() -> None:
        async with running(boot, serving) as run:
            run.runner.report_failure(
                "resource", "a resource", RuntimeError("the connection is lost")
            )
            serving._server.stop(0)  # noqa: SLF001  (nobody else ends it)
            await serving.wait_until_stopped(run)

    with pytest.raises(RuntimeError, match="the connection is lost"):
        await live()


async def test_a_crash_of_a_lifespan_ends_the_server(
    boot: Bootstrap[Needs], server: str, anyio_backend_name: str
) -> None:
    """The failure of the application is raised, not the error that the server has stopped."""
    inner = Inner()
    serving = make(boot, inner, server, anyio_backend_name)

    async def live() -> None:
        scope = anyio.CancelScope()
        async with running(boot, serving, scope.cancel) as run:
            with scope:
                inner.to_crash.set()
                await serving.wait_until_stopped(run)

    with pytest.raises(RuntimeError, match="the lifespan crashes"):
        await live()
    assert inner.told == ["starts"]


async def test_a_start_that_fails_closes_the_socket(
    boot: Bootstrap[Needs],
    server: str,
    anyio_backend_name: str,
    told: pytest.LogCaptureFixture,
) -> None:
    """A failed start raises the application's message, and the socket is closed."""

    async def failing(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the tables are missing"})

    serving = make(boot, failing, server, anyio_backend_name)
    with pytest.raises(StartupError) as caught:
        async with running(boot, serving):
            pytest.fail("it was served")
    assert (caught.value.resource, caught.value.reason) == (
        "the ASGI application",
        "LifecycleError",
    )
    assert str(caught.value.__cause__) == "the tables are missing"
    assert await refuses(port_of(told))


async def test_a_port_in_use_is_reported_before_the_start(
    boot: Bootstrap[Needs], server: str, anyio_backend_name: str
) -> None:
    """If the port is in use, nothing is loaded and nothing starts."""
    inner = Inner()
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        serving = make_service(boot, inner, "127.0.0.1", port)
        serving.select_server(server, anyio_backend_name)
        with pytest.raises(LifecycleError, match=rf"127\.0\.0\.1:{port}\b"):
            async with running(boot, serving):
                pytest.fail("it was served")
    assert inner.told == []


def test_the_server_has_to_run_on_the_loop(boot: Bootstrap[Needs]) -> None:
    """The server uvicorn supports asyncio and uvloop; with trio it is rejected."""
    serving = make_service(boot, Inner(), "127.0.0.1", 0)
    serving.select_server("uvicorn", "asyncio")
    serving.select_server("uvicorn", "uvloop")
    with pytest.raises(DeclarationError, match=r"\buvicorn\b.*\btrio\b"):
        serving.select_server("uvicorn", "trio")
