"""Work beside its caller: it begins, it ends, and it spoils nothing of the caller's."""

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
"""Seconds after which a test that waits has failed."""

SETTING: ContextVar[str] = ContextVar("SETTING", default="nothing")


class Work:
    """Work that waits until it is cancelled, and keeps what became of it."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.heard: list[str] = []

    async def __call__(self) -> None:
        """Wait for ever."""
        self.heard.append("started")
        self.started.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.heard.append("ended")


class Stubborn:
    """Work that does not listen to its cancellation, before it is let go."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.release = anyio.Event()
        self.over = anyio.Event()

    async def __call__(self) -> None:
        """Wait for what a test decides, and for nothing else."""
        self.started.set()
        with anyio.CancelScope(shield=True):
            await self.release.wait()
        self.over.set()


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, bool, bool]]:
    """Return level, whether the work is named, and whether a traceback is there, per record."""
    return [
        (record.levelname, NAME in record.getMessage(), record.exc_info is not None)
        for record in caplog.records
    ]


async def within_limits(wait: Callable[[], Awaitable[object]]) -> None:
    """Wait for something, and fail when it does not come."""
    with anyio.fail_after(PATIENCE):
        await wait()


@pytest.mark.anyio
async def test_the_caller_goes_on_beside_the_work() -> None:
    """The work runs while its caller does other things, and has ended when it is stopped."""
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
    """Whoever starts it again, also when it was stopped, starts nothing."""
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
    """A stop without a start returns at once, however often."""
    work = Work()
    host = BackgroundTask(work, NAME)
    await host.stop()
    await host.stop()
    assert work.heard == []


@pytest.mark.anyio
async def test_it_may_be_stopped_twice() -> None:
    """The second stop finds nothing to do."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    await within_limits(work.started.wait)
    await host.stop()
    await host.stop()
    assert work.heard == ["started", "ended"]


@pytest.mark.anyio
async def test_it_may_be_stopped_before_it_has_begun(caplog: pytest.LogCaptureFixture) -> None:
    """A stop right after the start ends the work at its first wait, and is no fault."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    await host.stop()
    assert work.heard in ([], ["started", "ended"])
    assert caplog.records == []


@pytest.mark.anyio
async def test_work_that_is_done_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Work that ends by itself is no failure, and its stop returns at once."""
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
    """The caller's own exception is what it was, in no group and with no other in its place."""
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
    """Who is cancelled while it waits for other things leaves no work behind."""
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
    """What the work does at its end is waited for, also by a caller that is cancelled."""
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
    """A failure of the work is in the log with its traceback, and its caller goes on."""
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
    """Work that holds a task group fails with a group, which is logged the same way."""
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
    """A failure in answer to the stop is told too, and the stop itself does not raise."""
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
    """A stop does not wait for ever, and says what did not end."""
    work = Stubborn()
    host = BackgroundTask(work, NAME, timings=Timings(task_cancel_timeout=0.05))
    host.start()
    await within_limits(work.started.wait)
    await within_limits(host.stop)
    assert not work.over.is_set()
    assert logged(caplog) == [("ERROR", True, False)]
    work.release.set()
    await within_limits(work.over.wait)
    # On both backends it is a task of the loop still: let it be over.
    await host.stop()


@pytest.mark.anyio
async def test_a_cancelled_caller_does_not_wait_for_ever_either(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The limit holds under the shield, too."""
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
    """A fixture that is set up in one task and torn down in another may hold it."""
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
    """Both return when the work has ended."""
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
    """A scope around the start that is cancelled, or a task that is over, is nothing to it."""
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
    """Context variables are what they were when it was started, and stay the caller's own."""
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
    """A program that forgets the stop ends all the same; on trio the work hears of it."""
    works: list[Work] = []

    async def forget() -> None:
        work = Work()
        works.append(work)
        BackgroundTask(work, NAME).start()
        await within_limits(work.started.wait)

    anyio.run(forget, backend=anyio_backend)
    assert works[0].heard == ["started", "ended"][: 1 + (anyio_backend == "trio")]


def test_a_task_that_asyncio_cancels_ends_the_work() -> None:
    """A cancellation by asyncio itself, which no shield keeps off, leaves no work behind."""
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
    """Who cancels all tasks does not end the work; who finds its task does, and it is logged."""

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
    """What was set for one request, whose handler starts the work, is not the work's.

    Most programs set nothing before their start: a context of nothing is one too.
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


# What is done to its end


@pytest.mark.anyio
async def test_a_scope_that_is_cancelled_does_not_break_it_off() -> None:
    """What has to be done is done, whoever is cancelled meanwhile, and says what it raises."""
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
    """On asyncio a cancellation of the task itself waits, however often it comes, and is told."""
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
