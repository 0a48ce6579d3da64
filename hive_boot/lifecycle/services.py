"""Services: work in the background, started again when it fails, until it fails too often."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from hive_boot._records import Record
from hive_boot._timings import DEFAULTS, Backoff
from hive_boot.exceptions import LifecycleError
from hive_boot.lifecycle.tasks import is_cancellation, log_event, unwrap_single

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import TaskGroup

    from hive_boot._timings import Timings
    from hive_boot.lifecycle.states import Timeline


class SupervisedTask(Record):
    """One service, as it is run.

    Attributes:
        label: what people are told it is.
        call: runs it once.
        restart: whether it is started again after a failure.
        max_restarts: how many times within ``restart_window``.
        restart_window: seconds.
    """

    label: str
    call: Callable[[], Awaitable[object]]
    restart: bool
    max_restarts: int
    restart_window: float


class TaskSupervisor:
    """The services of one run.

    Args:
        services: what is to be run.
        timeline: is told of each of their runs.
        on_give_up: called with the label and the failure of one that is not started again.
        timings: when one that failed is started again.

    Attributes:
        failures: what they have raised when they were told to end.
    """

    def __init__(
        self,
        services: Sequence[SupervisedTask],
        timeline: Timeline,
        on_give_up: Callable[[str, BaseException], None],
        timings: Timings = DEFAULTS,
    ) -> None:
        self._services = services
        self._timeline = timeline
        self._on_give_up = on_give_up
        self._timings = timings
        self.failures: list[BaseException] = []
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._waiting: dict[str, None] = {}
        self._none_left = anyio.Event()

    @property
    def waiting(self) -> tuple[str, ...]:
        """Those that have failed, and wait to be started again."""
        return tuple(self._waiting)

    @property
    def running(self) -> list[str]:
        """Those that have not ended."""
        return list(self._scopes)

    def start(self, group: TaskGroup) -> None:
        """Start them all.

        Args:
            group: holds their tasks.
        """
        for service in self._services:
            self._scopes[service.label] = anyio.CancelScope()
            group.start_soon(self._supervise, service)

    async def stop(self, seconds: float) -> list[str]:
        """Cancel them, and wait until they have ended.

        Args:
            seconds: how long that may take.

        Returns:
            Those that go on.
        """
        for scope in list(self._scopes.values()):
            scope.cancel()
        if self._scopes:
            with anyio.move_on_after(max(0.0, seconds)):
                await self._none_left.wait()
        return self.running

    async def join(self) -> None:
        """Wait for those that go on although they were cancelled."""
        if self._scopes:
            log_event(
                logging.ERROR,
                "Services go on although they were cancelled: %s",
                ", ".join(self.running),
            )
            await self._none_left.wait()

    def mark_cancelled(self) -> None:
        """Note the end of those whose tasks have ended without a step."""
        self._scopes.clear()
        self._waiting.clear()
        self._none_left.set()

    async def _supervise(self, service: SupervisedTask) -> None:
        try:
            with self._scopes[service.label]:
                await self._restart_loop(service)
        finally:
            self._scopes.pop(service.label, None)
            self._waiting.pop(service.label, None)
            if not self._scopes:
                self._none_left.set()

    async def _restart_loop(self, service: SupervisedTask) -> None:
        timings = self._timings
        # Many replicas that fail at one moment do not come back at one moment.
        backoff = Backoff(
            timings.service_restart_delay, timings.max_service_restart_delay, jitter=True
        )
        failures: deque[float] = deque()
        while True:
            began = time.monotonic()
            failure = await self._run_once(service)
            if failure is None:
                return
            now = time.monotonic()
            if now - began > service.restart_window:
                backoff.reset()
            failures.append(now)
            while failures[0] < now - service.restart_window:
                failures.popleft()
            fatal = not (service.restart and isinstance(failure, Exception))
            if fatal or len(failures) > service.max_restarts:
                failure.add_note(f"(raised by the service {service.label})")
                self._on_give_up(service.label, failure)
                return
            await self._pause(service, failure, backoff.next_delay())

    async def _run_once(self, service: SupervisedTask) -> BaseException | None:
        step = self._timeline.begin(service.label, "service")
        scope = self._scopes[service.label]
        failure: BaseException | None = None
        has_returned = was_told = False

        async def work() -> None:
            nonlocal failure, has_returned, was_told
            try:
                await service.call()
                has_returned = True
            except BaseException as exc:  # whatever it is, it is started again
                if is_cancellation(exc):
                    raise
                failure = unwrap_single(exc)
                was_told = scope.cancel_called

        try:
            # In a group of its own, where a cancellation that is none of ours ends.
            async with anyio.create_task_group() as group:
                group.start_soon(work)
            # The group may keep to itself that it was we who were cancelled.
            await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            self._timeline.end(step, "cancelled" if failure is None else "failed")
            if failure is not None:
                self._note(service, failure, was_told=was_told)
            raise
        if failure is None and not has_returned:
            # It has cancelled itself, or what it awaits was cancelled.
            failure = LifecycleError("it was cancelled from outside")
        self._timeline.end(step, "done" if failure is None else "failed")
        return failure

    def _note(self, service: SupervisedTask, failure: BaseException, *, was_told: bool) -> None:
        """Tell of a failure that is not followed by another start."""
        if not was_told and service.restart and isinstance(failure, Exception):
            # It was there before the wish to stop, which alone kept it from being mended.
            log_event(logging.ERROR, "The service %s has failed", service.label, exc_info=failure)
            return
        failure.add_note(f"(raised by the service {service.label})")
        if was_told:
            self.failures.append(failure)
        else:
            self._on_give_up(service.label, failure)

    async def _pause(self, service: SupervisedTask, failure: BaseException, seconds: float) -> None:
        self._waiting[service.label] = None
        log_event(
            logging.ERROR,
            "The service %s has failed, and is started again in %.1f s",
            service.label,
            seconds,
            exc_info=failure,
        )
        await anyio.sleep(seconds)
        del self._waiting[service.label]
