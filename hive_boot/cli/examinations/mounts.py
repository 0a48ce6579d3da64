"""What is mounted, and what follows from it for the files of secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hive_boot.cli.examinations.patient import Symptom, listed
from hive_boot.secrets.vantage import Vantage

if TYPE_CHECKING:
    from hive_boot.cli.examinations.patient import Patient
    from hive_boot.secrets.sources.mounts import Pin

_REMOTE = re.compile(r"(?:nfs4?|cifs|smb3|smbfs|9p|virtiofs|vboxsf|ceph|afs|lustre|fuse(?:\..*)?)")
"""File systems that others write to, whose writes the kernel here does not see."""

_OVERLAYS = frozenset({"overlay", "fuse.fuse-overlayfs", "aufs"})
"""File systems of a container's own: layers of the image below what it wrote itself."""

_POINT = 4
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A line of the kernel's list of mounts.

    Attributes:
        point: where it is mounted.
        kind: the kind of file system.
    """

    point: str
    kind: str


def mounts(patient: Patient) -> list[Mount]:
    """Give what is mounted; nothing where the kernel does not tell.

    https://docs.kernel.org/filesystems/proc.html (3.5, mountinfo)
    """
    found = []
    for line in patient.system_text("/proc/self/mountinfo").splitlines():
        head, _, tail = line.partition(" - ")
        words, kind = head.split(), tail.partition(" ")[0]
        if len(words) > _POINT:
            point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), words[_POINT])
            found.append(Mount(point, kind))
    return found


def mount_of(path: Path, table: list[Mount]) -> Mount:
    """Give the mount that a real path is on; of several at one point the last is on top."""
    on = Mount("", "")
    for mount in table:
        if path.is_relative_to(mount.point) and len(mount.point) >= len(on.point):
            on = mount
    return on


def pinned_files(patient: Patient) -> list[Symptom]:
    """Tell which files are mount points of their own, and never replaced."""
    view = Vantage(patient.findings.inventory, patient.situation).look()
    found = [judge_pin(pin, watch=patient.plan.watch) for pin in view.pinned]
    return [symptom for symptom in found if symptom is not None]


def judge_pin(pin: Pin, *, watch: bool) -> Symptom | None:
    """Tell what follows from a file's being a mount point; None when nothing does.

    Args:
        pin: the file.
        watch: whether changes are meant to be taken up.
    """
    if pin.stale:
        return Symptom(
            "error" if watch else "warning",
            "stale-mount",
            "a mounted file was replaced or removed on the host: here the old one stays, and "
            "what is written now is never seen",
            pin.path,
            "start a new container; from then on rewrite the file in place: hive-boot rotate",
        )
    if pin.is_subpath:
        return Symptom(
            "warning" if watch else "remark",
            "pinned-file",
            "a file is mounted by a subPath, which the kubelet never updates: a rotation takes "
            "a new pod",
            pin.path,
            "mount the whole volume at a directory, and name that in HIVE_BOOT_SECRETS_DIR",
        )
    if not watch:
        return None
    return Symptom(
        "remark",
        "pinned-file",
        "a file is mounted by itself: what is written into the host's file is seen, a file that is "
        "renamed over it never is (editors do that)",
        pin.path,
        "rotate it in place: hive-boot rotate",
    )


def files_of_the_image(patient: Patient) -> list[Symptom]:
    """Tell which files of secrets no mount brings: whoever has the image has them."""
    table = mounts(patient)
    if not patient.is_contained or mount_of(Path("/"), table).kind not in _OVERLAYS:
        return []
    paths = [*(file.path for file in patient.secret_files), *patient.dotenv_files]
    return [
        Symptom(
            "warning",
            "secret-in-image",
            "a file of secrets is in the container's own file system, on no mount: if the "
            "image brought it, whoever has the image has the secret, for ever",
            str(path),
            "mount it, keep it out of the build by .dockerignore, and rotate its values",
        )
        for path in paths
        if mount_of(path.resolve(), table).point == "/"
    ]


def remote_file_systems(patient: Patient) -> list[Symptom]:
    """Tell where changes come from that the kernel here is not told of."""
    if not patient.plan.watch:
        return []
    table = mounts(patient)
    places = [*(Path(path) for path in patient.situation.directories)]
    places += [file.path.parent for file in patient.secret_files]
    places += [file.parent for file in patient.dotenv_files]
    kinds: dict[str, set[str]] = {}
    for place in places:
        kind = mount_of(place.resolve(), table).kind
        if _REMOTE.fullmatch(kind):
            kinds.setdefault(kind, set()).add(str(place))
    return [
        Symptom(
            "warning",
            "remote-file-system",
            f"secrets are on {kind}: "
            "inotify does not tell of what others write there, so a change is found by "
            "looking, within 5 to 60 s",
            listed(paths),
            "nothing, if that is soon enough; else a local volume",
        )
        for kind, paths in sorted(kinds.items())
    ]
