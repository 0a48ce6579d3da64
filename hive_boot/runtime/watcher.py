"""Watcher: a task that notices possible changes of the sources; a reload then reads them.

It uses three mechanisms:

- Kernel events are only hints: a full queue drops them, and a mount over a directory or its unmount
  causes none.
- A resync compares the signatures of all watch targets every 5 seconds, and all files are read once
  a minute. A file system may block for long, so a resync runs in a thread. With inotify, this
  thread waits for the next resync by itself, and wakes the event loop only for a difference.
- A poll replaces the events where they are not available, for example because the containers of
  one user share the limit of inotify instances: all files are read every 2 seconds, and events are
  tried again with a back-off.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio

from hive_boot._timings import DEFAULTS, Backoff
from hive_boot.lifecycle.tasks import (
    run_in_daemon_thread,
    start_daemon_thread,
    threadsafe_scheduler,
)
from hive_boot.runtime import rotation_messages
from hive_boot.runtime.file_events import EVENT_FAILURES, NOTHING, PollEvents, open_events

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import TypeVar

    from hive_boot._timings import Timings
    from hive_boot.runtime.file_events import Changes, FileEvents
    from hive_boot.secrets.watch_targets import MountedFile, WatchSnapshot

    T = TypeVar("T")

log: logging.Logger = logging.getLogger("hive_boot.watching")

WatchMode: TypeAlias = 'Literal["inotify", "poll", "down", "off"]'

_TRIES = 10
"""Maximum number of attempts to watch paths that change at the same moment."""

_LATE = 3
"""Number of intervals without a resync of the thread, after which the event loop starts another.

It then finds out whether a file system does not answer.
"""

_SHORTEST_PAUSE = 0.001
"""Seconds before the second of several reports without a pause; doubled each time."""


class Watcher:
    """Task that calls ``notify`` when a declared secret may have changed.

    Args:
        take_snapshot: returns the watch targets and their signatures. It may block.
        notify: called in the event loop.
        open_events: creates the events for the paths of the watch targets. It may block.
        timings: the intervals of resync, poll and retry.

    Attributes:
        missed_events: the number of changes that a resync found and no event reported.
        pinned: the declared files that are themselves mount points.
    """

    _snapshot: WatchSnapshot

    def __init__(
        self,
        take_snapshot: Callable[[], WatchSnapshot],
        notify: Callable[[], object],
        open_events: Callable[[Collection[str], Timings], FileEvents] = open_events,
        timings: Timings = DEFAULTS,
    ) -> None:
        self._take_snapshot = take_snapshot
        self._call_reader = notify
        self._open_events = open_events
        self._timings = timings
        self._pid = os.getpid()
        self._mode: WatchMode = "off"
        self._events: FileEvents | None = None
        self._backoff = Backoff(timings.watch_retry_delay, timings.max_watch_retry_delay)
        self._is_over = self._is_silent = self._had_events = False
        self._last_resync = self._next_resync = 0.0
        self._next_read = time.monotonic() + timings.full_read_interval
        self._writers: dict[str, float] = {}
        self._received: list[tuple[Changes, list[str]]] = []
        self._wait_scope: anyio.CancelScope | None = None
        self._soon: Callable[[Callable[[], object]], object] | None = None
        # Sources are read in a thread, which takes events too.
        self._lock = threading.Lock()
        # Released to end the thread of the resyncs. A forked child has this lock but not the
        # thread, so nothing else may hold it.
        self._resyncs: threading.Lock | None = None
        self._known_stale: Collection[str] = ()
        self.missed_events: int = 0
        self.pinned: tuple[MountedFile, ...] = ()
        self._roots: dict[str, str] = {}

    @property
    def mode(self) -> WatchMode:
        """The current mode; ``down`` if it has failed, or a file system does not answer."""
        return "down" if self._is_silent else self._mode

    @property
    def stale(self) -> tuple[str, ...]:
        """The mounted files that were replaced or renamed at their origin."""
        pinned, roots = self.pinned, self._roots  # in this order, for other threads
        return tuple(pin.path for pin in pinned if pin.stale or pin.root != roots[pin.path])

    def is_being_written(self, paths: Iterable[str]) -> bool:
        """Return whether the writer of a file may write more; may be called in any thread.

        This is so until the writer closes the file, or writes nothing for
        ``writer_silence_timeout``.

        Args:
            paths: the paths of files; they may lead through links.
        """
        # The event loop may not have received the event of the write yet.
        with suppress(*EVENT_FAILURES):
            events = self._events
            is_known = events is not None and events.reports_writers
            if is_known and self._take() and self._soon is not None:
                self._soon(self._end_wait)
        paths = paths if self._writers else ()
        return any(os.path.realpath(path) in self._writers for path in paths)

    def _take(self) -> bool:
        """Take changes, and remember who writes; return whether there are any."""
        with self._lock:
            changes = NOTHING if self._events is None else self._events.take()
            if changes is not NOTHING:
                self._received.append((changes, self._hints(changes)))
            return changes is not NOTHING

    def open(self) -> None:
        """Begin to watch, before the first read, in any thread. It blocks."""
        try:
            self._open()
        except Exception as exc:  # noqa: BLE001  (run() tries again)
            self._log_failure(exc)

    async def run(self) -> None:
        """Watch until cancelled."""
        reason = None
        self._soon = threadsafe_scheduler()
        try:
            while os.getpid() == self._pid:
                try:
                    if self._events is None:
                        await self._examine(partial(self._open, reason))
                        # A change between two watches causes no event.
                        self._notify()
                    reason = await self._follow()
                except Exception as exc:  # noqa: BLE001  (a failure here must not end all rotations)
                    self._log_failure(exc)
                    await anyio.sleep(self._backoff.next_delay())
                finally:
                    self._close()
        finally:
            self.stop()

    def stop(self) -> None:
        """Release the events, also those that another thread is about to open."""
        self._is_over, self._is_silent, self._mode = True, False, "off"
        self._close()

    def _close(self) -> None:
        with self._lock:
            events, self._events = self._events, None
            self._received.clear()
            resyncs, self._resyncs = self._resyncs, None
            if resyncs is not None:
                resyncs.release()
            if events is not None:
                events.close()

    def _log_failure(self, exc: Exception) -> None:
        if self._mode != "down":
            log.error("The secrets watcher has failed and will try again", exc_info=exc)
        self._mode = "down"
        self._close()

    def _open(self, reason: Exception | None = None) -> None:
        """Watch the current targets; poll if events have just failed, or are not available.

        Args:
            reason: the failure of the events; None to try them.
        """
        try:
            self._remember(self._open_events_or_poll(reason))
        finally:
            if self._is_over:
                self.stop()

    def _open_events_or_poll(self, reason: Exception | None) -> WatchSnapshot:
        timings = self._timings
        for _ in range(_TRIES):
            snapshot = self._take_snapshot()
            if reason is not None and not isinstance(reason, FileNotFoundError):
                break
            try:
                self._events = self._open_events(snapshot.targets.keys(), timings)
            except EVENT_FAILURES as exc:
                # A path that disappeared between the snapshot and the watch: take a new snapshot.
                reason = exc
                continue
            roots, snapshot = snapshot.roots, self._take_snapshot()
            if snapshot.roots == roots:
                break
            self._close()
        if self._events is not None:
            if self._mode in {"poll", "down"}:
                log.info("The secrets are watched by inotify again")
            self._mode = "inotify"
        else:
            interval = timings.poll_interval
            if self._mode != "poll":
                text = "inotify is not available: %s. Polling every %g s"
                log.warning(text, reason or "the watched paths change at each attempt", interval)
            self._events = PollEvents(self._backoff.next_delay(), interval)
            self._mode = "poll"
        return snapshot

    async def _follow(self) -> Exception | None:
        """Notify at events, and at changes that a resync finds, until a new watch is needed.

        Returns:
            The failure of the events; None if only the watched paths have changed.
        """
        events = self._events
        if events is None:
            return None
        began = time.monotonic()
        end = began + events.lifetime
        pauses = Backoff(_SHORTEST_PAUSE, self._timings.event_interval)
        while (now := time.monotonic()) < end and os.getpid() == self._pid:
            try:
                seconds = max(0.0, min(end, self._due) - now)
                if not self._received:
                    await self._wait(events, seconds)
                changes, hints = self._received.pop(0) if self._received else (NOTHING, [])
                hints += self._silent_writers()
                if hints or changes.overflow or time.monotonic() >= self._next_read:
                    self._notify()
                if changes.paths and events.may_lose_events:
                    soon = self._last_resync + self._timings.busy_resync_interval
                    self._next_resync = min(self._next_resync, soon)
                self._had_events |= bool(hints or self._writers or changes.overflow)
                may_change_targets = any(
                    self._snapshot.changes_targets(path, changes.paths.get(path)) for path in hints
                )
                due = changes.overflow or time.monotonic() >= self._next_resync
                if (may_change_targets or due) and not await self._resync(events, hints):
                    return None
            except EVENT_FAILURES as exc:
                if time.monotonic() - began > self._timings.watch_stable_interval:
                    self._backoff.reset()
                return exc
            if changes is not NOTHING and time.monotonic() - now < self._timings.event_interval:
                # A stream of events, for example of other files, must not keep the loop busy.
                await anyio.sleep(pauses.next_delay())
            else:
                pauses.reset()
        return None

    async def _resync(self, events: FileEvents, hints: Collection[str]) -> bool:
        """Notify if signatures differ without an event; return whether the targets are the same."""
        before = self._snapshot
        now = self._remember(await self._examine(self._take_snapshot))
        # After an event of a target itself, another file may have the same inode.
        is_same = now.roots == before.roots and before.targets.keys().isdisjoint(hints)
        if not hints and not (is_same and now.contents == before.contents):
            # The event of a change may follow the comparison that has found it.
            await self._wait(events, self._timings.debounce_timeout)
            if not self._had_events and not any(paths for _, paths in self._received):
                self.missed_events += 1
            self._notify()
        self._had_events = False
        if is_same and events.reports_writers and self._resyncs is None:
            self._start_resyncs()
        return is_same

    def _start_resyncs(self) -> None:
        """Start the thread that compares the signatures from now on."""
        is_over = self._resyncs = threading.Lock()
        is_over.acquire()
        self._next_resync = self._last_resync + _LATE * self._timings.resync_interval
        start_daemon_thread(partial(self._resync_until, is_over), "hive_boot watch")

    def _resync_until(self, is_over: threading.Lock) -> None:
        """Compare signatures at intervals; the event loop does the rest if they differ."""
        interval = self._timings.resync_interval
        while not is_over.acquire(timeout=interval):
            try:
                differs = self._take_snapshot() != self._snapshot
            except Exception:  # noqa: BLE001  (raised again in the resync of the event loop)
                differs = True
            if is_over is not self._resyncs:
                return
            if not differs:
                self._next_resync = time.monotonic() + _LATE * interval
            elif self._soon is not None:
                self._next_resync = 0.0
                self._soon(self._end_wait)

    async def _wait(self, events: FileEvents, seconds: float) -> None:
        """Wait until there are changes, at most for a time, and take them."""
        with anyio.CancelScope() as self._wait_scope:
            await events.wait(seconds)
        self._take()

    def _end_wait(self) -> None:
        """End the wait, because a thread has taken the changes."""
        if self._wait_scope is not None:
            self._wait_scope.cancel()

    @property
    def _due(self) -> float:
        """When something has to be done without an event, on the monotonic clock."""
        last_write = min(self._writers.values(), default=math.inf)
        silence = last_write + self._timings.writer_silence_timeout
        return min(self._next_resync, self._next_read, silence)

    def _hints(self, changes: Changes) -> list[str]:
        """Return the paths of declared secrets that have changed and are not being written."""
        now = time.monotonic()
        paths = changes.paths.items()
        relevant = [path for path, kind in paths if self._snapshot.is_relevant(path, kind)]
        for path in relevant:
            if changes.writing.get(path):
                self._writers[path] = now
            elif path in changes.writing:
                self._writers.pop(path, None)
        return [path for path in relevant if path not in self._writers]

    def _silent_writers(self) -> list[str]:
        """Return the paths whose writers have written nothing for long; they are forgotten."""
        silent = time.monotonic() - self._timings.writer_silence_timeout
        with self._lock:
            paths = [path for path, since in self._writers.items() if since <= silent]
            for path in paths:
                del self._writers[path]
        return paths

    async def _examine(self, work: Callable[[], T]) -> T:
        """Return the result of work that examines file systems, and log if one does not answer."""
        results: list[T] = []
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._report_silence)
            try:
                results.append(await run_in_daemon_thread(work, "hive_boot watch"))
            except Exception as exc:  # noqa: BLE001  (raised below, outside the group)
                failure = exc
            group.cancel_scope.cancel()
        if self._is_silent:
            self._is_silent = False
            rotation_messages.log_watch_state(is_down=False)
        if failure is not None:
            raise failure
        return results[0]

    async def _report_silence(self) -> None:
        await anyio.sleep(self._timings.watcher_silence_timeout)
        self._is_silent = True
        rotation_messages.log_watch_state(is_down=True)

    def _remember(self, snapshot: WatchSnapshot) -> WatchSnapshot:
        """Store the snapshot for the next resync, log new stale mounts, and return it."""
        self._last_resync = time.monotonic()
        # A poll includes a resync each time.
        interval = math.inf if self._mode == "poll" else self._timings.resync_interval
        self._next_resync = self._last_resync + interval * (_LATE if self._resyncs else 1)
        self._roots = {pin.path: pin.root for pin in snapshot.pinned} | self._roots
        self._snapshot, self.pinned = snapshot, snapshot.pinned
        known, self._known_stale = self._known_stale, self.stale
        rotation_messages.log_stale_mounts([path for path in self.stale if path not in known])
        return snapshot

    def _notify(self) -> None:
        self._next_read = time.monotonic() + self._timings.full_read_interval
        self._call_reader()
