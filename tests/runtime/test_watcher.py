"""Watcher with a real event loop and real events of the kernel.

Each test runs with each kind of events, and inotify on both backends.
"""

import logging
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from hive_boot import Secret, SecretSet, secret
from hive_boot._timings import Timings
from hive_boot.runtime.file_events import (
    Changes,
    FileEvents,
    InotifyEvents,
    WatchfilesEvents,
    open_events,
)
from hive_boot.runtime.watcher import Watcher
from hive_boot.secrets.watch_targets import WatchSnapshot, WatchTargets
from hive_boot.testing import MountedVolume
from tests.fixtures.bind_mounts import PinnedFile
from tests.fixtures.timings import EVENTS_ONLY, NEVER, QUICK_RESYNC
from tests.fixtures.watching import (
    KINDS,
    NOT_POLLED,
    ONCE,
    ONLY_INOTIFY,
    ONLY_WATCHFILES,
    PATIENCE,
    Kind,
    each_kind,
    in_memory,
    inotify_instances,
    parametrize_kinds,
    switch,
    watcher_threads,
)
from tests.fixtures.writers import PlainDirectory
from tests.support import (
    ROOT,
    as_ordinary_user,
    descriptors,
    run_child,
    situate,
    tmpfs,
    wait_until,
)

IMPOSSIBLE = PinnedFile.unavailable_reason()

needs_mounts = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))

QUICK_WATCH_RETRIES: Mapping[str, float] = {
    "watch_retry_delay": 0.02,
    "max_watch_retry_delay": 0.1,
    "poll_interval": 0.03,
}
"""Short delays: files are polled often, and events are retried soon."""


class Keys(SecretSet):
    """Secrets with unusual file names."""

    api_key: Secret
    token: Secret | None = secret(file="token~")
    compiled: Secret | None = secret(file="x.pyc")


def look_at(
    directory: Path,
    environ: Mapping[str, str] | None = None,
    **source_options: Any,  # noqa: ANN401  (what SourceOptions takes)
) -> Callable[[], WatchSnapshot]:
    """Return a function that takes a snapshot of ``directory``, or of the given sources."""
    if not source_options:
        source_options = {"mode": "kubernetes", "secrets_dirs": str(directory)}
    source_context = situate(directory.parent, environ, **source_options)
    return WatchTargets(Keys._field_index, source_context).snapshot


class Reader:
    """An application that reads a file whenever the watcher calls it.

    Attributes:
        seen: the text that it has read last; None if the file could not be read.
        ticks: the number of calls.
        watcher: the watcher that calls it.
    """

    watcher: Watcher

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ticks = 0
        self.seen: str | None = None

    def tick(self) -> None:
        """Read the file, and count the call of the watcher."""
        self.read()
        self.ticks += 1

    def read(self) -> None:
        """Read the file."""
        try:
            self.seen = self._path.read_text()
        except OSError:
            self.seen = None

    def wait_for(self, expected: str | None) -> None:
        """Wait until the application has read this text."""
        wait_until(lambda: self.seen == expected)

    @property
    def mode(self) -> str:
        """The mode of the watcher."""
        return self.watcher.mode

    def wait_for_mode(self, mode: str) -> None:
        """Wait until the watcher has this mode."""
        wait_until(lambda: self.mode == mode)


backend = "asyncio"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with each kind of events that it applies to."""
    parametrize_kinds(metafunc, [*KINDS, "inotify on trio"])


@pytest.fixture(autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Use one kind of events."""
    global backend  # noqa: PLW0603  (of the running test)
    backend = "trio" if request.param.endswith("trio") else "asyncio"
    with each_kind(request, monkeypatch) as name:
        yield name


@contextmanager
def run_reader(
    path: Path,
    take_snapshot: Callable[[], WatchSnapshot],
    events: Callable[[Collection[str], Timings], FileEvents] = open_events,
    timings: Mapping[str, float] | None = None,
    meanwhile: Callable[[Watcher], object] = lambda _: None,
) -> Iterator[Reader]:
    """Run an application that reads ``path``, and call ``meanwhile`` before it is ready."""
    reader = Reader(path)
    waits = {"event_interval": 0.005, **(timings or {})}
    if Kind.name == "poll":
        waits["poll_interval"] = 0.03
    reader.watcher = Watcher(take_snapshot, reader.tick, events, Timings(**waits))
    reader.watcher.open()
    reader.read()
    meanwhile(reader.watcher)
    with start_blocking_portal(backend) as portal:
        running = portal.start_task_soon(reader.watcher.run)
        try:
            yield reader
        finally:
            running.cancel()
    assert reader.mode == "off"


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in memory, as a Secret volume is, if the machine has one."""
    with in_memory(tmp_path) as place:
        (place / "cwd").mkdir()
        yield place


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest, memory: Path, tmp_path: Path) -> Path:
    """Return a directory in memory, where inodes are always new, and one on disk."""
    return memory if request.param == "memory" else tmp_path


@pytest.fixture
def volume(memory: Path) -> MountedVolume:
    """Return a volume in memory with one key."""
    volume = MountedVolume(memory / "volume")
    volume.publish({"api_key": "fake-0"})
    return volume


class Log:
    """Records of the logger of the watcher."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "hive_boot.watching")
        self._caplog = caplog

    @property
    def levels(self) -> list[str]:
        """WARNING at each fall-back to polling, ERROR at a failure, INFO when events are back."""
        return [each.levelname for each in self._caplog.records]

    @property
    def first(self) -> str:
        """The text of the first record."""
        return self._caplog.records[0].getMessage()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    """Return the log of watching."""
    return Log(caplog)


# Events alone.


def test_each_swap_of_a_volume_is_noticed(volume: MountedVolume) -> None:
    """The watcher still notices changes after several swaps of `..data`."""
    with run_reader(volume.path / "api_key", look_at(volume.path), timings=EVENTS_ONLY) as reader:
        assert reader.mode == Kind.mode
        for number in range(1, 11):
            volume.publish({"api_key": f"fake-{number}"})
            reader.wait_for(f"fake-{number}")
        assert reader.watcher.missed_events == 0


def test_each_way_to_write_a_plain_file_is_noticed(memory: Path) -> None:
    """In place, by rename, removed, created again; also names like those of backup files."""
    directory = PlainDirectory(memory / "secrets")
    for name in ("api_key", "token~", "x.pyc"):
        with run_reader(
            directory.path / name, look_at(directory.path), timings=EVENTS_ONLY
        ) as reader:
            directory.replace(name, "fake-1")
            reader.wait_for("fake-1")
            directory.write_in_place(name, "fake-2")
            reader.wait_for("fake-2")
            directory.replace(name, "fake-3")
            reader.wait_for("fake-3")
            directory.remove(name)
            reader.wait_for(None)
            directory.write_in_place(name, "fake-4")
            reader.wait_for("fake-4")
            ticks = reader.ticks
            (directory.path / name).chmod(0o600)
            wait_until(partial(has_more_ticks, reader, ticks))


def has_more_ticks(reader: Reader, ticks: int) -> bool:
    """Return whether the application was called again."""
    return reader.ticks > ticks


def test_a_directory_that_is_removed_and_created_again_is_watched(place: Path) -> None:
    """Every later change is noticed, also if the new directory has the old inode."""
    path = place / "secrets"
    file = path / "api_key"
    path.mkdir()
    file.write_text("fake-0")
    with run_reader(file, look_at(path), timings=EVENTS_ONLY) as reader:
        for number in range(1, 4):
            shutil.rmtree(path)
            path.mkdir()
            file.write_text(f"fake-new-{number}")
            reader.wait_for(f"fake-new-{number}")
            file.write_text(f"fake-newer-{number}")
            reader.wait_for(f"fake-newer-{number}")
            file.write_text(f"fake-newest-{number}")
            reader.wait_for(f"fake-newest-{number}")


def test_a_directory_that_is_absent_for_a_while_is_watched_again(place: Path) -> None:
    """The removal, the return and later writes are noticed."""
    path = place / "secrets"
    file = path / "api_key"
    path.mkdir()
    file.write_text("fake-0")
    with run_reader(file, look_at(path), timings={**EVENTS_ONLY, **QUICK_WATCH_RETRIES}) as reader:
        for number in range(1, 4):
            shutil.rmtree(path)
            reader.wait_for(None)
            path.mkdir()
            file.write_text(f"fake-new-{number}")
            reader.wait_for(f"fake-new-{number}")
            file.write_text(f"fake-newer-{number}")
            reader.wait_for(f"fake-newer-{number}")


def test_a_directory_that_is_renamed_and_replaced_is_watched(place: Path) -> None:
    """The path is watched, not the inode of the first directory."""
    volume = MountedVolume(place / "volume")
    volume.publish({"api_key": "fake-0"})
    with run_reader(volume.path / "api_key", look_at(volume.path), timings=EVENTS_ONLY) as reader:
        for number in range(1, 4):
            volume.path.rename(place / f"away-{number}")
            MountedVolume(volume.path).publish({"api_key": f"fake-new-{number}"})
            reader.wait_for(f"fake-new-{number}")
            volume.publish({"api_key": f"fake-newer-{number}"})
            reader.wait_for(f"fake-newer-{number}")
        assert reader.watcher.missed_events == 0


def a_link(memory: Path) -> tuple[Path, Path]:
    """Return a root that is a link, and the link to switch."""
    return memory / "root", memory / "root"


def a_chain(memory: Path) -> tuple[Path, Path]:
    """Return a root that is a link to a link, and the second one."""
    (memory / "one").mkdir()
    (memory / "one/root").symlink_to("../two/root")
    (memory / "two").mkdir()
    return memory / "one/root", memory / "two/root"


def in_the_middle(memory: Path) -> tuple[Path, Path]:
    """Return a root below a link, and the link."""
    return memory / "current/below", memory / "current"


@pytest.mark.parametrize("lay_out", [a_link, a_chain, in_the_middle])
def test_each_switch_of_a_link_to_the_root_is_noticed(
    lay_out: Callable[[Path], tuple[Path, Path]], memory: Path
) -> None:
    """The link may be any part of the path; writes between two switches are noticed too."""
    root, link = lay_out(memory)
    below = "below" if root.name == "below" else ""
    volumes = [MountedVolume(memory / f"release-{number}" / below) for number in range(4)]
    for number, volume in enumerate(volumes):
        volume.publish({"api_key": f"fake-new-{number}"})
    switch(link, memory / "release-0")
    with run_reader(root / "api_key", look_at(root), timings=EVENTS_ONLY) as reader:
        for number in range(1, 4):
            switch(link, memory / f"release-{number}")
            reader.wait_for(f"fake-new-{number}")
            volumes[number].publish({"api_key": f"fake-newer-{number}"})
            reader.wait_for(f"fake-newer-{number}")
        assert reader.watcher.missed_events == 0


class Below(SecretSet):
    """A secret in a directory within the directory."""

    api_key: Secret = secret(file="tls/key.pem")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_in_a_subdirectory_is_watched(memory: Path, *, is_there: bool) -> None:
    """The subdirectory may be created later, or removed and created again."""
    directory = PlainDirectory(memory / "secrets")
    name = "tls/key.pem"
    if is_there:
        directory.replace(name, "fake-0")
    source_context = situate(memory, mode="kubernetes", secrets_dirs=str(directory.path))
    take_snapshot = WatchTargets(Below._field_index, source_context).snapshot
    with run_reader(directory.path / name, take_snapshot, timings=EVENTS_ONLY) as reader:
        for number in range(3):
            directory.replace(name, f"fake-new-{number}")
            reader.wait_for(f"fake-new-{number}")
            directory.write_in_place(name, f"fake-newer-{number}")
            reader.wait_for(f"fake-newer-{number}")
            shutil.rmtree(directory.path / "tls")
            reader.wait_for(None)
        assert reader.watcher.missed_events == 0


@pytest.mark.parametrize("way", ["real/key", "current/key"])
def test_the_target_of_a_link_out_of_the_directory_is_watched(way: str, memory: Path) -> None:
    """The target may be replaced or written, and another link on the way may be switched."""
    directory = PlainDirectory(memory / "secrets")
    real, other = PlainDirectory(memory / "etc/real"), PlainDirectory(memory / "etc/other")
    for each in (real, other):
        each.replace("key", f"fake-{each.path.name}")
    (memory / "etc/current").symlink_to("real")
    file = directory.path / "api_key"
    file.symlink_to(memory / "etc" / way)
    with run_reader(file, look_at(directory.path), timings=EVENTS_ONLY) as reader:
        for number in range(3):
            real.replace("key", f"fake-new-{number}")
            reader.wait_for(f"fake-new-{number}")
            real.write_in_place("key", f"fake-newer-{number}")
            reader.wait_for(f"fake-newer-{number}")
            if way == "current/key":
                switch(memory / "etc/current", "other")
                reader.wait_for("fake-other")
                switch(memory / "etc/current", "real")
                reader.wait_for(f"fake-newer-{number}")
        switch(file, "elsewhere")
        reader.wait_for(None)
        directory.replace("api_key", "fake-plain")
        reader.wait_for("fake-plain")
        assert reader.watcher.missed_events == 0


@pytest.mark.parametrize("at_the_end", ["", "/"])
def test_a_path_with_two_dots_behind_a_link_is_watched(at_the_end: str, memory: Path) -> None:
    """Two dots behind a link lead to the parent of its target, as for the kernel."""
    (memory / "real/in").mkdir(parents=True)
    (memory / "link").symlink_to("real/in")
    directory = PlainDirectory(memory / "real/keys")
    directory.replace("api_key", "fake-0")
    PlainDirectory(memory / "keys").replace("api_key", "fake-of-somebody-else")
    path = f"{memory}/link/../keys{at_the_end}"
    take_snapshot = look_at(memory, mode="kubernetes", secrets_dirs=path)
    with run_reader(
        Path(os.path.join(path, "api_key")),  # noqa: PTH118  (one path as text)
        take_snapshot,
        timings=EVENTS_ONLY,
    ) as reader:
        assert reader.seen == "fake-0"
        for number in range(1, 4):
            directory.replace("api_key", f"fake-{number}")
            reader.wait_for(f"fake-{number}")
        directory.path.rename(memory / "away")
        reader.wait_for(None)
        PlainDirectory(directory.path).replace("api_key", "fake-anew")
        reader.wait_for("fake-anew")
        assert reader.watcher.missed_events == 0


def test_the_target_of_a_link_may_be_removed_and_created_again(place: Path) -> None:
    """The directory at the end of a link changes, and the link stays."""
    root, real = place / "root", place / "etc/real"
    root.symlink_to("etc/real")
    PlainDirectory(real).replace("api_key", "fake-0")
    with run_reader(
        root / "api_key", look_at(root), timings={**EVENTS_ONLY, **QUICK_WATCH_RETRIES}
    ) as reader:
        for number in range(1, 4):
            shutil.rmtree(real)
            reader.wait_for(None)
            PlainDirectory(real).replace("api_key", f"fake-{number}")
            reader.wait_for(f"fake-{number}")
            PlainDirectory(real).replace("api_key", f"fake-newer-{number}")
            reader.wait_for(f"fake-newer-{number}")


def test_a_directory_is_watched_again_when_its_permission_returns() -> None:
    """A directory without permissions cannot be watched."""
    with as_ordinary_user() as place:
        directory = PlainDirectory(place / "secrets")
        directory.replace("api_key", "fake-0")
        with run_reader(
            directory.path / "api_key", look_at(directory.path), timings=EVENTS_ONLY
        ) as reader:
            for number in range(1, 4):
                directory.path.chmod(0)
                reader.wait_for(None)
                directory.path.chmod(0o700)
                reader.wait_for(f"fake-{number - 1}")
                directory.replace("api_key", f"fake-{number}")
                reader.wait_for(f"fake-{number}")


def test_each_way_to_write_a_dotenv_file_is_noticed(memory: Path) -> None:
    """Created, written in place, replaced by rename as editors do, removed."""
    directory = PlainDirectory(memory / "cwd")
    take_snapshot = look_at(directory.path, mode="development")
    for name in (".env", ".env.local"):
        with run_reader(directory.path / name, take_snapshot, timings=EVENTS_ONLY) as reader:
            directory.write_in_place(name, "fake-1")
            reader.wait_for("fake-1")
            directory.replace(name, "fake-2")
            reader.wait_for("fake-2")
            directory.write_in_place(name, "fake-3")
            reader.wait_for("fake-3")
            directory.remove(name)
            reader.wait_for(None)


def test_a_file_that_a_variable_names_is_watched(memory: Path) -> None:
    """The path in `NAME_FILE`, possibly a link, leads to a file that is written or replaced."""
    directory = PlainDirectory(memory / "etc")
    directory.replace("key", "fake-0")
    link = memory / "link"
    link.symlink_to("etc/key")
    take_snapshot = look_at(memory / "x", {"API_KEY_FILE": str(link)}, mode="environment")
    with run_reader(link, take_snapshot, timings=EVENTS_ONLY) as reader:
        directory.write_in_place("key", "fake-1")
        reader.wait_for("fake-1")
        directory.replace("key", "fake-2")
        reader.wait_for("fake-2")
        directory.replace("other", "fake-3")
        switch(link, "etc/other")
        reader.wait_for("fake-3")
        directory.replace("other", "fake-4")
        reader.wait_for("fake-4")


def test_a_file_in_a_volume_that_a_variable_names_is_watched(volume: MountedVolume) -> None:
    """A watch on the file itself would notice nothing after the first swap."""
    file = volume.path / "api_key"
    take_snapshot = look_at(volume.path, {"API_KEY_FILE": str(file)}, mode="environment")
    with run_reader(file, take_snapshot, timings=EVENTS_ONLY) as reader:
        for number in range(1, 4):
            volume.publish({"api_key": f"fake-{number}"})
            reader.wait_for(f"fake-{number}")
        assert reader.watcher.missed_events == 0


@needs_mounts
def test_a_write_to_a_file_mount_is_noticed(memory: Path) -> None:
    """The directory has no event for such a write."""
    with PinnedFile(memory / "secrets/api_key", memory / "host/key") as pinned:
        pinned.write("fake-0")
        with run_reader(pinned.path, look_at(memory / "secrets"), timings=EVENTS_ONLY) as reader:
            for number in range(1, 4):
                pinned.write(f"fake-{number}")
                reader.wait_for(f"fake-{number}")
            assert [pin.stale for pin in reader.watcher.pinned] == [False]
            pinned.replace("fake-new")
            wait_until(lambda: [pin.stale for pin in reader.watcher.pinned] == [True])
            assert reader.watcher.missed_events == 0


@NOT_POLLED
def test_other_files_beside_a_dotenv_file_cause_no_read(memory: Path) -> None:
    """Many changes of a source file do not make the application read `.env`."""
    directory = PlainDirectory(memory / "cwd")
    take_snapshot = look_at(directory.path, mode="development")
    with run_reader(directory.path / ".env", take_snapshot, timings=EVENTS_ONLY) as reader:
        for number in range(50):
            directory.replace("main.py", f"print({number})")
        directory.replace(".env", "fake-1")
        reader.wait_for("fake-1")
        ticks_before = reader.ticks
    assert ticks_before <= 2


class CountedSnapshots:
    """A function that takes snapshots, with the number of its calls."""

    def __init__(self, take_snapshot: Callable[[], WatchSnapshot]) -> None:
        self._look = take_snapshot
        self.count = 0

    def __call__(self) -> WatchSnapshot:
        """Return a snapshot, and count the call."""
        self.count += 1
        return self._look()

    def are_more_than(self, count: int) -> bool:
        """Return whether there were more calls than ``count``."""
        return self.count > count


def make_noise(directory: PlainDirectory, times: int = 100) -> None:
    """Write files that are not declared."""
    for number in range(times):
        (directory.path / f"noise-{number}").write_text("fake-noise")


@NOT_POLLED
def test_other_files_of_a_plain_directory_cause_no_read(memory: Path) -> None:
    """They cause no snapshot either, if one was taken a moment before."""
    timings = {**EVENTS_ONLY, "busy_resync_interval": NEVER}
    directory = PlainDirectory(memory / "secrets")
    directory.replace("api_key", "fake-0")
    looks = CountedSnapshots(look_at(directory.path))
    with run_reader(directory.path / "api_key", looks, timings=timings) as reader:
        at_the_start = looks.count
        make_noise(directory)
        directory.write_in_place("api_key", "fake-1")
        reader.wait_for("fake-1")
        make_noise(directory)
        directory.write_in_place("api_key", "fake-2")
        reader.wait_for("fake-2")
        assert looks.count == at_the_start
        # A write may cause two events: when the file is emptied and when it is written.
        assert reader.ticks <= 4
        assert reader.watcher.missed_events == 0


class DeafEvents(WatchfilesEvents):
    """Events without those of the secret, as if a full queue had lost them."""

    def take(self) -> Changes:
        """Return the changes of other files."""
        changes = super().take()
        paths = {path: kind for path, kind in changes.paths.items() if "api_key" not in path}
        return Changes(paths)


@ONLY_WATCHFILES
def test_a_change_whose_event_was_lost_among_others_is_found_by_a_snapshot(memory: Path) -> None:
    """Many events cause a snapshot, not a read; a change that it finds is counted as missed."""
    timings = {**EVENTS_ONLY, "busy_resync_interval": 0.02}
    directory = PlainDirectory(memory / "secrets")
    directory.replace("api_key", "fake-0")
    looks = CountedSnapshots(look_at(directory.path))
    with run_reader(directory.path / "api_key", looks, DeafEvents, timings) as reader:
        for number in range(1, 6):
            ticks, seen = reader.ticks, looks.count
            make_noise(directory, 10)
            wait_until(partial(looks.are_more_than, seen))
            assert reader.ticks == ticks
            # By rename: if the file was emptied first, two snapshots could find a change each.
            directory.replace("api_key", f"fake-{number}")
            make_noise(directory, 10)
            reader.wait_for(f"fake-{number}")
        assert reader.watcher.missed_events
        assert reader.mode == Kind.mode


# Snapshots.


def test_a_change_without_an_event_is_found_by_a_snapshot(memory: Path) -> None:
    """A write by another path is noticed, and counted as missed unless files are polled."""
    directory = PlainDirectory(memory / "secrets")
    directory.replace("api_key", "fake-0")
    hidden = directory.link_outside("api_key")
    with run_reader(
        directory.path / "api_key", look_at(directory.path), timings=QUICK_RESYNC
    ) as reader:
        hidden.write_text("fake-1")
        reader.wait_for("fake-1")
        wait_until(lambda: bool(reader.watcher.missed_events) == (Kind.name != "poll"))
        ticks, missed = reader.ticks, reader.watcher.missed_events
        hidden.chmod(0o600)
        wait_until(lambda: reader.ticks > ticks)
        wait_until(lambda: (reader.watcher.missed_events > missed) == (Kind.name != "poll"))


def test_a_change_above_the_directory_is_found_by_a_snapshot(memory: Path) -> None:
    """A directory further up is not watched; its replacement is noticed later."""
    volume = MountedVolume(memory / "a/b/volume")
    volume.publish({"api_key": "fake-0"})
    with run_reader(volume.path / "api_key", look_at(volume.path), timings=QUICK_RESYNC) as reader:
        (memory / "a").rename(memory / "away")
        reader.wait_for(None)
        MountedVolume(volume.path).publish({"api_key": "fake-1"})
        reader.wait_for("fake-1")
        assert bool(reader.watcher.missed_events) == (Kind.name != "poll")
        volume.publish({"api_key": "fake-2"})
        reader.wait_for("fake-2")


@needs_mounts
def test_a_mount_over_the_directory_is_found_by_a_snapshot(volume: MountedVolume) -> None:
    """The kernel has no event for a mount, its end, or what it hides."""
    file = volume.path / "api_key"
    with run_reader(file, look_at(volume.path), timings=QUICK_RESYNC) as reader:
        with tmpfs(volume.path):
            reader.wait_for(None)
            wait_until(lambda: reader.watcher.missed_events == (Kind.name != "poll"))
            file.write_text("fake-1")
            reader.wait_for("fake-1")
        reader.wait_for("fake-0")
        volume.publish({"api_key": "fake-2"})
        reader.wait_for("fake-2")


@NOT_POLLED
def test_all_files_are_read_periodically(volume: MountedVolume) -> None:
    """A change without an event, and without a new signature, is found by a full read."""
    timings = {"full_read_interval": 0.02}
    with run_reader(volume.path / "api_key", look_at(volume.path), timings=timings) as reader:
        wait_until(lambda: reader.ticks >= 3)
        assert reader.watcher.missed_events == 0


def test_a_snapshot_before_the_event_of_its_change_counts_no_missed_event(
    volume: MountedVolume,
) -> None:
    """Each snapshot is taken right after a swap, before the watcher reads the event."""
    timings = {"resync_interval": 0.01}
    take_snapshot = look_at(volume.path)
    swaps = iter(range(1, 4))

    def swap_before_snapshot() -> WatchSnapshot:
        if started.is_set() and (number := next(swaps, None)):
            volume.publish({"api_key": f"fake-{number}"})
        return take_snapshot()

    started = threading.Event()
    with run_reader(volume.path / "api_key", swap_before_snapshot, timings=timings) as reader:
        started.set()
        reader.wait_for("fake-3")
        volume.publish({"api_key": "fake-4"})
        reader.wait_for("fake-4")
        assert reader.watcher.missed_events == 0


def test_a_snapshot_before_the_event_of_a_new_root_counts_no_missed_event(
    memory: Path,
) -> None:
    """Each snapshot is taken right after a link was switched, before its event is read."""
    timings = {"resync_interval": 0.01}
    for number in range(4):
        MountedVolume(memory / f"v{number}").publish({"api_key": f"fake-{number}"})
    root = memory / "root"
    root.symlink_to("v0")
    take_snapshot = look_at(root)
    switches: list[int] = []

    def switch_before_snapshot() -> WatchSnapshot:
        if switches:
            switch(root, f"v{switches.pop()}")
        return take_snapshot()

    with run_reader(root / "api_key", switch_before_snapshot, timings=timings) as reader:
        for number in range(1, 4):
            switches.append(number)
            reader.wait_for(f"fake-{number}")
        switch(root, "v0")
        reader.wait_for("fake-0")
        assert reader.watcher.missed_events == 0


@NOT_POLLED
def test_a_snapshot_without_a_change_causes_no_read(volume: MountedVolume) -> None:
    """Only a change makes the application read."""
    looks = 0
    take_snapshot = look_at(volume.path)

    def count() -> WatchSnapshot:
        nonlocal looks
        looks += 1
        return take_snapshot()

    with run_reader(volume.path / "api_key", count, timings=QUICK_RESYNC) as reader:
        wait_until(lambda: looks > 5)
        assert (reader.ticks, reader.watcher.missed_events) == (0, 0)


@ONLY_INOTIFY
def test_snapshots_are_taken_in_one_thread(volume: MountedVolume) -> None:
    """The thread stays, so the loop is not woken; a change that it finds is still reported."""
    take_snapshot = look_at(volume.path)
    threads: Counter[threading.Thread] = Counter()

    def count() -> WatchSnapshot:
        threads[threading.current_thread()] += 1
        return take_snapshot()

    with run_reader(volume.path / "api_key", count, timings=QUICK_RESYNC) as reader:
        wait_until(lambda: max(threads.values()) > 10)
        with tmpfs(volume.path) if IMPOSSIBLE is None else nullcontext():
            reader.wait_for(None if IMPOSSIBLE is None else "fake-0")


# Start.


def test_a_change_during_the_start_of_the_watcher_is_noticed(memory: Path) -> None:
    """The root may be switched several times between a snapshot and the watch for it."""
    for number in range(4):
        MountedVolume(memory / f"v{number}").publish({"api_key": f"fake-{number}"})
    root = memory / "root"
    root.symlink_to("v0")
    take_snapshot = look_at(root)
    numbers = iter(range(1, 4))

    def switch_after_snapshot() -> WatchSnapshot:
        view = take_snapshot()
        if number := next(numbers, None):
            switch(root, f"v{number}")
        return view

    with run_reader(root / "api_key", switch_after_snapshot, timings=EVENTS_ONLY) as reader:
        reader.wait_for("fake-3")
        MountedVolume(memory / "v3").publish({"api_key": "fake-4"})
        reader.wait_for("fake-4")
        assert reader.mode == Kind.mode


def test_a_change_right_after_the_start_is_found_by_a_snapshot(memory: Path) -> None:
    """The first read waits until the first snapshot, the base of comparisons, is complete."""
    directory = PlainDirectory(memory / "secrets")
    directory.replace("api_key", "fake-0")
    hidden = directory.link_outside("api_key")
    take_snapshot = look_at(directory.path)
    looks = 0

    def take_snapshot_slowly() -> WatchSnapshot:
        nonlocal looks
        looks += 1
        if looks > 1:
            time.sleep(0.1)
        return take_snapshot()

    with run_reader(
        directory.path / "api_key", take_snapshot_slowly, timings=QUICK_RESYNC
    ) as reader:
        hidden.write_text("fake-1")
        reader.wait_for("fake-1")


@ONLY_INOTIFY
def test_events_read_during_the_start_are_handled_later(place: Path) -> None:
    """The start reads events to find writers; they count as all others afterwards."""
    path = place / "secrets"
    file = path / "api_key"
    PlainDirectory(path).replace("api_key", "fake-0")

    def create_again(watcher: Watcher) -> None:
        shutil.rmtree(path)
        PlainDirectory(path).replace("api_key", "fake-1")
        assert not watcher.is_being_written([str(file)])

    with run_reader(file, look_at(path), timings=EVENTS_ONLY, meanwhile=create_again) as reader:
        reader.wait_for("fake-1")
        PlainDirectory(path).replace("api_key", "fake-2")
        reader.wait_for("fake-2")


@ONLY_INOTIFY
def test_a_writer_is_found_before_the_loop_receives_its_event(place: Path) -> None:
    """A read asks in a thread while the loop is blocked; the loop receives all events later."""
    directory = PlainDirectory(place / "secrets")
    directory.replace("api_key", "fake-0")
    file = directory.path / "api_key"
    blocked, released = threading.Event(), threading.Event()
    with run_reader(file, look_at(directory.path), timings=EVENTS_ONLY) as reader:
        watcher, tick = reader.watcher, reader.tick

        def block() -> None:
            blocked.set()
            released.wait(PATIENCE)
            tick()

        watcher._call_reader = block  # noqa: SLF001  (in the loop)
        directory.replace("api_key", "fake-1")
        assert blocked.wait(PATIENCE)
        with directory.partial_write("api_key", "fake-2"):
            assert watcher.is_being_written([str(file)])
        assert not watcher.is_being_written([str(file)])
        watcher._call_reader = tick  # noqa: SLF001  (as it was)
        released.set()
        reader.wait_for("fake-2")


@NOT_POLLED
def test_a_directory_that_is_removed_during_the_start_is_waited_for(memory: Path, log: Log) -> None:
    """Another snapshot is taken at once, without polling and without a log line."""
    path = memory / "secrets"
    path.mkdir()
    take_snapshot = look_at(path)

    def remove_after_snapshot() -> WatchSnapshot:
        view = take_snapshot()
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        return view

    with run_reader(
        path / "api_key", remove_after_snapshot, timings={**EVENTS_ONLY, **QUICK_WATCH_RETRIES}
    ) as reader:
        fresh = PlainDirectory(memory / "fresh")
        fresh.replace("api_key", "fake-1")
        fresh.path.rename(path)
        reader.wait_for("fake-1")
        reader.wait_for_mode(Kind.mode)
        PlainDirectory(path).replace("api_key", "fake-2")
        reader.wait_for("fake-2")
    assert log.levels == []


def test_a_directory_whose_parents_do_not_exist_yet_is_found(memory: Path) -> None:
    """If no existing parent can be watched, a snapshot finds the directory."""
    path = memory / "not/yet/there"
    with run_reader(path / "api_key", look_at(path), timings=QUICK_RESYNC) as reader:
        assert reader.mode == Kind.mode
        MountedVolume(path).publish({"api_key": "fake-1"})
        reader.wait_for("fake-1")
        MountedVolume(path).publish({"api_key": "fake-2"})
        reader.wait_for("fake-2")


# Polling.


@NOT_POLLED
def test_polling_can_be_forced_by_a_variable(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """Polling, and the return to events, are logged once each."""
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    take_snapshot = look_at(volume.path)
    with run_reader(volume.path / "api_key", take_snapshot, timings=QUICK_WATCH_RETRIES) as reader:
        assert reader.mode == "poll"
        for number in range(1, 4):
            volume.publish({"api_key": f"fake-{number}"})
            reader.wait_for(f"fake-{number}")
        assert reader.mode == "poll"
        assert log.levels == ["WARNING"]
        assert "0.03 s" in log.first
        assert "WATCHFILES_FORCE_POLLING" in log.first
        monkeypatch.delenv("WATCHFILES_FORCE_POLLING")
        reader.wait_for_mode(Kind.mode)
        volume.publish({"api_key": "fake-4"})
        reader.wait_for("fake-4")
        assert log.levels == ["WARNING", "INFO"]


@ONCE
def test_the_variable_that_forces_polling_has_the_values_of_watchfiles(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every value forces polling, except those that mean no."""
    take_snapshot, modes = look_at(volume.path), {}
    for said in ("1", "true", "enable", "yes", "", "false", "Disable", "DISABLED"):
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", said)
        with run_reader(volume.path / "api_key", take_snapshot) as reader:
            modes[said] = reader.mode
    assert modes == {
        **dict.fromkeys(("1", "true", "enable", "yes"), "poll"),
        **dict.fromkeys(("", "false", "Disable", "DISABLED"), "inotify"),
    }


@ONLY_WATCHFILES
def test_without_watchfiles_files_are_polled(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """If the library cannot be imported, rotations are noticed later."""
    monkeypatch.setitem(sys.modules, "watchfiles._rust_notify", None)
    with run_reader(
        volume.path / "api_key", look_at(volume.path), timings=QUICK_WATCH_RETRIES
    ) as reader:
        assert reader.mode == "poll"
        for number in range(1, 4):
            volume.publish({"api_key": f"fake-{number}"})
            reader.wait_for(f"fake-{number}")
        assert reader.mode == "poll"
        assert log.levels == ["WARNING"]


@NOT_POLLED
def test_polling_holds_no_inotify_instance(volume: MountedVolume) -> None:
    """Instances are limited on a machine, and other processes may need them."""
    alive: list[FileEvents] = []
    while_polling: list[int] = []

    def events(paths: Collection[str], timings: Timings) -> FileEvents:
        found = open_events(paths, timings)
        wait, close = found.wait, found.close

        async def fail(seconds: float) -> None:
            await wait(min(seconds, 0.01))
            message = "fake failure"
            raise OSError(message)

        def count_and_close() -> None:
            alive.clear()
            close()

        found.wait, found.close = fail, count_and_close  # type: ignore[method-assign]
        alive.append(found)
        return found

    take_snapshot = look_at(volume.path)
    with run_reader(
        volume.path / "api_key",
        take_snapshot,
        events,
        timings={**EVENTS_ONLY, **QUICK_WATCH_RETRIES},
    ) as reader:
        wait_until(lambda: reader.mode == "poll")
        tick = reader.tick
        reader.watcher._call_reader = lambda: while_polling.append(  # noqa: SLF001  (called by the watcher)
            len(alive) if reader.watcher._mode == "poll" else 0  # noqa: SLF001  (in its thread)
        )
        wait_until(lambda: len(while_polling) > 5)
        reader.watcher._call_reader = tick  # noqa: SLF001  (as it was)
    assert set(while_polling) == {0}
    assert alive == []


def test_a_file_name_that_is_not_utf_8_does_not_stop_the_watcher(memory: Path, log: Log) -> None:
    """Such a name interrupts the events of watchfiles for a moment only."""
    directory = PlainDirectory(memory / "secrets")
    with run_reader(
        directory.path / "api_key", look_at(directory.path), timings=QUICK_WATCH_RETRIES
    ) as reader:
        (directory.path / os.fsdecode(b"caf\xe9")).write_text("fake-other")
        if Kind.name == "watchfiles":
            wait_until(lambda: len(log.levels) == 2)
            assert log.levels == ["WARNING", "INFO"]
        reader.wait_for_mode(Kind.mode)
        directory.replace("api_key", "fake-1")
        reader.wait_for("fake-1")
    with run_reader(
        directory.path / "api_key", look_at(directory.path), timings=QUICK_WATCH_RETRIES
    ) as reader:
        directory.replace("api_key", "fake-2")
        reader.wait_for("fake-2")
        assert reader.mode == Kind.mode
    expected = {"watchfiles": ["WARNING", "INFO"], "poll": ["WARNING", "WARNING"]}
    assert log.levels == expected.get(Kind.name, [])


def test_a_directory_whose_path_is_not_utf_8_is_watched_or_polled(memory: Path) -> None:
    """The library watchfiles does not accept such a path; the files are then polled."""
    volume = MountedVolume(memory / os.fsdecode(b"caf\xe9"))
    with run_reader(
        volume.path / "api_key", look_at(volume.path), timings=QUICK_WATCH_RETRIES
    ) as reader:
        assert reader.mode == ("inotify" if Kind.name == "inotify" else "poll")
        volume.publish({"api_key": "fake-1"})
        reader.wait_for("fake-1")


@ONLY_WATCHFILES
def test_failures_far_apart_reset_the_back_off(memory: Path, log: Log) -> None:
    """A watch that was stable for a while is retried after the shortest delay."""
    timings = {
        "watch_retry_delay": 0.001,
        "max_watch_retry_delay": NEVER,
        "watch_stable_interval": 0.0,
    }
    directory = PlainDirectory(memory / "secrets")
    odd = directory.path / os.fsdecode(b"caf\xe9")

    def heard(times: int) -> bool:
        return log.levels.count("INFO") == times

    with run_reader(directory.path / "api_key", look_at(directory.path), timings=timings):
        # If the delay were doubled each time, it would become longer than a test may last.
        for number in range(1, 21):
            odd.write_text("fake-other")
            wait_until(partial(heard, number))


@ONCE
def test_failures_close_together_are_retried_with_a_back_off(volume: MountedVolume) -> None:
    """A machine without free instances is not asked for one all the time."""
    timings = {"watch_retry_delay": 0.001, "poll_interval": 0.001}
    asked = 0

    def refuse(*_: object) -> FileEvents:
        nonlocal asked
        asked += 1
        message = "there is no room"
        raise OSError(message)

    with run_reader(volume.path / "api_key", look_at(volume.path), refuse, timings) as reader:
        wait_until(lambda: reader.ticks > 500)
    assert 3 < asked < 20


# Failures.


def test_a_failing_snapshot_is_logged_once_and_retried(volume: MountedVolume, log: Log) -> None:
    """After an error in hive_boot itself, changes are noticed again."""
    failures = 3
    take_snapshot = look_at(volume.path)

    def fail() -> WatchSnapshot:
        nonlocal failures
        if failures:
            failures -= 1
            message = "a fault of ours"
            raise LookupError(message)
        return take_snapshot()

    with run_reader(volume.path / "api_key", fail, timings=QUICK_WATCH_RETRIES) as reader:
        reader.wait_for_mode(Kind.mode)
        volume.publish({"api_key": "fake-1"})
        reader.wait_for("fake-1")
    assert log.levels == ["ERROR", "WARNING" if Kind.name == "poll" else "INFO"]


def test_the_mode_is_down_while_snapshots_fail(volume: MountedVolume) -> None:
    """The mode shows that changes are not noticed."""
    timings = {
        "watch_retry_delay": NEVER,
        "max_watch_retry_delay": NEVER,
    }

    def fail() -> WatchSnapshot:
        raise LookupError

    with run_reader(volume.path / "api_key", fail, timings=timings) as reader:
        reader.wait_for_mode("down")


@pytest.mark.parametrize("before", [0, 5])
def test_the_mode_is_down_while_a_snapshot_hangs(
    before: int, volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A file system that does not answer is logged once, and so is its recovery."""
    caplog.set_level(logging.INFO, "hive_boot")
    timings = {**QUICK_RESYNC, "watcher_silence_timeout": 0.1}
    looks = CountedSnapshots(look_at(volume.path))
    answers, waits = threading.Event(), threading.Event()
    answers.set()

    def hang() -> WatchSnapshot:
        if not answers.is_set():
            waits.set()
            answers.wait(PATIENCE)
        return looks()

    def logged() -> list[str]:
        return [each.levelname for each in caplog.records if "noticed" in each.getMessage()]

    with run_reader(volume.path / "api_key", hang, timings=timings) as reader:
        assert reader.mode == Kind.mode
        wait_until(lambda: looks.count >= before)
        answers.clear()
        assert waits.wait(PATIENCE)
        reader.wait_for_mode("down")
        wait_until(lambda: logged() == ["ERROR"])
        answers.set()
        reader.wait_for_mode(Kind.mode)
        volume.publish({"api_key": "fake-1"})
        reader.wait_for("fake-1")
        assert logged() == ["ERROR", "INFO"]


# Stop.


def test_a_watcher_that_has_ended_leaves_no_thread_and_no_descriptor(volume: MountedVolume) -> None:
    """The number of both stays the same after many watchers."""
    with run_reader(volume.path / "api_key", look_at(volume.path)):
        pass
    wait_until(lambda: not watcher_threads())
    files, threads = descriptors(), native_threads()
    for _ in range(20):
        with run_reader(volume.path / "api_key", look_at(volume.path)) as reader:
            assert reader.mode == Kind.mode
    wait_until(lambda: not watcher_threads())
    # The threads and the descriptors of watchfiles end soon after its watch was closed.
    wait_until(lambda: descriptors() <= files and native_threads() <= threads)


def native_threads() -> int:
    """Count the threads of this process, those of libraries included."""
    return len(list(Path("/proc/self/task").iterdir()))


@ONLY_INOTIFY
def test_inotify_needs_no_thread(volume: MountedVolume) -> None:
    """The loop waits for the events; a thread exists only while files are examined."""
    with run_reader(volume.path / "api_key", look_at(volume.path), timings=EVENTS_ONLY) as reader:
        volume.publish({"api_key": "fake-1"})
        reader.wait_for("fake-1")
        wait_until(lambda: not watcher_threads())
        assert inotify_instances() == 1


@ONCE
@pytest.mark.parametrize("limit", ["a missing path", "a path that is no text", "many paths"])
def test_a_failing_watch_releases_its_inotify_instance(limit: str, tmp_path: Path) -> None:
    """If a path cannot be watched, the instance for the paths before it is closed."""
    paths = [str(tmp_path), str(tmp_path / "missing")]
    if limit == "a path that is no text":
        paths = [str(tmp_path), "\0"]
    if limit == "many paths":
        paths = [str(tmp_path)] * 100 + paths
    for _ in range(3):
        with pytest.raises((OSError, ValueError)):
            InotifyEvents(paths)
    assert inotify_instances() == 0


def test_a_watcher_can_be_stopped_before_it_is_opened(volume: MountedVolume) -> None:
    """A start that is cancelled leaves no instance behind."""
    watcher = Watcher(look_at(volume.path), lambda: None)
    watcher.stop()
    watcher.open()
    assert watcher.mode == "off"
    wait_until(lambda: inotify_instances() == 0)


def test_a_watch_that_fails_after_the_end_releases_everything(volume: MountedVolume) -> None:
    """The thread that opens it continues when the task is cancelled, and closes the events."""
    take_snapshot, calls = look_at(volume.path), []
    is_cancelled = threading.Event()

    def fail_after_the_end() -> WatchSnapshot:
        calls.append(1)
        is_cancelled.wait(PATIENCE)
        if len(calls) > 1:
            raise OSError
        return take_snapshot()

    watcher = Watcher(fail_after_the_end, lambda: None)
    with start_blocking_portal(backend) as portal:
        running = portal.start_task_soon(watcher.run)
        wait_until(lambda: bool(calls))
        running.cancel()
    is_cancelled.set()
    wait_until(lambda: not watcher_threads())
    wait_until(lambda: inotify_instances() == 0)
    assert watcher.mode == "off"


FORKED = """
import os, sys
# A child that runs an inherited loop would share the io_uring of libuv with its parent.
os.environ["UV_USE_IO_URING"] = "0"
import anyio
from hive_boot import Secret, SecretSet
from hive_boot._timings import Timings
from hive_boot.runtime.watcher import Watcher
from hive_boot.testing import MountedVolume
from tests.runtime.test_watcher import look_at
from tests.support import until
from pathlib import Path

place, loop = sys.argv[1:]
volume = MountedVolume(place)
heard = []
never = dict.fromkeys(["resync_interval", "full_read_interval", "poll_interval"], 10_000.0)
watcher = Watcher(look_at(Path(place)), lambda: heard.append(1), timings=Timings(**never))
watcher.open()

async def hear(number):
    heard.clear()
    volume.publish({"api_key": f"fake-{number}"})
    await until(lambda: heard)

async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(watcher.run)
        await hear(1)
        pid = os.fork()
        if pid == 0:
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await until(lambda: watcher.mode == "off")
            os._exit(0)
        await until(lambda: os.waitpid(pid, os.WNOHANG)[0])
        await hear(2)
        await hear(3)
        print(watcher.mode)
        group.cancel_scope.cancel()

options = {"use_uvloop": True} if loop == "uvloop" else {}
anyio.run(main, backend="trio" if loop == "trio" else "asyncio", backend_options=options)
"""


@ONCE
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_a_forked_child_that_ends_its_watcher_does_not_affect_the_parent(
    loop: str, volume: MountedVolume
) -> None:
    """Both loops share one epoll registration, which only the parent may change."""
    child = run_child(FORKED, str(volume.path), loop, cwd=ROOT)
    assert child.stdout == "inotify\n", child.stderr
