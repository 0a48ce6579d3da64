"""Reloader: reads changed sources again, validates the candidate and swaps it in, one at a time.

Anything that fails before the swap leaves the set in use as it is, and is logged once per reason.
Requests that arrive meanwhile are combined: the next read decides.
"""

from __future__ import annotations

import contextvars
import math
import time
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot._records import Record
from hive_boot._timings import Backoff
from hive_boot.exceptions import LifecycleError, Problem, ProblemsError
from hive_boot.lifecycle.states import State
from hive_boot.lifecycle.tasks import (
    BackgroundTask,
    exclude_from_loop_end,
    run_in_daemon_thread,
    threadsafe_scheduler,
)
from hive_boot.runtime import rotation_messages
from hive_boot.runtime.rotation import HookRunner
from hive_boot.runtime.watcher import Watcher
from hive_boot.secrets.load_result import find_lost_sources
from hive_boot.secrets.sources.files import FifoReader
from hive_boot.secrets.store import changed_fields
from hive_boot.secrets.watch_targets import WatchTargets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from hive_boot._timings import Timings
    from hive_boot.exceptions import ProblemKind
    from hive_boot.runtime.injection import BoundCall, InjectionContext, RotationHook
    from hive_boot.runtime.load_pipeline import LoadPipeline
    from hive_boot.runtime.rotation import Rebuilder
    from hive_boot.secrets.fields import FieldIndex
    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.store import PlannedSwitch, Store
    from hive_boot.secrets.value import Change

RETRYABLE_KINDS: frozenset[ProblemKind] = frozenset(
    {
        *("broken-link", "check", "config", "conflict", "directory", "not-a-file", "rebuild"),
        *("unavailable", "unreadable", "unstable"),
    }
)
"""The kinds of problems that may end without a change of the sources, and are retried."""


class Rejection(Record):
    """A candidate that was rejected; the set before it stays in use.

    Attributes:
        causes: the name and the kind of each problem; the name is that of a secret, a directory or
            a check.
    """

    causes: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """Return the names of the problems, each with its kind."""
        causes = dict.fromkeys(map(" ".join, self.causes))
        return f"the candidate was refused: {', '.join(causes)}"


class ReloadReader:
    """Reader of a reload: reads in a thread, one read at a time.

    Args:
        store: the secrets in use.
        pipeline: the load pipeline.
        timings: the timeouts of a read.
    """

    def __init__(self, store: Store[Any], pipeline: LoadPipeline, timings: Timings) -> None:
        self._store = store
        self._pipeline = pipeline
        self._timeout = timings.read_timeout
        self._fifo_timeout = timings.fifo_timeout
        self._reading = False

    async def read(self, *, everything: bool) -> LoadResult:
        """Read once, or again after sources of the application have answered.

        Args:
            everything: whether FIFOs are read again, and every source is asked. Otherwise only the
                sources that are due are asked, and what the start has read of FIFOs is used.
        """
        began = time.monotonic()
        reader = FifoReader(self._fifo_timeout) if everything else None
        result = await self._read_once(reader)
        while await self._pipeline.ask_sources(began, again=everything):
            everything = False
            result = await self._read_once(reader)
        return result

    async def _read_once(self, fifo_reader: FifoReader | None) -> LoadResult:
        """Read once. A read that hangs in a file system is abandoned, and no other one starts."""
        if not self._reading:
            with anyio.move_on_after(self._timeout):
                read = partial(self._read, fifo_reader)
                return await run_in_daemon_thread(read, "hive_boot reload")
        return self.failed_read(f"could not be read within {self._timeout:g} s")

    def failed_read(self, why: str) -> LoadResult:
        """Return the result of a read that failed: the accepted values, and one problem."""
        name = self._store.declared.__name__
        problem = Problem(name=name, kind="unreadable", message=why)
        accepted = self._store.generation.load_result
        return accepted.replace(problems=(problem,), hints=(), notes=())

    def _read(self, fifo_reader: FifoReader | None) -> LoadResult:
        self._reading = True
        try:
            load_result = self._pipeline.read(during_run=True, fifo_reader=fifo_reader)
        finally:
            self._reading = False
        load_result = self._store.identify(load_result)
        before = self._store.generation.load_result
        load_result = load_result.with_problems(find_lost_sources(load_result, before))
        if load_result.problems or changed_fields(load_result, before):
            accepted = self._store.all_accepted_values()
            load_result = self._pipeline.hide_values(load_result, accepted)
        return load_result


_running_check: contextvars.ContextVar[object] = contextvars.ContextVar(
    "hive_boot_running_check", default=None
)
"""The token of the running reload, which checks and sources inherit, so that they cannot reload."""


def _stopped() -> LifecycleError:
    return LifecycleError("the application stops")


class _Request:
    """A caller that waits for the result of a reload."""

    def __init__(self, *, now: bool) -> None:
        self.now = now
        self.done = anyio.Event()
        self.change: Change | None = None
        self.failure: Exception | None = _stopped()


class Reloader:
    """The rotations of one run.

    Args:
        store: the secrets in use.
        pipeline: the load pipeline.
        hooks: the rotation hooks with their bound functions.
        rebuilder: makes new instances of the resources that follow a change.
        injection_context: returns the arguments for hooks, and for checks, with the candidate.
        set_reload_state: changes the state of the run to RELOADING and back to READY.
        on_exit: called with the name of a hook that ends the application, and what it has raised.
        context: the context variables of checks and hooks.
        timings: the delays of retries, and the intervals of the watcher.
        watched: the declared fields, whose sources are watched; None without a watcher.

    Attributes:
        failed_activation: the problems that keep accepted values from coming into use.
        rejection: the rejected candidate; None when the last read was accepted.
        failing_sources: the failure of each source of the application that fails at present.
        last_read: when the sources were last read without a problem, on the wall clock; 0
            before.
        rebuilder: makes new instances of resources, and knows which ones have an old value.
        hook_runner: calls the rotation hooks.
        watcher: the watcher; None without one, and before it is started.
        rotation_log: the latest rotations.
    """

    watcher: Watcher | None = None

    def __init__(
        self,
        store: Store[Any],
        pipeline: LoadPipeline,
        hooks: Sequence[tuple[BoundCall, RotationHook]],
        *,
        rebuilder: Rebuilder,
        injection_context: Callable[..., InjectionContext],
        set_reload_state: Callable[[State], None],
        on_exit: Callable[[str, BaseException], object],
        context: contextvars.Context,
        timings: Timings,
        watched: FieldIndex | None,
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._watched = watched
        self._pinned: Collection[str] = ()
        self.rebuilder: Rebuilder = rebuilder
        # A rotation and an activation, from the plan to the switch.
        self._lock = anyio.Lock(fast_acquire=True)
        self._timings = timings
        self._reader = ReloadReader(store, pipeline, timings)
        self._injection_context = injection_context
        self._set_reload_state = set_reload_state
        self._host = BackgroundTask(self._run, "hive_boot rotation", context, timings)
        self._schedule_soon = threadsafe_scheduler()
        self._wakeup = anyio.Event()
        self._accepted = anyio.Event()
        self._requested = self._on_demand = self._ended = False
        self._check_token: object = None
        self._requests: list[_Request] = []
        self._backoff = Backoff(timings.reload_retry_delay, timings.max_reload_retry_delay)
        # Slower: a login with a wrong password, repeated, locks an account.
        self._rebuild_backoff = Backoff(
            timings.rebuild_retry_delay, timings.max_rebuild_retry_delay
        )
        self._retry_at = math.inf
        # The set that a check or a rebuild rejected last, and the fields that may be the reason.
        # The same values of these are not tried again before a retry, whatever else changes.
        self._rejected: LoadResult | None = None
        self._rejected_fields: frozenset[str] = frozenset()
        self._problems: Sequence[Problem] = ()
        self._crash: tuple[object, ...] = ()
        self._postponed: Sequence[str] = ()
        self.failed_activation: Sequence[Problem] = ()
        self.rejection: Rejection | None = None
        self.failing_sources: list[Problem] = []
        self.last_read: float = 0.0
        self.rotation_log: rotation_messages.RotationLog = rotation_messages.RotationLog()
        self.hook_runner: HookRunner = HookRunner(hooks, injection_context, on_exit, timings)

    @property
    def reasons(self) -> list[str]:
        """The reasons why rotations do not work as they should."""
        reasons = [] if self.rejection is None else [str(self.rejection)]
        reasons += [f"the source {each.name} {each.message}" for each in self.failing_sources]
        reasons += [
            f"accepted values are not in use yet: {problem.name} {problem.kind}"
            for problem in self.failed_activation
        ]
        if self._host.has_ended and not self._ended:
            reasons.append("secrets are not rotated any more: the log contains the reason")
        reasons += [f"the hook {label} fails" for label in self.hook_runner.failing]
        if self.watcher is not None:
            if self.watcher.mode == "down":
                reasons.append("changes of secrets are not noticed")
            reasons += [f"{path} is a stale mount" for path in self.watcher.stale]
        return reasons

    def start_watching(self) -> None:
        """Begin to watch, before the first read, in any thread. It blocks.

        What happens until :meth:`start` is noticed then.

        Raises:
            RuntimeError: the event loop is closed.
        """
        if watcher := self._create_watcher():
            watcher.open()
            if self._ended:
                # The start was cancelled before the watcher existed.
                watcher.stop()
            self._schedule_soon(self._notice)

    def _create_watcher(self) -> Watcher | None:
        """Create the watcher, unless there is nothing to watch."""
        if self._watched is None:
            return None
        source_context = self._pipeline.detect_platform()
        watch_targets, self._watched = WatchTargets(self._watched, source_context), None
        if watch_targets.is_empty:
            rotation_messages.log_nothing_to_watch(source_context.mode)
            return None
        self.watcher = Watcher(watch_targets.snapshot, self._notice, timings=self._timings)
        self._pipeline.is_being_written = self.watcher.is_being_written
        return self.watcher

    def _notice(self) -> None:
        """Request a reload, and log which files are mount points, each once."""
        pinned = () if self.watcher is None else self.watcher.pinned
        new = [each for each in pinned if each.path not in self._pinned]
        self._pinned = [each.path for each in pinned]
        rotation_messages.log_pinned_files(new, self._pipeline.detect_platform().mode)
        self._schedule()

    def start(self) -> None:
        """Start the task of the rotations. A second call does nothing."""
        self._host.start()

    async def stop(self) -> None:
        """Stop the task of the rotations and the watcher."""
        self._ended = True
        await self._host.stop()
        if self.watcher is not None:
            self.watcher.stop()

    def abandon(self) -> None:
        """Release the task in a forked child, without stopping the one of the parent."""
        self._host.abandon()
        self.watcher = None

    def request_reload(self, *, on_demand: bool = False) -> None:
        """Request a reload from any thread or signal handler, because a source may have changed.

        Args:
            on_demand: whether SIGHUP requests it: then everything is read that :meth:`reload`
                reads, and systemd gets RELOADING and READY in every case. Default False.

        Raises:
            RuntimeError: the event loop is closed.
        """
        self._on_demand |= on_demand
        self._schedule_soon(self._schedule)

    async def reload(self, *, now: bool) -> Change | None:
        """Read at once, and return the change of the values in use.

        Raises:
            ProblemsError: the candidate is rejected.
            LifecycleError: the application stops; or a check, a source or a rebuild calls this.
        """
        if self._store.is_rebuilding:
            raise LifecycleError("a rebuild cannot reload, because the reload waits for it")
        if self._check_token is not None and _running_check.get() is self._check_token:
            message = "a check or a source cannot reload, because the reload waits for it"
            raise LifecycleError(message)
        if self._host.has_ended:
            raise LifecycleError("secrets are no longer rotated; the log contains the reason")
        if self._ended:
            raise _stopped()
        request = _Request(now=now)
        self._requests.append(request)
        self._wakeup.set()
        await request.done.wait()
        if request.failure is not None:
            raise request.failure
        return request.change

    async def _run(self) -> None:
        """Reload whenever it is due, until cancelled."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.hook_runner.run)
                group.start_soon(self._activate_scheduled)
                # It opens what no start has opened, and then notices: everything is read again.
                if watcher := self.watcher or self._create_watcher():
                    group.start_soon(watcher.run)
                while True:
                    self._wakeup = anyio.Event()
                    if self._due <= time.monotonic():
                        await self._handle_requests()
                    self._pipeline.report_expiry()
                    with anyio.move_on_after(max(0.0, self._due - time.monotonic())):
                        await self._wakeup.wait()
        finally:
            self._answer_all()

    def _answer_all(self) -> None:
        """End the wait of all callers: the application stops."""
        for request in self._requests:
            request.done.set()

    async def _activate_scheduled(self) -> None:
        """Activate pending values when they are due, also while a read or a check is running."""
        exclude_from_loop_end()
        while True:
            self._accepted = anyio.Event()
            try:
                await self._activate()
            except ProblemsError as exc:
                self._postpone_activation(exc.problems)
            with anyio.move_on_after(max(0.0, self._store.next_due - time.monotonic())):
                await self._accepted.wait()

    def _schedule(self) -> None:
        self._requested = True
        self._wakeup.set()
        if self._on_demand and self._host.has_ended:
            # Nothing is read any more, but systemd still waits for the answer.
            self._set_reload_state(State.RELOADING)
            self._set_reload_state(State.READY)

    @property
    def _due(self) -> float:
        """When to read next, on the monotonic clock; infinite for never."""
        if self._requested or self._requests:
            return -math.inf
        return min(self._retry_at, self._pipeline.sources_due)

    async def _handle_requests(self) -> None:
        """Reload once, and answer the callers that wait for it."""
        requests = list(self._requests)
        on_demand = self._on_demand or bool(requests)
        if self._on_demand:
            self._set_reload_state(State.RELOADING)
        self._requested = self._on_demand = False
        started, change, failure = time.perf_counter(), None, None
        self._check_token = object()
        _running_check.set(self._check_token)
        try:
            now = any(request.now for request in requests)
            change = await self._reload(started, on_demand=on_demand, now=now)
            if self.failing_sources:
                failure = self._pipeline.build_error(self.failing_sources, set_in_use=True)
        except ProblemsError as exc:
            failure = exc
        except Exception as exc:  # noqa: BLE001  (after any failure the last good set stays in use)
            failure = self._reject_crash(exc, started)
        finally:
            self._check_token = None
            self._set_reload_state(State.READY)
        for request in requests:
            # Each caller gets a copy, because raising adds to the traceback.
            request.change, request.failure = change, copy(failure)
        await self._pipeline.drop_surplus()
        for request in requests:
            self._requests.remove(request)
            request.done.set()

    async def _reload(self, started: float, *, on_demand: bool, now: bool) -> Change | None:
        """Load, validate, check, swap and notify.

        Args:
            started: when the reload has started, for its duration in the log.
            on_demand: whether everything is read and checked, also what was rejected before.
            now: whether pending values are activated too.

        Raises:
            ProblemsError: the candidate is rejected.
        """
        is_retry = self._retry_at <= time.monotonic()
        candidate = await self._reader.read(everything=on_demand)
        self.failing_sources = [each.problem for each in self._pipeline.custom if each.problem]
        changed = changed_fields(candidate, self._store.generation.load_result)
        if not candidate.problems:
            if not changed:
                return await self._keep(candidate, now=now)
            if self._is_rejected(candidate) and not (is_retry or on_demand):
                return None
        self._set_reload_state(State.RELOADING)
        if not candidate.problems:
            candidate = await self._pipeline.check(
                candidate, self._injection_context, changed_fields=changed
            )
        if candidate.problems:
            raise self._reject(candidate, started)
        return await self._swap(candidate, changed, started, now=now)

    async def _keep(self, candidate: LoadResult, *, now: bool) -> Change | None:
        """Keep the accepted set, because the sources contain the same values."""
        if self._store.update_versions(candidate):
            rotation_messages.log_version(self._store.versions)
            self._pipeline.log_warnings(candidate)
        if self.rejection is not None:
            rotation_messages.log_recovered(self._store.generation.number)
        self._record_success()
        if not now:
            return None
        change = await self._activate(now=True)
        self._accepted.set()
        return change

    def _is_rejected(self, candidate: LoadResult) -> bool:
        """Return whether the values that were rejected last time are the same."""
        known = self._rejected
        return known is not None and not self._rejected_fields & {*changed_fields(candidate, known)}

    async def _rebuild_and_commit(self, switch: PlannedSwitch) -> Change | None:
        """Rebuild what follows a switch, and then switch values, config and handles in one step.

        Raises:
            ProblemsError: a new instance could not start; nothing has changed.
        """
        rebuilt = await self.rebuilder.start(switch)
        while rebuilt is None:
            # The stop of the run cancels this task, perhaps after a grace period.
            self._ended = True
            self._answer_all()
            await anyio.sleep_forever()
        if rebuilt.problems:
            raise self._pipeline.build_error(rebuilt.problems, set_in_use=True)
        change = self._store.commit(switch, rebuilt.view)
        self.rebuilder.switch(rebuilt, change)
        if change is not None:
            self.hook_runner.notify(change)
        self._store.update_versions()
        return change

    async def _swap(
        self, candidate: LoadResult, changed: Sequence[str], started: float, *, now: bool
    ) -> Change | None:
        """Accept the candidate, notify the hooks, and return the change of the values in use.

        Raises:
            ProblemsError: the config of the values in use could not be built (some of the values
                are pending, so these values are not the candidate), or a rebuild has failed.
        """
        store = self._store
        async with self._lock:
            if self.failed_activation:
                # What is due and fails must not keep another value from being accepted.
                store.postpone(self._timings.rebuild_retry_delay)
            try:
                change = await self._rebuild_and_commit(store.plan_acceptance(candidate, now=now))
            except ProblemsError as exc:
                raise self._reject(candidate.with_problems(exc.problems), started) from None
        self._accepted.set()
        self._record_success()
        fields = [candidate.field_index.by_attribute[each] for each in changed]
        waiting = {
            field.name: due for field in fields if (due := store.due(field.attribute)) is not None
        }
        seconds = time.perf_counter() - started
        names = [field.name for field in fields]
        effects = self.rebuilder.effects(change)
        self.rotation_log.log_accepted(names, store.generation.number, seconds, waiting, effects)
        self._pipeline.log_warnings(candidate)
        return change

    def _reject_crash(self, exc: Exception, started: float) -> ProblemsError:
        """Keep the set in use, log the traceback once per reason, and schedule a retry."""
        reason = (type(exc), getattr(exc, "errno", None))
        if reason != self._crash:
            rotation_messages.log_reload_crashed(exc)
        self._crash = reason
        failed_read = self._reader.failed_read(f"could not be reloaded: {type(exc).__name__}")
        failure = self._reject(failed_read, started)
        for source in self._pipeline.custom:
            source.due = max(source.due, self._retry_at)
        return failure

    async def _activate(self, *, now: bool = False) -> Change | None:
        """Activate the values that are due, or all pending ones now, and notify the hooks."""
        async with self._lock:
            change = await self._rebuild_and_commit(self._store.plan_activation(now=now))
        if self.failed_activation and not any(map(self._store.due, self._postponed)):
            # In use, or replaced by the value that was in use before.
            self.failed_activation = ()
            self._reset_backoff()
        if change is not None:
            effects = self.rebuilder.effects(change)
            self.rotation_log.log_activated(change, self._store.declared, effects)
        return change

    def _postpone_activation(self, problems: Sequence[Problem]) -> None:
        """Keep the values in use, log each reason once, and schedule a retry."""
        if problems != self.failed_activation:
            rotation_messages.log_activation_failed(problems, self._store.generation.number)
        self.failed_activation = problems
        self._postponed = self._store.postpone(self._backoff_for(problems).next_delay())

    def _backoff_for(self, problems: Sequence[Problem]) -> Backoff:
        is_rebuild = any(problem.name in self.rebuilder.names for problem in problems)
        return self._rebuild_backoff if is_rebuild else self._backoff

    def _record_success(self) -> None:
        """Record that the sources contain the accepted values."""
        if not self.failing_sources:
            self.last_read = time.time()
        self.rejection = self._rejected = None
        self._problems = ()
        self._crash = ()
        self._reset_backoff()
        self._retry_at = math.inf

    def _reset_backoff(self) -> None:
        """Begin again with short delays, except for an activation that still fails."""
        self._backoff.reset()
        if not self.failed_activation:
            self._rebuild_backoff.reset()

    def _reject(self, candidate: LoadResult, started: float) -> ProblemsError:
        """Keep the set in use, log each reason once, and schedule a retry if it may help."""
        accepted, problems = self._store.generation, candidate.problems
        by_attribute = candidate.field_index.by_attribute
        causes = tuple((problem.name, problem.kind) for problem in problems)
        before, self.rejection = self.rejection, Rejection(causes)
        kinds = {problem.kind for problem in problems}
        # For the same values only a check, the config or a rebuild can have another result.
        may_change = kinds <= {"check", "config", "rebuild", "unavailable"}
        is_known = self._is_rejected(candidate) if may_change else problems == self._problems
        self._problems = problems
        if self.rejection != before or not is_known:
            changed = changed_fields(candidate, accepted.load_result)
            unused = [by_attribute[each].name for each in changed if each in candidate.values]
            seconds = time.perf_counter() - started
            self.rotation_log.log_rejection(problems, unused, accepted.number, seconds)
        if not is_known:
            self._reset_backoff()
        self._rejected = candidate if may_change else None
        self._rejected_fields = self.rebuilder.fields(problems) or frozenset(by_attribute)
        self._retry_at = math.inf
        if kinds & RETRYABLE_KINDS:
            self._retry_at = time.monotonic() + self._backoff_for(problems).next_delay()
        return self._pipeline.build_error(problems, candidate.report_notes, set_in_use=True)
