"""Resources: started in dependency order, stopped in reverse."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from hive_boot.exceptions import (
    LifecycleError,
    Problem,
    ShutdownTimeoutError,
    StartupError,
    UnavailableError,
)
from hive_boot.lifecycle.instances import Instance, Progress, Resource
from hive_boot.lifecycle.tasks import (
    add_note,
    combine,
    end_of_block,
    exclude_from_loop_end,
    log_event,
    wait_until_set,
)
from hive_boot.redaction.registry import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from anyio.abc import TaskGroup


_MAX_OVERLAPS = 10
"""The limit of an overlap that is extended because the old instance is in use, in overlaps."""


def _instances_of(
    resources: Sequence[Resource], running: Mapping[str, Instance], progress: Progress
) -> dict[str, Instance]:
    """Return new instances of resources, by name; the others that they need are running."""
    new = {each.name: Instance(each, progress) for each in resources}
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
        progress: the timeline, the timings, and what is called after a crash.
    """

    _group: TaskGroup

    def __init__(self, resources: Sequence[Resource], progress: Progress) -> None:
        self._progress, self._timeline = progress, progress.timeline
        self._all = _instances_of(resources, {}, progress)
        # With the new instances of a rebuild, and with old ones until they have stopped.
        self._instances = list(self._all.values())
        self._new: dict[str, Instance] = {}
        self._requests: set[anyio.Event] = set()

    @property
    def pending_count(self) -> int:
        """The number of resources that have not started yet."""
        return sum(not state.started.is_set() for state in self._all.values())

    @property
    def old_instances(self) -> list[str]:
        """The resource of each instance that was replaced and has not stopped."""
        return [state.resource.name for state in [*self._instances] if state.is_old]

    def value(self, name: str) -> object:
        """Return the value of a running resource.

        Raises:
            LifecycleError: the resource is not running.
        """
        state = self._all[name]
        if not state.is_running:
            raise LifecycleError(f"The resource {name} is not running.")
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
        self._group = group
        late = await self._start(self._instances, deadline)
        if late:
            if time.monotonic() >= deadline and any(each.unavailable for each in self._instances):
                # A hang explains less than a failure to reach something outside.
                raise self._unavailable_error()
            raise self._timeout_error(min(late, key=Instance.began), seconds)
        # One more iteration of the event loop: resources that fail in it are reported together.
        await anyio.lowlevel.checkpoint()
        self._progress.is_starting = False
        for state in self._instances:
            state.is_pending = False
        if failed := _failed(self._instances):
            others = [state for state in failed if state.unavailable is None]
            failures: list[BaseException] = [_failed_start(state) for state in others]
            if len(others) < len(failed):
                failures.append(self._unavailable_error())
            raise combine(failures)

    async def _start(self, states: Sequence[Instance], deadline: float) -> list[Instance]:
        """Start instances, and return those that are late, when one is late or has failed."""
        for state in states:
            resource = state.resource
            state.step = self._timeline.begin(resource.name, "resource", resource.dependencies)
            state.due = state.deadline = deadline
            self._group.start_soon(state.run)
        while not _failed(states):
            wakeup = self._progress.wakeup = anyio.Event()
            now = time.monotonic()
            if late := [state for state in states if state.due <= now]:
                return late
            if all(state.started.is_set() for state in states):
                break
            await wait_until_set(wakeup, min(state.due for state in states) - now)
        return []

    async def start_replacements(self, resources: Sequence[Resource], deadline: float) -> None:
        """Start new instances beside the running ones; their tasks inherit the caller's context.

        When the caller is cancelled, they stay until :meth:`discard_replacements` or :meth:`stop`.

        Args:
            resources: the new instances; a dependency not among them is a running instance.
            deadline: the moment at which the start fails, on the monotonic clock.
        """
        self._new = _instances_of(resources, self._all, self._progress)
        self._instances += self._new.values()
        await self._start([*self._new.values()], deadline)

    def replacement_failures(self) -> dict[str, BaseException | None]:
        """Return the failures of new instances by name; None for one that is late.

        One that has started can fail too, until the switch.
        """
        states, now = self._new.values(), time.monotonic()
        late = [each for each in states if each.due <= now]
        return {each.resource.name: each.failure for each in _failed(states) or late}

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

    async def _retire(self, state: Instance, overlap: float) -> None:
        """Stop an old instance when its overlap is over and nothing uses it any more."""
        exclude_from_loop_end()
        with state.overlap:
            await anyio.sleep(overlap)
            with anyio.move_on_after((_MAX_OVERLAPS - 1) * overlap):
                for lease in [*state.leases]:
                    await lease.wait()
        if self._progress.is_stopping:
            return
        if in_use := sum(not lease.is_set() for lease in state.leases):
            text = "The old instance of %s stops, although it is in use (leases: %d)"
            log_event(logging.WARNING, text, state.label, in_use)
        await self._stop_and_forget(state, self._progress.timings.old_resource_stop_timeout)

    async def _stop_and_forget(self, state: Instance, seconds: float) -> None:
        """Stop an instance that is not in use, and log its failure."""
        for dependent in [*state.dependents]:
            await dependent.dependencies_may_stop.wait()
        await state.stop_by(time.monotonic() + seconds)
        has_failed = (state.overdue or state.failure) and not state.is_reported
        if has_failed and not self._progress.is_stopping:  # a stop of the run reports it itself
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
    def lease_all(
        self, names: Iterable[str], *, holds: bool = True
    ) -> Iterator[Callable[[], dict[str, object]]]:
        """Keep each instance in use during the block, and yield what returns values by name.

        Args:
            names: the resources.
            holds: False in another event loop, whose events the loop of the run cannot wait for.
        """
        with end_of_block(self._requests if holds else set()):
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
        self._progress.is_starting = False
        self._progress.stop_began = self._timeline.elapsed
        states = [*self._instances]
        async with anyio.create_task_group() as group:
            for state in states:
                group.start_soon(state.stop_by, deadline)
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
            state.mark_cancelled()

    def describe(self) -> list[str]:
        """Return a line for each resource: outcome, name, seconds, and what or where it waits.

        During the stop only those that have not ended are listed, otherwise those of the start.
        """
        is_starting, is_stopping = self._progress.is_starting, self._progress.is_stopping
        return [
            state.describe()
            for state in self._instances
            if is_starting or (is_stopping and not state.done.is_set())
        ]

    def _unavailable_error(self) -> UnavailableError:
        """Return the error that names all resources that could not reach something outside."""
        problems, failures = [], []
        for state in self._instances:
            if state.unavailable is not None:
                failure, reason = state.unavailable
                failures.append(failure)
                text = f"could not be reached: {redact(reason)}"
                problems.append(Problem(state.resource.name, "unavailable", text))
                state.is_reported = True
        error = UnavailableError(problems)
        error.__cause__ = combine(failures)
        return error

    def _timeout_error(self, late: Instance, seconds: float) -> StartupError:
        lines = self.describe()
        self._timeline.end(late.step, "overdue")
        limit = f"startup_timeout of {seconds:g} s"
        if time.monotonic() < late.deadline:
            limit = f"its timeout of {late.resource.timeout:g} s"
        late.startup_error = StartupError(late.resource.name, f"exceeded {limit}", lines)
        return late.startup_error


def _failed(states: Iterable[Instance]) -> list[Instance]:
    return [state for state in states if state.failure is not None]


def _failed_start(state: Instance) -> StartupError:
    error = StartupError(state.resource.name, type(state.failure).__name__)
    error.__cause__ = state.failure
    state.is_reported = True
    return error
