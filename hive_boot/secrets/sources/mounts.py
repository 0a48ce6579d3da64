"""Which files are mount points of their own, as the kernel lists them.

A file that is mounted alone (a Kubernetes ``subPath``, a Compose ``file:`` secret) shows
one inode for ever: writing into it is seen, replacing it outside never is.
https://docs.kernel.org/filesystems/proc.html (3.5, mountinfo)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from hive_boot._mounts import TABLE, read_mounts

if TYPE_CHECKING:
    from collections.abc import Mapping

_DELETED = "//deleted"
_GENERATION = "/.."
_SUBPATH = "/volume-subpaths/"


class MountedFile(NamedTuple):
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


def find_mounted_files(paths: Mapping[str, str], table: str = TABLE) -> list[MountedFile]:
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
