"""Timings: all intervals, timeouts and delays of a run, and the back-off of retries."""

from __future__ import annotations

from os import urandom

from hive_boot._records import Record


class Backoff:
    """Delays before retries, each twice the one before, up to a maximum.

    Args:
        initial: seconds before the first retry.
        maximum: the longest delay, in seconds.
        jitter: whether each delay is shortened at random, down to half of it, so that replicas that
            fail at the same moment do not retry at the same moment. Default False.
    """

    __slots__ = ("_initial", "_jitter", "_maximum", "_next")

    def __init__(self, initial: float, maximum: float, *, jitter: bool = False) -> None:
        self._initial = min(initial, maximum)
        self._maximum = maximum
        self._next = self._initial
        self._jitter = jitter

    def next_delay(self) -> float:
        """Return the seconds to wait after one more failure."""
        delay = self._next
        self._next = min(delay * 2, self._maximum)
        # Not random(): importing it takes a millisecond, and a descriptor.
        return delay - delay * urandom(1)[0] / 512 if self._jitter else delay

    def reset(self) -> None:
        """Return to the first delay, after a success."""
        self._next = self._initial


# A Record, because creating a dataclass of so many fields adds 3 ms to every start.
class Timings(Record):
    """The timings of one application, all in seconds.

    An interval is the time between two events, a timeout the longest wait for something, a
    delay the wait before an action. A `max_..._delay` limits a delay that is doubled at each
    retry.

    Attributes:
        event_interval: between two reads of the event queue while many events arrive. In
            watchfiles also while none arrive.
        debounce_timeout: a stream of events without a pause is reported after this time; also the
            wait for the event of a change that a comparison has found.
        resync_interval: between two comparisons of the identities and signatures of all files.
        busy_resync_interval: the same while events arrive in watchfiles, which can lose some.
        full_read_interval: between two reads of all files.
        poll_interval: between two reads of all files while there are no events.
        watcher_silence_timeout: for a comparison, after which a file system is considered hung.
        writer_silence_timeout: after the last write into a file that its writer has not closed.
        watch_retry_delay: before a failed watch is retried.
        max_watch_retry_delay: the longest of these delays.
        watch_stable_interval: a watch that worked for longer resets the delay.
        missing_file_interval: between two checks for a file that a start waits for.
        refresh_interval: between two reads of one name by ``get_secret`` without an application.
        fifo_timeout: for the FIFOs of a start or reload, until their writers close them.
        read_timeout: after which a read is considered hung. Waiting for writers ends after 10 s.
        source_timeout: for one answer of a custom source in a reload, which files wait for.
        reload_retry_delay: before a failed read or check of a rotation is retried.
        max_reload_retry_delay: the longest of these delays.
        rebuild_retry_delay: before a failed rebuild is retried.
        max_rebuild_retry_delay: the longest of these delays.
        check_retry_delay: before a check, a resource or a source of a start that was not
            available is retried. Shortened at random, down to half of it.
        max_check_retry_delay: the longest of these delays.
        hook_retry_delay: before a failed hook is retried.
        max_hook_retry_delay: the longest of these delays.
        hook_cancel_timeout: for the end of a cancelled hook or readiness contributor.
        service_restart_delay: before a failed service is restarted. Shortened at random, down to
            half of it.
        max_service_restart_delay: the longest of these delays.
        service_stable_interval: a restarted service that runs for longer has recovered.
        cancel_retry_interval: between two attempts to cancel a task in a shielded scope.
        resource_cancel_timeout: for the end of a cancelled resource.
        old_resource_stop_timeout: for the stop of an instance that a rebuild has replaced.
        task_cancel_timeout: for the end of a cancelled task of hive_boot.
        kubernetes_shutdown_delay: between the first signal and the stop, under `serve` in
            kubernetes mode: load balancers route requests to a stopping pod for a while.
        handler_check_delay: before the signal handlers are compared with those of hive_boot;
            doubled each time, up to ``resync_interval``.
        late_import_delay: between READY and the imports that only a forced exit needs.
        forced_exit_delay: between the deadline of the shutdown and the forced exit.
        child_exit_timeout: for the end of the child processes in a forced exit, after SIGTERM and
            again after SIGKILL.
        last_output_timeout: for each step of a forced exit: describing what has not stopped,
            writing it, flushing.
        shutdown_log_delay: before the log shows what a shutdown waits for; each further delay is
            twice the one before.
        server_stop_timeout: for an HTTP server to finish after it has cancelled the requests at
            the end of the grace period.
        probe_timeout: for one connection to the probe port.
        accept_retry_delay: before the probe port accepts again after the system refused.
        probe_port_retry_delay: before a worker tries again to get the probe port of another one.
        page_refresh_interval: between two reloads of the status page by a browser during a
            start.
    """

    event_interval: float = 0.025
    debounce_timeout: float = 0.1
    resync_interval: float = 5.0
    busy_resync_interval: float = 1.0
    full_read_interval: float = 60.0
    poll_interval: float = 2.0
    watcher_silence_timeout: float = 20.0
    writer_silence_timeout: float = 5.0
    watch_retry_delay: float = 0.1
    max_watch_retry_delay: float = 30.0
    watch_stable_interval: float = 30.0
    missing_file_interval: float = 0.1
    refresh_interval: float = 1.0
    fifo_timeout: float = 10.0
    read_timeout: float = 30.0
    source_timeout: float = 10.0
    reload_retry_delay: float = 1.0
    max_reload_retry_delay: float = 5.0
    rebuild_retry_delay: float = 1.0
    max_rebuild_retry_delay: float = 60.0
    check_retry_delay: float = 0.1
    max_check_retry_delay: float = 5.0
    hook_retry_delay: float = 1.0
    max_hook_retry_delay: float = 60.0
    hook_cancel_timeout: float = 1.0
    service_restart_delay: float = 0.2
    max_service_restart_delay: float = 30.0
    service_stable_interval: float = 5.0
    cancel_retry_interval: float = 0.02
    resource_cancel_timeout: float = 0.5
    old_resource_stop_timeout: float = 30.0
    task_cancel_timeout: float = 5.0
    kubernetes_shutdown_delay: float = 5.0
    handler_check_delay: float = 0.1
    late_import_delay: float = 0.1
    forced_exit_delay: float = 1.0
    child_exit_timeout: float = 0.5
    last_output_timeout: float = 0.5
    shutdown_log_delay: float = 1.0
    server_stop_timeout: float = 1.0
    probe_timeout: float = 10.0
    accept_retry_delay: float = 0.1
    probe_port_retry_delay: float = 5.0
    page_refresh_interval: float = 2.0


STOP_BUDGET_SHARE = 0.75
"""Share of the remaining shutdown time that tasks, services or resources may use if others stop
later."""


DEFAULTS = Timings()
"""The timings of an application."""
