"""Reads of a directory while the application runs, and file systems without stable inodes."""

import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from hive_boot import Secret, SecretSet
from hive_boot.secrets.sources.directories import (
    INODES,
    ReadPolicy,
    read_directory,
    read_paths,
)
from tests.fixtures.writers import PlainDirectory
from tests.support import SETTLED, FakeClock


class Keys(SecretSet):
    """Two secrets, of which one may be removed."""

    a: Secret
    b: Secret | None = None


class Reader:
    """The reads of one run, whose process clock is an hour ahead of the files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.policy = ReadPolicy(
            wall=SETTLED.wall,
            monotonic=lambda: self.clock.now,
            sleep=self.clock.sleep,
            quiet_contents={},
        )

    def read(self) -> str | None:
        """Return the first secret, and read again from now on."""
        field_index = Keys._field_index
        found = read_directory(str(self.path), field_index, self.policy).batch.result("a")
        self.policy = self.policy.replace(is_reread=True)
        return found.reveal() if isinstance(found, Secret) else None


def test_a_changed_file_must_look_the_same_twice_whatever_the_clock_shows(tmp_path: Path) -> None:
    """At the first read the time stamps decide; later, only what was read before."""
    directory = PlainDirectory(tmp_path / "plain")
    directory.replace("a", "fake-1")
    reader = Reader(directory.path)
    assert reader.read() == "fake-1"
    assert reader.read() == "fake-1"
    assert reader.clock.slept == []

    directory.write_in_place("a", "fake")
    reader.clock.steps = [partial(directory.write_in_place, "a", "fake-2")]
    assert reader.read() == "fake-2"
    assert reader.clock.slept == [0.3, 0.3]
    assert reader.read() == "fake-2"
    assert reader.clock.slept == [0.3, 0.3]


@pytest.mark.parametrize("change", ["removed", "another value", "new file", "new directory"])
def test_each_kind_of_change_is_seen_twice(change: str, tmp_path: Path) -> None:
    """A file that is gone may be back at once; a directory that is new has no history."""
    directory = PlainDirectory(tmp_path / "plain")
    directory.replace("a", "fake-1")
    if change != "new file":
        directory.replace("b", "fake-1")
    reader = Reader(directory.path)
    reader.read()
    if change == "removed":
        directory.remove("b")
    elif change == "new directory":
        reader.path = PlainDirectory(tmp_path / "other").path
        PlainDirectory(reader.path).replace("a", "fake-1")
    else:
        directory.replace("b", "fake-2")
    reader.read()
    assert reader.clock.slept == [0.3]
    reader.read()
    assert reader.clock.slept == [0.3]


def test_files_that_are_named_one_by_one_are_remembered_too(tmp_path: Path) -> None:
    """An unchanged file is read once, a changed one twice."""
    file = tmp_path / "key"
    file.write_text("fake-1")
    reader = Reader(tmp_path)
    for text, slept in (("fake-1", []), ("fake-1", []), ("fake-2", [0.3]), ("fake-2", [0.3])):
        file.write_text(text) if file.read_text() != text else None
        read_paths([str(file)], reader.policy)
        assert reader.clock.slept == slept
        reader.policy = reader.policy.replace(is_reread=True)


def test_a_file_system_without_stable_inodes_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks like a directory that is replaced all the time, and is none."""
    PlainDirectory(tmp_path / "plain").replace("a", "fake-1")
    stat, numbers = os.stat, iter(range(10_000_000, 20_000_000))

    def stat_anew(path: str, **options: bool) -> object:
        found = stat(path, **options)
        if str(path) != str(tmp_path / "plain"):
            return found
        names = [name for name in dir(found) if name.startswith("st_")]
        known = {name: getattr(found, name) for name in names}
        return SimpleNamespace(**{**known, "st_ino": next(numbers)})

    reader = Reader(tmp_path / "plain")
    monkeypatch.setattr(os, "stat", stat_anew)
    found = read_directory(str(reader.path), Keys._field_index, reader.policy)
    assert found.problem is INODES
