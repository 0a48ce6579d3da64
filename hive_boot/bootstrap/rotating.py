"""Keep the secrets of a run fresh: load, judge, swap, tell; one at a time.

Whatever goes wrong before the swap leaves the set in use as it is, and is said once.
Hints that come meanwhile are taken together: what counts is what the next read finds.
"""

from __future__ import annotations

import contextvars
import math
import time
from copy import copy
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from hive_boot._backoff import Backoff
from hive_boot.bootstrap import logs
from hive_boot.bootstrap.lookout import WatchSupervisor
from hive_boot.bootstrap.tally import RotationLog
from hive_boot.exceptions import InvalidSecretsError, LifecycleError
from hive_boot.lifecycle.hosting import BackgroundTask
from hive_boot.lifecycle.states import State
from hive_boot.lifecycle.waking import threadsafe_scheduler
from hive_boot.secrets.rotation import RETRYABLE_KINDS, Rejection, reject
from hive_boot.secrets.snapshot import SecretSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot._timings import Timings
    from hive_boot.bootstrap.intake import LoadPipeline
    from hive_boot.bootstrap.notifying import HookRunner
    from hive_boot.bootstrap.rereading import ReloadReader, ReloadResult
    from hive_boot.bootstrap.wiring import InjectionContext
    from hive_boot.secrets.change import Change
    from hive_boot.secrets.store import Store

S = TypeVar("S", bound=SecretSet)

_running_check: contextvars.ContextVar[object] = contextvars.ContextVar(
    "hive_boot_judging", default=None
)
"""Whether a check is running: the task that would reload waits for it."""


class _Request:
    """Somebody waits for what a reload comes to."""

    def __init__(self, *, now: bool) -> None:
        self.now = now
        self.done = anyio.Event()
        self.change: Change | None = None
        self.failure: Exception | None = LifecycleError("the application stops")


class Reloader(Generic[S]):
    """The rotations of one run.

    Args:
        store: the secrets in use.
        pipeline: judges.
        reader: reads.
        hook_runner: tells the hooks.
        injection_context: gives what a check may ask for, with the set that it judges.
        set_reload_state: takes the run to RELOADING and back to READY.
        context: the variables that checks and hooks see.
        timings: when what failed is tried again, and how the watch waits.

    Attributes:
        rejection: the set that was refused last, while it stands.
        last_read: when the sources were read again last and all was well, on the wall
            clock; 0 before.
        watch_supervisor: what looks for changes.
        rotation_log: what became of the rotations.
    """

    def __init__(  # noqa: PLR0913  (the parts of a run that a rotation touches)
        self,
        store: Store[S],
        pipeline: LoadPipeline[S],
        reader: ReloadReader[S],
        hook_runner: HookRunner,
        *,
        injection_context: Callable[[S], InjectionContext],
        set_reload_state: Callable[[State], None],
        context: contextvars.Context,
        timings: Timings,
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._reader = reader
        self.hook_runner = hook_runner
        self._injection_context = injection_context
        self._set_reload_state = set_reload_state
        self._host = BackgroundTask(self._run, "hive_boot rotation", context, timings)
        self._schedule_soon = threadsafe_scheduler()
        self._wakeup = anyio.Event()
        self._accepted = anyio.Event()
        self._requested = False
        self._check_token: object = None
        self._requests: list[_Request] = []
        self._backoff = Backoff(timings.reload_retry_delay, timings.max_reload_retry_delay)
        self._retry_at = math.inf
        self._ended = False
        self.rejection: Rejection | None = None
        self.last_read = 0.0
        self.rotation_log = RotationLog()
        self.watch_supervisor = WatchSupervisor(self.request_reload, timings)

    @property
    def has_failed(self) -> bool:
        """Whether a failure of our own has ended it."""
        return self._host.has_ended and not self._ended

    def start(self) -> None:
        """Rotate from now on. A second call does nothing."""
        self._host.start()

    async def stop(self) -> None:
        """Rotate no more, and leave nothing behind."""
        self._ended = True
        self.watch_supervisor.stop()
        await self._host.stop()
        await self.watch_supervisor.join()

    def abandon(self) -> None:
        """Leave the rotations of another process alone."""
        self._host.abandon()

    def request_reload(self) -> None:
        """Say, in any thread or signal handler, that something may have changed.

        Raises:
            RuntimeError: the loop is gone.
        """
        self._schedule_soon(self._schedule)

    async def reload(self, *, now: bool) -> Change | None:
        """Read at once, and give what has changed in the values in use.

        Raises:
            InvalidSecrets: what was read is refused.
            LifecycleError: nothing is read any more.
        """
        if self._check_token is not None and _running_check.get() is self._check_token:
            message = "a check cannot reload: it is asked whether what was read may be used"
            raise LifecycleError(message)
        if self._host.has_ended:
            message = "secrets are not rotated any more: the log says why"
            raise LifecycleError(message)
        request = _Request(now=now)
        self._requests.append(request)
        self._wakeup.set()
        await request.done.wait()
        if request.failure is not None:
            raise request.failure
        return request.change

    async def _run(self) -> None:
        """Rotate whenever there is reason to, until cancelled."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.hook_runner.run)
                group.start_soon(self._activate_scheduled)
                while True:
                    self._wakeup = anyio.Event()
                    if self._is_due():
                        await self._rotate()
                    self.watch_supervisor.check_health()
                    with anyio.move_on_after(self._pause()):
                        await self._wakeup.wait()
        finally:
            for request in self._requests:
                request.done.set()

    async def _activate_scheduled(self) -> None:
        """Use what is due and forget what is over, however long a read or a check takes."""
        while True:
            self._accepted = anyio.Event()
            self._announce_activation(self._store.advance())
            with anyio.move_on_after(max(0.0, self._store.next_due - time.monotonic())):
                await self._accepted.wait()

    def _schedule(self) -> None:
        self._requested = True
        self._wakeup.set()

    def _is_due(self) -> bool:
        return self._requested or bool(self._requests) or self._retry_at <= time.monotonic()

    def _pause(self) -> float:
        """Give the seconds until there is something to do of itself."""
        if self._is_due():
            return 0.0
        return max(0.0, min(self._retry_at, self.watch_supervisor.due) - time.monotonic())

    async def _rotate(self) -> None:
        """Read once, and do what it asks for."""
        requests = list(self._requests)
        retried = self._retry_at <= time.monotonic()
        self._requested = False
        started = time.perf_counter()
        now = any(request.now for request in requests)
        change, failure = None, None
        try:
            read = await self._reader.read()
            if not (read.result.problems or read.changed):
                self._mark_unchanged()
                change = self._activate_now() if now else None
            elif read.result.problems or not read.same_as_rejected or retried or requests:
                change = await self._replace(read, started, now=now)
        except InvalidSecretsError as exc:
            failure = exc
        except Exception as exc:  # noqa: BLE001  (whatever it is, the last good set stays)
            logs.log_reload_crashed(exc)
            nothing = self._reader.failed_read(f"failed with {type(exc).__name__}")
            failure = self._reject(nothing, started)
        for request in requests:
            self._requests.remove(request)
            # Each has its own, or they would share a traceback.
            request.change, request.failure = change, copy(failure)
            request.done.set()

    async def _replace(self, read: ReloadResult, started: float, *, now: bool) -> Change | None:
        """Judge what was read, and use it.

        Raises:
            InvalidSecrets: it is refused.
        """
        self._set_reload_state(State.RELOADING)
        try:
            if not read.result.problems:
                await self._check_candidate(read)
            if read.result.problems:
                raise self._reject(read, started)
            return self._accept(read, started, now=now)
        finally:
            self._set_reload_state(State.READY)

    async def _check_candidate(self, read: ReloadResult) -> None:
        """Run the checks that the change concerns, and note what they refuse."""
        self._check_token = object()
        _running_check.set(self._check_token)
        try:
            await self._run_checks(read)
        finally:
            self._check_token = None

    async def _run_checks(self, read: ReloadResult) -> None:
        deadline = self._pipeline.deadline()
        await self._pipeline.run_field_checks(read.result, read.changed, deadline)
        await self._pipeline.run_set_check(read.result, deadline)
        await self._pipeline.run_application_checks(
            read.result, self._injection_context, deadline, read.changed
        )

    def _accept(self, read: ReloadResult, started: float, *, now: bool) -> Change | None:
        store, load_result = self._store, read.result
        change = store.accept(load_result, now=now)
        self._accepted.set()
        self.last_read = time.time()
        self._clear_rejection()
        fields = [load_result.field_index.by_attribute[each] for each in read.changed]
        waiting = {
            field.name: due for field in fields if (due := store.due(field.attribute)) is not None
        }
        seconds = time.perf_counter() - started
        names = [field.name for field in fields]
        logs.log_rotation(names, store.generation.number, seconds, waiting)
        self.rotation_log.record("accepted", store.generation.number, names, seconds)
        self._pipeline.log_warnings(load_result)
        if change is not None:
            self.hook_runner.notify(change)
        return change

    def _activate_now(self) -> Change | None:
        """Use at once what was accepted before."""
        change = self._announce_activation(self._store.advance(now=True))
        self._accepted.set()
        return change

    def _announce_activation(self, change: Change | None) -> Change | None:
        """Say that what had been accepted before has come into use."""
        if change is not None:
            names = logs.log_activated(change, self._store.declared)
            self.rotation_log.record("in-use", change.generation, names)
            self.hook_runner.notify(change)
        return change

    def _mark_unchanged(self) -> None:
        """Note that the sources hold what is accepted."""
        self.last_read = time.time()
        if self.rejection is not None:
            logs.log_recovered(self._store.generation.number)
        self._clear_rejection()

    def _clear_rejection(self) -> None:
        self.rejection = self._reader.rejected = None
        self._backoff.reset()
        self._retry_at = math.inf

    def _reject(self, read: ReloadResult, started: float) -> InvalidSecretsError:
        """Keep the set in use; say why once, and try again what may pass by itself."""
        number = self._store.generation.number
        problems = read.result.problems
        rejection, known = reject(problems, number + 1), self.rejection
        is_new = known is None or rejection[:3] != known[:3]
        if is_new:
            self.rejection = rejection
            seconds = time.perf_counter() - started
            logs.log_rejection(problems, number, seconds)
            self.rotation_log.record("refused", number + 1, rejection.names, seconds)
        kinds = {problem.kind for problem in problems}
        judged = kinds == {"check"}
        if is_new or (judged and not read.same_as_rejected):
            self._backoff.reset()
        # Only checks can come to another verdict on the same values.
        self._reader.rejected = read.result if judged else None
        self._retry_at = math.inf
        if kinds & RETRYABLE_KINDS:
            self._retry_at = time.monotonic() + self._backoff.next_delay()
        return self._pipeline.build_error(problems, read.result.general_hints, kept=True)
