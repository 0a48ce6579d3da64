"""Read the declared names of one mounted directory, all of one moment.

Two kinds of directory are read, each as its writers allow:

- A kubelet volume. Its files never change; what changes is the directory that
  the link ``..data`` names. So that directory is opened once, everything is read
  through its descriptor, and then the link is read again: the same link means
  that what was read belongs together, and that what was absent is absent.
  https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go
- A plain directory, where anybody may write in place. It is read when it is
  quiet: every file untouched for a while, or the same twice, some time apart.

Reading never raises: what is wrong with a file is what its hit holds, what is wrong
with the directory is the reading's fault.
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EACCES, ENOENT, EPERM
from typing import TYPE_CHECKING

from hive_boot.secrets.field import ValueProblem
from hive_boot.secrets.sources.reading import UNREADABLE, FieldTarget, FileBatch, read_files

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from hive_boot.secrets.inventory import FieldIndex
    from hive_boot.secrets.sources.patience import ReadPolicy

_DATA = "..data"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_REPLACED = ValueProblem("unstable", "was replaced each time while it was read")
_RESTLESS = ValueProblem("unstable", "did not stay the same long enough to be read")
_ABSENT = ValueProblem("directory", "does not exist")
_NO_DATA = ValueProblem("directory", "is a volume whose ..data leads nowhere")


class DirectorySnapshot:
    """What one place held at one moment.

    Attributes:
        path: the directory; empty for files that were named one by one.
        batch: what its files held.
        names: everything in the directory, for near misses.
        volume: whether it is a kubelet volume.
        identity: device, inode and link of a volume's generation.
        problem: why nothing could be read, if so.
        replaced_during_read: the directory was replaced meanwhile; what was read is void.
        pending: what is missing may be about to come.
        changed: when something was last made or removed in it, on the wall clock.
    """

    __slots__ = (
        "batch",
        "changed",
        "problem",
        "identity",
        "names",
        "path",
        "pending",
        "replaced_during_read",
        "volume",
    )

    def __init__(self, path: str, *, problem: ValueProblem | None = None) -> None:
        self.path = path
        self.batch = FileBatch()
        self.names: Collection[str] = ()
        self.volume = False
        self.identity: tuple[int, int, str] | None = None
        self.problem = problem
        self.replaced_during_read = False
        self.pending = False
        self.changed = 0.0

    @property
    def is_absent(self) -> bool:
        """Whether there is no such directory."""
        return self.problem is _ABSENT

    def is_like(self, other: DirectorySnapshot | None) -> bool:
        """Tell whether nothing was touched since ``other`` was read, and all is as it was."""
        if other is None or self.batch.touched != other.batch.touched:
            return False
        return (
            self.batch.values == other.batch.values
            and self.batch.unresolved == other.batch.unresolved
        )


def read_directory(
    path: str,
    field_index: FieldIndex,
    patience: ReadPolicy,
    *,
    without: frozenset[str] = frozenset(),
) -> DirectorySnapshot:
    """Read what ``field_index`` declares out of the directory at ``path``.

    Args:
        path: the directory; a link to it is followed anew.
        field_index: the declared secrets.
        patience: how long to wait for a writer.
        without: names in the directory that are not ours to open.
    """
    return _read_until_quiet(lambda: _read_once(path, field_index, without), patience)


def read_paths(paths: Mapping[str, FieldTarget], patience: ReadPolicy) -> DirectorySnapshot:
    """Read files that were named one by one, each the value of its field.

    Args:
        paths: the fields, by the path of their file.
        patience: how long to wait for a writer.
    """

    def read_once() -> DirectorySnapshot:
        reading = DirectorySnapshot("")
        reading.batch = read_files(paths, paths)
        reading.pending = reading.batch.permission_denied
        return reading

    return _read_until_quiet(read_once, patience)


def find_kubelet_volumes(path: str, names: Iterable[str]) -> list[str]:
    """Give what is a kubelet volume among the ``names`` in ``path``, sorted."""
    found = []
    for name in sorted(names):
        below = os.path.join(path, name)
        try:
            if _has_dotdot(os.listdir(below)):
                found.append(below)
        except PermissionError:
            # It may be one. Whoever reads it waits for the permission, and reports it.
            found.append(below)
        except OSError:
            continue
    return found


def _read_until_quiet(
    read_once: Callable[[], DirectorySnapshot], patience: ReadPolicy
) -> DirectorySnapshot:
    """Read again until what was read is of one moment, or patience ends."""
    started = patience.monotonic()
    previous = None
    attempt = replaced = 0
    while True:
        reading = read_once()
        waited = patience.monotonic() - started
        if reading.replaced_during_read:
            replaced += 1
            if replaced >= patience.tries:
                return DirectorySnapshot(reading.path, problem=_REPLACED)
            patience.pause(attempt)
        elif reading.pending and waited < patience.missing_timeout:
            patience.pause(attempt)
        elif reading.volume or reading.problem or _is_quiet(reading, previous, patience):
            return reading
        elif waited >= patience.unstable_timeout:
            return DirectorySnapshot(reading.path, problem=_RESTLESS)
        else:
            previous = reading
            patience.sleep(patience.quiet_interval)
        attempt += 1


def _is_quiet(
    reading: DirectorySnapshot, previous: DirectorySnapshot | None, patience: ReadPolicy
) -> bool:
    changed = reading.changed if patience.recheck_recent_directories else 0.0
    touched = max(reading.batch.touched, changed)
    return patience.is_settled(touched) or reading.is_like(previous)


def _read_once(path: str, field_index: FieldIndex, without: frozenset[str]) -> DirectorySnapshot:
    reading = DirectorySnapshot(path)
    try:
        root = os.open(path, _DIRECTORY)
    except OSError as exc:
        _record_problem(reading, exc)
        return reading
    try:
        reading.names = os.listdir(root)
        if _DATA in reading.names or _has_dotdot(reading.names):
            _read_volume(reading, root, field_index)
        else:
            _read_plain(reading, root, field_index, without)
        before, now = os.fstat(root), os.stat(path)
        reading.changed = before.st_ctime
        reading.replaced_during_read |= (before.st_dev, before.st_ino) != (now.st_dev, now.st_ino)
    except FileNotFoundError:
        reading.replaced_during_read = True
    except OSError as exc:
        _record_problem(reading, exc)
    finally:
        os.close(root)
    return reading


def _read_volume(reading: DirectorySnapshot, root: int, field_index: FieldIndex) -> None:
    """Read a kubelet volume through the directory that ``..data`` names now."""
    reading.volume = True
    try:
        link = os.readlink(_DATA, dir_fd=root)
        data = os.open(link, _DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
    except OSError as exc:
        reading.problem = UNREADABLE if exc.errno in {EACCES, EPERM} else _NO_DATA
        reading.pending = True
        return
    try:
        status = os.fstat(data)
        reading.identity = (status.st_dev, status.st_ino, link)
        reading.names = os.listdir(data)
        _read_names(reading, data, field_index, reading.names)
        reading.replaced_during_read = os.readlink(_DATA, dir_fd=root) != link
    finally:
        os.close(data)


def _read_plain(
    reading: DirectorySnapshot, root: int, field_index: FieldIndex, without: frozenset[str]
) -> None:
    names = reading.names
    if without and not without.isdisjoint(names):
        names = [name for name in names if name not in without]
    _read_names(reading, root, field_index, names)
    # A volume whose ..data is away is known by the links into it that were left.
    for name in {
        *reading.batch.dangling_links,
        *(path.partition("/")[0] for path in field_index.nested_paths),
    }:
        with suppress(OSError):
            if os.readlink(name, dir_fd=root).startswith(f"{_DATA}/"):
                reading.volume = reading.pending = True
                reading.problem = _NO_DATA


def _read_names(
    reading: DirectorySnapshot, directory: int, field_index: FieldIndex, names: Collection[str]
) -> None:
    if field_index.nested_paths:
        names = [*names, *field_index.nested_paths]
    prefix = os.path.join(reading.path, "")
    reading.batch = read_files(names, field_index.by_file, directory=prefix, dir_fd=directory)
    reading.pending = reading.batch.permission_denied


def _has_dotdot(names: Collection[str]) -> bool:
    """Tell whether a name begins with two dots; one search is quicker than a loop."""
    return "/.." in "/" + "/".join(names)


def _record_problem(reading: DirectorySnapshot, exc: OSError) -> None:
    if exc.errno in {EACCES, EPERM}:
        reading.problem = UNREADABLE
        reading.pending = True
    elif exc.errno == ENOENT:
        # A link whose target is gone is one that is about to be switched.
        reading.problem = _ABSENT
        reading.pending = os.path.islink(reading.path)
    else:
        why = os.strerror(exc.errno or 0).lower()
        reading.problem = ValueProblem("directory", f"cannot be opened as a directory: {why}")
