"""Files that are mount points of their own, in a written table and really mounted."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hive_boot.secrets.watch_targets import MountedFile, find_mounted_files
from hive_boot.testing import MountedVolume
from tests.fixtures.bind_mounts import PinnedFile
from tests.fixtures.cases import case, empty_machines
from tests.support import tmpfs

IMPOSSIBLE = PinnedFile.unavailable_reason()

really = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))


def row(point: object, root: str, number: int = 36) -> str:
    """Write one mount as the kernel lists it."""
    return (
        f"{number} 35 98:0 {root} {point} rw,noatime master:1 - ext4 /dev/root rw,errors=continue\n"
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Make a file; that it is a mount point is for a table to say."""
    path = tmp_path / "api_key"
    path.write_text("fake-key")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return the path of a table that is yet to be written."""
    return tmp_path / "mountinfo"


@pytest.fixture
def mounts() -> Iterator[ExitStack]:
    """Unmount at the end what a test mounts, the last first."""
    with ExitStack() as stack:
        yield stack


def found(table: Path, *paths: Path) -> list[MountedFile]:
    """Return the mount points among ``paths``."""
    return find_mounted_files({str(path): str(path) for path in paths}, str(table))


def test_a_file_that_is_a_mount_point_is_found(file: Path, table: Path) -> None:
    """Only files that are mounted alone are pinned; those in mounted directories are not."""
    table.write_text(row("/", "/") + row(file.parent, "/host") + row(file, "/host/api_key"))
    other = file.with_name("other")
    assert found(table, file, other) == [MountedFile(str(file), "/host/api_key", stale=False)]


def test_a_file_is_known_by_where_it_really_is(file: Path, table: Path) -> None:
    """Who gets to a mounted file by a link is told the path of the declaration."""
    table.write_text(row(file, "/host/api_key"))
    assert [pin.path for pin in find_mounted_files({"/declared": str(file)}, str(table))] == [
        "/declared"
    ]


def test_what_is_mounted_last_is_what_is_seen(file: Path, table: Path) -> None:
    """Of two files mounted at one place the upper one counts, so it may be the stale one."""
    table.write_text(row(file, "/first") + row(file, "/second//deleted", number=37))
    assert found(table, file) == [MountedFile(str(file), "/second//deleted", stale=True)]


def test_a_mounted_directory_is_no_pinned_file(tmp_path: Path, table: Path) -> None:
    """A directory that has the name of a secret's file is a volume, which can be replaced."""
    table.write_text(row(tmp_path, "/host"))
    assert found(table, tmp_path) == []


def test_odd_names_are_read_as_the_kernel_writes_them(tmp_path: Path, table: Path) -> None:
    """White space and backslashes in the path of a secret hide no mount."""
    cases: list[tuple[str, str]] = [
        ("with\\040space", "with space"),
        ("with\\011tab", "with\ttab"),
        ("with\\012newline", "with\nnewline"),
        ("with\\134backslash", "with\\backslash"),
        ("with\\134040digits", "with\\040digits"),
        ("schlüssel", "schlüssel"),
    ]
    machines = empty_machines(tmp_path)
    for written, name in cases:
        with case(written, name):
            root = next(machines)
            file = root / name
            file.write_text("fake-key")
            table.write_text(row(root / written, f"/host/{written}"))
            assert found(table, file) == [MountedFile(str(file), f"/host/{name}", stale=False)]


def test_a_name_that_is_not_utf_8_hides_no_mount(tmp_path: Path, table: Path) -> None:
    """A mount with a name from another century is listed like any other."""
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).write_text("fake-key")
    table.write_bytes(os.fsencode(row(tmp_path / name, "/host/key")))
    assert [pin.root for pin in found(table, tmp_path / name)] == ["/host/key"]


def test_a_machine_without_the_list_knows_of_none(file: Path, table: Path) -> None:
    """Where the kernel lists no mounts, nothing is said about them, and nothing fails."""
    assert found(table, file) == []


def test_a_mounted_file_without_a_name_left_is_stale(file: Path, table: Path) -> None:
    """A file that was removed is stale too where the kernel's list does not say so."""
    with file.open() as opened:
        file.unlink()
        path = Path(f"/proc/self/fd/{opened.fileno()}")
        table.write_text(row(path, "/host/api_key"))
        assert found(table, path) == [MountedFile(str(path), "/host/api_key", stale=True)]


def test_a_mount_that_cannot_be_looked_at_is_not_called_stale(tmp_path: Path, table: Path) -> None:
    """Where nothing can be known nobody is alarmed."""
    gone = tmp_path / "gone"
    table.write_text(row(gone, "/host/api_key"))
    assert found(table, gone) == [MountedFile(str(gone), "/host/api_key", stale=False)]


@really
def test_a_compose_secret_is_pinned_and_no_subpath(tmp_path: Path) -> None:
    """A file of the host, mounted alone, can be rewritten; that is worth a remark only."""
    with PinnedFile(tmp_path / "run/secrets/api_key", tmp_path / "host/api key") as pinned:
        pinned.write("fake-key")
        (pin,) = find_mounted_files({str(pinned.path): str(pinned.path)})
        assert pin.root.endswith("/host/api key")
        assert (pin.stale, pin.is_subpath) == (False, False)


@really
def test_a_file_renamed_over_on_the_host_is_stale(tmp_path: Path) -> None:
    """What an editor on the host does leaves the container with the file of before."""
    with PinnedFile(tmp_path / "run/secrets/api_key", tmp_path / "host/api_key") as pinned:
        pinned.write("fake-old")
        pinned.replace("fake-new")
        (pin,) = find_mounted_files({str(pinned.path): str(pinned.path)})
        assert pin.stale
        assert pinned.path.read_text() == "fake-old"


def test_a_subpath_is_told_by_the_generation_that_it_is_in(file: Path, table: Path) -> None:
    """What the kernel lists of a Secret is a file in a directory that the kubelet has stamped."""
    cases: list[tuple[str, bool]] = [
        ("/..2026_11_24_13_31_10.2690541472/api_key", True),
        ("/..2026_11_24_13_31_10.2690541472/api_key//deleted", True),
        ("/var/lib/kubelet/pods/6f1c/volume-subpaths/app/server/0", True),
        ("/home/dev/service/secrets/api_key", False),
        ("/home/..dev/api_key", False),
        ("/var/lib/docker/volumes/app/_data/api_key", False),
    ]
    for root, expected in cases:
        with case(root, expected):
            table.write_text(row(file, root))
            assert [pin.is_subpath for pin in found(table, file)] == [expected]


@really
def test_a_subpath_is_known_as_the_kubelet_mounts_it(tmp_path: Path, mounts: ExitStack) -> None:
    """A subPath is recognized, and is stale as soon as the kubelet has published anew.

    The volume of a Secret is a file system in memory. The kubelet binds the file that the
    links lead to, and the runtime binds that again:
    https://github.com/kubernetes/kubernetes/blob/v1.32.0/pkg/volume/util/subpath/subpath_linux.go
    """
    pod = tmp_path / "pods/6f1c"
    volume = MountedVolume(pod / "volumes/kubernetes.io~secret/app")
    mounts.enter_context(tmpfs(volume.path))
    volume.publish({"api_key": "fake-old"})
    assert volume.generation is not None
    bound = pod / "volume-subpaths/app/server/0"
    path = tmp_path / "run/secrets/api_key"
    mounts.enter_context(PinnedFile(bound, volume.generation / "api_key"))
    mounts.enter_context(PinnedFile(path, bound))
    (pin,) = find_mounted_files({str(path): str(path)})
    assert (pin.stale, pin.is_subpath) == (False, True)
    volume.publish({"api_key": "fake-new"})
    (pin,) = find_mounted_files({str(path): str(path)})
    assert (pin.stale, pin.is_subpath) == (True, True)
