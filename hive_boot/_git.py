"""Git: one call of the ``git`` program, bounded in time.

The call changes nothing in the repository, shows no prompt and no pager, takes no optional
lock, and hands git neither secrets of this process nor a program to run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

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
