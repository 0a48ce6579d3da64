"""File writing: a transaction over several files, and an overwrite in place."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import time
from contextlib import contextmanager
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Self

from hive_boot.cli import CommandError, os_error_text, raise_terminated
from hive_boot.secrets.sources.files import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DIRECTORY_MODE = 0o700
"""Mode of a secrets directory: other users of this machine cannot reach the files in it."""

FILE_MODE = 0o444
"""Mode of a secret file: a bind mount keeps it, and the user of a container must read the file."""

TEMPORARY = ".hive-boot-{}.tmp"
"""Name of a file that is being written, with a random text; it remains after SIGKILL."""

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


_FATAL = (
    *(signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1),
    *(signal.SIGUSR2, signal.SIGXCPU, signal.SIGVTALRM, signal.SIGPROF),
)


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise at a signal that would end the process, so that its changes are undone.

    Ctrl-Z is ignored: at a prompt, a stopped process would leave the terminal to the shell
    without echo.
    """
    handlers: dict[signal.Signals, Any] = dict.fromkeys(_FATAL, raise_terminated)
    handlers[signal.SIGTSTP] = signal.SIG_IGN
    numbers = [each for each in handlers if signal.getsignal(each) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, handlers[number])
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the signals that a user sends: the process must not end between write and truncate."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class FileTransaction:
    """File changes that are undone in reverse order if the ``with`` block raises.

    A signal that would end the process raises between two changes.

    Raises:
        CommandError: a change could not be undone.
    """

    def __init__(self) -> None:
        self._undo: list[tuple[Path, Callable[[], object]]] = []
        self._signals = signals_raised()

    def __enter__(self) -> Self:
        self._signals.__enter__()
        return self

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        failed = []
        try:
            with _signals_blocked():
                for path, undo in reversed(self._undo) if exc is not None else ():
                    try:
                        undo()
                    except OSError:
                        failed.append(str(path))
        finally:
            self._signals.__exit__(None, None, None)
        if failed:
            cause = os_error_text(exc).lower() if isinstance(exc, OSError) else str(exc)
            raise CommandError(f"{cause}. These changes could not be undone: {', '.join(failed)}")

    @_signals_blocked()
    def create_directory(self, path: Path) -> None:
        """Create a directory with mode 0700; missing parents get the mode of the umask."""
        for directory in (*reversed(path.parents), path):
            if not os.path.lexists(directory):
                directory.mkdir(DIRECTORY_MODE if directory == path else 0o777)
                self._undo.append((directory, directory.rmdir))

    @_signals_blocked()
    def create(self, path: Path, content: bytes, mode: int | None = FILE_MODE) -> None:
        """Create a file. Missing directories above it get mode 0700.

        Args:
            path: the file, absolute and without links.
            content: its content.
            mode: its mode; None for the mode of the umask.

        Raises:
            FileExistsError: the path exists.
            CommandError: a directory above it is a symbolic link.
        """
        if path.parent.resolve() != path.parent:
            raise CommandError(_changed(path))
        for directory in reversed(path.parents):
            self.create_directory(directory)
        temporary = _write_beside(path, content, mode)
        try:
            path.hardlink_to(temporary)  # a rename would replace a file created meanwhile
        except OSError as exc:
            if exc.errno not in _NO_HARD_LINKS or os.path.lexists(path):
                raise
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._undo.append((path, path.unlink))

    @_signals_blocked()
    def write(self, path: Path, content: bytes, before: bytes | None) -> None:
        """Replace a file by a new one with the same mode and owner, or create it.

        Args:
            path: the file.
            content: its new content.
            before: the content that it must have now; None if it must not exist.

        Raises:
            FileExistsError: the path exists.
            CommandError: the path is not a regular file, or has another content.
        """
        if before is None:
            self.create(path, content, mode=None)
            return
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or path.read_bytes() != before:
            raise CommandError(_changed(path))
        _replace(path, content, status)
        self._undo.append((path, lambda: _replace(path, before, status)))

    @_signals_blocked()
    def restrict(self, directory: Path) -> None:
        """Remove the permissions of other users from a directory."""
        mode = stat.S_IMODE(directory.stat().st_mode)
        directory.chmod(mode & DIRECTORY_MODE)
        self._undo.append((directory, lambda: directory.chmod(mode)))


def write_new_file(path: Path, content: bytes, mode: int | None) -> None:
    """Create a file and flush it to the disk. On a failure the file is removed.

    Args:
        path: the file.
        content: its content.
        mode: its mode; None for the mode of the umask.

    Raises:
        FileExistsError: the path exists.
    """
    fd = os.open(path, _WRITE, 0o666 if mode is None else 0o600)
    try:
        with open(fd, "wb", buffering=0) as file:  # a descriptor
            unwritten = memoryview(content)
            while unwritten:
                unwritten = unwritten[file.write(unwritten) :]
            if mode is not None:
                os.fchmod(fd, mode)
            os.fsync(fd)
    except BaseException:
        path.unlink()
        raise


def _write_beside(path: Path, content: bytes, mode: int | None) -> Path:
    temporary = path.with_name(TEMPORARY.format(token_hex(8)))
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


_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW

LOCK_TIMEOUT = 10.0
"""Seconds to wait while another process has the lock of the file."""


def write_in_place(
    path: Path,
    content: bytes,
    accept: Callable[[], bool],
    *,
    backup: Path | None,
    expected: os.stat_result | None = None,
) -> None:
    """Overwrite a file in place. Owner, mode and inode do not change.

    A bind mount shows the inode, so a container sees the new content.

    Args:
        path: the file; a symbolic link is not followed.
        content: its new content.
        accept: called after the write; returns whether a start reads the new value. If not,
            the old content is restored.
        backup: a file to create with the old content; None for no backup.
        expected: an earlier status of the file; None for any file.

    Raises:
        OSError: the file cannot be opened or read, or the backup cannot be written.
        CommandError: the write failed or was not accepted, another process has the lock, or
            the file is too large, or was replaced or changed since ``expected``. The message
            states whether the file contains the old content.
    """
    with _signals_blocked():
        fd = _open(path)
        try:
            _lock(fd, path)
            if expected is not None and _identity(os.fstat(fd)) != _identity(expected):
                raise CommandError(_changed(path))
            size = os.fstat(fd).st_size
            if size > LIMIT:
                message = f"{path} is larger than {LIMIT} bytes. Remove it and use --create."
                raise CommandError(message)
            before = os.pread(fd, size, 0)
            if backup is not None:
                write_new_file(backup, before, 0o400)
            failure = _write(fd, content)
            if not failure and accept():
                return
            restore_failure = _write(fd, before)
        finally:
            os.close(fd)
        failure = failure or "a start would not read the new value from it"
        if restore_failure:
            copy = f". {backup} contains the old value" if backup is not None else ""
            raise CommandError(
                f"{path} could not be written ({failure}), and the old value could not be "
                f"restored ({restore_failure}){copy}"
            )
        if backup is not None:
            backup.unlink()
        raise CommandError(f"{path} could not be written and contains the old value: {failure}")


def _changed(path: Path) -> str:
    return f"{path} was changed by another process. Run the command again."


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _write(fd: int, content: bytes) -> str:
    """Overwrite a file and return the error text, which is empty on success."""
    try:
        written = 0
        while written < len(content):
            # On a full disk pwrite() writes a part, and the next call raises the error.
            written += os.pwrite(fd, content[written:], written)
        os.ftruncate(fd, len(content))
        os.fsync(fd)
    except OSError as exc:
        return os_error_text(exc).lower()
    return ""


def _open(path: Path) -> int:
    """Open a file for reading and writing. If it is read-only, add its owner's write bit first."""
    try:
        return os.open(path, os.O_RDWR | _FLAGS)
    except PermissionError:
        read_only = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        # Under the lock, because another process may have added the write bit temporarily.
        _lock(read_only, path)
        mode = stat.S_IMODE(os.fstat(read_only).st_mode)
        # The permission is checked only by open(), so the old mode can be restored after it.
        os.fchmod(read_only, mode | stat.S_IWUSR)
        try:
            return os.open(path, os.O_RDWR | _FLAGS)
        finally:
            os.fchmod(read_only, mode)
    finally:
        os.close(read_only)


def _lock(fd: int, path: Path) -> None:
    """Take the exclusive lock of a file. On a file system without locks, do nothing.

    Raises:
        CommandError: another process has the lock for longer than :data:`LOCK_TIMEOUT`.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                message = f"{path} is locked by another process. Run the command again."
                raise CommandError(message) from None
            time.sleep(0.01)
            continue
        except OSError:
            pass
        return
