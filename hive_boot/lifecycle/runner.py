"""One run, from ARMED to STOPPED: its states, its parts and services, and its end.

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
from hive_boot.exceptions import LifecycleError, ShutdownTimeout
from hive_boot.lifecycle.failures import bare
from hive_boot.lifecycle.hosting import Host
from hive_boot.lifecycle.notify import Notify
from hive_boot.lifecycle.states import SERVING, TRANSITIONS, Machine, State
from hive_boot.lifecycle.telling import say
from hive_boot.lifecycle.timeline import Timeline

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import TaskGroup

    from hive_boot._timings import Timings
    from hive_boot.lifecycle.parts import Part, Parts
    from hive_boot.lifecycle.services import Service, Services


class Runner:
    """The life of one run.

    Args:
        drain: seconds between the wish to stop and the stop.
        stop_timeout: seconds that the stop may take in all.
        context: the variables that the task sees in which they are held.
        timings: the waits of parts, services and tasks.

    Attributes:
        timeline: every step.
        failure: what ended the run, when it was not its owner.
        failed: the part or service that it came from.
        started: whether it has been ready.
        drain: as given; whoever serves sets it before the start.
        cannot_go_on: called when a part or a service has failed for good; by default the
            failure is only raised at the end.
        wants_end: called when the drain is over.
        stops: called when the time of the stop begins to run.
    """

    def __init__(
        self,
        *,
        drain: float,
        stop_timeout: float,
        context: contextvars.Context,
        timings: Timings = DEFAULTS,
    ) -> None:
        self._machine = Machine()
        self._notify = Notify()
        self.timeline = Timeline()
        self._phase = self.timeline.begin(State.ARMED, "phase")
        self.failure: BaseException | None = None
        self.failed = ""
        self.started = False
        self.drain = drain
        self.stop_timeout = stop_timeout
        self.timings = timings
        self._stop_by = math.inf
        self._is_ending = False
        self.cannot_go_on: Callable[[], object] = lambda: None
        self.wants_end: Callable[[], object] = lambda: None
        self.stops: Callable[[], object] = lambda: None
        self._host = Host(self._hold, "hive_boot life", context, timings)
        self._group: TaskGroup | None = None
        self._opened = anyio.Event()
        self._parts: Sequence[Part] = ()
        self._services: Sequence[Service] = ()
        self.parts: Parts | None = None
        self.services: Services | None = None

    def plan(self, parts: Sequence[Part], services: Sequence[Service]) -> None:
        """Say what there is to start.

        Args:
            parts: in an order in which each comes after those that it needs.
            services: what works in the background.
        """
        self._parts, self._services = parts, services

    @property
    def state(self) -> State:
        """Where the run stands."""
        return self._machine.state

    @property
    def is_at_last_part(self) -> bool:
        """Whether all parts but one, which needs them all, have started."""
        return self.state is State.STARTING and self.parts is not None and self.parts.left == 1

    def to(self, state: State) -> None:
        """Take a step, and tell the timeline and the service manager.

        Raises:
            IllegalTransition: the table has no such step from here.
        """
        before = self.state
        self._machine.to(state)
        self._tell_timeline(before, state)
        if state is State.RELOADING:
            self._notify.reloading()
        elif state is State.READY:
            self.started = True
            self._notify.ready("Ready")
        elif state is State.DRAINING or (state is State.STOPPING and not self.started):
            self._notify.stopping(state.capitalize())
        else:
            self._notify.status(state.capitalize())

    async def open(self) -> TaskGroup:
        """Give what holds the tasks of the run; it is there from the first call on."""
        self._host.start()
        await self._opened.wait()
        if self._group is None:
            message = "the loop is ending"
            raise LifecycleError(message)
        return self._group

    async def watch_over(self) -> None:
        """Tell the service manager that the loop turns, if it wants to hear that."""
        if self._notify.interval is not None:
            group = await self.open()
            group.start_soon(self._beat, self._notify.interval)

    async def open_door(self, door: Callable[..., Awaitable[object]], name: str) -> object:
        """Run what answers from outside, beside everything, until the end of the run.

        Args:
            door: takes ``task_status``, by which it says that it is open.
            name: what is said of it when it fails.

        Returns:
            What it said.

        Raises:
            Exception: it could not open.
        """
        group = await self.open()
        is_open = False

        async def keep_open(*, task_status: Any) -> None:  # noqa: ANN401  (as anyio gives it)
            nonlocal is_open
            try:
                await door(task_status=task_status)
            except Exception as exc:
                if not is_open:
                    raise
                self.fail(name, bare(exc))

        said: object = await group.start(keep_open)
        is_open = True
        return said

    async def start_parts(self, deadline: float, seconds: float) -> None:
        """Start the parts.

        Args:
            deadline: until when, on the monotonic clock.
            seconds: how many there were.

        Raises:
            StartupFailed: one could not start; several come as a group.
        """
        if self._parts:
            from hive_boot.lifecycle.parts import Parts  # noqa: PLC0415  (many have none)

            self.parts = Parts(self._parts, self.timeline, self.fail, self.timings)
            await self.parts.start(await self.open(), deadline, seconds)

    async def start_services(self) -> None:
        """Start the services, and have what a drain needs."""
        if self.drain:
            await self.open()
        if self._services:
            from hive_boot.lifecycle.services import Services  # noqa: PLC0415  (many have none)

            self.services = Services(self._services, self.timeline, self.fail, self.timings)
            self.services.start(await self.open())

    def fail(self, name: str, failure: BaseException) -> None:
        """End the run: something without which it cannot go on has failed."""
        if self.failure is not None:
            say(logging.ERROR, "%s has failed, too", name, exc_info=failure)
            return
        self.failure, self.failed = failure, name
        say(
            logging.CRITICAL,
            "%s has failed, and the application cannot go on",
            name,
            exc_info=failure,
        )
        if self._is_ending:
            return
        if self.state in SERVING:
            self.to(State.DRAINING)
        self.cannot_go_on()

    def want_end(self) -> None:
        """Begin the end, in the loop: drain if there is something to drain, then stop."""
        if self._is_ending:
            return
        self._is_ending = True
        if self.state in SERVING:
            self.to(State.DRAINING)
        if self.state is State.DRAINING and self.drain and self._group is not None:
            self._group.start_soon(self._drain)
        else:
            self._end()

    @property
    def stop_by(self) -> float:
        """Until when the stop may take, on the monotonic clock; its time begins to run now."""
        if self._stop_by == math.inf:
            self._stop_by = time.monotonic() + self.stop_timeout
            self.stops()
        return self._stop_by

    def begin_stop(self) -> None:
        """Take the steps to STOPPING, however far the run came."""
        self._is_ending = True
        _ = self.stop_by
        if self.state in SERVING:
            self.to(State.DRAINING)
        if self.state in {State.STARTING, State.DRAINING}:
            self.to(State.STOPPING)

    async def stop_services(self) -> list[BaseException]:
        """End the services.

        Returns:
            What they have raised at their end, and what is to be said of those that go on.
        """
        if self.services is None:
            return []
        from hive_boot.lifecycle.parts import SHARE  # noqa: PLC0415  (as above)

        share = SHARE if self.parts is not None else 1
        late = await self.services.stop((self.stop_by - time.monotonic()) * share)
        return [*self.services.failures, *([ShutdownTimeout(late)] if late else [])]

    async def stop_parts(self) -> list[BaseException]:
        """Stop the parts.

        Returns:
            What went wrong.
        """
        return [] if self.parts is None else await self.parts.stop(self.stop_by)

    async def end(self) -> None:
        """Close what is open when all has ended, and be STOPPED."""
        if self.services is not None:
            await self.services.join()
        await self._host.stop()
        self.to(State.STOPPED)

    def leave(self) -> None:
        """Be STOPPED without a word: the tasks are another process's."""
        self._host.leave()
        for state in (State.DRAINING, State.STOPPING, State.STOPPED):
            if state in TRANSITIONS[self.state]:
                self._machine.to(state)

    def force(self) -> State:
        """Be FORCED, in a signal handler.

        Returns:
            Where the run stood.
        """
        before = self.state
        self._machine.to(State.FORCED)
        return before

    def pending(self) -> list[str]:
        """Say what has not ended, a line for each."""
        lines = [] if self.parts is None else self.parts.standing()
        services = [] if self.services is None else self.services.running
        return [*(f"{'running':<9} the service {name}" for name in services), *lines]

    async def _hold(self) -> None:
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
            if self.parts is not None:
                self.parts.give_up()
            if self.services is not None:
                self.services.give_up()

    async def _drain(self) -> None:
        await anyio.sleep(self.drain)
        self._end()

    def _end(self) -> None:
        self.begin_stop()
        self.wants_end()

    async def _beat(self, seconds: float) -> None:
        while True:
            self._notify.beat()
            await anyio.sleep(seconds)

    def _tell_timeline(self, before: State, state: State) -> None:
        """Note the phases; a reload is a part of being ready."""
        if state is State.RELOADING or (before is State.RELOADING and state is State.READY):
            return
        self.timeline.end(self._phase)
        self._phase = self.timeline.begin(state, "phase")
        if state is State.STOPPED:
            self.timeline.end(self._phase)
