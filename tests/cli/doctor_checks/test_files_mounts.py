"""Files that are mounted one by one, belong to the image, or change without an event."""

from pathlib import Path

import pytest

from hive_boot.cli.doctor_checks.files import (
    file_systems_without_events,
    mounted_file_finding,
    mounted_files,
    secrets_in_image,
)
from hive_boot.secrets.watch_targets import MountedFile
from tests.cli.doctor_checks.contexts import context_of, kinds, mounted, write
from tests.fixtures.bind_mounts import PinnedFile

IMPOSSIBLE = PinnedFile.unavailable_reason()

needs_bind_mounts = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))


def list_mounts(machine: Path, *mounts: tuple[str, str]) -> None:
    """Write the mount table of a machine: mount points and types of file systems."""
    rows = [
        f"{number} 1 0:{number} / {point} rw,relatime shared:1 - {file_system} none rw"
        for number, (point, file_system) in enumerate(mounts, 22)
    ]
    write(machine / "proc/self/mountinfo", "\n".join(rows) + "\n")


@needs_bind_mounts
def test_a_mounted_file_is_a_note_if_changes_are_followed(machine: Path) -> None:
    """A Compose secret has to be rewritten in place."""
    with PinnedFile(machine / "secrets/api_key", machine / "host/api_key") as file:
        file.write("fake-value")

        (finding,) = mounted_files(mounted(machine, watch=True))

        assert kinds([finding]) == [("note", "mounted-file")]
        assert (finding.names, finding.locations) == (("API_KEY",), (str(file.path),))
        assert "hive-boot rotate" in finding.fix
        assert not list(mounted_files(mounted(machine)))


@needs_bind_mounts
def test_a_replaced_mounted_file_is_an_error(machine: Path) -> None:
    """After a rename over the host's file, the container keeps the old file."""
    with PinnedFile(machine / "secrets/api_key", machine / "host/api_key") as file:
        file.replace("fake-newer-value")

        assert kinds(mounted_files(mounted(machine, watch=True))) == [("error", "stale-mount")]


def test_the_severity_depends_on_mount_and_watch() -> None:
    """A subPath is never updated, a Compose file only in place, a stale one not at all."""
    subpath = MountedFile("/run/secrets/api_key", "/..2026_01_01/api_key", stale=False)
    compose = MountedFile("/run/secrets/api_key", "/srv/api_key", stale=False)
    stale = MountedFile("/run/secrets/api_key", "/srv/api_key//deleted", stale=True)
    expected = {
        (subpath, True): ("warning", "mounted-file"),
        (subpath, False): ("note", "mounted-file"),
        (compose, True): ("note", "mounted-file"),
        (stale, True): ("error", "stale-mount"),
        (stale, False): ("warning", "stale-mount"),
    }
    for (file, watch), severity_and_kind in expected.items():
        finding = mounted_file_finding(file, "API_KEY", watch=watch)
        assert (finding.severity, finding.kind) == severity_and_kind, (file.root, watch)


def test_a_secret_on_no_mount_of_a_container_is_reported(machine: Path) -> None:
    """``COPY . .`` includes ``.env`` and ``secrets/``."""
    marker = write(machine / ".dockerenv")
    file = write(machine / "secrets/api_key")
    list_mounts(machine, ("/", "overlay"))

    (finding,) = secrets_in_image(mounted(machine))

    assert kinds([finding]) == [("warning", "secret-in-image")]
    assert (finding.names, finding.locations) == (("API_KEY",), (str(file),))
    list_mounts(machine, ("/", "overlay"), (str(file.parent), "tmpfs"))
    assert not list(secrets_in_image(mounted(machine)))
    list_mounts(machine, ("/", "ext4"))
    assert not list(secrets_in_image(mounted(machine)))
    list_mounts(machine, ("/", "overlay"))
    marker.unlink()
    assert not list(secrets_in_image(mounted(machine)))


def test_a_network_file_system_has_no_events(machine: Path) -> None:
    """Of several mounts the deepest counts, and the last one at the same mount point."""
    directory = write(machine / "secrets/api_key").parent
    for name in ("nfs", "nfs4", "cifs", "9p", "virtiofs", "fuse.sshfs", "fuse"):
        list_mounts(machine, ("/", "ext4"), (str(directory), "tmpfs"), (str(directory), name))

        (finding,) = file_systems_without_events(mounted(machine, watch=True))

        assert kinds([finding]) == [("warning", "remote-file-system")]
        assert finding.locations == (str(directory),)
        assert f" {name}," in finding.message
    link = machine / "link"
    link.symlink_to(directory)
    linked = context_of(machine, secrets_dirs=link, mode="docker", watch=True)
    (finding,) = file_systems_without_events(linked)
    assert str(link) in finding.locations
    assert not list(file_systems_without_events(mounted(machine)))


def test_a_local_file_system_has_events(machine: Path) -> None:
    """A ``.env`` on a local disk, also on a machine without a mount table."""
    write(machine / "cwd/.env", "API_KEY=fake-value")
    assert not list(file_systems_without_events(context_of(machine, watch=True)))

    list_mounts(machine, ("/", "ext4"), ("/elsewhere", "nfs"))
    assert not list(file_systems_without_events(context_of(machine, watch=True)))
