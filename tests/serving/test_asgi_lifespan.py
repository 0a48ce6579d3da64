"""Lifespan of a served application: the effects of its start, its stop and its failures."""

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fastapi import FastAPI
from litestar import Litestar
from starlette.applications import Starlette

from hive_boot import LifecycleError
from hive_boot.serving.asgi import app_lifespan
from hive_boot.serving.endpoints import App, Receive, Scope, Send
from tests.support import until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

Lifespan = Callable[[Any], Any]

FRAMEWORKS: dict[str, Callable[[Lifespan], App]] = {
    "FastAPI": lambda lifespan: FastAPI(lifespan=lifespan),
    "Starlette": lambda lifespan: Starlette(lifespan=lifespan),
    "Litestar": lambda lifespan: Litestar(lifespan=[lifespan], logging_config=None),  # type: ignore[dict-item,return-value]
}

framework = pytest.mark.parametrize("make", FRAMEWORKS.values(), ids=FRAMEWORKS)


class Stubborn(Exception):  # noqa: N818  (a name that only a test has)
    """An error of the tested application."""


def fail(text: str) -> None:
    """Raise an error; the return type hides that from a type checker."""
    raise Stubborn(text)


@framework
async def test_an_application_starts_before_the_block_and_stops_after_it(
    make: Callable[[Lifespan], App],
) -> None:
    """The lifespan of the application is entered before the block, and exited after it."""
    told: list[str] = []

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        # A task group that is entered and left in two tasks would break both backends.
        async with anyio.create_task_group():
            told.append("start")
            yield
            told.append("stop")

    async with app_lifespan(make(lifespan), {}):
        told.append("serve")
    assert told == ["start", "serve", "stop"]


@pytest.mark.parametrize("make", [FRAMEWORKS["FastAPI"], FRAMEWORKS["Starlette"]])
async def test_the_state_of_a_lifespan_is_added_to_that_of_requests(
    make: Callable[[Lifespan], App],
) -> None:
    """The state that a lifespan yields is added to the existing state."""

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[dict[str, Any]]:
        yield {"pool": 1}

    state: dict[str, Any] = {"secrets": 2}
    async with app_lifespan(make(lifespan), state):
        assert state == {"secrets": 2, "pool": 1}


@framework
async def test_a_failed_start_of_an_application_is_raised(
    make: Callable[[Lifespan], App],
) -> None:
    """If the start of an application fails, its own error is raised."""

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        await checkpoint()
        fail("no database")
        yield

    with pytest.raises(Stubborn, match="no database"):
        async with app_lifespan(make(lifespan), {}):
            pytest.fail("it serves")


@framework
async def test_a_failed_stop_of_an_application_is_raised(make: Callable[[Lifespan], App]) -> None:
    """If the stop of an application fails, its own error is raised."""

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        yield
        fail("not flushed")

    with pytest.raises(Stubborn, match="not flushed"):
        async with app_lifespan(make(lifespan), {}):
            pass


@framework
async def test_an_exception_of_the_block_is_raised_after_the_stop(
    make: Callable[[Lifespan], App],
) -> None:
    """An error of the block stops the application in order, and is not wrapped in a group."""
    told: list[str] = []

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        yield
        told.append("stop")

    with pytest.raises(KeyError) as caught:
        async with app_lifespan(make(lifespan), {}):
            raise KeyError
    assert told == ["stop"]
    assert caught.value.__context__ is None


@framework
async def test_a_crash_while_serving_ends_the_block(make: Callable[[Lifespan], App]) -> None:
    """If a background task of the application crashes, its error ends the block."""
    crash = anyio.Event()

    async def work() -> None:
        await crash.wait()
        raise Stubborn

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            yield

    # A framework may report a failed stop without having been stopped.
    with pytest.raises(Stubborn):
        await serve_until(crash, make(lifespan))


async def serve_until(crash: anyio.Event, app: App) -> None:
    """Serve an application, make it crash, and wait."""
    async with app_lifespan(app, {}):
        crash.set()
        await anyio.sleep_forever()


async def bare(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every lifespan message, and keep waiting for more after the shutdown."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


async def test_an_application_that_never_returns_is_stopped() -> None:
    """An application that waits for more messages after its stop does not block the process."""
    async with app_lifespan(bare, {}):
        pass


async def test_the_scope_is_a_lifespan() -> None:
    """The application gets a lifespan scope, with the state that it may fill."""
    state: dict[str, Any] = {}
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await bare(scope, receive, send)

    async with app_lifespan(app, state):
        pass
    assert seen[0]["type"] == "lifespan"
    assert seen[0]["asgi"]["version"] == "3.0"
    assert seen[0]["state"] is state


async def test_an_application_that_rejects_the_scope_is_served_without_a_lifespan(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An application that only handles requests is served, which is logged."""

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError(scope["type"])

    served = False
    with caplog.at_level(logging.INFO, "hive_boot"):
        async with app_lifespan(app, {}):
            served = True
    assert served
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "lifespan" in caplog.text


async def test_an_application_that_returns_is_served_without_a_lifespan() -> None:
    """An application that returns without a response to ``lifespan.startup`` is served."""

    async def deaf(_scope: Scope, _receive: Receive, _send: Send) -> None:
        pass

    async def silent(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()

    served = 0
    for app in (deaf, silent):
        async with app_lifespan(app, {}):
            served += 1
    assert served == 2


async def test_an_application_may_return_after_its_start() -> None:
    """An application may return after its start; it is served until the end."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    async with app_lifespan(app, {}):
        await anyio.wait_all_tasks_blocked()


async def test_an_exception_after_lifespan_startup_is_a_failed_start() -> None:
    """An application that raises during its start is not served; other servers would serve it."""

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        raise Stubborn

    with pytest.raises(Stubborn):
        async with app_lifespan(app, {}):
            pytest.fail("it serves")


async def test_sys_exit_before_the_first_message_is_a_failed_start() -> None:
    """An application that calls ``sys.exit`` is not served, even before it receives a message."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise SystemExit(7)

    with pytest.raises(SystemExit):
        async with app_lifespan(app, {}):
            pytest.fail("it serves")


@pytest.mark.parametrize("step", ["startup", "shutdown"])
async def test_a_failed_start_without_a_message_is_a_failed_start(step: str) -> None:
    """An application may report a failure without a message, and keep running."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != f"lifespan.{step}":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": f"lifespan.{step}.failed"})
        await receive()

    with pytest.raises(LifecycleError, match=step):
        async with app_lifespan(app, {}):
            assert step == "shutdown"


async def test_a_crash_of_a_bare_application_ends_the_block() -> None:
    """An error that an application raises while it is served is raised unchanged."""
    crash = anyio.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await crash.wait()
        raise Stubborn

    with pytest.raises(Stubborn):
        await serve_until(crash, app)


async def test_an_exception_during_the_stop_is_raised() -> None:
    """An error that an application raises while it stops is raised unchanged."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise Stubborn

    with pytest.raises(Stubborn):
        async with app_lifespan(app, {}):
            pass


async def test_a_system_exit_of_an_application_does_not_end_the_loop() -> None:
    """``sys.exit`` in the start of an application is raised in the caller."""

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        sys.exit(3)

    with pytest.raises(SystemExit) as caught:
        async with app_lifespan(app, {}):
            pytest.fail("it serves")
    assert caught.value.code == 3


async def test_failures_of_the_block_and_the_stop_are_both_raised() -> None:
    """If the block and the stop fail, both errors are raised in a group."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise Stubborn

    with pytest.raises(ExceptionGroup) as caught:
        async with app_lifespan(app, {}):
            raise KeyError
    assert [type(each) for each in caught.value.exceptions] == [KeyError, Stubborn]


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_cancelled_block_ends_the_application_at_once(*, grouped: bool) -> None:
    """If the block is cancelled, the application is cancelled too."""
    told: list[str] = []
    forever = anyio.Event()
    text = "tasks"

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        try:
            await forever.wait()
        finally:
            told.append("cancelled")

    with anyio.CancelScope() as scope:
        async with app_lifespan(app, {}):
            scope.cancel()
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class() as exc:
                if grouped:
                    # A nursery of trio puts the cancellations of its tasks together.
                    raise BaseExceptionGroup(text, [exc]) from None
                raise
    assert told == ["cancelled"]
    assert scope.cancelled_caught or grouped


async def test_a_slow_start_can_be_cancelled() -> None:
    """A start that takes too long can be cancelled."""
    told: list[str] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        told.append("starting")
        try:
            await anyio.sleep_forever()
        finally:
            told.append("given up")

    async def start() -> None:
        async with app_lifespan(app, {}):
            pytest.fail("it serves")

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await until(lambda: told)
        group.cancel_scope.cancel()
    assert told == ["starting", "given up"]
