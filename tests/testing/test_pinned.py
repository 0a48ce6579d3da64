"""A file that is mounted by itself: really, and with a C library that plays along."""

import ctypes
import os
import sys
from collections.abc import Iterator
from errno import EBUSY, EINVAL, EPERM
from pathlib import Path

import pytest

from hive_boot.testing import MountError, PinnedFile

IMPOSSIBLE = PinnedFile.possible()

really = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))


@pytest.fixture
def pinned(tmp_path: Path) -> PinnedFile:
    """Describe a pinned file that is not mounted yet."""
    return PinnedFile(str(tmp_path / "run/secrets/api_key"), str(tmp_path / "host/api_key"))


class Library:
    """A C library whose calls fail as it is told to, and which remembers them."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.errors: list[int] = []

    def mount(self, source: bytes, target: bytes, *rest: object) -> int:
        """Play the call that mounts."""
        self.calls.append(("mount", source, target, *map(plain, rest)))
        return self._result()

    def umount2(self, target: bytes, flags: object) -> int:
        """Play the call that unmounts."""
        self.calls.append(("umount2", target, plain(flags)))
        return self._result()

    def _result(self) -> int:
        error = self.errors.pop(0) if self.errors else 0
        ctypes.set_errno(error)
        return -1 if error else 0


def plain(argument: object) -> object:
    """Give the number in what ctypes takes."""
    return argument.value if isinstance(argument, ctypes.c_ulong) else argument


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """Be on a Linux on which everything can be mounted."""
    library = Library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    return library


@pytest.fixture
def mounted(pinned: PinnedFile) -> Iterator[PinnedFile]:
    """Have a file that is really mounted."""
    pinned.write("fake-old")
    with pinned:
        yield pinned


def is_mounted(path: Path) -> bool:
    """Tell whether something is mounted at a path, as the kernel sees it."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return str(path) in points


@really
def test_a_mounted_file_is_the_one_of_the_host(mounted: PinnedFile) -> None:
    """The path is a mount point, and shows what the host's file holds."""
    assert is_mounted(mounted.path)
    assert mounted.path.read_text() == "fake-old"
    assert mounted.path.samefile(mounted.host)


@really
def test_what_is_written_in_place_is_seen(mounted: PinnedFile) -> None:
    """Writing into the host's file is the one way to rotate it."""
    mounted.write(b"fake-\xff")

    assert mounted.path.read_bytes() == b"fake-\xff"


@really
def test_a_replaced_file_is_stale(mounted: PinnedFile) -> None:
    """The path keeps the old file, of which no name is left, whatever is written now."""
    mounted.replace("fake-new")
    mounted.write("fake-newer")

    assert mounted.host.read_text() == "fake-newer"
    assert mounted.path.read_text() == "fake-old"
    assert mounted.path.stat().st_nlink == 0


@really
def test_the_end_of_the_block_takes_the_mount_away(pinned: PinnedFile) -> None:
    """After the block the path is an ordinary file again, after a failed one too."""
    pinned.write("fake")
    with pytest.raises(LookupError), pinned:
        raise LookupError

    assert not is_mounted(pinned.path)
    assert pinned.path.read_text() == ""
    assert pinned.host.read_text() == "fake"


@really
def test_a_file_that_is_held_open_is_unmounted(pinned: PinnedFile) -> None:
    """Nobody who reads can keep the mount."""
    pinned.write("fake")
    with pinned:
        held = pinned.path.open()
    with held:
        assert not is_mounted(pinned.path)
        assert held.read() == "fake"


@really
def test_a_stale_file_is_unmounted(pinned: PinnedFile) -> None:
    """A mount whose file was replaced goes as well."""
    with pinned:
        pinned.replace("fake")

    assert not is_mounted(pinned.path)


@really
@pytest.mark.skipif(os.geteuid() != 0, reason="there is no right to give up")
def test_without_the_right_it_is_not_possible() -> None:
    """Somebody who may not mount is told why not."""
    os.seteuid(65534)
    try:
        reason = PinnedFile.possible()
    finally:
        os.seteuid(0)

    assert reason == "nothing can be mounted here: operation not permitted"


def test_where_mounting_works_it_is_possible(library: Library) -> None:
    """A file is mounted over itself for a try, and unmounted."""
    assert PinnedFile.possible() is None
    assert [call[0] for call in library.calls] == ["mount", "umount2"]


def test_where_mounting_does_not_work_the_reason_is_told(library: Library) -> None:
    """A refusal of the kernel is a reason, not an error."""
    library.errors = [EPERM]

    assert PinnedFile.possible() == "nothing can be mounted here: operation not permitted"


def test_elsewhere_than_on_linux_it_is_not_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no bind mount on macOS."""
    monkeypatch.setattr(sys, "platform", "darwin")

    assert PinnedFile.possible() == "nothing can be mounted here: only Linux has bind mounts"


def test_a_mount_that_is_refused_is_an_error(pinned: PinnedFile, library: Library) -> None:
    """The error names both paths, and its reason is what ``pytest.skip`` takes."""
    library.errors = [EPERM]
    with pytest.raises(MountError) as caught, pinned:
        pytest.fail("the block is not entered")

    reason = f"mounting {pinned.host} over {pinned.path} failed: operation not permitted"
    assert caught.value.reason == str(caught.value) == reason


def test_a_bind_mount_is_asked_for(pinned: PinnedFile, library: Library) -> None:
    """The host's file is mounted over the path, and unmounted once."""
    with pinned:
        pass

    assert library.calls == [
        ("mount", bytes(pinned.host), bytes(pinned.path), None, 4096, None),
        ("umount2", bytes(pinned.path), 0),
    ]


def test_the_host_writes_its_own_file(pinned: PinnedFile, library: Library) -> None:
    """Both ways of writing are about the host's file, mounted or not."""
    pinned.write("fake-1")
    inode = pinned.host.stat().st_ino
    with pinned:
        pinned.write("fake-2")
        assert pinned.host.stat().st_ino == inode
        pinned.replace("fake-3")
        assert pinned.host.stat().st_ino != inode

    assert pinned.host.read_text() == "fake-3"
    assert pinned.path.read_text() == ""
    assert len(library.calls) == 2


def test_a_busy_mount_is_detached(pinned: PinnedFile, library: Library) -> None:
    """What cannot be unmounted at once goes when nobody uses it any more."""
    library.errors = [0, EBUSY]
    with pinned:
        pass

    assert library.calls[1:] == [
        ("umount2", bytes(pinned.path), 0),
        ("umount2", bytes(pinned.path), 2),
    ]


def test_a_mount_that_is_gone_already_is_no_error(pinned: PinnedFile, library: Library) -> None:
    """A test may unmount the file itself."""
    library.errors = [0, EINVAL]
    with pinned:
        pass

    assert len(library.calls) == 2


def test_a_mount_that_stays_is_an_error(pinned: PinnedFile, library: Library) -> None:
    """A machine is not left with a mount in silence."""
    library.errors = [0, EPERM]
    with (
        pytest.raises(MountError, match=r"^unmounting .* failed: operation not permitted$"),
        pinned,
    ):
        pass
