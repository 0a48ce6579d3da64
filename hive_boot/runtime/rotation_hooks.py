"""Rotation hooks: functions called after a change, repeated until they succeed."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import anyio

from hive_boot._timings import Backoff
from hive_boot.lifecycle.tasks import is_cancellation
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
    """One hook, and the change that it has yet to cope with."""

    def __init__(self, work: BoundCall, hook: RotationHook, timings: Timings) -> None:
        self.work = work
        self.hook = hook
        self.change: Change | None = None
        self.backoff = Backoff(timings.hook_retry_delay, timings.max_hook_retry_delay)
        self.retry_at = 0.0
        self.failing = False
        self.failures = 0
        self.running: anyio.Event | None = None

    @property
    def due(self) -> float:
        """When it is to be called, on the monotonic clock; infinite while it is not."""
        runs = self.running is not None and not self.running.is_set()
        return math.inf if self.change is None or runs else self.retry_at


class _Outcome:
    """What became of a call. The failure may hold a value, so no frame shows it by itself."""

    __slots__ = ("failure",)

    def __init__(self) -> None:
        self.failure: BaseException | str | None = "it was cancelled before its end"


class HookRunner:
    """Tells the hooks of one run.

    Args:
        hooks: in the order in which they are called, each with what calls it.
        injection_context: gives what their parameters ask for.
        timings: when a hook that failed is called again, and how long one may take to end.
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
        """The hooks that have failed and not succeeded since."""
        return tuple(call.work.display_name for call in self._calls if call.failing)

    @property
    def failures(self) -> dict[str, int]:
        """How often each hook has failed."""
        return {call.work.display_name: call.failures for call in self._calls}

    def notify(self, change: Change) -> None:
        """Have the hooks called that a change concerns, soon."""
        for call in self._calls:
            names = call.hook.names
            part = filter_change(change, names) if names else change
            if part is not None:
                call.change = merge_changes(call.change, part)
                call.retry_at = 0.0
        self._wakeup.set()

    async def run(self) -> None:
        """Call what is due, until cancelled."""
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
        done = call.running = anyio.Event()
        scope = anyio.CancelScope()
        outcome = _Outcome()

        async def work() -> None:
            try:
                await call.work(self._injection_context(), change)
                outcome.failure = None
            except BaseException as exc:  # whatever it is, the others go on
                if is_cancellation(exc):
                    raise
                outcome.failure = exc

        async def run() -> None:
            try:
                # In a group of its own, where a cancellation that is none of ours ends.
                with scope:
                    async with anyio.create_task_group() as own:
                        own.start_soon(work)
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
            ends = "" if done.is_set() else ", and goes on although it was cancelled"
            outcome.failure = f"it took more than {call.hook.timeout:g} s{ends}"
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
        newer = call.change
        seconds = call.backoff.next_delay()
        if newer is not None:
            # There is news for it already, which may be what it needs.
            seconds = 0.0
        call.retry_at = time.monotonic() + seconds
        call.change = change if newer is None else merge_changes(change, newer)
        log_messages.log_hook_failed(
            label, change.generation, outcome.failure, seconds, already_logged=call.failing
        )
        call.failing = True
