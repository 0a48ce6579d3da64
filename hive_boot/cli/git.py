"""git: which files it tracks or ignores, and the lines that make it ignore secrets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TIMEOUT = 10.0
"""Seconds after which git is killed."""


# GIT_* is not passed on: in a hook of git those variables name another repository.
# SUDO_UID lets root read a repository of the user who called sudo.
_PASSED_VARIABLES = ("HOME", "PATH", "SUDO_UID", "XDG_CONFIG_HOME")


_SETTINGS = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


_OPTIONS = ("--no-pager", "-c", "core.fsmonitor=false")
"""``core.fsmonitor`` can name a program, and the repository decides which."""


_SUCCESS = frozenset({0, 1})
"""1 means "no match". 128 means: not a repository, or one that git does not trust."""


def git_paths(
    directory: Path, *arguments: str, stdin_paths: Iterable[str] = ()
) -> list[str] | None:
    """Run git and return the paths that it prints.

    Args:
        directory: the working directory.
        arguments: the command of git, with ``-z``, so that paths end with NUL.
        stdin_paths: paths for a command that reads them with ``--stdin -z``.

    Returns:
        The paths, or None when git is not installed, fails, or exceeds :data:`TIMEOUT`.
    """
    git = shutil.which("git")
    if git is None:
        return None
    environ = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
    try:
        result = subprocess.run(  # noqa: S603  (git itself; the arguments are ours)
            [git, *_OPTIONS, "-C", str(directory), *arguments],
            env=environ | _SETTINGS,
            input=b"\0".join(map(os.fsencode, stdin_paths)),
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if result.returncode not in _SUCCESS:
        return None
    return [os.fsdecode(path) for path in result.stdout.split(b"\0") if path]


_SPECIAL = re.compile(r"[\\*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitignoreChange:
    """A line to add to a ``.gitignore``.

    Attributes:
        path: the file.
        line: the line.
        before: the content of the file; None when there is no file.
        content: the content with the line.
    """

    path: Path
    line: str
    before: bytes | None
    content: bytes


def find_repository(path: Path) -> Path | None:
    """Return the root of the git repository around ``path``, which need not exist."""
    return next((above for above in (path, *path.parents) if (above / ".git").exists()), None)


def plan_gitignore_change(directory: Path, files: Sequence[Path]) -> GitignoreChange | None:
    """Return the change after which git ignores a directory.

    In a repository the line goes into the ``.gitignore`` at its root. Outside of one it goes
    into that of the working directory, for a later ``git init``; not for a directory
    elsewhere, which does not belong to a project.

    Args:
        directory: the directory, absolute and without links; it need not exist.
        files: the files that are about to be in it.

    Returns:
        None when git ignores the files already, or there is nothing to change.
    """
    repository = find_repository(directory)
    root = repository or Path.cwd()
    if not directory.is_relative_to(root):
        return None
    ignored = are_ignored(repository, files) if repository else None
    if ignored:
        return None
    relative = directory.relative_to(root).as_posix()
    line = "/" + _SPECIAL.sub(r"\\\g<0>", relative) + "/"
    path = root / ".gitignore"
    before = path.read_bytes() if path.exists() else None
    raw, content = os.fsencode(line), before or b""
    if ignored is None and raw in content.splitlines():
        return None
    end = b"\r\n" if b"\r\n" in content else b"\n"
    joint = b"" if content.endswith(b"\n") or not content else end
    return GitignoreChange(path=path, line=line, before=before, content=content + joint + raw + end)


def tracked_files(directory: Path) -> list[str]:
    """Return the files of a directory that git tracks, relative to the repository."""
    root = find_repository(directory)
    return sorted(git_paths(root, "ls-files", "-z", "--", str(directory)) or ()) if root else []


def are_ignored(root: Path, files: Sequence[Path]) -> bool | None:
    """Return whether git ignores all of some files; None when git cannot tell."""
    names = [*map(str, files)]
    ignored = git_paths(root, "check-ignore", "--no-index", "-z", "--stdin", stdin_paths=names)
    return None if ignored is None else {*ignored} >= {*names}
