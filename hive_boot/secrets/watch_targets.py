"""Watch targets: the directories, links and mounted files whose change can change a secret."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from hive_boot._records import Record
from hive_boot.secrets.sources.directories import MAX_SUBDIRECTORIES, find_subdirectories
from hive_boot.secrets.sources.files import read_regular_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hive_boot.secrets.fields import FieldIndex
    from hive_boot.secrets.platform import SourceContext

MOUNT_TABLE = "/proc/self/mountinfo"
"""Mount table of this process: https://docs.kernel.org/filesystems/proc.html (3.5)."""


_FIELDS = 6
"""Minimum number of fields before the separator; optional fields may follow."""


_DELETED = "//deleted"
"""Suffix that the kernel adds to the root of a mount whose file was removed or replaced."""


_GENERATION = "/.."
"""Prefix of the root of a mounted file that lies in one generation of a kubelet volume."""


_SUBPATH = "/volume-subpaths/"
"""Directory in which the kubelet prepares the mounts of a ``subPath``."""


class Mount(Record):
    """One line of the mount table.

    Attributes:
        root: the path in the mounted file system that is visible at ``point``.
        point: the path where it is mounted.
        file_system: the type of the mounted file system, such as ``ext4``.
    """

    root: str
    point: str
    file_system: str


class MountedFile(Record):
    """A file that is a mount point.

    Attributes:
        path: the path of the file in a mounted directory, in ``NAME_FILE`` or of ``.env``.
        root: the path of the mounted file in its own file system.
        stale: whether the mounted file was removed or replaced outside, so that new content is
            not visible.
    """

    path: str
    root: str
    stale: bool

    @property
    def is_subpath(self) -> bool:
        """Whether the kubelet mounted the file for a ``subPath``; it then never updates it.

        The file of a Secret is mounted from one generation of the volume, a directory whose
        name begins with two dots.
        """
        return self.root.startswith(_GENERATION) or _SUBPATH in self.root


def find_mounted_files(paths: Mapping[str, str], table: str = MOUNT_TABLE) -> list[MountedFile]:
    """Return the declared files that are themselves mount points.

    Args:
        paths: the declared files, each with its real path.
        table: the path of the mount table; if it cannot be read, the result is empty.
    """
    # Of several mounts at one point the last one is visible.
    roots = {mount.point: mount.root for mount in read_mounts(table)}
    found = []
    for path, real in paths.items():
        root = roots.get(real)
        if root is not None and not os.path.isdir(path):
            stale = root.endswith(_DELETED)
            with suppress(OSError):
                stale |= os.stat(path).st_nlink == 0
            found.append(MountedFile(path, root, stale))
    return found


_DATA = "..data"


_NONE = frozenset[str]()


_STEPS = 255
"""Components after which a path is taken to have a cycle of links; the kernel allows 40 links."""


class WatchSnapshot(Record):
    """Watch targets and the signatures of the declared files, at one moment.

    Attributes:
        targets: the paths to watch, each with the names of interest in it; None for all names.
        secret_directories: the targets that are mounted directories of secrets. Their
            subdirectories and ``..data`` are of interest too.
        roots: the identities of the targets; if they differ, a new watch is needed.
        contents: the signatures of the declared files, whose content is not read.
        pinned: the declared files that are mount points.
    """

    targets: Mapping[str, frozenset[str] | None]
    secret_directories: frozenset[str]
    roots: tuple[object, ...]
    contents: tuple[object, ...]
    pinned: tuple[MountedFile, ...]

    def is_relevant(self, path: str, is_directory: bool | None = None) -> bool:  # noqa: FBT001  (an attribute of the path)
        """Return whether an event at ``path`` may concern a declared secret.

        Args:
            path: the path.
            is_directory: whether it is a directory; None if that is unknown.
        """
        if path in self.secret_directories or self.targets.get(path, _NONE) is None:
            return True
        above, name = os.path.split(path)
        names = self.targets.get(above, _NONE)
        if names is None or name in names:
            return True
        if above not in self.secret_directories or name.startswith("."):
            return name == _DATA and above in self.secret_directories
        # A subdirectory with any name may hold secrets.
        return os.path.isdir(path) if is_directory is None else is_directory

    def changes_targets(self, path: str, is_directory: bool | None = None) -> bool:  # noqa: FBT001  (an attribute of the path)
        """Return whether an event at a relevant path may change the paths to watch.

        Args:
            path: the path.
            is_directory: whether it is a directory; None if that is unknown.
        """
        if path in self.targets or os.path.dirname(path) not in self.secret_directories:
            return True
        return os.path.isdir(path) if is_directory is None else is_directory


class _Examination(Record):
    """A snapshot, and the paths that it depends on.

    Attributes:
        snapshot: the snapshot.
        directories: the directories of secrets.
        files: the other files, and the bundles.
        paths: the paths that are watched, or would be if they could.
        entries: the paths that are links to them, or may become such links.
    """

    snapshot: WatchSnapshot
    directories: Sequence[str]
    files: Sequence[str]
    paths: Sequence[str]
    entries: Sequence[str]


class WatchTargets:
    """Watch targets of the sources of one declaration.

    Args:
        field_index: the declared fields.
        source_context: the directories and files of the sources.
    """

    def __init__(self, field_index: FieldIndex, source_context: SourceContext) -> None:
        self._directories = source_context.directories
        variables = source_context.variables()
        pointers = filter(None, (variables.get(name, "") for name in field_index.by_file_variable))
        named = [os.path.join(source_context.cwd, pointer) for pointer in pointers]
        self._files = [*named, *source_context.env_files]
        self._by_file = frozenset(field_index.by_file.keys() | field_index.members.keys())
        self._nested = [name for name in self._by_file if "/" in name]
        self._names = self._by_file | {name.partition("/")[0] for name in self._nested}
        self._last: tuple[_Examination | None, object] = None, None

    @property
    def is_empty(self) -> bool:
        """Whether no source is a directory or a file, so that nothing can change."""
        return not self._directories and not self._files

    def snapshot(self) -> WatchSnapshot:
        """Return the current targets and signatures; an unreadable path counts as absent.

        The targets are found again only if something that they depend on has changed. May be
        called in several threads.
        """
        last, expected = self._last
        state = None if last is None else self._state(last)
        if last is not None and state is not None and state == expected:
            return last.snapshot
        now = self._examine()
        # The state belongs to an examination if one before it and one after it are equal.
        is_certain = now == last and state is not None and state[0] == now.snapshot.contents
        self._last = now, state if is_certain else None
        return now.snapshot

    def _state(self, last: _Examination) -> tuple[object, ...]:
        """Return the contents, and what differs if another examination has another result.

        It takes few calls, because it runs every few seconds.
        """
        signatures = list(map(self._contents, last.directories))
        contents = (*(each for each, _ in signatures), *map(_signature, last.files))
        listings = [each for _, each in signatures]
        roots = [_signature(path, attributes=_IDENTITY) for path in last.paths]
        return (
            contents,
            listings,
            roots,
            list(map(_link, last.entries)),
            hash(_read_table(MOUNT_TABLE)),
        )

    def _examine(self) -> _Examination:
        files = [*self._files, *filter(os.path.isfile, self._directories)]
        directories = [path for path in self._all_directories() if path not in files]
        resolved = {path: os.path.realpath(path) for path in files}
        pinned = find_mounted_files(self._declared(directories) | resolved)
        wanted = self._wanted_paths(directories, files, pinned)
        watched = _watched_paths(wanted)
        roots = tuple((*key, path, names) for path, (key, names) in sorted(watched.items()))
        contents = (*(self._contents(each)[0] for each in directories), *map(_signature, files))
        targets = {path: names for path, (_, names) in watched.items()}
        secret_directories = frozenset(map(os.path.realpath, directories)) & targets.keys()
        snapshot = WatchSnapshot(targets, secret_directories, roots, contents, tuple(pinned))
        paths = dict.fromkeys(path for path, _ in wanted)
        entries = dict.fromkeys(
            os.path.join(path, *names) for path, names in wanted if names and len(names) == 1
        )
        return _Examination(snapshot, directories, files, tuple(paths), tuple(entries))

    def _all_directories(self) -> Iterator[str]:
        for path in self._directories:
            yield path
            if not os.path.islink(os.path.join(path, _DATA)):
                yield from find_subdirectories(path)[:MAX_SUBDIRECTORIES]

    def _declared(self, directories: Collection[str]) -> dict[str, str]:
        """Return the declared files of all directories, each with the real path of its directory.

        The file itself is not resolved: a mount point is a file, not the target of a link.
        """
        found = {}
        for directory in directories:
            # join() once: there may be a thousand names, every few seconds.
            shown, real = (
                os.path.join(each, "") for each in (directory, os.path.realpath(directory))
            )
            for name in [*self._declared_entries(directory), *self._nested]:
                found[shown + name] = real + name
        return found

    def _declared_entries(self, directory: str) -> dict[str, bool | None]:
        """Return the declared names in a directory, each with whether it is a link.

        This is None in a directory that can be entered but not listed.
        """
        try:
            # scandir() knows which entries are links, without a stat() of each file.
            with os.scandir(directory) as entries:
                return {
                    each.name: each.is_symlink() for each in entries if each.name in self._by_file
                }
        except PermissionError:
            paths = {name: os.path.join(directory, name) for name in self._by_file}
            return {name: None for name, path in paths.items() if os.path.lexists(path)}
        except OSError:
            return {}

    def _wanted_paths(
        self, directories: Collection[str], files: Collection[str], pinned: Collection[MountedFile]
    ) -> list[tuple[str, frozenset[str] | None]]:
        """Return the paths to watch, each with the names of interest; paths may be repeated."""
        wanted: list[tuple[str, frozenset[str] | None]] = []
        for directory in directories:
            wanted += [(directory, self._names), *_path_dependencies(directory)]
            if not os.path.islink(os.path.join(directory, _DATA)):
                wanted += self._file_dependencies(directory)
        for file in files:
            wanted += _path_dependencies(file)
        return [*wanted, *((pin.path, None) for pin in pinned)]

    def _file_dependencies(self, directory: str) -> Iterator[tuple[str, frozenset[str] | None]]:
        """Yield the path dependencies of declared links and nested files in a directory.

        The files of a directory that cannot be listed are watched themselves.
        """
        entries = self._declared_entries(directory) | dict.fromkeys(self._nested, True)
        for name, is_link in entries.items():
            path = os.path.join(directory, name)
            if is_link is None:
                yield path, None
            if is_link is not False:
                yield from _path_dependencies(path)

    def _contents(self, directory: str) -> tuple[object, object]:
        """Return signatures of the declared files in a directory, and of the directory.

        The first one differs when a declared file may have changed, and the second one when there
        may be another subdirectory.
        """
        link = _link(os.path.join(directory, _DATA))
        if isinstance(link, str):
            # The kubelet writes a new directory for each change, so the files of this one stay.
            return (link, _signature(os.path.join(directory, link))), None
        status, listing, descriptor = _signature(directory), 0, None
        files: dict[str, object] = {}
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            entries = os.listdir(descriptor)
            listing = hash(tuple(entries))
            names = [name for name in entries if name in self._by_file]
            files = dict(zip(names, _signatures(names, descriptor), strict=True))
        except PermissionError:
            # It can be entered but not listed.
            files = {name: _signature(os.path.join(directory, name)) for name in self._by_file}
        except OSError:
            pass
        finally:
            if descriptor is not None:
                os.close(descriptor)
        below = [_signature(os.path.join(directory, name)) for name in self._nested]
        return (status[:3], files, below), (status, listing)


def _watched_paths(
    wanted: Sequence[tuple[str, frozenset[str] | None]],
) -> dict[str, tuple[tuple[int, int], frozenset[str] | None]]:
    """Return the inode and the names of interest of each path to watch; no inode twice.

    The paths are those that events report.
    """
    inodes: dict[tuple[int, int], tuple[str, frozenset[str] | None]] = {}
    for path, names in wanted:
        key = _inode(path)
        if key is None:
            continue
        # On macOS, events report the real path.
        known, others = inodes.get(key) or (os.path.realpath(path), frozenset())
        both = None if names is None or others is None else names | others
        inodes[key] = (known, both)
    return {path: (key, names) for key, (path, names) in inodes.items()}


def _path_dependencies(path: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each directory in which a change can redirect ``path``, with the name concerned.

    The target of ``..data`` is not included, because each update of a volume creates a new one.
    """
    links = list(_links(path))
    yield from ((where, frozenset({link})) for where, link in links)
    if all(link != _DATA for _, link in links):
        above, name = os.path.split(os.path.realpath(path))
        yield above, frozenset({name})
    above, name = os.path.split(path.rstrip("/"))
    yield above, frozenset({name})


def _links(path: str) -> Iterator[tuple[str, str]]:
    """Yield each link that an absolute path passes through: its directory and its name."""
    todo = [part for part in path.split("/")[::-1] if part not in {"", "."}]
    at = "/"
    for _ in range(_STEPS):
        if not todo:
            return
        name = todo.pop()
        step = os.path.join(at, name)
        try:
            target = os.readlink(step)
        except OSError:
            # `at` contains no link, so normpath() resolves two dots correctly.
            at = os.path.normpath(step)
            continue
        yield at, name
        at = "/" if target.startswith("/") else at
        todo += [part for part in target.split("/")[::-1] if part not in {"", "."}]


def _inode(path: str) -> tuple[int, int] | None:
    """Return the device and inode of ``path``; None if it cannot be watched."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    readable = os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)
    return (status.st_dev, status.st_ino) if readable else None


_METADATA = attrgetter("st_dev", "st_ino", "st_mode", "st_size", "st_mtime_ns", "st_ctime_ns")


_IDENTITY = attrgetter("st_dev", "st_ino", "st_mode", "st_uid", "st_gid")


def _signature(
    path: str,
    directory: int | None = None,
    attributes: Callable[[os.stat_result], tuple[object, ...]] = _METADATA,
) -> tuple[object, ...]:
    """Return metadata of a file; by default, metadata that every write changes."""
    try:
        return attributes(os.stat(path, dir_fd=directory))
    except OSError as exc:
        return (exc.errno,)


def _signatures(names: Collection[str], directory: int) -> list[tuple[object, ...]]:
    """Return the signature of each name in a directory."""
    try:
        # There may be a thousand files: a loop in C.
        return list(map(_METADATA, map(partial(os.stat, dir_fd=directory), names)))
    except OSError:
        return [_signature(name, directory) for name in names]


def _link(path: str) -> str | int | None:
    """Return the target of a link; the error number of a path that is not a link."""
    try:
        return os.readlink(path)
    except OSError as exc:
        return exc.errno


def read_mounts(table: str = MOUNT_TABLE) -> list[Mount]:
    """Return the mounts of a mount table, in its order; empty if it cannot be read.

    Of several mounts at one point, the last one is visible.

    Args:
        table: the path of a mount table.
    """
    # A path is bytes, which need not be UTF-8.
    return parse_mounts(_read_table(table).decode("utf-8", "surrogateescape"))


def _read_table(table: str) -> bytes:
    try:
        return read_regular_file(table)
    except OSError:
        return b""


def parse_mounts(text: str) -> list[Mount]:
    """Return the mounts that the text of a mount table lists; other lines are skipped."""
    found = []
    # Not splitlines(): it also splits at characters that a path may contain.
    for line in text.split("\n"):
        # The kernel escapes spaces in paths, so the first match is the separator.
        head, separator, tail = line.partition(" - ")
        fields = head.split(" ")
        if separator and len(fields) >= _FIELDS:
            root, point = fields[3:5]
            file_system = tail.partition(" ")[0]
            found.append(Mount(*map(_unescaped, (root, point, file_system))))
    return found


def _unescaped(field: str) -> str:
    """Return a field with the kernel's octal escapes of white space and backslashes decoded."""
    if "\\" not in field:
        return field
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
