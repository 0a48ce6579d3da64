"""File events: changes of files and directories, by inotify, by watchfiles or by a poll."""

from __future__ import annotations

import math
import os
import struct
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio

from hive_boot._records import Record
from hive_boot._timings import DEFAULTS
from hive_boot.lifecycle.tasks import run_in_daemon_thread

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hive_boot._timings import Timings

NOT_FORCED = frozenset({"", "false", "disable", "disabled"})
"""Values of ``WATCHFILES_FORCE_POLLING`` that do not select polling, as in watchfiles."""


class Changes(Record):
    """Changes of the watched paths since the last report.

    Attributes:
        paths: the changed paths, each with whether it is a directory; None if that is unknown.
        writing: the changed files whose writer is known: True while it may write more, False when
            it has closed the file, or another file has taken the place.
        overflow: whether events may be lost, so that everything may have changed.
    """

    paths: Mapping[str, bool | None] = {}
    writing: Mapping[str, bool] = {}
    overflow: bool = False


NOTHING = Changes()
"""The report of a wait without events."""


class FileEvents:
    """Notification of changes: by the kernel, or by a poll.

    Attributes:
        lifetime: the seconds after which another kind of notification should be tried. Default:
            infinite.
        may_lose_events: whether a full queue drops events without a report. Default False.
        reports_writers: whether the end of a write is reported, and :meth:`take` returns it also
            before :meth:`wait` has noticed it. Default False.
    """

    lifetime: float = math.inf
    may_lose_events: bool = False
    reports_writers: bool = False

    async def wait(self, seconds: float) -> None:
        """Wait until :meth:`take` has changes, at most for a time.

        Raises:
            OSError: the events have ended.
            RuntimeError: the events have ended.
            ValueError: a name is not UTF-8.
        """
        raise NotImplementedError

    def take(self) -> Changes:
        """Return the changes since the last call, without waiting; may be called in any thread.

        Raises:
            OSError: the events have ended.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Release what the kernel holds. A second call does nothing. Default: it holds nothing."""


# https://man7.org/linux/man-pages/man7/inotify.7.html
_HEADER = struct.Struct("iIII")
_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x002, 0x004, 0x008
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x040, 0x080, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_Q_OVERFLOW, _IS_DIRECTORY = 0x4000, 0x40000000
# Without events of a file that was removed or replaced: its name belongs to another file.
_EXCLUDE_UNLINKED = 0x04000000
_REPLACED = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_MASK = _MODIFY | _ATTRIB | _CLOSE_WRITE | _REPLACED | _EXCLUDE_UNLINKED
_BUFFER = 1 << 16


class InotifyEvents(FileEvents):
    """Kernel events of Linux, received in the event loop without a thread.

    Two calls of the C library are all it needs. The libraries asyncinotify and inotify_simple
    make the same calls through ctypes, and take 15 to 30 ms of a start; the first one works only
    on asyncio.

    Args:
        paths: files, and directories without their subdirectories.

    Raises:
        ImportError: this Python has no ctypes.
        AttributeError: the C library has no inotify.
        OSError: no instance (EMFILE) or no watch (ENOSPC) is left, or a path cannot be watched.
    """

    reports_writers = True

    def __init__(self, paths: Collection[str]) -> None:
        import ctypes  # only with watch=True

        def checked(result: int, path: str | None = None) -> int:
            if result < 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), path)
            return result

        libc = ctypes.CDLL(None, use_errno=True)
        create, add_watch = libc.inotify_init1, libc.inotify_add_watch
        self._descriptor = checked(create(os.O_NONBLOCK | os.O_CLOEXEC))
        _open_instances.add(self)
        self._paths: dict[int, str] = {}
        try:
            for path in paths:
                watch = checked(add_watch(self._descriptor, os.fsencode(path), _MASK), path)
                self._paths[watch] = path
        except BaseException:
            self.close()
            raise

    async def wait(self, seconds: float) -> None:
        """Wait until there are changes, at most for a time."""
        with anyio.move_on_after(seconds):
            await anyio.wait_readable(self._descriptor)

    def take(self) -> Changes:
        """Return the changes since the last call, without waiting."""
        try:
            data = os.read(self._descriptor, _BUFFER)
        except BlockingIOError:
            return NOTHING
        return self._parse(data)

    def _parse(self, data: bytes) -> Changes:
        paths: dict[str, bool | None] = {}
        writing: dict[str, bool] = {}
        overflow = False
        at = 0
        while at < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, at)
            start = at + _HEADER.size
            at = start + length
            overflow |= bool(mask & _Q_OVERFLOW)
            path = self._paths.get(watch)
            if path is None:
                continue
            if name := os.fsdecode(data[start:at].rstrip(b"\0")):
                path = f"{path.removesuffix('/')}/{name}"
            paths[path] = bool(mask & _IS_DIRECTORY)
            if mask & _MODIFY:
                writing[path] = True
            elif mask & (_CLOSE_WRITE | _REPLACED):
                writing[path] = False
        return Changes(paths, writing, overflow)

    def close(self) -> None:
        """Release the instance. A second call does nothing."""
        if self in _open_instances:
            _open_instances.discard(self)
            os.close(self._descriptor)
            self._descriptor = -1


_open_instances: set[InotifyEvents] = set()


def _close_in_child() -> None:
    """Close the instances of the parent in a forked child, before anything else can use them.

    Parent and child share the instance and the epoll instance of the event loop. To remove a watch,
    or the reader of the loop, in the child would therefore make the parent deaf. A descriptor that
    is already closed makes both fail without an effect.
    """
    for each in _open_instances.copy():
        each.close()


os.register_at_fork(after_in_child=_close_in_child)

_watched_by: dict[str, int] = {}
"""PID of the process that has used watchfiles first.

A forked child does not use it: it may have inherited a native lock that stays locked forever.
"""


class WatchfilesEvents(FileEvents):
    """Kernel events, received through watchfiles, which waits in a thread.

    Args:
        paths: files, and directories without their subdirectories.
        timings: the interval and the debounce timeout of watchfiles.

    Raises:
        ImportError: watchfiles cannot be imported.
        OSError: a path does not exist, or the process is a fork of one that has used watchfiles.
        RuntimeError: watchfiles cannot watch.
        ValueError: a path is not UTF-8.
    """

    may_lose_events = True

    def __init__(self, paths: Collection[str], timings: Timings = DEFAULTS) -> None:
        if _watched_by.setdefault("pid", os.getpid()) != os.getpid():
            message = "this process was forked from a process that watches"
            raise OSError(message)
        # RustNotify watches from its creation; watch() of watchfiles only from its first iteration,
        # so changes before it would be lost. RustNotify is documented:
        # https://watchfiles.helpmanual.io/api/rust_backend/
        from watchfiles._rust_notify import RustNotify  # only a fallback on Linux

        self._timings = timings
        self._changes = NOTHING
        self._stop = threading.Event()
        self._native = RustNotify(list(paths), False, False, 0, False, False)  # noqa: FBT003  (positional)

    async def wait(self, seconds: float) -> None:
        """Wait until there are changes, at most for a time."""
        reported = await run_in_daemon_thread(partial(self._watch, seconds), "hive_boot watch")
        if isinstance(reported, set):
            self._changes = Changes(dict.fromkeys(path for _, path in reported))

    def take(self) -> Changes:
        """Return the changes since the last call, without waiting."""
        changes, self._changes = self._changes, NOTHING
        return changes

    def _watch(self, seconds: float) -> object:
        waits = (self._timings.debounce_timeout, self._timings.event_interval, seconds)
        debounce, step, timeout = (max(1, round(each * 1000)) for each in waits)
        try:
            return self._native.watch(debounce, step, timeout, self._stop)
        finally:
            if self._stop.is_set():
                self._native.close()

    def close(self) -> None:
        """Release the inotify instance. A second call does nothing."""
        self._stop.set()
        # RuntimeError: the thread still uses it, and closes it soon.
        with suppress(RuntimeError):
            self._native.close()


class PollEvents(FileEvents):
    """Substitute for events: after each interval, everything may have changed.

    Args:
        lifetime: the seconds until events are tried again.
        interval: the seconds between two reports.
    """

    def __init__(self, lifetime: float, interval: float) -> None:
        self.lifetime = lifetime
        self._interval = interval
        self._due = time.monotonic() + interval

    async def wait(self, seconds: float) -> None:
        """Wait until the end of the interval, at most for a time."""
        await anyio.sleep(max(0.0, min(seconds, self._due - time.monotonic())))

    def take(self) -> Changes:
        """Return that everything may have changed, once after each interval."""
        now = time.monotonic()
        if now < self._due:
            return NOTHING
        self._due = now + self._interval
        return Changes(overflow=True)


def open_events(paths: Collection[str], timings: Timings = DEFAULTS) -> FileEvents:
    """Watch paths with inotify on Linux, and elsewhere with watchfiles. It may block.

    Raises:
        Exception: as :class:`InotifyEvents` or :class:`WatchfilesEvents`.
        OSError: ``WATCHFILES_FORCE_POLLING`` is set.
    """
    if os.environ.get("WATCHFILES_FORCE_POLLING", "").lower() not in NOT_FORCED:
        message = "WATCHFILES_FORCE_POLLING is set"
        raise OSError(message)
    if sys.platform == "linux":
        with suppress(ImportError, AttributeError):
            return InotifyEvents(paths)
    return WatchfilesEvents(paths, timings)


EVENT_FAILURES = (ImportError, OSError, RuntimeError, ValueError)
"""Exceptions of events that are not available."""
