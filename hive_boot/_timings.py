"""Durations of a run in one place, and the back-off of everything that is tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot._records import Record

if TYPE_CHECKING:
    from collections.abc import Callable


class Backoff:
    """Delays before retries, each twice the one before, up to a maximum.

    Args:
        initial: seconds before the first retry.
        maximum: seconds that no delay is longer than.
        jitter: shorten each delay at random, down to half of it, so that many replicas that
            fail at one moment do not try again at one moment. Default False.
    """

    __slots__ = ("_initial", "_maximum", "_next", "_uniform")

    def __init__(self, initial: float, maximum: float, *, jitter: bool = False) -> None:
        self._initial = min(initial, maximum)
        self._maximum = maximum
        self._next = self._initial
        self._uniform: Callable[[float, float], float] | None = None
        if jitter:
            # Not at the first failure: a process without descriptors can import nothing.
            from random import uniform  # noqa: PLC0415  (slow to import, and often not needed)

            self._uniform = uniform

    def next_delay(self) -> float:
        """Return the seconds to wait after one more failure."""
        delay = self._next
        self._next = min(delay * 2, self._maximum)
        return delay if self._uniform is None else delay * self._uniform(0.5, 1)

    def reset(self) -> None:
        """Return to the first delay, after a success."""
        self._next = self._initial


# A tuple, because a dataclass of so many fields takes 3 ms of every start.
class Timings(Record):
    """The timings of one application, all in seconds.

    An interval is the time between two events, a timeout the longest wait for something, a
    delay the wait before an action. A `max_..._delay` limits a delay that is doubled at each
    retry.

    Attributes:
        event_interval: between two looks of watchfiles at its own queue: latency against
            idle work.
        debounce_timeout: a stream of events that does not pause is reported after this time.
        watcher_heartbeat_interval: the watcher thread shows this often that it is alive.
        resync_interval: between two comparisons of the identities and signatures of all files.
        busy_resync_interval: the same while events come: comparing many files has its price.
        full_read_interval: between two reads of all files.
        poll_interval: between two reads of all files while there are no events.
        watcher_start_timeout: the start waits this long for the first events.
        watcher_stop_timeout: the watcher thread may take this long to end.
        watcher_silence_timeout: a watcher thread that is silent for longer is taken to hang,
            most likely in a file system.
        watcher_check_interval: between two looks at whether the watcher thread hangs.
        watch_retry_delay: before a failed watch is tried again.
        max_watch_retry_delay: the longest of these delays.
        watch_stable_interval: a watch that lasted longer starts again at the first delay.
        missing_file_interval: between two looks for a file that a start waits for.
        read_timeout: a read that takes longer is taken to hang. Waiting for writers ends
            after 10 s.
        reload_retry_delay: before a failed read or check of a rotation is repeated.
        max_reload_retry_delay: the longest of these delays.
        check_retry_delay: before a check of a start that may pass later is repeated.
            At random, down to half of it.
        max_check_retry_delay: the longest of these delays.
        hook_retry_delay: before a hook that failed is called again.
        max_hook_retry_delay: the longest of these delays.
        hook_cancel_timeout: a hook that was cancelled may take this long to end.
        service_restart_delay: before a service that failed is started again. At random, down
            to half of it.
        max_service_restart_delay: the longest of these delays.
        resource_cancel_timeout: a resource that was cancelled may take this long to end.
        task_cancel_timeout: a task of hive_boot that was cancelled may take this long to end.
        kubernetes_shutdown_delay: between the first signal and the stop, under `serve` in
            kubernetes mode: endpoints take time to learn that a pod stops.
        forced_exit_delay: the process ends this long after the time limit of the stop.
        last_output_timeout: each step of a forced exit (to describe what has not ended, to
            write it, to flush) may take this long.
        server_stop_timeout: an HTTP server may take this long, after the grace of the
            requests, to answer those that were cancelled.
        probe_timeout: one connection to the probe port may take this long.
        accept_retry_delay: before the probe port accepts again after the system refused.
        page_refresh_interval: a browser reloads the status page this often during a start.
    """

    event_interval: float = 0.025
    debounce_timeout: float = 0.1
    watcher_heartbeat_interval: float = 1.0
    resync_interval: float = 5.0
    busy_resync_interval: float = 1.0
    full_read_interval: float = 60.0
    poll_interval: float = 2.0
    watcher_start_timeout: float = 5.0
    watcher_stop_timeout: float = 2.0
    watcher_silence_timeout: float = 20.0
    watcher_check_interval: float = 15.0
    watch_retry_delay: float = 0.1
    max_watch_retry_delay: float = 30.0
    watch_stable_interval: float = 30.0
    missing_file_interval: float = 0.1
    read_timeout: float = 30.0
    reload_retry_delay: float = 1.0
    max_reload_retry_delay: float = 60.0
    check_retry_delay: float = 0.1
    max_check_retry_delay: float = 5.0
    hook_retry_delay: float = 1.0
    max_hook_retry_delay: float = 60.0
    hook_cancel_timeout: float = 1.0
    service_restart_delay: float = 0.2
    max_service_restart_delay: float = 30.0
    resource_cancel_timeout: float = 0.5
    task_cancel_timeout: float = 5.0
    kubernetes_shutdown_delay: float = 5.0
    forced_exit_delay: float = 1.0
    last_output_timeout: float = 0.5
    server_stop_timeout: float = 1.0
    probe_timeout: float = 10.0
    accept_retry_delay: float = 0.1
    page_refresh_interval: float = 2.0


DEFAULTS = Timings()
"""The timings of an application."""
