"""Watcher: notices that sources may have changed; a read decides what has.

One thread for an application. Kernel events are hints: they are lost when a queue overflows, and
never come for what is mounted over a directory, or unmounted. So the signatures of all targets are
compared every few seconds, and everything is read once a minute. Where the kernel gives no events
(all containers of one user share its inotify instances) everything is read every two seconds, and
events are tried again and again.
"""

from __future__ import annotations

import logging
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


_NOT_FORCED = frozenset({"", "false", "disable", "disabled"})


_watched_by: dict[str, int] = {}
"""The process that watched first. A child of its may inherit a lock of native code, for ever."""


_FAILURES = (ImportError, OSError, RuntimeError, ValueError)
"""What a watch fails with; a path that is not UTF-8 is a ValueError."""


class FileEvents:
    """Events by watchfiles.

    Args:
        paths: directories, not what is below them, and files.
        timings: how often watchfiles looks at its queue, and when it reports.

    Raises:
        OSError: there are no watches left, or a path is gone.
        RuntimeError: the kernel gives no instance.
    """

    def __init__(self, paths: Collection[str], timings: Timings = DEFAULTS) -> None:
        if os.environ.get("WATCHFILES_FORCE_POLLING", "").lower() not in _NOT_FORCED:
            message = "WATCHFILES_FORCE_POLLING is set"
            raise OSError(message)
        if _watched_by.setdefault("pid", os.getpid()) != os.getpid():
            message = "this process was forked from one that watches"
            raise OSError(message)
        # Its generators begin to watch when they are first waited for; this is documented too:
        # https://watchfiles.helpmanual.io/api/rust_backend/
        from watchfiles._rust_notify import RustNotify  # noqa: PLC0415  (many do not watch)

        self._timings = timings
        self._native = RustNotify(list(paths), False, False, 0, False, False)  # noqa: FBT003  (no names)

    def wait(self, seconds: float, stop: threading.Event) -> Collection[str]:
        """Wait for events, and give their paths."""
        timings = self._timings
        reported = self._native.watch(
            _ms(timings.debounce_timeout), _ms(timings.event_interval), _ms(seconds), stop
        )
        return {path for _, path in reported} if isinstance(reported, set) else ()

    def close(self) -> None:
        """End the kernel's watch."""
        self._native.close()


class Watcher:
    """Ticks, from a thread of its own, when a declared secret may have changed.

    Args:
        snapshot: gives what there is to be watched, and how it looks.
        tick: called in the thread; what it raises as RuntimeError (a loop that is gone)
            ends the thread.
        events: makes what gives the kernel's hints.
        timings: how often it looks, polls and tries again.

    Attributes:
        missed_events: how many changes were found by looking that no event had told of.
        pinned: the declared files that are mount points of their own.
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
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hive_boot watch", daemon=True)
        self._timings = timings
        self._backoff = Backoff(timings.watch_retry_delay, timings.max_watch_retry_delay)
        self._vanished = False
        self._heartbeat = 0.0
        self._last_look = self._next_look = self._next_read = 0.0
        self._seen: tuple[object, ...] = ()
        self.missed_events: int = 0
        self.pinned: tuple[MountedFile, ...] = ()

    @property
    def mode(self) -> WatchMode:
        """How changes are noticed now."""
        if not self._thread.is_alive():
            return "off" if self._mode == "off" else "down"
        silence = time.monotonic() - self._heartbeat
        return "down" if silence > self._timings.watcher_silence_timeout else self._mode

    def start(self) -> None:
        """Begin, and wait until events are told of, or are known not to be; not for ever."""
        self._heartbeat = time.monotonic()
        self._next_read = self._heartbeat + self._timings.full_read_interval
        self._thread.start()
        self._settled.wait(self._timings.watcher_start_timeout)

    def stop(self) -> None:
        """End soon; nothing is waited for."""
        self._stop.set()

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch()
            except _ListenerClosed:
                break
            except Exception:
                if self._mode != "down":
                    log.exception("Watching the secrets has failed; it begins anew")
                self._mode = "down"
                self._settled.set()
                self._stop.wait(self._backoff.next_delay())
        self._mode = "off"
        self._settled.set()

    def _watch(self) -> None:
        """Watch what there is now, until it is something else, or nothing is told any more."""
        view = self._take_snapshot()
        since = time.monotonic()
        try:
            self._watch_events(view)
        except _FAILURES as exc:
            if isinstance(exc, FileNotFoundError) and not self._vanished:
                # It went between the look and the watch: another look has other places.
                self._vanished = True
                return
            if time.monotonic() - since > self._timings.watch_stable_interval:
                self._backoff.reset()
            # Release the events first: another process may need the inotify instance.
            self._fall_back(view, exc)

    def _watch_events(self, view: WatchSnapshot) -> None:
        """Listen to events of the places in ``view``.

        Raises:
            OSError: there is nothing to listen to.
            RuntimeError: the same.
            ValueError: the same.
        """
        events = self._events(list(view.targets), self._timings)
        try:
            if self._mode in {"poll", "down"}:
                log.info("Changes of secrets are told of by inotify again")
            self._mode = "inotify"
            if self._settled.is_set():
                # Whatever happened before this watch began was told to nobody.
                self._notify()
            now = self._remember(self._take_snapshot())
            self._vanished = False
            self._settled.set()
            if now.roots == view.roots:
                self._listen(events, now)
        finally:
            events.close()

    def _listen(self, events: FileEvents, view: WatchSnapshot) -> None:
        """Tick at hints, and at what no hint told of, until there is something else to watch."""
        suspected = told_of = False
        while True:
            reported = events.wait(self._timings.watcher_heartbeat_interval, self._stop)
            self._heartbeat = time.monotonic()
            if self._stop.is_set():
                return
            hints = [path for path in reported if view.is_relevant(path)]
            # A look may be quicker than an event: it counts when none follows.
            self.missed_events += suspected and not hints
            suspected = False
            if hints or self._heartbeat >= self._next_read:
                self._notify()
            if hints or any(map(view.is_sibling, reported)):
                # Where much happens to other files, events of ours may be lost.
                told_of = True
                soon = self._last_look + self._timings.busy_resync_interval
                self._next_look = min(self._next_look, soon)
            moved = any(map(view.changes_targets, hints))
            if not moved and self._heartbeat < self._next_look:
                continue
            seen = self._seen
            now = self._remember(self._take_snapshot())
            # What was told of a place itself: there may be another now with the old inode.
            if now.roots != view.roots or not view.targets.keys().isdisjoint(hints):
                self._notify()
                if not hints:
                    late = events.wait(self._timings.debounce_timeout, self._stop)
                    self.missed_events += not any(map(view.is_relevant, late))
                return
            if now.contents != seen and not hints:
                suspected = not told_of
                self._notify()
            told_of = False

    def _fall_back(self, view: WatchSnapshot, why: Exception) -> None:
        """Poll for a while, because the kernel tells nothing."""
        interval = self._timings.poll_interval
        if self._mode != "poll":
            text = "Changes of secrets are looked for every %g s, because nothing tells of them: %s"
            log.warning(text, interval, why)
        self._mode = "poll"
        self._remember(view)
        until = time.monotonic() + self._backoff.next_delay()
        first = not self._settled.is_set()
        self._settled.set()
        if not first:
            self._notify()
        while (left := until - time.monotonic()) > 0:
            if self._stop.wait(min(left, interval)):
                return
            self._heartbeat = time.monotonic()
            self._notify()

    def _remember(self, view: WatchSnapshot) -> WatchSnapshot:
        """Keep how the places look."""
        self._last_look = time.monotonic()
        self._next_look = self._last_look + self._timings.resync_interval
        self._seen = view.contents
        self.pinned = view.pinned
        return view

    def _notify(self) -> None:
        self._next_read = time.monotonic() + self._timings.full_read_interval
        try:
            self._tick_outside()
        except RuntimeError as exc:
            raise _ListenerClosed from exc


class _ListenerClosed(Exception):  # noqa: N818  (control flow, not an error)
    """Nobody listens any more."""


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
