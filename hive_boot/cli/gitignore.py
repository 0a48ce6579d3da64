"""Keep a directory of secrets out of git.

https://git-scm.com/docs/gitignore
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hive_boot._git import git_paths

if TYPE_CHECKING:
    from collections.abc import Sequence

_SPECIAL = re.compile(r"[\\*?\[]")


class Amendment(NamedTuple):
    """A line that a ``.gitignore`` has to get.

    Attributes:
        path: the file, without links.
        line: the line.
        before: what the file holds; None when there is none yet.
        content: what the file has to hold.
    """

    path: Path
    line: str
    before: bytes | None
    content: bytes


def repository_of(path: Path) -> Path | None:
    """Give the root of the git repository that ``path`` is in, whether it is there or not."""
    return next((above for above in (path, *path.parents) if (above / ".git").exists()), None)


def amendment(directory: Path, files: Sequence[Path]) -> Amendment | None:
    """Tell what has to be written so that git ignores a directory.

    Inside a repository it is a line of the ``.gitignore`` at its root. Outside of one it
    is a line of the one in the working directory, for the repository to come; but not for
    a directory elsewhere, because that is no part of a project.

    Args:
        directory: the directory; there may be none yet.
        files: the files that are about to be in it.

    Returns:
        None when there is nothing to write.
    """
    root = repository_of(directory)
    place = root or Path.cwd()
    if not directory.is_relative_to(place):
        return None
    ignored = _are_ignored(root, files) if root else None
    if ignored:
        return None
    relative = directory.relative_to(place).as_posix()
    line = "/" + _SPECIAL.sub(r"\\\g<0>", relative) + "/"
    path = (place / ".gitignore").resolve()
    before = path.read_bytes() if path.exists() else None
    raw, held = os.fsencode(line), before or b""
    if ignored is None and raw in held.splitlines():
        return None
    end = b"\r\n" if b"\r\n" in held else b"\n"
    joint = b"" if held.endswith(b"\n") or not held else end
    return Amendment(path, line, before, held + joint + raw + end)


def tracked(directory: Path) -> list[str]:
    """Give the files of a directory that git tracks, whatever it ignores."""
    root = repository_of(directory)
    return sorted(git_paths(root, "ls-files", "-z", "--", str(directory)) or ()) if root else []


def _are_ignored(root: Path, files: Sequence[Path]) -> bool | None:
    """Ask git whether it ignores all of some files; None when it cannot tell."""
    names = [*map(str, files)]
    ignored = git_paths(root, "check-ignore", "--no-index", "-z", "--stdin", stdin_paths=names)
    return None if ignored is None else {*ignored} >= {*names}
