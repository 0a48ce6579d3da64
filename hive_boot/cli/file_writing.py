"""File writing: several files at once or none, and one file in place."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import time
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING

from hive_boot.cli.arguments import CommandError, os_error_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

DIRECTORY_MODE = 0o700
"""Of a directory of secrets: other users of this machine cannot reach the files."""


FILE_MODE = 0o444
"""Of a secret's file: a bind mount keeps it, and the user of the container must read it."""


_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


class FileTransaction:
    """Changes that are undone, the last one first, when the ``with`` block raises."""

    def __init__(self) -> None:
        self._undo: list[tuple[Path, Callable[[], object]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        failed = []
        for path, undo in reversed(self._undo) if exc is not None else ():
            try:
                undo()
            except OSError:
                failed.append(str(path))
        if failed:
            cause = os_error_text(exc).lower() if isinstance(exc, OSError) else str(exc)
            message = f"{cause}; these changes could not be undone: {', '.join(failed)}"
            raise CommandError(message)

    def create_directory(self, path: Path) -> None:
        """Create a directory for its owner alone; missing ones above it get the usual mode."""
        for directory in (*reversed(path.parents), path):
            if not os.path.lexists(directory):
                directory.mkdir(DIRECTORY_MODE if directory == path else 0o777)
                self._undo.append((directory, directory.rmdir))

    def create(self, path: Path, content: bytes, mode: int | None = FILE_MODE) -> None:
        """Create a file and the directories above it; mode None is the usual one.

        Raises:
            FileExistsError: the path exists.
        """
        for directory in reversed(path.parents):
            self.create_directory(directory)
        temporary = _write_beside(path, content, mode)
        try:
            path.hardlink_to(temporary)  # a rename would replace a file that came meanwhile
        except OSError as exc:
            if exc.errno not in _NO_HARD_LINKS or os.path.lexists(path):
                raise
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._undo.append((path, path.unlink))
        _flush(path.parent)

    def replace(self, path: Path, content: bytes, before: bytes) -> None:
        """Replace a file that holds ``before``; the new one has its mode and owner.

        Raises:
            CommandError: the path is a link, or the file holds something else.
        """
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or path.read_bytes() != before:
            message = f"{path} is not the file that it was a moment ago: try again"
            raise CommandError(message)
        _replace(path, content, status)
        self._undo.append((path, lambda: _replace(path, before, status)))
        _flush(path.parent)

    def restrict(self, directory: Path) -> None:
        """Remove the permissions of other users from a directory."""
        mode = stat.S_IMODE(directory.stat().st_mode)
        directory.chmod(mode & DIRECTORY_MODE)
        self._undo.append((directory, lambda: directory.chmod(mode)))


def write_new_file(path: Path, content: bytes, mode: int | None) -> None:
    """Create a file and flush it to the disk; leave none when that fails."""
    fd = os.open(path, _WRITE, 0o666 if mode is None else 0o600)
    try:
        with open(fd, "wb", buffering=0) as file:  # noqa: PTH123  (a descriptor)
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            if mode is not None:
                os.fchmod(fd, mode)
            os.fsync(fd)
    except BaseException:
        path.unlink()
        raise


def _write_beside(path: Path, content: bytes, mode: int | None) -> Path:
    temporary = path.with_name(f".hive-boot-{token_hex(8)}.tmp")
    write_new_file(temporary, content, mode)
    return temporary


def _replace(path: Path, content: bytes, status: os.stat_result) -> None:
    temporary = _write_beside(path, content, stat.S_IMODE(status.st_mode))
    try:
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(temporary, status.st_uid, status.st_gid)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(directory: Path) -> None:
    """Write the names in a directory to the disk, where the file system can do that."""
    with suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


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
