"""Watch targets: the directories, links and mounted files whose change can change a secret."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING

from hive_boot._records import Record
from hive_boot.secrets.sources.directories import MAX_SUBDIRECTORIES, find_subdirectories
from hive_boot.secrets.sources.files import read_regular_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

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

    @property
    def is_empty(self) -> bool:
        """Whether no source is a directory or a file, so that nothing can change."""
        return not self._directories and not self._files

    def snapshot(self) -> WatchSnapshot:
        """Return the current targets and signatures; an unreadable path counts as absent."""
        files = [*self._files, *filter(os.path.isfile, self._directories)]
        directories = [path for path in self._all_directories() if path not in files]
        resolved = {path: os.path.realpath(path) for path in files}
        pinned = find_mounted_files(self._declared(directories) | resolved)
        watched = self._watched_paths(directories, files, pinned)
        roots = tuple((*key, path, names) for path, (key, names) in sorted(watched.items()))
        contents = [*map(self._contents, directories), *map(_signature, files)]
        targets = {path: names for path, (_, names) in watched.items()}
        secret_directories = frozenset(map(os.path.realpath, directories)) & targets.keys()
        return WatchSnapshot(targets, secret_directories, roots, tuple(contents), tuple(pinned))

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

    def _watched_paths(
        self, directories: Collection[str], files: Collection[str], pinned: Collection[MountedFile]
    ) -> dict[str, tuple[tuple[int, int], frozenset[str] | None]]:
        """Return the inode and the names of interest of each path to watch; no inode twice.

        The paths are those that events report.
        """
        wanted: list[tuple[str, frozenset[str] | None]] = []
        for directory in directories:
            wanted += [(directory, self._names), *_path_dependencies(directory)]
            if not os.path.islink(os.path.join(directory, _DATA)):
                wanted += self._file_dependencies(directory)
        for file in files:
            wanted += _path_dependencies(file)
        wanted += [(pin.path, None) for pin in pinned]
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

    def _contents(self, directory: str) -> object:
        """Return a signature that differs when a declared file may have changed."""
        link = None
        with suppress(OSError):
            link = os.readlink(os.path.join(directory, _DATA))
        base = directory if link is None else os.path.join(directory, link)
        above = os.path.join(base, "")
        files = [(name, _signature(above + name)) for name in sorted(self._declared_entries(base))]
        below = [_signature(above + name) for name in self._nested]
        return link, _signature(base)[:3], tuple(files), tuple(below)


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


def _signature(path: str) -> tuple[object, ...]:
    """Return metadata of a file that every write changes."""
    try:
        return _METADATA(os.stat(path))
    except OSError as exc:
        return (exc.errno,)


def read_mounts(table: str = MOUNT_TABLE) -> list[Mount]:
    """Return the mounts of a mount table, in its order; empty if it cannot be read.

    Of several mounts at one point, the last one is visible.

    Args:
        table: the path of a mount table.
    """
    try:
        raw = read_regular_file(table)
    except OSError:
        return []
    # A path is bytes, which need not be UTF-8.
    return parse_mounts(raw.decode("utf-8", "surrogateescape"))


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
