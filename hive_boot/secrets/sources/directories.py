"""Directory source: a consistent snapshot of a mounted directory."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from errno import EACCES, ENOENT, EPERM
from typing import TYPE_CHECKING

from hive_boot._records import Record
from hive_boot.secrets.fields import ValueProblem
from hive_boot.secrets.sources.files import UNREADABLE, FieldTarget, FileBatch, read_files

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from hive_boot.secrets.fields import FieldIndex


class ReadPolicy(Record):
    """Clock of a load, and its limits in seconds.

    Attributes:
        wall: returns the wall clock time, which is compared with the ctime of files.
        monotonic: returns the time that limits are measured with.
        sleep: waits in the thread that loads.
        settled_age: a plain file that has not changed for this time is read once, because no
            program is writing it. Default 2.
        quiet_interval: the time between two reads of a younger file, which must be equal.
            Default 0.3.
        unstable_timeout: a directory that still changes after this time is a problem. Default 10.
        missing_timeout: a missing permission, ``..data`` or link target is a problem after this
            time. Default 2.
        tries: the number of reads of a directory that is replaced during each read. Default 8,
            with pauses of 2 to 100 ms.
        recheck_recent_directories: whether a plain directory that has just changed is read
            twice, even if its files are old. A start does not do this, because the directory
            itself is new in each new container. Default False.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    settled_age: float = 2.0
    quiet_interval: float = 0.3
    unstable_timeout: float = 10.0
    missing_timeout: float = 2.0
    tries: int = 8
    recheck_recent_directories: bool = False

    def pause(self, attempt: int) -> None:
        """Wait before the next try: 2 ms after the first one, doubling up to 100 ms."""
        self.sleep(min(0.002 * 2**attempt, 0.1))

    def is_settled(self, touched: float) -> bool:
        """Return whether a file last changed at ``touched`` (wall clock) needs only one read."""
        return self.wall() - touched > self.settled_age


_DATA = "..data"


_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


_REPLACED = ValueProblem("unstable", "was replaced during each attempt to read it")


_CHANGING = ValueProblem("unstable", "did not stop changing while it was read")


_ABSENT = ValueProblem("directory", "does not exist")


_NO_DATA = ValueProblem("directory", "is a volume whose link ..data is dangling")


class DirectorySnapshot:
    """Content of one directory at one moment.

    Attributes:
        path: the directory; empty for files that were named one by one.
        batch: the results of its files.
        names: all names in the directory, for near names.
        volume: whether the directory is a kubelet volume.
        identity: device, inode and name of the directory that ``..data`` links to.
        problem: why the directory could not be read; None if it could.
        replaced_during_read: whether the directory was replaced during the read, which is then
            repeated.
        pending: whether a missing permission or link may be about to appear.
        changed: the ctime of the directory: its last change, on the wall clock.
    """

    __slots__ = (
        "batch",
        "changed",
        "identity",
        "names",
        "path",
        "pending",
        "problem",
        "replaced_during_read",
        "volume",
    )

    def __init__(self, path: str, *, problem: ValueProblem | None = None) -> None:
        self.path: str = path
        self.batch: FileBatch = FileBatch()
        self.names: Collection[str] = ()
        self.volume: bool = False
        self.identity: tuple[int, int, str] | None = None
        self.problem: ValueProblem | None = problem
        self.replaced_during_read: bool = False
        self.pending: bool = False
        self.changed: float = 0.0

    @property
    def is_absent(self) -> bool:
        """Whether the directory does not exist."""
        return self.problem is _ABSENT

    def is_like(self, other: DirectorySnapshot | None) -> bool:
        """Return whether ``other`` has the same values, the same problems and the same ctime."""
        if other is None or self.batch.touched != other.batch.touched:
            return False
        return (
            self.batch.values == other.batch.values
            and self.batch.unresolved == other.batch.unresolved
        )


def read_directory(
    path: str,
    field_index: FieldIndex,
    policy: ReadPolicy,
    *,
    without: frozenset[str] = frozenset(),
) -> DirectorySnapshot:
    """Return a consistent snapshot of the declared secrets in a directory.

    Args:
        path: the directory; a link to it is resolved at each read.
        field_index: the declared secrets.
        policy: how long to wait for a program that writes.
        without: names in the directory that are not opened.
    """
    return _read_until_quiet(lambda: _read_once(path, field_index, without), policy)


def read_paths(paths: Mapping[str, FieldTarget], policy: ReadPolicy) -> DirectorySnapshot:
    """Return a consistent snapshot of files that were named one by one.

    Args:
        paths: the field of each file, by its path.
        policy: how long to wait for a program that writes.
    """

    def read_once() -> DirectorySnapshot:
        snapshot = DirectorySnapshot("")
        snapshot.batch = read_files(paths, paths)
        snapshot.pending = snapshot.batch.permission_denied
        return snapshot

    return _read_until_quiet(read_once, policy)


def find_kubelet_volumes(path: str, names: Iterable[str]) -> list[str]:
    """Return the paths of the kubelet volumes among the ``names`` in ``path``, sorted."""
    found = []
    for name in sorted(names):
        below = os.path.join(path, name)
        try:
            if _has_dotdot(os.listdir(below)):
                found.append(below)
        except PermissionError:
            # It may be a volume. The read of it waits for the permission, or reports the problem.
            found.append(below)
        except OSError:
            continue
    return found


def _read_until_quiet(
    read_once: Callable[[], DirectorySnapshot], policy: ReadPolicy
) -> DirectorySnapshot:
    """Return the first snapshot without a change during its read; a problem after a timeout."""
    started = policy.monotonic()
    previous = None
    attempt = replaced = 0
    while True:
        snapshot = read_once()
        waited = policy.monotonic() - started
        if snapshot.replaced_during_read:
            replaced += 1
            if replaced >= policy.tries:
                return DirectorySnapshot(snapshot.path, problem=_REPLACED)
            policy.pause(attempt)
        elif snapshot.pending and waited < policy.missing_timeout:
            policy.pause(attempt)
        elif snapshot.volume or snapshot.problem or _is_quiet(snapshot, previous, policy):
            return snapshot
        elif waited >= policy.unstable_timeout:
            return DirectorySnapshot(snapshot.path, problem=_CHANGING)
        else:
            previous = snapshot
            policy.sleep(policy.quiet_interval)
        attempt += 1


def _is_quiet(
    snapshot: DirectorySnapshot, previous: DirectorySnapshot | None, policy: ReadPolicy
) -> bool:
    changed = snapshot.changed if policy.recheck_recent_directories else 0.0
    touched = max(snapshot.batch.touched, changed)
    return policy.is_settled(touched) or snapshot.is_like(previous)


def _read_once(path: str, field_index: FieldIndex, without: frozenset[str]) -> DirectorySnapshot:
    snapshot = DirectorySnapshot(path)
    try:
        root = os.open(path, _DIRECTORY_FLAGS)
    except OSError as exc:
        _record_problem(snapshot, exc)
        return snapshot
    try:
        if _has_data_link(root) or _has_dotdot(names := os.listdir(root)):
            _read_volume(snapshot, root, field_index)
        else:
            _read_plain(snapshot, root, names, field_index, without)
        before, now = os.fstat(root), os.stat(path)
        snapshot.changed = before.st_ctime
        snapshot.replaced_during_read |= (before.st_dev, before.st_ino) != (now.st_dev, now.st_ino)
    except FileNotFoundError:
        snapshot.replaced_during_read = True
    except OSError as exc:
        _record_problem(snapshot, exc)
    finally:
        os.close(root)
    return snapshot


def _read_volume(snapshot: DirectorySnapshot, root: int, field_index: FieldIndex) -> None:
    """Read a kubelet volume through the directory that ``..data`` links to at this moment."""
    snapshot.volume = True
    try:
        link = os.readlink(_DATA, dir_fd=root)
        data = os.open(link, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=root)
    except OSError as exc:
        snapshot.problem = UNREADABLE if exc.errno in {EACCES, EPERM} else _NO_DATA
        snapshot.pending = True
        snapshot.names = os.listdir(root)
        return
    try:
        status = os.fstat(data)
        snapshot.identity = (status.st_dev, status.st_ino, link)
        snapshot.names = os.listdir(data)
        _read_names(snapshot, data, field_index, snapshot.names)
        snapshot.replaced_during_read = os.readlink(_DATA, dir_fd=root) != link
    finally:
        os.close(data)


def _read_plain(
    snapshot: DirectorySnapshot,
    root: int,
    names: Collection[str],
    field_index: FieldIndex,
    without: frozenset[str],
) -> None:
    snapshot.names = names
    if any(name in field_index.by_file for name in without):
        names = [name for name in names if name not in without]
    _read_names(snapshot, root, field_index, names)
    # A volume whose ..data is missing is recognised by its other links, which lead through it.
    for name in {
        *snapshot.batch.dangling_links,
        *(path.partition("/")[0] for path in field_index.nested_paths),
    }:
        with suppress(OSError):
            if os.readlink(name, dir_fd=root).startswith(f"{_DATA}/"):
                snapshot.volume = snapshot.pending = True
                snapshot.problem = _NO_DATA


def _read_names(
    snapshot: DirectorySnapshot, directory: int, field_index: FieldIndex, names: Collection[str]
) -> None:
    if field_index.nested_paths:
        names = [*names, *field_index.nested_paths]
    prefix = os.path.join(snapshot.path, "")
    snapshot.batch = read_files(names, field_index.by_file, directory=prefix, dir_fd=directory)
    snapshot.pending = snapshot.batch.permission_denied


def _has_data_link(root: int) -> bool:
    """Return whether ``..data`` exists: a kubelet volume, which is recognised without a listing."""
    try:
        os.readlink(_DATA, dir_fd=root)
    except OSError:
        return False
    return True


def _has_dotdot(names: Collection[str]) -> bool:
    """Return whether a name begins with two dots; one search is faster than a loop."""
    return "/.." in "/" + "/".join(names)


def _record_problem(snapshot: DirectorySnapshot, exc: OSError) -> None:
    if exc.errno in {EACCES, EPERM}:
        snapshot.problem = UNREADABLE
        snapshot.pending = True
    elif exc.errno == ENOENT:
        # A link without a target may be about to get a new one.
        snapshot.problem = _ABSENT
        snapshot.pending = os.path.islink(snapshot.path)
    else:
        reason = os.strerror(exc.errno or 0).lower()
        snapshot.problem = ValueProblem("directory", f"cannot be opened as a directory: {reason}")
