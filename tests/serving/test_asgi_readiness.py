"""Who is let in when, and what a client is told meanwhile."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from fastapi import FastAPI, Request

from hive_boot.lifecycle.states import State
from hive_boot.runtime.status import Status
from hive_boot.serving.asgi import ReadinessMiddleware
from hive_boot.serving.endpoints import App, Message, Receive, Scope, Send
from hive_boot.serving.servers import HttpServer, bind
from tests.serving.talking import connected, websocket

pytestmark = pytest.mark.anyio


class Run:
    """A run that stands where it is told to.

    Attributes:
        state: where it stands.
        started: whether it has been ready.
        looks: how often it was described.
    """

    def __init__(self, state: State = State.READY, *, started: bool = True) -> None:
        self.state = state
        self.started = started
        self.looks = 0

    def status(self) -> Status:
        """Describe it."""
        self.looks += 1
        return Status(state=self.state, started=self.started)


@pytest.fixture
def server(anyio_backend_name: str) -> str:
    """Choose a server for the loop."""
    return "hypercorn" if anyio_backend_name == "trio" else "uvicorn"


@pytest.fixture
def serve(server: str, anyio_backend_name: str) -> Callable[[App], Any]:
    """Return what serves an application while a block lasts, and gives its port."""

    @asynccontextmanager
    async def serve(app: App) -> AsyncIterator[int]:
        sock = bind("127.0.0.1", 0)
        serving = HttpServer(server, anyio_backend_name)
        async with anyio.create_task_group() as group:
            group.start_soon(serving.serve, app, sock)
            yield sock.getsockname()[1]
            serving.stop(0)

    return serve


Serve = Callable[[App], Any]


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what is in the state."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    body = repr(scope["state"]).encode()
    headers = [(b"Connection", b"keep-alive"), (b"x-mine", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def test_requests_before_ready_get_503(serve: Serve) -> None:
    """This holds after a failed start too; the client is asked to retry."""
    run = Run(started=False)
    async with serve(ReadinessMiddleware(greet, run.status, dict)) as port:
        for state, word in (
            (State.ARMED, b"starting\n"),
            (State.LOADING, b"starting\n"),
            (State.STARTING, b"starting\n"),
            (State.STOPPING, b"stopping\n"),
            (State.STOPPED, b"stopping\n"),
        ):
            run.state = state
            async with connected(port) as client:
                answer = await client.ask()
                assert (answer.status, answer.body) == (503, word)
                assert answer.headers["retry-after"] == "1"
                answer = await client.ask(method="HEAD")
                assert (answer.status, answer.body) == (503, b"")


async def test_a_connection_with_a_503_can_be_used_again(serve: Serve) -> None:
    """The next request on it is served."""
    run = Run(State.STARTING, started=False)
    gate = ReadinessMiddleware(greet, run.status, lambda: {"pool": 1})
    async with serve(gate) as port, connected(port) as client:
        assert (await client.ask()).status == 503
        run.state, run.started = State.READY, True
        answer = await client.ask()
    assert (answer.status, answer.body) == (200, b"{'pool': 1}")


async def test_probes_are_answered_in_every_state(serve: Serve) -> None:
    """A kubelet hears where the application stands, and the application is not asked."""
    run = Run()
    async with serve(ReadinessMiddleware(greet, run.status, dict)) as port:
        for state in (State.STARTING, State.READY, State.RELOADING, State.DRAINING):
            run.state, run.started = state, state is not State.STARTING
            is_ready = state in {State.READY, State.RELOADING}
            async with connected(port) as client:
                assert (await client.ask("/livez")).status == 200
                assert (await client.ask("/readyz")).status == (200 if is_ready else 503)
                assert (await client.ask("/startupz")).status == (200 if run.started else 503)
                assert b"/readyz?verbose" in (await client.ask("/readyz/queue")).body
                assert b"/readyz?verbose" not in (await client.ask("/mine/readyz/queue")).body


async def test_an_application_in_use_is_not_described_for_each_request(serve: Serve) -> None:
    """A request costs no description of the application: only where it stands is asked."""
    run = Run()
    gate = ReadinessMiddleware(greet, run.status, dict, phase=lambda: run.state)
    async with serve(gate) as port, connected(port) as client:
        assert (await client.ask()).status == 200
    assert run.looks == 0


@pytest.mark.both_backends
@pytest.mark.parametrize("state", [State.DRAINING, State.STOPPING])
async def test_clients_leave_their_connection_while_the_application_leaves(
    state: State, serve: Serve
) -> None:
    """Answers given while draining end the connection, so that the next request goes elsewhere."""
    run = Run()
    async with (
        serve(ReadinessMiddleware(greet, run.status, dict)) as port,
        connected(port) as client,
    ):
        assert "close" not in (await client.ask()).headers.get("connection", "")
        run.state = state
        answer = await client.ask()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert answer.headers["x-mine"] == "1"
        assert await client.is_closed()


@pytest.mark.both_backends
async def test_an_answer_that_was_begun_before_the_drain_ends_the_connection(
    serve: Serve,
) -> None:
    """A slow request that was asked before the drain is the last one on its connection, too."""
    run, asked, to_answer = Run(), anyio.Event(), anyio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await to_answer.wait()
        await greet(scope, receive, send)

    gate = ReadinessMiddleware(slow, run.status, dict)
    async with serve(gate) as port, connected(port) as client:
        await client.send()
        await asked.wait()
        run.state = State.DRAINING
        to_answer.set()
        assert (await client.answer()).headers["connection"] == "close"


@pytest.mark.both_backends
async def test_websockets_before_ready_are_rejected(serve: Serve) -> None:
    """Later ones are passed to the application."""
    run = Run(State.STARTING, started=False)
    gate = ReadinessMiddleware(greet, run.status, dict)
    async with serve(gate) as port:
        async with websocket(port) as client:
            assert await client.open() == 503
        run.state = State.READY
        async with websocket(port) as client:
            assert await client.open() == 101


async def call(app: App, **scope: Any) -> list[Message]:  # noqa: ANN401  (a scope's)
    """Call an application as a server does that knows few extensions."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": f"{scope['type']}.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"path": "/", "method": "GET", **scope}, receive, send)
    return sent


async def test_a_websocket_is_closed_if_the_server_cannot_reject_it() -> None:
    """The close code asks the client to retry."""
    gate = ReadinessMiddleware(greet, Run(State.LOADING, started=False).status, dict)
    (closed,) = await call(gate, type="websocket")
    assert (closed["type"], closed["code"]) == ("websocket.close", 1013)


async def test_no_header_of_connections_is_sent_on_the_second_version() -> None:
    """HTTP/2 has no header for it, and a client may call it an error."""
    gate = ReadinessMiddleware(greet, Run(State.DRAINING).status, dict)
    start, _ = await call(gate, type="http", http_version="2")
    assert (b"connection", b"close") not in start["headers"]


async def test_each_request_has_a_state_of_its_own() -> None:
    """A key that one request adds to its state is not in the state of another."""
    shared: dict[str, Any] = {"pool": 1}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await greet(scope, receive, send)
        scope["state"]["mine"] = True

    gate = ReadinessMiddleware(app, Run().status, lambda: shared)
    for _ in range(2):
        _, body = await call(gate, type="http", http_version="1.1", state={"server": 2})
        assert body["body"] == b"{'server': 2, 'pool': 1}"
    assert shared == {"pool": 1}


async def test_fastapi_has_the_state_in_its_requests(serve: Serve) -> None:
    """``request.state`` has the secrets, the settings and the resources of the run."""
    app = FastAPI()

    @app.get("/")
    async def pool(request: Request) -> str:
        return str(request.state.pool)

    gate = ReadinessMiddleware(app, Run().status, lambda: {"pool": "ready"})
    async with serve(gate) as port, connected(port) as client:
        assert (await client.ask()).body == b'"ready"'
