"""Background tasks: start, stop, failures, and independence from the caller."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot._timings import Timings
from hive_boot.lifecycle.tasks import BackgroundTask, run_shielded

pytestmark = pytest.mark.both_backends

NAME = "the work of a test"

PATIENCE = 20
"""Timeout of each wait, in seconds."""

SETTING: ContextVar[str] = ContextVar("SETTING", default="nothing")


class Work:
    """A function that waits until it is cancelled, and records its steps."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.heard: list[str] = []

    async def __call__(self) -> None:
        """Wait until cancelled."""
        self.heard.append("started")
        self.started.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.heard.append("ended")


class Stubborn:
    """A function that ignores its cancellation until it is released."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.release = anyio.Event()
        self.over = anyio.Event()

    async def __call__(self) -> None:
        """Wait for the release."""
        self.started.set()
        with anyio.CancelScope(shield=True):
            await self.release.wait()
        self.over.set()


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, bool, bool]]:
    """Return for each record its level, whether it names the task, and has a traceback."""
    return [
        (record.levelname, NAME in record.getMessage(), record.exc_info is not None)
        for record in caplog.records
    ]


async def within_limits(wait: Callable[[], Awaitable[object]]) -> None:
    """Wait for something, with a timeout."""
    with anyio.fail_after(PATIENCE):
        await wait()


@pytest.mark.anyio
async def test_the_caller_goes_on_beside_the_work() -> None:
    """The task runs beside its caller, and has ended after ``stop``."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    assert work.heard == []
    await within_limits(work.started.wait)
    assert work.heard == ["started"]
    await host.stop()
    assert work.heard == ["started", "ended"]


@pytest.mark.anyio
async def test_it_begins_once() -> None:
    """A second start does nothing, also after a stop."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    host.start()
    await within_limits(work.started.wait)
    host.start()
    await host.stop()
    host.start()
    await checkpoint()
    assert work.heard == ["started", "ended"]


@pytest.mark.anyio
async def test_what_never_began_needs_no_end() -> None:
    """A stop without a start returns at once."""
    work = Work()
    host = BackgroundTask(work, NAME)
    await host.stop()
    await host.stop()
    assert work.heard == []


@pytest.mark.anyio
async def test_it_may_be_stopped_twice() -> None:
    """A second stop returns at once."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    await within_limits(work.started.wait)
    await host.stop()
    await host.stop()
    assert work.heard == ["started", "ended"]


@pytest.mark.anyio
async def test_it_may_be_stopped_before_it_has_begun(caplog: pytest.LogCaptureFixture) -> None:
    """A stop right after the start cancels the task, and is not a failure."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    await host.stop()
    assert work.heard in ([], ["started", "ended"])
    assert caplog.records == []


@pytest.mark.anyio
async def test_work_that_is_done_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A task that returns is not a failure, and its stop returns at once."""
    done = anyio.Event()

    async def short() -> None:
        done.set()

    host = BackgroundTask(short, NAME)
    host.start()
    await within_limits(done.wait)
    await host.stop()
    assert caplog.records == []


@pytest.mark.anyio
async def test_what_the_body_raises_comes_out_bare() -> None:
    """The caller's own exception is not wrapped or replaced."""
    work = Work()
    host = BackgroundTask(work, NAME)
    failure = ValueError("the body's")

    async def body() -> None:
        host.start()
        try:
            await within_limits(work.started.wait)
            raise failure
        finally:
            await host.stop()

    with pytest.raises(ValueError, match="the body's") as caught:
        await body()
    assert caught.value is failure
    assert caught.value.__context__ is None
    assert work.heard == ["started", "ended"]


@pytest.mark.anyio
async def test_a_cancelled_caller_still_ends_the_work() -> None:
    """A cancelled caller can still stop the task."""
    work = Work()
    host = BackgroundTask(work, NAME)
    with anyio.CancelScope() as scope:
        host.start()
        try:
            await within_limits(work.started.wait)
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            await host.stop()
            assert work.heard == ["started", "ended"]
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_work_may_take_its_time_to_end() -> None:
    """The stop waits for the clean-up of the task, also in a cancelled caller."""
    ended: list[str] = []
    started = anyio.Event()

    async def careful() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(10):
                    await checkpoint()
            ended.append("careful")

    host = BackgroundTask(careful, NAME)
    host.start()
    await within_limits(started.wait)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await host.stop()
    assert ended == ["careful"]


@pytest.mark.anyio
async def test_work_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A failure of the task is logged with its traceback, and does not affect the caller."""
    started = anyio.Event()

    async def fail() -> None:
        started.set()
        message = "the work's"
        raise ValueError(message)

    host = BackgroundTask(fail, NAME)
    host.start()
    await within_limits(started.wait)
    await host.stop()
    assert [record.name for record in caplog.records] == ["hive_boot"]
    assert logged(caplog) == [("ERROR", True, True)]
    assert "ValueError: the work's" in caplog.text


@pytest.mark.anyio
async def test_a_group_of_failures_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An exception group of the task is logged in the same way."""
    started = anyio.Event()

    async def fail(text: str) -> None:
        raise ValueError(text)

    async def work() -> None:
        started.set()
        async with anyio.create_task_group() as group:
            group.start_soon(fail, "one of two")
            group.start_soon(fail, "two of two")

    host = BackgroundTask(work, NAME)
    host.start()
    await within_limits(started.wait)
    await host.stop()
    assert logged(caplog) == [("ERROR", True, True)]
    assert "one of two" in caplog.text


@pytest.mark.anyio
async def test_work_that_fails_at_its_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A failure of the clean-up is logged, and the stop does not raise it."""
    started = anyio.Event()

    async def fail_at_the_end() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            message = "at the end"
            raise ValueError(message)

    host = BackgroundTask(fail_at_the_end, NAME)
    host.start()
    await within_limits(started.wait)
    await host.stop()
    assert logged(caplog) == [("ERROR", True, True)]


@pytest.mark.anyio
async def test_work_that_ignores_its_cancellation_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the task ignores its cancellation, the stop returns after a timeout, and names it."""
    work = Stubborn()
    host = BackgroundTask(work, NAME, timings=Timings(task_cancel_timeout=0.05))
    host.start()
    await within_limits(work.started.wait)
    await within_limits(host.stop)
    assert not work.over.is_set()
    assert logged(caplog) == [("ERROR", True, False)]
    work.release.set()
    await within_limits(work.over.wait)
    # The task still belongs to the event loop: wait for its end.
    await host.stop()


@pytest.mark.anyio
async def test_a_cancelled_caller_does_not_wait_for_ever_either(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The timeout applies in a cancelled caller too."""
    work = Stubborn()
    host = BackgroundTask(work, NAME, timings=Timings(task_cancel_timeout=0.05))
    host.start()
    await within_limits(work.started.wait)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await host.stop()
    assert logged(caplog) == [("ERROR", True, False)]
    work.release.set()
    await within_limits(work.over.wait)
    await host.stop()


@pytest.mark.anyio
async def test_one_task_may_start_it_and_another_stop_it() -> None:
    """One task may start it and another one stop it, as in a fixture."""
    work = Work()
    host = BackgroundTask(work, NAME)

    async def start() -> None:
        host.start()

    async def stop() -> None:
        await host.stop()

    async with anyio.create_task_group() as group:
        group.start_soon(start)
    await within_limits(work.started.wait)
    assert work.heard == ["started"]
    async with anyio.create_task_group() as group:
        group.start_soon(stop)
    assert work.heard == ["started", "ended"]


@pytest.mark.anyio
async def test_two_tasks_may_stop_it_at_once() -> None:
    """If two tasks stop it, both wait until it has ended."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    await within_limits(work.started.wait)
    async with anyio.create_task_group() as group:
        group.start_soon(host.stop)
        group.start_soon(host.stop)
    assert work.heard == ["started", "ended"]


@pytest.mark.anyio
async def test_the_end_of_its_starter_does_not_end_it() -> None:
    """The end of the starting task or of its scope does not end the background task."""
    work = Work()
    host = BackgroundTask(work, NAME)
    with anyio.CancelScope() as scope:
        host.start()
        scope.cancel()
        await checkpoint()
    await within_limits(work.started.wait)
    await checkpoint()
    assert work.heard == ["started"]
    await host.stop()


@pytest.mark.anyio
async def test_the_work_sees_the_context_of_its_start() -> None:
    """The task has the context variables of its start, and does not change those of the caller."""
    seen = []
    done = anyio.Event()

    async def work() -> None:
        seen.append(SETTING.get())
        SETTING.set("the work's")
        done.set()

    token = SETTING.set("the caller's")
    host = BackgroundTask(work, NAME)
    host.start()
    SETTING.set("a later one")
    await within_limits(done.wait)
    await host.stop()
    assert seen == ["the caller's"]
    assert SETTING.get() == "a later one"
    SETTING.reset(token)


def test_a_loop_that_ends_takes_the_work_with_it(anyio_backend: str) -> None:
    """A program may end without a stop; on trio the task is cancelled then."""
    works: list[Work] = []

    async def forget() -> None:
        work = Work()
        works.append(work)
        BackgroundTask(work, NAME).start()
        await within_limits(work.started.wait)

    anyio.run(forget, backend=anyio_backend)
    assert works[0].heard == ["started", "ended"][: 1 + (anyio_backend == "trio")]


def test_a_task_that_asyncio_cancels_ends_the_work() -> None:
    """If asyncio cancels the caller, which a shield cannot prevent, the task is stopped."""
    heard: list[str] = []

    async def run() -> None:
        work = Work()
        host = BackgroundTask(work, NAME)

        async def body() -> None:
            host.start()
            try:
                await anyio.sleep_forever()
            finally:
                await host.stop()

        task = asyncio.create_task(body())
        await within_limits(work.started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        heard.extend(work.heard)

    asyncio.run(run())
    assert heard == ["started", "ended"]


def test_work_that_somebody_else_cancels_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The task is not in ``asyncio.all_tasks``; if it is cancelled directly, that is logged."""

    async def run(work: Work, *, started: bool) -> None:
        host = BackgroundTask(work, NAME)
        host.start()
        if started:
            await within_limits(work.started.wait)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        task: Any = host._task  # noqa: SLF001  (nothing else leads to it)
        task.cancel()
        with anyio.fail_after(PATIENCE):
            while not host.has_ended:
                await checkpoint()
        await host.stop()

    for started in (False, True):
        caplog.clear()
        work = Work()
        asyncio.run(run(work, started=started))
        assert work.heard == ["started", "ended"] * started
        assert logged(caplog) == [("ERROR", True, False)], started


@pytest.mark.anyio
async def test_the_work_sees_the_context_that_it_was_given() -> None:
    """With its own context the task does not have the variables of a request.

    Most programs set no variable before their start, so an empty context is tested too.

    """
    seen: list[str] = []

    async def work() -> None:
        seen.append(SETTING.get())
        done.set()

    for context, expected in ((None, "the run's"), (Context(), "nothing")):
        done = anyio.Event()
        token = SETTING.set("the run's")
        host = BackgroundTask(work, NAME, copy_context() if context is None else context)
        SETTING.set("a request's")
        host.start()
        await within_limits(done.wait)
        await host.stop()
        assert seen.pop() == expected
        SETTING.reset(token)


# Shielded functions


@pytest.mark.anyio
async def test_a_scope_that_is_cancelled_does_not_break_it_off() -> None:
    """A shielded function completes in a cancelled scope, and may raise."""
    said: list[str] = []

    async def work() -> None:
        await anyio.sleep(0.001)
        said.append("done")

    async def fail() -> None:
        await work()
        raise ValueError

    with anyio.CancelScope() as scope:
        scope.cancel()
        assert await run_shielded(work) is None
        with pytest.raises(ValueError, match=r"^$"):
            await run_shielded(fail)
    assert said == ["done", "done"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_is_cancelled_does_not_break_it_off() -> None:
    """On asyncio a cancellation of the task is delayed until the shielded function is done."""
    begun, gate = anyio.Event(), anyio.Event()
    said: list[object] = []

    async def work() -> None:
        begun.set()
        await gate.wait()
        said.append("done")

    async def wait() -> None:
        said.append(await run_shielded(work))

    task = asyncio.create_task(wait())
    await within_limits(begun.wait)
    for _ in range(2):
        task.cancel()
        await checkpoint()
    assert said == []
    gate.set()
    await within_limits(lambda: asyncio.wait([task]))
    assert said[0] == "done"
    assert isinstance(said[1], asyncio.CancelledError)
