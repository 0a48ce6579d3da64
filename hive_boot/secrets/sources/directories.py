"""Directory source: a consistent snapshot of a mounted directory."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from hive_boot._records import Record
from hive_boot.secrets.fields import VERSION, ValueProblem
from hive_boot.secrets.sources.files import (
    A_DIRECTORY,
    EMPTY,
    UNREADABLE,
    FileBatch,
    as_declared_type,
    read_files,
    read_regular_file,
    reading_problem,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence

    from hive_boot.secrets.fields import FieldIndex


def _is_never_written(paths: Iterable[str]) -> bool:
    del paths
    return False


class ReadPolicy(Record):
    """Clock of a load, and its limits in seconds.

    Attributes:
        wall: returns the wall clock time, which is compared with the ctime of files.
        monotonic: returns the time that limits are measured with.
        sleep: waits in the thread that loads.
        settled_age: a plain file that has not changed for this time is read once, because no
            program is writing it. Only for time stamps of this kernel. Default 2.
        quiet_interval: the time between two reads of another file, which must be equal.
            Default 0.3.
        unstable_timeout: a directory that still changes after this time is a problem. Default 10.
        missing_timeout: a missing permission, ``..data`` or link target is a problem after this
            time. Default 2.
        tries: the number of reads of a directory that is replaced during each read. Default 8,
            with pauses of 2 to 100 ms.
        waits_for_writers: whether a first read waits until no file is being written. Default True.
        is_reread: whether the application already runs. Time stamps then decide nothing: what
            differs from the last quiet read must be the same twice. Default False.
        quiet_contents: the content of each plain directory at the last quiet read of the same
            run, which a read updates; None to forget it. Default None.
        is_being_written: returns whether a program has one of these files open, and may write
            more. Default: nothing is known.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    settled_age: float = 2.0
    quiet_interval: float = 0.3
    unstable_timeout: float = 10.0
    missing_timeout: float = 2.0
    tries: int = 8
    waits_for_writers: bool = True
    is_reread: bool = False
    quiet_contents: dict[object, object] | None = None
    is_being_written: Callable[[Iterable[str]], bool] = _is_never_written

    def pause(self, attempt: int) -> float:
        """Return the seconds before the next try: 0.002 at first, doubling up to 0.1."""
        return min(0.002 * 2.0 ** min(attempt, 6), 0.1)

    def is_settled(self, touched: float) -> bool:
        """Return whether a file last changed at ``touched`` (wall clock) needs only one read."""
        return self.wall() - touched > self.settled_age


_DATA = "..data"


_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


_O_PATH = getattr(os, "O_PATH", 0)
"""Flag of Linux that opens a directory which can be entered but not listed."""


_STAMPED_BY_KERNEL = frozenset({b"btrfs", b"ext4", b"overlay", b"ramfs", b"tmpfs", b"xfs"})
"""File systems whose time stamps are made by this kernel, with the clock of this machine.

A stamp of NFS, CIFS, virtiofs or 9p is made by another machine, and one of FUSE by a program. Their
clocks may be seconds behind, and a half-written file would look old.
"""


MAX_SUBDIRECTORIES = 1000
"""Maximum number of subdirectories that are searched in one directory, in the order of names."""


_MOUNT = "mount the secrets there"


_WRITE_ONCE = "let the program that writes there write each file once, or replace it by a rename"


REPLACED = ValueProblem("unstable", "was replaced during each attempt to read it", _WRITE_ONCE)


CHANGING = ValueProblem("unstable", "did not stop changing while it was read", _WRITE_ONCE)


MOVING = ValueProblem(
    "unstable",
    "is another directory at each attempt to read it, because of a link that changes",
    _WRITE_ONCE,
)


INODES = ValueProblem(
    "unstable",
    "has another inode number each time it is examined, so it cannot be read as one consistent set",
    "use a file system with stable inode numbers; a FUSE file system may have an option for this",
)


CLOSED = UNREADABLE.replace(fix="permit the user of this process to enter the directory")


ABSENT = ValueProblem("directory", "does not exist", _MOUNT)


_NOT_A_DIRECTORY = ValueProblem("directory", "is not a directory", _MOUNT)


NO_DATA = ValueProblem("directory", "is a volume whose link ..data is dangling", _MOUNT)


class DirectorySnapshot:
    """Content of one directory at one moment.

    Attributes:
        path: the directory or the bundle; empty for files that were named one by one.
        parent: the directory that this one is a subdirectory of; empty for a configured path.
        is_bundle: whether the path is a file with several secrets.
        batch: the results of its files.
        names: all names in the directory, for near names; only those of declared files if the
            directory cannot be listed.
        volume: whether the directory is a kubelet volume.
        problem: why the directory could not be read; None if it could.
        replaced_during_read: whether the directory was replaced during the read, which is then
            repeated.
        pending: whether a missing permission or link may be about to appear.
        key: what identifies the same read in a later load.
    """

    def __init__(self, path: str, parent: str = "", *, problem: ValueProblem | None = None) -> None:
        self.path: str = path
        self.parent: str = parent
        self.is_bundle: bool = False
        self.batch: FileBatch = FileBatch()
        self.names: Collection[str] = ()
        self.volume: bool = False
        self.problem: ValueProblem | None = problem
        self.replaced_during_read: bool = False
        self.pending: bool = False
        self.key: object = path

    @property
    def is_absent(self) -> bool:
        """Whether the directory does not exist."""
        return self.problem is ABSENT

    @property
    def has_results(self) -> bool:
        """Whether it contains a file of a secret, readable or not."""
        hits = [hit for hits in self.batch.hits.values() for hit in hits]
        return any(hit.result is not A_DIRECTORY for hit in hits)

    @property
    def places(self) -> Iterator[str]:
        """The paths of its files; of a member, the path of its file."""
        for hits in self.batch.hits.values():
            yield from (hit.place.partition("#")[0] for hit in hits)

    @property
    def is_skipped(self) -> bool:
        """Whether it is a subdirectory that cannot be read, reported only with a missing secret."""
        closed = self.problem and self.problem.kind in {"unreadable", "directory"}
        return bool(self.parent and closed and self.problem is not NO_DATA)


def read_directory(path: str, field_index: FieldIndex, policy: ReadPolicy) -> DirectorySnapshot:
    """Return a consistent snapshot of the declared secrets in a directory or a bundle.

    Args:
        path: the directory or the file; a link to it is resolved at each read.
        field_index: the declared secrets.
        policy: how long to wait for a program that writes.
    """
    (snapshot,) = _read_until_quiet([partial(_read_once, path, field_index)], policy)
    if snapshot.problem is _NOT_A_DIRECTORY:
        return _read_bundle(path, field_index, policy)
    return snapshot


def read_subdirectories(
    above: DirectorySnapshot, field_index: FieldIndex, policy: ReadPolicy
) -> list[DirectorySnapshot]:
    """Return a consistent snapshot of each direct subdirectory.

    Args:
        above: the snapshot of the directory.
        field_index: the secrets that the directory lacks.
        policy: how long to wait for a program that writes; it limits all reads together.
    """
    found = find_subdirectories(above.path)[:MAX_SUBDIRECTORIES]
    readers = [partial(_read_once, path, field_index, above.path) for path in found]
    return _read_until_quiet(readers, policy)


def _read_bundle(path: str, field_index: FieldIndex, policy: ReadPolicy) -> DirectorySnapshot:
    from hive_boot.secrets.sources.dotenv import add_members  # few have a bundle

    file = read_paths([path], policy)
    snapshot = DirectorySnapshot(path)
    snapshot.is_bundle = True
    snapshot.batch.directory = f"{path}#"
    found = as_declared_type(file.batch.result(path), path, is_text=True)
    if found is None:
        snapshot.problem = file.problem or ABSENT
    elif isinstance(found, ValueProblem):
        snapshot.problem = None if found is EMPTY else found
    else:
        targets = {name: field.target for name, field in field_index.by_variable.items()}
        targets |= dict.fromkeys(field_index.version_variables, (VERSION, path, True))
        targets |= field_index.by_file | field_index.members.get(os.path.basename(path), {})
        add_members(snapshot.batch, found, targets)
        snapshot.problem = snapshot.batch.bundle_problem
        snapshot.names = [*snapshot.batch.shown_names, *snapshot.batch.names]
    return snapshot


def read_paths(paths: Collection[str], policy: ReadPolicy) -> DirectorySnapshot:
    """Return a consistent snapshot of files that were named one by one: their bytes, by path.

    Args:
        paths: the paths of the files.
        policy: how long to wait for a program that writes.
    """
    targets = {path: (path, path, False) for path in paths}

    def read_once() -> DirectorySnapshot:
        snapshot = DirectorySnapshot("")
        snapshot.key = tuple(paths)
        snapshot.batch = read_files(paths, targets)
        snapshot.pending = snapshot.batch.permission_denied
        return snapshot

    return _read_until_quiet([read_once], policy)[0]


def find_subdirectories(path: str) -> list[str]:
    """Return the direct subdirectories as sorted paths; a name with a leading dot is skipped."""
    found = []
    with suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            # is_dir() raises for some links that cannot be resolved.
            with suppress(OSError):
                if not entry.name.startswith(".") and entry.is_dir():
                    found.append(entry.path)
    return sorted(found)


def _read_until_quiet(
    readers: Sequence[Callable[[], DirectorySnapshot]], policy: ReadPolicy
) -> list[DirectorySnapshot]:
    """Return the first snapshot of each reader without a change during its read, or a problem.

    All readers have the same pauses, so many are as fast as one.
    """
    snapshots: dict[int, DirectorySnapshot] = {}
    devices: dict[int, bool] = {}

    def attempts(number: int) -> Generator[float, None, None]:
        snapshots[number] = yield from _attempts(readers[number], policy, devices)

    running = [attempts(number) for number in range(len(readers))]
    while pauses := [pause for each in running if (pause := next(each, None)) is not None]:
        policy.sleep(max(pauses))
    return [snapshots[number] for number in range(len(readers))]


def _attempts(
    read_once: Callable[[], DirectorySnapshot], policy: ReadPolicy, devices: dict[int, bool]
) -> Generator[float, None, DirectorySnapshot]:
    """Read until a snapshot is usable; yield the seconds to wait before each further read.

    Args:
        read_once: reads once.
        policy: the clock and its limits.
        devices: which file systems are known to have time stamps of this kernel, or not.
    """
    started = policy.monotonic()
    previous = None
    attempt = replaced = 0
    while True:
        snapshot = read_once()
        waited = policy.monotonic() - started
        if snapshot.replaced_during_read:
            replaced += 1
            if replaced >= policy.tries:
                why = INODES if _has_unstable_inode(snapshot.path) else REPLACED
                return DirectorySnapshot(snapshot.path, snapshot.parent, problem=why)
            yield policy.pause(attempt)
        elif snapshot.pending and waited < policy.missing_timeout:
            yield policy.pause(attempt)
        elif snapshot.volume or snapshot.problem:
            return snapshot
        elif _is_quiet(snapshot, previous, policy, devices):
            if policy.quiet_contents is not None:
                policy.quiet_contents[snapshot.key] = snapshot.batch.content
            return snapshot
        elif waited >= policy.unstable_timeout:
            return DirectorySnapshot(snapshot.path, snapshot.parent, problem=CHANGING)
        else:
            previous = snapshot
            yield policy.quiet_interval
        attempt += 1


def _is_quiet(
    snapshot: DirectorySnapshot,
    previous: DirectorySnapshot | None,
    policy: ReadPolicy,
    devices: dict[int, bool],
) -> bool:
    """Return whether no file is being written, as far as can be known.

    In a first read, old time stamps of this kernel are enough. Otherwise the content must be that
    of the previous read, or of the last quiet read of the run.
    """
    if not (policy.is_reread or policy.waits_for_writers):
        return True
    if policy.is_being_written(snapshot.places):
        return False
    batch = snapshot.batch
    if not policy.is_reread and policy.is_settled(batch.touched):
        for device in batch.devices.keys() - devices:
            devices[device] = _is_stamped_by_kernel(batch.devices[device])
        if all(devices[device] for device in batch.devices):
            return True
    content = batch.content
    if previous is not None and content == previous.batch.content:
        return True
    return policy.is_reread and content == (policy.quiet_contents or {}).get(snapshot.key)


def _is_stamped_by_kernel(path: str) -> bool:
    """Return whether this kernel makes the time stamps of a file; False if that is unknown."""
    try:
        descriptor = os.open(path, _O_PATH | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # Not st_dev, which btrfs and overlay do not share with their mounts.
            details = read_regular_file(f"/proc/self/fdinfo/{descriptor}")
        finally:
            os.close(descriptor)
        table = read_regular_file("/proc/self/mountinfo")
    except OSError:
        return False
    number = details.partition(b"mnt_id:\t")[2].partition(b"\n")[0] + b" "
    mounts = [line for line in table.split(b"\n") if line.startswith(number)]
    return any(line.partition(b" - ")[2].split(b" ")[0] in _STAMPED_BY_KERNEL for line in mounts)


def _has_unstable_inode(path: str) -> bool:
    """Return whether a directory has another inode number at each stat, without a change of it."""
    with suppress(OSError):
        first, second = os.stat(path), os.stat(path)
        return first.st_ino != second.st_ino and first.st_ctime_ns == second.st_ctime_ns
    return False


def _open_directory(path: str, parent: int | None = None, flags: int = 0) -> tuple[int, bool]:
    """Return a descriptor of a directory, and whether it can be listed.

    Raises:
        OSError: the directory cannot be entered, or does not exist.
    """
    flags |= _DIRECTORY_FLAGS
    try:
        return os.open(path, flags, dir_fd=parent), True
    except PermissionError:
        root = os.open(path, flags | _O_PATH, dir_fd=parent)
    try:
        os.stat(".", dir_fd=root)  # it fails unless the directory can be entered
    except OSError:
        os.close(root)
        raise
    return root, False


def _read_once(path: str, field_index: FieldIndex, parent: str = "") -> DirectorySnapshot:
    snapshot = DirectorySnapshot(path, parent)
    try:
        root, can_list = _open_directory(path)
    except OSError as exc:
        _record_problem(snapshot, exc)
        return snapshot
    try:
        is_volume = _has_data_link(root)
        names = os.listdir(root) if can_list and not is_volume else None
        # A name contains no slash.
        if is_volume or "/.." in "/".join(["", *(names or ())]):
            _read_volume(snapshot, root, field_index)
        else:
            _read_plain(snapshot, root, names, field_index)
        before, now = os.fstat(root), os.stat(path)
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
        data, can_list = _open_directory(link, root, os.O_NOFOLLOW)
    except OSError as exc:
        snapshot.problem = CLOSED if isinstance(exc, PermissionError) else NO_DATA
        snapshot.pending = True
        with suppress(PermissionError):
            snapshot.names = os.listdir(root)
        return
    try:
        _read_names(snapshot, data, field_index, os.listdir(data) if can_list else None)
        snapshot.replaced_during_read = os.readlink(_DATA, dir_fd=root) != link
    finally:
        os.close(data)


def _read_plain(
    snapshot: DirectorySnapshot,
    root: int,
    names: Collection[str] | None,
    field_index: FieldIndex,
) -> None:
    _read_names(snapshot, root, field_index, names)
    # A volume whose ..data is missing is recognised by its other links, which lead through it.
    paths = [*field_index.nested_paths, *field_index.members]
    for name in {*snapshot.batch.dangling_links, *(path.partition("/")[0] for path in paths)}:
        with suppress(OSError):
            if os.readlink(name, dir_fd=root).startswith(f"{_DATA}/"):
                snapshot.volume = snapshot.pending = True
                snapshot.problem = NO_DATA


def _read_names(
    snapshot: DirectorySnapshot,
    directory: int,
    field_index: FieldIndex,
    names: Collection[str] | None,
) -> None:
    """Read the declared files among ``names``; None tries to open each declared file."""
    tried = field_index.by_file if names is None else [*names, *field_index.nested_paths]
    prefix = os.path.join(snapshot.path, "")
    batch = read_files(tried, field_index.by_file, directory=prefix, dir_fd=directory)
    snapshot.batch = batch
    if field_index.members:
        _read_members(snapshot.batch, directory, field_index)
    snapshot.pending = batch.permission_denied
    snapshot.names = batch.names if names is None else names


def _read_members(batch: FileBatch, directory: int, field_index: FieldIndex) -> None:
    """Add the members of files that ``file="rds.json#password"`` names."""
    from hive_boot.secrets.sources.dotenv import add_members  # few have a bundle

    for file, targets in field_index.members.items():
        whole = {file: ("", file, True)}
        read = read_files([file], whole, directory=batch.directory, dir_fd=directory)
        problem = found = read.result("")
        if found is not None and not isinstance(found, ValueProblem):
            add_members(batch, found, targets, f"{file}#")
            problem, batch.bundle_problem = batch.bundle_problem, None
        if problem:
            for member, target in targets.items():
                batch.add(f"{file}#{member}", target[0], problem)
        batch.touched = max(batch.touched, read.touched)
        batch.devices |= read.devices


def _has_data_link(root: int) -> bool:
    """Return whether ``..data`` exists: a kubelet volume, which is recognised without a listing."""
    with suppress(OSError):
        return bool(os.readlink(_DATA, dir_fd=root))
    return False


def _record_problem(snapshot: DirectorySnapshot, exc: OSError) -> None:
    if isinstance(exc, PermissionError):
        snapshot.problem = CLOSED
        # A subdirectory may be closed permanently, such as lost+found.
        snapshot.pending = not snapshot.parent
    elif isinstance(exc, FileNotFoundError):
        # A link without a target may be about to get a new one.
        snapshot.problem = ABSENT
        snapshot.pending = os.path.islink(snapshot.path)
    elif isinstance(exc, NotADirectoryError):
        snapshot.problem = _NOT_A_DIRECTORY
    else:
        snapshot.problem = reading_problem(exc)
