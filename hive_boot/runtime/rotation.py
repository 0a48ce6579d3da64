"""Rotation: new instances of the resources that follow a change, and the hooks that it calls.

The new instances start before the switch to the new values. Hooks are called after it, and again
until they succeed.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot._output import describe
from hive_boot._records import Record
from hive_boot._timings import Backoff
from hive_boot.exceptions import Problem, unavailable_reason
from hive_boot.lifecycle.tasks import exclude_from_loop_end, is_cancellation, unwrap_single
from hive_boot.redaction.registry import line_of, redact, scrub, trim_traceback
from hive_boot.runtime import log_messages, rotation_messages
from hive_boot.runtime.injection import context_manager, fields_read
from hive_boot.secrets import global_access
from hive_boot.secrets.value import filter_change, merge_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from anyio.abc import TaskGroup

    from hive_boot._timings import Timings
    from hive_boot.exceptions import ProblemKind
    from hive_boot.lifecycle.resources import ResourceManager
    from hive_boot.lifecycle.runner import Runner
    from hive_boot.runtime.injection import (
        BoundCall,
        BoundFunctions,
        InjectionContext,
        RotationHook,
    )
    from hive_boot.secrets.secret_set import SecretSet
    from hive_boot.secrets.sources.files import Value
    from hive_boot.secrets.store import PlannedSwitch, Store
    from hive_boot.secrets.value import Change


class Rebuilt(Record):
    """Result of a rebuild, until the switch.

    Attributes:
        view: the set that the new instances have received; None if no resource is concerned.
        names: the resources that have a new instance.
        problems: the instances that did not start. Then all have been stopped.
    """

    view: SecretSet | None = None
    names: tuple[str, ...] = ()
    problems: Sequence[Problem] = ()


class Rebuilder:
    """The rebuilds of one run, one at a time.

    Args:
        store: the secrets in use.
        bound: the declared functions.
        runner: the running resources and services.
        stopping: set when a stop of the run is requested.
        injection_context: returns the values for parameters, with another set and config.
        startup_timeout: the limit of a rebuild, in seconds.
        stop_timeout: how long a new instance may take to stop after a failure, in seconds.
    """

    def __init__(
        self,
        store: Store[Any],
        bound: BoundFunctions,
        runner: Runner,
        *,
        stopping: anyio.Event,
        injection_context: Callable[..., InjectionContext],
        startup_timeout: float,
        stop_timeout: float,
    ) -> None:
        self._store = store
        self._bound = bound
        self._runner = runner
        self._stopping = stopping
        self._injection_context = injection_context
        self._startup_timeout = startup_timeout
        self._stop_timeout = stop_timeout
        # The value that a resource has read, by its name and the field, while another is in use.
        self._kept: dict[tuple[str, str], Value | None] = {}

    @property
    def on_old_value(self) -> list[str]:
        """The resource of each instance that was replaced and has not stopped, or not replaced.

        Not replaced are those whose code has read a value that is not in use any more, unless
        they follow its changes, or a hook is declared for it: the hook may update the resource.
        """
        manager = self._runner.resources
        old = [] if manager is None else manager.old_instances
        return [*old, *dict.fromkeys(name for name, _ in self._kept)]

    def _record_kept(self, change: Change) -> None:
        """Record which resources keep a value that a change of the values in use replaces."""
        hooks = [hook.names for _, hook in self._bound.hooks]
        declared, hooked = self._store.declared, frozenset[str]().union(*hooks)
        rebuilt = self.followers(change)
        kept = {key: value for key, value in self._kept.items() if key[0] not in rebuilt}
        for name, (_, spec) in self._bound.resources.items() if all(hooks) else ():
            for attribute in fields_read(spec.work, declared).intersection(change.names) - hooked:
                first = kept.setdefault((name, attribute), change.old[attribute])
                if name in rebuilt or first == change.new[attribute]:
                    del kept[name, attribute]
        self._kept = kept

    @property
    def names(self) -> Collection[str]:
        """The resources that can be rebuilt."""
        return self._bound.rebuilds

    def fields(self, problems: Iterable[Problem]) -> frozenset[str]:
        """Return the fields of the checks and rebuilds that have failed; none if it may be any."""
        known = {work.display_name: spec.names for work, spec in self._bound.checks}
        known |= {name: each.fields for name, each in self._bound.rebuilds.items()}
        found = [known.get(problem.name, frozenset()) for problem in problems]
        return frozenset().union(*found) if all(found) else frozenset()

    def followers(self, change: Change | None) -> tuple[str, ...]:
        """Return the resources that follow a change, each after those that it needs."""
        changed = () if change is None else change.names
        rebuilds = self._bound.rebuilds.items()
        return tuple(name for name, each in rebuilds if not each.fields.isdisjoint(changed))

    def effects(self, change: Change | None) -> dict[str, Sequence[str]]:
        """Return the version after a change of the values in use, and the functions it concerns.

        The functions are listed by the effect of the change on them.
        """
        changed = set() if change is None else {*change.names}
        declared, rebuilt = self._store.declared, self.followers(change)
        return {
            "version": log_messages.version_text(self._store.versions),
            "rebuilt": rebuilt,
            "hooks": [
                work.display_name
                for work, hook in self._bound.hooks
                if changed and (not hook.names or hook.names & changed)
            ],
            "on the old value": sorted(
                name
                for name, (_, spec) in self._bound.resources.items()
                if name not in rebuilt and changed & fields_read(spec.work, declared)
            ),
        }

    async def start(self, switch: PlannedSwitch) -> Rebuilt | None:
        """Start new instances of the resources that follow a switch.

        The caller commits the switch and calls :meth:`switch`, without an ``await`` before it.

        Returns:
            The result; None if a stop is requested, and nothing may be switched any more.
        """
        names, manager = self.followers(switch.change), self._runner.resources
        if not names or manager is None:
            return Rebuilt()
        with global_access.views_in_context(), self._store.candidate(switch) as view:
            problems = await self._start(manager, names, switch, view)
        if problems or self._stopping.is_set():
            # When the stop of the run cancels this, it stops all instances itself.
            await manager.discard_replacements(self._stop_timeout)
        return None if self._stopping.is_set() else Rebuilt(view, names, problems)

    async def _start(
        self,
        manager: ResourceManager,
        names: tuple[str, ...],
        switch: PlannedSwitch,
        view: SecretSet,
    ) -> list[Problem]:
        """Start new instances, until they have started, one fails, or a stop is requested."""
        from hive_boot.lifecycle.instances import Resource  # many have none

        context = self._injection_context(view, switch.config).with_resources(manager.replacement)
        resources = []
        for name in names:
            work, spec = self._bound.resources[name]
            start = context_manager(work, spec.work, lambda: context)
            needs = tuple(key for key in work.dependencies if key in self._bound.resources)
            resources.append(Resource(name, start, needs, spec.timeout))

        async def watch() -> None:
            await self._stopping.wait()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            deadline = time.monotonic() + self._startup_timeout
            await manager.start_replacements(resources, deadline)
            group.cancel_scope.cancel()
        failures, values = manager.replacement_failures(), switch.values.values()
        return [self._problem(name, failure, values) for name, failure in failures.items()]

    def _problem(
        self, name: str, failure: BaseException | None, values: Iterable[Value]
    ) -> Problem:
        spec = self._bound.resources[name][1]
        if failure is None:
            seconds = min(spec.timeout, self._startup_timeout)
            return Problem(name, "unavailable", f"could not be rebuilt within {seconds:g} s")
        failure = unwrap_single(failure)
        reason = unavailable_reason(failure, spec.retry_on)
        # Short values too, which no log hides.
        text = scrub(
            reason or describe(failure) + line_of(failure), [each.reveal() for each in values]
        )
        kind: ProblemKind = "unavailable" if reason else "rebuild"
        return Problem(name, kind, f"could not be rebuilt: {redact(text)}")

    def switch(self, rebuilt: Rebuilt, change: Change | None) -> None:
        """Use the new instances, and restart the services that have taken an old one."""
        if change is not None:
            self._record_kept(change)
        manager, names = self._runner.resources, rebuilt.names
        if manager is None or not names:
            return
        taken = {
            work.display_name: work.by_value.intersection(names) for work, _ in self._bound.services
        }
        ends = self._runner.restart_services([label for label in taken if taken[label]])
        leases = {name: [ends[label] for label in ends if name in taken[label]] for name in names}
        overlaps = {name: self._bound.rebuilds[name].overlap for name in names}
        manager.switch(overlaps, leases)


class _HookState:
    """State of one hook. Its repr does not show the failure, which may contain a value.

    Attributes:
        change: the change that the hook has not handled yet; None without one.
        retry_at: when it is called again, on the monotonic clock.
        is_called: whether a call runs, or has ended and is not recorded yet.
        done: set at the end of the latest call.
        failure: the failure of that call; None if it has succeeded. While the call runs, the text
            that applies if it is cancelled.
        failing: whether the last recorded call has failed.
        failures: the number of calls that have failed.
        reason: why the last recorded call has failed; empty if it has not.
        at: the end of that call, in seconds since the epoch; 0 before the first.
    """

    def __init__(self, work: BoundCall, hook: RotationHook, timings: Timings) -> None:
        self.work = work
        self.hook = hook
        self.change: Change | None = None
        self.backoff = Backoff(timings.hook_retry_delay, timings.max_hook_retry_delay)
        self.retry_at = 0.0
        self.is_called = False
        self.done = anyio.Event()
        self.done.set()
        self.failure: BaseException | str | None = None
        self.failing = False
        self.failures = 0
        self.reason = ""
        self.at = 0.0

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
    def pending(self) -> tuple[str, ...]:
        """The hooks that are called now, or wait for the first call after a change.

        One that waits for another call after a failure is failing. A reader of this property and
        then of :attr:`failing` finds each hook that has not succeeded.
        """
        return tuple(
            state.work.display_name
            for state in self._hooks
            if state.is_called or (state.change is not None and not state.failing)
        )

    @property
    def failing(self) -> tuple[str, ...]:
        """The hooks whose last call has failed."""
        return tuple(state.work.display_name for state in self._hooks if state.failing)

    @property
    def results(self) -> list[dict[str, Any]]:
        """The fields of the HookStatus of each hook."""
        return [
            {
                "name": state.work.display_name,
                "at": state.at,
                "failure": state.reason,
                "failures": state.failures,
            }
            for state in self._hooks
        ]

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
        state.is_called = True
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
        state.is_called = False

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
        state.at, state.reason = time.time(), ""
        if failure is None:
            if state.failing:
                rotation_messages.log_hook_recovered(label, change.generation)
            state.failing = False
            state.backoff.reset()
            state.retry_at = 0.0
            return
        state.reason = redact(failure if isinstance(failure, str) else describe(failure))
        state.failures += 1
        state.change = change if newer is None else merge_changes(change, newer)
        seconds = state.backoff.next_delay()
        if newer is not None:
            # It may fix the failure: call the hook at once.
            seconds = 0.0
        state.retry_at = time.monotonic() + seconds
        if not state.exits:
            rotation_messages.log_hook_failed(
                label, change.generation, failure, seconds, already_logged=state.failing
            )
        state.failing = True
