"""When it is told that a secret may have changed: a real loop, real events of the kernel.

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

really = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))

QUICK_WATCH_RETRIES: Mapping[str, float] = {
    "watch_retry_delay": 0.02,
    "max_watch_retry_delay": 0.1,
    "poll_interval": 0.03,
}
"""Files are polled often, and events are soon tried again."""


class Keys(SecretSet):
    """What the service needs."""

    api_key: Secret
    token: Secret | None = secret(file="token~")
    compiled: Secret | None = secret(file="x.pyc")


def look_at(
    directory: Path,
    environ: Mapping[str, str] | None = None,
    **source_options: Any,  # noqa: ANN401  (what SourceOptions takes)
) -> Callable[[], WatchSnapshot]:
    """Return what looks at the secrets in ``directory``, or where else it is said."""
    if not source_options:
        source_options = {"mode": "kubernetes", "secrets_dirs": str(directory)}
    source_context = situate(directory.parent, environ, **source_options)
    return WatchTargets(Keys._field_index, source_context).snapshot


class Reader:
    """An application: it reads a file whenever it is told to.

    Attributes:
        seen: what it has read last; None where there was nothing.
        ticks: how often it was told.
        watcher: what tells it.
    """

    watcher: Watcher

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ticks = 0
        self.seen: str | None = None

    def tick(self) -> None:
        """Read, because something may have changed."""
        self.read()
        self.ticks += 1

    def read(self) -> None:
        """Read what is there."""
        try:
            self.seen = self._path.read_text()
        except OSError:
            self.seen = None

    def sees(self, expected: str | None) -> None:
        """Wait until it has read this."""
        wait_until(lambda: self.seen == expected)

    @property
    def mode(self) -> str:
        """How changes are noticed."""
        return self.watcher.mode

    def is_told_by(self, mode: str) -> None:
        """Wait until changes are noticed in this way."""
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
def told(
    path: Path,
    look: Callable[[], WatchSnapshot],
    events: Callable[[Collection[str], Timings], FileEvents] = open_events,
    timings: Mapping[str, float] | None = None,
    meanwhile: Callable[[Watcher], object] = lambda _: None,
) -> Iterator[Reader]:
    """Run an application that reads ``path``, and call ``meanwhile`` before it is ready."""
    reader = Reader(path)
    waits = {"event_interval": 0.005, **(timings or {})}
    if Kind.name == "poll":
        waits["poll_interval"] = 0.03
    reader.watcher = Watcher(look, reader.tick, events, Timings(**waits))
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
    """Return a directory in a file system like that of a Secret volume, where there is one."""
    with in_memory(tmp_path) as place:
        (place / "cwd").mkdir()
        yield place


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest, memory: Path, tmp_path: Path) -> Path:
    """Return a directory in memory, where inodes are always new, and one on disk."""
    return memory if request.param == "memory" else tmp_path


@pytest.fixture
def volume(memory: Path) -> MountedVolume:
    """Return a volume in memory that has the one key."""
    volume = MountedVolume(memory / "volume")
    volume.publish({"api_key": "fake-0"})
    return volume


class Log:
    """What the watch has logged."""

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


# By events alone.


def test_each_swap_of_a_volume_is_told(volume: MountedVolume) -> None:
    """No swap is the last one that is noticed."""
    with told(volume.path / "api_key", look_at(volume.path), timings=EVENTS_ONLY) as reader:
        assert reader.mode == Kind.mode
        for number in range(1, 11):
            volume.publish({"api_key": f"fake-{number}"})
            reader.sees(f"fake-{number}")
        assert reader.watcher.missed_events == 0


def test_each_way_to_write_a_plain_file_is_told(memory: Path) -> None:
    """In place, by rename, removed, made again; also a name that others take for a backup."""
    directory = PlainDirectory(memory / "secrets")
    for name in ("api_key", "token~", "x.pyc"):
        with told(directory.path / name, look_at(directory.path), timings=EVENTS_ONLY) as reader:
            directory.replace(name, "fake-1")
            reader.sees("fake-1")
            directory.write_in_place(name, "fake-2")
            reader.sees("fake-2")
            directory.replace(name, "fake-3")
            reader.sees("fake-3")
            directory.remove(name)
            reader.sees(None)
            directory.write_in_place(name, "fake-4")
            reader.sees("fake-4")
            ticks = reader.ticks
            (directory.path / name).chmod(0o600)
            wait_until(partial(is_told_more_often, reader, ticks))


def is_told_more_often(reader: Reader, ticks: int) -> bool:
    """Return whether an application was told again."""
    return reader.ticks > ticks


def test_a_directory_that_is_removed_and_made_again_is_told_of(place: Path) -> None:
    """Afterwards every change is noticed as before, also where the new one has the old inode."""
    path = place / "secrets"
    file = path / "api_key"
    path.mkdir()
    file.write_text("fake-0")
    with told(file, look_at(path), timings=EVENTS_ONLY) as reader:
        for number in range(1, 4):
            shutil.rmtree(path)
            path.mkdir()
            file.write_text(f"fake-new-{number}")
            reader.sees(f"fake-new-{number}")
            file.write_text(f"fake-newer-{number}")
            reader.sees(f"fake-newer-{number}")
            file.write_text(f"fake-newest-{number}")
            reader.sees(f"fake-newest-{number}")


def test_a_directory_that_is_gone_for_a_while_is_told_of(place: Path) -> None:
    """Both is told, that it went and that it came; and then what is written into it."""
    path = place / "secrets"
    file = path / "api_key"
    path.mkdir()
    file.write_text("fake-0")
    with told(file, look_at(path), timings={**EVENTS_ONLY, **QUICK_WATCH_RETRIES}) as reader:
        for number in range(1, 4):
            shutil.rmtree(path)
            reader.sees(None)
            path.mkdir()
            file.write_text(f"fake-new-{number}")
            reader.sees(f"fake-new-{number}")
            file.write_text(f"fake-newer-{number}")
            reader.sees(f"fake-newer-{number}")


def test_a_directory_renamed_away_and_replaced_is_told_of(place: Path) -> None:
    """What is watched is the path, not the directory that was there once."""
    volume = MountedVolume(place / "volume")
    volume.publish({"api_key": "fake-0"})
    with told(volume.path / "api_key", look_at(volume.path), timings=EVENTS_ONLY) as reader:
        for number in range(1, 4):
            volume.path.rename(place / f"away-{number}")
            MountedVolume(volume.path).publish({"api_key": f"fake-new-{number}"})
            reader.sees(f"fake-new-{number}")
            volume.publish({"api_key": f"fake-newer-{number}"})
            reader.sees(f"fake-newer-{number}")
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
    """Return a root whose way leads over a link, and the link."""
    return memory / "current/below", memory / "current"


@pytest.mark.parametrize("lay_out", [a_link, a_chain, in_the_middle])
def test_each_switch_of_a_link_to_the_root_is_told(
    lay_out: Callable[[Path], tuple[Path, Path]], memory: Path
) -> None:
    """Wherever on the way the link is; what is written in between is told of too."""
    root, link = lay_out(memory)
    below = "below" if root.name == "below" else ""
    volumes = [MountedVolume(memory / f"release-{number}" / below) for number in range(4)]
    for number, volume in enumerate(volumes):
        volume.publish({"api_key": f"fake-new-{number}"})
    switch(link, memory / "release-0")
    with told(root / "api_key", look_at(root), timings=EVENTS_ONLY) as reader:
        for number in range(1, 4):
            switch(link, memory / f"release-{number}")
            reader.sees(f"fake-new-{number}")
            volumes[number].publish({"api_key": f"fake-newer-{number}"})
            reader.sees(f"fake-newer-{number}")
        assert reader.watcher.missed_events == 0


class Below(SecretSet):
    """A secret in a directory within the directory."""

    api_key: Secret = secret(file="tls/key.pem")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_below_a_plain_directory_is_told_of(memory: Path, *, is_there: bool) -> None:
    """Each way to write it, and its directory may come later, or go and come back."""
    directory = PlainDirectory(memory / "secrets")
    name = "tls/key.pem"
    if is_there:
        directory.replace(name, "fake-0")
    source_context = situate(memory, mode="kubernetes", secrets_dirs=str(directory.path))
    look = WatchTargets(Below._field_index, source_context).snapshot
    with told(directory.path / name, look, timings=EVENTS_ONLY) as reader:
        for number in range(3):
            directory.replace(name, f"fake-new-{number}")
            reader.sees(f"fake-new-{number}")
            directory.write_in_place(name, f"fake-newer-{number}")
            reader.sees(f"fake-newer-{number}")
            shutil.rmtree(directory.path / "tls")
            reader.sees(None)
        assert reader.watcher.missed_events == 0


@pytest.mark.parametrize("way", ["real/key", "current/key"])
def test_a_file_that_is_a_link_out_of_the_directory_is_told_of(way: str, memory: Path) -> None:
    """What it leads to may be replaced, written, or be another one by a link on the way."""
    directory = PlainDirectory(memory / "secrets")
    real, other = PlainDirectory(memory / "etc/real"), PlainDirectory(memory / "etc/other")
    for each in (real, other):
        each.replace("key", f"fake-{each.path.name}")
    (memory / "etc/current").symlink_to("real")
    file = directory.path / "api_key"
    file.symlink_to(memory / "etc" / way)
    with told(file, look_at(directory.path), timings=EVENTS_ONLY) as reader:
        for number in range(3):
            real.replace("key", f"fake-new-{number}")
            reader.sees(f"fake-new-{number}")
            real.write_in_place("key", f"fake-newer-{number}")
            reader.sees(f"fake-newer-{number}")
            if way == "current/key":
                switch(memory / "etc/current", "other")
                reader.sees("fake-other")
                switch(memory / "etc/current", "real")
                reader.sees(f"fake-newer-{number}")
        switch(file, "elsewhere")
        reader.sees(None)
        directory.replace("api_key", "fake-plain")
        reader.sees("fake-plain")
        assert reader.watcher.missed_events == 0


@pytest.mark.parametrize("at_the_end", ["", "/"])
def test_what_is_above_a_link_is_told_of(at_the_end: str, memory: Path) -> None:
    """Two dots behind a link lead to what is above its target, for the kernel and for us."""
    (memory / "real/in").mkdir(parents=True)
    (memory / "link").symlink_to("real/in")
    directory = PlainDirectory(memory / "real/keys")
    directory.replace("api_key", "fake-0")
    PlainDirectory(memory / "keys").replace("api_key", "fake-of-somebody-else")
    path = f"{memory}/link/../keys{at_the_end}"
    look = look_at(memory, mode="kubernetes", secrets_dirs=path)
    with told(Path(os.path.join(path, "api_key")), look, timings=EVENTS_ONLY) as reader:  # noqa: PTH118  (the dots stay)
        assert reader.seen == "fake-0"
        for number in range(1, 4):
            directory.replace("api_key", f"fake-{number}")
            reader.sees(f"fake-{number}")
        directory.path.rename(memory / "away")
        reader.sees(None)
        PlainDirectory(directory.path).replace("api_key", "fake-anew")
        reader.sees("fake-anew")
        assert reader.watcher.missed_events == 0


def test_what_a_link_leads_to_may_go_and_come_back(place: Path) -> None:
    """The directory at the end of a link is removed and made again; the link stays."""
    root, real = place / "root", place / "etc/real"
    root.symlink_to("etc/real")
    PlainDirectory(real).replace("api_key", "fake-0")
    with told(
        root / "api_key", look_at(root), timings={**EVENTS_ONLY, **QUICK_WATCH_RETRIES}
    ) as reader:
        for number in range(1, 4):
            shutil.rmtree(real)
            reader.sees(None)
            PlainDirectory(real).replace("api_key", f"fake-{number}")
            reader.sees(f"fake-{number}")
            PlainDirectory(real).replace("api_key", f"fake-newer-{number}")
            reader.sees(f"fake-newer-{number}")


def test_a_permission_that_is_lost_and_given_back_is_told_of() -> None:
    """A closed directory cannot be watched; it is watched again as soon as it is open."""
    with as_ordinary_user() as place:
        directory = PlainDirectory(place / "secrets")
        directory.replace("api_key", "fake-0")
        with told(
            directory.path / "api_key", look_at(directory.path), timings=EVENTS_ONLY
        ) as reader:
            for number in range(1, 4):
                directory.path.chmod(0)
                reader.sees(None)
                directory.path.chmod(0o700)
                reader.sees(f"fake-{number - 1}")
                directory.replace("api_key", f"fake-{number}")
                reader.sees(f"fake-{number}")


def test_a_dotenv_file_is_told_of_however_it_is_written(memory: Path) -> None:
    """Made, edited in place, replaced by rename as editors do, removed."""
    directory = PlainDirectory(memory / "cwd")
    look = look_at(directory.path, mode="development")
    for name in (".env", ".env.local"):
        with told(directory.path / name, look, timings=EVENTS_ONLY) as reader:
            directory.write_in_place(name, "fake-1")
            reader.sees("fake-1")
            directory.replace(name, "fake-2")
            reader.sees("fake-2")
            directory.write_in_place(name, "fake-3")
            reader.sees("fake-3")
            directory.remove(name)
            reader.sees(None)


def test_a_file_that_a_variable_names_is_told_of(memory: Path) -> None:
    """``NAME_FILE`` leads to a file, through a link or not, that may be rewritten or replaced."""
    directory = PlainDirectory(memory / "etc")
    directory.replace("key", "fake-0")
    link = memory / "link"
    link.symlink_to("etc/key")
    look = look_at(memory / "x", {"API_KEY_FILE": str(link)}, mode="environment")
    with told(link, look, timings=EVENTS_ONLY) as reader:
        directory.write_in_place("key", "fake-1")
        reader.sees("fake-1")
        directory.replace("key", "fake-2")
        reader.sees("fake-2")
        directory.replace("other", "fake-3")
        switch(link, "etc/other")
        reader.sees("fake-3")
        directory.replace("other", "fake-4")
        reader.sees("fake-4")


def test_a_file_in_a_volume_that_a_variable_names_is_told_of(volume: MountedVolume) -> None:
    """A watch on the file itself would be deaf after the first swap."""
    file = volume.path / "api_key"
    look = look_at(volume.path, {"API_KEY_FILE": str(file)}, mode="environment")
    with told(file, look, timings=EVENTS_ONLY) as reader:
        for number in range(1, 4):
            volume.publish({"api_key": f"fake-{number}"})
            reader.sees(f"fake-{number}")
        assert reader.watcher.missed_events == 0


@really
def test_what_is_written_into_a_mounted_file_is_told(memory: Path) -> None:
    """A directory's own events say nothing of it."""
    with PinnedFile(memory / "secrets/api_key", memory / "host/key") as pinned:
        pinned.write("fake-0")
        with told(pinned.path, look_at(memory / "secrets"), timings=EVENTS_ONLY) as reader:
            for number in range(1, 4):
                pinned.write(f"fake-{number}")
                reader.sees(f"fake-{number}")
            assert [pin.stale for pin in reader.watcher.pinned] == [False]
            pinned.replace("fake-new")
            wait_until(lambda: [pin.stale for pin in reader.watcher.pinned] == [True])
            assert reader.watcher.missed_events == 0


@NOT_POLLED
def test_what_does_not_concern_secrets_is_not_told(memory: Path) -> None:
    """A busy project makes nobody read ``.env`` again and again."""
    directory = PlainDirectory(memory / "cwd")
    look = look_at(directory.path, mode="development")
    with told(directory.path / ".env", look, timings=EVENTS_ONLY) as reader:
        for number in range(50):
            directory.replace("main.py", f"print({number})")
        directory.replace(".env", "fake-1")
        reader.sees("fake-1")
        told_once = reader.ticks
    assert told_once <= 2


class Looks:
    """A look, and how often it was taken."""

    def __init__(self, look: Callable[[], WatchSnapshot]) -> None:
        self._look = look
        self.count = 0

    def __call__(self) -> WatchSnapshot:
        """Look."""
        self.count += 1
        return self._look()

    def are_more_than(self, count: int) -> bool:
        """Return whether there were more."""
        return self.count > count


def make_noise(directory: PlainDirectory, times: int = 100) -> None:
    """Write files that nobody has declared."""
    for number in range(times):
        (directory.path / f"noise-{number}").write_text("fake-noise")


@NOT_POLLED
def test_other_files_of_a_plain_directory_make_nobody_read(memory: Path) -> None:
    """Nor do they make anybody look, as long as there was a look a moment ago."""
    timings = {**EVENTS_ONLY, "busy_resync_interval": NEVER}
    directory = PlainDirectory(memory / "secrets")
    directory.replace("api_key", "fake-0")
    looks = Looks(look_at(directory.path))
    with told(directory.path / "api_key", looks, timings=timings) as reader:
        at_the_start = looks.count
        make_noise(directory)
        directory.write_in_place("api_key", "fake-1")
        reader.sees("fake-1")
        make_noise(directory)
        directory.write_in_place("api_key", "fake-2")
        reader.sees("fake-2")
        assert looks.count == at_the_start
        # An event may be told of in two parts, as the file is emptied and as it is written.
        assert reader.ticks <= 4
        assert reader.watcher.missed_events == 0


class DeafEvents(WatchfilesEvents):
    """Events of which those that count are lost, as in a queue that is full."""

    def take(self) -> Changes:
        """Return the paths of others."""
        changes = super().take()
        paths = {path: kind for path, kind in changes.paths.items() if "api_key" not in path}
        return Changes(paths)


@ONLY_WATCHFILES
def test_a_change_whose_event_was_lost_among_others_is_found_by_a_look(memory: Path) -> None:
    """Where much happens a look follows, not a read; what it finds is counted as missed."""
    timings = {**EVENTS_ONLY, "busy_resync_interval": 0.02}
    directory = PlainDirectory(memory / "secrets")
    directory.replace("api_key", "fake-0")
    looks = Looks(look_at(directory.path))
    with told(directory.path / "api_key", looks, DeafEvents, timings) as reader:
        for number in range(1, 6):
            ticks, seen = reader.ticks, looks.count
            make_noise(directory, 10)
            wait_until(partial(looks.are_more_than, seen))
            assert reader.ticks == ticks
            # In one step: of a file that is emptied and written, two looks may see a change each.
            directory.replace("api_key", f"fake-{number}")
            make_noise(directory, 10)
            reader.sees(f"fake-{number}")
        assert reader.watcher.missed_events
        assert reader.mode == Kind.mode


# By a look.


def test_a_change_without_an_event_is_found_by_a_look(memory: Path) -> None:
    """A write by another path is noticed, and counted as missed where events were expected."""
    directory = PlainDirectory(memory / "secrets")
    directory.replace("api_key", "fake-0")
    hidden = directory.link_outside("api_key")
    with told(directory.path / "api_key", look_at(directory.path), timings=QUICK_RESYNC) as reader:
        hidden.write_text("fake-1")
        reader.sees("fake-1")
        wait_until(lambda: bool(reader.watcher.missed_events) == (Kind.name != "poll"))
        ticks, missed = reader.ticks, reader.watcher.missed_events
        hidden.chmod(0o600)
        wait_until(lambda: reader.ticks > ticks)
        wait_until(lambda: (reader.watcher.missed_events > missed) == (Kind.name != "poll"))


def test_what_is_above_the_directory_is_found_by_a_look(memory: Path) -> None:
    """A directory further up is not watched; when it is replaced all the same is noticed."""
    volume = MountedVolume(memory / "a/b/volume")
    volume.publish({"api_key": "fake-0"})
    with told(volume.path / "api_key", look_at(volume.path), timings=QUICK_RESYNC) as reader:
        (memory / "a").rename(memory / "away")
        reader.sees(None)
        MountedVolume(volume.path).publish({"api_key": "fake-1"})
        reader.sees("fake-1")
        assert bool(reader.watcher.missed_events) == (Kind.name != "poll")
        volume.publish({"api_key": "fake-2"})
        reader.sees("fake-2")


@really
def test_what_is_mounted_over_is_found_by_a_look(volume: MountedVolume) -> None:
    """The kernel tells nothing of a mount, of what is hidden by it, and of its end."""
    file = volume.path / "api_key"
    with told(file, look_at(volume.path), timings=QUICK_RESYNC) as reader:
        with tmpfs(volume.path):
            reader.sees(None)
            wait_until(lambda: reader.watcher.missed_events == (Kind.name != "poll"))
            file.write_text("fake-1")
            reader.sees("fake-1")
        reader.sees("fake-0")
        volume.publish({"api_key": "fake-2"})
        reader.sees("fake-2")


@NOT_POLLED
def test_everything_is_read_now_and_then(volume: MountedVolume) -> None:
    """What no event and no look can tell of is found by a read, sooner or later."""
    timings = {"full_read_interval": 0.02}
    with told(volume.path / "api_key", look_at(volume.path), timings=timings) as reader:
        wait_until(lambda: reader.ticks >= 3)
        assert reader.watcher.missed_events == 0


def test_a_look_that_is_quicker_than_the_event_has_missed_nothing(volume: MountedVolume) -> None:
    """Here each look comes right after a swap, before the kernel's event has been heard."""
    timings = {"resync_interval": 0.01}
    look = look_at(volume.path)
    swaps = iter(range(1, 4))

    def swap_and_look() -> WatchSnapshot:
        if started.is_set() and (number := next(swaps, None)):
            volume.publish({"api_key": f"fake-{number}"})
        return look()

    started = threading.Event()
    with told(volume.path / "api_key", swap_and_look, timings=timings) as reader:
        started.set()
        reader.sees("fake-3")
        volume.publish({"api_key": "fake-4"})
        reader.sees("fake-4")
        assert reader.watcher.missed_events == 0


def test_a_look_that_is_quicker_than_the_event_of_a_new_root_has_missed_nothing(
    memory: Path,
) -> None:
    """Here each look comes right after a link was switched, before its event has been heard."""
    timings = {"resync_interval": 0.01}
    for number in range(4):
        MountedVolume(memory / f"v{number}").publish({"api_key": f"fake-{number}"})
    root = memory / "root"
    root.symlink_to("v0")
    look = look_at(root)
    switches: list[int] = []

    def switch_and_look() -> WatchSnapshot:
        if switches:
            switch(root, f"v{switches.pop()}")
        return look()

    with told(root / "api_key", switch_and_look, timings=timings) as reader:
        for number in range(1, 4):
            switches.append(number)
            reader.sees(f"fake-{number}")
        switch(root, "v0")
        reader.sees("fake-0")
        assert reader.watcher.missed_events == 0


@NOT_POLLED
def test_nothing_is_told_while_nothing_happens(volume: MountedVolume) -> None:
    """Looks alone make nobody read."""
    looks = 0
    look = look_at(volume.path)

    def count() -> WatchSnapshot:
        nonlocal looks
        looks += 1
        return look()

    with told(volume.path / "api_key", count, timings=QUICK_RESYNC) as reader:
        wait_until(lambda: looks > 5)
        assert (reader.ticks, reader.watcher.missed_events) == (0, 0)


@ONLY_INOTIFY
def test_looks_that_see_nothing_new_wake_no_loop(volume: MountedVolume) -> None:
    """A thread that lasts takes them; what it finds is told all the same."""
    look = look_at(volume.path)
    threads: Counter[threading.Thread] = Counter()

    def count() -> WatchSnapshot:
        threads[threading.current_thread()] += 1
        return look()

    with told(volume.path / "api_key", count, timings=QUICK_RESYNC) as reader:
        wait_until(lambda: max(threads.values()) > 10)
        with tmpfs(volume.path) if IMPOSSIBLE is None else nullcontext():
            reader.sees(None if IMPOSSIBLE is None else "fake-0")


# How a watch begins.


def test_what_happens_while_a_watch_begins_is_noticed(memory: Path) -> None:
    """Between a look and the watch that it asks for the root may be switched, again and again."""
    for number in range(4):
        MountedVolume(memory / f"v{number}").publish({"api_key": f"fake-{number}"})
    root = memory / "root"
    root.symlink_to("v0")
    look = look_at(root)
    numbers = iter(range(1, 4))

    def switch_after_look() -> WatchSnapshot:
        view = look()
        if number := next(numbers, None):
            switch(root, f"v{number}")
        return view

    with told(root / "api_key", switch_after_look, timings=EVENTS_ONLY) as reader:
        reader.sees("fake-3")
        MountedVolume(memory / "v3").publish({"api_key": "fake-4"})
        reader.sees("fake-4")
        assert reader.mode == Kind.mode


def test_what_happens_right_after_the_start_is_found_by_a_look(memory: Path) -> None:
    """The start goes on to its first read only when it is known what a look is compared with."""
    directory = PlainDirectory(memory / "secrets")
    directory.replace("api_key", "fake-0")
    hidden = directory.link_outside("api_key")
    look = look_at(directory.path)
    looks = 0

    def look_slowly() -> WatchSnapshot:
        nonlocal looks
        looks += 1
        if looks > 1:
            time.sleep(0.1)
        return look()

    with told(directory.path / "api_key", look_slowly, timings=QUICK_RESYNC) as reader:
        hidden.write_text("fake-1")
        reader.sees("fake-1")


@ONLY_INOTIFY
def test_what_a_start_has_heard_of_is_heard_of_again(place: Path) -> None:
    """A start takes the events to see who writes; afterwards they count as any others."""
    path = place / "secrets"
    file = path / "api_key"
    PlainDirectory(path).replace("api_key", "fake-0")

    def make_again(watcher: Watcher) -> None:
        shutil.rmtree(path)
        PlainDirectory(path).replace("api_key", "fake-1")
        assert not watcher.is_being_written([str(file)])

    with told(file, look_at(path), timings=EVENTS_ONLY, meanwhile=make_again) as reader:
        reader.sees("fake-1")
        PlainDirectory(path).replace("api_key", "fake-2")
        reader.sees("fake-2")


@ONLY_INOTIFY
def test_a_writer_is_known_before_the_loop_receives_its_event(place: Path) -> None:
    """A read asks in a thread, and the loop may be late; it receives everything afterwards."""
    directory = PlainDirectory(place / "secrets")
    directory.replace("api_key", "fake-0")
    file = directory.path / "api_key"
    blocked, released = threading.Event(), threading.Event()
    with told(file, look_at(directory.path), timings=EVENTS_ONLY) as reader:
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
        reader.sees("fake-2")


@NOT_POLLED
def test_a_directory_that_goes_while_a_watch_begins_is_waited_for(memory: Path, log: Log) -> None:
    """What cannot be watched is looked for anew at once; nobody polls, and nothing is said."""
    path = memory / "secrets"
    path.mkdir()
    look = look_at(path)

    def remove_after_look() -> WatchSnapshot:
        view = look()
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        return view

    with told(
        path / "api_key", remove_after_look, timings={**EVENTS_ONLY, **QUICK_WATCH_RETRIES}
    ) as reader:
        fresh = PlainDirectory(memory / "fresh")
        fresh.replace("api_key", "fake-1")
        fresh.path.rename(path)
        reader.sees("fake-1")
        reader.is_told_by(Kind.mode)
        PlainDirectory(path).replace("api_key", "fake-2")
        reader.sees("fake-2")
    assert log.levels == []


def test_a_directory_of_which_nothing_is_there_yet_is_found(memory: Path) -> None:
    """Where there is not even a place to watch, a look finds what comes."""
    path = memory / "not/yet/there"
    with told(path / "api_key", look_at(path), timings=QUICK_RESYNC) as reader:
        assert reader.mode == Kind.mode
        MountedVolume(path).publish({"api_key": "fake-1"})
        reader.sees("fake-1")
        MountedVolume(path).publish({"api_key": "fake-2"})
        reader.sees("fake-2")


# Without events.


@NOT_POLLED
def test_who_forces_polling_gets_it(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """Changes are found by reading; it is said once, and once when events are wanted again."""
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    look = look_at(volume.path)
    with told(volume.path / "api_key", look, timings=QUICK_WATCH_RETRIES) as reader:
        assert reader.mode == "poll"
        for number in range(1, 4):
            volume.publish({"api_key": f"fake-{number}"})
            reader.sees(f"fake-{number}")
        assert reader.mode == "poll"
        assert log.levels == ["WARNING"]
        assert "0.03 s" in log.first
        assert "WATCHFILES_FORCE_POLLING" in log.first
        monkeypatch.delenv("WATCHFILES_FORCE_POLLING")
        reader.is_told_by(Kind.mode)
        volume.publish({"api_key": "fake-4"})
        reader.sees("fake-4")
        assert log.levels == ["WARNING", "INFO"]


@ONCE
def test_the_variable_that_forces_polling_means_what_it_means_to_watchfiles(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is not a way to say no forces it."""
    look, modes = look_at(volume.path), {}
    for said in ("1", "true", "enable", "yes", "", "false", "Disable", "DISABLED"):
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", said)
        with told(volume.path / "api_key", look) as reader:
            modes[said] = reader.mode
    assert modes == {
        **dict.fromkeys(("1", "true", "enable", "yes"), "poll"),
        **dict.fromkeys(("", "false", "Disable", "DISABLED"), "inotify"),
    }


@ONLY_WATCHFILES
def test_who_has_no_watchfiles_polls(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """A library that cannot be imported costs the events, not the rotation."""
    monkeypatch.setitem(sys.modules, "watchfiles._rust_notify", None)
    with told(volume.path / "api_key", look_at(volume.path), timings=QUICK_WATCH_RETRIES) as reader:
        assert reader.mode == "poll"
        for number in range(1, 4):
            volume.publish({"api_key": f"fake-{number}"})
            reader.sees(f"fake-{number}")
        assert reader.mode == "poll"
        assert log.levels == ["WARNING"]


@NOT_POLLED
def test_who_polls_holds_no_events(volume: MountedVolume) -> None:
    """There is little room for them on a machine, and others may need it."""
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

    look = look_at(volume.path)
    with told(
        volume.path / "api_key", look, events, timings={**EVENTS_ONLY, **QUICK_WATCH_RETRIES}
    ) as reader:
        wait_until(lambda: reader.mode == "poll")
        tick = reader.tick
        reader.watcher._call_reader = lambda: while_polling.append(  # noqa: SLF001  (who is asked)
            len(alive) if reader.watcher._mode == "poll" else 0  # noqa: SLF001  (in its thread)
        )
        wait_until(lambda: len(while_polling) > 5)
        reader.watcher._call_reader = tick  # noqa: SLF001  (as it was)
    assert set(while_polling) == {0}
    assert alive == []


def test_a_file_name_that_is_not_utf_8_stops_nothing(memory: Path, log: Log) -> None:
    """Such a name ends the events of watchfiles for a moment, and nothing else."""
    directory = PlainDirectory(memory / "secrets")
    with told(
        directory.path / "api_key", look_at(directory.path), timings=QUICK_WATCH_RETRIES
    ) as reader:
        (directory.path / os.fsdecode(b"caf\xe9")).write_text("fake-other")
        if Kind.name == "watchfiles":
            wait_until(lambda: len(log.levels) == 2)
            assert log.levels == ["WARNING", "INFO"]
        reader.is_told_by(Kind.mode)
        directory.replace("api_key", "fake-1")
        reader.sees("fake-1")
    with told(
        directory.path / "api_key", look_at(directory.path), timings=QUICK_WATCH_RETRIES
    ) as reader:
        directory.replace("api_key", "fake-2")
        reader.sees("fake-2")
        assert reader.mode == Kind.mode
    expected = {"watchfiles": ["WARNING", "INFO"], "poll": ["WARNING", "WARNING"]}
    assert log.levels == expected.get(Kind.name, [])


def test_a_directory_whose_path_is_not_utf_8_is_watched_or_polled(memory: Path) -> None:
    """The library watchfiles cannot be given such a path; reading it can be done all the same."""
    volume = MountedVolume(memory / os.fsdecode(b"caf\xe9"))
    with told(volume.path / "api_key", look_at(volume.path), timings=QUICK_WATCH_RETRIES) as reader:
        assert reader.mode == ("inotify" if Kind.name == "inotify" else "poll")
        volume.publish({"api_key": "fake-1"})
        reader.sees("fake-1")


@ONLY_WATCHFILES
def test_failures_far_apart_are_each_a_first_one(memory: Path, log: Log) -> None:
    """A watch that had worked for long is begun again at once, however often it has failed."""
    timings = {
        "watch_retry_delay": 0.001,
        "max_watch_retry_delay": NEVER,
        "watch_stable_interval": 0.0,
    }
    directory = PlainDirectory(memory / "secrets")
    odd = directory.path / os.fsdecode(b"caf\xe9")

    def heard(times: int) -> bool:
        return log.levels.count("INFO") == times

    with told(directory.path / "api_key", look_at(directory.path), timings=timings):
        # Doubled each time, the first wait would have become more than a test lasts.
        for number in range(1, 21):
            odd.write_text("fake-other")
            wait_until(partial(heard, number))


@ONCE
def test_failures_close_together_are_waited_for_longer_and_longer(volume: MountedVolume) -> None:
    """A machine that has no room for events is not asked for them all the time."""
    timings = {"watch_retry_delay": 0.001, "poll_interval": 0.001}
    asked = 0

    def refuse(*_: object) -> FileEvents:
        nonlocal asked
        asked += 1
        message = "there is no room"
        raise OSError(message)

    with told(volume.path / "api_key", look_at(volume.path), refuse, timings) as reader:
        wait_until(lambda: reader.ticks > 500)
    assert 3 < asked < 20


# What goes wrong.


def test_a_look_that_fails_is_said_once_and_done_again(volume: MountedVolume, log: Log) -> None:
    """A fault of ours leaves no application deaf."""
    failures = 3
    look = look_at(volume.path)

    def fail() -> WatchSnapshot:
        nonlocal failures
        if failures:
            failures -= 1
            message = "a fault of ours"
            raise LookupError(message)
        return look()

    with told(volume.path / "api_key", fail, timings=QUICK_WATCH_RETRIES) as reader:
        reader.is_told_by(Kind.mode)
        volume.publish({"api_key": "fake-1"})
        reader.sees("fake-1")
    assert log.levels == ["ERROR", "WARNING" if Kind.name == "poll" else "INFO"]


def test_while_a_look_fails_nothing_is_said_to_be_watched(volume: MountedVolume) -> None:
    """Who asks is told that changes are not noticed now."""
    timings = {
        "watch_retry_delay": NEVER,
        "max_watch_retry_delay": NEVER,
    }

    def fail() -> WatchSnapshot:
        raise LookupError

    with told(volume.path / "api_key", fail, timings=timings) as reader:
        reader.is_told_by("down")


@pytest.mark.parametrize("before", [0, 5])
def test_a_look_that_hangs_is_told_as_such(
    before: int, volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A file system that does not answer is no reason to say that all is well; it is said once."""
    caplog.set_level(logging.INFO, "hive_boot")
    timings = {**QUICK_RESYNC, "watcher_silence_timeout": 0.1}
    looks = Looks(look_at(volume.path))
    answers, waits = threading.Event(), threading.Event()
    answers.set()

    def hang() -> WatchSnapshot:
        if not answers.is_set():
            waits.set()
            answers.wait(PATIENCE)
        return looks()

    def logged() -> list[str]:
        return [each.levelname for each in caplog.records if "noticed" in each.getMessage()]

    with told(volume.path / "api_key", hang, timings=timings) as reader:
        assert reader.mode == Kind.mode
        wait_until(lambda: looks.count >= before)
        answers.clear()
        assert waits.wait(PATIENCE)
        reader.is_told_by("down")
        wait_until(lambda: logged() == ["ERROR"])
        answers.set()
        reader.is_told_by(Kind.mode)
        volume.publish({"api_key": "fake-1"})
        reader.sees("fake-1")
        assert logged() == ["ERROR", "INFO"]


# The end.


def test_a_watch_that_ended_leaves_nothing_behind(volume: MountedVolume) -> None:
    """No thread and no descriptor, however often it is done."""
    with told(volume.path / "api_key", look_at(volume.path)):
        pass
    wait_until(lambda: not watcher_threads())
    files, threads = descriptors(), native_threads()
    for _ in range(20):
        with told(volume.path / "api_key", look_at(volume.path)) as reader:
            assert reader.mode == Kind.mode
    wait_until(lambda: not watcher_threads())
    # The threads and the descriptors of watchfiles end soon after its watch was closed.
    wait_until(lambda: descriptors() <= files and native_threads() <= threads)


def native_threads() -> int:
    """Count the threads of this process, those of libraries included."""
    return len(list(Path("/proc/self/task").iterdir()))


@ONLY_INOTIFY
def test_inotify_needs_no_thread(volume: MountedVolume) -> None:
    """The loop waits for the events; there is a thread only while files are examined."""
    with told(volume.path / "api_key", look_at(volume.path), timings=EVENTS_ONLY) as reader:
        volume.publish({"api_key": "fake-1"})
        reader.sees("fake-1")
        wait_until(lambda: not watcher_threads())
        assert inotify_instances() == 1


@ONCE
@pytest.mark.parametrize("limit", ["a missing path", "a path that is no text", "many paths"])
def test_a_watch_that_fails_holds_no_instance(limit: str, tmp_path: Path) -> None:
    """What was opened for the first paths is released when a later one cannot be watched."""
    paths = [str(tmp_path), str(tmp_path / "missing")]
    if limit == "a path that is no text":
        paths = [str(tmp_path), "\0"]
    if limit == "many paths":
        paths = [str(tmp_path)] * 100 + paths
    for _ in range(3):
        with pytest.raises((OSError, ValueError)):
            InotifyEvents(paths)
    assert inotify_instances() == 0


def test_a_watch_can_be_stopped_before_it_has_begun(volume: MountedVolume) -> None:
    """Who is cancelled while starting leaves nothing behind either."""
    watcher = Watcher(look_at(volume.path), lambda: None)
    watcher.stop()
    watcher.open()
    assert watcher.mode == "off"
    wait_until(lambda: inotify_instances() == 0)


def test_a_watch_that_fails_after_its_end_leaves_nothing_behind(volume: MountedVolume) -> None:
    """The thread that opens it continues when the task is cancelled, and closes the events."""
    look, calls = look_at(volume.path), []
    is_cancelled = threading.Event()

    def fail_after_the_end() -> WatchSnapshot:
        calls.append(1)
        is_cancelled.wait(PATIENCE)
        if len(calls) > 1:
            raise OSError
        return look()

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
def test_a_forked_child_that_ends_its_watcher_makes_nobody_deaf(
    loop: str, volume: MountedVolume
) -> None:
    """The loops of both share what the kernel waits for; only the parent may change it."""
    child = run_child(FORKED, str(volume.path), loop, cwd=ROOT)
    assert child.stdout == "inotify\n", child.stderr
