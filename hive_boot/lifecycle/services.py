"""Services: background work that is restarted after a failure, up to a maximum of restarts."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import anyio

from hive_boot._records import Record
from hive_boot._timings import DEFAULTS, Backoff, Timings
from hive_boot.exceptions import LifecycleError
from hive_boot.lifecycle.tasks import (
    BackgroundTask,
    CancellableBlock,
    add_note,
    call_on_stop,
    exclude_from_loop_end,
    is_cancellation,
    log_event,
    wait_until_set,
)

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from anyio.abc import TaskGroup

    from hive_boot.lifecycle.states import StepOutcome, Timeline

    class StopEvent(Protocol):
        """Event that is set once, when a stop is requested."""

        def is_set(self) -> bool:
            """Return whether a stop was requested."""

        async def wait(self) -> None:
            """Wait until a stop is requested."""


RestartPolicy: TypeAlias = 'Literal["never", "on-failure", "always"]'
"""When a service is started again: after a failure, or also after it has returned."""


class SupervisedTask(Record):
    """Service of a run.

    Attributes:
        label: the name of the service in messages.
        call: runs the service once.
        restart: when the service is started again.
        max_restarts: how many restarts are allowed within ``restart_window``.
        restart_window: seconds in which restarts are counted.
        grace_period: seconds between the request to stop and the cancellation of the service.
        on_stop: called when a stop is requested; None without.
    """

    label: str
    call: Callable[[], Coroutine[Any, Any, object]]
    restart: RestartPolicy
    max_restarts: int
    restart_window: float
    grace_period: float = 0.0
    on_stop: Callable[[], object] | None = None


class ServiceStop:
    """Event that is set when the run stops, or when one service of it is restarted.

    Args:
        run: set when the run stops.
    """

    current: ContextVar[ServiceStop | None] = ContextVar("hive_boot_service_stop", default=None)
    """The event of the service that has started the current task; None elsewhere."""

    def __init__(self, run: anyio.Event) -> None:
        self.run: anyio.Event = run
        self.restart: anyio.Event = anyio.Event()

    def is_set(self) -> bool:
        """Return whether the service should stop."""
        return self.run.is_set() or self.restart.is_set()

    async def wait(self) -> None:
        """Wait until the service should stop."""

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(wait, self.run)
            group.start_soon(wait, self.restart)


class _ServiceState:
    """State of one service in one run.

    Attributes:
        stopping: the event of the current run of the service.
        ended: set at the end of the current run of the service.
        label: the service in messages.
        task: runs the service, and restarts it.
        block: the current run of the service, which can be cancelled; None between two runs.
        is_failing: whether it has failed, and has not recovered yet.
    """

    task: BackgroundTask
    block: CancellableBlock | None = None
    is_failing = False

    def __init__(self, service: SupervisedTask, stopping: anyio.Event) -> None:
        self.service = service
        self.label = f"the service {service.label}"
        self.stopping = ServiceStop(stopping)
        self.ended = anyio.Event()


class TaskSupervisor:
    """Services of one run, each in its own task.

    Args:
        services: the services to run.
        timeline: records each run of a service.
        on_give_up: called with the label and the failure of a service that is not restarted.
        stopping: set when a stop is requested: no service is restarted after that.
        timings: the delays before a restart.

    Attributes:
        failures: the exceptions that services raised after they were cancelled.
        completed: the services that have returned and are not started again.
        restarts: the number of times that each service was started again, by its label.
    """

    def __init__(
        self,
        services: Sequence[SupervisedTask],
        timeline: Timeline,
        on_give_up: Callable[[str, BaseException], None],
        stopping: anyio.Event,
        timings: Timings = DEFAULTS,
    ) -> None:
        self._all = [_ServiceState(service, stopping) for service in services]
        self._timeline = timeline
        self._on_give_up = on_give_up
        self._timings = timings
        self._stopping = stopping
        self.failures: list[BaseException] = []
        self.completed: list[str] = []
        self.restarts: dict[str, int] = {service.label: 0 for service in services}

    @property
    def failing(self) -> tuple[str, ...]:
        """The services that have failed and have not recovered yet."""
        return tuple(state.service.label for state in self._running() if state.is_failing)

    @property
    def grace_period(self) -> float:
        """The longest grace period of a service that has not ended, in seconds."""
        return max((state.service.grace_period for state in self._running()), default=0.0)

    @property
    def running(self) -> list[str]:
        """The services that have not ended."""
        return [state.service.label for state in self._running()]

    def call_on_stop(self, group: TaskGroup) -> None:
        """Ask each service to stop that declares how, and is not between two runs."""
        for state in self._all:
            if state.service.on_stop is not None and state.block is not None:
                group.start_soon(call_on_stop, state.service.on_stop, state.label)

    def start(self, context: contextvars.Context) -> None:
        """Start all services.

        Args:
            context: the context variables of the services; each gets a copy.
        """
        for state in self._all:
            work = partial(self._supervise, state)
            state.task = BackgroundTask(work, state.label, context.copy(), self._timings)
            state.task.start()

    def restart(self, labels: Collection[str], group: TaskGroup) -> dict[str, anyio.Event]:
        """Start services again, which should take new values; those that have ended stay so.

        Args:
            labels: the services.
            group: the task group that waits for their grace periods.

        Returns:
            The end of the current run of each service, by label.
        """
        ends = {}
        for state in self._running():
            if state.service.label in labels and state.block is not None:
                ends[state.service.label] = state.ended
                if not state.stopping.restart.is_set():
                    state.stopping.restart.set()
                    group.start_soon(self._end_run, state, state.block)
        return ends

    async def _end_run(self, state: _ServiceState, block: CancellableBlock) -> None:
        """Ask the current run of a service to stop, and cancel it after the grace period."""
        exclude_from_loop_end()
        service, ended = state.service, state.ended
        with anyio.move_on_after(service.grace_period):
            async with anyio.create_task_group() as group:
                if service.on_stop is not None:
                    group.start_soon(call_on_stop, service.on_stop, state.label)
                await ended.wait()
        if not ended.is_set():
            block.cancel()

    async def stop(self, requested_at: float, deadline: float, share: float) -> list[str]:
        """Cancel each service after its grace period, and wait until they have ended.

        Args:
            requested_at: when the stop was requested, on the monotonic clock.
            deadline: the deadline of the whole shutdown, on the monotonic clock.
            share: share of the time between a cancellation and the deadline that a service may use.

        Returns:
            The services that have not ended.
        """
        async with anyio.create_task_group() as group:
            for state in self._running():
                group.start_soon(self._stop, state, requested_at, deadline, share)
        return self.running

    async def join(self) -> None:
        """Wait without a limit for services that have not ended after they were cancelled."""
        if late := self._running():
            text = "Services were cancelled and have not ended; shutdown waits for them: %s"
            log_event(logging.ERROR, text, ", ".join(self.running))
            for state in late:
                await state.task.wait()

    def describe(self) -> list[str]:
        """Return a line for each service that has not ended, with the line at which it waits."""
        from hive_boot.lifecycle.forced_exit import describe_work  # only a hang needs it

        return [
            describe_work(each.label, each.block and each.block.work) for each in self._running()
        ]

    def abandon(self) -> None:
        """Suppress log lines in a forked child, in which the tasks belong to the parent."""
        for state in self._all:
            state.task.abandon()

    def _running(self) -> list[_ServiceState]:
        return [state for state in self._all if not state.task.has_ended]

    async def _stop(
        self, state: _ServiceState, requested_at: float, deadline: float, share: float
    ) -> None:
        cancel_at = requested_at + state.service.grace_period
        await state.task.wait(max(0.0, cancel_at - time.monotonic()))
        left = max(0.0, (deadline - time.monotonic()) * share)
        if state.block is not None:
            state.block.cancel(left)
        await state.task.wait(left)

    async def _supervise(self, state: _ServiceState) -> None:
        """Run a service, and start it again as often as its declaration allows."""
        service, timings = state.service, self._timings
        # Jitter: replicas that fail together must not restart together.
        backoff = Backoff(
            timings.service_restart_delay, timings.max_service_restart_delay, jitter=True
        )
        ends: list[float] = []
        for restarts in count():
            if self._stopping.is_set():
                return
            self.restarts[service.label] = restarts
            began = time.monotonic()
            failure = await self._run_once(state)
            if self._stopping.is_set():
                return
            is_exit = failure is not None and not isinstance(failure, Exception)
            if state.stopping.restart.is_set() and not is_exit:
                level = logging.INFO if failure is None else logging.ERROR
                text = "The service %s is restarted with the new values"
                log_event(level, text, service.label, exc_info=failure)
                continue
            now = time.monotonic()
            if now - began > service.restart_window:
                backoff.reset()
            ends = [*(end for end in ends if end >= now - service.restart_window), now]
            if failure is None and service.restart != "always":
                self.completed.append(service.label)
                log_event(logging.INFO, "The service %s has returned", service.label)
                return
            is_spent = len(ends) > service.max_restarts
            if failure is None and is_spent:
                times = f"{len(ends)} times within {service.restart_window:g} s"
                failure = LifecycleError(f"The service {service.label} has returned {times}.")
            if failure is not None and (is_spent or not _may_restart(service, failure)):
                self._give_up(service, failure)
                return
            seconds = backoff.next_delay()
            if failure is None:
                text = "The service %s has returned and is started again in %.1f s"
                log_event(logging.INFO, text, service.label, seconds)
            else:
                state.is_failing = True
                text = "The service %s has failed and is restarted in %.1f s"
                log_event(logging.ERROR, text, service.label, seconds, exc_info=failure)
            await wait_until_set(self._stopping, seconds)

    async def _run_once(self, state: _ServiceState) -> BaseException | None:
        """Run a service once, and return its failure."""
        service, label = state.service, state.service.label
        step = self._timeline.begin(label, "service")
        outcome: StepOutcome = "cancelled"
        state.stopping, state.ended = ServiceStop(self._stopping), anyio.Event()
        ServiceStop.current.set(state.stopping)
        block = state.block = CancellableBlock(self._timings)
        recovery = BackgroundTask(partial(self._recover, state), f"recovery of {label}")
        if state.is_failing:
            recovery.start()
            recovery.abandon()
        try:
            _, failure = await block.run(service.call)
            if failure is not None:
                outcome = "failed"
                if is_cancellation(failure):
                    # The service cancelled itself, or something that it awaits was cancelled.
                    message = f"The service {label} was cancelled, but not by hive_boot."
                    failure = LifecycleError(message)
            elif not block.cancel_requested:
                outcome = "done"
        finally:
            state.block = None
            state.ended.set()
            self._timeline.end(step, outcome)
            await recovery.stop()
        if failure is not None and self._stopping.is_set():
            # No restart follows.
            if block.cancel_requested:
                add_note(failure, f"(raised by the service {label})")
                self.failures.append(failure)
            elif _may_restart(service, failure):
                text = "The service %s has failed; no restart, because the application stops"
                log_event(logging.ERROR, text, label, exc_info=failure)
            else:
                self._give_up(service, failure)
        return failure

    def _give_up(self, service: SupervisedTask, failure: BaseException) -> None:
        add_note(failure, f"(raised by the service {service.label})")
        self._on_give_up(service.label, failure)

    async def _recover(self, state: _ServiceState) -> None:
        """Mark a restarted service as recovered, if it keeps running."""
        await anyio.sleep(self._timings.service_stable_interval)
        state.is_failing = False
        log_event(logging.INFO, "The service %s runs again", state.service.label)


def _may_restart(service: SupervisedTask, failure: BaseException) -> bool:
    """Return whether a service that has failed may run again; ``sys.exit()`` is final."""
    return service.restart != "never" and isinstance(failure, Exception)
