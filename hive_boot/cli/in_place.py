"""In-place write: a new value in a file that stays the same inode.

A file that is mounted by itself, as Compose mounts its secrets, is one inode: a container
never sees a file that replaces it on the host, and the host cannot see which of its files are
mounted somewhere. So the content is overwritten in one call and then truncated. When
anything fails, the old content is written back. A lock on the file makes concurrent writers
take turns, so that no writer restores a value older than another writer's.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hive_boot.cli.arguments import CommandError, os_error_text
from hive_boot.cli.file_transaction import write_new_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW

LOCK_TIMEOUT = 10.0
"""Seconds to wait for another writer of the same file."""


def write_in_place(
    path: Path, content: bytes, accept: Callable[[], bool], *, backup: Path | None
) -> None:
    """Overwrite a file in place. Owner, mode and inode stay.

    Args:
        path: the file; a link is not followed.
        content: its new content.
        accept: called after the write; returns whether a start now reads the new value.
        backup: a new file for the old content; None for no backup.

    Raises:
        OSError: the file cannot be opened or read, or the backup cannot be written.
        CommandError: the file could not be written and holds the old content, or neither
            could be written; or another writer holds the lock.
    """
    with _signals_blocked():
        fd = _open(path)
        try:
            _lock(fd)
            before = os.pread(fd, os.fstat(fd).st_size, 0)
            if backup is not None:
                write_new_file(backup, before, 0o400)
            _overwrite(fd, before, content, accept, backup)
        finally:
            os.close(fd)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Delay signals that end the process: it must not end between write and truncate."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _overwrite(
    fd: int, before: bytes, content: bytes, accept: Callable[[], bool], backup: Path | None
) -> None:
    failure = _write(fd, content)
    if not failure and not accept():
        failure = "a start would not read the new value from it"
    if not failure:
        return
    lost = _write(fd, before)
    if lost:
        kept = f"; {backup} holds the old value" if backup is not None else ""
        message = f"could not be written ({failure}), nor could the old value ({lost}){kept}"
        raise CommandError(message)
    if backup is not None:
        backup.unlink()
    message = f"could not be written and still holds the old value: {failure}"
    raise CommandError(message)


def _write(fd: int, content: bytes) -> str:
    """Overwrite a file; return why that failed, or an empty text."""
    try:
        written = 0
        while written < len(content):
            # A full disk takes a part; the next call then fails with the reason.
            written += os.pwrite(fd, content[written:], written)
        os.ftruncate(fd, len(content))
        os.fsync(fd)
    except OSError as exc:
        return os_error_text(exc).lower()
    return ""


def _open(path: Path) -> int:
    """Open a file for reading and writing, also one that its owner may only read."""
    try:
        return os.open(path, os.O_RDWR | _FLAGS)
    except PermissionError:
        read_only = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        # Under the lock: another writer may have changed the mode for the same reason.
        _lock(read_only)
        mode = stat.S_IMODE(os.fstat(read_only).st_mode)
        # The permission counts when the file is opened; the mode is restored at once.
        os.fchmod(read_only, mode | stat.S_IWUSR)
        try:
            return os.open(path, os.O_RDWR | _FLAGS)
        finally:
            os.fchmod(read_only, mode)
    finally:
        os.close(read_only)


def _lock(fd: int) -> None:
    """Wait until no other writer holds the file, which takes milliseconds.

    Raises:
        CommandError: another writer holds it for longer than :data:`LOCK_TIMEOUT`.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            late = time.monotonic() >= deadline
        except OSError:
            # The file system has no locks.
            return
        else:
            return
        if late:
            message = "is being written by another process: try again"
            raise CommandError(message)
        time.sleep(0.01)
