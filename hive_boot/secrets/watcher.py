"""Watcher: a thread that notices possible changes of the sources; a reload then reads them.

There is one thread per application. It uses three mechanisms:

- Kernel events (inotify) are only hints: a full queue drops them, and a mount over a directory or
  its unmount causes none.
- A resync compares the signatures of all watch targets every 5 seconds, and all files are read once
  a minute.
- A poll replaces both where inotify is not available, for example because the containers of one
  user share the limit of instances: all files are read every 2 seconds, and inotify is tried again
  with a back-off.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from typing import TYPE_CHECKING, Literal

from hive_boot._timings import DEFAULTS, Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from hive_boot._timings import Timings
    from hive_boot.secrets.watch_targets import MountedFile, WatchSnapshot

log: logging.Logger = logging.getLogger("hive_boot.watching")


WatchMode = Literal["inotify", "poll", "down", "off"]


NOT_FORCED = frozenset({"", "false", "disable", "disabled"})
"""Values of ``WATCHFILES_FORCE_POLLING`` that do not select polling, as in watchfiles."""


_watched_by: dict[str, int] = {}
"""PID of the process that watched first.

A forked child does not watch: it may have inherited a native lock that stays locked forever.
"""


_FAILURES = (ImportError, OSError, RuntimeError, ValueError)
"""Exceptions of watchfiles when events are not available; ValueError if a path is not UTF-8."""


class FileEvents:
    """Kernel events, received through watchfiles.

    Args:
        paths: files, and directories without their subdirectories.
        timings: the interval and the debounce timeout of watchfiles.

    Raises:
        ImportError: watchfiles cannot be imported.
        OSError: no watch is left, a path does not exist, ``WATCHFILES_FORCE_POLLING`` is set,
            or the process is a fork of one that has watched.
        RuntimeError: no inotify instance is left.
    """

    def __init__(self, paths: Collection[str], timings: Timings = DEFAULTS) -> None:
        if os.environ.get("WATCHFILES_FORCE_POLLING", "").lower() not in NOT_FORCED:
            message = "WATCHFILES_FORCE_POLLING is set"
            raise OSError(message)
        if _watched_by.setdefault("pid", os.getpid()) != os.getpid():
            message = "this process was forked from a process that watches"
            raise OSError(message)
        # RustNotify watches from its creation; watch() of watchfiles only from its first iteration,
        # so changes before it would be lost. RustNotify is documented:
        # https://watchfiles.helpmanual.io/api/rust_backend/
        from watchfiles._rust_notify import RustNotify  # noqa: PLC0415  (only with watch=True)

        self._timings = timings
        self._native = RustNotify(list(paths), False, False, 0, False, False)  # noqa: FBT003  (positional)

    def wait(self, seconds: float, stop: threading.Event) -> Collection[str]:
        """Return the paths of the next events; empty after ``seconds``, or when ``stop`` is set."""
        timings = self._timings
        reported = self._native.watch(
            _ms(timings.debounce_timeout), _ms(timings.event_interval), _ms(seconds), stop
        )
        return {path for _, path in reported} if isinstance(reported, set) else ()

    def close(self) -> None:
        """Release the inotify instance."""
        self._native.close()


class Watcher:
    """Thread that calls ``tick`` when a declared secret may have changed.

    Args:
        snapshot: returns the watch targets and their signatures.
        tick: called in the thread. If it raises RuntimeError, because the event loop is closed,
            the thread ends.
        events: creates the events for the paths of the watch targets.
        timings: the intervals of resync, poll and retry.

    Attributes:
        missed_events: the number of changes that a resync found and no event reported.
        pinned: the declared files that are themselves mount points.
    """

    def __init__(
        self,
        snapshot: Callable[[], WatchSnapshot],
        tick: Callable[[], object],
        events: Callable[[Collection[str], Timings], FileEvents] = FileEvents,
        timings: Timings = DEFAULTS,
    ) -> None:
        self._take_snapshot = snapshot
        self._tick_outside = tick
        self._events = events
        self._mode: WatchMode = "off"
        self._stop = threading.Event()
        self._mode_known = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hive_boot watch", daemon=True)
        self._timings = timings
        self._backoff = Backoff(timings.watch_retry_delay, timings.max_watch_retry_delay)
        self._target_vanished = False
        self._heartbeat = 0.0
        self._last_heartbeat = math.nan
        self._last_resync = self._next_resync = self._next_read = 0.0
        self._last_contents: tuple[object, ...] = ()
        self.missed_events: int = 0
        self.pinned: tuple[MountedFile, ...] = ()

    @property
    def mode(self) -> WatchMode:
        """The current mode; ``down`` if the thread hangs or has failed."""
        if not self._thread.is_alive():
            return "off" if self._mode == "off" else "down"
        return "down" if self._is_silent() else self._mode

    def _is_silent(self) -> bool:
        """Return whether there is no heartbeat.

        After a silence this waits a moment for the next one, once: while the whole process was
        stopped (SIGSTOP, a suspended machine), there was none either.
        """
        last, timings = self._heartbeat, self._timings
        if time.monotonic() - last <= timings.watcher_silence_timeout:
            return False
        if self._last_heartbeat != last:
            for _ in range(_ms(timings.watcher_answer_timeout)):
                if self._heartbeat != last:
                    return False
                self._stop.wait(0.001)
            self._last_heartbeat = last
        return True

    def start(self) -> None:
        """Start the thread, and wait up to ``watcher_start_timeout`` until its mode is known."""
        self._heartbeat = time.monotonic()
        self._next_read = self._heartbeat + self._timings.full_read_interval
        self._thread.start()
        self._mode_known.wait(self._timings.watcher_start_timeout)

    def stop(self) -> None:
        """Stop the thread; :meth:`join` waits for its end."""
        self._stop.set()

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch()
            except _LoopClosed:
                break
            except Exception:
                if self._mode != "down":
                    log.exception("The secrets watcher has failed and will try again")
                self._mode = "down"
                self._mode_known.set()
                self._stop.wait(self._backoff.next_delay())
        self._mode = "off"
        self._mode_known.set()

    def _watch(self) -> None:
        """Watch the current targets until they change, or poll until events are tried again."""
        snapshot = self._take_snapshot()
        since = time.monotonic()
        try:
            self._watch_events(snapshot)
        except _FAILURES as exc:
            if isinstance(exc, FileNotFoundError) and not self._target_vanished:
                # The path disappeared between the snapshot and the inotify watch: take a new
                # snapshot before polling.
                self._target_vanished = True
                return
            if time.monotonic() - since > self._timings.watch_stable_interval:
                self._backoff.reset()
            # The inotify instance is already released, so that another process can use it.
            self._poll(snapshot, exc)

    def _watch_events(self, snapshot: WatchSnapshot) -> None:
        """Watch the targets of ``snapshot`` until they change.

        Raises:
            ImportError: events are not available.
            OSError: events are not available.
            RuntimeError: events are not available.
            ValueError: events are not available.
        """
        events = self._events(list(snapshot.targets), self._timings)
        try:
            if self._mode in {"poll", "down"}:
                log.info("The secrets are watched by inotify again")
            self._mode = "inotify"
            if self._mode_known.is_set():
                # A change between two watches causes no event.
                self._notify()
            now = self._remember(self._take_snapshot())
            self._target_vanished = False
            self._mode_known.set()
            if now.roots == snapshot.roots:
                self._handle_events(events, now)
        finally:
            events.close()

    def _handle_events(self, events: FileEvents, snapshot: WatchSnapshot) -> None:
        """Notify at events, and at changes that a resync finds, until the targets change."""
        awaits_event = had_events = False
        while True:
            reported = events.wait(self._timings.watcher_heartbeat_interval, self._stop)
            self._heartbeat = time.monotonic()
            if self._stop.is_set():
                return
            hints = [path for path in reported if snapshot.is_relevant(path)]
            # A resync may find a change just before its event: the event is missed if it does not
            # follow.
            self.missed_events += awaits_event and not hints
            awaits_event = False
            if hints or self._heartbeat >= self._next_read:
                self._notify()
            if hints or any(map(snapshot.is_sibling, reported)):
                # Many events, also of other files, may fill the queue, which then drops events.
                had_events = True
                soon = self._last_resync + self._timings.busy_resync_interval
                self._next_resync = min(self._next_resync, soon)
            may_change_targets = any(map(snapshot.changes_targets, hints))
            if not may_change_targets and self._heartbeat < self._next_resync:
                continue
            before = self._last_contents
            now = self._remember(self._take_snapshot())
            # After an event of a target itself, another file may be there with the same inode.
            if now.roots != snapshot.roots or not snapshot.targets.keys().isdisjoint(hints):
                self._notify()
                if not hints:
                    late = events.wait(self._timings.debounce_timeout, self._stop)
                    self.missed_events += not any(map(snapshot.is_relevant, late))
                return
            if now.contents != before and not hints:
                awaits_event = not had_events
                self._notify()
            had_events = False

    def _poll(self, snapshot: WatchSnapshot, reason: Exception) -> None:
        """Poll until the delay before the next attempt to use events is over."""
        interval = self._timings.poll_interval
        if self._mode != "poll":
            log.warning("inotify is not available: %s. Polling every %g s", reason, interval)
        self._mode = "poll"
        self._remember(snapshot)
        until = time.monotonic() + self._backoff.next_delay()
        first = not self._mode_known.is_set()
        self._mode_known.set()
        if not first:
            self._notify()
        while (left := until - time.monotonic()) > 0:
            if self._stop.wait(min(left, interval)):
                return
            self._heartbeat = time.monotonic()
            self._notify()

    def _remember(self, snapshot: WatchSnapshot) -> WatchSnapshot:
        """Store the signatures of ``snapshot`` for the next resync, and return it."""
        self._last_resync = time.monotonic()
        self._next_resync = self._last_resync + self._timings.resync_interval
        self._last_contents = snapshot.contents
        self.pinned = snapshot.pinned
        return snapshot

    def _notify(self) -> None:
        self._next_read = time.monotonic() + self._timings.full_read_interval
        try:
            self._tick_outside()
        except RuntimeError as exc:
            raise _LoopClosed from exc


class _LoopClosed(Exception):  # noqa: N818  (control flow, not an error)
    """Raised to end the thread: ``tick`` could not reach its event loop."""


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
