"""Rebuild: new instances of the resources that follow a change, before the switch to its values."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot._output import describe
from hive_boot._records import Record
from hive_boot.exceptions import Problem, unavailable_reason
from hive_boot.lifecycle.tasks import unwrap_single
from hive_boot.redaction.registry import line_of, redact, scrub
from hive_boot.runtime.injection import context_manager, fields_read
from hive_boot.secrets import global_access

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from hive_boot.exceptions import ProblemKind
    from hive_boot.lifecycle.resources import ResourceManager
    from hive_boot.lifecycle.runner import Runner
    from hive_boot.runtime.components import BoundFunctions
    from hive_boot.runtime.injection import InjectionContext
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

    def __init__(  # noqa: PLR0913  (the parts of a run that a rebuild touches)
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

    @property
    def names(self) -> Collection[str]:
        """The resources that can be rebuilt."""
        return self._bound.rebuilds

    def followers(self, change: Change | None) -> tuple[str, ...]:
        """Return the resources that follow a change, each after those that it needs."""
        changed = () if change is None else change.names
        rebuilds = self._bound.rebuilds.items()
        return tuple(name for name, each in rebuilds if not each.fields.isdisjoint(changed))

    def effects(self, change: Change | None) -> dict[str, Sequence[str]]:
        """Return which functions a change of the values in use concerns, by its effect on them."""
        changed = set() if change is None else {*change.names}
        declared, rebuilt = self._store.declared, self.followers(change)
        return {
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
        from hive_boot.lifecycle.instances import Resource  # noqa: PLC0415  (many have none)

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

    def switch(self, rebuilt: Rebuilt) -> None:
        """Use the new instances, and restart the services that have taken an old one."""
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
