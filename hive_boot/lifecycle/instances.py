"""Instances of resources: each runs in one task, from its start to the end of its stop."""

from __future__ import annotations

import contextlib
import logging
import math
import time
import traceback
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot._records import Record
from hive_boot._timings import STOP_BUDGET_SHARE, Backoff, Timings
from hive_boot.exceptions import LifecycleError, describe_component, unavailable_reason
from hive_boot.lifecycle.tasks import (
    exclude_from_loop_end,
    is_cancellation,
    log_event,
    unwrap_single,
    wait_until_set,
)
from hive_boot.redaction.registry import trim_traceback

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from hive_boot.exceptions import StartupError
    from hive_boot.lifecycle.states import StepOutcome, Timeline


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


class Progress:
    """Progress of the resources of one run, which all instances share.

    Args:
        timeline: records every start and stop.
        on_crash: called with the name and the failure of a resource that ends while the
            application runs.
        timings: the timeout for the end of a cancelled instance, and the delays of retries.

    Attributes:
        wakeup: set when an instance has started or failed, or begins another attempt.
        is_starting: whether the application has not started.
        stop_began: when its stop began, in seconds since the begin of the run; infinite before.
    """

    def __init__(
        self, timeline: Timeline, on_crash: Callable[[str, BaseException], None], timings: Timings
    ) -> None:
        self.timeline: Timeline = timeline
        self.on_crash: Callable[[str, BaseException], None] = on_crash
        self.timings: Timings = timings
        self.wakeup: anyio.Event = anyio.Event()
        self.is_starting: bool = True
        self.stop_began: float = math.inf

    @property
    def is_stopping(self) -> bool:
        """Whether the application is stopping."""
        return self.stop_began < math.inf


class Instance:
    """One instance of a resource. A rebuild replaces it by another instance.

    Args:
        resource: the resource.
        progress: shared by all instances of the run.

    Attributes:
        resource: the resource.
        needs: the instances that must have started before it.
        dependents: the instances that must stop before it.
        is_pending: whether it belongs to a start or a rebuild that is not complete.
        deadline: when the whole start fails, on the monotonic clock.
        overlap: the time after which an old instance stops; cancelled to stop it at once.
        is_old: whether another instance has replaced it.
        leases: set at the end of what still uses it, after the overlap.
        step: the step of its start in the timeline; negative before.
        stop_step: the step of its stop in the timeline; negative before.
        context: the context manager of the resource; None before its start and after its end.
        value: the value of the resource, while it runs.
        failure: why it has failed; None if it has not.
        startup_error: the error of a start that was overdue; None without.
        scope: the block in which it runs; cancelled to abandon a start or a stop.
        started: set when it has started.
        stop: set to stop it.
        done: set when it has ended.
        unavailable: why its start could not reach something outside, with the reason in words;
            None if it could.
        due: when its start is overdue, on the monotonic clock; infinite when it has started in
            time, or has ended. One that has blocked the loop can start after that moment.
        overdue: what it was doing when its stop exceeded its limit; empty before.
        is_reported: whether ``start`` or ``on_crash`` has reported its failure.
        dependencies_may_stop: set when it has stopped, or has not ended after its cancellation.
    """

    def __init__(self, resource: Resource, progress: Progress) -> None:
        timings = progress.timings
        self.resource: Resource = resource
        self._progress = progress
        self.needs: list[Instance] = []
        self.dependents: list[Instance] = []
        self.is_pending: bool = True
        self.is_old: bool = False
        self.deadline: float = math.inf
        self.overlap: anyio.CancelScope = anyio.CancelScope()
        self.leases: set[anyio.Event] = set()
        self.step: int = -1
        self.stop_step: int = -1
        self.due: float = math.inf
        self.context: Any = None
        self.value: object = None
        self.failure: BaseException | None = None
        self.unavailable: tuple[BaseException, str] | None = None
        self.overdue: str = ""
        self.is_reported: bool = False
        self.startup_error: StartupError | None = None
        self._backoff = Backoff(
            timings.check_retry_delay, timings.max_check_retry_delay, jitter=True
        )
        self.scope: anyio.CancelScope = anyio.CancelScope(shield=True)
        self.started: anyio.Event = anyio.Event()
        self.stop: anyio.Event = anyio.Event()
        self.done: anyio.Event = anyio.Event()
        self.dependencies_may_stop: anyio.Event = anyio.Event()

    @property
    def label(self) -> str:
        """The name of the resource in messages."""
        return describe_component("resource", self.resource.name)

    @property
    def is_running(self) -> bool:
        """Whether it has started and has not ended."""
        return self.started.is_set() and not self.done.is_set()

    async def run(self) -> None:
        """Start, wait until :meth:`stop_by` is called, and stop."""
        exclude_from_loop_end()
        resource = self.resource
        try:
            with self.scope:
                for need in self.needs:
                    await need.started.wait()
                while True:
                    self._progress.timeline.resume(self.step)
                    self.due = min(time.monotonic() + resource.timeout, self.deadline)
                    self._progress.wakeup.set()
                    try:
                        self.context = resource.context_manager()
                        async with self.context as self.value:
                            self._mark_started()
                            await self.stop.wait()
                        break
                    except Exception as exc:
                        self.due = self.deadline
                        delay = self._retry_delay(unwrap_single(exc))
                        if delay is None:
                            raise
                    await anyio.sleep(delay)
                if not self.stop.is_set():
                    message = f"hive_boot did not stop {self.label}, but it has ended."
                    self.failure = LifecycleError(message)
        except BaseException as exc:  # noqa: BLE001  (reported by start, stop or on_crash)
            self.failure = _wrong_yield(self, exc) or trim_traceback(unwrap_single(exc))
            if is_cancellation(exc):
                # The task itself was cancelled: self.scope absorbs its own cancellation. Raising
                # it again would cancel the tasks of all other resources.
                self.failure = _unrequested_cancellation(self)
        finally:
            self._mark_ended()

    def began(self) -> float:
        """Return when its start began, in seconds since the begin of the run; infinite before."""
        step = self._progress.timeline.step(self.step)
        return math.inf if step.outcome == "waiting" else step.start

    def _retry_delay(self, failure: BaseException) -> float | None:
        """Return the seconds before a start is retried; None if its failure is final.

        During a stop they are infinite: the failure would have been retried, so the stop does not
        report it.
        """
        name, retry_on = self.resource.name, self.resource.retry_on
        self.unavailable = None
        if self.started.is_set() or retry_on is None:
            return None
        if (reason := unavailable_reason(failure, retry_on)) is None:
            return None
        if not self._progress.is_starting:
            # The failure of an overdue start is the cause of its error.
            return math.inf if self.startup_error is None else None
        self.unavailable = failure, reason
        delay = self._backoff.next_delay()
        if time.monotonic() + delay >= self.deadline:
            return None
        text = "The resource %s could not be reached: %s; retry in %.1f s"
        log_event(logging.WARNING, text, name, reason, delay)
        return delay

    def _mark_started(self) -> None:
        self._progress.timeline.end(self.step)
        if time.monotonic() <= self.due:
            self.due = math.inf
        self.unavailable = None
        self.started.set()
        self._progress.wakeup.set()

    def mark_cancelled(self) -> None:
        """Mark it as ended, if its task was cancelled before its first step."""
        if not self.done.is_set():
            self.failure = _unrequested_cancellation(self)
            self._mark_ended()

    def _mark_ended(self) -> None:
        self.value = self.context = None
        self.done.set()
        self.due = math.inf
        outcome: StepOutcome = "cancelled" if self.failure is None else "failed"
        # No effect on the step of a start that was completed: it has an end already.
        self._progress.timeline.end(self.step, outcome)
        if self.failure is None or self.stop.is_set():
            return
        if self.is_pending:
            # A rebuild reports what its new instance raises before it is cancelled.
            is_rebuild = not (self._progress.is_starting or self._progress.is_stopping)
            self.is_reported |= is_rebuild and not self.scope.cancel_called
            self._progress.wakeup.set()
        elif self.is_old:
            text = "The old instance of %s has failed"
            log_event(logging.ERROR, text, self.label, exc_info=self.failure)
            self.is_reported = True
        elif self.started.is_set():
            self.is_reported = True
            self._progress.on_crash(self.resource.name, self.failure)

    async def stop_by(self, deadline: float) -> None:
        """Stop when the dependents have stopped, and cancel what does not end in time."""
        for dependent in [*self.dependents]:
            await dependent.dependencies_may_stop.wait()
        now = time.monotonic()
        share = STOP_BUDGET_SHARE if self.resource.dependencies else 1
        seconds = min(self.resource.timeout, (deadline - now) * share)
        if not self.is_running:
            self.scope.cancel()
        elif not self.stop.is_set():  # the end of an overlap may have begun to stop it
            self.stop_step = self._progress.timeline.begin(self.resource.name, "stop")
            self.stop.set()
        if not await wait_until_set(self.done, seconds):
            self.overdue = self.describe()
            self.scope.cancel()
            await wait_until_set(self.done, self._progress.timings.resource_cancel_timeout)
        # Without this the dependencies would wait for a resource that ignores its cancellation.
        self.dependencies_may_stop.set()
        if not self.done.is_set():
            waits = "Shutdown waits" if self._progress.is_stopping else "A rebuild waited"
            text = f"{waits} for %s although it was cancelled:\n  %s"
            log_event(logging.ERROR, text, self.label, self.describe())
            self.is_reported |= not self._progress.is_stopping
            await self.done.wait()
        outcome: StepOutcome = "done" if self.failure is None else "failed"
        # No effect without a stop step.
        self._progress.timeline.end(self.stop_step, "overdue" if self.overdue else outcome)

    def describe(self) -> str:
        """Return a line: outcome, name, seconds, and what it waits for or where."""
        from hive_boot.lifecycle.forced_exit import locate_coroutine  # only a hang needs it

        is_stopping, timeline = self._progress.is_stopping, self._progress.timeline
        step = timeline.step(max(self.step, self.stop_step))
        outcome: str = step.outcome
        start, end = step.start, step.end
        if is_stopping or end is None:
            end = timeline.elapsed
        waits_for: list[str] = []
        if self.stop_step >= 0:
            outcome = "stopping"
        elif is_stopping and self.is_running:
            outcome, start = "waiting", self._progress.stop_began
            pending = [each for each in self.dependents if not each.dependencies_may_stop.is_set()]
            waits_for = [each.resource.name for each in pending]
        elif is_stopping:
            outcome = "starting"
        elif outcome == "waiting":
            waits_for = [each.resource.name for each in self.needs if not each.is_running]
        detail = f"for {', '.join(waits_for)}" if waits_for else ""
        if outcome in {"running", "starting", "stopping"} and not self.done.is_set():
            detail = locate_coroutine(getattr(self.context, "gen", None))
        return f"{outcome:<9} {self.resource.name}, {end - start:.1f} s  {detail}".rstrip()


def _wrong_yield(instance: Instance, exc: BaseException) -> LifecycleError | None:
    """Return the error of a generator that has not yielded exactly once; None for other failures.

    For such a generator contextlib raises a RuntimeError, with no other frames in the traceback.
    """
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(exc.__traceback__)][1:]
    # A RuntimeError with a cause is from the interpreter: a StopIteration has left the generator.
    is_of_contextlib = isinstance(exc, RuntimeError) and exc.__cause__ is None
    if not is_of_contextlib or set(frames) != {contextlib.__file__}:
        return None
    how = "has yielded a second time" if instance.started.is_set() else "has ended without a yield"
    name, code = instance.resource.name, instance.context.gen.ag_code
    return LifecycleError(
        f"The resource {name} {how}, in {code.co_filename}:{code.co_firstlineno}. "
        "Fix: yield its value once; the code below the yield stops it."
    )


def _unrequested_cancellation(instance: Instance) -> LifecycleError:
    return LifecycleError(f"The task of {instance.label} was cancelled, but not by hive_boot.")
