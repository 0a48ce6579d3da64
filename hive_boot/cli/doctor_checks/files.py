"""File checks: mounts that are never updated, limits of inotify, permissions, owners, and git."""

from __future__ import annotations

import os
import re
import shlex
import stat
from errno import EMFILE
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli import pluralize
from hive_boot.cli.doctor_checks import DoctorContext, Finding, Severity, file_status
from hive_boot.cli.secret_files import git_failure, git_paths
from hive_boot.runtime.file_events import NOT_FORCED, open_events
from hive_boot.secrets.watch_targets import MOUNT_TABLE, Mount, WatchTargets, read_mounts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from hive_boot.secrets.watch_targets import MountedFile

_LIMITS = "/proc/sys/fs/inotify"

_SUGGESTED = {"max_user_instances": 1024, "max_user_watches": 524288}

_POLLED = "so changes are found by polling: every file is read every 2 s"


def watch_limits(context: DoctorContext) -> Iterator[Finding]:
    """Yield the reason for which a start with ``watch=True`` would poll."""
    forced = context.host.variable("WATCHFILES_FORCE_POLLING").lower() not in NOT_FORCED
    if context.declarations.watch and not forced and context.host.exists(_LIMITS):
        snapshot = WatchTargets(context.load_result.field_index, context.sources).snapshot()
        yield from try_to_watch(snapshot.targets.keys(), context)


def try_to_watch(targets: Collection[str], context: DoctorContext) -> Iterator[Finding]:
    """Watch each target as a start does, for a moment.

    Args:
        targets: directories and files.
        context: the machine, for the current limits.

    Yields:
        A finding for the limit or the permission that prevents it.
    """
    try:
        open_events(targets).close()
    except (FileNotFoundError, PermissionError, ValueError):
        yield Finding(
            kind="watch-impossible",
            message=f"a path does not exist, or cannot be read, {_POLLED}",
            locations=tuple(path for path in sorted(targets) if not os.access(path, os.R_OK)),
            fix="give the user of the service read permission for the path, or rename it",
        )
    except (OSError, RuntimeError) as exc:
        # Without an instance, watchfiles raises RuntimeError.
        is_watch = isinstance(exc, OSError) and exc.errno != EMFILE
        name = "max_user_watches" if is_watch else "max_user_instances"
        limit = context.read_system_file(f"{_LIMITS}/{name}").strip() or "unknown"
        setting = f"fs.inotify.{name}"
        yield Finding(
            kind="watch-impossible",
            message=f"no inotify {'watch' if is_watch else 'instance'} is left for this user, "
            f"{_POLLED} ({setting} is {limit}; all containers of this user share it)",
            names=(setting,),
            locations=(f"{_LIMITS}/{name}",),
            fix=f"on the host: `sysctl -w {setting}={_SUGGESTED[name]}` (and in /etc/sysctl.d)",
        )


_REMOTE = re.compile(r"(?:nfs4?|cifs|smb3|smbfs|9p|virtiofs|vboxsf|ceph|afs|lustre|fuse(?:\..*)?)")
"""File systems on which a change by another machine causes no event in the local kernel."""

_OVERLAYS = frozenset({"overlay", "fuse.fuse-overlayfs", "aufs"})
"""Root file systems of a container, which contain the layers of the image."""


def mount_of(path: Path, table: list[Mount]) -> Mount:
    """Return the mount that contains a resolved path. Of several at one point, the last counts."""
    above = [mount for mount in reversed(table) if path.is_relative_to(mount.point)]
    nowhere = Mount(root="", point="", file_system="")
    return max(above, key=lambda mount: len(mount.point), default=nowhere)


def mounted_files(context: DoctorContext) -> Iterator[Finding]:
    """Yield the declared files that are mount points: a replacement of them is not visible."""
    snapshot = WatchTargets(context.load_result.field_index, context.sources).snapshot()
    names, watch = context.secret_files, context.declarations.watch
    for file in snapshot.pinned:
        if file.stale or file.is_subpath or watch:
            yield mounted_file_finding(file, names.get(Path(file.path), ""), watch=watch)


def mounted_file_finding(file: MountedFile, name: str, *, watch: bool) -> Finding:
    """Return a finding for a file that is a mount point.

    Args:
        file: the file.
        name: the secret that it contains; empty for a ``.env`` file.
        watch: whether the application watches for changes.
    """
    severity: Severity = "note"
    kind = "mounted-file"
    message = (
        "a file is mounted individually: a write into the file on the host is visible, but a "
        "replacement of the file, as most editors make, is not"
    )
    fix = "write into the file in place: `hive-boot rotate`"
    if file.stale:
        severity, kind = "error" if watch else "warning", "stale-mount"
        message = (
            "a mounted file was replaced or removed on the host: this process still reads the old "
            "file, and later changes are not visible to it"
        )
        fix = f"restart the container; in future, {fix}"
    elif file.is_subpath:
        severity = "warning" if watch else "note"
        message = (
            "a file is mounted with subPath, and the kubelet never updates such a mount: a "
            "rotation needs a new pod"
        )
        fix = "mount the whole volume as a directory, and set HIVE_BOOT_SECRETS_DIR to its path"
    return Finding(
        severity=severity,
        kind=kind,
        message=message,
        names=(name,) if name else (),
        locations=(file.path,),
        fix=fix,
    )


def secrets_in_image(context: DoctorContext) -> Iterator[Finding]:
    """Yield the secret files that are not on a mount, and may be part of the image."""
    table = read_mounts(context.host.path(MOUNT_TABLE))
    if not context.in_container or mount_of(Path("/"), table).file_system not in _OVERLAYS:
        return
    for path, names in context.names_by_path.items():
        if mount_of(path.resolve(), table).point == "/":
            yield Finding(
                kind="secret-in-image",
                message="a secret file is in the file system of the container, not on a mount: if "
                "it is part of the image, every copy of the image contains the secret",
                names=names,
                locations=(str(path),),
                fix="mount the file, add it to .dockerignore, and rotate its values",
            )


def file_systems_without_events(context: DoctorContext) -> Iterator[Finding]:
    """Yield the locations in which a change by another machine causes no inotify event."""
    if not context.declarations.watch:
        return
    table = read_mounts(context.host.path(MOUNT_TABLE))
    directories = [Path(path) for path in context.sources.directories]
    directories += [path.parent for path in context.names_by_path]
    found: dict[str, set[str]] = {}
    for directory in directories:
        file_system = mount_of(Path(os.path.realpath(directory)), table).file_system
        if _REMOTE.fullmatch(file_system):
            found.setdefault(file_system, set()).add(str(directory))
    for file_system, paths in sorted(found.items()):
        yield Finding(
            kind="remote-file-system",
            message=f"secrets are on {file_system}, where a change by another machine causes no "
            "inotify event: the next comparison finds it, after 5 to 60 s",
            locations=tuple(sorted(paths)),
            fix="none needed if this delay is acceptable; otherwise use a local volume",
        )


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
