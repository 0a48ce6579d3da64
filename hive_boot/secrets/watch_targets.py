"""Watch targets: the directories, links and mounted files whose change can change a secret."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot._records import Record
from hive_boot.secrets.platform import PLATFORM_ENTRIES
from hive_boot.secrets.sources.directories import find_kubelet_volumes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from hive_boot.secrets.fields import FieldIndex
    from hive_boot.secrets.platform import SourceContext

MOUNT_TABLE = "/proc/self/mountinfo"
"""Mount table of this process: https://docs.kernel.org/filesystems/proc.html (3.5)."""


_SEPARATOR = " - "
_ROOT, _POINT = 3, 4
_FIELDS = 6
"""Fields before the separator that each line has; optional fields may follow them."""
_ESCAPED = re.compile(r"\\([0-7]{3})")


_DELETED = "//deleted"


_GENERATION = "/.."


_SUBPATH = "/volume-subpaths/"


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
        path: the file, as the declaration leads to it.
        root: what is mounted there, in its own file system.
        stale: whether that was removed or replaced, so that nothing written now is seen.
    """

    path: str
    root: str
    stale: bool

    @property
    def is_subpath(self) -> bool:
        """Whether the kubelet mounted it for a ``subPath``, and will never update it.

        Of a Secret that is the file in one generation of the volume, whose directory has
        a name with two dots.
        """
        return self.root.startswith(_GENERATION) or _SUBPATH in self.root


def find_mounted_files(paths: Mapping[str, str], table: str = MOUNT_TABLE) -> list[MountedFile]:
    """Give the files that are mount points.

    Args:
        paths: files, each with where it really is.
        table: the kernel's list of mounts; where there is none, nothing is known.
    """
    # Of several mounts at one point the last one is visible.
    roots = {mount.point: mount.root for mount in read_mounts(table)}
    found = []
    for path, real in paths.items():
        root = roots.get(real)
        if root is not None and not os.path.isdir(path):
            stale = root.endswith(_DELETED) or _is_unlinked(path)
            found.append(MountedFile(path, root, stale))
    return found


def _is_unlinked(path: str) -> bool:
    try:
        return os.stat(path).st_nlink == 0
    except OSError:
        return False


_DATA = "..data"


_NONE = frozenset[str]()


_STEPS = 255
"""Parts of a path after which links are taken to lead in a circle; the kernel follows 40."""


class WatchSnapshot(Record):
    """What there is to be watched, and how it looks.

    Attributes:
        targets: what is watched: the names of interest in each, None for all.
        secret_directories: the directories among them that hold secrets, where names with two dots
            are of interest too.
        roots: what these places are; when it differs, the watch is on something else.
        contents: how the declared files look, without having read them.
        pinned: the declared files that are mount points.
    """

    targets: Mapping[str, frozenset[str] | None]
    secret_directories: frozenset[str]
    roots: tuple[object, ...]
    contents: tuple[object, ...]
    pinned: tuple[MountedFile, ...]

    def is_relevant(self, path: str) -> bool:
        """Tell whether an event at ``path`` may be about a declared secret."""
        if path in self.secret_directories or self.targets.get(path, _NONE) is None:
            return True
        above, name = os.path.split(path)
        names = self.targets.get(above, _NONE)
        if names is None or name in names:
            return True
        return above in self.secret_directories and name.startswith("..")

    def is_sibling(self, path: str) -> bool:
        """Tell whether an event at ``path`` is beside the declared secrets."""
        return os.path.dirname(path) in self.secret_directories

    def changes_targets(self, path: str) -> bool:
        """Tell whether an event at ``path`` may mean that something else is to be watched."""
        return path in self.targets or os.path.dirname(path) not in self.secret_directories


class WatchTargets:
    """The watch targets of one set of sources.

    Args:
        field_index: what is declared.
        source_context: where it is looked for.
    """

    def __init__(self, field_index: FieldIndex, source_context: SourceContext) -> None:
        self._field_index = field_index
        self._directories = source_context.directories
        self._usual = not source_context.directories_setting and source_context.mode != "systemd"
        variables = source_context.variables()
        pointers = filter(None, (variables.get(name, "") for name in field_index.by_file_variable))
        named = [os.path.join(source_context.cwd, pointer) for pointer in pointers]
        self._files = [*named, *source_context.env_files]
        tops = {name.partition("/")[0] for name in field_index.nested_paths}
        self._names = frozenset(field_index.by_file.keys() | tops)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that could change."""
        return not self._directories and not self._files

    def snapshot(self) -> WatchSnapshot:
        """Look at every place once. Nothing is raised: what cannot be seen is not there."""
        directories = list(self._all_directories())
        pinned = find_mounted_files({**self._declared(directories), **_resolved(self._files)})
        locations = self._places(directories, pinned)
        roots = tuple((*key, path, names) for path, (key, names) in sorted(locations.items()))
        contents = [*map(self._contents, directories), *map(_signature, self._files)]
        named = {path: names for path, (_, names) in locations.items()}
        secret_directories = frozenset(map(os.path.realpath, directories)) & named.keys()
        return WatchSnapshot(named, secret_directories, roots, tuple(contents), tuple(pinned))

    def _all_directories(self) -> Iterator[str]:
        for path in self._directories:
            yield path
            if self._usual:
                names = _listed(path)
                if _DATA not in names:
                    yield from find_kubelet_volumes(path, set(names) - PLATFORM_ENTRIES)

    def _declared(self, directories: Collection[str]) -> dict[str, str]:
        """Give the declared files that may be there, each with where its directory really is."""
        by_file, below = self._field_index.by_file, self._field_index.nested_paths
        found = {}
        for directory in directories:
            real = os.path.realpath(directory)
            for name in [*filter(by_file.__contains__, _listed(directory)), *below]:
                found[os.path.join(directory, name)] = os.path.join(real, name)
        return found

    def _places(
        self, directories: Collection[str], pinned: Collection[MountedFile]
    ) -> dict[str, tuple[tuple[int, int], frozenset[str] | None]]:
        """Give what to watch: each inode once, by the path that its events will have."""
        wanted: list[tuple[str, frozenset[str] | None]] = []
        for directory in directories:
            is_plain = not os.path.islink(os.path.join(directory, _DATA))
            # There a volume may come, whatever it is called.
            names = None if is_plain and self._usual else self._names
            wanted += [(directory, names), *_path_dependencies(directory)]
            if is_plain:
                wanted += self._symlink_dependencies(directory)
        for file in self._files:
            wanted += _path_dependencies(file)
        wanted += [(pin.path, None) for pin in pinned]
        inodes: dict[tuple[int, int], tuple[str, frozenset[str] | None]] = {}
        for path, names in wanted:
            key = _inode(path)
            if key is None:
                continue
            # Events come with the real path on macOS, whatever was asked for.
            known, others = inodes.get(key) or (os.path.realpath(path), frozenset())
            both = None if names is None or others is None else names | others
            inodes[key] = (known, both)
        return {path: (key, names) for key, (path, names) in inodes.items()}

    def _symlink_dependencies(self, directory: str) -> Iterator[tuple[str, frozenset[str]]]:
        """Give what is on the way to the files of a plain directory that lie elsewhere."""
        # What a scan tells of links costs no look at each file.
        with suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.name in self._field_index.by_file and entry.is_symlink():
                    yield from _path_dependencies(entry.path)
        for name in self._field_index.nested_paths:
            yield from _path_dependencies(os.path.join(directory, name))

    def _contents(self, directory: str) -> object:
        """Give what differs when something was written, without reading it."""
        try:
            link = os.readlink(os.path.join(directory, _DATA))
        except OSError:
            link = None
        base = directory if link is None else os.path.join(directory, link)
        names = self._field_index.by_file.keys() & set(_listed(base))
        files = [(name, _signature(os.path.join(base, name))) for name in sorted(names)]
        below = [_signature(os.path.join(base, name)) for name in self._field_index.nested_paths]
        return link, _signature(base)[:3], tuple(files), tuple(below)


def _path_dependencies(path: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Give where it shows that ``path`` leads to something else: the directories on the way.

    What a volume's ``..data`` leads to is not among them: it is another one each time.
    """
    links = list(_links(path))
    yield from ((where, frozenset({link})) for where, link in links)
    if all(link != _DATA for _, link in links):
        above, name = os.path.split(os.path.realpath(path))
        yield above, frozenset({name})
    above, name = os.path.split(path.rstrip("/"))
    yield above, frozenset({name})


def _links(path: str) -> Iterator[tuple[str, str]]:
    """Give each link on the way to an absolute path: the directory that it is in, its name."""
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
            # No link is above it, so two dots mean what they seem to.
            at = os.path.normpath(step)
            continue
        yield at, name
        at = "/" if target.startswith("/") else at
        todo += [part for part in target.split("/")[::-1] if part not in {"", "."}]


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _inode(path: str) -> tuple[int, int] | None:
    """Give what a watch on ``path`` would be on; None when there can be none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    readable = os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)
    return (status.st_dev, status.st_ino) if readable else None


def _resolved(files: Collection[str]) -> dict[str, str]:
    return {path: os.path.realpath(path) for path in files}


def _signature(path: str) -> tuple[object, ...]:
    """Give what a file cannot be written to without changing."""
    try:
        status = os.stat(path)
    except OSError as exc:
        return (exc.errno,)
    return (
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def read_mounts(table: str = MOUNT_TABLE) -> list[Mount]:
    """Return the mounts in a file, in its order; an unreadable file has none.

    Of several mounts at one point, the last one is visible.

    Args:
        table: the path of a mount table.
    """
    try:
        raw = Path(table).read_bytes()
    except OSError:
        return []
    # The kernel writes the bytes of a path, which need not be UTF-8.
    return parse_mounts(raw.decode("utf-8", "surrogateescape"))


def parse_mounts(text: str) -> list[Mount]:
    """Return the mounts that a mount table lists; a line of another form is left out."""
    found = []
    # Not splitlines(): a path may contain the other characters that end a line for Python.
    for line in text.split("\n"):
        # A path contains no space, because the kernel escapes it: the first match separates.
        head, separator, tail = line.partition(_SEPARATOR)
        fields = head.split(" ")
        if separator and len(fields) >= _FIELDS:
            found.append(
                Mount(
                    root=_unescaped(fields[_ROOT]),
                    point=_unescaped(fields[_POINT]),
                    file_system=_unescaped(tail.partition(" ")[0]),
                )
            )
    return found


def _unescaped(field: str) -> str:
    """Return a field without the kernel's octal escapes of white space and backslashes."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)
