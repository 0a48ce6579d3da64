"""Rotation hooks: functions that are called after a change, and again until they succeed."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import anyio

from hive_boot._timings import Backoff
from hive_boot.lifecycle.tasks import exclude_from_loop_end, is_cancellation
from hive_boot.runtime import log_messages
from hive_boot.secrets.value import filter_change, merge_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anyio.abc import TaskGroup

    from hive_boot._timings import Timings
    from hive_boot.runtime.declarations import RotationHook
    from hive_boot.runtime.injection import BoundCall, InjectionContext
    from hive_boot.secrets.value import Change


class _HookState:
    """State of one hook, with the change that it has not handled yet."""

    def __init__(self, work: BoundCall, hook: RotationHook, timings: Timings) -> None:
        self.work = work
        self.hook = hook
        self.change: Change | None = None
        self.backoff = Backoff(timings.hook_retry_delay, timings.max_hook_retry_delay)
        self.retry_at = 0.0
        self.failing = False
        self.failures = 0
        self.done: anyio.Event | None = None

    @property
    def due(self) -> float:
        """When the next call is due, on the monotonic clock; infinite while none is."""
        is_running = self.done is not None and not self.done.is_set()
        return math.inf if self.change is None or is_running else self.retry_at


class _Outcome:
    """Outcome of a call. Its repr does not show the failure, which may contain a value."""

    __slots__ = ("failure",)

    def __init__(self) -> None:
        self.failure: BaseException | str | None = "cancelled before its end"


class HookRunner:
    """Calls the hooks of one run.

    Args:
        hooks: the hooks with their bound functions, in the order of the calls.
        injection_context: returns the values of their parameters.
        timings: the delays before a retry, and how long a cancelled hook may take to end.
    """

    def __init__(
        self,
        hooks: Iterable[tuple[BoundCall, RotationHook]],
        injection_context: Callable[[], InjectionContext],
        timings: Timings,
    ) -> None:
        self._calls = [_HookState(work, hook, timings) for work, hook in hooks]
        self._cancel_timeout = timings.hook_cancel_timeout
        self._injection_context = injection_context
        self._wakeup = anyio.Event()

    @property
    def failing(self) -> tuple[str, ...]:
        """The hooks whose last call has failed."""
        return tuple(call.work.display_name for call in self._calls if call.failing)

    @property
    def failures(self) -> dict[str, int]:
        """The number of failed calls of each hook."""
        return {call.work.display_name: call.failures for call in self._calls}

    def notify(self, change: Change) -> None:
        """Schedule a call of each hook that the change concerns."""
        for call in self._calls:
            names = call.hook.names
            part = filter_change(change, names) if names else change
            if part is not None:
                call.change = merge_changes(call.change, part)
                call.retry_at = 0.0
        self._wakeup.set()

    async def run(self) -> None:
        """Call hooks when they are due, one at a time, until cancelled."""
        exclude_from_loop_end()
        async with anyio.create_task_group() as group:
            while True:
                self._wakeup = anyio.Event()
                now = time.monotonic()
                for call in self._calls:
                    if call.change is not None and call.due <= now:
                        await self._call(call, call.change, group)
                due = min((call.due for call in self._calls), default=math.inf)
                with anyio.move_on_after(max(0.0, due - time.monotonic())):
                    await self._wakeup.wait()

    async def _call(self, call: _HookState, change: Change, group: TaskGroup) -> None:
        call.change = None
        done = call.done = anyio.Event()
        scope = anyio.CancelScope()
        outcome = _Outcome()

        async def work() -> None:
            try:
                await call.work(self._injection_context(), change)
                outcome.failure = None
            except BaseException as exc:  # recorded below, also a SystemExit
                if is_cancellation(exc):
                    raise
                outcome.failure = exc

        async def run() -> None:
            try:
                # A separate group contains a cancellation that hive_boot did not request.
                with scope:
                    async with anyio.create_task_group() as inner:
                        inner.start_soon(work)
            finally:
                done.set()
                self._wakeup.set()

        group.start_soon(run)
        with anyio.move_on_after(call.hook.timeout):
            await done.wait()
        if not done.is_set():
            scope.cancel()
            with anyio.move_on_after(self._cancel_timeout):
                await done.wait()
            still = "" if done.is_set() else "; it was cancelled and still runs"
            outcome.failure = f"exceeded its timeout of {call.hook.timeout:g} s{still}"
        self._record_outcome(call, change, outcome)

    def _record_outcome(self, call: _HookState, change: Change, outcome: _Outcome) -> None:
        label = call.work.display_name
        if outcome.failure is None:
            if call.failing:
                log_messages.log_hook_recovered(label, change.generation)
            call.failing = False
            call.backoff.reset()
            call.retry_at = 0.0
            return
        call.failures += 1
        seconds, newer = call.backoff.next_delay(), call.change
        if newer is not None:
            # A newer change is waiting and may fix the failure: call the hook at once.
            seconds = 0.0
        call.retry_at = time.monotonic() + seconds
        call.change = change if newer is None else merge_changes(change, newer)
        log_messages.log_hook_failed(
            label, change.generation, outcome.failure, seconds, already_logged=call.failing
        )
        call.failing = True
