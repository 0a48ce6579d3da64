"""An application in ``LifespanMiddleware``, under a server that hive_boot does not run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import pytest
from fastapi import FastAPI, Request
from httpx2 import ASGITransport, AsyncClient
from starlette.testclient import TestClient

from hive_boot import InvalidSecretsError, LifecycleError, Problem, Secret, StartupError
from hive_boot.lifecycle.states import State
from hive_boot.redaction import registry
from hive_boot.runtime.status import Status
from hive_boot.serving.asgi import LifespanMiddleware
from hive_boot.serving.endpoints import App, Message, Receive, Scope, Send
from tests.support import until

pytestmark = pytest.mark.anyio


class Boot:
    """A stand-in for Bootstrap, whose start succeeds or fails.

    Attributes:
        told: the events, in order.
        state: the state of the run.
    """

    def __init__(self, failure: BaseException | None = None) -> None:
        self.told: list[str] = []
        self.state = State.ARMED
        self._failure = failure

    def status(self) -> Status:
        """Return the status."""
        return Status(state=self.state, started=self.state is not State.ARMED)

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[dict[str, Any]]:
        """Hold the state READY while the block runs."""
        if self._failure is not None:
            raise self._failure
        self.told.append("secrets")
        self.state = State.READY
        try:
            yield {"secrets": "here"}
        finally:
            self.told.append("no secrets")
            self.state = State.STOPPED


def inner(told: list[str], fail: str = "") -> FastAPI:
    """Return an application with a lifespan, which may fail."""

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[dict[str, Any]]:
        if fail == "start":
            raise KeyError(fail)
        told.append("start")
        yield {"pool": "open"}
        told.append("stop")
        if fail == "stop":
            raise KeyError(fail)

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def state(request: Request) -> dict[str, str]:
        return {"secrets": request.state.secrets, "pool": request.state.pool}

    return app


class Server:
    """A server that drives the lifespan step by step.

    Attributes:
        said: the messages of the application.
        raised: the exception of the application, if any.
    """

    def __init__(self, app: App, *, knows_state: bool = True) -> None:
        self.said: list[Message] = []
        self.raised: BaseException | None = None
        self.state: dict[str, Any] = {}
        self._app = app
        self._scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
        if knows_state:
            self._scope["state"] = self.state
        self._stop = anyio.Event()
        self._spoken = anyio.Event()

    async def run(self) -> None:
        """Call the application once, with a lifespan scope."""
        asked = 0

        async def receive() -> Message:
            nonlocal asked
            asked += 1
            if asked == 1:
                return {"type": "lifespan.startup"}
            await self._stop.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: Message) -> None:
            self.said.append(message)
            self._spoken.set()

        try:
            await self._app(self._scope, receive, send)
        except Exception as exc:  # noqa: BLE001  (a server goes on)
            self.raised = exc

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[AsyncClient]:
        """Start the application, yield a client, and stop it."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.run)
            await self._spoken.wait()
            async with AsyncClient(
                transport=ASGITransport(self._app), base_url="http://here"
            ) as client:
                yield client
            self._stop.set()


@pytest.mark.both_backends
@pytest.mark.parametrize("knows_state", [True, False])
async def test_the_lifespan_of_the_application_can_read_secrets(*, knows_state: bool) -> None:
    """Secrets exist before the application's own start, and until after its stop."""
    boot = Boot()
    app = LifespanMiddleware(inner(boot.told), boot.lifespan, boot.status)
    server = Server(app, knows_state=knows_state)
    async with server.serving() as client:
        assert server.said == [{"type": "lifespan.startup.complete"}]
        answer = await client.get("/")
        assert answer.json() == {"secrets": "here", "pool": "open"}
        assert (await client.get("/readyz")).status_code == 200
    assert boot.told == ["secrets", "start", "stop", "no secrets"]
    assert server.said[1:] == [{"type": "lifespan.shutdown.complete"}]
    assert server.raised is None
    assert server.state == ({"secrets": "here", "pool": "open"} if knows_state else {})


async def test_a_request_that_has_the_state_is_passed_on_as_it_is() -> None:
    """A server copies the state to each request; the wrapper does not copy it again."""
    boot, seen = Boot(), []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_message: Message) -> None: ...

    wrapped = LifespanMiddleware(app, boot.lifespan, boot.status)
    server = Server(wrapped)
    async with server.serving():
        scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/"}
        with_state = {**scope, "state": server.state.copy()}
        await wrapped(with_state, receive, send)
        await wrapped(scope, receive, send)
    first, second = seen[1:]
    assert first is with_state
    assert second == {**scope, "state": {"secrets": "here"}}
    assert "state" not in scope


async def test_a_missing_lifespan_is_an_error_that_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a lifespan requests get 500, probes report "not ready", and one line has the fix."""
    boot = Boot()
    app = LifespanMiddleware(inner(boot.told), boot.lifespan, boot.status)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://here") as client:
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200
        for _ in range(2):
            answer = await client.get("/")
            assert (answer.status_code, "lifespan" in answer.text) == (500, True)
            assert "retry-after" not in answer.headers
    assert await websocket_close_code(app) == 1011
    (record,) = [each for each in caplog.records if each.name == "hive_boot"]
    assert record.levelname == "ERROR"
    assert "--lifespan" in record.getMessage()


async def test_a_request_after_the_lifespan_is_an_error_too() -> None:
    """A second test client that is not entered gets the error, and no state of the first run."""
    boot = Boot()
    app = LifespanMiddleware(inner(boot.told), boot.lifespan, boot.status)
    server = Server(app)
    async with server.serving() as client:
        assert (await client.get("/")).status_code == 200
    async with AsyncClient(transport=ASGITransport(app), base_url="http://here") as client:
        boot.state = State.ARMED
        answer = await client.get("/")
        assert (answer.status_code, "lifespan" in answer.text) == (500, True)
        boot.state = State.READY
        with pytest.raises(AttributeError, match="secrets"):
            await client.get("/")


async def websocket_close_code(app: App) -> object:
    """Return the close code of a new websocket."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/"}, receive, send)
    return sent[0]["code"]


async def test_a_run_that_another_owner_has_started_needs_no_lifespan() -> None:
    """Inside a run, as ``boot.running()`` starts one, requests are passed on without a lifespan."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})

    boot = Boot()
    wrapped = LifespanMiddleware(app, boot.lifespan, boot.status)
    async with (
        boot.lifespan(None),
        AsyncClient(transport=ASGITransport(wrapped), base_url="http://here") as client,
    ):
        assert (await client.get("/")).text == "served"


async def test_a_start_without_secrets_is_a_failed_start() -> None:
    """The server receives the report, and then the error, for which a test client waits."""
    missing = InvalidSecretsError([Problem("JWT_SECRET", "missing", "is missing")])
    boot = Boot(missing)
    server = Server(LifespanMiddleware(inner(boot.told), boot.lifespan, boot.status))
    await server.run()
    assert server.said == [{"type": "lifespan.startup.failed", "message": str(missing)}]
    assert server.raised is missing
    assert boot.told == []


async def test_the_cause_of_a_failed_start_has_its_traceback() -> None:
    """A server, which prints the message, shows the location in the application."""
    failure = StartupError("pool", "KeyError")
    failure.__cause__ = KeyError("no such table")
    server = Server(LifespanMiddleware(inner([]), Boot(failure).lifespan, Boot().status))
    await server.run()
    message = server.said[0]["message"]
    assert "KeyError: 'no such table'" in message
    assert message.endswith(str(failure))


class Exit(BaseException):
    """An exception that would end the event loop if a task raised it, as SystemExit does."""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_test_client_raises_the_failure(backend: Literal["asyncio", "trio"]) -> None:
    """A failed start or stop ends Starlette's test client with the error, and does not hang it."""
    failures = {
        InvalidSecretsError([Problem("JWT_SECRET", "missing", "is missing")]): InvalidSecretsError,
        Exit("fake"): LifecycleError,
    }
    for failure, kind in failures.items():
        boot = Boot(failure)
        app = LifespanMiddleware(inner(boot.told), boot.lifespan, boot.status)
        with pytest.raises(kind), TestClient(app, backend=backend):
            pytest.fail("it was served")
    boot = Boot()
    app = LifespanMiddleware(inner(boot.told, "stop"), boot.lifespan, boot.status)
    with pytest.raises(KeyError), TestClient(app, backend=backend) as it:
        assert it.get("/readyz").status_code == 200


async def test_a_failed_lifespan_of_the_application_is_reported_with_its_traceback() -> None:
    """The server gets the traceback of the failed start or stop."""
    for fail, step in (("start", "startup"), ("stop", "shutdown")):
        boot = Boot()
        server = Server(LifespanMiddleware(inner(boot.told, fail), boot.lifespan, boot.status))
        async with server.serving():
            pass
        assert server.said[-1]["type"] == f"lifespan.{step}.failed"
        assert f"KeyError: '{fail}'" in server.said[-1]["message"]
        assert isinstance(server.raised, KeyError)
        assert boot.told[-1] == "no secrets"


async def test_the_message_of_a_failed_start_contains_no_value() -> None:
    """The message to a server, which prints it, contains no secret."""
    owner, value = object(), "fake-value-that-nobody-may-see"
    text = f"cannot connect with {value}"
    for failure in (RuntimeError(text), ExceptionGroup(text, [KeyError(text)])):
        registry.register(owner, [Secret("TOKEN", value)])
        try:
            boot = Boot(failure)
            server = Server(LifespanMiddleware(inner(boot.told), boot.lifespan, boot.status))
            await server.run()
        finally:
            registry.unregister(owner)
        told = server.said[0]["message"]
        assert value not in told
        assert "cannot connect with ***" in told
        assert "Traceback" in told


@pytest.mark.both_backends
async def test_a_cancelled_lifespan_is_just_over() -> None:
    """If the server cancels the lifespan, it gets no further message."""
    boot = Boot()
    server = Server(LifespanMiddleware(inner(boot.told), boot.lifespan, boot.status))
    async with anyio.create_task_group() as group:
        group.start_soon(server.run)
        await until(lambda: server.said)
        group.cancel_scope.cancel()
    assert server.said == [{"type": "lifespan.startup.complete"}]
    assert boot.told[-1] == "no secrets"


async def no_lifespan(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Return without a response."""


async def test_an_application_without_a_lifespan_can_read_secrets() -> None:
    """An application that ignores the lifespan scope still starts after its secrets."""
    boot = Boot()
    server = Server(LifespanMiddleware(no_lifespan, boot.lifespan, boot.status))
    async with server.serving():
        assert boot.told == ["secrets"]
    assert boot.told == ["secrets", "no secrets"]
