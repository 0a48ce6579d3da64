"""Parts: what starts when, what stops when, and what is said of those that do not."""

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
"""Seconds after which something is late here."""


@pytest.fixture
def diary() -> Diary:
    """Return an empty diary."""
    return Diary()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no longer than needed for what does not end."""
    monkeypatch.setattr(Life, "timings", Timings(resource_cancel_timeout=SHORT))


class Clock:
    """The monotonic clock, which can be put ahead."""

    ahead = 0

    def monotonic(self) -> float:
        """Return the time."""
        return time.monotonic() + self.ahead


def raised_by(name: str, failure: BaseException) -> bool:
    """Return whether a failure names its part."""
    return len(failure.__notes__) == 1 and name in failure.__notes__[0]


def kinds_of(failures: list[BaseException]) -> list[object]:
    """Return the type of each failure; of a stop that took too long, who was pending."""
    return [
        failure.pending if isinstance(failure, ShutdownTimeoutError) else type(failure)
        for failure in failures
    ]


def rows(standing: Iterable[str]) -> list[tuple[str, str, str]]:
    """Split the lines about parts into state, name, and what follows the seconds."""
    found = [re.fullmatch(r"(\w+) +(\w+), \d+\.\d s *(.*)", line) for line in standing]
    assert None not in found, standing
    return [(match[1], match[2], match[3]) for match in found if match]


# The order


async def test_parts_start_in_order_and_stop_in_reverse(diary: Diary) -> None:
    """What another one needs is there before it starts, and until it has stopped."""
    life = Life(diary.part("pool"), diary.part("cache", "pool"), diary.part("api", "cache"))
    async with life:
        await life.start()
        assert life.parts.pending_count == 0
        assert life.running == ["pool", "cache", "api"]
        assert life.parts.value("cache") == "the cache"
        assert await life.stop() == []
        assert life.running == []
    starts = ["pool", "cache", "api"]
    told = [f"{name} {what}" for name in starts for what in ("starts", "started")]
    told += [f"{name} {what}" for name in reversed(starts) for what in ("stops", "stopped")]
    assert diary == told
    assert life.crashes == []
    assert life.outcomes("resource") == life.outcomes("stop") == dict.fromkeys(starts, "done")


async def test_independent_parts_start_and_stop_side_by_side(diary: Diary) -> None:
    """Two that wait for each other's start, and stop, both get there."""
    events = {key: anyio.Event() for key in ("a up", "b up", "a down", "b down")}

    def meet(mine: str, other: str, way: str) -> object:
        async def act() -> None:
            events[f"{mine} {way}"].set()
            await events[f"{other} {way}"].wait()

        return act

    def pair(mine: str, other: str) -> Resource:
        start, stop = meet(mine, other, "up"), meet(mine, other, "down")
        return diary.part(mine, "root", start=start, stop=stop)  # type: ignore[arg-type]

    async with Life(diary.part("root"), pair("a", "b"), pair("b", "a")) as life:
        await life.start()
        assert await life.stop() == []
    assert diary[:2] == ["root starts", "root started"]
    assert diary[-2:] == ["root stops", "root stopped"]


async def test_a_part_waits_for_nobody_whom_it_does_not_need(diary: Diary) -> None:
    """One starts as soon as it can, although another of those before it is slow; and stops so."""
    is_up, is_down = anyio.Event(), anyio.Event()

    async def tell_up() -> None:
        is_up.set()

    async def tell_down() -> None:
        is_down.set()

    async with Life(
        diary.part("pool", stop=tell_down),
        diary.part("slow", start=is_up.wait),
        diary.part("api", "pool", start=tell_up),
        diary.part("slow too", "slow", stop=is_down.wait),
    ) as life:
        await life.start()
        assert diary.index("api started") < diary.index("slow started")
        assert await life.stop() == []
    assert diary.index("pool stopped") < diary.index("slow too stopped")
    assert diary.index("slow too stopped") < diary.index("slow stops")


async def test_a_thousand_parts_keep_to_every_edge() -> None:
    """However they depend on each other, none starts too early, and none stops too early."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"the seed of the graph is {seed}")  # noqa: T201  (pytest shows it when this fails)
    chance = random.Random(seed)  # noqa: S311  (no secret)
    names = [f"p{number}" for number in range(1000)]
    chance.shuffle(names)
    graph: dict[str, tuple[str, ...]] = {}
    for number, name in enumerate(names):
        few = chance.choice((0, 1, 2, 3, 8))
        # Some need the one before, so that there are long ways as well as wide ones.
        near = names[max(0, number - 3) : number] if chance.random() < 0.2 else names[:number]
        graph[name] = tuple(chance.sample(near, min(few, len(near))))

    async def dawdle() -> None:
        for _ in range(chance.randrange(4)):
            await anyio.lowlevel.checkpoint()

    diary = Diary()
    shuffled = sorted(graph)
    order = start_order({name: graph[name] for name in shuffled})
    parts = {
        name: diary.part(
            name, *graph[name], start=dawdle, stop=dawdle, timeout=chance.choice((math.inf, 600))
        )
        for name in order
    }
    async with Life(*parts.values()) as life:
        await life.start(600)
        assert life.running == order
        assert await life.stop(600) == []
    assert len(diary) == 4 * len(names)
    at = {said: number for number, said in enumerate(diary)}
    for name, needs in graph.items():
        for need in needs:
            assert at[f"{need} started"] < at[f"{name} starts"], (seed, name, need)
            assert at[f"{name} stopped"] < at[f"{need} stops"], (seed, name, need)


# A start that goes wrong


async def test_a_part_that_raises_names_itself(diary: Diary) -> None:
    """The failure is its cause; what needs it never starts, and what has started stops."""
    failure = ValueError("no route to host")
    async with Life(
        diary.part("pool"),
        diary.part("cache", "pool", start=raising(failure)),
        diary.part("api", "cache"),
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


async def test_an_exit_in_a_part_ends_its_start(diary: Diary) -> None:
    """Whoever calls ``sys.exit`` in a part is told of as of one that has failed."""
    async with Life(diary.part("pool", start=raising(SystemExit(3)))) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert (caught.value.resource, caught.value.reason) == ("pool", "SystemExit")
        assert await life.stop() == []


async def test_a_part_that_cannot_even_begin_fails_like_others() -> None:
    """What is raised before there is anything to await is a failed start."""

    def refuse() -> AbstractAsyncContextManager[object]:
        raise LookupError

    async with Life(Resource("pool", refuse)) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert (caught.value.resource, caught.value.reason) == ("pool", "LookupError")
        assert await life.stop() == []


async def test_two_that_fail_at_once_are_both_told(diary: Diary) -> None:
    """Whoever mends the one would else find the other only at the next start."""
    go = anyio.Event()

    async def tell() -> None:
        go.set()

    def failing_at_once(failure: BaseException) -> object:
        async def act() -> None:
            await go.wait()
            raise failure

        return act

    async with Life(
        diary.part("a", start=failing_at_once(ValueError("one"))),  # type: ignore[arg-type]
        diary.part("b", start=failing_at_once(KeyError("two"))),  # type: ignore[arg-type]
        diary.part("c", start=tell),
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


async def test_a_start_that_hangs_shows_where_everybody_stands(diary: Diary) -> None:
    """The text says who hangs and in which line, who is done, and who waits for whom."""
    async with Life(
        diary.part("pool"),
        diary.part("cache", "pool", start=anyio.sleep_forever, timeout=SHORT),
        diary.part("api", "pool", "cache"),
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


async def test_what_can_begin_and_has_not_waits_for_nobody(diary: Diary) -> None:
    """A part whose needs are there is not said to wait for them."""
    told: list[list[str]] = []

    async def look() -> None:
        told.append(life.parts.describe())

    some = [diary.part(f"p{number}", "pool", start=look) for number in range(5)]
    async with Life(diary.part("pool"), *some) as life:
        await life.start()
        assert await life.stop() == []
    waiting = [(name, rest) for state, name, rest in rows(told[0]) if state == "waiting"]
    assert waiting
    assert all(name[0] == "p" and rest == "" for name, rest in waiting)


async def test_a_part_has_a_time_of_its_own_to_start(diary: Diary) -> None:
    """Its own timeout ends the start although the whole has plenty of time."""
    async with Life(diary.part("pool", start=anyio.sleep_forever, timeout=SHORT)) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert "0.02 s" in caught.value.reason
        assert await life.stop() == []


async def test_a_part_has_no_more_time_than_the_whole(diary: Diary) -> None:
    """A timeout of its own that is longer is none; the text tells the one that was over."""
    async with Life(diary.part("pool", start=anyio.sleep_forever, timeout=60)) as life:
        with pytest.raises(StartupError) as caught:
            await life.start(SHORT)
        assert "0.02 s" in caught.value.reason
        assert await life.stop() == []


async def test_a_part_that_blocks_the_loop_is_late(diary: Diary) -> None:
    """Its start is over when the limit is noticed; it has failed all the same, and is stopped."""

    async def block() -> None:
        time.sleep(2 * SHORT)  # noqa: ASYNC251  (the fault)

    for timeout, seconds in ((math.inf, SHORT), (SHORT, 60.0)):
        async with Life(diary.part("pool", start=block, timeout=timeout)) as life:
            with pytest.raises(StartupError) as caught:
                await life.start(seconds)
            assert "0.02 s" in caught.value.reason
            assert await life.stop() == []
        assert diary[-1] == "pool stopped"


async def test_the_time_of_a_part_begins_with_its_start(diary: Diary) -> None:
    """What it waits for others is none of its own time."""
    began = time.monotonic()

    async def dawdle() -> None:
        await until(lambda: time.monotonic() > began + 3 * SHORT)

    async with Life(
        diary.part("slow", start=dawdle), diary.part("api", "slow", timeout=SHORT)
    ) as life:
        await life.start()
        assert await life.stop() == []


async def test_the_first_of_those_that_hang_is_to_blame(
    diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the time of the whole is over, it is who has begun first, and not who waits."""
    clock = Clock()
    monkeypatch.setattr(resources, "time", clock)
    monkeypatch.setattr(instances, "time", clock)

    async def let_time_pass() -> None:
        await until(lambda: "cache starts" in diary)
        clock.ahead = 60

    async with Life(
        diary.part("api", "cache"),
        diary.part("cache", "pool", start=anyio.sleep_forever),
        diary.part("pool", start=lambda: until(lambda: "queue starts" in diary)),
        diary.part("queue", start=anyio.sleep_forever),
        diary.part("night", "pool", start=let_time_pass),
        diary.part("day", "night", start=anyio.sleep_forever, timeout=600),
    ) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert caught.value.resource == "queue"
        assert "20 s" in caught.value.reason
        clock.ahead = 0
        assert await life.stop() == []


@pytest.mark.usefixtures("impatient")
async def test_a_start_that_cannot_be_cancelled_is_named(
    diary: Diary, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who hangs in its start and swallows the cancellation holds up the end, not the others."""
    monkeypatch.setattr(instances, "STOP_BUDGET_SHARE", 0.01)
    gate = anyio.Event()
    hung = diary.part("api", "pool", start=enduring(gate), timeout=SHORT)
    async with Life(diary.part("pool"), hung) as life:
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
    """A signal in the middle of a start: what starts is cancelled, what has started stops."""
    async with Life(
        diary.part("pool"), diary.part("cache", "pool", start=anyio.sleep_forever)
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


async def test_a_failure_that_nobody_has_waited_for_is_told(diary: Diary) -> None:
    """What fails between the signal and the stop is one of the things that went wrong."""
    go = anyio.Event()

    async def fail() -> None:
        await go.wait()
        raise ValueError

    async with Life(diary.part("pool", start=fail)) as life:
        async with anyio.create_task_group() as group:
            group.start_soon(life.start)
            await until(lambda: diary)
            group.cancel_scope.cancel()
        go.set()
        await until(lambda: life.outcomes("resource") == {"pool": "failed"})
        failures = await life.stop()
    assert kinds_of(failures) == [ValueError]
    assert raised_by("pool", failures[0])


async def test_an_error_on_a_cancellation_is_told(diary: Diary) -> None:
    """A part that cannot leave its start cleanly says so, with its name."""

    async def fail_late() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError

    async with Life(diary.part("pool", start=fail_late), diary.part("api", "pool")) as life:
        async with anyio.create_task_group() as group:
            group.start_soon(life.start)
            await until(lambda: diary)
            group.cancel_scope.cancel()
        failures = await life.stop()
    assert kinds_of(failures) == [ValueError]
    assert raised_by("pool", failures[0])
    assert life.crashes == []


# A stop that goes wrong


async def test_two_failing_stops_are_both_told_and_the_others_stop(diary: Diary) -> None:
    """A stop that raises keeps nobody else from stopping, also not what it needs."""
    one, two = ValueError("one"), KeyError("two")
    async with Life(
        diary.part("pool"),
        diary.part("cache", "pool", stop=raising(one)),
        diary.part("api", "cache", stop=raising(two)),
        diary.part("queue"),
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


async def test_a_part_has_a_time_of_its_own_to_stop(diary: Diary) -> None:
    """One that hangs in its stop is cancelled after its own timeout, and named."""
    async with Life(
        diary.part("pool"), diary.part("api", "pool", stop=anyio.sleep_forever, timeout=SHORT)
    ) as life:
        await life.start()
        failures = await life.stop(100 * LONG)
    assert kinds_of(failures) == [("api",)]
    assert "api" in str(failures[0])
    assert diary[-3:] == ["api stops", "pool stops", "pool stopped"]
    assert life.outcomes("stop") == {"pool": "done", "api": "overdue"}


async def test_the_time_of_the_whole_stop_is_a_bound_for_each(diary: Diary) -> None:
    """Several that hang are named together, the last started first; a longer timeout is none."""
    async with Life(
        diary.part("pool", stop=anyio.sleep_forever),
        diary.part("api", stop=anyio.sleep_forever, timeout=60),
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
    """When the time was over before, what hangs is cancelled and nobody waits."""
    async with Life(diary.part("pool", stop=anyio.sleep_forever)) as life:
        await life.start()
        failures = await life.stop(-1)
    assert kinds_of(failures) == [("pool",)]


async def test_a_part_that_is_late_and_fails_is_told_twice(diary: Diary) -> None:
    """That it took too long is one thing, and what it raised when it was cancelled another."""

    async def fail_late() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError

    async with Life(diary.part("pool", stop=fail_late)) as life:
        await life.start()
        failures = await life.stop(SHORT)
    assert kinds_of(failures) == [ValueError, ("pool",)]


@pytest.mark.usefixtures("impatient")
async def test_those_below_one_that_hangs_have_their_share(
    diary: Diary, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What swallows its cancellation is named, and what it needs stops in peace all the same."""
    monkeypatch.setattr(instances, "STOP_BUDGET_SHARE", 0.01)
    gate = anyio.Event()

    async def take_a_moment() -> None:
        for _ in range(10):
            await anyio.sleep(0.001)

    async with Life(
        diary.part("pool", stop=take_a_moment), diary.part("api", "pool", stop=enduring(gate))
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


async def test_what_stops_is_said_to_stop_since_then(diary: Diary) -> None:
    """Of a part that hangs in its stop one reads how long it stops, not how long it started."""
    began = time.monotonic()
    gate = anyio.Event()

    async def dawdle() -> None:
        await until(lambda: time.monotonic() > began + 0.2)

    async with Life(diary.part("pool", start=dawdle, stop=gate.wait)) as life:
        await life.start()
        life.group.start_soon(life.stop)
        await until(lambda: "pool stops" in diary)
        step = life.timeline.steps[-1]
        assert (step.name, step.kind) == ("pool", "stop")
        least = life.timeline.elapsed - step.start
        (line,) = life.parts.describe()
        most = life.timeline.elapsed - step.start
        gate.set()
    told = re.match(r"stopping +pool, (\d+\.\d) s +.*await stop\(\)$", line)
    assert told is not None
    assert f"{least:.1f}" <= told[1] <= f"{most:.1f}"


# What goes wrong in between


def crashing(go: anyio.Event, failure: BaseException) -> Resource:
    """Make a part whose own task group fails when it is told to."""

    async def crash() -> None:
        await go.wait()
        raise failure

    @asynccontextmanager
    async def keep() -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            group.start_soon(crash)
            yield "the pool"

    return Resource("pool", keep)


async def test_a_crash_in_a_parts_own_task_is_told_at_once(diary: Diary) -> None:
    """The failure is what was raised, in no group; the others go on until they are stopped."""
    go, failure = anyio.Event(), ValueError("lost")
    async with Life(crashing(go, failure), diary.part("api", "pool")) as life:
        await life.start()
        go.set()
        await until(lambda: life.crashes)
        assert life.crashes == [("pool", failure)]
        assert life.running == ["api"]
        with pytest.raises(LifecycleError, match=r"\bpool\b"):
            life.parts.value("pool")
        assert await life.stop() == []
    assert diary[-2:] == ["api stops", "api stopped"]


async def test_a_crash_while_others_start_is_a_failed_start(diary: Diary) -> None:
    """The start does not go on to its end without a part that it had."""
    go, failure = anyio.Event(), ValueError("lost")

    async def dawdle() -> None:
        go.set()
        await anyio.sleep_forever()

    async with Life(crashing(go, failure), diary.part("api", start=dawdle)) as life:
        with pytest.raises(StartupError) as caught:
            await life.start()
        assert (caught.value.resource, caught.value.__cause__) == ("pool", failure)
        assert await life.stop() == []
    assert life.crashes == []


async def test_a_crash_while_others_stop_is_told(diary: Diary) -> None:
    """What is still needed and fails is told, and what needs it stops nevertheless."""
    go, failure = anyio.Event(), ValueError("lost")

    async def see() -> None:
        go.set()
        await until(lambda: life.crashes)

    async with Life(crashing(go, failure), diary.part("api", "pool", stop=see)) as life:
        await life.start()
        assert await life.stop() == []
    assert life.crashes == [("pool", failure)]
    assert diary[-1] == "api stopped"


async def test_a_part_that_ends_by_itself_is_a_failure() -> None:
    """One that swallows what has happened to it is gone all the same."""
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


async def test_a_part_with_a_time_limit_around_its_yield_ends_by_it() -> None:
    """A scope of the author's that is over while the part is parked is a failure of the part."""

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
async def test_a_part_whose_task_somebody_cancels_is_a_failure() -> None:
    """On asyncio anybody can cancel a task by its handle: that of the part, and no other one."""
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


# What an author may write


async def test_scopes_and_groups_may_stand_around_the_yield(diary: Diary) -> None:
    """They are left by the task that has entered them, so that both backends allow it."""

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

    async with Life(Resource("pool", keep), diary.part("api", "pool")) as life:
        await life.start()
        await anyio.wait_all_tasks_blocked()
        assert await life.stop() == []
    assert diary[2:] == ["api stops", "api stopped", "pool stops", "work ends", "pool stopped"]
    assert life.crashes == []


async def test_a_part_without_a_yield_on_its_way_fails_to_start() -> None:
    """There is nothing to give to others."""

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


async def test_a_part_that_yields_twice_fails_to_stop(diary: Diary) -> None:
    """It is told, and what it needs is stopped all the same."""
    generators = []

    @asynccontextmanager
    async def keep() -> AsyncIterator[int]:
        yield 1
        yield 2

    def open_it() -> AbstractAsyncContextManager[int]:
        context = keep()
        generators.append(context.gen)
        return context

    async with Life(diary.part("pool"), Resource("api", open_it, ("pool",))) as life:
        await life.start()
        assert life.parts.value("api") == 1
        failures = await life.stop()
        # Before 3.12 nobody closes it.
        await generators[0].aclose()
    assert kinds_of(failures) == [LifecycleError]
    assert raised_by("api", failures[0])
    assert diary[-1] == "pool stopped"
