"""Resources, services and listeners of a run, and the messages to systemd."""

import asyncio
import contextvars
import gc
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from hive_boot import IllegalTransitionError, LifecycleError, ShutdownTimeoutError, StartupError
from hive_boot._timings import Timings
from hive_boot.lifecycle.instances import Resource
from hive_boot.lifecycle.services import RestartPolicy, SupervisedTask
from hive_boot.lifecycle.states import State
from tests.fixtures.systemd import listening, notify_path, received
from tests.lifecycle.components import LONG, Diary, enduring, raising
from tests.lifecycle.owned_runs import WAYS, OwnedRun
from tests.support import until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Listen as systemd does; return a function that returns the datagrams received so far."""
    with notify_path() as path, listening(path) as reader:
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield lambda: received(reader)


# Messages to systemd


async def test_the_service_manager_receives_every_step(manager: Callable[[], list[str]]) -> None:
    """READY and STOPPING are sent once each; a reload sends its time in the same datagram."""
    owner = OwnedRun(State.READY)
    assert manager() == ["STATUS=Loading", "STATUS=Starting", "READY=1\nSTATUS=Ready"]
    owner.states.transition(State.RELOADING)
    owner.states.transition(State.READY)
    reload, ready = manager()
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=Reloading", reload)
    assert ready == "READY=1\nSTATUS=Ready"
    assert await owner.stop() == []
    assert manager() == [
        "STOPPING=1\nSTATUS=Draining", "STATUS=Stopping", "STATUS=Stopped",
    ]  # fmt: skip
    # A reload is a part of being ready.
    names = ["armed", "loading", "starting", "ready", "draining", "stopping", "stopped"]
    assert owner.phases == names


async def test_a_failed_start_sends_no_ready(manager: Callable[[], list[str]]) -> None:
    """A run that was never ready sends no READY, and one STOPPING if it had begun to start."""
    starting = ["STATUS=Loading", "STATUS=Starting", "STOPPING=1\nSTATUS=Stopping"]
    for at, told in (
        (State.ARMED, []),
        (State.LOADING, ["STATUS=Loading"]),
        (State.STARTING, starting),
    ):
        owner = OwnedRun(at)
        assert await owner.stop() == []
        assert manager() == [*told, "STATUS=Stopped"]
        assert not owner.states.started
        assert owner.states.state is State.STOPPED


async def test_an_illegal_transition_sends_nothing(
    manager: Callable[[], list[str]],
) -> None:
    """An illegal transition is rejected, sends nothing, and keeps the state."""
    owner = OwnedRun()
    states = owner.states
    with pytest.raises(IllegalTransitionError):
        states.transition(State.READY)
    assert (states.state, states.started, manager()) == (State.ARMED, False, [])
    assert owner.phases == ["armed running"]


async def test_the_watchdog_is_notified_until_the_end(
    manager: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog is pinged until the run has ended."""
    monkeypatch.setenv("WATCHDOG_USEC", "10000")
    owner = OwnedRun(State.STARTING)
    manager()
    await owner.runner.start_watchdog()
    told: list[str] = []
    await until(lambda: told.extend(manager()) or len(told) >= 3)  # type: ignore[func-returns-value]
    assert set(told) == {"WATCHDOG=1"}
    assert await owner.stop() == []
    manager()
    await anyio.sleep(0.02)
    assert manager() == []


async def test_without_a_watchdog_nothing_is_sent(manager: Callable[[], list[str]]) -> None:
    """Without WATCHDOG_USEC no ping is sent."""
    owner = OwnedRun(State.STARTING)
    manager()
    await owner.runner.start_watchdog()
    await anyio.wait_all_tasks_blocked()
    assert manager() == []
    assert await owner.stop() == []


# The end


async def test_a_run_that_has_ended_cannot_start_or_end_again() -> None:
    """After its end a run cannot start a task group, nor end again."""
    owner = OwnedRun()
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
    """In a forked child the run is stopped, in every state, and nothing is sent or logged."""
    owner = OwnedRun(at)
    runner = owner.runner
    manager()
    await runner.task_group()
    runner.abandon()
    assert owner.states.state is State.STOPPED
    with pytest.raises(IllegalTransitionError):
        await runner.end()
    assert manager() == []
    assert caplog.records == []


# Resources and services


def service(
    call: Callable[[], Coroutine[Any, Any, object]], *, restart: RestartPolicy = "on-failure"
) -> SupervisedTask:
    """Return a service."""
    return SupervisedTask("mailer", call, restart, 5, 60)


def soon() -> float:
    """Return a deadline that is never missed."""
    return time.monotonic() + LONG


async def test_resources_and_services_live_until_the_stop() -> None:
    """Services end before the resources that they may need."""
    diary = Diary()

    async def work() -> None:
        diary.append("mailer starts")
        try:
            await anyio.sleep_forever()
        finally:
            diary.append("mailer ends")

    owner = OwnedRun(State.STARTING, resources=(diary.resource("pool"),), services=(service(work),))
    runner = owner.runner
    await runner.start_resources(soon(), LONG)
    await runner.start_services()
    await until(lambda: "mailer starts" in diary)
    pending = [line.replace(",", "").split() for line in runner.pending()]
    assert [(words[0], {"mailer", "pool"} & set(words)) for words in pending] == [
        ("running", {"mailer"}),
    ]
    assert runner.waits_for() == runner.pending()
    owner.states.transition(State.READY)
    assert await owner.stop() == []
    assert diary == [
        "pool starts", "pool started", "mailer starts", "mailer ends", "pool stops", "pool stopped",
    ]  # fmt: skip


async def test_a_run_without_resources_and_services_passes_through_its_states() -> None:
    """A run without resources and services passes through its states, and nothing is pending."""
    owner = OwnedRun(State.STARTING)
    await owner.runner.start_resources(soon(), LONG)
    await owner.runner.start_services()
    assert (owner.runner.resources, owner.runner.services) == (None, None)
    assert owner.runner.pending() == []
    assert not owner.runner.only_asgi_component_pending
    assert await owner.stop() == []


async def test_a_failed_start_stops_what_has_started() -> None:
    """A failed start raises, and what has started is stopped."""
    diary = Diary()
    bad = diary.resource("api", "pool", start=raising(ValueError()))
    owner = OwnedRun(State.STARTING, resources=(diary.resource("pool"), bad))
    with pytest.raises(StartupError):
        await owner.runner.start_resources(soon(), LONG)
    assert await owner.stop() == []
    assert diary[-1] == "pool stopped"
    assert owner.runner.failure is None


async def test_only_asgi_component_pending_is_true_for_the_last_resource() -> None:
    """``only_asgi_component_pending`` is true only while the last resource starts."""
    told: list[bool] = []

    async def look() -> None:
        told.append(owner.runner.only_asgi_component_pending)

    diary = Diary()
    resources = (
        diary.resource("pool", start=look),
        diary.resource("app", "pool", start=look, stop=look),
    )
    owner = OwnedRun(State.STARTING, resources=resources)
    await owner.runner.start_resources(soon(), LONG)
    told.append(owner.runner.only_asgi_component_pending)
    owner.states.transition(State.READY)
    assert await owner.stop() == []
    assert told == [False, True, False, False]


async def test_a_resource_that_crashes_ends_the_run() -> None:
    """The failure of the run is the error itself, and the stop does not raise it again."""
    go, failure = anyio.Event(), ValueError("lost")

    async def crash() -> None:
        await go.wait()
        raise failure

    @asynccontextmanager
    async def keep() -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(crash)
            yield

    owner = OwnedRun(State.STARTING, resources=(Resource("pool", keep),))
    await owner.runner.start_resources(soon(), LONG)
    owner.states.transition(State.READY)
    go.set()
    await until(lambda: owner.cancelled)
    assert owner.cancelled == 1
    assert (owner.runner.failed, owner.runner.failure) == ("pool", failure)
    assert owner.states.state is State.DRAINING
    assert await owner.stop() == []


async def test_a_service_that_exhausts_its_restarts_ends_the_run() -> None:
    """A service that exhausts its restarts is the failure of the run."""
    failure = ValueError("lost")
    services = (service(raising(failure), restart="never"),)
    owner = OwnedRun(State.READY, services=services)
    await owner.runner.start_services()
    await until(lambda: owner.cancelled)
    assert owner.cancelled == 1
    assert (owner.runner.failed, owner.runner.failure) == ("mailer", failure)
    assert await owner.stop() == []


@pytest.mark.parametrize("has_resources", [False, True])
async def test_services_that_go_on_leave_time_for_resources(
    *, has_resources: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that ignores its cancellation is named, and the resources are stopped."""
    monkeypatch.setattr("hive_boot.lifecycle.runner.STOP_BUDGET_SHARE", 0.01)
    gate, diary = anyio.Event(), Diary()
    owner = OwnedRun(
        State.STARTING,
        timeout=5 if has_resources else 0.05,
        resources=(diary.resource("pool"),) if has_resources else (),
        services=(service(enduring(gate)),),
    )
    runner = owner.runner
    await runner.start_resources(soon(), LONG)
    await runner.start_services()
    await anyio.wait_all_tasks_blocked()
    owner.shutdown.begin_stop()
    (failure,) = await runner.stop_services()
    assert isinstance(failure, ShutdownTimeoutError)
    assert failure.pending == ("mailer",)
    assert runner.pending()[0].startswith("running   the service mailer  ")
    assert await runner.stop_resources() == []
    assert diary[2:] == (["pool stops", "pool stopped"] if has_resources else [])
    gate.set()
    await runner.end()


async def test_an_error_of_a_cancelled_service_is_a_failure_of_the_stop() -> None:
    """An error that a service raises when it is cancelled is a failure of the stop."""
    failure = ValueError("not flushed")

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise failure

    owner = OwnedRun(State.READY, services=(service(work),))
    await owner.runner.start_services()
    await anyio.wait_all_tasks_blocked()
    assert await owner.stop() == [failure]
    (note,) = failure.__notes__
    assert "mailer" in note


async def test_a_stop_ends_the_delay_before_a_restart() -> None:
    """A stop ends the pause before a restart of a service."""
    timings = Timings(service_restart_delay=3600, max_service_restart_delay=3600)
    owner = OwnedRun(State.READY, services=(service(raising(ValueError())),), timings=timings)
    await owner.runner.start_services()
    services = owner.runner.services
    assert services is not None
    await until(lambda: services.failing == ("mailer",))
    assert await owner.stop() == []
    assert services.failing == ()


async def test_resources_and_services_have_the_context_of_the_start() -> None:
    """A context variable that was set before the start is set in resources and services."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: dict[str, str] = {}

    async def look(name: str) -> None:
        seen[name] = variable.get()

    token = variable.set("set")
    diary = Diary()
    resource = diary.resource("pool", start=lambda: look("resource"))
    owner = OwnedRun(
        State.STARTING, resources=(resource,), services=(service(lambda: look("service")),)
    )
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
    """A stop does not wait forever for tasks that asyncio cancels before their first step."""
    diary = Diary()
    owner = OwnedRun(
        State.STARTING,
        resources=(diary.resource("pool"), diary.resource("api", "pool"))
        if kind == "resource"
        else (),
        services=(service(anyio.sleep_forever),) if kind == "service" else (),
    )
    failures = await stopped_after_an_early_cancellation(owner)
    assert diary == owner.runner.pending()[2:] == []
    names = ["api", "pool"] if kind == "resource" else []
    for failure, name in zip(failures, names, strict=True):
        assert isinstance(failure, LifecycleError)
        assert name in str(failure).split()
    # Coroutines that never ran are collected here, where their warning is ignored.
    gc.collect()


async def stopped_after_an_early_cancellation(owner: OwnedRun) -> list[BaseException]:
    """Cancel every task of a run as soon as its resources or services have tasks, and stop it."""
    runner = owner.runner
    before = asyncio.all_tasks()
    await runner.task_group()

    async def start() -> None:
        await runner.start_resources(soon(), LONG)
        await runner.start_services()

    starting = asyncio.create_task(start())
    # `starting` runs before this loop in each iteration, and the tasks it starts run after it.
    while runner.services is None and len(owner.states.timeline.steps) == len(owner.phases):  # noqa: ASYNC110
        await asyncio.sleep(0)
    for task in asyncio.all_tasks() - before:
        task.cancel()
    await asyncio.wait([starting])
    return await owner.stop()


# Listeners


Status = anyio.abc.TaskStatus[Any]


async def test_a_listener_is_open_until_the_end() -> None:
    """A listener returns its address, and is closed after everything else has stopped."""
    diary = Diary()

    async def listener(*, task_status: Status) -> None:
        task_status.started(8081)
        try:
            await anyio.sleep_forever()
        finally:
            diary.append("listener closes")

    owner = OwnedRun(resources=(diary.resource("pool"),))
    runner = owner.runner
    assert await runner.start_listener(listener, "the probes") == 8081
    for state in WAYS[State.STARTING]:
        owner.states.transition(state)
    await runner.start_resources(soon(), LONG)
    assert await owner.stop() == []
    assert diary[-2:] == ["pool stopped", "listener closes"]


async def test_a_listener_that_cannot_start_raises_its_error() -> None:
    """If a listener cannot start, the caller gets its error, and the run has not failed."""
    failure = OSError("address in use")

    async def listener(*, task_status: Status) -> None:  # noqa: ARG001  (it never gets so far)
        raise failure

    owner = OwnedRun()
    with pytest.raises(OSError, match="address in use") as caught:
        await owner.runner.start_listener(listener, "the probes")
    assert caught.value is failure
    assert owner.runner.failure is None
    assert owner.cancelled == 0
    # Another listener can still be started.
    await owner.runner.start_listener(opening, "the other")
    assert await owner.stop() == []


async def opening(*, task_status: Status) -> None:
    """Start, and return."""
    task_status.started()
    await anyio.lowlevel.checkpoint()


async def test_a_listener_that_breaks_ends_the_run() -> None:
    """A listener that fails later is the failure of the run, not wrapped in a group."""
    go, failure = anyio.Event(), ValueError("broken")

    async def crash() -> None:
        await go.wait()
        raise failure

    async def listener(*, task_status: Status) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(crash)
            task_status.started()

    owner = OwnedRun(State.READY)
    await owner.runner.start_listener(listener, "the probes")
    go.set()
    await until(lambda: owner.cancelled)
    assert (owner.runner.failed, owner.runner.failure) == ("the probes", failure)
    assert owner.cancelled == 1
    assert await owner.stop() == []


async def test_a_listener_may_close_by_itself() -> None:
    """A listener that returns is not a failure."""
    owner = OwnedRun(State.READY)
    await owner.runner.start_listener(opening, "the probes")
    await anyio.wait_all_tasks_blocked()
    assert owner.runner.failure is None
    assert await owner.stop() == []
