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
        self.events: list[str] = []

    async def __call__(self) -> None:
        """Wait until cancelled."""
        self.events.append("started")
        self.started.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.events.append("ended")


class IgnoresCancellation:
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
async def test_a_background_task_runs_concurrently_with_its_caller() -> None:
    """The task runs beside its caller, and has ended after ``stop``."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    assert work.events == []
    await within_limits(work.started.wait)
    assert work.events == ["started"]
    await host.stop()
    assert work.events == ["started", "ended"]


@pytest.mark.anyio
async def test_a_second_start_has_no_effect() -> None:
    """This also holds after a stop."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    host.start()
    await within_limits(work.started.wait)
    host.start()
    await host.stop()
    host.start()
    await checkpoint()
    assert work.events == ["started", "ended"]


@pytest.mark.anyio
async def test_a_stop_without_a_start_returns_at_once() -> None:
    """A second such stop returns at once too."""
    work = Work()
    host = BackgroundTask(work, NAME)
    await host.stop()
    await host.stop()
    assert work.events == []


@pytest.mark.anyio
async def test_a_second_stop_returns_at_once() -> None:
    """The task has ended after the first stop."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    await within_limits(work.started.wait)
    await host.stop()
    await host.stop()
    assert work.events == ["started", "ended"]


@pytest.mark.anyio
async def test_a_task_may_be_stopped_before_its_first_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stop right after the start cancels the task, and is not a failure."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    await host.stop()
    assert work.events in ([], ["started", "ended"])
    assert caplog.records == []


@pytest.mark.anyio
async def test_a_task_that_returns_is_not_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged, and a stop returns at once."""
    done = anyio.Event()

    async def short() -> None:
        done.set()

    host = BackgroundTask(short, NAME)
    host.start()
    await within_limits(done.wait)
    await host.stop()
    assert caplog.records == []


@pytest.mark.anyio
async def test_an_exception_of_the_caller_is_not_changed_by_a_stop() -> None:
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
    assert work.events == ["started", "ended"]


@pytest.mark.anyio
async def test_a_cancelled_caller_can_stop_the_task() -> None:
    """The stop in `finally` waits for the end of the task."""
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
            assert work.events == ["started", "ended"]
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_a_stop_waits_for_the_clean_up_of_the_task() -> None:
    """This also holds in a cancelled caller."""
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
async def test_a_failing_task_is_logged(caplog: pytest.LogCaptureFixture) -> None:
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
async def test_a_failing_clean_up_is_logged(caplog: pytest.LogCaptureFixture) -> None:
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
async def test_a_task_that_ignores_its_cancellation_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the task ignores its cancellation, the stop returns after a timeout, and names it."""
    work = IgnoresCancellation()
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
async def test_a_stop_in_a_cancelled_caller_has_a_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The timeout applies in a cancelled caller too."""
    work = IgnoresCancellation()
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
async def test_a_background_task_may_be_stopped_by_another_task_than_its_starter() -> None:
    """This is what happens in a fixture."""
    work = Work()
    host = BackgroundTask(work, NAME)

    async def start() -> None:
        host.start()

    async def stop() -> None:
        await host.stop()

    async with anyio.create_task_group() as group:
        group.start_soon(start)
    await within_limits(work.started.wait)
    assert work.events == ["started"]
    async with anyio.create_task_group() as group:
        group.start_soon(stop)
    assert work.events == ["started", "ended"]


@pytest.mark.anyio
async def test_two_tasks_may_stop_a_background_task_at_once() -> None:
    """Both stops wait until it has ended."""
    work = Work()
    host = BackgroundTask(work, NAME)
    host.start()
    await within_limits(work.started.wait)
    async with anyio.create_task_group() as group:
        group.start_soon(host.stop)
        group.start_soon(host.stop)
    assert work.events == ["started", "ended"]


@pytest.mark.anyio
async def test_a_background_task_outlives_the_task_that_started_it() -> None:
    """The end of the starting task or of its scope does not end the background task."""
    work = Work()
    host = BackgroundTask(work, NAME)
    with anyio.CancelScope() as scope:
        host.start()
        scope.cancel()
        await checkpoint()
    await within_limits(work.started.wait)
    await checkpoint()
    assert work.events == ["started"]
    await host.stop()


@pytest.mark.anyio
async def test_a_background_task_has_the_context_of_its_start() -> None:
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


def test_the_end_of_the_loop_is_possible_without_a_stop(anyio_backend: str) -> None:
    """On trio the task is cancelled at the end of the loop."""
    works: list[Work] = []

    async def forget() -> None:
        work = Work()
        works.append(work)
        BackgroundTask(work, NAME).start()
        await within_limits(work.started.wait)

    anyio.run(forget, backend=anyio_backend)
    assert works[0].events == ["started", "ended"][: 1 + (anyio_backend == "trio")]


def test_a_caller_that_asyncio_cancels_stops_the_task() -> None:
    """A shield cannot prevent such a cancellation."""
    events: list[str] = []

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
        events.extend(work.events)

    asyncio.run(run())
    assert events == ["started", "ended"]


def test_a_background_task_that_other_code_cancels_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
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
        assert work.events == ["started", "ended"] * started
        assert logged(caplog) == [("ERROR", True, False)], started


@pytest.mark.anyio
async def test_a_background_task_may_have_a_context_of_its_own() -> None:
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
async def test_a_shielded_function_completes_in_a_cancelled_scope() -> None:
    """The function may raise, and its exception is raised."""
    results: list[str] = []

    async def work() -> None:
        await anyio.sleep(0.001)
        results.append("done")

    async def fail() -> None:
        await work()
        raise ValueError

    with anyio.CancelScope() as scope:
        scope.cancel()
        assert await run_shielded(work) is None
        with pytest.raises(ValueError, match=r"^$"):
            await run_shielded(fail)
    assert results == ["done", "done"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_shielded_function_completes_in_a_cancelled_task() -> None:
    """On asyncio a cancellation of the task is delayed until the shielded function is done."""
    begun, gate = anyio.Event(), anyio.Event()
    results: list[object] = []

    async def work() -> None:
        begun.set()
        await gate.wait()
        results.append("done")

    async def wait() -> None:
        results.append(await run_shielded(work))

    task = asyncio.create_task(wait())
    await within_limits(begun.wait)
    for _ in range(2):
        task.cancel()
        await checkpoint()
    assert results == []
    gate.set()
    await within_limits(lambda: asyncio.wait([task]))
    assert results[0] == "done"
    assert isinstance(results[1], asyncio.CancelledError)
