"""Shutdown of a run: request, shutdown delay, deadline and forced exit."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import anyio

from hive_boot._timings import DEFAULTS, Backoff, Timings
from hive_boot.lifecycle.signals import is_exiting
from hive_boot.lifecycle.states import SERVING, State, StateMachine
from hive_boot.lifecycle.tasks import BackgroundTask, call_on_stop, log_event, start_daemon_thread
from hive_boot.redaction import registry

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Sequence

    from hive_boot.lifecycle.services import TaskSupervisor


class ShutdownController:
    """Shutdown of one run.

    A request begins it. When the shutdown delay and the grace period of main are over, main is
    cancelled, and the time until the deadline starts. In an owned process a forced exit follows
    the deadline.
    Methods are called in the event loop, except :meth:`note_signal` and :meth:`mark_forced`.

    Args:
        states: the states of the run.
        delay: seconds between the request and the cancellation of main, for a run that is ready.
        timeout: seconds between the cancellation and the deadline.
        cancel: cancels main, the block, or the server that uses the run. Its argument is the
            time in which this should end, in seconds.
        context: the context variables of functions that are called when a stop is requested.
        describe_pending: describes what has not stopped, before a forced exit; called in
            another thread. None if the process has another owner: a request then cancels
            without a delay, and there is no forced exit.
        waits_for: returns a line for each component that the shutdown waits for now, for the log.
        grace_period: seconds between the request and the cancellation of main, if that is longer
            than ``delay``.
        on_stop: called when a stop is requested before main has ended; None without it.
        timings: the delay of the forced exit after the deadline.

    Attributes:
        delay: as given; under ``serve`` in Kubernetes it is set during the start.
        deadline: the deadline on the monotonic clock; infinite until it has been started.
        requested_at: when the stop was requested, on the monotonic clock; infinite before.
        is_owned: whether the run owns the process.
        stopping: set when the stop is requested.
        services: the services, whose grace periods delay the deadline; None without services.
    """

    def __init__(
        self,
        states: StateMachine,
        *,
        delay: float,
        timeout: float,
        cancel: Callable[[float], object],
        context: contextvars.Context,
        describe_pending: Callable[[], str] | None = None,
        waits_for: Callable[[], Sequence[str]] = tuple,
        grace_period: float = 0.0,
        on_stop: Callable[[], object] | None = None,
        timings: Timings = DEFAULTS,
    ) -> None:
        self.delay: float = delay
        self.deadline: float = math.inf
        self.requested_at: float = math.inf
        self.stopping: anyio.Event = anyio.Event()
        self.services: TaskSupervisor | None = None
        self.timeout: float = timeout
        self._states = states
        self._cancel = cancel
        self.is_owned: bool = describe_pending is not None
        self._grace_period = grace_period
        self._on_stop = on_stop
        self._timings = timings
        self._waits_for = waits_for
        self._has_stop_begun = False
        self._delay_scope: anyio.CancelScope | None = None
        self._task = BackgroundTask(self._accompany, "hive_boot shutdown", context, timings)
        self._watchdog = ExitWatchdog(describe_pending or str, 70, timings)

    @property
    def cancel_delay(self) -> float:
        """Seconds between the request and the cancellation of main, for a run that is ready."""
        return max(self.delay, self._grace_period)

    def prepare(self) -> None:
        """Import what a forced exit and a report need; called when the run is ready.

        Later the process may have no file descriptor left for an import.
        """
        if self.stopping.is_set():
            # Only a run in a process of another owner becomes ready after the request, because its
            # start continues.
            self._states.transition(State.DRAINING)
        self._watchdog.prepare()

    def request(self) -> None:
        """Begin the shutdown; a second request does nothing."""
        if self.requested_at < math.inf:
            return
        self._mark_requested()
        if not self.is_owned:
            self._cancel(self.timeout)
        elif self._states.state is not State.DRAINING or not (self.cancel_delay or self._on_stop):
            self._end_delay()

    def begin_stop(self) -> None:
        """Start the deadline and enter STOPPING, in any state of the run."""
        self._has_stop_begun = True
        if self._delay_scope is not None:
            self._delay_scope.cancel()
        self._mark_requested()
        self.start_deadline()
        if self._states.state in {State.STARTING, State.DRAINING}:
            self._states.transition(State.STOPPING)

    def start_deadline(self) -> None:
        """Set the deadline: ``timeout`` after the end of the grace periods of the services.

        A later call sets an earlier deadline if the services have ended before their grace period.
        """
        now = time.monotonic()
        end = max(now, min(now, self.requested_at) + self._services_grace)
        self.deadline = min(self.deadline, end + self.timeout)
        self._watchdog.set_deadline(self.deadline + self._timings.forced_exit_delay)

    def watch(self) -> None:
        """Start the threads that force an exit after the deadline; only in an owned process.

        They also do so if the event loop does not react to the first signal. They start with the
        run, because a signal handler must not start a thread, and a process at its limit of threads
        cannot. If that limit is reached now, there is no forced exit.
        """
        with suppress(RuntimeError):
            self._watchdog.start()

    def note_signal(self) -> None:
        """Note the first signal; called in its handler, so that a blocked loop cannot miss it."""
        seconds = max(self.cancel_delay, self._services_grace) + self.timeout
        self._watchdog.set_deadline(time.monotonic() + seconds + self._timings.forced_exit_delay)

    def mark_forced(self) -> State:
        """Enter FORCED, before the second signal ends the process; called in its handler.

        Returns:
            The state before.
        """
        before = self._states.state
        self._states.transition_silently(State.FORCED)
        return before

    async def end(self) -> None:
        """End the task of the shutdown."""
        await self._task.stop()

    def abandon(self) -> None:
        """Suppress log lines in a forked child, in which the task belongs to the parent."""
        self._task.abandon()

    def release(self, *, exit_may_hang: bool) -> None:
        """Cancel the forced exit, because the event loop has ended.

        Args:
            exit_may_hang: whether threads or child processes of the application are left, for
                which Python waits. Then a forced exit can end only this wait.
        """
        if exit_may_hang:
            self._watchdog.only_while_exiting()
        else:
            self._watchdog.cancel()

    @property
    def _services_grace(self) -> float:
        return 0.0 if self.services is None else self.services.grace_period

    def _mark_requested(self) -> None:
        if self.requested_at < math.inf:
            return
        self.requested_at = time.monotonic()
        self.note_signal()
        if self._states.state in SERVING:
            self._states.transition(State.DRAINING)
        self.stopping.set()
        self._task.start()

    async def _accompany(self) -> None:
        """Ask main and services to stop, end the delay, and log what the shutdown waits for."""
        async with anyio.create_task_group() as group:
            # on_stop is not called for a main that has ended or has not begun.
            if self._on_stop is not None and not self._has_stop_begun:
                group.start_soon(call_on_stop, self._on_stop, "main")
            if self.services is not None:
                self.services.call_on_stop(group)
            with anyio.CancelScope() as self._delay_scope:
                if not self._has_stop_begun:
                    # If the process has another owner, the request reaches that owner at once, and
                    # the owner ends the run.
                    await anyio.sleep(self.cancel_delay if self.is_owned else math.inf)
            self._end_delay()
            # From here on the task only logs: its early end is not a failure.
            self._task.abandon()
            await self._log_waiting()

    async def _log_waiting(self) -> None:
        """Log what the shutdown waits for after 1, 3, 7, … seconds."""
        backoff = Backoff(self._timings.shutdown_log_delay, math.inf)
        while True:
            await anyio.sleep(backoff.next_delay())
            if lines := self._waits_for():
                seconds = time.monotonic() - self.requested_at
                text = "The stop was requested %.1f s ago, and waits for:" + "\n  %s" * len(lines)
                log_event(logging.INFO, text, seconds, *lines)

    def _end_delay(self) -> None:
        if not self._has_stop_begun:
            self.begin_stop()
            self._cancel(self.timeout)


def _import_late() -> None:
    """Import the modules of a forced exit, which a process without free descriptors cannot import.

    The matcher of the redaction is built too, unless a log line has built it.
    """
    if registry.matcher is not None:
        registry.matcher.build()
    for name in ("redaction.patches", "redaction.scrub", "lifecycle.forced_exit"):
        import_module(f"hive_boot.{name}")


_SIGNALS = range(1, 32)
"""The numbers of the signals, except real-time signals."""


class ExitWatchdog:
    """Watchdog thread that ends the process at a deadline, even if the main thread is blocked.

    Code that holds the GIL, such as a C extension or a slow regular expression, delays the exit
    until it releases the GIL.

    Args:
        pending: returns the text for stderr, which lists what has not stopped. Called in a
            separate thread; it may fail or hang.
        status: the exit status of the process.
        timings: contains the limit of each step of the exit.
    """

    def __init__(
        self, pending: Callable[[], str], status: int, timings: Timings = DEFAULTS
    ) -> None:
        self._pending = pending
        self._status = status
        self._timings = timings
        # SimpleQueue.put() is reentrant: https://docs.python.org/3/library/queue.html
        self._deadlines: SimpleQueue[float | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._decided = threading.Event()
        self._must_exit = False
        self._only_at_exit = False

    def start(self) -> None:
        """Start the threads; called once.

        Raises:
            RuntimeError: no thread can be started.
        """
        self._threads.append(start_daemon_thread(self._wait, "hive_boot: deadline"))

    def set_deadline(self, deadline: float) -> None:
        """Set the deadline on the monotonic clock; may be called in a signal handler."""
        self._deadlines.put(deadline)

    def prepare(self) -> None:
        """Import what the exit needs: at the deadline it may be impossible to open a file.

        The thread imports after a short delay, so that it does not slow down the begin of main, and
        imports nothing if main ends at once.
        """
        if self._threads:
            self._deadlines.put(math.inf)
        else:
            _import_late()

    def cancel(self) -> None:
        """Cancel the forced exit and wait for the threads; if it has begun, wait for it instead.

        Python kills daemon threads when it exits, and aborts if that needs a file that cannot be
        opened: https://github.com/python/cpython/issues/89253
        """
        self._deadlines.put(None)
        for thread in self._threads:
            thread.join(0.1)
        self._wait_for_forced_exit()

    def only_while_exiting(self) -> None:
        """Restrict the forced exit to the phase in which Python joins threads and children."""
        self._only_at_exit = True
        self._wait_for_forced_exit()
        if (util := sys.modules.get("multiprocessing.util")) is not None:
            # multiprocessing calls a finalizer of negative priority after joining the children.
            util.Finalize(None, self._wait_for_forced_exit, exitpriority=-1000)

    def _wait_for_forced_exit(self) -> None:
        """Wait for the forced exit if it has begun.

        The forced exit ends child processes, so that code which waits for them continues. Without
        this wait, Python could exit first, with another status.
        """
        if self._must_exit:
            threading.Event().wait()

    def _wait(self) -> None:
        # The kernel can deliver a signal to a thread that starts another one. What the main thread
        # waits for would then not be interrupted. The other thread inherits this mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        # While Python joins threads at its exit, no thread can be started (since Python 3.12).
        # This thread then writes the message itself. If it hangs in that, a second thread, which
        # was started in time, ends the process.
        with suppress(RuntimeError):
            second = start_daemon_thread(self._hard_exit, "hive_boot: last deadline")
            self._threads.append(second)
        deadline = imports_at = math.inf
        while (now := time.monotonic()) < deadline:
            if now >= imports_at:
                imports_at = math.inf
                # If it fails, the deadline stays: the second thread ends the process.
                with suppress(Exception):
                    _import_late()
                continue
            with suppress(Empty):
                left = min(deadline, imports_at) - now
                message = self._deadlines.get(timeout=min(left, threading.TIMEOUT_MAX))
                if message is None:
                    self._decided.set()
                    return
                if message < math.inf:
                    deadline = message
                else:
                    imports_at = time.monotonic() + self._timings.late_import_delay
        self._must_exit = not self._only_at_exit or is_exiting()
        self._decided.set()
        if self._must_exit:
            from hive_boot.lifecycle.forced_exit import force_exit  # no start needs it

            force_exit(self._status, self._pending, self._timings)

    def _hard_exit(self) -> None:
        self._decided.wait()
        if self._must_exit:
            # Longer than the steps of force_exit(). The time starts here and not with the other
            # thread, because code that holds the GIL may have delayed both.
            timings = self._timings
            time.sleep(4 * timings.last_output_timeout + 2 * timings.child_exit_timeout)
            with suppress(Exception):
                # The other thread may hang before it ends the children.
                from hive_boot.lifecycle.forced_exit import end_children  # no start needs it

                end_children(timings)
            os._exit(self._status)
