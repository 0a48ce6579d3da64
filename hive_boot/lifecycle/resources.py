"""Resources: started in dependency order, stopped in reverse."""

from __future__ import annotations

import contextlib
import logging
import math
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from hive_boot._records import Record
from hive_boot._timings import DEFAULTS, STOP_BUDGET_SHARE, Backoff
from hive_boot.exceptions import (
    LifecycleError,
    Problem,
    ShutdownTimeoutError,
    StartupError,
    UnavailableError,
    describe_component,
    unavailable_reason,
)
from hive_boot.lifecycle.tasks import (
    add_note,
    combine,
    end_of_block,
    exclude_from_loop_end,
    is_cancellation,
    log_event,
    unwrap_single,
)
from hive_boot.redaction.registry import redact, trim_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskGroup

    from hive_boot._timings import Timings
    from hive_boot.lifecycle.states import StepOutcome, Timeline


_MAX_OVERLAPS = 10
"""The limit of an overlap that is extended because the old instance is in use, in overlaps."""


class Resource(Record):
    """Resource of a run.

    Attributes:
        name: the name of the resource.
        context_manager: returns the context manager that starts the resource, yields its
            value and stops it.
        dependencies: the names of the resources that must have started before it.
        timeout: the limit of its start, and the limit of its stop, in seconds. By default only
            the limits of the whole startup and the whole shutdown apply.
        retry_on: further exceptions which mean that something outside could not be reached, so
            that its start is retried. With None it is never retried.
    """

    name: str
    context_manager: Callable[[], AbstractAsyncContextManager[object]]
    dependencies: tuple[str, ...] = ()
    timeout: float = math.inf
    retry_on: tuple[type[Exception], ...] | None = None


class _ResourceState:
    """State of one instance of a resource. A rebuild replaces it by another instance.

    Attributes:
        needs: the instances that must have started before it.
        dependents: the instances that must stop before it.
        is_pending: whether it belongs to a start or a rebuild that is not complete.
        deadline: when the whole start fails, on the monotonic clock.
        overlap: the time after which an old instance stops; cancelled to stop it at once.
        is_old: whether another instance has replaced it.
        leases: set at the end of what still uses it, after the overlap.
        step: the step of its start in the timeline; negative before.
        stop_step: the step of its stop in the timeline; negative before.
        due: when its start is overdue, on the monotonic clock; infinite when it has started in
            time, or has ended. One that has blocked the loop can start after that moment.
        overdue: what it was doing when its stop exceeded its limit; empty before.
        is_reported: whether ``start`` or ``on_crash`` has reported its failure.
        dependencies_may_stop: set when it has stopped, or has not ended after its cancellation.
    """

    def __init__(self, resource: Resource, timings: Timings) -> None:
        self.resource = resource
        self.needs: list[_ResourceState] = []
        self.dependents: list[_ResourceState] = []
        self.is_pending = True
        self.is_old = False
        self.deadline = math.inf
        self.overlap = anyio.CancelScope()
        self.leases: set[anyio.Event] = set()
        self.step = self.stop_step = -1
        self.due = math.inf
        self.context: Any = None
        self.value: object = None
        self.failure: BaseException | None = None
        self.overdue = ""
        self.is_reported = False
        self.startup_error: StartupError | None = None
        self.backoff = Backoff(
            timings.check_retry_delay, timings.max_check_retry_delay, jitter=True
        )
        self.scope = anyio.CancelScope(shield=True)
        self.started = anyio.Event()
        self.stop = anyio.Event()
        self.done = anyio.Event()
        self.dependencies_may_stop = anyio.Event()

    @property
    def label(self) -> str:
        return describe_component("resource", self.resource.name)

    @property
    def is_running(self) -> bool:
        return self.started.is_set() and not self.done.is_set()


def _instances_of(
    resources: Sequence[Resource], running: Mapping[str, _ResourceState], timings: Timings
) -> dict[str, _ResourceState]:
    """Return new instances of resources, by name; the others that they need are running."""
    new = {each.name: _ResourceState(each, timings) for each in resources}
    known = {**running, **new}
    for state in new.values():
        state.needs = [known[need] for need in state.resource.dependencies]
        for need in state.needs:
            need.dependents.append(state)
    return new


class ResourceManager:
    """Resources of one run.

    Args:
        resources: the resources, each after its dependencies.
        timeline: records every start and stop.
        on_crash: called with the name and the failure of a resource that ends while the
            application runs.
        timings: the timeout for the end of a cancelled resource, and the delays of retries.
    """

    def __init__(
        self,
        resources: Sequence[Resource],
        timeline: Timeline,
        on_crash: Callable[[str, BaseException], None],
        timings: Timings = DEFAULTS,
    ) -> None:
        self._all = _instances_of(resources, {}, timings)
        # With the new instances of a rebuild, and with old ones until they have stopped.
        self._instances = list(self._all.values())
        self._new: dict[str, _ResourceState] = {}
        self._group: TaskGroup
        self._requests: set[anyio.Event] = set()
        self._timeline = timeline
        self._on_crash = on_crash
        self._timings = timings
        self._deadline = math.inf
        self._unavailable: dict[str, tuple[BaseException, str]] = {}
        self._wakeup = anyio.Event()
        self._is_starting = True
        self._stop_began = math.inf

    @property
    def pending_count(self) -> int:
        """The number of resources that have not started yet."""
        return sum(not state.started.is_set() for state in self._all.values())

    def value(self, name: str) -> object:
        """Return the value of a running resource.

        Raises:
            LifecycleError: the resource is not running.
        """
        state = self._all[name]
        if not state.is_running:
            message = f"The resource {name} is not running."
            raise LifecycleError(message)
        return state.value

    async def start(self, group: TaskGroup, deadline: float, seconds: float) -> None:
        """Start each resource as soon as its dependencies have started.

        Args:
            group: the task group that runs the resources.
            deadline: the moment at which the start fails, on the monotonic clock.
            seconds: ``startup_timeout``, for the message.

        Raises:
            StartupError: a resource failed, or did not start in time; several failures are
                raised as a group. The caller must still stop the resources that have started.
            UnavailableError: resources could not reach something outside in time.
        """
        self._deadline = deadline
        self._group = group
        late = await self._start(self._instances, deadline)
        if late:
            if self._unavailable and time.monotonic() >= deadline:
                # A hang explains less than a failure to reach something outside.
                raise self._unavailable_error()
            raise self._timeout_error(min(late, key=self._began), seconds)
        # One more iteration of the event loop: resources that fail in it are reported together.
        await anyio.lowlevel.checkpoint()
        self._is_starting = False
        for state in self._instances:
            state.is_pending = False
        if failed := _failed(self._instances):
            others = [state for state in failed if state.resource.name not in self._unavailable]
            failures: list[BaseException] = [_failed_start(state) for state in others]
            if len(others) < len(failed):
                failures.append(self._unavailable_error())
            raise combine(failures)

    async def _start(
        self, states: Sequence[_ResourceState], deadline: float
    ) -> list[_ResourceState]:
        """Start instances, and return those that are late, when one is late or has failed."""
        for state in states:
            resource = state.resource
            state.step = self._timeline.begin(resource.name, "resource", resource.dependencies)
            state.due = state.deadline = deadline
            self._group.start_soon(self._run, state)
        while not _failed(states):
            self._wakeup = anyio.Event()
            now = time.monotonic()
            if late := [state for state in states if state.due <= now]:
                return late
            if all(state.started.is_set() for state in states):
                break
            with anyio.move_on_after(min(state.due for state in states) - now):
                await self._wakeup.wait()
        return []

    async def start_replacements(
        self, resources: Sequence[Resource], deadline: float
    ) -> dict[str, BaseException | None]:
        """Start new instances beside the running ones; their tasks inherit the caller's context.

        When the caller is cancelled, they stay until :meth:`discard_replacements` or :meth:`stop`.

        Args:
            resources: the new instances; a dependency not among them is a running instance.
            deadline: the moment at which the start fails, on the monotonic clock.

        Returns:
            The failures by name; None for an instance that did not start in time.
        """
        self._new = _instances_of(resources, self._all, self._timings)
        self._instances += (states := [*self._new.values()])
        late = await self._start(states, deadline)
        for each in (failed := _failed(states)):
            each.is_reported = True
        return {each.resource.name: each.failure for each in failed or late}

    def replacement(self, name: str) -> object:
        """Return the value of a new instance; of the running one, if the rebuild has none."""
        return self._new[name].value if name in self._new else self.value(name)

    async def discard_replacements(self, seconds: float) -> None:
        """Stop the new instances in reverse, and wait so many seconds for those that hang."""
        new, self._new = self._new, {}
        for state in new.values():
            self._group.start_soon(self._stop_and_forget, state, seconds)
        for state in new.values():
            await state.dependencies_may_stop.wait()

    def switch(
        self, overlaps: Mapping[str, float], leases: Mapping[str, Iterable[anyio.Event]]
    ) -> None:
        """Use the new instances, and stop the old ones when their overlap is over.

        Args:
            overlaps: for each new instance, how long the old one continues, in seconds.
            leases: for each new instance, what uses the old one, besides requests and blocks.
        """
        new, self._new = self._new, {}
        # A third generation: two old ones would hold too many connections.
        for state in self._instances:
            if state.is_old and state.resource.name in new:
                state.overlap.cancel()
        old = {name: self._all[name] for name in new}
        self._all |= new
        for name, state in old.items():
            state.is_old = True
            state.leases |= {*leases.get(name, ()), *self._requests}
            for dependent in [*state.dependents]:
                # With a handle it uses the new instance from now on.
                new[name].dependents.append(dependent)
                dependent.needs.append(new[name])
                if not dependent.is_old and dependent.resource.name not in old:
                    state.dependents.remove(dependent)
                    dependent.needs.remove(state)
            new[name].is_pending = False
            self._group.start_soon(self._retire, state, overlaps[name])

    async def _retire(self, state: _ResourceState, overlap: float) -> None:
        """Stop an old instance when its overlap is over and nothing uses it any more."""
        exclude_from_loop_end()
        with state.overlap:
            await anyio.sleep(overlap)
            with anyio.move_on_after((_MAX_OVERLAPS - 1) * overlap):
                for lease in [*state.leases]:
                    await lease.wait()
        if self._stop_began < math.inf:
            return
        if in_use := sum(not lease.is_set() for lease in state.leases):
            text = "The old instance of %s stops, although it is used %d times"
            log_event(logging.WARNING, text, state.label, in_use)
        await self._stop_and_forget(state, self._timings.old_resource_stop_timeout)

    async def _stop_and_forget(self, state: _ResourceState, seconds: float) -> None:
        """Stop an instance that is not in use, and log its failure."""
        for dependent in [*state.dependents]:
            await dependent.dependencies_may_stop.wait()
        await self._stop(state, time.monotonic() + seconds)
        has_failed = (state.overdue or state.failure) and not state.is_reported
        if has_failed and self._stop_began == math.inf:  # a stop of the run reports it itself
            text = "An instance of %s has failed to stop%s"
            late = state.overdue and f" in time:\n  {state.overdue}"
            log_event(logging.ERROR, text, state.label, late, exc_info=state.failure)
        self._instances.remove(state)
        self._timeline.forget(state.step, state.stop_step)
        for need in state.needs:
            need.dependents.remove(state)

    @contextmanager
    def lease(self, name: str) -> Iterator[object]:
        """Keep the instance of a resource that is in use for the block, and yield its value."""
        with end_of_block(self._all[name].leases):
            yield self.value(name)

    @contextmanager
    def lease_all(self, names: Iterable[str]) -> Iterator[Callable[[], dict[str, object]]]:
        """Keep each instance in use during the block, and yield what returns values by name."""
        with end_of_block(self._requests):
            yield lambda: {key: self._all[key].value for key in names if self._all[key].is_running}

    async def stop(self, deadline: float) -> list[BaseException]:
        """Stop the started resources in reverse order, and cancel those that are starting.

        The stop of a resource begins when each of its dependents has stopped, or was cancelled
        and has exceeded the timeout for that too. A resource with dependencies is cancelled after
        three quarters of the remaining time, any other at the deadline, each at the latest after
        its own timeout. If a resource does not end after its cancellation, this method waits for
        it without a limit; in an owned process the forced exit ends this wait.

        Args:
            deadline: the moment at which the stop has failed, on the monotonic clock.

        Returns:
            The failures that ``start`` and ``on_crash`` have not reported, and an error that
            names the resources that exceeded their limit.
        """
        self._is_starting = False
        self._stop_began = self._timeline.elapsed
        states = [*self._instances]
        async with anyio.create_task_group() as group:
            for state in states:
                group.start_soon(self._stop, state, deadline)
        failures: list[BaseException] = []
        for state in reversed(states):
            if state.startup_error is not None:
                # The resource may turn its cancellation into another exception: the traceback of
                # that exception shows the line at which the start was waiting.
                state.startup_error.__cause__ = state.failure
            elif state.failure is not None and not state.is_reported:
                add_note(state.failure, f"(raised by {state.label})")
                failures.append(state.failure)
        if late := [state for state in reversed(states) if state.overdue]:
            names = [state.resource.name for state in late]
            failures.append(ShutdownTimeoutError(names, [state.overdue for state in late]))
        return failures

    def mark_cancelled(self) -> None:
        """Mark each resource as ended whose task was cancelled before its first step."""
        for state in [*self._instances]:
            if not state.done.is_set():
                state.failure = _unrequested_cancellation(state)
                self._mark_ended(state)

    def describe(self) -> list[str]:
        """Return a line for each resource: outcome, name, seconds, and what or where it waits.

        During the stop only those that have not ended are listed, otherwise those of the start.
        """
        is_stopping = self._stop_began < math.inf
        return [
            self._describe(state)
            for state in self._instances
            if self._is_starting or (is_stopping and not state.done.is_set())
        ]

    def _describe(self, state: _ResourceState) -> str:
        from hive_boot.lifecycle.forced_exit import locate_coroutine  # noqa: PLC0415  (only a hang needs it)

        is_stopping = self._stop_began < math.inf
        now = self._timeline.elapsed
        step = self._timeline.step(max(state.step, state.stop_step))
        outcome: str = step.outcome
        start, end = step.start, now if is_stopping or step.end is None else step.end
        waits_for: list[str] = []
        if state.stop_step >= 0:
            outcome = "stopping"
        elif is_stopping and state.is_running:
            outcome, start = "waiting", self._stop_began
            pending = [each for each in state.dependents if not each.dependencies_may_stop.is_set()]
            waits_for = [each.resource.name for each in pending]
        elif is_stopping:
            outcome = "starting"
        elif outcome == "waiting":
            waits_for = [each.resource.name for each in state.needs if not each.is_running]
        detail = f"for {', '.join(waits_for)}" if waits_for else ""
        if outcome in {"running", "starting", "stopping"} and not state.done.is_set():
            detail = locate_coroutine(getattr(state.context, "gen", None))
        return f"{outcome:<9} {state.resource.name}, {end - start:.1f} s  {detail}".rstrip()

    async def _run(self, state: _ResourceState) -> None:
        """Run one resource in one task, from its start to the end of its stop."""
        exclude_from_loop_end()
        resource = state.resource
        try:
            with state.scope:
                for need in state.needs:
                    await need.started.wait()
                while True:
                    self._timeline.resume(state.step)
                    state.due = min(time.monotonic() + resource.timeout, state.deadline)
                    self._wakeup.set()
                    try:
                        state.context = resource.context_manager()
                        async with state.context as state.value:
                            self._mark_started(state)
                            await state.stop.wait()
                        break
                    except Exception as exc:
                        state.due = state.deadline
                        delay = self._retry_delay(state, unwrap_single(exc))
                        if delay is None:
                            raise
                    await anyio.sleep(delay)
                if not state.stop.is_set():
                    message = f"hive_boot did not stop {state.label}, but it has ended."
                    state.failure = LifecycleError(message)
        except BaseException as exc:  # noqa: BLE001  (reported by start, stop or on_crash)
            state.failure = _wrong_yield(state, exc) or trim_traceback(unwrap_single(exc))
            if is_cancellation(exc):
                # The task itself was cancelled: state.scope absorbs its own cancellation. Raising
                # it again would cancel the tasks of all other resources.
                state.failure = _unrequested_cancellation(state)
        finally:
            self._mark_ended(state)

    def _began(self, state: _ResourceState) -> float:
        """Return when its start began, in seconds since the begin of the run; infinite before."""
        step = self._timeline.step(state.step)
        return math.inf if step.outcome == "waiting" else step.start

    def _retry_delay(self, state: _ResourceState, failure: BaseException) -> float | None:
        """Return the seconds before a start is retried; None if its failure is final.

        During a stop they are infinite: the failure would have been retried, so the stop does not
        report it.
        """
        name, retry_on = state.resource.name, state.resource.retry_on
        self._unavailable.pop(name, None)
        if state.started.is_set() or retry_on is None:
            return None
        if (reason := unavailable_reason(failure, retry_on)) is None:
            return None
        if not self._is_starting:
            # The failure of an overdue start is the cause of its error.
            return math.inf if state.startup_error is None else None
        self._unavailable[name] = failure, reason
        delay = state.backoff.next_delay()
        if time.monotonic() + delay >= self._deadline:
            return None
        text = "The resource %s could not be reached: %s; retry in %.1f s"
        log_event(logging.WARNING, text, name, reason, delay)
        return delay

    def _mark_started(self, state: _ResourceState) -> None:
        self._timeline.end(state.step)
        if time.monotonic() <= state.due:
            state.due = math.inf
        self._unavailable.pop(state.resource.name, None)
        state.started.set()
        self._wakeup.set()

    def _mark_ended(self, state: _ResourceState) -> None:
        state.value = state.context = None
        state.done.set()
        state.due = math.inf
        outcome: StepOutcome = "cancelled" if state.failure is None else "failed"
        # No effect on the step of a start that was completed: it has an end already.
        self._timeline.end(state.step, outcome)
        if state.failure is None or state.stop.is_set():
            return
        if state.is_pending:
            self._wakeup.set()
        elif state.is_old:
            text = "The old instance of %s has failed"
            log_event(logging.ERROR, text, state.label, exc_info=state.failure)
            state.is_reported = True
        elif state.started.is_set():
            state.is_reported = True
            self._on_crash(state.resource.name, state.failure)

    async def _stop(self, state: _ResourceState, deadline: float) -> None:
        for dependent in [*state.dependents]:
            await dependent.dependencies_may_stop.wait()
        now = time.monotonic()
        share = STOP_BUDGET_SHARE if state.resource.dependencies else 1
        seconds = min(state.resource.timeout, (deadline - now) * share)
        if not state.is_running:
            state.scope.cancel()
        elif not state.stop.is_set():  # the end of an overlap may have begun to stop it
            state.stop_step = self._timeline.begin(state.resource.name, "stop")
            state.stop.set()
        with anyio.move_on_after(seconds):
            await state.done.wait()
        if not state.done.is_set():
            state.overdue = self._describe(state)
            state.scope.cancel()
            with anyio.move_on_after(self._timings.resource_cancel_timeout):
                await state.done.wait()
        # Without this the dependencies would wait for a resource that ignores its cancellation.
        state.dependencies_may_stop.set()
        if not state.done.is_set():
            waits = "Shutdown waits" if self._stop_began < math.inf else "A rebuild waited"
            text = f"{waits} for %s although it was cancelled:\n  %s"
            log_event(logging.ERROR, text, state.label, self._describe(state))
            state.is_reported |= self._stop_began == math.inf
            await state.done.wait()
        outcome: StepOutcome = "done" if state.failure is None else "failed"
        # No effect without a stop step.
        self._timeline.end(state.stop_step, "overdue" if state.overdue else outcome)

    def _unavailable_error(self) -> UnavailableError:
        """Return the error that names all resources that could not reach something outside."""
        problems, failures = [], []
        for name in [name for name in self._all if name in self._unavailable]:
            failure, reason = self._unavailable[name]
            failures.append(failure)
            problems.append(Problem(name, "unavailable", f"could not be reached: {redact(reason)}"))
            self._all[name].is_reported = True
        error = UnavailableError(problems)
        error.__cause__ = combine(failures)
        return error

    def _timeout_error(self, late: _ResourceState, seconds: float) -> StartupError:
        lines = self.describe()
        self._timeline.end(late.step, "overdue")
        limit = f"startup_timeout of {seconds:g} s"
        if time.monotonic() < self._deadline:
            limit = f"its timeout of {late.resource.timeout:g} s"
        late.startup_error = StartupError(late.resource.name, f"exceeded {limit}", lines)
        return late.startup_error


def _failed(states: Iterable[_ResourceState]) -> list[_ResourceState]:
    return [state for state in states if state.failure is not None]


def _failed_start(state: _ResourceState) -> StartupError:
    error = StartupError(state.resource.name, type(state.failure).__name__)
    error.__cause__ = state.failure
    state.is_reported = True
    return error


def _wrong_yield(state: _ResourceState, exc: BaseException) -> LifecycleError | None:
    """Return the error of a generator that has not yielded exactly once; None for other failures.

    For such a generator contextlib raises a RuntimeError, with no other frames in the traceback.
    """
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(exc.__traceback__)][1:]
    # A RuntimeError with a cause is from the interpreter: a StopIteration has left the generator.
    is_of_contextlib = isinstance(exc, RuntimeError) and exc.__cause__ is None
    if not is_of_contextlib or set(frames) != {contextlib.__file__}:
        return None
    how = "has yielded a second time" if state.started.is_set() else "has ended without a yield"
    code = state.context.gen.ag_code
    return LifecycleError(
        f"The resource {state.resource.name} {how}, in {code.co_filename}:{code.co_firstlineno}. "
        "Fix: yield its value once; the code below the yield stops it."
    )


def _unrequested_cancellation(state: _ResourceState) -> LifecycleError:
    return LifecycleError(f"The task of {state.label} was cancelled, but not by hive_boot.")
