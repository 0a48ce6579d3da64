"""Tracked secrets: files of secrets that a git repository contains, or does not ignore."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from hive_boot._git import git_paths
from hive_boot.cli.doctor_checks.context import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hive_boot.cli.doctor_checks.context import DoctorContext

_SYSTEM = ("/run", "/proc", "/dev", "/sys")
"""Directories that are in no repository."""


def secrets_tracked_by_git(context: DoctorContext) -> list[Finding]:
    """Return the files of secrets, and the ``.env`` files, that git tracks or does not ignore."""
    by_directory: dict[Path, list[str]] = {}
    for path in context.names_by_path:
        if not any(path.is_relative_to(system) for system in _SYSTEM):
            by_directory.setdefault(path.parent, []).append(path.name)
    load_result = []
    for directory, files in by_directory.items():
        tracked = git_paths(directory, "--literal-pathspecs", "ls-files", "-z", "--", *files)
        if tracked is None:
            continue
        if tracked:
            load_result.append(_tracked(directory, sorted(tracked), context))
        others = [file for file in files if file not in tracked]
        if not others:
            continue
        ignored = git_paths(directory, "check-ignore", "-z", "--stdin", stdin_paths=others)
        if ignored is not None and (exposed := sorted(set(others) - set(ignored))):
            load_result.append(_not_ignored(directory, exposed, context))
    return load_result


def _tracked(directory: Path, files: Sequence[str], context: DoctorContext) -> Finding:
    command = f"git -C {shlex.quote(str(directory))} rm --cached {shlex.join(files)}"
    return Finding(
        severity="warning",
        kind="tracked-by-git",
        message="git tracks files of secrets: everyone who has the repository has the values, "
        "which stay in its history",
        names=_names(directory, files, context),
        locations=tuple(str(directory / file) for file in files),
        fix=f"`{command}`; add a line to .gitignore; then rotate the values",
    )


def _not_ignored(directory: Path, files: Sequence[str], context: DoctorContext) -> Finding:
    line = files[0] if len(files) == 1 else f"{directory.name}/"
    return Finding(
        severity="warning",
        kind="not-ignored-by-git",
        message="git does not ignore files of secrets: the next `git add .` adds them",
        names=_names(directory, files, context),
        locations=tuple(str(directory / file) for file in files),
        fix=f"add the line {line} to the .gitignore of the repository",
    )


def _names(directory: Path, files: Sequence[str], context: DoctorContext) -> tuple[str, ...]:
    """Return the secrets that ``files`` contain."""
    names = context.names_by_path
    return tuple(name for file in files for name in names.get(directory / file, ()))
