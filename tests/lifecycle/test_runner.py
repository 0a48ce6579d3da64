"""One run from ARMED to STOPPED: its steps, what the service manager hears, and its end."""

import asyncio
import contextvars
import gc
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from hive_boot import IllegalTransitionError, LifecycleError, ShutdownTimeoutError, StartupError
from hive_boot._timings import Timings
from hive_boot.lifecycle.resources import Resource
from hive_boot.lifecycle.runner import Runner
from hive_boot.lifecycle.services import SupervisedTask
from hive_boot.lifecycle.states import State
from tests.fixtures.systemd import listening, notify_path, received
from tests.lifecycle.components import LONG, Diary, enduring, raising
from tests.support import until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

UP = (State.LOADING, State.STARTING, State.READY)
"""The steps to READY."""

WAYS: dict[State, tuple[State, ...]] = {
    State.ARMED: (),
    State.LOADING: UP[:1],
    State.STARTING: UP[:2],
    State.READY: UP,
    State.RELOADING: (*UP, State.RELOADING),
    State.DRAINING: (*UP, State.DRAINING),
    State.STOPPING: (*UP, State.DRAINING, State.STOPPING),
}
"""How each state is reached."""


class Owner:
    """Who owns a run, and what it has heard of it."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.heard: list[str] = []
        runner.on_fatal_error = lambda: self.heard.append("cannot go on")
        runner.on_drained = lambda: self.heard.append("wants end")
        runner.on_stop_started = lambda: self.heard.append("stops")

    async def stop(self) -> list[BaseException]:
        """Stop everything, as a run does, and give what went wrong."""
        runner = self.runner
        with anyio.CancelScope(shield=True), anyio.fail_after(2 * LONG):
            runner.begin_stop()
            failures = [*await runner.stop_services(), *await runner.stop_resources()]
            await runner.end()
        return failures


def owned(
    *,
    drain: float = 0.0,
    shutdown_timeout: float = LONG,
    parts: tuple[Resource, ...] = (),
    services: tuple[SupervisedTask, ...] = (),
    at: State = State.ARMED,
) -> Owner:
    """Make a run that stands where it is to stand."""
    context = contextvars.copy_context()
    owner = Owner(Runner(shutdown_delay=drain, shutdown_timeout=shutdown_timeout, context=context))
    owner.runner.set_components(parts, services)
    for state in WAYS[at]:
        owner.runner.transition(state)
    return owner


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Listen as a service manager does; give what has been said, datagram by datagram."""
    with notify_path() as path, listening(path) as reader:
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield lambda: received(reader)


def phases(runner: Runner) -> list[str]:
    """Give the phases of the timeline, with their outcomes when they are not done."""
    found = [step for step in runner.timeline.steps if step.kind == "phase"]
    return [
        step.name if step.outcome == "done" else f"{step.name} {step.outcome}" for step in found
    ]


# The steps, and who hears of them


async def test_the_service_manager_hears_of_every_step(manager: Callable[[], list[str]]) -> None:
    """READY and STOPPING come once each, a reload with its time in one datagram."""
    owner = owned()
    runner = owner.runner
    for state in UP:
        runner.transition(state)
    assert manager() == ["STATUS=Loading", "STATUS=Starting", "READY=1\nSTATUS=Ready"]
    runner.transition(State.RELOADING)
    runner.transition(State.READY)
    reload, ready = manager()
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", reload)
    assert ready == "READY=1\nSTATUS=Ready"
    assert await owner.stop() == []
    assert manager() == [
        "STOPPING=1\nSTATUS=Draining", "STATUS=Stopping", "STATUS=Stopped",
    ]  # fmt: skip
    # A reload is a part of being ready.
    names = ["armed", "loading", "starting", "ready", "draining", "stopping", "stopped"]
    assert phases(runner) == names


async def test_a_start_that_fails_is_never_ready(manager: Callable[[], list[str]]) -> None:
    """Who never was ready says no READY, and a single STOPPING if it had begun to start."""
    starting = ["STATUS=Loading", "STATUS=Starting", "STOPPING=1\nSTATUS=Stopping"]
    for at, told in (
        (State.ARMED, []),
        (State.LOADING, ["STATUS=Loading"]),
        (State.STARTING, starting),
    ):
        owner = owned(at=at)
        assert await owner.stop() == []
        assert manager() == [*told, "STATUS=Stopped"]
        assert not owner.runner.started
        assert owner.runner.state is State.STOPPED


async def test_a_step_that_does_not_exist_is_said_to_nobody(
    manager: Callable[[], list[str]],
) -> None:
    """It is refused, and the run stands where it stood."""
    runner = owned().runner
    with pytest.raises(IllegalTransitionError):
        runner.transition(State.READY)
    assert (runner.state, runner.started, manager()) == (State.ARMED, False, [])
    assert phases(runner) == ["armed running"]


async def test_the_watchdog_hears_that_the_loop_turns(
    manager: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beats come again and again, until the run has ended."""
    monkeypatch.setenv("WATCHDOG_USEC", "10000")
    owner = owned(at=State.STARTING)
    manager()
    await owner.runner.start_watchdog()
    told: list[str] = []
    await until(lambda: told.extend(manager()) or len(told) >= 3)  # type: ignore[func-returns-value]
    assert set(told) == {"WATCHDOG=1"}
    assert await owner.stop() == []
    manager()
    await anyio.sleep(0.02)
    assert manager() == []


async def test_without_a_watchdog_nothing_beats(manager: Callable[[], list[str]]) -> None:
    """Whoever does not want to hear it is not told."""
    owner = owned(at=State.STARTING)
    manager()
    await owner.runner.start_watchdog()
    await anyio.wait_all_tasks_blocked()
    assert manager() == []
    assert await owner.stop() == []


# A failure


async def test_a_failure_is_told_once_and_ends_being_ready(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Probes see at once that it is not ready; the owner hears of the first failure alone."""
    for at in WAYS:
        caplog.clear()
        owner, failure = owned(at=at), ValueError("lost")
        runner = owner.runner
        runner.fail("pool", failure)
        runner.fail("queue", KeyError("second"))
        assert runner.state is (State.DRAINING if at in {State.READY, State.RELOADING} else at)
        assert (runner.failed, runner.failure) == ("pool", failure)
        assert owner.heard == ["cannot go on"]
        assert [
            (
                record.levelname,
                record.getMessage().split()[0],
                record.exc_info and record.exc_info[0],
            )
            for record in caplog.records
        ] == [("CRITICAL", "pool", ValueError), ("ERROR", "queue", KeyError)]
        assert await owner.stop() == []


async def test_a_failure_during_the_end_changes_nothing_but_the_result() -> None:
    """Who is on its way out is not told to go; the failure is known all the same."""
    for drain in (0.0, LONG):
        owner, failure = owned(at=State.READY, drain=drain), ValueError("lost")
        runner = owner.runner
        await runner.task_group()
        runner.request_stop()
        before, heard = runner.state, list(owner.heard)
        runner.fail("pool", failure)
        assert runner.failure is failure
        assert (runner.state, owner.heard) == (before, heard)
        assert "cannot go on" not in heard
        assert await owner.stop() == []


async def test_without_an_owner_a_failure_is_only_remembered() -> None:
    """Whoever wants to hear of nothing hears of nothing."""
    runner = Runner(shutdown_delay=0, shutdown_timeout=LONG, context=contextvars.copy_context())
    for state in UP:
        runner.transition(state)
    runner.fail("pool", ValueError())
    runner.request_stop()
    assert runner.state is State.STOPPING
    await runner.end()


# The end


async def test_a_wish_to_end_is_heard_in_every_state() -> None:
    """Without a drain, or before READY, a stop request takes effect at once, and counts once."""
    in_use = {State.READY, State.RELOADING}
    states = {State.ARMED, State.LOADING, State.STARTING, *in_use}
    for at, drain in product(states, (0.0, 0.01, LONG)):
        if at in in_use and drain:
            continue
        owner = owned(at=at, drain=drain)
        runner = owner.runner
        await runner.task_group()
        runner.request_stop()
        runner.request_stop()
        assert runner.state is (State.STOPPING if at in {State.STARTING, *in_use} else at)
        assert owner.heard == ["stops", "wants end"]
        assert await owner.stop() == []
        assert owner.heard == ["stops", "wants end"]


@pytest.mark.parametrize("at", [State.READY, State.RELOADING])
async def test_what_is_in_use_drains_before_it_ends(at: State) -> None:
    """A stop request starts the drain; a second request does not shorten it, a stop does."""
    owner, hurried = owned(at=at, drain=0.01), owned(at=at, drain=LONG)
    for each in (owner, hurried):
        await each.runner.task_group()
        each.runner.request_stop()
        each.runner.request_stop()
        assert (each.runner.state, each.heard) == (State.DRAINING, [])
    await until(lambda: owner.heard)
    assert owner.runner.state is State.STOPPING
    assert owner.heard == ["stops", "wants end"]
    assert await owner.stop() == await hurried.stop() == []
    assert owner.heard == ["stops", "wants end"]


async def test_a_wish_to_end_after_the_end_has_begun() -> None:
    """It does not lead back: what stops goes on to stop."""
    for at in (State.DRAINING, State.STOPPING):
        owner = owned(at=at)
        owner.runner.request_stop()
        assert owner.runner.state is State.STOPPING
        assert owner.heard == ["stops", "wants end"]
        assert await owner.stop() == []


async def test_without_anything_open_there_is_nothing_to_drain() -> None:
    """A run that holds no task ends at once."""
    owner = owned(at=State.READY, drain=LONG)
    owner.runner.request_stop()
    assert owner.runner.state is State.STOPPING
    assert await owner.stop() == []


async def test_a_run_without_services_can_drain() -> None:
    """There is something to drain when it is served, whatever works in the background."""
    owner = owned(at=State.STARTING, drain=0.01)
    await owner.runner.start_services()
    owner.runner.transition(State.READY)
    owner.runner.request_stop()
    assert phases(owner.runner)[-1] == "draining running"
    await until(lambda: owner.heard)
    assert phases(owner.runner)[-1] == "stopping running"
    assert await owner.stop() == []


async def test_what_has_failed_drains_before_it_ends() -> None:
    """Others are told first not to send requests any more, also when the reason is a failure."""
    owner = owned(at=State.READY, drain=0.01)
    owner.runner.on_fatal_error = owner.runner.request_stop
    await owner.runner.task_group()
    owner.runner.fail("pool", ValueError())
    assert phases(owner.runner)[-1] == "draining running"
    assert owner.heard == []
    await until(lambda: owner.heard)
    assert phases(owner.runner)[-1] == "stopping running"
    assert await owner.stop() == []


async def test_the_time_of_the_stop_begins_once() -> None:
    """However often somebody asks, the stop has one deadline."""
    owner = owned(at=State.READY, shutdown_timeout=5)
    before = time.monotonic()
    by = owner.runner.stop_deadline
    assert before + 5 <= by <= time.monotonic() + 5
    assert owner.runner.stop_deadline == by
    assert await owner.stop() == []
    assert owner.runner.stop_deadline == by
    assert owner.heard == ["stops"]


async def test_a_run_is_over_only_once() -> None:
    """After the end there is nobody to hold a task."""
    owner = owned()
    group = await owner.runner.task_group()
    assert await owner.runner.task_group() is group
    await owner.runner.end()
    with pytest.raises(LifecycleError):
        await owner.runner.task_group()
    with pytest.raises(IllegalTransitionError):
        await owner.runner.end()


@pytest.mark.parametrize("at", WAYS)
async def test_a_forked_child_leaves_a_run_without_a_word(
    at: State, manager: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """It is stopped for the child, however far it came, and the manager hears nothing."""
    runner = owned(at=at).runner
    manager()
    await runner.task_group()
    runner.abandon()
    assert runner.state is State.STOPPED
    with pytest.raises(IllegalTransitionError):
        await runner.end()
    assert manager() == []
    assert caplog.records == []


async def test_a_second_signal_learns_where_the_run_stood() -> None:
    """The last word names the state that it ended in."""
    for at in WAYS:
        runner = owned(at=at).runner
        assert runner.mark_forced() is at
        assert runner.state is State.FORCED


# Parts and services


def service(call: Callable[[], Awaitable[object]], *, restart: bool = True) -> SupervisedTask:
    """Make a service."""
    return SupervisedTask("mailer", call, restart, 5, 60)


def soon() -> float:
    """Give a deadline that nothing misses."""
    return time.monotonic() + LONG


async def test_parts_and_services_live_until_the_stop() -> None:
    """Services end before the parts that they may need."""
    diary = Diary()

    async def work() -> None:
        diary.append("mailer starts")
        try:
            await anyio.sleep_forever()
        finally:
            diary.append("mailer ends")

    owner = owned(at=State.STARTING, parts=(diary.part("pool"),), services=(service(work),))
    runner = owner.runner
    await runner.start_resources(soon(), LONG)
    await runner.start_services()
    await until(lambda: "mailer starts" in diary)
    pending = [line.replace(",", "").split() for line in runner.pending()]
    assert [(words[0], {"mailer", "pool"} & set(words)) for words in pending] == [
        ("running", {"mailer"}),
        ("done", {"pool"}),
    ]
    runner.transition(State.READY)
    assert await owner.stop() == []
    assert diary == [
        "pool starts", "pool started", "mailer starts", "mailer ends", "pool stops", "pool stopped",
    ]  # fmt: skip


async def test_a_run_without_either_has_nothing_to_start() -> None:
    """It goes through its states like any other, and nothing is pending."""
    owner = owned(at=State.STARTING)
    await owner.runner.start_resources(soon(), LONG)
    await owner.runner.start_services()
    assert (owner.runner.resources, owner.runner.services) == (None, None)
    assert owner.runner.pending() == []
    assert not owner.runner.only_asgi_component_pending
    assert await owner.stop() == []


async def test_a_failed_start_stops_what_has_started() -> None:
    """The start raises, and the stop is as it always is."""
    diary = Diary()
    bad = diary.part("api", "pool", start=raising(ValueError()))
    owner = owned(at=State.STARTING, parts=(diary.part("pool"), bad))
    with pytest.raises(StartupError):
        await owner.runner.start_resources(soon(), LONG)
    assert await owner.stop() == []
    assert diary[-1] == "pool stopped"
    assert owner.runner.failure is None


async def test_the_last_part_knows_that_it_is_the_last() -> None:
    """What needs all others can be sure of them while it starts, and not before or after."""
    told: list[bool] = []

    async def look() -> None:
        told.append(owner.runner.only_asgi_component_pending)

    diary = Diary()
    parts = diary.part("pool", start=look), diary.part("app", "pool", start=look, stop=look)
    owner = owned(at=State.STARTING, parts=parts)
    await owner.runner.start_resources(soon(), LONG)
    told.append(owner.runner.only_asgi_component_pending)
    owner.runner.transition(State.READY)
    assert await owner.stop() == []
    assert told == [False, True, False, False]


async def test_a_part_that_crashes_ends_the_run() -> None:
    """The run has its failure, bare, and the stop does not tell it again."""
    go, failure = anyio.Event(), ValueError("lost")

    async def crash() -> None:
        await go.wait()
        raise failure

    @asynccontextmanager
    async def keep() -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(crash)
            yield

    owner = owned(at=State.STARTING, parts=(Resource("pool", keep),))
    await owner.runner.start_resources(soon(), LONG)
    owner.runner.transition(State.READY)
    go.set()
    await until(lambda: owner.heard)
    assert owner.heard == ["cannot go on"]
    assert (owner.runner.failed, owner.runner.failure) == ("pool", failure)
    assert owner.runner.state is State.DRAINING
    assert await owner.stop() == []


async def test_a_service_that_is_spent_ends_the_run() -> None:
    """The run has its failure, as it has that of a part."""
    failure = ValueError("lost")
    services = (service(raising(failure), restart=False),)
    owner = owned(at=State.READY, services=services)
    await owner.runner.start_services()
    await until(lambda: owner.heard)
    assert owner.heard == ["cannot go on"]
    assert (owner.runner.failed, owner.runner.failure) == ("mailer", failure)
    assert await owner.stop() == []


@pytest.mark.parametrize("has_parts", [False, True])
async def test_services_that_go_on_leave_time_for_parts(
    *, has_parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that swallows its cancellation is named, and the parts are stopped all the same."""
    monkeypatch.setattr("hive_boot.lifecycle.resources.STOP_BUDGET_SHARE", 0.01)
    gate, diary = anyio.Event(), Diary()
    owner = owned(
        at=State.STARTING,
        shutdown_timeout=5 if has_parts else 0.05,
        parts=(diary.part("pool"),) if has_parts else (),
        services=(service(enduring(gate)),),
    )
    runner = owner.runner
    await runner.start_resources(soon(), LONG)
    await runner.start_services()
    await anyio.wait_all_tasks_blocked()
    runner.begin_stop()
    (failure,) = await runner.stop_services()
    assert isinstance(failure, ShutdownTimeoutError)
    assert failure.pending == ("mailer",)
    first = runner.pending()[0].split()
    assert (first[0], first[-1]) == ("running", "mailer")
    assert await runner.stop_resources() == []
    assert diary[2:] == (["pool stops", "pool stopped"] if has_parts else [])
    gate.set()
    await runner.end()


async def test_a_service_that_fails_at_its_end_is_told() -> None:
    """What it raises when it is cancelled is one of the things that went wrong."""
    failure = ValueError("not flushed")

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise failure

    owner = owned(at=State.READY, services=(service(work),))
    await owner.runner.start_services()
    await anyio.wait_all_tasks_blocked()
    assert await owner.stop() == [failure]
    (note,) = failure.__notes__
    assert "mailer" in note


async def test_services_that_wait_are_known() -> None:
    """A run that stops ends a pause before a service is started again."""
    owner = owned(at=State.READY, services=(service(raising(ValueError())),))
    owner.runner.timings = Timings(service_restart_delay=3600, max_service_restart_delay=3600)
    await owner.runner.start_services()
    services = owner.runner.services
    assert services is not None
    await until(lambda: services.waiting == ("mailer",))
    assert await owner.stop() == []
    assert services.waiting == ()


async def test_parts_and_services_see_the_variables_of_who_started() -> None:
    """A context variable that was set before the start is set in both."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: dict[str, str] = {}

    async def look(name: str) -> None:
        seen[name] = variable.get()

    token = variable.set("set")
    diary = Diary()
    part = diary.part("pool", start=lambda: look("resource"))
    owner = owned(at=State.STARTING, parts=(part,), services=(service(lambda: look("service")),))
    await owner.runner.start_resources(soon(), LONG)
    await owner.runner.start_services()
    await until(lambda: len(seen) == 2)
    assert seen == {"resource": "set", "service": "set"}
    assert await owner.stop() == []
    variable.reset(token)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ["resource", "service"])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_tasks_that_a_loop_cancels_before_their_first_step(kind: str) -> None:
    """A loop of asyncio lets them do nothing at all: nobody waits for their end for ever."""
    diary = Diary()
    owner = owned(
        at=State.STARTING,
        parts=(diary.part("pool"), diary.part("api", "pool")) if kind == "resource" else (),
        services=(service(anyio.sleep_forever),) if kind == "service" else (),
    )
    failures = await stopped_after_an_early_cancellation(owner)
    assert diary == owner.runner.pending()[2:] == []
    names = ["api", "pool"] if kind == "resource" else []
    for failure, name in zip(failures, names, strict=True):
        assert isinstance(failure, LifecycleError)
        assert name in str(failure).split()
    # What never ran is let go here, where nobody minds.
    gc.collect()


async def stopped_after_an_early_cancellation(owner: Owner) -> list[BaseException]:
    """Cancel every task of a run when its parts or services have theirs, and stop it."""
    runner = owner.runner
    before = asyncio.all_tasks()
    await runner.task_group()

    async def start() -> None:
        await runner.start_resources(soon(), LONG)
        await runner.start_services()

    starting = asyncio.create_task(start())
    # It has its turns before this one, and what it starts has its own after it.
    while runner.services is None and len(runner.timeline.steps) == len(phases(runner)):  # noqa: ASYNC110
        await asyncio.sleep(0)
    for task in asyncio.all_tasks() - before:
        task.cancel()
    await asyncio.wait([starting])
    return await owner.stop()


# Doors


Status = anyio.abc.TaskStatus[Any]


async def test_a_door_is_open_until_the_end() -> None:
    """It says what it is, and is closed after everything else has stopped."""
    diary = Diary()

    async def door(*, task_status: Status) -> None:
        task_status.started(8081)
        try:
            await anyio.sleep_forever()
        finally:
            diary.append("door closes")

    owner = owned(parts=(diary.part("pool"),))
    runner = owner.runner
    assert await runner.start_listener(door, "the probes") == 8081
    for state in WAYS[State.STARTING]:
        runner.transition(state)
    await runner.start_resources(soon(), LONG)
    assert await owner.stop() == []
    assert diary[-2:] == ["pool stopped", "door closes"]


async def test_a_door_that_does_not_open_says_why() -> None:
    """A port that is taken is the caller's to hear of, and no failure of a run that never was."""
    failure = OSError("address in use")

    async def door(*, task_status: Status) -> None:  # noqa: ARG001  (it never gets so far)
        raise failure

    owner = owned()
    with pytest.raises(OSError, match="address in use") as caught:
        await owner.runner.start_listener(door, "the probes")
    assert caught.value is failure
    assert owner.runner.failure is None
    assert owner.heard == []
    # Another one can be opened beside it.
    await owner.runner.start_listener(opening, "the other")
    assert await owner.stop() == []


async def opening(*, task_status: Status) -> None:
    """Be open for a moment."""
    task_status.started()
    await anyio.lowlevel.checkpoint()


async def test_a_door_that_breaks_ends_the_run() -> None:
    """A server that fails while it is in use is a failure of the run, in no group."""
    go, failure = anyio.Event(), ValueError("broken")

    async def crash() -> None:
        await go.wait()
        raise failure

    async def door(*, task_status: Status) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(crash)
            task_status.started()

    owner = owned(at=State.READY)
    await owner.runner.start_listener(door, "the probes")
    go.set()
    await until(lambda: owner.heard)
    assert (owner.runner.failed, owner.runner.failure) == ("the probes", failure)
    assert owner.heard == ["cannot go on"]
    assert await owner.stop() == []


async def test_a_door_may_close_by_itself() -> None:
    """One that has nothing more to do is no failure."""
    owner = owned(at=State.READY)
    await owner.runner.start_listener(opening, "the probes")
    await anyio.wait_all_tasks_blocked()
    assert owner.runner.failure is None
    assert await owner.stop() == []
