"""Change detection checks: mounts that are never updated, and the limits of inotify."""

from __future__ import annotations

import os
import re
from errno import EMFILE
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.doctor_checks import Finding
from hive_boot.runtime.watcher import NOT_FORCED, open_events
from hive_boot.secrets.watch_targets import MOUNT_TABLE, Mount, WatchTargets, read_mounts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hive_boot.cli.doctor_checks import DoctorContext, Severity
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
