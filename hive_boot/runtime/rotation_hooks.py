"""Rotation hooks: functions that are called after a change, and again until they succeed."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import anyio

from hive_boot._timings import Backoff
from hive_boot.lifecycle.tasks import exclude_from_loop_end, is_cancellation, unwrap_single
from hive_boot.redaction.registry import trim_traceback
from hive_boot.runtime import log_messages
from hive_boot.secrets.value import filter_change, merge_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anyio.abc import TaskGroup

    from hive_boot._timings import Timings
    from hive_boot.runtime.components import RotationHook
    from hive_boot.runtime.injection import BoundCall, InjectionContext
    from hive_boot.secrets.value import Change


class _HookState:
    """State of one hook. Its repr does not show the failure, which may contain a value.

    Attributes:
        change: the change that the hook has not handled yet; None without one.
        retry_at: when it is called again, on the monotonic clock.
        done: set at the end of the latest call.
        failure: the failure of that call; None if it has succeeded. While the call runs, the text
            that applies if it is cancelled.
        failing: whether the last recorded call has failed.
        failures: the number of calls that have failed.
    """

    def __init__(self, work: BoundCall, hook: RotationHook, timings: Timings) -> None:
        self.work = work
        self.hook = hook
        self.change: Change | None = None
        self.backoff = Backoff(timings.hook_retry_delay, timings.max_hook_retry_delay)
        self.retry_at = 0.0
        self.done = anyio.Event()
        self.done.set()
        self.failure: BaseException | str | None = None
        self.failing = False
        self.failures = 0

    @property
    def due(self) -> float:
        """When the next call is due, on the monotonic clock; infinite without one."""
        is_waiting = self.change is not None and self.done.is_set() and not self.exits
        return self.retry_at if is_waiting else math.inf

    @property
    def exits(self) -> bool:
        """Whether the hook has raised SystemExit or KeyboardInterrupt: the application stops."""
        return not isinstance(self.failure, Exception | str | None)


class HookRunner:
    """Calls the hooks of one run.

    Args:
        hooks: the hooks with their bound functions, in the order of the calls.
        injection_context: returns the values of their parameters.
        on_exit: called with the name of a hook that ends the application, and the SystemExit or
            KeyboardInterrupt that it has raised.
        timings: the delays before a retry, and how long a cancelled hook may take to end.
    """

    def __init__(
        self,
        hooks: Iterable[tuple[BoundCall, RotationHook]],
        injection_context: Callable[[], InjectionContext],
        on_exit: Callable[[str, BaseException], object],
        timings: Timings,
    ) -> None:
        self._hooks = [_HookState(work, hook, timings) for work, hook in hooks]
        self._cancel_timeout = timings.hook_cancel_timeout
        self._injection_context = injection_context
        self._on_exit = on_exit
        self._wakeup = anyio.Event()

    @property
    def failing(self) -> tuple[str, ...]:
        """The hooks whose last call has failed."""
        return tuple(state.work.display_name for state in self._hooks if state.failing)

    @property
    def failures(self) -> dict[str, int]:
        """The number of failed calls of each hook."""
        return {state.work.display_name: state.failures for state in self._hooks}

    def notify(self, change: Change) -> None:
        """Schedule a call of each hook that the change concerns."""
        for state in self._hooks:
            names = state.hook.names
            part = filter_change(change, names) if names else change
            if part is not None:
                state.change = merge_changes(state.change, part)
                state.retry_at = 0.0
        self._wakeup.set()

    async def run(self) -> None:
        """Call hooks when they are due, one at a time, until cancelled."""
        exclude_from_loop_end()
        async with anyio.create_task_group() as group:
            while True:
                self._wakeup = anyio.Event()
                now = time.monotonic()
                for state in self._hooks:
                    if state.change is not None and state.due <= now:
                        await self._call(state, state.change, group)
                due = min((state.due for state in self._hooks), default=math.inf)
                with anyio.move_on_after(max(0.0, due - time.monotonic())):
                    await self._wakeup.wait()

    async def _call(self, state: _HookState, change: Change, group: TaskGroup) -> None:
        """Call a hook once, and record how the call ends, or that it does not."""
        state.change = None
        state.done = anyio.Event()
        state.failure = "cancelled before its end"
        scope = anyio.CancelScope()
        group.start_soon(self._run, state, change, scope)
        with anyio.move_on_after(state.hook.timeout):
            await state.done.wait()
        if not state.done.is_set():
            scope.cancel()
            with anyio.move_on_after(self._cancel_timeout):
                await state.done.wait()
            if not state.exits:
                still = "" if state.done.is_set() else "; it was cancelled and still runs"
                state.failure = f"exceeded its timeout of {state.hook.timeout:g} s{still}"
        self._record_outcome(state, change)

    async def _run(self, state: _HookState, change: Change, scope: anyio.CancelScope) -> None:
        async def work() -> None:
            try:
                await state.work(self._injection_context(), change)
                state.failure = None
            except BaseException as exc:  # recorded, also a SystemExit
                if is_cancellation(exc):
                    raise
                failure = state.failure = trim_traceback(unwrap_single(exc))
                if state.exits:
                    self._on_exit(state.work.display_name, failure)

        try:
            # A separate group contains a cancellation that hive_boot did not request.
            with scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(work)
        finally:
            state.done.set()
            self._wakeup.set()

    def _record_outcome(self, state: _HookState, change: Change) -> None:
        label, failure, newer = state.work.display_name, state.failure, state.change
        if failure is None:
            if state.failing:
                log_messages.log_hook_recovered(label, change.generation)
            state.failing = False
            state.backoff.reset()
            state.retry_at = 0.0
            return
        state.failures += 1
        state.change = change if newer is None else merge_changes(change, newer)
        seconds = state.backoff.next_delay()
        if newer is not None:
            # It may fix the failure: call the hook at once.
            seconds = 0.0
        state.retry_at = time.monotonic() + seconds
        if not state.exits:
            log_messages.log_hook_failed(
                label, change.generation, failure, seconds, already_logged=state.failing
            )
        state.failing = True
