"""Git queries: tracked and ignored files, and the ``.gitignore`` line for a secrets directory."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.terminal import CommandError, os_error_text
from hive_boot.secrets.sources.files import read_regular_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TIMEOUT = 10.0
"""Seconds after which git is killed."""

# GIT_DIR and similar variables are not passed on: a git hook sets them, and git would then
# query the repository of the hook. With SUDO_UID, git trusts a repository of the user who
# called sudo.
_PASSED_VARIABLES = ("HOME", "PATH", "SUDO_UID", "XDG_CONFIG_HOME")

_SETTINGS = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

_OPTIONS = ("--no-pager", "-c", "core.fsmonitor=false")
"""``core.fsmonitor`` in the config of a repository can name a program that git would run."""

_SUCCESS = frozenset({0, 1})
"""1 means "no match". 128 means that git found no repository, or does not trust it."""


def git_paths(
    directory: Path, *arguments: str, stdin_paths: Iterable[str] = ()
) -> list[str] | None:
    """Run git and return the paths that it prints.

    Args:
        directory: the working directory.
        arguments: a git command that prints paths terminated by NUL (``-z``).
        stdin_paths: paths for a command that reads them with ``--stdin -z``.

    Returns:
        The paths, or None when git is not installed, fails, or exceeds :data:`TIMEOUT`.
    """
    answer = _answer(directory, *arguments, stdin_paths=stdin_paths)
    return None if isinstance(answer, str) else answer


def git_failure(directory: Path) -> str:
    """Return why git cannot answer questions about a repository; empty if it can."""
    root = find_repository(directory)
    answer = _answer(root, "ls-files", "-z", "--", ".gitignore") if root else []
    return answer if isinstance(answer, str) else ""


def _answer(directory: Path, *arguments: str, stdin_paths: Iterable[str] = ()) -> list[str] | str:
    """Return the paths that git prints, or the reason why it prints none."""
    git = shutil.which("git")
    if git is None:
        return "git is not installed"
    environ = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
    try:
        result = subprocess.run(  # noqa: S603  (the arguments are constants and paths)
            [git, *_OPTIONS, "-C", str(directory), *arguments],
            env=environ | _SETTINGS,
            input=b"\0".join(map(os.fsencode, stdin_paths)),
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        return f"git cannot be run ({type(exc).__name__})"
    if result.returncode not in _SUCCESS:
        # The message names the command that trusts a repository of another owner.
        return " ".join(result.stderr.decode(errors="replace").split())
    return [os.fsdecode(path) for path in result.stdout.split(b"\0") if path]


_SPECIAL = re.compile(r"[\\*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitignoreChange:
    """A line to add to a ``.gitignore``.

    Attributes:
        path: the file.
        line: the line.
        before: the current content; None if the file does not exist.
        content: the new content, which includes the line.
    """

    path: Path
    line: str
    before: bytes | None
    content: bytes


def find_repository(path: Path) -> Path | None:
    """Return the root of the git repository that contains ``path``, which need not exist."""
    return next((each for each in (path, *path.parents) if os.path.lexists(each / ".git")), None)


def plan_gitignore_change(directory: Path, files: Sequence[Path]) -> GitignoreChange | None:
    """Return the ``.gitignore`` change after which git ignores a directory.

    In a repository the line is added to the ``.gitignore`` at its root. Outside a repository
    it is added to the ``.gitignore`` of the working directory, for a later ``git init``.

    Args:
        directory: the directory, absolute and without links; it need not exist.
        files: the files that will be written to it.

    Returns:
        None if git already ignores all files, if ``.gitignore`` contains the line and git
        cannot be queried, or if the directory is neither in a repository nor below the
        working directory.

    Raises:
        CommandError: ``.gitignore`` is a symbolic link, which git does not follow, is not a
            file, or cannot be read.
    """
    root = find_repository(directory) or Path.cwd()
    if not directory.is_relative_to(root):
        return None
    ignored = are_ignored(directory, files)
    if ignored:
        return None
    line = "/" + _SPECIAL.sub(r"\\\g<0>", directory.relative_to(root).as_posix()) + "/"
    path = root / ".gitignore"
    before = None
    if os.path.lexists(path):
        if not stat.S_ISREG(path.lstat().st_mode):
            message = f"{path} is a link or not a file, so git does not read it. Replace it."
            raise CommandError(message)
        try:
            before = read_regular_file(path)
        except OSError as exc:
            raise CommandError(f"{path} cannot be read: {os_error_text(exc).lower()}") from None
    raw, content = os.fsencode(line), before or b""
    if ignored is None and raw in content.splitlines():
        return None
    line_end = b"\r\n" if b"\r\n" in content else b"\n"
    separator = b"" if content.endswith(b"\n") or not content else line_end
    content += separator + raw + line_end
    return GitignoreChange(path=path, line=line, before=before, content=content)


def tracked_files(directory: Path) -> list[str]:
    """Return the files of a directory that git tracks, relative to the repository root."""
    root = find_repository(directory)
    return sorted(git_paths(root, "ls-files", "-z", "--", str(directory)) or ()) if root else []


def are_ignored(directory: Path, files: Sequence[Path]) -> bool | None:
    """Return whether git ignores every one of ``files``; None if git cannot be queried."""
    root, names = find_repository(directory), [*map(str, files)]
    query = ("check-ignore", "--no-index", "-z", "--stdin")
    ignored = git_paths(root, *query, stdin_paths=names) if root else None
    return None if ignored is None else {*ignored} >= {*names}
