"""Exposure checks: permissions and owners of secret files, and files that git tracks."""

from __future__ import annotations

import shlex
import stat
from typing import TYPE_CHECKING

from hive_boot.cli.doctor_checks import Finding, file_status
from hive_boot.cli.git import git_failure, git_paths
from hive_boot.cli.terminal import pluralize

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from hive_boot.cli.doctor_checks import DoctorContext


def readable_by_others(context: DoctorContext) -> Iterator[Finding]:
    """Yield the files that every user can read: one finding per directory and mode.

    Each ``.env`` file is a separate finding: its directory is the project, which stays open.
    """
    names = context.names_by_path
    where = "container" if context.in_container else "machine"
    groups: dict[tuple[Path, int], list[Path]] = {}
    for file, mode in _files_with_mode(names, stat.S_IROTH):
        groups.setdefault((file.parent if names[file] else file, mode), []).append(file)
    for (path, mode), files in groups.items():
        is_dotenv = path in files
        yield Finding(
            severity="note" if context.in_container and not is_dotenv else "warning",
            kind="readable-file",
            message=f"{'a .env file' if is_dotenv else pluralize(len(files), 'file')} can be read "
            f"by every user of this {where} (mode {mode:04o})",
            names=tuple(name for file in files for name in names[file]),
            locations=tuple(map(str, files)),
            fix=f"`chmod 600 {shlex.quote(str(path))}`"
            if is_dotenv
            else _fix_for_readable_files(context, path),
        )


def writable_by_others(context: DoctorContext) -> Iterator[Finding]:
    """Yield the files and directories in which every user can change a secret."""
    files = context.names_by_path
    for file, mode in _files_with_mode(files, stat.S_IWOTH):
        yield Finding(
            kind="writable-file",
            message=f"a secret file can be written by every user (mode {mode:04o})",
            names=files[file],
            locations=(str(file),),
            fix=f"`chmod o-w {shlex.quote(str(file))}`",
        )
    for directory in sorted({path.parent for path in files}):
        mode = _mode(directory)
        # In a sticky directory, such as a kubelet volume, users can replace only their own files.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield Finding(
                kind="writable-directory",
                message=f"the files in a directory can be replaced by every user (mode {mode:04o})",
                locations=(str(directory),),
                fix=f"`chmod o-w {shlex.quote(str(directory))}`",
            )


def owned_by_others(context: DoctorContext) -> Iterator[Finding]:
    """Yield the files whose owner is neither root nor the user of this process."""
    # In a container, a bind mount shows the user IDs of the host. Root may run doctor for a
    # service that has another user.
    if context.in_container or context.user_id == 0:
        return
    for path, names in context.names_by_path.items():
        status = file_status(path)
        if status is not None and status.st_uid not in {0, context.user_id}:
            yield Finding(
                kind="foreign-file",
                message=f"the user {status.st_uid} owns a secret file and can change it",
                names=names,
                locations=(str(path),),
                fix=f"`sudo chown {context.user_id} {shlex.quote(str(path))}`",
            )


def _files_with_mode(paths: Iterable[Path], bit: int) -> Iterator[tuple[Path, int]]:
    """Yield the files with the permission ``bit`` that other users can reach, and their modes.

    A file cannot be reached if other users have no search permission for a directory above it.
    """
    for path in paths:
        mode, directory = _mode(path), path.resolve().parent
        above = [directory, *directory.parents]
        if mode & bit and all(_mode(each) & stat.S_IXOTH for each in above):
            yield path, mode


def _fix_for_readable_files(context: DoctorContext, directory: Path) -> str:
    if context.sources.mode == "kubernetes":
        return "in the volume: defaultMode: 0400, with fsGroup in the pod's securityContext"
    if context.in_container:
        return (
            "none needed if all processes in the container have the same user; otherwise, in "
            "Swarm, set mode: 0400 and uid: of the secret"
        )
    # Not the mode of the files: a bind mount keeps it, and a container user must read them.
    return f"`chmod 700 {shlex.quote(str(directory))}`"


def _mode(path: Path) -> int:
    status = file_status(path)
    return 0 if status is None else stat.S_IMODE(status.st_mode)


_SYSTEM = ("/run", "/proc", "/dev", "/sys")
"""Directories that are never in a repository."""


def secrets_tracked_by_git(context: DoctorContext) -> Iterator[Finding]:
    """Yield the secret files and ``.env`` files that git tracks or does not ignore.

    In a repository for which git does not answer, such as one of another user, yield a note.
    """
    by_directory: dict[Path, list[str]] = {}
    for path in context.names_by_path:
        if not any(path.is_relative_to(system) for system in _SYSTEM):
            by_directory.setdefault(path.parent, []).append(path.name)
    for directory, files in by_directory.items():
        tracked = git_paths(directory, "--literal-pathspecs", "ls-files", "-z", "--", *files)
        if tracked is None:
            if failure := git_failure(directory.resolve()):
                yield Finding(
                    severity="note",
                    kind="git-unavailable",
                    message="git does not answer whether it tracks or ignores secret files: "
                    f"{failure}",
                    locations=(str(directory),),
                )
            continue
        tracked.sort()
        if tracked:
            command = f"git -C {shlex.quote(str(directory))} rm --cached {shlex.join(tracked)}"
            yield _git_finding(
                "tracked-by-git",
                "git tracks secret files: every copy of the repository contains the values, also "
                "in its history",
                [directory / file for file in tracked],
                context,
                fix=f"`{command}`; add a line to .gitignore; then rotate the values",
            )
        others = [file for file in files if file not in tracked]
        ignored = git_paths(directory, "check-ignore", "-z", "--stdin", stdin_paths=others)
        if ignored is not None and (exposed := sorted(set(others) - set(ignored))):
            line = exposed[0] if len(exposed) == 1 else f"{directory.name}/"
            yield _git_finding(
                "not-ignored-by-git",
                "git does not ignore secret files: the next `git add .` adds them",
                [directory / file for file in exposed],
                context,
                fix=f"add the line {line} to the .gitignore of the repository",
            )


def _git_finding(
    kind: str, message: str, paths: Sequence[Path], context: DoctorContext, *, fix: str
) -> Finding:
    names = context.names_by_path
    return Finding(
        kind=kind,
        message=message,
        names=tuple(name for path in paths for name in names.get(path, ())),
        locations=tuple(map(str, paths)),
        fix=fix,
    )
