"""Files that are mounted alone, brought by an image, or written by another machine."""

from pathlib import Path

import pytest

from hive_boot.cli.examinations.mounts import (
    files_of_the_image,
    judge_pin,
    mount_of,
    mounts,
    pinned_files,
    remote_file_systems,
)
from hive_boot.secrets.sources.mounts import Pin
from tests.cli.examinations.patients import kinds, mounted, patient_of, write
from tests.fixtures.bind_mounts import PinnedFile

IMPOSSIBLE = PinnedFile.unavailable_reason()

really = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))


def list_mounts(machine: Path, *mounts: tuple[str, str]) -> None:
    """Have the kernel of a machine list what is mounted: points and kinds."""
    rows = [
        f"{number} 1 0:{number} / {point} rw,relatime shared:1 - {kind} none rw"
        for number, (point, kind) in enumerate(mounts, 22)
    ]
    write(machine / "proc/self/mountinfo", "\n".join([*rows, "odd"]) + "\n")


@really
def test_a_file_that_is_mounted_alone_is_named(machine: Path) -> None:
    """Whoever rotates a Compose secret learns that it has to be rewritten in place."""
    with PinnedFile(machine / "secrets/api_key", machine / "host/api_key") as pinned:
        pinned.write("fake-value")

        (symptom,) = pinned_files(mounted(machine, watch=True))

        assert symptom.severity == "remark"
        assert symptom.where == str(pinned.path)
        assert "hive-boot rotate" in symptom.mend
        assert pinned_files(mounted(machine)) == []


@really
def test_a_mount_of_a_file_that_was_replaced_is_an_error(machine: Path) -> None:
    """An editor has renamed a new file over the host's: the container keeps the old one."""
    with PinnedFile(machine / "secrets/api_key", machine / "host/api_key") as pinned:
        pinned.replace("fake-newer-value")

        assert kinds(pinned_files(mounted(machine, watch=True))) == [("error", "stale-mount")]


@pytest.mark.parametrize(
    ("root", "stale", "watching", "not_watching"),
    [
        ("/..2026_01_01/api_key", False, ("warning", "pinned-file"), ("remark", "pinned-file")),
        ("/srv/api_key", False, ("remark", "pinned-file"), None),
        ("/srv/api_key//deleted", True, ("error", "stale-mount"), ("warning", "stale-mount")),
    ],
)
def test_a_pinned_file_matters_most_when_changes_are_watched(
    root: str, *, stale: bool, watching: tuple[str, str], not_watching: tuple[str, str] | None
) -> None:
    """A subPath never changes, a Compose file in place only, a stale one not at all."""
    pin = Pin("/run/secrets/api_key", root, stale)
    symptoms = [judge_pin(pin, watch=watch) for watch in (True, False)]

    assert [symptom and (symptom.severity, symptom.kind) for symptom in symptoms] == [
        watching,
        not_watching,
    ]


def test_of_several_mounts_the_deepest_counts_and_the_last(machine: Path) -> None:
    """Spaces in a mount point are undone, and a line that says nothing is passed over."""
    list_mounts(machine, ("/", "ext4"), ("/a\\040b", "nfs4"), ("/a\\040b", "tmpfs"))

    table = mounts(patient_of(machine))

    assert mount_of(Path("/a b/c"), table).kind == "tmpfs"
    assert mount_of(Path("/c"), table).kind == "ext4"
    assert mount_of(Path("/c"), []).kind == ""


def test_a_secret_that_the_image_brought_is_named(machine: Path) -> None:
    """``COPY . .`` takes ``.env`` and ``secrets/`` along: who has the image has them."""
    write(machine / ".dockerenv")
    write(machine / "secrets/api_key")
    list_mounts(machine, ("/", "overlay"))

    (symptom,) = files_of_the_image(mounted(machine))

    assert (symptom.severity, symptom.where) == ("warning", str(machine / "secrets/api_key"))

    list_mounts(machine, ("/", "overlay"), (str(machine / "secrets"), "tmpfs"))
    assert files_of_the_image(mounted(machine)) == []


@pytest.mark.parametrize(("marker", "kind"), [("cwd/nothing", "overlay"), (".dockerenv", "ext4")])
def test_a_machine_has_its_secrets_on_its_own_disk(machine: Path, marker: str, kind: str) -> None:
    """Neither a live system without a container, nor a container with a disk, is an image."""
    write(machine / marker)
    write(machine / "secrets/api_key")
    list_mounts(machine, ("/", kind))

    assert files_of_the_image(mounted(machine)) == []


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "virtiofs", "fuse.sshfs", "fuse"])
def test_a_network_file_system_tells_of_no_change(machine: Path, kind: str) -> None:
    """Who waits for a rotation on a share learns that it takes some seconds."""
    write(machine / "secrets/api_key")
    list_mounts(machine, ("/", "ext4"), (str(machine / "secrets"), kind))

    (symptom,) = remote_file_systems(mounted(machine, watch=True))

    assert (symptom.severity, symptom.kind) == ("warning", "remote-file-system")
    assert f" {kind}:" in symptom.what
    assert symptom.where == str(machine / "secrets")
    assert remote_file_systems(mounted(machine)) == []


def test_a_local_file_system_is_all_right(machine: Path) -> None:
    """The ``.env`` of a developer's machine is watched without a word."""
    write(machine / "cwd/.env", "API_KEY=fake-value")
    list_mounts(machine, ("/", "ext4"))

    assert remote_file_systems(patient_of(machine, watch=True)) == []
