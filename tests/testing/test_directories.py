"""A plain directory, whose files are written one at a time."""

import stat
import sys
from pathlib import Path

import pytest

from hive_boot.testing import PlainDirectory
from tests.testing.events import events_of


@pytest.fixture
def directory(tmp_path: Path) -> PlainDirectory:
    """Give a directory with one file in it."""
    directory = PlainDirectory(str(tmp_path / "plain"))
    directory.write_in_place("api_key", "fake-old")
    return directory


def test_a_file_written_in_place_is_half_there_in_between(directory: PlainDirectory) -> None:
    """A reader at the wrong moment finds the first half, in the same file."""
    path = directory.path / "api_key"
    inode = path.stat().st_ino
    with directory.half_written("api_key", "fake-new-value"):
        assert path.read_text() == "fake-ne"

    assert path.read_text() == "fake-new-value"
    assert path.stat().st_ino == inode


def test_the_second_half_comes_whatever_happens(directory: PlainDirectory) -> None:
    """A block that fails leaves the whole value."""
    with pytest.raises(LookupError), directory.half_written("api_key", b"\x00\xff\x00"):
        raise LookupError

    assert (directory.path / "api_key").read_bytes() == b"\x00\xff\x00"


def test_a_writer_pauses_when_it_is_told_to(
    directory: PlainDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause is between the halves, and there is none by default."""
    path = directory.path / "api_key"
    seen = []
    monkeypatch.setattr("time.sleep", lambda seconds: seen.append((seconds, path.read_text())))
    directory.write_in_place("api_key", "fake-1")
    directory.write_in_place("api_key", "fake-2", pause=0.25)

    assert seen == [(0.25, "fak")]
    assert path.read_text() == "fake-2"


def test_a_replaced_file_is_another_one(directory: PlainDirectory) -> None:
    """Nothing of the old file is written to, and nothing is left beside the new one."""
    path = directory.path / "api_key"
    with path.open() as old:
        directory.replace("api_key", "fake-new", mode=0o440)
        assert old.read() == "fake-old"

    assert path.read_text() == "fake-new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    assert list(directory.path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is of Linux")
def test_a_replacement_is_written_beside_and_renamed(directory: PlainDirectory) -> None:
    """A watcher hears of a file with a random name, and then of the rename."""
    with events_of(directory.path) as told:
        directory.replace("api_key", "fake-new")
        events = told()

    temporary = events[0][1]
    assert temporary != "api_key"
    assert events == [
        ("made", temporary),
        ("written", temporary),
        ("chmod", temporary),
        ("moved from", temporary),
        ("moved to", "api_key"),
    ]


def test_files_can_be_in_directories(directory: PlainDirectory) -> None:
    """The directories above a file are made."""
    directory.replace("tls/server.key", "fake-1")
    directory.write_in_place("db/password", "fake-2")

    assert (directory.path / "tls/server.key").read_text() == "fake-1"
    assert (directory.path / "db/password").read_text() == "fake-2"


def test_a_file_can_be_removed(directory: PlainDirectory) -> None:
    """What is removed is gone, and cannot be removed again."""
    directory.remove("api_key")

    assert list(directory.path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        directory.remove("api_key")
