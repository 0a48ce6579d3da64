"""Supervision of services: restarts, and their absence, and the stop."""

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hive_boot import LifecycleError
from hive_boot._timings import DEFAULTS, Timings
from hive_boot.lifecycle.services import RestartPolicy, SupervisedTask, TaskSupervisor
from hive_boot.lifecycle.states import Timeline
from tests.lifecycle.components import LONG, enduring, raising
from tests.support import until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


class Work:
    """Services, and the results of their runs."""

    timings = DEFAULTS

    def __init__(self, *services: SupervisedTask) -> None:
        self.timeline = Timeline()
        self.spent: list[tuple[str, BaseException]] = []
        self.stopping = anyio.Event()
        self.services = TaskSupervisor(
            services,
            self.timeline,
            lambda *one: self.spent.append(one),
            self.stopping,
            self.timings,
        )

    @property
    def outcomes(self) -> list[str]:
        """Return the outcome of each run, in order."""
        return [step.outcome for step in self.timeline.steps]

    async def stop(self, seconds: float = LONG) -> list[str]:
        """Stop the services, and return the names of those that keep running."""
        with anyio.fail_after(2 * LONG):
            self.stopping.set()
            now = time.monotonic()
            return await self.services.stop(now, now + seconds, 1)


@asynccontextmanager
async def at_work(*services: SupervisedTask) -> AsyncIterator[Work]:
    """Start services, and stop them at the end of the block, also in a failed test."""
    work = Work(*services)
    work.services.start(contextvars.copy_context())
    try:
        yield work
    finally:
        with anyio.CancelScope(shield=True):
            await work.stop(0.5)


def service(
    call: Callable[[], Coroutine[Any, Any, object]],
    label: str = "mailer",
    *,
    restart: RestartPolicy = "on-failure",
    budget: int = 5,
    within: float = 60,
) -> SupervisedTask:
    """Return a service."""
    return SupervisedTask(label, call, restart, budget, within)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set short pauses before a restart, which grow up to 8 times the first."""
    timings = Timings(
        service_restart_delay=0.002, max_service_restart_delay=0.016, service_stable_interval=0.05
    )
    monkeypatch.setattr(Work, "timings", timings)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set pauses before a restart that are longer than any test."""
    timings = Timings(service_restart_delay=3600, max_service_restart_delay=3600)
    monkeypatch.setattr(Work, "timings", timings)


def pauses(caplog: pytest.LogCaptureFixture) -> list[float]:
    """Return the pauses that were logged, in seconds."""
    # A service that fails while it is being stopped announces no pause.
    told: list[Any] = [record.args for record in caplog.records]
    return [args[1] for args in told if len(args) == 2]


# Started again


@pytest.mark.usefixtures("quick")
async def test_a_service_that_fails_is_restarted(caplog: pytest.LogCaptureFixture) -> None:
    """A failure is logged with its traceback, and so is the recovery after the restart."""
    caplog.set_level("INFO", logger="hive_boot")
    failures = [ValueError("one"), ExceptionGroup("group", [KeyError("two")])]
    is_back = anyio.Event()

    async def work() -> None:
        if failures:
            raise failures.pop(0)
        is_back.set()
        await anyio.sleep_forever()

    async with at_work(service(work)) as life:
        with anyio.fail_after(LONG):
            await is_back.wait()
        assert life.services.running == ["mailer"]
        await until(lambda: life.services.failing == ())
        assert await life.stop() == []
    assert life.outcomes == ["failed", "failed", "cancelled"]
    assert life.spent == []
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"]
    assert all("mailer" in record.getMessage() for record in caplog.records)
    # What a task group has put around a single failure is gone.
    kinds = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert kinds == [ValueError, KeyError]


@pytest.mark.usefixtures("quick")
async def test_the_pauses_grow_up_to_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    """Each pause is twice the previous one, less a random part of up to a half, up to a maximum."""
    async with at_work(service(raising(ValueError()), budget=8)) as life:
        await until(lambda: life.spent)
    most = [0.002, 0.004, 0.008, 0.016, 0.016, 0.016, 0.016, 0.016]
    for told, longest in zip(pauses(caplog), most, strict=True):
        assert longest / 2 <= told <= longest


@pytest.mark.usefixtures("slow")
async def test_services_that_fail_together_restart_at_different_times(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The pauses are random, so that services that failed together restart at different times."""
    some = [service(raising(ValueError()), f"s{number}") for number in range(20)]
    async with at_work(*some) as life:
        await until(lambda: len(life.services.failing) == 20)
        assert await life.stop() == []
    assert len(set(pauses(caplog))) > 1


@pytest.mark.usefixtures("quick")
async def test_a_long_run_resets_the_delay_before_a_restart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A service that has run for a while before it fails has a short pause again."""
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        began = time.monotonic()
        await until(lambda: time.monotonic() > began + 0.01)
        raise ValueError

    # It fails far more often than its budget, but never twice within its window.
    async with at_work(service(work, budget=1, within=0.002)) as life:
        await until(lambda: runs > 5)
        assert await life.stop() == []
    assert life.spent == []
    assert all(0.001 <= told <= 0.002 for told in pauses(caplog)), pauses(caplog)


# Not started again


@pytest.mark.usefixtures("quick")
async def test_a_service_that_exceeds_its_restarts_is_not_restarted() -> None:
    """A service that exceeds its restarts within the window is reported, and not restarted."""
    for budget in (1, 3):
        runs: list[None] = []
        failure = ValueError("again")

        async def work(runs: list[None] = runs, failure: ValueError = failure) -> None:
            runs.append(None)
            raise failure

        async with at_work(service(work, budget=budget)) as life:
            await until(lambda: life.spent)
            await until(lambda: not life.services.running)
            assert await life.stop() == []
        assert len(runs) == budget + 1
        assert life.spent == [("mailer", failure)]
        (note,) = failure.__notes__
        assert "mailer" in note


async def test_a_service_that_exits_is_not_restarted() -> None:
    """A service that raises SystemExit or KeyboardInterrupt is not restarted."""
    for failure in (SystemExit(3), KeyboardInterrupt()):
        async with at_work(service(raising(failure))) as life:
            await until(lambda: life.spent)
        assert life.spent == [("mailer", failure)]
        assert life.outcomes == ["failed"]


async def test_a_service_with_restart_never_is_not_restarted() -> None:
    """With ``restart="never"`` the first failure is final."""
    failure = ValueError("once")
    async with at_work(service(raising(failure), restart="never")) as life:
        await until(lambda: life.spent)
    assert life.spent == [("mailer", failure)]
    assert life.outcomes == ["failed"]


async def test_a_service_that_returns_is_not_restarted(caplog: pytest.LogCaptureFixture) -> None:
    """A service that returns is not restarted, which is logged; a later stop finds none running."""
    caplog.set_level("INFO", logger="hive_boot")
    policies: tuple[RestartPolicy, ...] = ("on-failure", "never")
    for restart in policies:
        caplog.clear()
        async with at_work(service(anyio.lowlevel.checkpoint, restart=restart)) as life:
            await until(lambda: not life.services.running)
            assert await life.stop() == []
        assert life.outcomes == ["done"]
        assert life.spent == []
        assert life.services.completed == ["mailer"]
        (record,) = caplog.records
        assert (record.levelname, "mailer" in record.getMessage()) == ("INFO", True)


@pytest.mark.usefixtures("quick")
async def test_a_service_with_restart_always_is_restarted_after_a_return(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With ``restart="always"`` a return is logged, is no failure, and leads to a restart."""
    caplog.set_level("INFO", logger="hive_boot")
    runs: list[bool] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        runs.append(not life.services.failing)
        if len(runs) == 2:
            raise ValueError
        if len(runs) > 3:
            await anyio.sleep_forever()

    async with at_work(service(work, restart="always")) as life:
        await until(lambda: len(runs) == 4)
        assert life.services.running == ["mailer"]
        assert await life.stop() == []
    assert runs == [True, True, False, False]
    assert life.outcomes == ["done", "failed", "done", "cancelled"]
    assert (life.services.completed, life.spent) == ([], [])
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR", "INFO"]
    assert len(pauses(caplog)) == 3


@pytest.mark.usefixtures("quick")
async def test_returns_count_towards_the_budget() -> None:
    """A service that returns again and again, with ``restart="always"``, exhausts its restarts."""
    runs: list[None] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        runs.append(None)

    async with at_work(service(work, restart="always", budget=2)) as life:
        await until(lambda: life.spent)
        await until(lambda: not life.services.running)
    assert len(runs) == 3
    ((name, failure),) = life.spent
    assert name == "mailer"
    assert isinstance(failure, LifecycleError)
    assert "mailer" in str(failure)


async def test_a_service_may_cancel_its_own_scope() -> None:
    """A cancel scope within a service may be cancelled: the service then returns."""

    async def work() -> None:
        with anyio.move_on_after(0.001):
            await anyio.sleep_forever()

    async with at_work(service(work)) as life:
        await until(lambda: not life.services.running)
    assert life.outcomes == ["done"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_service_that_cancels_its_own_task_has_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On asyncio a task can cancel itself: the service is restarted, and no other is cancelled."""
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with at_work(service(work), service(anyio.sleep_forever, "other")) as life:
        await until(lambda: life.services.running == ["other"])
        await anyio.lowlevel.checkpoint()
        assert life.services.running == ["other"]
        assert await life.stop() == []
    assert runs == 6
    assert [(name, type(failure)) for name, failure in life.spent] == [("mailer", LifecycleError)]
    assert len(caplog.records) == 5


# The stop


@pytest.mark.usefixtures("slow")
async def test_a_stop_does_not_wait_for_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    """A service that waits for its restart counts as running, and ends at once."""
    async with at_work(service(raising(ValueError())), service(anyio.sleep_forever, "o")) as life:
        await until(lambda: life.services.failing)
        assert list(life.services.failing) == ["mailer"]
        assert life.services.running == ["mailer", "o"]
        assert await life.stop() == []
        assert list(life.services.failing) == life.services.running == []
    assert len(caplog.records) == 1
    assert sorted(life.outcomes) == ["cancelled", "failed"]


@pytest.mark.usefixtures("slow")
async def test_on_stop_is_not_called_between_two_runs_of_a_service() -> None:
    """``on_stop`` is called only for a service that runs."""
    asked: list[str] = []

    def declared(call: Callable[[], Coroutine[Any, Any, object]], label: str) -> SupervisedTask:
        return service(call, label).replace(on_stop=lambda: asked.append(label))

    runs, waits = declared(anyio.sleep_forever, "runs"), declared(raising(ValueError()), "waits")
    async with at_work(runs, waits) as life:
        await until(lambda: life.services.failing)
        async with anyio.create_task_group() as group:
            life.services.call_on_stop(group)
        assert asked == ["runs"]


async def test_only_running_services_have_a_grace_period() -> None:
    """The grace period of a service that has ended is ignored."""
    ends = service(anyio.lowlevel.checkpoint, "ends").replace(grace_period=30.0)
    runs = service(anyio.sleep_forever, "runs").replace(grace_period=3.0)
    async with at_work(ends, runs) as life:
        assert life.services.grace_period == 30
        await until(lambda: life.services.running == ["runs"])
        assert life.services.grace_period == 3
        await life.services.stop(-30.0, time.monotonic() + LONG, 1)


async def test_a_stop_leaves_time_for_the_resources() -> None:
    """Services get only a share of the time until the deadline."""
    gate = anyio.Event()
    async with at_work(service(enduring(gate))) as life:
        await anyio.wait_all_tasks_blocked()
        now = time.monotonic()
        with anyio.fail_after(LONG):
            assert await life.services.stop(now, now + 100 * LONG, 0.0001) == ["mailer"]
        gate.set()


async def test_a_stop_waits_for_the_clean_up_of_services() -> None:
    """The stop waits until a cancelled service has cleaned up."""
    said: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            said.append("cleaned up")

    async with at_work(service(work)) as life:
        await anyio.wait_all_tasks_blocked()
        assert await life.stop() == []
        assert said == ["cleaned up"]


async def test_a_service_that_swallows_its_cancellation_is_named() -> None:
    """The stop waits no longer than its timeout, and returns the names of running services."""
    for seconds in (0.02, -1):
        gate = anyio.Event()
        services = service(enduring(gate), "stubborn"), service(anyio.sleep_forever)
        async with at_work(*services) as life:
            await anyio.wait_all_tasks_blocked()
            late = await life.stop(seconds)
            gate.set()
            assert "stubborn" in late
            await until(lambda: not life.services.running)


async def test_a_service_that_is_stopped_before_its_first_step_does_not_run() -> None:
    """A service that is stopped before its first step does not run."""
    async with at_work(service(anyio.sleep_forever)) as life:
        assert await life.stop() == []
    assert life.spent == []


async def test_a_service_that_fails_when_it_is_cancelled_is_not_restarted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A service that fails when it is cancelled has failed, without a log record of a restart."""

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError

    async with at_work(service(work)) as life:
        await anyio.wait_all_tasks_blocked()
        assert await life.stop() == []
    assert life.outcomes == ["failed"]
    assert (life.services.running, life.spent, caplog.records) == ([], [], [])


async def test_a_service_that_fails_during_the_stop_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A service with restarts that fails during the stop is logged; without, it is reported."""
    policies: tuple[RestartPolicy, ...] = ("on-failure", "never")
    for restart in policies:
        failure = ValueError("a bug")

        async def work(failure: ValueError = failure) -> None:
            await life.stopping.wait()
            raise failure

        async with at_work(service(work, restart=restart)) as life:
            await anyio.wait_all_tasks_blocked()
            life.stopping.set()
            await until(lambda: not life.services.running)
        assert life.services.failures == []
        assert life.spent == ([] if restart == "on-failure" else [("mailer", failure)])
    (record,) = caplog.records
    assert (record.levelname, "mailer" in record.getMessage()) == ("ERROR", True)
    assert record.exc_info is not None


async def test_a_stop_without_services_returns_at_once() -> None:
    """A stop without services returns at once."""
    async with at_work() as life:
        assert await life.stop() == []
