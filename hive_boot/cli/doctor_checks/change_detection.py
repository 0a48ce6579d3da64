"""Change detection checks: mounts whose changes never arrive, and the limits of inotify."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.doctor_checks.context import Finding
from hive_boot.secrets.watch_targets import MOUNT_TABLE, Mount, WatchTargets, read_mounts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from hive_boot.cli.doctor_checks.context import DoctorContext, Severity
    from hive_boot.secrets.watch_targets import MountedFile

_LIMITS = "/proc/sys/fs/inotify"


_ENOUGH = 4
"""Instances that should be left: a deployment needs two for each process for some time."""


_ALL_EVENTS = 0xFFF
"""<sys/inotify.h>, IN_ALL_EVENTS"""


_SUGGESTED = {"max_user_instances": 1024, "max_user_watches": 524288}


_NOT_FORCED = frozenset({"", "false", "disable", "disabled"})


_POLLED = "so changes are found by reading every file every 2 s"


def watch_limits(context: DoctorContext) -> list[Finding]:
    """Return why a start with ``watch=True`` would poll instead of using inotify."""
    if not context.declarations.watch:
        return []
    if context.host.variable("WATCHFILES_FORCE_POLLING").lower() not in _NOT_FORCED:
        return [
            Finding(
                severity="note",
                kind="watch-polls",
                message=f"WATCHFILES_FORCE_POLLING is set, {_POLLED}",
                names=("WATCHFILES_FORCE_POLLING",),
                locations=("the environment",),
                fix="unset it",
            )
        ]
    if not context.host.exists(_LIMITS):
        return []
    limits = {
        name: context.read_system_file(f"{_LIMITS}/{name}").strip() or "unknown"
        for name in ("max_user_instances", "max_user_watches")
    }
    view = WatchTargets(context.load_result.field_index, context.sources).snapshot()
    return try_to_watch(view.targets.keys(), limits)


def try_to_watch(targets: Collection[str], limits: Mapping[str, str]) -> list[Finding]:
    """Create an inotify instance and a watch on each target, and close all of it again.

    Args:
        targets: directories and files.
        limits: the kernel's limits, by the name of their file.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with _instances(libc) as available:
        first = next(available, None)
        if first is None:
            return [_no_instance(limits["max_user_instances"])]
        for target in sorted(targets):
            if libc.inotify_add_watch(first, os.fsencode(target), _ALL_EVENTS) < 0:
                return [_no_watch(target, ctypes.get_errno(), limits["max_user_watches"])]
        more = sum(1 for _ in zip(range(_ENOUGH), available, strict=False))
    if more < _ENOUGH:
        return [_few_instances(more + 1, limits["max_user_instances"])]
    return []


@contextmanager
def _instances(libc: ctypes.CDLL) -> Iterator[Iterator[int]]:
    """Return an iterator that creates inotify instances, and close them all at the end."""
    created: list[int] = []

    def create() -> Iterator[int]:
        while (instance := libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)) >= 0:
            created.append(instance)
            yield instance

    try:
        yield create()
    finally:
        for instance in created:
            os.close(instance)


def _no_instance(limit: str) -> Finding:
    # The error is the same when the process has no file descriptor left.
    with suppress(OSError):
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        message = f"no inotify instance is left for this user, {_POLLED}"
        return _limit_finding("warning", "watch-impossible", message, "max_user_instances", limit)
    return Finding(
        severity="warning",
        kind="watch-impossible",
        message=f"no file descriptor is left for inotify, {_POLLED}",
        names=("RLIMIT_NOFILE",),
        locations=("the limits of this process",),
        fix="`ulimit -n 1024` (LimitNOFILE=, or ulimits: nofile: in Compose)",
    )


def _few_instances(left: int, limit: str) -> Finding:
    message = f"only {left} inotify instances are left for this user: the next processes will poll"
    return _limit_finding("note", "watch-nearly-impossible", message, "max_user_instances", limit)


def _no_watch(target: str, code: int, limit: str) -> Finding:
    if code == errno.ENOSPC:
        message = f"no inotify watch is left for this user, {_POLLED}"
        return _limit_finding("warning", "watch-impossible", message, "max_user_watches", limit)
    return Finding(
        severity="warning",
        kind="watch-impossible",
        message=f"a location cannot be watched ({os.strerror(code).lower()}), {_POLLED}",
        locations=(target,),
        fix="let the user of the service list the directory",
    )


def _limit_finding(severity: Severity, kind: str, problem: str, name: str, limit: str) -> Finding:
    """Return the finding for a limit that all containers of a user share."""
    setting = f"fs.inotify.{name}"
    return Finding(
        severity=severity,
        kind=kind,
        message=f"{problem} ({setting} is {limit}, for all containers of this user together)",
        names=(setting,),
        locations=(f"{_LIMITS}/{name}",),
        fix=f"on the host: `sysctl -w {setting}={_SUGGESTED[name]}` (and in /etc/sysctl.d)",
    )


_REMOTE = re.compile(r"(?:nfs4?|cifs|smb3|smbfs|9p|virtiofs|vboxsf|ceph|afs|lustre|fuse(?:\..*)?)")
"""File systems that another machine writes to, without an event in the kernel here."""


_OVERLAYS = frozenset({"overlay", "fuse.fuse-overlayfs", "aufs"})
"""File systems of a container: the layers of the image below what the container wrote."""


def mount_of(path: Path, table: list[Mount]) -> Mount:
    """Return the mount that a resolved path is on; the last one at a mount point is on top."""
    result = Mount(root="", point="", file_system="")
    for mount in table:
        if path.is_relative_to(mount.point) and len(mount.point) >= len(result.point):
            result = mount
    return result


def mounted_files(context: DoctorContext) -> list[Finding]:
    """Return the declared files that are themselves mount points, and so are never replaced."""
    view = WatchTargets(context.load_result.field_index, context.sources).snapshot()
    names = {str(file.path): file.name for file in context.secret_files}
    watch = context.declarations.watch
    load_result = [
        mounted_file_finding(file, names.get(file.path, ""), watch=watch) for file in view.pinned
    ]
    return [finding for finding in load_result if finding is not None]


def mounted_file_finding(file: MountedFile, name: str, *, watch: bool) -> Finding | None:
    """Return the finding for a file that is a mount point, None when it does no harm.

    Args:
        file: the file.
        name: the secret that it contains; empty for a ``.env`` file.
        watch: whether the application follows changes.
    """
    names = (name,) if name else ()
    if file.stale:
        return Finding(
            severity="error" if watch else "warning",
            kind="stale-mount",
            message="a mounted file was replaced or removed on the host: this process still sees "
            "the old file, and no later change",
            names=names,
            locations=(file.path,),
            fix="start a new container; later write into the file in place: `hive-boot rotate`",
        )
    if file.is_subpath:
        return Finding(
            severity="warning" if watch else "note",
            kind="mounted-file",
            message="a file is mounted by a subPath, which the kubelet never updates: a rotation "
            "needs a new pod",
            names=names,
            locations=(file.path,),
            fix="mount the whole volume at a directory, and set HIVE_BOOT_SECRETS_DIR to it",
        )
    if not watch:
        return None
    return Finding(
        severity="note",
        kind="mounted-file",
        message="a file is mounted by itself: what is written into the file on the host is seen, "
        "a file that is renamed over it (as editors do) is not",
        names=names,
        locations=(file.path,),
        fix="write into the file in place: `hive-boot rotate`",
    )


def secrets_in_image(context: DoctorContext) -> list[Finding]:
    """Return the files of secrets that are on no mount, and so may belong to the image."""
    table = read_mounts(context.host.path(MOUNT_TABLE))
    if not context.in_container or mount_of(Path("/"), table).file_system not in _OVERLAYS:
        return []
    return [
        Finding(
            severity="warning",
            kind="secret-in-image",
            message="a file of secrets is in the container's own file system, on no mount: if it "
            "belongs to the image, everyone who has the image has the secret",
            names=names,
            locations=(str(path),),
            fix="mount it, exclude it from the build with .dockerignore, and rotate its values",
        )
        for path, names in context.names_by_path.items()
        if mount_of(path.resolve(), table).point == "/"
    ]


def file_systems_without_events(context: DoctorContext) -> list[Finding]:
    """Return the locations where a change by another machine causes no inotify event."""
    if not context.declarations.watch:
        return []
    table = read_mounts(context.host.path(MOUNT_TABLE))
    directories = [Path(path) for path in context.sources.directories]
    directories += [file.path.parent for file in context.secret_files]
    directories += [file.parent for file in context.dotenv_files]
    found: dict[str, set[str]] = {}
    for directory in directories:
        file_system = mount_of(directory.resolve(), table).file_system
        if _REMOTE.fullmatch(file_system):
            found.setdefault(file_system, set()).add(str(directory))
    return [
        Finding(
            severity="warning",
            kind="remote-file-system",
            message=f"secrets are on {file_system}, where a change by another machine causes no "
            "inotify event: it is found by polling, within 5 to 60 s",
            locations=tuple(sorted(paths)),
            fix="none needed if that is soon enough; otherwise use a local volume",
        )
        for file_system, paths in sorted(found.items())
    ]
