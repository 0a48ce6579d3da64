"""Mounts: declared files that cannot be updated, or whose changes cause no event."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot._mounts import TABLE, Mount, read_mounts
from hive_boot.cli.doctor_checks.context import Finding
from hive_boot.secrets.vantage import WatchTargets

if TYPE_CHECKING:
    from hive_boot.cli.doctor_checks.context import DoctorContext
    from hive_boot.secrets.sources.mounts import MountedFile

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
    table = read_mounts(context.host.path(TABLE))
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
    table = read_mounts(context.host.path(TABLE))
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
