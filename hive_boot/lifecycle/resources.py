"""Resources: started in dependency order, stopped in reverse."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.lowlevel

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
    from hive_boot.lifecycle.states import Outcome, Timeline


STOP_BUDGET_SHARE = 0.75
"""How much of the time that is left one may use that others are to be stopped after."""


class Resource(NamedTuple):
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
        for hosted in self._all.values():
            for need in hosted.resource.dependencies:
                self._above[need].append(hosted)
        self._timeline = timeline
        self._crashed = crashed
        self._cancel_timeout = timings.resource_cancel_timeout
        self._news = anyio.Event()
        self.pending_count = len(resources)
        self._failed: list[_ResourceState] = []
        self._is_starting = True

    def value(self, name: str) -> object:
        """Give the value of a resource that runs.

        Raises:
            LifecycleError: it does not.
        """
        hosted = self._all[name]
        if not hosted.runs:
            message = f"the resource {name} is not running"
            raise LifecycleError(message)
        return hosted.value

    @property
    def running(self) -> list[str]:
        """The names of those that have something to stop."""
        return [name for name, hosted in self._all.items() if hosted.runs]

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
        for hosted in self._all.values():
            hosted.step = self._timeline.begin(
                hosted.resource.name,
                "resource",
                waits_for=hosted.resource.dependencies,
                outcome="waiting",
            )
            group.start_soon(self._run, hosted)
        while self.pending_count and not self._failed:
            self._news = anyio.Event()
            late = self._late(deadline)
            if late is not None:
                raise self._overdue(late, deadline, seconds)
            due = min(deadline, *(hosted.due for hosted in self._all.values()))
            with anyio.move_on_after(max(0.0, due - time.monotonic())):
                await self._news.wait()
        # What starts at the same moment may fail at the same moment.
        await anyio.lowlevel.checkpoint()
        self._is_starting = False
        if self._failed:
            raise combine([_failed_start(hosted) for hosted in self._failed])

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
            for hosted in self._all.values():
                group.start_soon(self._stop, hosted, deadline)
        failures: list[BaseException] = []
        for hosted in reversed(self._all.values()):
            if hosted.failure is not None and not hosted.is_reported:
                hosted.failure.add_note(f"(raised by the resource {hosted.resource.name})")
                failures.append(hosted.failure)
            if hosted.startup_error is not None:
                # What it raised when it was cancelled may say what it has waited for.
                hosted.startup_error.__cause__ = hosted.failure
        if late := [name for name, hosted in self._all.items() if hosted.is_overdue]:
            failures.append(ShutdownTimeoutError(tuple(reversed(late))))
        return failures

    def mark_cancelled(self) -> None:
        """Note the end of those whose tasks have ended without a step."""
        for hosted in self._all.values():
            if hosted.step >= 0 and not hosted.done.is_set():
                name = hosted.resource.name
                hosted.failure = LifecycleError(f"the resource {name} was cancelled from outside")
                self._end(hosted)

    def describe(self) -> list[str]:
        """Say of each resource what it does at this moment, a line for each."""
        from hive_boot.lifecycle.forced_exit import locate_coroutine  # noqa: PLC0415  (only a hang needs it)

        lines = []
        for name, hosted in self._all.items():
            if hosted.step < 0:
                continue
            step = self._timeline.step(hosted.step)
            where = ""
            if step.outcome == "waiting":
                open_needs = [need for need in step.waits_for if not self._all[need].runs]
                where = f"for {', '.join(open_needs)}" if open_needs else ""
            elif not hosted.done.is_set() and (hosted.stop.is_set() or not hosted.runs):
                where = locate_coroutine(getattr(hosted.context, "gen", None))
            doing: str = step.outcome
            if hosted.runs and hosted.stop.is_set():
                doing, step = "stopping", self._timeline.step(hosted.stop_step)
            seconds = (self._timeline.elapsed if step.end is None else step.end) - step.start
            lines.append(f"{doing:<9} {name}, {seconds:.1f} s  {where}".rstrip())
        return lines

    async def _run(self, hosted: _ResourceState) -> None:
        """Be the one task of a resource."""
        resource = hosted.resource
        try:
            with hosted.scope:
                for need in resource.dependencies:
                    await self._all[need].started.wait()
                self._begin(hosted)
                hosted.context = resource.context_manager()
                async with hosted.context as hosted.value:
                    self._note_start(hosted)
                    await hosted.stop.wait()
                if not hosted.stop.is_set():
                    message = f"the resource {resource.name} has ended by itself"
                    hosted.failure = LifecycleError(message)
        except BaseException as exc:  # noqa: BLE001  (it is told by who stops)
            hosted.failure = unwrap_single(exc)
            if is_cancellation(exc):
                # By the task's own handle: passed on, it would end the others' tasks, too.
                message = f"the resource {resource.name} was cancelled from outside"
                hosted.failure = LifecycleError(message)
        finally:
            self._end(hosted)

    def _begin(self, hosted: _ResourceState) -> None:
        self._timeline.resume(hosted.step)
        hosted.began = time.monotonic()
        if hosted.resource.timeout is not None:
            hosted.due = hosted.began + hosted.resource.timeout
            self._news.set()

    def _note_start(self, hosted: _ResourceState) -> None:
        self._timeline.end(hosted.step)
        hosted.due = math.inf
        hosted.started.set()
        self.pending_count -= 1
        if not self.pending_count:
            self._news.set()

    def _end(self, hosted: _ResourceState) -> None:
        hosted.value = hosted.context = None
        hosted.done.set()
        hosted.due = math.inf
        outcome: Outcome = "cancelled" if hosted.failure is None else "failed"
        self._timeline.end(hosted.step, outcome)
        if hosted.failure is None or hosted.stop.is_set():
            return
        if self._is_starting:
            self._failed.append(hosted)
            self._news.set()
        elif hosted.started.is_set():
            hosted.is_reported = True
            self._crashed(hosted.resource.name, hosted.failure)

    async def _stop(self, hosted: _ResourceState, deadline: float) -> None:
        for above in self._above[hosted.resource.name]:
            await above.stop_slot_released.wait()
        now = time.monotonic()
        own = math.inf if hosted.resource.timeout is None else hosted.resource.timeout
        until = now + min(
            own, (deadline - now) * (STOP_BUDGET_SHARE if hosted.resource.dependencies else 1)
        )
        if not hosted.runs:
            hosted.scope.cancel()
            await self._await_stopped(hosted, until)
            return
        step = hosted.stop_step = self._timeline.begin(hosted.resource.name, "stop")
        hosted.stop.set()
        await self._await_stopped(hosted, until)
        outcome: Outcome = "done" if hosted.failure is None else "failed"
        self._timeline.end(step, "overdue" if hosted.is_overdue else outcome)

    async def _await_stopped(self, hosted: _ResourceState, until: float) -> None:
        """Wait for the end of a resource; one that takes too long is cancelled, and named."""
        if hosted.step < 0:
            hosted.done.set()
        with anyio.move_on_after(max(0.0, until - time.monotonic())):
            await hosted.done.wait()
        if not hosted.done.is_set():
            hosted.is_overdue = True
            hosted.scope.cancel()
            with anyio.move_on_after(self._cancel_timeout):
                await hosted.done.wait()
        # Those below have their time, too, whatever this one does with its own.
        hosted.stop_slot_released.set()
        if not hosted.done.is_set():
            lines = "\n  ".join(self.describe())
            text = "The resource %s goes on although it was cancelled:\n  %s"
            log_event(logging.ERROR, text, hosted.resource.name, lines)
            await hosted.done.wait()

    def _late(self, deadline: float) -> _ResourceState | None:
        """Give the resource that has had its time; of several the one that began first."""
        now = time.monotonic()
        late = [
            hosted
            for hosted in self._all.values()
            if not hosted.started.is_set() and (now >= deadline or now >= hosted.due)
        ]
        return min(late, key=lambda hosted: hosted.began, default=None)

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


def _failed_start(hosted: _ResourceState) -> StartupError:
    failed = StartupError(hosted.resource.name, type(hosted.failure).__name__)
    failed.__cause__ = hosted.failure
    hosted.is_reported = True
    return failed
