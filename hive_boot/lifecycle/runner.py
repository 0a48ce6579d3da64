"""One run, from ARMED to STOPPED: its states, its resources and services, and its end.

It knows nothing of secrets. Whoever owns the run says what happens in between, and what is
to be done when it cannot go on.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot._timings import DEFAULTS
from hive_boot.exceptions import LifecycleError, ShutdownTimeoutError
from hive_boot.lifecycle.states import SERVING, TRANSITIONS, State, StateMachine, Timeline
from hive_boot.lifecycle.systemd import SystemdNotifier
from hive_boot.lifecycle.tasks import BackgroundTask, log_event, unwrap_single

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import TaskGroup

    from hive_boot._timings import Timings
    from hive_boot.lifecycle.resources import Resource, ResourceManager
    from hive_boot.lifecycle.services import SupervisedTask, TaskSupervisor


class Runner:
    """The life of one run.

    Args:
        shutdown_delay: seconds between the wish to stop and the stop.
        shutdown_timeout: seconds that the stop may take in all.
        context: the variables that the task sees in which they are held.
        timings: the waits of resources, services and tasks.

    Attributes:
        timeline: every step.
        failure: what ended the run, when it was not its owner.
        failed: the resource or service that it came from.
        started: whether it has been ready.
        shutdown_delay: as given; whoever serves sets it before the start.
        on_fatal_error: called when a resource or a service has failed for good; by default the
            failure is only raised at the end.
        on_drained: called when the drain is over.
        on_stop_started: called when the time of the stop begins to run.
    """

    def __init__(
        self,
        *,
        shutdown_delay: float,
        shutdown_timeout: float,
        context: contextvars.Context,
        timings: Timings = DEFAULTS,
    ) -> None:
        self._machine = StateMachine()
        self._notify = SystemdNotifier()
        self.timeline: Timeline = Timeline()
        self._phase = self.timeline.begin(State.ARMED, "phase")
        self.failure: BaseException | None = None
        self.failed: str = ""
        self.started: bool = False
        self.shutdown_delay = shutdown_delay
        self.shutdown_timeout = shutdown_timeout
        self.timings = timings
        self._stop_deadline = math.inf
        self._is_ending = False
        self.on_fatal_error: Callable[[], object] = lambda: None
        self.on_drained: Callable[[], object] = lambda: None
        self.on_stop_started: Callable[[], object] = lambda: None
        self._background = BackgroundTask(self._run_task_group, "hive_boot life", context, timings)
        self._group: TaskGroup | None = None
        self._opened = anyio.Event()
        self._resources: Sequence[Resource] = ()
        self._services: Sequence[SupervisedTask] = ()
        self.resources: ResourceManager | None = None
        self.services: TaskSupervisor | None = None

    def set_components(
        self, resources: Sequence[Resource], services: Sequence[SupervisedTask]
    ) -> None:
        """Say what there is to start.

        Args:
            resources: in an order in which each comes after those that it needs.
            services: what works in the background.
        """
        self._resources, self._services = resources, services

    @property
    def state(self) -> State:
        """Where the run stands."""
        return self._machine.state

    @property
    def only_asgi_component_pending(self) -> bool:
        """Whether all resources but one, which needs them all, have started."""
        return (
            self.state is State.STARTING
            and self.resources is not None
            and self.resources.pending_count == 1
        )

    def transition(self, state: State) -> None:
        """Take a step, and tell the timeline and the service manager.

        Raises:
            IllegalTransitionError: the table has no such step from here.
        """
        before = self.state
        self._machine.transition(state)
        self._record_phase(before, state)
        if state is State.RELOADING:
            self._notify.reloading()
        elif state is State.READY:
            self.started = True
            self._notify.ready("Ready")
        elif state is State.DRAINING or (state is State.STOPPING and not self.started):
            self._notify.stopping(state.capitalize())
        else:
            self._notify.status(state.capitalize())

    async def task_group(self) -> TaskGroup:
        """Give what holds the tasks of the run; it is there from the first call on."""
        self._background.start()
        await self._opened.wait()
        if self._group is None:
            message = "the loop is ending"
            raise LifecycleError(message)
        return self._group

    async def start_watchdog(self) -> None:
        """Tell the service manager that the loop turns, if it wants to hear that."""
        if self._notify.interval is not None:
            group = await self.task_group()
            group.start_soon(self._ping_watchdog, self._notify.interval)

    async def start_listener(self, listener: Callable[..., Awaitable[object]], name: str) -> object:
        """Run what answers from outside, beside everything, until the end of the run.

        Args:
            listener: takes ``task_status``, by which it says that it is open.
            name: what is said of it when it fails.

        Returns:
            What it said.

        Raises:
            Exception: it could not open.
        """
        group = await self.task_group()
        is_open = False

        async def run_listener(*, task_status: Any) -> None:  # noqa: ANN401  (as anyio gives it)
            nonlocal is_open
            try:
                await listener(task_status=task_status)
            except Exception as exc:
                if not is_open:
                    raise
                self.fail(name, unwrap_single(exc))

        said: object = await group.start(run_listener)
        is_open = True
        return said

    async def start_resources(self, deadline: float, seconds: float) -> None:
        """Start the resources.

        Args:
            deadline: until when, on the monotonic clock.
            seconds: how many there were.

        Raises:
            StartupError: one could not start; several come as a group.
        """
        if self._resources:
            from hive_boot.lifecycle.resources import ResourceManager  # noqa: PLC0415  (many have none)

            self.resources = ResourceManager(
                self._resources, self.timeline, self.fail, self.timings
            )
            await self.resources.start(await self.task_group(), deadline, seconds)

    async def start_services(self) -> None:
        """Start the services, and have what a drain needs."""
        if self.shutdown_delay:
            await self.task_group()
        if self._services:
            from hive_boot.lifecycle.services import TaskSupervisor  # noqa: PLC0415  (many have none)

            self.services = TaskSupervisor(self._services, self.timeline, self.fail, self.timings)
            self.services.start(await self.task_group())

    def fail(self, name: str, failure: BaseException) -> None:
        """End the run: something without which it cannot go on has failed."""
        if self.failure is not None:
            log_event(logging.ERROR, "%s has failed, too", name, exc_info=failure)
            return
        self.failure, self.failed = failure, name
        log_event(
            logging.CRITICAL,
            "%s has failed, and the application cannot go on",
            name,
            exc_info=failure,
        )
        if self._is_ending:
            return
        if self.state in SERVING:
            self.transition(State.DRAINING)
        self.on_fatal_error()

    def request_stop(self) -> None:
        """Begin the end, in the loop: drain if there is something to drain, then stop."""
        if self._is_ending:
            return
        self._is_ending = True
        if self.state in SERVING:
            self.transition(State.DRAINING)
        if self.state is State.DRAINING and self.shutdown_delay and self._group is not None:
            self._group.start_soon(self._drain)
        else:
            self._end()

    @property
    def stop_deadline(self) -> float:
        """Until when the stop may take, on the monotonic clock; its time begins to run now."""
        if self._stop_deadline == math.inf:
            self._stop_deadline = time.monotonic() + self.shutdown_timeout
            self.on_stop_started()
        return self._stop_deadline

    def begin_stop(self) -> None:
        """Take the steps to STOPPING, however far the run came."""
        self._is_ending = True
        _ = self.stop_deadline
        if self.state in SERVING:
            self.transition(State.DRAINING)
        if self.state in {State.STARTING, State.DRAINING}:
            self.transition(State.STOPPING)

    async def stop_services(self) -> list[BaseException]:
        """End the services.

        Returns:
            What they have raised at their end, and what is to be said of those that go on.
        """
        if self.services is None:
            return []
        from hive_boot.lifecycle.resources import STOP_BUDGET_SHARE  # noqa: PLC0415  (many have no resources)

        share = STOP_BUDGET_SHARE if self.resources is not None else 1
        late = await self.services.stop((self.stop_deadline - time.monotonic()) * share)
        return [*self.services.failures, *([ShutdownTimeoutError(late)] if late else [])]

    async def stop_resources(self) -> list[BaseException]:
        """Stop the resources.

        Returns:
            What went wrong.
        """
        return [] if self.resources is None else await self.resources.stop(self.stop_deadline)

    async def end(self) -> None:
        """Close what is open when all has ended, and be STOPPED."""
        if self.services is not None:
            await self.services.join()
        await self._background.stop()
        self.transition(State.STOPPED)

    def abandon(self) -> None:
        """Be STOPPED without a word: the tasks are another process's."""
        self._background.abandon()
        for state in (State.DRAINING, State.STOPPING, State.STOPPED):
            if state in TRANSITIONS[self.state]:
                self._machine.transition(state)

    def mark_forced(self) -> State:
        """Be FORCED, in a signal handler.

        Returns:
            Where the run stood.
        """
        before = self.state
        self._machine.transition(State.FORCED)
        return before

    def pending(self) -> list[str]:
        """Say what has not ended, a line for each."""
        lines = [] if self.resources is None else self.resources.describe()
        services = [] if self.services is None else self.services.running
        return [*(f"{'running':<9} the service {name}" for name in services), *lines]

    async def _run_task_group(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                self._opened.set()
                await anyio.sleep_forever()
        finally:
            self._group = None
            self._opened.set()
            # On asyncio a task that is cancelled before its first step does nothing at all,
            # and nobody would ever say that it has ended.
            if self.resources is not None:
                self.resources.mark_cancelled()
            if self.services is not None:
                self.services.mark_cancelled()

    async def _drain(self) -> None:
        await anyio.sleep(self.shutdown_delay)
        self._end()

    def _end(self) -> None:
        self.begin_stop()
        self.on_drained()

    async def _ping_watchdog(self, seconds: float) -> None:
        while True:
            self._notify.watchdog()
            await anyio.sleep(seconds)

    def _record_phase(self, before: State, state: State) -> None:
        """Note the phases; a reload is part of being ready."""
        if state is State.RELOADING or (before is State.RELOADING and state is State.READY):
            return
        self.timeline.end(self._phase)
        self._phase = self.timeline.begin(state, "phase")
        if state is State.STOPPED:
            self.timeline.end(self._phase)
