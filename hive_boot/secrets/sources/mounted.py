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

from hive_boot.secrets.field import Fault
from hive_boot.secrets.sources.reading import UNREADABLE, Answer, Batch, read_files

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from hive_boot.secrets.inventory import Inventory
    from hive_boot.secrets.sources.patience import Patience

_DATA = "..data"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_REPLACED = Fault("unstable", "was replaced each time while it was read")
_RESTLESS = Fault("unstable", "did not stay the same long enough to be read")
_ABSENT = Fault("directory", "does not exist")
_NO_DATA = Fault("directory", "is a volume whose ..data leads nowhere")


class Reading:
    """What one place held at one moment.

    Attributes:
        path: the directory; empty for files that were named one by one.
        batch: what its files held.
        names: everything in the directory, for near misses.
        volume: whether it is a kubelet volume.
        identity: device, inode and link of a volume's generation.
        fault: why nothing could be read, if so.
        torn: the directory was replaced meanwhile; what was read is void.
        pending: what is missing may be about to come.
        changed: when something was last made or removed in it, on the wall clock.
    """

    __slots__ = (
        "batch",
        "changed",
        "fault",
        "identity",
        "names",
        "path",
        "pending",
        "torn",
        "volume",
    )

    def __init__(self, path: str, *, fault: Fault | None = None) -> None:
        self.path = path
        self.batch = Batch()
        self.names: Collection[str] = ()
        self.volume = False
        self.identity: tuple[int, int, str] | None = None
        self.fault = fault
        self.torn = False
        self.pending = False
        self.changed = 0.0

    @property
    def is_absent(self) -> bool:
        """Whether there is no such directory."""
        return self.fault is _ABSENT

    def is_like(self, other: Reading | None) -> bool:
        """Tell whether nothing was touched since ``other`` was read, and all is as it was."""
        if other is None or self.batch.touched != other.batch.touched:
            return False
        return self.batch.values == other.batch.values and self.batch.odd == other.batch.odd


def read_directory(
    path: str,
    inventory: Inventory,
    patience: Patience,
    *,
    without: frozenset[str] = frozenset(),
) -> Reading:
    """Read what ``inventory`` declares out of the directory at ``path``.

    Args:
        path: the directory; a link to it is followed anew.
        inventory: the declared secrets.
        patience: how long to wait for a writer.
        without: names in the directory that are not ours to open.
    """
    return _read_patiently(lambda: _read_once(path, inventory, without), patience)


def read_paths(paths: Mapping[str, Answer], patience: Patience) -> Reading:
    """Read files that were named one by one, each the value of its field.

    Args:
        paths: the fields, by the path of their file.
        patience: how long to wait for a writer.
    """

    def read_once() -> Reading:
        reading = Reading("")
        reading.batch = read_files(paths, paths)
        reading.pending = reading.batch.refused
        return reading

    return _read_patiently(read_once, patience)


def subvolumes(path: str, names: Iterable[str]) -> list[str]:
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


def _read_patiently(read_once: Callable[[], Reading], patience: Patience) -> Reading:
    """Read again until what was read is of one moment, or patience ends."""
    started = patience.monotonic()
    previous = None
    attempt = replaced = 0
    while True:
        reading = read_once()
        waited = patience.monotonic() - started
        if reading.torn:
            replaced += 1
            if replaced >= patience.tries:
                return Reading(reading.path, fault=_REPLACED)
            patience.pause(attempt)
        elif reading.pending and waited < patience.absent:
            patience.pause(attempt)
        elif reading.volume or reading.fault or _is_quiet(reading, previous, patience):
            return reading
        elif waited >= patience.restless:
            return Reading(reading.path, fault=_RESTLESS)
        else:
            previous = reading
            patience.sleep(patience.quiet)
        attempt += 1


def _is_quiet(reading: Reading, previous: Reading | None, patience: Patience) -> bool:
    changed = reading.changed if patience.thorough else 0.0
    touched = max(reading.batch.touched, changed)
    return patience.is_settled(touched) or reading.is_like(previous)


def _read_once(path: str, inventory: Inventory, without: frozenset[str]) -> Reading:
    reading = Reading(path)
    try:
        root = os.open(path, _DIRECTORY)
    except OSError as exc:
        _note_fault(reading, exc)
        return reading
    try:
        reading.names = os.listdir(root)
        if _DATA in reading.names or _has_dotdot(reading.names):
            _read_volume(reading, root, inventory)
        else:
            _read_plain(reading, root, inventory, without)
        before, now = os.fstat(root), os.stat(path)
        reading.changed = before.st_ctime
        reading.torn |= (before.st_dev, before.st_ino) != (now.st_dev, now.st_ino)
    except FileNotFoundError:
        reading.torn = True
    except OSError as exc:
        _note_fault(reading, exc)
    finally:
        os.close(root)
    return reading


def _read_volume(reading: Reading, root: int, inventory: Inventory) -> None:
    """Read a kubelet volume through the directory that ``..data`` names now."""
    reading.volume = True
    try:
        link = os.readlink(_DATA, dir_fd=root)
        data = os.open(link, _DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
    except OSError as exc:
        reading.fault = UNREADABLE if exc.errno in {EACCES, EPERM} else _NO_DATA
        reading.pending = True
        return
    try:
        status = os.fstat(data)
        reading.identity = (status.st_dev, status.st_ino, link)
        reading.names = os.listdir(data)
        _read_names(reading, data, inventory, reading.names)
        reading.torn = os.readlink(_DATA, dir_fd=root) != link
    finally:
        os.close(data)


def _read_plain(reading: Reading, root: int, inventory: Inventory, without: frozenset[str]) -> None:
    names = reading.names
    if without and not without.isdisjoint(names):
        names = [name for name in names if name not in without]
    _read_names(reading, root, inventory, names)
    # A volume whose ..data is away is known by the links into it that were left.
    for name in {*reading.batch.lost, *(path.partition("/")[0] for path in inventory.below)}:
        with suppress(OSError):
            if os.readlink(name, dir_fd=root).startswith(f"{_DATA}/"):
                reading.volume = reading.pending = True
                reading.fault = _NO_DATA


def _read_names(
    reading: Reading, directory: int, inventory: Inventory, names: Collection[str]
) -> None:
    if inventory.below:
        names = [*names, *inventory.below]
    prefix = os.path.join(reading.path, "")
    reading.batch = read_files(names, inventory.by_file, directory=prefix, dir_fd=directory)
    reading.pending = reading.batch.refused


def _has_dotdot(names: Collection[str]) -> bool:
    """Tell whether a name begins with two dots; one search is quicker than a loop."""
    return "/.." in "/" + "/".join(names)


def _note_fault(reading: Reading, exc: OSError) -> None:
    if exc.errno in {EACCES, EPERM}:
        reading.fault = UNREADABLE
        reading.pending = True
    elif exc.errno == ENOENT:
        # A link whose target is gone is one that is about to be switched.
        reading.fault = _ABSENT
        reading.pending = os.path.islink(reading.path)
    else:
        why = os.strerror(exc.errno or 0).lower()
        reading.fault = Fault("directory", f"cannot be opened as a directory: {why}")
