"""Readiness contributors: functions whose repeated failure makes the readiness probe fail."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot._records import Record
from hive_boot._timings import STOP_BUDGET_SHARE, Timings
from hive_boot.lifecycle.tasks import BackgroundTask, CancellableBlock, log_event

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine, Sequence


_MAX_FAILURES = 2
"""Number of failures in a row that make the application unready; a single one may be chance."""


class Contributor(Record):
    """Readiness contributor of a run.

    Attributes:
        name: the name in messages and in the path of its endpoint.
        call: calls the function once; False, or an exception, is a failure.
        interval: seconds between the end of a call and the next one.
        timeout: seconds for one call.
    """

    name: str
    call: Callable[[], Coroutine[Any, Any, object]]
    interval: float
    timeout: float


class ContributorStatus(Record):
    """Status of a readiness contributor, without the text of any exception.

    Attributes:
        name: the name of the contributor.
        passing: whether it lets ``/readyz`` answer 200: it has passed once, and the last two
            calls have not both failed.
        failure: how the last call has failed: the type of its exception, ``returned False``,
            or ``timeout``; empty if it has passed, and before the end of the first one.
        age: seconds since the end of the last call; None before that.
    """

    name: str
    passing: bool = False
    failure: str = ""
    age: float | None = None


class _ContributorState:
    """State of one contributor in one run.

    Attributes:
        block: the current call, which can be cancelled; None between two calls.
        wait: the last wait for the end of a call, which that end cancels.
        passing: as in the status.
        failure: as in the status.
        failures: the number of failures in a row.
        label: the contributor in messages.
        at: when the last call ended, on the monotonic clock; None before that.
    """

    block: CancellableBlock | None = None
    wait: anyio.CancelScope
    passing = False
    failure = ""
    failures = 0
    at: float | None = None

    def __init__(self, contributor: Contributor) -> None:
        self.contributor = contributor
        self.label = f"the readiness contributor {contributor.name}"

    @property
    def status(self) -> ContributorStatus:
        age = None if self.at is None else time.monotonic() - self.at
        return ContributorStatus(self.contributor.name, self.passing, self.failure, age)


class ReadinessMonitor:
    """Readiness contributors of one run, each called in its own task until the stop.

    Args:
        contributors: the contributors.
        stopping: set when a stop is requested: no contributor is called after that.
        timings: how long a cancelled call may take to end.
    """

    def __init__(
        self, contributors: Sequence[Contributor], stopping: anyio.Event, timings: Timings
    ) -> None:
        self._all = [_ContributorState(each) for each in contributors]
        self._stopping = stopping
        self._timings = timings
        self._tasks: list[BackgroundTask] = []

    @property
    def status(self) -> tuple[ContributorStatus, ...]:
        """The status of each contributor, in the order of the declaration."""
        return tuple(state.status for state in self._all)

    def start(self, context: contextvars.Context) -> None:
        """Call all contributors, now and at their intervals.

        Args:
            context: the context variables of the contributors; each gets a copy.
        """
        for state in self._all:
            work = partial(self._call_repeatedly, state)
            task = BackgroundTask(work, state.label, context.copy(), self._timings)
            task.start()
            self._tasks.append(task)

    async def stop(self, deadline: float) -> None:
        """Wait a moment for the calls that were cancelled when the stop was requested.

        Args:
            deadline: the deadline of the whole shutdown, on the monotonic clock.
        """
        left = (deadline - time.monotonic()) * (1 - STOP_BUDGET_SHARE)
        with anyio.move_on_after(min(left, self._timings.hook_cancel_timeout)):
            for task in self._tasks:
                await task.wait()
        self.abandon()
        if lines := self.describe():
            text = "Readiness contributors have not ended, although cancelled; the stop continues:"
            text += "\n  %s" * len(lines)
            log_event(logging.ERROR, text, *lines)

    def describe(self) -> list[str]:
        """Return a line for each call that has not ended, with the line at which it waits."""
        from hive_boot.lifecycle.forced_exit import describe_work  # only a hang needs it

        return [
            describe_work(state.label, state.block.work)
            for state in self._all
            if state.block is not None
        ]

    def abandon(self) -> None:
        """Suppress log lines at the end of tasks: in a forked child they belong to the parent."""
        for task in self._tasks:
            task.abandon()

    async def _call_repeatedly(self, state: _ContributorState) -> None:
        contributor = state.contributor
        async with anyio.create_task_group() as group:
            while not self._stopping.is_set():
                # There is never a second call beside one that continues although it was cancelled.
                if state.block is None:
                    state.block = CancellableBlock(self._timings)
                    group.start_soon(self._call, state, state.block)
                with anyio.move_on_after(contributor.timeout) as state.wait:
                    await self._stopping.wait()
                if state.block is not None and not self._stopping.is_set():
                    state.block.cancel(contributor.interval)
                    self._record(state, "timeout")
                with anyio.move_on_after(contributor.interval):
                    await self._stopping.wait()
            if state.block is not None:
                state.block.cancel(self._timings.hook_cancel_timeout)

    async def _call(self, state: _ContributorState, block: CancellableBlock) -> None:
        """Call a contributor once; its exceptions do not leave the task."""
        try:
            result, failure = await block.run(state.contributor.call)
        finally:
            state.block = None
            state.wait.cancel()
        if not block.cancel_requested:
            name = "returned False" if result is False else ""
            self._record(state, name if failure is None else type(failure).__name__, failure)

    def _record(
        self, state: _ContributorState, failure: str, raised: BaseException | None = None
    ) -> None:
        """Record the outcome of a call, and log a change of what the probe answers."""
        was_failing = bool(state.failure) and not state.passing
        state.failure, state.at = failure, time.monotonic()
        if not failure:
            state.failures, state.passing = 0, True
            if was_failing:
                text = "The readiness contributor %s passes again"
                log_event(logging.INFO, text, state.contributor.name)
            return
        state.failures += 1
        state.passing = state.passing and state.failures < _MAX_FAILURES
        if not (state.passing or was_failing):
            text = "The readiness contributor %s fails (%s): /readyz answers 503 until it passes"
            log_event(logging.WARNING, text, state.contributor.name, failure, exc_info=raised)
