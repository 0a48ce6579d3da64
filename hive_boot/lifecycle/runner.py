"""Runner: the resources, services and listeners of one run, and the task group they run in."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot._output import describe
from hive_boot._timings import DEFAULTS, STOP_BUDGET_SHARE, Timings
from hive_boot.exceptions import LifecycleError, ShutdownTimeoutError, describe_component
from hive_boot.lifecycle.states import SERVING, TRANSITIONS, State, StateMachine
from hive_boot.lifecycle.tasks import (
    BackgroundTask,
    exclude_from_loop_end,
    log_event,
    log_failure,
    log_system_exit,
    unwrap_single,
)
from hive_boot.redaction.registry import locate_failure

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

    from anyio.abc import TaskGroup

    from hive_boot.lifecycle.instances import Resource
    from hive_boot.lifecycle.readiness import Contributor, ReadinessMonitor
    from hive_boot.lifecycle.resources import ResourceManager
    from hive_boot.lifecycle.services import SupervisedTask, TaskSupervisor
    from hive_boot.lifecycle.shutdown import ShutdownController

    Components = tuple[Sequence[Resource], Sequence[SupervisedTask], Sequence[Contributor]]


class Runner:
    """Resources, services and listeners of one run.

    Args:
        states: the states of the run.
        shutdown: the shutdown of the run.
        context: the context variables of the tasks.
        timings: the waits of resources, services and tasks.
        components: the resources to start, each after those that it needs; the services; and the
            readiness contributors.

    Attributes:
        failure: the first failure that ends the run, of a resource, a service, a listener or a
            hook; None without one.
        failed: the name of what has failed first.
        resources: the resources; None until they start.
        services: the services; None until they start.
        readiness: the readiness contributors; None without one.
    """

    def __init__(
        self,
        states: StateMachine,
        shutdown: ShutdownController,
        *,
        context: contextvars.Context,
        timings: Timings = DEFAULTS,
        components: Components = ((), (), ()),
    ) -> None:
        self.failure: BaseException | None = None
        self.failed: str = ""
        self.resources: ResourceManager | None = None
        self.services: TaskSupervisor | None = None
        self._descriptions: list[Callable[[], Sequence[str]]] = []
        self.readiness: ReadinessMonitor | None = None
        self._states = states
        self._shutdown = shutdown
        self._timings = timings
        self._context = context
        self._background = BackgroundTask(self._run_task_group, "hive_boot tasks", context, timings)
        self._group: TaskGroup | None = None
        self._opened = anyio.Event()
        self._resources, self._services, contributors = components
        if contributors:
            from hive_boot.lifecycle.readiness import ReadinessMonitor  # many have none

            self.readiness = ReadinessMonitor(contributors, shutdown.stopping, timings)

    @property
    def only_asgi_component_pending(self) -> bool:
        """Whether all resources have started, except the last one: the ASGI component."""
        return (
            self._states.state is State.STARTING
            and self.resources is not None
            and self.resources.pending_count == 1
        )

    async def task_group(self) -> TaskGroup:
        """Return the task group of the run; the first call opens it.

        Raises:
            LifecycleError: the event loop is ending.
        """
        self._background.start()
        await self._opened.wait()
        if self._group is None:
            raise LifecycleError("The event loop is ending.")
        return self._group

    async def start_watchdog(self) -> None:
        """Start the messages to the watchdog of systemd, if it expects them."""
        if (seconds := self._states.notifier.interval) is not None:
            (await self.task_group()).start_soon(self._ping_watchdog, seconds)

    async def start_listener(self, listener: Callable[..., Awaitable[object]], name: str) -> object:
        """Start a listener, which runs until the end of the run.

        Args:
            listener: a function that calls ``task_status.started()`` when it is open.
            name: the name of the listener in messages.

        Returns:
            The value that the listener passed to ``started()``.

        Raises:
            Exception: the listener could not open.
        """
        group = await self.task_group()
        is_open = False

        async def run_listener(*, task_status: Any) -> None:
            nonlocal is_open
            exclude_from_loop_end()
            try:
                await listener(task_status=task_status)
            except Exception as exc:
                if not is_open:
                    raise
                self.report_failure("listener", name, unwrap_single(exc))

        value: object = await group.start(run_listener)
        is_open = True
        return value

    async def start_resources(self, deadline: float, seconds: float) -> None:
        """Start the resources.

        Args:
            deadline: the end of the startup timeout, on the monotonic clock.
            seconds: the whole startup timeout.

        Raises:
            StartupError: a resource could not start; several are raised as a group.
        """
        if self._resources:
            from hive_boot.lifecycle.instances import Progress  # many have no resource
            from hive_boot.lifecycle.resources import ResourceManager

            group = await self.task_group()
            on_crash = partial(self.report_failure, "resource")
            progress = Progress(self._states.timeline, on_crash, self._timings)
            # Nothing is awaited between here and the start: `resources` is None until the start.
            self.resources = ResourceManager(self._resources, progress)
            await self.resources.start(group, deadline, seconds)

    async def start_services(self) -> None:
        """Start the services, and the calls of readiness contributors."""
        if self.readiness is not None or self._services:
            # If the owner of the loop closes it, the end of the task group ends these tasks too.
            await self.task_group()
        if self.readiness is not None:
            self.readiness.start(self._context)
        if self._services:
            from hive_boot.lifecycle.services import TaskSupervisor  # many have none

            self.services = self._shutdown.services = TaskSupervisor(
                self._services,
                self._states.timeline,
                partial(self.report_failure, "service"),
                self._shutdown.stopping,
                self._timings,
            )
            self.services.start(self._context)

    def restart_services(self, labels: Collection[str]) -> dict[str, anyio.Event]:
        """Start services again, and return the end of the current run of each, by label."""
        if self.services is None or self._group is None:
            return {}
        return self.services.restart(labels, self._group)

    def report_failure(self, kind: str, name: str, failure: BaseException) -> None:
        """Log the failure of a resource, service, listener or hook; the first one ends the run."""
        label = describe_component(kind, name)
        text = "The application is stopping, because %s has failed"
        if self._shutdown.stopping.is_set():
            text = "The application was stopping when %s failed"
        is_first = self.failure is None
        if is_first:
            self.failure, self.failed = failure, name
        if isinstance(failure, SystemExit):
            log_system_exit(failure, label)
        elif not is_first:
            log_event(logging.ERROR, text, label, exc_info=failure)
        elif self._shutdown.is_owned:
            log_failure(text, label, failure=failure)
        else:
            # The owner gets the failure itself, and reports it with its traceback.
            reason = f"{describe(failure)} ({locate_failure(failure)})".removesuffix(" ()")
            log_event(logging.CRITICAL, f"{text}: %s", label, reason)
        # Without its own process a run that is not ready yet raises the failure from its start.
        if self._shutdown.is_owned or self._states.state in SERVING:
            self._shutdown.request()

    async def stop_services(self) -> list[BaseException]:
        """Stop the services.

        Returns:
            The exceptions that they raised, and an error that names those still running.
        """
        if self.services is None:
            return []
        share = STOP_BUDGET_SHARE if self.resources is not None else 1
        late = await self.services.stop(self._shutdown.requested_at, self._shutdown.deadline, share)
        self._shutdown.start_deadline()
        error = [ShutdownTimeoutError(late, self.services.describe())] if late else []
        return [*self.services.failures, *error]

    async def stop_resources(self) -> list[BaseException]:
        """Stop the resources, after the readiness contributors, which may use them.

        Returns:
            The exceptions that they raised.
        """
        if self.readiness is not None:
            await self.readiness.stop(self._shutdown.deadline)
        return [] if self.resources is None else await self.resources.stop(self._shutdown.deadline)

    async def end(self) -> None:
        """Close the task group, when all services have ended, and enter STOPPED."""
        if self.services is not None:
            await self.services.join()
        await self._shutdown.end()
        await self._background.stop()
        self._states.transition(State.STOPPED)

    def abandon(self) -> None:
        """Enter STOPPED in a forked child: the tasks belong to the parent process."""
        for each in (self._background, self._shutdown, self.readiness, self.services):
            if each is not None:
                each.abandon()
        for state in (State.DRAINING, State.STOPPING, State.STOPPED):
            if state in TRANSITIONS[self._states.state]:
                self._states.transition_silently(state)

    def describe_with(self, describe: Callable[[], Sequence[str]]) -> None:
        """Add a function that describes what else has not ended, such as requests."""
        self._descriptions.append(describe)

    def pending(self) -> list[str]:
        """Return a line for everything that has not ended, such as main and services."""
        return [line for lines in self._pending() for line in lines]

    def waits_for(self) -> list[str]:
        """Return a line for each thing that the stop waits for now, not for what it stops later."""
        return next((lines for lines in self._pending() if lines), [])

    def _pending(self) -> Iterator[list[str]]:
        """Yield the lines of everything that has not ended, in the order of the stop."""
        yield [line for describe in self._descriptions for line in describe()]
        for each in (self.services, self.readiness, self.resources):
            yield [] if each is None else each.describe()

    async def _run_task_group(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                self._opened.set()
                await anyio.sleep_forever()
        finally:
            self._group = None
            self._opened.set()
            # asyncio ends a task that is cancelled before its first step without running any
            # of its code, so the task cannot report its own end.
            if self.resources is not None:
                self.resources.mark_cancelled()
            self._shutdown.stopping.set()

    async def _ping_watchdog(self, seconds: float) -> None:
        exclude_from_loop_end()
        while True:
            self._states.notifier.send("WATCHDOG=1")
            await anyio.sleep(seconds)
