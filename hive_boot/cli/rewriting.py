"""Write a new value into a file that stays the same file.

A file that is mounted by itself, as Compose mounts its secrets, is one inode for ever: a
file that took its place would be seen on the host only. So it is written over, in one
call, and cut; what a reader can see between the two is as short as that. When anything
fails, what was there before is written back. Two at once take turns: what one writes back
is never older than what the other has written.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING

from hive_boot.cli.staging import undisturbed
from hive_boot.cli.usage import Refusal, reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW

_PATIENCE = 10.0
"""Seconds that another one may take, who writes to the same file."""


def rewrite(path: Path, content: bytes, accept: Callable[[], bool], *, backup: Path | None) -> None:
    """Write a file anew, in place. Owner and mode stay as they are.

    Args:
        path: the file, without links.
        content: what it is to hold.
        accept: called when it does; tells whether a start now reads what it should.
        backup: a new file for what it held before; None for no backup.

    Raises:
        OSError: it cannot be opened or read, or the backup cannot be written.
        Refusal: it could not be written, and holds what it did before; unless that could
            not be written either, which is said. Or somebody else writes to it.
    """
    with undisturbed():
        fd = _open(path)
        try:
            _lock(fd)
            before = _held(fd)
            if backup is not None:
                _save(backup, before)
            _replace(fd, before, content, accept, backup)
        finally:
            os.close(fd)


def _replace(
    fd: int, before: bytes, content: bytes, accept: Callable[[], bool], backup: Path | None
) -> None:
    why = _failure(fd, content)
    if not why and not accept():
        why = "what a start would read from it was not the new value"
    if not why:
        return
    lost = _failure(fd, before)
    if lost:
        kept = f"; {backup} holds it" if backup is not None else ""
        message = f"it could not be written ({why}), nor the old value again ({lost}){kept}"
        raise Refusal(message)
    if backup is not None:
        backup.unlink()
    message = f"it could not be written, and holds the old value still: {why}"
    raise Refusal(message)


def _failure(fd: int, content: bytes) -> str:
    """Write over what a file holds, and tell what went wrong; empty when nothing did."""
    try:
        written = 0
        while written < len(content):
            # Once, if the disk is not full: the second call would say what the matter is.
            written += os.pwrite(fd, content[written:], written)
        os.ftruncate(fd, len(content))
        os.fsync(fd)
    except OSError as exc:
        return reason(exc).lower()
    return ""


def _open(path: Path) -> int:
    """Open a file for reading and writing, also one that its owner may only read."""
    try:
        return os.open(path, os.O_RDWR | _FLAGS)
    except PermissionError:
        look = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        # Else the mode that is put back might be the one that another has lent it.
        _lock(look)
        status = os.fstat(look)
        mode = stat.S_IMODE(status.st_mode)
        # The permission counts when a file is opened, and not after that.
        os.fchmod(look, mode | stat.S_IWUSR)
        try:
            fd = os.open(path, os.O_RDWR | _FLAGS)
        finally:
            os.fchmod(look, mode)
    finally:
        os.close(look)
    return fd


def _lock(fd: int) -> None:
    """Wait until nobody else writes to a file; that takes milliseconds.

    Raises:
        Refusal: it takes much longer.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            late = time.monotonic() >= deadline
        except OSError:
            # A file system without locks.
            return
        else:
            return
        if late:
            message = "somebody else is writing to it: try again"
            raise Refusal(message)
        time.sleep(0.01)


def _held(fd: int) -> bytes:
    """Give all that a file holds."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _save(backup: Path, content: bytes) -> None:
    """Write a new file that its owner alone may read; none is left when it fails."""
    fd = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    try:
        with open(fd, "wb", buffering=0) as file:  # noqa: PTH123  (of a descriptor)
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(fd)
    except OSError:
        backup.unlink()
        raise
