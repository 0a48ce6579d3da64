"""Change several files, all of them or none.

Everything is written first into hidden directories beside what it is for, where it is
flushed and can be read back. What remains is a few renames. One that fails takes back
those before it. Signals wait meanwhile: it is a matter of milliseconds.

Who is killed outright leaves a hidden directory behind; the next one here removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from hive_boot.cli.steps import DIRECTORY_MODE, Addition, Replacement, Tightening
from hive_boot.cli.usage import Refusal, reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType
    from typing import Self

    from hive_boot.cli.steps import Step

FILE_MODE = 0o444
"""Of a secret's file: a bind mount carries it, and the container's user has to read it."""

_PREFIX = ".hive-boot-staging-"
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Staging:
    """Changes that are prepared, and then made together. Use it in a ``with`` block.

    Attributes:
        steps: the changes, in order.
    """

    def __init__(self) -> None:
        self._rooms: dict[Path, Path] = {}
        self.steps: list[Step] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(undisturbed())
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def add(self, directory: Path, files: Mapping[str, bytes]) -> Path:
        """Prepare new files of a directory that is for secrets alone.

        Directories that are missing will be made; those of the secrets are nobody else's.

        Args:
            directory: an absolute path without links.
            files: what each is to hold, by relative path.

        Returns:
            Where the new files lie meanwhile, laid out as in the directory.

        Raises:
            OSError: something could not be written.
        """
        base = directory
        while not os.path.lexists(base):
            base = base.parent
        mirror = self._room(base) / "new"
        staged = mirror / directory.relative_to(base)
        staged.parent.mkdir(parents=True, exist_ok=True)
        staged.mkdir(DIRECTORY_MODE)
        tops = []
        for name, content in files.items():
            for parent in reversed(Path(name).parents):
                (staged / parent).mkdir(DIRECTORY_MODE, exist_ok=True)
            _write(staged / name, content, FILE_MODE)
            path = directory / name
            above = [each for each in (*reversed(path.parents), path) if not os.path.lexists(each)]
            if not above:
                # It was not there when that was decided.
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            tops.append(above[0])
        for top in dict.fromkeys(tops):
            self.steps.append(Addition(mirror / top.relative_to(base), top))
        return staged

    def replace(self, path: Path, content: bytes, before: bytes | None) -> Path:
        """Prepare that a file holds something else; it keeps its mode and its owner.

        Args:
            path: an absolute path without links.
            content: what it is to hold.
            before: what it held when that was decided; None when there was no file.

        Returns:
            Where the new file lies meanwhile.

        Raises:
            OSError: something could not be read or written.
        """
        room = self._room(path.parent)
        new, old = (room / f"{which}-{len(self.steps)}" for which in ("new", "old"))
        if before is None:
            _write(new, content, None)
            self.steps.append(Addition(new, path))
            return new
        status = path.stat()
        for staged, held in ((new, content), (old, before)):
            _write(staged, held, stat.S_IMODE(status.st_mode), like=status)
        self.steps.append(Replacement(new, old, path, before))
        return new

    def tighten(self, directory: Path) -> None:
        """Prepare that nobody else gets into a directory."""
        self.steps.append(Tightening(directory, stat.S_IMODE(directory.stat().st_mode)))

    def commit(self) -> None:
        """Make all the changes.

        Raises:
            OSError: one could not be made, so none is.
            Refusal: the same; or what was made could not be taken back, which it names.
        """
        done: list[Step] = []
        try:
            for step in self.steps:
                step.do()
                done.append(step)
        except BaseException as exc:
            stuck = _take_back(done)
            if not stuck:
                raise
            why = reason(exc) if isinstance(exc, OSError) else str(exc)
        else:
            for directory in {step.path.parent for step in done}:
                _flush(directory)
            return
        message = f"{why}; and what was done could not be taken back in {', '.join(stuck)}"
        raise Refusal(message)

    def _room(self, directory: Path) -> Path:
        """Give a hidden directory on the same file system, of which git sees nothing."""
        if directory not in self._rooms:
            _sweep(directory)
            room = Path(mkdtemp(prefix=_PREFIX, dir=directory))
            self._rooms[directory] = room
            self._stack.callback(shutil.rmtree, room, ignore_errors=True)
            self._stack.callback(os.close, _locked(room))
            (room / ".gitignore").write_text("*\n")
        return self._rooms[directory]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals that end a process wait until the end of the block.

    Only the main thread can ask for that; in any other it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _take_back(done: list[Step]) -> list[str]:
    """Undo steps, the last first, and name what could not be undone."""
    stuck = []
    for step in reversed(done):
        try:
            step.undo()
        except OSError:
            stuck.append(str(step.path))
    return stuck


def _write(
    path: Path, content: bytes, mode: int | None, *, like: os.stat_result | None = None
) -> None:
    """Write a new file, and flush it.

    Args:
        path: the file.
        content: what it is to hold.
        mode: its mode; None for what a new file has.
        like: whose owner it is to have. Default: this process's.
    """
    fd = os.open(path, _WRITE, 0o666 if mode is None else 0o600)
    with open(fd, "wb", buffering=0) as file:  # noqa: PTH123  (of a descriptor)
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
        made = os.fstat(fd)
        if like is not None and (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
            os.fchown(fd, like.st_uid, like.st_gid)
        if mode is not None:
            os.fchmod(fd, mode)
        os.fsync(fd)


def _flush(directory: Path) -> None:
    """Have the names in a directory on the disk, where the file system can do that."""
    with suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _sweep(directory: Path) -> None:
    """Remove what one that was killed has left in a directory: it holds values."""
    for left in directory.glob(f"{_PREFIX}*"):
        try:
            fd = _locked(left)
        except OSError:
            # Somebody is at work in it, or it is not ours.
            continue
        shutil.rmtree(left, ignore_errors=True)
        os.close(fd)


def _locked(room: Path) -> int:
    """Hold a hidden directory, so that nobody takes it for one that was left behind.

    Raises:
        OSError: somebody else holds it.
    """
    fd = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd
