"""Services: background work that is restarted after a failure, up to a maximum of restarts."""

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
    """Service of a run.

    Attributes:
        label: the name of the service in messages.
        call: runs the service once.
        restart: whether the service is restarted after a failure.
        max_restarts: how many restarts are allowed within ``restart_window``.
        restart_window: seconds in which restarts are counted.
    """

    label: str
    call: Callable[[], Awaitable[object]]
    restart: bool
    max_restarts: int
    restart_window: float


class TaskSupervisor:
    """Services of one run.

    Args:
        services: the services to run.
        timeline: records each run of a service.
        on_give_up: called with the label and the failure of a service that is not restarted.
        timings: the delays before a restart.

    Attributes:
        failures: the exceptions that services raised after they were cancelled.
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
        self._all_ended = anyio.Event()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The services that have failed and wait for their restart."""
        return tuple(self._waiting)

    @property
    def running(self) -> list[str]:
        """The services that have not ended."""
        return list(self._scopes)

    def start(self, group: TaskGroup) -> None:
        """Start all services.

        Args:
            group: the task group that runs them.
        """
        for service in self._services:
            self._scopes[service.label] = anyio.CancelScope()
            group.start_soon(self._supervise, service)

    async def stop(self, seconds: float) -> list[str]:
        """Cancel all services, and wait until they have ended.

        Args:
            seconds: the longest wait.

        Returns:
            The services that have not ended.
        """
        for scope in list(self._scopes.values()):
            scope.cancel()
        if self._scopes:
            with anyio.move_on_after(max(0.0, seconds)):
                await self._all_ended.wait()
        return self.running

    async def join(self) -> None:
        """Wait without a limit for services that have not ended after they were cancelled."""
        if self._scopes:
            log_event(
                logging.ERROR,
                "Services were cancelled and have not ended; shutdown waits for them: %s",
                ", ".join(self.running),
            )
            await self._all_ended.wait()

    def mark_cancelled(self) -> None:
        """Mark services as ended whose tasks were cancelled before their first step."""
        self._scopes.clear()
        self._waiting.clear()
        self._all_ended.set()

    async def _supervise(self, service: SupervisedTask) -> None:
        try:
            with self._scopes[service.label]:
                await self._restart_loop(service)
        finally:
            self._scopes.pop(service.label, None)
            self._waiting.pop(service.label, None)
            if not self._scopes:
                self._all_ended.set()

    async def _restart_loop(self, service: SupervisedTask) -> None:
        timings = self._timings
        # Jitter: replicas that fail together must not restart together.
        backoff = Backoff(
            timings.service_restart_delay, timings.max_service_restart_delay, jitter=True
        )
        failures: deque[float] = deque()
        while True:
            started_at = time.monotonic()
            failure = await self._run_once(service)
            if failure is None:
                return
            now = time.monotonic()
            if now - started_at > service.restart_window:
                backoff.reset()
            failures.append(now)
            while failures[0] < now - service.restart_window:
                failures.popleft()
            is_fatal = not (service.restart and isinstance(failure, Exception))
            if is_fatal or len(failures) > service.max_restarts:
                failure.add_note(f"(raised by the service {service.label})")
                self._on_give_up(service.label, failure)
                return
            await self._wait_for_restart(service, failure, backoff.next_delay())

    async def _run_once(self, service: SupervisedTask) -> BaseException | None:
        step = self._timeline.begin(service.label, "service")
        scope = self._scopes[service.label]
        failure: BaseException | None = None
        has_returned = stop_requested = False

        async def work() -> None:
            nonlocal failure, has_returned, stop_requested
            try:
                await service.call()
                has_returned = True
            except BaseException as exc:  # handled in _restart_loop, also a SystemExit
                if is_cancellation(exc):
                    raise
                failure = unwrap_single(exc)
                stop_requested = scope.cancel_called

        try:
            # A separate group contains a cancellation that hive_boot did not request.
            async with anyio.create_task_group() as group:
                group.start_soon(work)
            # The group can swallow the cancellation of this task: raise it again.
            await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            self._timeline.end(step, "cancelled" if failure is None else "failed")
            if failure is not None:
                self._report_final(service, failure, stop_requested=stop_requested)
            raise
        if failure is None and not has_returned:
            # The service cancelled itself, or something that it awaits was cancelled.
            failure = LifecycleError(
                f"The service {service.label} was cancelled, but not by hive_boot."
            )
        self._timeline.end(step, "done" if failure is None else "failed")
        return failure

    def _report_final(
        self, service: SupervisedTask, failure: BaseException, *, stop_requested: bool
    ) -> None:
        """Report a failure that is not followed by a restart."""
        if not stop_requested and service.restart and isinstance(failure, Exception):
            # The service failed before the stop was requested, which prevents the restart.
            text = "The service %s has failed; no restart, because the application stops"
            log_event(logging.ERROR, text, service.label, exc_info=failure)
            return
        failure.add_note(f"(raised by the service {service.label})")
        if stop_requested:
            self.failures.append(failure)
        else:
            self._on_give_up(service.label, failure)

    async def _wait_for_restart(
        self, service: SupervisedTask, failure: BaseException, seconds: float
    ) -> None:
        self._waiting[service.label] = None
        log_event(
            logging.ERROR,
            "The service %s has failed and is restarted in %.1f s",
            service.label,
            seconds,
            exc_info=failure,
        )
        await anyio.sleep(seconds)
        del self._waiting[service.label]
