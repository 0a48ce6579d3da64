"""Resources: started in dependency order, stopped in reverse."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from hive_boot._records import Record
from hive_boot._timings import DEFAULTS
from hive_boot.exceptions import (
    LifecycleError,
    ShutdownTimeoutError,
    StartupError,
)
from hive_boot.lifecycle.tasks import combine, is_cancellation, log_event, unwrap_single

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskGroup

    from hive_boot._timings import Timings
    from hive_boot.lifecycle.states import StepOutcome, Timeline


STOP_BUDGET_SHARE = 0.75
"""How much of the time that is left one may use that others are to be stopped after."""


class Resource(Record):
    """One resource, as it is started.

    Attributes:
        name: what others ask for it by.
        context_manager: gives the context that starts it, yields its value, and stops it.
        dependencies: the resources that it is given.
        timeout: seconds that its start, and its stop, may take; None for no bound of its own.
    """

    name: str
    context_manager: Callable[[], AbstractAsyncContextManager[object]]
    dependencies: tuple[str, ...] = ()
    timeout: float | None = None


class _ResourceState:
    """One resource of one run."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.step = self.stop_step = -1
        self.began = self.due = math.inf
        self.context: Any = None
        self.value: object = None
        self.failure: BaseException | None = None
        self.is_overdue = self.is_reported = False
        self.startup_error: StartupError | None = None
        self.scope = anyio.CancelScope(shield=True)
        self.started = anyio.Event()
        self.stop = anyio.Event()
        self.done = anyio.Event()
        self.stop_slot_released = anyio.Event()

    @property
    def runs(self) -> bool:
        return self.started.is_set() and not self.done.is_set()


class ResourceManager:
    """The resources of one run.

    Args:
        resources: in an order in which each comes after those that it needs.
        timeline: is told of every start and stop.
        crashed: called with the name and the failure of a resource that ends by itself.
        timings: how long a resource may take to end after it was cancelled.

    Attributes:
        pending_count: how many have not started yet.
    """

    def __init__(
        self,
        resources: Sequence[Resource],
        timeline: Timeline,
        crashed: Callable[[str, BaseException], None],
        timings: Timings = DEFAULTS,
    ) -> None:
        self._all = {resource.name: _ResourceState(resource) for resource in resources}
        self._above: dict[str, list[_ResourceState]] = {name: [] for name in self._all}
        for state in self._all.values():
            for need in state.resource.dependencies:
                self._above[need].append(state)
        self._timeline = timeline
        self._crashed = crashed
        self._cancel_timeout = timings.resource_cancel_timeout
        self._wakeup = anyio.Event()
        self.pending_count: int = len(resources)
        self._failed: list[_ResourceState] = []
        self._is_starting = True

    def value(self, name: str) -> object:
        """Give the value of a resource that runs.

        Raises:
            LifecycleError: it does not.
        """
        state = self._all[name]
        if not state.runs:
            message = f"the resource {name} is not running"
            raise LifecycleError(message)
        return state.value

    @property
    def running(self) -> list[str]:
        """The names of those that have something to stop."""
        return [name for name, state in self._all.items() if state.runs]

    async def start(self, group: TaskGroup, deadline: float, seconds: float) -> None:
        """Start every resource as soon as those are there that it needs.

        Args:
            group: holds the tasks of the resources.
            deadline: until when, on the monotonic clock.
            seconds: how many there were; what a person is told.

        Raises:
            StartupError: one could not start, or not in time. Several come as a group.
                Those that have started are still to be stopped.
        """
        for state in self._all.values():
            state.step = self._timeline.begin(
                state.resource.name,
                "resource",
                waits_for=state.resource.dependencies,
                outcome="waiting",
            )
            group.start_soon(self._run, state)
        while self.pending_count and not self._failed:
            self._wakeup = anyio.Event()
            late = self._late(deadline)
            if late is not None:
                raise self._overdue(late, deadline, seconds)
            due = min(deadline, *(state.due for state in self._all.values()))
            with anyio.move_on_after(max(0.0, due - time.monotonic())):
                await self._wakeup.wait()
        # What starts at the same moment may fail at the same moment.
        await anyio.lowlevel.checkpoint()
        self._is_starting = False
        if self._failed:
            raise combine([_failed_start(state) for state in self._failed])

    async def stop(self, deadline: float) -> list[BaseException]:
        """Stop what has started, in reverse; what is starting is cancelled.

        A resource begins to stop when those that need it have stopped, and leaves those that it
        needs a quarter of the time. One that goes on although it was cancelled is waited for
        at the end; a process that is ours ends without it.

        Args:
            deadline: until when, on the monotonic clock.

        Returns:
            What went wrong, and was not told before.
        """
        self._is_starting = False
        async with anyio.create_task_group() as group:
            for state in self._all.values():
                group.start_soon(self._stop, state, deadline)
        failures: list[BaseException] = []
        for state in reversed(self._all.values()):
            if state.failure is not None and not state.is_reported:
                state.failure.add_note(f"(raised by the resource {state.resource.name})")
                failures.append(state.failure)
            if state.startup_error is not None:
                # What it raised when it was cancelled may say what it has waited for.
                state.startup_error.__cause__ = state.failure
        if late := [name for name, state in self._all.items() if state.is_overdue]:
            failures.append(ShutdownTimeoutError(tuple(reversed(late))))
        return failures

    def mark_cancelled(self) -> None:
        """Note the end of those whose tasks have ended without a step."""
        for state in self._all.values():
            if state.step >= 0 and not state.done.is_set():
                name = state.resource.name
                state.failure = LifecycleError(f"the resource {name} was cancelled from outside")
                self._end(state)

    def describe(self) -> list[str]:
        """Say of each resource what it does at this moment, a line for each."""
        from hive_boot.lifecycle.forced_exit import locate_coroutine  # noqa: PLC0415  (only a hang needs it)

        lines = []
        for name, state in self._all.items():
            if state.step < 0:
                continue
            step = self._timeline.step(state.step)
            where = ""
            if step.outcome == "waiting":
                open_needs = [need for need in step.waits_for if not self._all[need].runs]
                where = f"for {', '.join(open_needs)}" if open_needs else ""
            elif not state.done.is_set() and (state.stop.is_set() or not state.runs):
                where = locate_coroutine(getattr(state.context, "gen", None))
            doing: str = step.outcome
            if state.runs and state.stop.is_set():
                doing, step = "stopping", self._timeline.step(state.stop_step)
            seconds = (self._timeline.elapsed if step.end is None else step.end) - step.start
            lines.append(f"{doing:<9} {name}, {seconds:.1f} s  {where}".rstrip())
        return lines

    async def _run(self, state: _ResourceState) -> None:
        """Be the one task of a resource."""
        resource = state.resource
        try:
            with state.scope:
                for need in resource.dependencies:
                    await self._all[need].started.wait()
                self._begin(state)
                state.context = resource.context_manager()
                async with state.context as state.value:
                    self._note_start(state)
                    await state.stop.wait()
                if not state.stop.is_set():
                    message = f"the resource {resource.name} has ended by itself"
                    state.failure = LifecycleError(message)
        except BaseException as exc:  # noqa: BLE001  (it is told by who stops)
            state.failure = unwrap_single(exc)
            if is_cancellation(exc):
                # By the task's own handle: passed on, it would end the others' tasks, too.
                message = f"the resource {resource.name} was cancelled from outside"
                state.failure = LifecycleError(message)
        finally:
            self._end(state)

    def _begin(self, state: _ResourceState) -> None:
        self._timeline.resume(state.step)
        state.began = time.monotonic()
        if state.resource.timeout is not None:
            state.due = state.began + state.resource.timeout
            self._wakeup.set()

    def _note_start(self, state: _ResourceState) -> None:
        self._timeline.end(state.step)
        state.due = math.inf
        state.started.set()
        self.pending_count -= 1
        if not self.pending_count:
            self._wakeup.set()

    def _end(self, state: _ResourceState) -> None:
        state.value = state.context = None
        state.done.set()
        state.due = math.inf
        outcome: StepOutcome = "cancelled" if state.failure is None else "failed"
        self._timeline.end(state.step, outcome)
        if state.failure is None or state.stop.is_set():
            return
        if self._is_starting:
            self._failed.append(state)
            self._wakeup.set()
        elif state.started.is_set():
            state.is_reported = True
            self._crashed(state.resource.name, state.failure)

    async def _stop(self, state: _ResourceState, deadline: float) -> None:
        for above in self._above[state.resource.name]:
            await above.stop_slot_released.wait()
        now = time.monotonic()
        own = math.inf if state.resource.timeout is None else state.resource.timeout
        until = now + min(
            own, (deadline - now) * (STOP_BUDGET_SHARE if state.resource.dependencies else 1)
        )
        if not state.runs:
            state.scope.cancel()
            await self._await_stopped(state, until)
            return
        step = state.stop_step = self._timeline.begin(state.resource.name, "stop")
        state.stop.set()
        await self._await_stopped(state, until)
        outcome: StepOutcome = "done" if state.failure is None else "failed"
        self._timeline.end(step, "overdue" if state.is_overdue else outcome)

    async def _await_stopped(self, state: _ResourceState, until: float) -> None:
        """Wait for the end of a resource; one that takes too long is cancelled, and named."""
        if state.step < 0:
            state.done.set()
        with anyio.move_on_after(max(0.0, until - time.monotonic())):
            await state.done.wait()
        if not state.done.is_set():
            state.is_overdue = True
            state.scope.cancel()
            with anyio.move_on_after(self._cancel_timeout):
                await state.done.wait()
        # Those below have their time, too, whatever this one does with its own.
        state.stop_slot_released.set()
        if not state.done.is_set():
            lines = "\n  ".join(self.describe())
            text = "The resource %s goes on although it was cancelled:\n  %s"
            log_event(logging.ERROR, text, state.resource.name, lines)
            await state.done.wait()

    def _late(self, deadline: float) -> _ResourceState | None:
        """Give the resource that has had its time; of several the one that began first."""
        now = time.monotonic()
        late = [
            state
            for state in self._all.values()
            if not state.started.is_set() and (now >= deadline or now >= state.due)
        ]
        return min(late, key=lambda state: state.began, default=None)

    def _overdue(self, late: _ResourceState, deadline: float, seconds: float) -> StartupError:
        lines = self.describe()
        self._timeline.end(late.step, "overdue")
        late.is_reported = True
        own = late.resource.timeout
        if own is not None and time.monotonic() < deadline:
            seconds = own
        late.startup_error = StartupError(
            late.resource.name, f"it takes more than {seconds:g} s", lines
        )
        return late.startup_error


def _failed_start(state: _ResourceState) -> StartupError:
    failed = StartupError(state.resource.name, type(state.failure).__name__)
    failed.__cause__ = state.failure
    state.is_reported = True
    return failed
