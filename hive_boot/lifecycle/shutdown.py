"""Shutdown of a run: request, shutdown delay, deadline and forced exit."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

import anyio

from hive_boot._timings import DEFAULTS
from hive_boot.lifecycle.states import SERVING, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from hive_boot._timings import Timings
    from hive_boot.lifecycle.forced_exit import ExitWatchdog
    from hive_boot.lifecycle.states import StateMachine


class ShutdownController:
    """Shutdown of one run.

    A request begins it: the shutdown delay passes, then main is cancelled, and the deadline
    begins. In an owned process a forced exit follows the deadline. Methods are called in the
    event loop, except those that a signal handler calls.

    Args:
        states: the states of the run.
        delay: seconds between the request and the end of main, for a run that is ready.
        timeout: seconds between the end of main and the deadline.
        cancel: cancels main, the block, or the server that uses the run.
        describe_pending: describes what has not stopped, before a forced exit; called in
            another thread. None if the process has another owner: a failure then cancels
            without a delay, and there is no forced exit.
        timings: the delay of the forced exit after the deadline.

    Attributes:
        delay: as given; under ``serve`` in Kubernetes it is set during the start.
        deadline: the deadline on the monotonic clock; infinite until it has been started.
    """

    def __init__(  # noqa: PLR0913  (the run, its times, and its owner)
        self,
        states: StateMachine,
        *,
        delay: float,
        timeout: float,
        cancel: Callable[[], object],
        describe_pending: Callable[[], str] | None = None,
        timings: Timings = DEFAULTS,
    ) -> None:
        self.delay: float = delay
        self.deadline: float = math.inf
        self._states = states
        self._timeout = timeout
        self._cancel = cancel
        self._describe_pending = describe_pending
        self._timings = timings
        self._is_requested = False
        self._group: TaskGroup | None = None
        self._watchdog: ExitWatchdog | None = None
        self._signals: SimpleQueue[None] = SimpleQueue()

    def set_task_group(self, group: TaskGroup | None) -> None:
        """Set the task group in which the delay passes; without one there is no delay."""
        self._group = group

    def request(self) -> None:
        """Begin the shutdown; a second request does nothing."""
        if self._is_requested:
            return
        self._is_requested = True
        if self._states.state in SERVING:
            self._states.transition(State.DRAINING)
        if self._states.state is State.DRAINING and self.delay and self._group is not None:
            self._group.start_soon(self._pass_delay)
        else:
            self._end_delay()

    def request_after_failure(self) -> None:
        """Begin the shutdown, because a resource, a service or a listener has failed."""
        if self._is_requested:
            return
        is_serving = self._states.state in SERVING
        if is_serving:
            self._states.transition(State.DRAINING)
        if self._describe_pending is not None:
            self.request()
        elif is_serving:
            # Before READY the start raises the failure itself.
            self._cancel()

    def begin_stop(self) -> None:
        """Start the deadline and enter STOPPING, in whichever state the run is."""
        self._is_requested = True
        self.start_deadline()
        if self._states.state in SERVING:
            self._states.transition(State.DRAINING)
        if self._states.state in {State.STARTING, State.DRAINING}:
            self._states.transition(State.STOPPING)

    def start_deadline(self) -> None:
        """Start the deadline; a second call does nothing."""
        if self.deadline == math.inf:
            self.deadline = time.monotonic() + self._timeout
            self._start_watchdog(self._timeout + self._timings.forced_exit_delay)

    def watch_signals(self) -> None:
        """Start the thread that forces an exit if the event loop ignores the first signal.

        A signal handler cannot start a thread: it could wait for a lock that the interrupted
        code holds. When no thread can be started, there is no such forced exit.
        """
        with suppress(RuntimeError):
            threading.Thread(
                target=self._enforce, name="hive_boot: first signal", daemon=True
            ).start()

    def note_signal(self) -> None:
        """Note the first signal; called in its handler."""
        # SimpleQueue.put() is reentrant: https://docs.python.org/3/library/queue.html
        self._signals.put(None)

    def force(self) -> State:
        """Enter FORCED, before the second signal ends the process; called in its handler.

        Returns:
            The state until then.
        """
        before = self._states.state
        self._states.transition_silently(State.FORCED)
        return before

    def release(self, *, exit_may_hang: bool) -> None:
        """Cancel the forced exit, because the event loop has ended.

        Args:
            exit_may_hang: whether threads of the application are left, for which Python
                waits. Then only this wait ends with a forced exit.
        """
        self._signals.put(None)
        if self._watchdog is None:
            return
        if exit_may_hang:
            self._watchdog.only_while_exiting()
        else:
            self._watchdog.cancel()

    async def _pass_delay(self) -> None:
        await anyio.sleep(self.delay)
        self._end_delay()

    def _end_delay(self) -> None:
        self.begin_stop()
        self._cancel()

    def _enforce(self) -> None:
        self._signals.get()
        if self._watchdog is None:
            time.sleep(min(self.delay + self._timeout, threading.TIMEOUT_MAX))
        if self._watchdog is None:
            self._start_watchdog(self._timings.forced_exit_delay)

    def _start_watchdog(self, seconds: float) -> None:
        if self._describe_pending is None:
            return
        from hive_boot.lifecycle.forced_exit import ExitWatchdog  # noqa: PLC0415  (no start needs it)

        self._watchdog = ExitWatchdog(seconds, self._describe_pending, 70, self._timings)
        # When no thread can be started, the stop continues without a forced exit.
        with suppress(RuntimeError):
            self._watchdog.start()
