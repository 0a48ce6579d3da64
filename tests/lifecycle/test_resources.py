"""Resources: order of start and stop, timeouts, and the reports of failures."""

import asyncio
import math
import random
import re
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from hive_boot import LifecycleError, ShutdownTimeoutError, StartupError
from hive_boot._timings import Timings
from hive_boot.lifecycle import instances, resources
from hive_boot.lifecycle.instances import Resource
from hive_boot.runtime.declarations import start_order
from tests.lifecycle.components import LONG, Diary, Life, enduring, raising
from tests.support import until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

SHORT = 0.02
"""A timeout that is reached, in seconds."""


@pytest.fixture
def diary() -> Diary:
    """Return an empty diary."""
    return Diary()


@pytest.fixture
def short_cancel_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timeout of a cancelled resource."""
    monkeypatch.setattr(Life, "timings", Timings(resource_cancel_timeout=SHORT))


class Clock:
    """A monotonic clock that a test can advance."""

    ahead = 0

    def monotonic(self) -> float:
        """Return the time."""
        return time.monotonic() + self.ahead


def raised_by(name: str, failure: BaseException) -> bool:
    """Return whether a failure names its resource."""
    return len(failure.__notes__) == 1 and name in failure.__notes__[0]


def kinds_of(failures: list[BaseException]) -> list[object]:
    """Return the type of each failure; for a ShutdownTimeoutError, the pending resources."""
    return [
        failure.pending if isinstance(failure, ShutdownTimeoutError) else type(failure)
        for failure in failures
    ]


def rows(standing: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return the state, the name, and the text behind the seconds of each line."""
    found = [re.fullmatch(r"(\w+) +(\w+), \d+\.\d s *(.*)", line) for line in standing]
    assert None not in found, standing
    return [(match[1], match[2], match[3]) for match in found if match]


# Order


async def test_resources_start_in_order_and_stop_in_reverse(diary: Diary) -> None:
    """A resource runs before another one that needs it starts, and until that one has stopped."""
    life = Life(
        diary.resource("pool"), diary.resource("cache", "pool"), diary.resource("api", "cache")
    )
    async with life:
        await life.start()
        assert life.resources.pending_count == 0
        assert life.running == ["pool", "cache", "api"]
        assert life.resources.value("cache") == "the cache"
        assert await life.stop() == []
        assert life.running == []
    starts = ["pool", "cache", "api"]
    told = [f"{name} {what}" for name in starts for what in ("starts", "started")]
    told += [f"{name} {what}" for name in reversed(starts) for what in ("stops", "stopped")]
    assert diary == told
    assert life.crashes == []
    assert life.outcomes("resource") == life.outcomes("stop") == dict.fromkeys(starts, "done")


async def test_independent_resources_start_and_stop_concurrently(diary: Diary) -> None:
    """Two resources start and stop although each waits for the other one."""
    events = {key: anyio.Event() for key in ("a up", "b up", "a down", "b down")}

    def meet(mine: str, other: str, way: str) -> object:
        async def act() -> None:
            events[f"{mine} {way}"].set()
            await events[f"{other} {way}"].wait()

        return act

    def pair(mine: str, other: str) -> Resource:
        start, stop = meet(mine, other, "up"), meet(mine, other, "down")
        return diary.resource(mine, "root", start=start, stop=stop)  # type: ignore[arg-type]

    async with Life(diary.resource("root"), pair("a", "b"), pair("b", "a")) as life:
        await life.start()
        assert await life.stop() == []
    assert diary[:2] == ["root starts", "root started"]
    assert diary[-2:] == ["root stops", "root stopped"]


async def test_a_resource_waits_only_for_its_dependencies(diary: Diary) -> None:
    """A start and a stop do not wait for resources that are not dependencies."""
    is_up, is_down = anyio.Event(), anyio.Event()

    async def set_up() -> None:
        is_up.set()

    async def set_down() -> None:
        is_down.set()

    async with Life(
        diary.resource("pool", stop=set_down),
        diary.resource("slow", start=is_up.wait),
        diary.resource("api", "pool", start=set_up),
        diary.resource("slow too", "slow", stop=is_down.wait),
    ) as life:
        await life.start()
        assert diary.index("api started") < diary.index("slow started")
        assert await life.stop() == []
    assert diary.index("pool stopped") < diary.index("slow too stopped")
    assert diary.index("slow too stopped") < diary.index("slow stops")


async def test_a_thousand_resources_start_and_stop_in_the_order_of_a_random_graph() -> None:
    """No resource starts before its dependencies, nor stops after them."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"the seed of the graph is {seed}")  # noqa: T201  (pytest shows it when this fails)
    chance = random.Random(seed)  # noqa: S311  (no secret)
    names = [f"p{number}" for number in range(1000)]
    chance.shuffle(names)
    graph: dict[str, tuple[str, ...]] = {}
    for number, name in enumerate(names):
        few = chance.choice((0, 1, 2, 3, 8))
        # Some depend on recent resources, so that there are long chains beside wide levels.
        near = names[max(0, number - 3) : number] if chance.random() < 0.2 else names[:number]
        graph[name] = tuple(chance.sample(near, min(few, len(near))))

    async def take_time() -> None:
        for _ in range(chance.randrange(4)):
            await anyio.lowlevel.checkpoint()

    diary = Diary()
    shuffled = sorted(graph)
    order = start_order({name: graph[name] for name in shuffled})
    resources = {
        name: diary.resource(
            name,
            *graph[name],
            start=take_time,
            stop=take_time,
            timeout=chance.choice((math.inf, 600)),
        )
        for name in order
    }
    async with Life(*resources.values()) as life:
        await life.start(600)
        assert life.running == order
        assert await life.stop(600) == []
    assert len(diary) == 4 * len(names)
    at = {said: number for number, said in enumerate(diary)}
    for name, needs in graph.items():
        for need in needs:
            assert at[f"{need} started"] < at[f"{name} starts"], (seed, name, need)
            assert at[f"{name} stopped"] < at[f"{need} stops"], (seed, name, need)


# Failures of a start


async def test_the_error_of_a_failed_start_names_the_resource(diary: Diary) -> None:
    """Resources that depend on it never start, and the started ones are stopped."""
    failure = ValueError("no route to host")
    async with Life(
        diary.resource("pool"),
        diary.resource("cache", "pool", start=raising(failure)),
        diary.resource("api", "cache"),
    ) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert (caught.value.resource, caught.value.reason) == ("cache", "ValueError")
        assert (caught.value.progress, caught.value.__cause__) == ((), failure)
        assert await life.stop() == []
    assert diary[-2:] == ["pool stops", "pool stopped"]
    assert "api starts" not in diary
    assert life.outcomes("resource") == {"pool": "done", "cache": "failed", "api": "cancelled"}
    assert life.outcomes("stop") == {"pool": "done"}


async def test_an_exit_in_a_resource_ends_its_start(diary: Diary) -> None:
    """``sys.exit`` in a resource is reported like any other failure."""
    async with Life(diary.resource("pool", start=raising(SystemExit(3)))) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert (caught.value.resource, caught.value.reason) == ("pool", "SystemExit")
        assert await life.stop() == []


async def test_a_resource_function_that_raises_when_called_fails_to_start() -> None:
    """An exception before there is an awaitable is a failed start."""

    def refuse() -> AbstractAsyncContextManager[object]:
        raise LookupError

    async with Life(Resource("pool", refuse)) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert (caught.value.resource, caught.value.reason) == ("pool", "LookupError")
        assert await life.stop() == []


async def test_two_resources_that_fail_at_once_are_both_reported(diary: Diary) -> None:
    """If two resources fail, the start raises a group with both errors."""
    go = anyio.Event()

    async def tell() -> None:
        go.set()

    def failing_at_once(failure: BaseException) -> object:
        async def act() -> None:
            await go.wait()
            raise failure

        return act

    async with Life(
        diary.resource("a", start=failing_at_once(ValueError("one"))),  # type: ignore[arg-type]
        diary.resource("b", start=failing_at_once(KeyError("two"))),  # type: ignore[arg-type]
        diary.resource("c", start=tell),
    ) as life:
        with pytest.raises(ExceptionGroup) as caught:
            await life.start()
        failed = [one for one in caught.value.exceptions if isinstance(one, StartupError)]
        assert sorted((one.resource, one.reason) for one in failed) == [
            ("a", "ValueError"),
            ("b", "KeyError"),
        ]
        assert len(failed) == len(caught.value.exceptions)
        assert await life.stop() == []
    assert diary[-2:] == ["c stops", "c stopped"]


async def test_a_start_that_hangs_reports_the_state_of_every_resource(diary: Diary) -> None:
    """The report shows the resource that hangs, with its line, and those that are done or wait."""
    async with Life(
        diary.resource("pool"),
        diary.resource("cache", "pool", start=anyio.sleep_forever, timeout=SHORT),
        diary.resource("api", "pool", "cache"),
    ) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert caught.value.resource == "cache"
        assert "0.02 s" in caught.value.reason
        done, hanging, waiting = rows(caught.value.progress)
        assert done == ("done", "pool", "")
        assert hanging[:2] == ("running", "cache")
        stands = r"lifecycle/components\.py:\d+ in keep: await start\(\)"
        assert re.fullmatch(stands, hanging[2]), hanging
        assert waiting[:2] == ("waiting", "api")
        assert set(waiting[2].split()) & {"pool", "cache"} == {"cache"}
        lines = str(caught.value).splitlines()[1:]
        assert [line.strip() for line in lines] == list(caught.value.progress)
        assert life.outcomes("resource") == {"pool": "done", "cache": "overdue", "api": "waiting"}
        assert await life.stop() == []
    assert diary[-3:] == ["cache starts", "pool stops", "pool stopped"]


async def test_a_resource_whose_dependencies_are_ready_is_not_described_as_waiting_for_them(
    diary: Diary,
) -> None:
    """Its description names no other resource."""
    told: list[list[str]] = []

    async def look() -> None:
        told.append(life.resources.describe())

    some = [diary.resource(f"p{number}", "pool", start=look) for number in range(5)]
    async with Life(diary.resource("pool"), *some) as life:
        await life.start()
        assert await life.stop() == []
    waiting = [(name, rest) for state, name, rest in rows(told[0]) if state == "waiting"]
    assert waiting
    assert all(name[0] == "p" and rest == "" for name, rest in waiting)


async def test_a_start_ends_at_the_timeout_of_a_resource(diary: Diary) -> None:
    """The timeout of a resource ends the start, although the startup timeout is longer."""
    async with Life(diary.resource("pool", start=anyio.sleep_forever, timeout=SHORT)) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert "0.02 s" in caught.value.reason
        assert await life.stop() == []


async def test_a_timeout_above_the_startup_timeout_has_no_effect(diary: Diary) -> None:
    """A timeout that is longer than the startup timeout is not reported."""
    async with Life(diary.resource("pool", start=anyio.sleep_forever, timeout=60)) as life:
        with pytest.raises(StartupError) as caught:
            await life.start(SHORT)
        assert "0.02 s" in caught.value.reason
        assert await life.stop() == []


async def test_a_resource_that_blocks_the_loop_beyond_its_timeout_fails(diary: Diary) -> None:
    """A start that blocks the event loop beyond its timeout has failed, and is stopped."""

    async def block() -> None:
        time.sleep(2 * SHORT)  # noqa: ASYNC251  (the fault)

    for timeout, seconds in ((math.inf, SHORT), (SHORT, 60.0)):
        async with Life(diary.resource("pool", start=block, timeout=timeout)) as life:
            with pytest.raises(StartupError) as caught:
                await life.start(seconds)
            assert "0.02 s" in caught.value.reason
            assert await life.stop() == []
        assert diary[-1] == "pool stopped"


async def test_the_timeout_of_a_resource_begins_with_its_start(diary: Diary) -> None:
    """The time during which a resource waits for others does not count for its timeout."""
    began = time.monotonic()

    async def take_time() -> None:
        await until(lambda: time.monotonic() > began + 3 * SHORT)

    async with Life(
        diary.resource("slow", start=take_time), diary.resource("api", "slow", timeout=SHORT)
    ) as life:
        await life.start()
        assert await life.stop() == []


async def test_the_first_of_several_resources_that_hang_is_named(
    diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the startup timeout the resource that began first is named, not one that waits."""
    clock = Clock()
    monkeypatch.setattr(resources, "time", clock)
    monkeypatch.setattr(instances, "time", clock)

    async def advance_clock() -> None:
        await until(lambda: "cache starts" in diary)
        clock.ahead = 60

    async with Life(
        diary.resource("api", "cache"),
        diary.resource("cache", "pool", start=anyio.sleep_forever),
        diary.resource("pool", start=lambda: until(lambda: "queue starts" in diary)),
        diary.resource("queue", start=anyio.sleep_forever),
        diary.resource("night", "pool", start=advance_clock),
        diary.resource("day", "night", start=anyio.sleep_forever, timeout=600),
    ) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert caught.value.resource == "queue"
        assert "20 s" in caught.value.reason
        clock.ahead = 0
        assert await life.stop() == []


@pytest.mark.usefixtures("short_cancel_timeout")
async def test_a_start_that_cannot_be_cancelled_is_named(
    diary: Diary, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that ignores its cancellation delays the end of the stop, but no other resource."""
    monkeypatch.setattr(instances, "STOP_BUDGET_SHARE", 0.01)
    gate = anyio.Event()
    hung = diary.resource("api", "pool", start=enduring(gate), timeout=SHORT)
    async with Life(diary.resource("pool"), hung) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert caught.value.resource == "api"
        failures: list[BaseException] = []

        async def stop() -> None:
            failures.extend(await life.stop(5))

        life.group.start_soon(stop)
        await until(lambda: "pool stopped" in diary)
        await until(lambda: caplog.records)
        (record,) = caplog.records
        assert " api " in record.getMessage()
        assert "in endure: await gate.wait()" in record.getMessage()
        assert failures == []
        gate.set()
        await until(lambda: failures)
        assert kinds_of(failures) == [("api",)]


async def test_a_start_is_cancelled_from_outside(diary: Diary) -> None:
    """If a start is cancelled, running starts are cancelled, and started resources are stopped."""
    async with Life(
        diary.resource("pool"), diary.resource("cache", "pool", start=anyio.sleep_forever)
    ) as life:
        async with anyio.create_task_group() as group:
            group.start_soon(life.start)
            await until(lambda: "cache starts" in diary)
            group.cancel_scope.cancel()
        assert life.running == ["pool"]
        assert await life.stop() == []
    assert diary[-2:] == ["pool stops", "pool stopped"]
    assert life.crashes == []
    assert life.outcomes("resource") == {"pool": "done", "cache": "cancelled"}


async def test_a_failed_start_after_a_signal_is_a_failure_of_the_stop(diary: Diary) -> None:
    """A failure between the cancellation of the start and the stop is returned by the stop."""
    go = anyio.Event()

    async def fail() -> None:
        await go.wait()
        raise ValueError

    async with Life(diary.resource("pool", start=fail)) as life:
        async with anyio.create_task_group() as group:
            group.start_soon(life.start)
            await until(lambda: diary)
            group.cancel_scope.cancel()
        go.set()
        await until(lambda: life.outcomes("resource") == {"pool": "failed"})
        failures = await life.stop()
    assert kinds_of(failures) == [ValueError]
    assert raised_by("pool", failures[0])


async def test_an_error_after_a_cancelled_start_is_a_failure_of_the_stop(diary: Diary) -> None:
    """A start that raises when it is cancelled is named among the failures of the stop."""

    async def fail_late() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError

    async with Life(diary.resource("pool", start=fail_late), diary.resource("api", "pool")) as life:
        async with anyio.create_task_group() as group:
            group.start_soon(life.start)
            await until(lambda: diary)
            group.cancel_scope.cancel()
        failures = await life.stop()
    assert kinds_of(failures) == [ValueError]
    assert raised_by("pool", failures[0])
    assert life.crashes == []


# Failures of a stop


async def test_failing_stops_are_reported_and_do_not_prevent_other_stops(diary: Diary) -> None:
    """A stop that raises does not prevent that of its dependencies."""
    one, two = ValueError("one"), KeyError("two")
    async with Life(
        diary.resource("pool"),
        diary.resource("cache", "pool", stop=raising(one)),
        diary.resource("api", "cache", stop=raising(two)),
        diary.resource("queue"),
    ) as life:
        await life.start()
        failures = await life.stop()
    assert failures == [two, one]
    assert raised_by("api", two)
    assert raised_by("cache", one)
    assert {"pool stopped", "queue stopped"} < set(diary)
    assert life.crashes == []
    assert life.outcomes("stop") == {
        "pool": "done", "cache": "failed", "api": "failed", "queue": "done"
    }  # fmt: skip


async def test_a_stop_is_cancelled_at_the_timeout_of_its_resource(diary: Diary) -> None:
    """A stop that hangs is cancelled after the timeout of its resource, which is named."""
    async with Life(
        diary.resource("pool"),
        diary.resource("api", "pool", stop=anyio.sleep_forever, timeout=SHORT),
    ) as life:
        await life.start()
        failures = await life.stop(100 * LONG)
    assert kinds_of(failures) == [("api",)]
    assert "api" in str(failures[0])
    assert diary[-3:] == ["api stops", "pool stops", "pool stopped"]
    assert life.outcomes("stop") == {"pool": "done", "api": "overdue"}


async def test_no_stop_of_a_resource_exceeds_the_time_of_the_whole_stop(diary: Diary) -> None:
    """All resources that hang are named, the last started first; longer timeouts have no effect."""
    async with Life(
        diary.resource("pool", stop=anyio.sleep_forever),
        diary.resource("api", stop=anyio.sleep_forever, timeout=60),
    ) as life:
        await life.start()
        (failure,) = await life.stop(SHORT)
    assert isinstance(failure, ShutdownTimeoutError)
    assert failure.pending == ("api", "pool")
    assert [row[:2] for row in rows(failure.progress)] == [
        ("stopping", "api"),
        ("stopping", "pool"),
    ]


async def test_a_stop_without_any_time_cancels_at_once(diary: Diary) -> None:
    """If no time is left, a stop that hangs is cancelled at once."""
    async with Life(diary.resource("pool", stop=anyio.sleep_forever)) as life:
        await life.start()
        failures = await life.stop(-1)
    assert kinds_of(failures) == [("pool",)]


async def test_a_stop_that_is_late_and_raises_is_two_failures(diary: Diary) -> None:
    """The exception and the timeout are both reported."""

    async def fail_late() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError

    async with Life(diary.resource("pool", stop=fail_late)) as life:
        await life.start()
        failures = await life.stop(SHORT)
    assert kinds_of(failures) == [ValueError, ("pool",)]


@pytest.mark.usefixtures("short_cancel_timeout")
async def test_the_dependencies_of_a_resource_that_hangs_are_stopped_in_time(
    diary: Diary, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop that ignores its cancellation is named; its dependencies are stopped."""
    monkeypatch.setattr(instances, "STOP_BUDGET_SHARE", 0.01)
    gate = anyio.Event()

    async def take_a_moment() -> None:
        for _ in range(10):
            await anyio.sleep(0.001)

    async with Life(
        diary.resource("pool", stop=take_a_moment),
        diary.resource("api", "pool", stop=enduring(gate)),
    ) as life:
        await life.start()
        failures: list[BaseException] = []

        async def stop() -> None:
            failures.extend(await life.stop(5))

        life.group.start_soon(stop)
        await until(lambda: "pool stopped" in diary)
        await until(lambda: caplog.records)
        first, *standing = caplog.records[0].getMessage().splitlines()
        assert " api " in first
        ((state, name, stands),) = rows(line.strip() for line in standing)
        assert (state, name) == ("stopping", "api")
        assert stands.endswith(" in endure: await gate.wait()")
        assert life.running == ["api"]
        assert failures == []
        gate.set()
        await until(lambda: failures)
    assert kinds_of(failures) == [("api",)]


async def test_a_stop_is_described_with_the_time_since_it_began(diary: Diary) -> None:
    """The description of a stop has the time since the stop began, not since the start."""
    began = time.monotonic()
    gate = anyio.Event()

    async def take_time() -> None:
        await until(lambda: time.monotonic() > began + 0.2)

    async with Life(diary.resource("pool", start=take_time, stop=gate.wait)) as life:
        await life.start()
        life.group.start_soon(life.stop)
        await until(lambda: "pool stops" in diary)
        step = life.timeline.steps[-1]
        assert (step.name, step.kind) == ("pool", "stop")
        least = life.timeline.elapsed - step.start
        (line,) = life.resources.describe()
        most = life.timeline.elapsed - step.start
        gate.set()
    told = re.match(r"stopping +pool, (\d+\.\d) s +.*await stop\(\)$", line)
    assert told is not None
    assert f"{least:.1f}" <= told[1] <= f"{most:.1f}"


# Failures in between


def crashing(go: anyio.Event, failure: BaseException) -> Resource:
    """Return a resource whose own task group fails after ``go``."""

    async def crash() -> None:
        await go.wait()
        raise failure

    @asynccontextmanager
    async def keep() -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            group.start_soon(crash)
            yield "the pool"

    return Resource("pool", keep)


async def test_a_crash_in_a_task_of_a_resource_is_reported_at_once(diary: Diary) -> None:
    """The failure is the error itself, in no group; the other resources run until their stop."""
    go, failure = anyio.Event(), ValueError("lost")
    async with Life(crashing(go, failure), diary.resource("api", "pool")) as life:
        await life.start()
        go.set()
        await until(lambda: life.crashes)
        assert life.crashes == [("pool", failure)]
        assert life.running == ["api"]
        with pytest.raises(LifecycleError, match=r"\bpool\b"):
            life.resources.value("pool")
        assert await life.stop() == []
    assert diary[-2:] == ["api stops", "api stopped"]


async def test_a_crash_while_other_resources_start_is_a_failed_start(diary: Diary) -> None:
    """A resource that fails while others start makes the whole start fail."""
    go, failure = anyio.Event(), ValueError("lost")

    async def take_time() -> None:
        go.set()
        await anyio.sleep_forever()

    async with Life(crashing(go, failure), diary.resource("api", start=take_time)) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert (caught.value.resource, caught.value.__cause__) == ("pool", failure)
        assert await life.stop() == []
    assert life.crashes == []


async def test_a_crash_while_other_resources_stop_is_reported(diary: Diary) -> None:
    """A resource that fails while it is still needed is reported; the others stop all the same."""
    go, failure = anyio.Event(), ValueError("lost")

    async def see() -> None:
        go.set()
        await until(lambda: life.crashes)

    async with Life(crashing(go, failure), diary.resource("api", "pool", stop=see)) as life:
        await life.start()
        assert await life.stop() == []
    assert life.crashes == [("pool", failure)]
    assert diary[-1] == "api stopped"


async def test_a_resource_that_returns_early_is_a_failure() -> None:
    """This also holds if it has swallowed its own error."""
    go = anyio.Event()

    async def crash() -> None:
        await go.wait()
        raise ValueError

    @asynccontextmanager
    async def keep() -> AsyncIterator[None]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(crash)
                yield
        except* ValueError:
            pass

    async with Life(Resource("pool", keep)) as life:
        await life.start()
        go.set()
        await until(lambda: life.crashes)
        assert await life.stop() == []
    ((name, failure),) = life.crashes
    assert isinstance(failure, LifecycleError)
    assert name == "pool"
    assert "pool" in str(failure)


async def test_a_time_limit_around_the_yield_of_a_resource_ends_the_resource() -> None:
    """A cancel scope of the resource that ends during its yield is a failure of the resource."""

    @asynccontextmanager
    async def keep() -> AsyncIterator[None]:
        with anyio.fail_after(SHORT):
            yield

    async with Life(Resource("pool", keep)) as life:
        await life.start()
        await until(lambda: life.crashes)
        assert await life.stop() == []
    assert [(name, type(failure)) for name, failure in life.crashes] == [("pool", TimeoutError)]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_resource_whose_task_is_cancelled_by_other_code_is_a_failure() -> None:
    """On asyncio the task of a resource can be cancelled; no other task is affected."""
    tasks: list[asyncio.Task[object] | None] = []

    @asynccontextmanager
    async def keep() -> AsyncIterator[None]:
        tasks.append(asyncio.current_task())
        yield

    async with Life(Resource("pool", keep)) as life:
        await life.start()
        (task,) = tasks
        assert task is not None
        task.cancel()
        with anyio.CancelScope(shield=True):
            await until(lambda: life.crashes)
            assert await life.stop() == []
        are_others_cancelled = life.group.cancel_scope.cancel_called
    ((name, failure),) = life.crashes
    assert isinstance(failure, LifecycleError)
    assert name == "pool"
    assert "pool" in str(failure)
    assert not are_others_cancelled


# Forms of a resource function


async def test_cancel_scopes_and_task_groups_are_allowed_around_the_yield(diary: Diary) -> None:
    """The task that enters them also leaves them, so both backends allow it."""

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            diary.append("work ends")

    @asynccontextmanager
    async def keep() -> AsyncIterator[str]:
        with anyio.CancelScope():
            async with anyio.create_task_group() as group:
                with anyio.move_on_after(60):
                    group.start_soon(work)
                    yield "the pool"
                    diary.append("pool stops")
                group.cancel_scope.cancel()
        diary.append("pool stopped")

    async with Life(Resource("pool", keep), diary.resource("api", "pool")) as life:
        await life.start()
        await anyio.wait_all_tasks_blocked()
        assert await life.stop() == []
    assert diary[2:] == ["api stops", "api stopped", "pool stops", "work ends", "pool stopped"]
    assert life.crashes == []


async def test_a_resource_that_does_not_yield_fails_to_start() -> None:
    """A resource without a value cannot start."""

    @asynccontextmanager
    async def keep() -> AsyncIterator[str]:
        if not anyio.get_current_task():
            yield "never"

    async with Life(Resource("pool", keep)) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert (caught.value.resource, caught.value.reason) == ("pool", "LifecycleError")
        assert isinstance(caught.value.__cause__, LifecycleError)
        assert await life.stop() == []


async def test_a_resource_that_yields_twice_fails_to_stop(diary: Diary) -> None:
    """A second yield is a failure of the stop, and the resources that it needs are stopped."""
    generators = []

    @asynccontextmanager
    async def keep() -> AsyncIterator[int]:
        yield 1
        yield 2

    def open_it() -> AbstractAsyncContextManager[int]:
        context = keep()
        generators.append(context.gen)
        return context

    async with Life(diary.resource("pool"), Resource("api", open_it, ("pool",))) as life:
        await life.start()
        assert life.resources.value("api") == 1
        failures = await life.stop()
        # Python 3.11 does not close the generator.
        await generators[0].aclose()
    assert kinds_of(failures) == [LifecycleError]
    assert raised_by("api", failures[0])
    assert diary[-1] == "pool stopped"
