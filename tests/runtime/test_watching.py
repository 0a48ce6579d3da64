"""Rotations that a watcher notices, for every way in which a deployment changes files.

Each test runs with each kind of events.

"""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.secrets.platform import HostEnvironment
from hive_boot.secrets.watch_targets import WatchSnapshot, WatchTargets
from hive_boot.testing import MountedVolume
from tests.fixtures.bind_mounts import PinnedFile
from tests.fixtures.owned_processes import interpreter
from tests.fixtures.timings import EVENTS_ONLY, NEVER, QUICK_RESYNC, QUICK_RETRIES, set_timings
from tests.fixtures.watching import (
    KINDS,
    NOT_POLLED,
    ONCE,
    PATIENCE,
    SELECT_EVENTS,
    Kind,
    each_kind,
    inotify_instances,
    own_threads,
    parametrize_kinds,
    switch,
    until_watched,
    watcher_threads,
)
from tests.fixtures.writers import PlainDirectory
from tests.runtime.rotations import Log, set_read_policy
from tests.support import SETTLED, descriptors, move_to, run_child, started_child, tmpfs, until

pytestmark = pytest.mark.anyio

IMPOSSIBLE = PinnedFile.unavailable_reason()

needs_mounts = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))


class Keys(SecretSet):
    """The secrets of the application."""

    api_key: Secret
    token: Secret | None = secret(file="token~")
    compiled: Secret | None = secret(file="x.pyc")


def watched(
    place: Path,
    timings: Mapping[str, float] | None = None,
    **more: Any,  # noqa: ANN401  (what Bootstrap takes)
) -> Bootstrap[Keys, None]:
    """Declare an application that watches the secrets at ``place``."""
    more = {"mode": "kubernetes", **more}
    boot = Bootstrap(Keys, secrets_dirs=place, watch=True, **more)
    shorten_timings(boot, **{**QUICK_RETRIES, **(timings or {})})
    return boot


def shorten_timings(boot: Bootstrap[Keys, None], **seconds: float) -> None:
    """Change the timings of an application; if it polls, it polls often."""
    set_timings(boot, **seconds | ({"poll_interval": 0.05} if Kind.name == "poll" else {}))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with every kind of events that applies."""
    parametrize_kinds(metafunc, KINDS)


@pytest.fixture(autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Select one kind of events."""
    with each_kind(request, monkeypatch) as name:
        yield name


def uses(boot: Bootstrap[Keys, None], value: str) -> Callable[[], bool]:
    """Return a function that returns whether this key is in use."""
    return lambda: boot.secrets.api_key.reveal() == value


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat files that were just written as settled, so that a load does not wait."""
    set_read_policy(monkeypatch, wall=SETTLED.wall)


@pytest.fixture
def key(volume: MountedVolume) -> MountedVolume:
    """Return a volume with one key."""
    volume.publish({"api_key": "fake-key-0"})
    return volume


@pytest.fixture
def mounts() -> Iterator[ExitStack]:
    """Unmount, at the end, what the test has mounted, in reverse order."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    """Return the log."""
    return Log(caplog)


# Directories.


@pytest.mark.both_backends
async def test_each_swap_of_a_volume_comes_into_use(key: MountedVolume) -> None:
    """Each time that the kubelet publishes a key, it comes into use."""
    boot = watched(key.path, timings=EVENTS_ONLY)
    async with boot.running() as secrets:
        await until_watched(boot)
        for number in range(1, 4):
            key.publish({"api_key": f"fake-key-{number}"})
            await until(uses(boot, f"fake-key-{number}"))
            assert secrets.api_key.reveal() == f"fake-key-{number}"
        status = boot.status()
        assert (status.generation, status.missed_events, status.degraded) == (4, 0, False)
    assert boot.status().watcher == "off"


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("where", ["memory", "disk"])
async def test_a_directory_that_is_removed_and_created_again_rotates(
    where: str, memory: Path, tmp_path: Path
) -> None:
    """Without the directory the last good set stays in use; once back, it is watched again."""
    place = (memory if where == "memory" else tmp_path) / "secrets"
    PlainDirectory(place).replace("api_key", "fake-key-0")
    boot = watched(place, timings=EVENTS_ONLY)
    async with boot.running():
        for number in range(1, 4):
            shutil.rmtree(place)
            await until(lambda: boot.status().degraded)
            assert boot.status().rejected_names
            assert boot.secrets.api_key.reveal() == f"fake-key-{number - 1}"
            PlainDirectory(place).replace("api_key", f"fake-key-{number}")
            await until(uses(boot, f"fake-key-{number}"))
            await until(lambda: not boot.status().degraded)
        PlainDirectory(place).replace("api_key", "fake-key-new")
        await until(uses(boot, "fake-key-new"))


async def test_a_directory_that_is_renamed_and_replaced_rotates(key: MountedVolume) -> None:
    """The application uses the new directory at the path, and notices its next change."""
    boot = watched(key.path, timings=EVENTS_ONLY)
    async with boot.running():
        key.path.rename(key.path.with_name("away"))
        MountedVolume(key.path).publish({"api_key": "fake-key-1"})
        await until(uses(boot, "fake-key-1"))
        key.publish({"api_key": "fake-key-2"})
        await until(uses(boot, "fake-key-2"))


@needs_mounts
@pytest.mark.usefixtures("settled")
async def test_a_mount_over_a_directory_and_its_end_rotate(key: MountedVolume) -> None:
    """A mount causes no event; the application notices it all the same."""
    boot = watched(key.path, timings=QUICK_RESYNC)
    async with boot.running():
        await until_watched(boot)
        with tmpfs(key.path):
            await until(lambda: str(key.path) in boot.status().rejected_names)
            assert boot.secrets.api_key.reveal() == "fake-key-0"
            MountedVolume(key.path).publish({"api_key": "fake-key-1"})
            await until(uses(boot, "fake-key-1"))
        await until(uses(boot, "fake-key-0"))
        key.publish({"api_key": "fake-key-2"})
        await until(uses(boot, "fake-key-2"))
        await until(lambda: boot.status().missed_events or Kind.name == "poll")
        assert not boot.status().degraded


@pytest.mark.parametrize("way", ["link", "chain", "middle"])
async def test_each_switch_of_a_link_on_the_way_rotates(way: str, memory: Path) -> None:
    """Roots that are symbolic links, as of NixOS and sops, are followed wherever the link is."""
    below = "below" if way == "middle" else ""
    for number in range(4):
        volume = MountedVolume(memory / f"release-{number}" / below)
        volume.publish({"api_key": f"fake-key-{number}"})
    link = memory / "current"
    link.symlink_to("release-0")
    (memory / "run").mkdir()
    (memory / "run/secrets").symlink_to("../current")
    boot = watched(
        {"link": link, "chain": memory / "run/secrets", "middle": link / below}[way],
        timings=EVENTS_ONLY,
    )
    async with boot.running():
        for number in range(1, 4):
            switch(link, memory / f"release-{number}")
            await until(uses(boot, f"fake-key-{number}"))
            MountedVolume(memory / f"release-{number}" / below).publish(
                {"api_key": f"fake-key-newer-{number}"}
            )
            await until(uses(boot, f"fake-key-newer-{number}"))
        assert boot.status().missed_events == 0


async def test_volumes_below_the_default_directory_rotate(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a setting, volumes below /run/secrets rotate, also one that is mounted later."""
    app = MountedVolume(memory / "run/secrets/app")
    app.publish({"api_key": "fake-key-0"})
    move_to(memory, monkeypatch)
    boot = Bootstrap(Keys, mode="kubernetes", watch=True)
    shorten_timings(boot, **QUICK_RESYNC)
    async with boot.running() as secrets:
        app.publish({"api_key": "fake-key-1"})
        await until(uses(boot, "fake-key-1"))
        later = MountedVolume(memory / "run/secrets/later")
        later.publish({"token~": "fake-token-0"})
        await until(lambda: secrets.token is not None)
        later.publish({"token~": "fake-token-1"})
        await until(lambda: secrets.token is not None and secrets.token.matches("fake-token-1"))
        app.publish({"api_key": "fake-key-2"})
        await until(uses(boot, "fake-key-2"))


# Files.


@pytest.mark.usefixtures("settled")
async def test_files_with_names_of_temporary_files_rotate(directory: PlainDirectory) -> None:
    """Names such as ``token~`` and ``x.pyc``, which some tools ignore, may be declared."""
    for name in ("api_key", "token~", "x.pyc"):
        directory.replace(name, "fake-0")
    boot = watched(directory.path, timings=EVENTS_ONLY)
    async with boot.running() as secrets:
        directory.replace("token~", "fake-1")
        await until(lambda: secrets.token is not None and secrets.token.matches("fake-1"))
        directory.replace("x.pyc", "fake-2")
        await until(lambda: secrets.compiled is not None and secrets.compiled.matches("fake-2"))
        assert boot.status().missed_events == 0


@pytest.mark.usefixtures("settled")
async def test_a_file_name_that_is_not_utf_8_does_not_prevent_a_rotation(
    directory: PlainDirectory, log: Log
) -> None:
    """A file whose name is not UTF-8 does not stop the watcher, or only for a short time."""
    directory.replace("api_key", "fake-key-0")
    boot = watched(directory.path, {"poll_interval": 0.05})
    async with boot.running():
        await until_watched(boot)
        (directory.path / os.fsdecode(b"caf\xe9")).write_text("fake-other")
        await until(lambda: len(log.watch) == (2 if Kind.name == "watchfiles" else len(log.watch)))
        directory.replace("api_key", "fake-key-1")
        await until(uses(boot, "fake-key-1"))
        status = boot.status()
        assert (status.watcher, status.degraded) == (Kind.mode, False)
    assert log.watch == {"inotify": [], "watchfiles": ["WARNING", "INFO"]}.get(
        Kind.name, ["WARNING"]
    )


@pytest.mark.usefixtures("settled")
async def test_a_file_that_a_variable_names_rotates(
    directory: PlainDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a ``NAME_FILE`` variable may be replaced or rewritten, in two modes."""
    directory.replace("key", "fake-key-0")
    monkeypatch.setenv("API_KEY_FILE", str(directory.path / "key"))
    boot = Bootstrap(Keys, mode="environment", watch=True)
    shorten_timings(boot, **EVENTS_ONLY)
    async with boot.running():
        directory.replace("key", "fake-key-1")
        await until(uses(boot, "fake-key-1"))
        directory.write_in_place("key", "fake-key-2")
        await until(uses(boot, "fake-key-2"))


@pytest.mark.usefixtures("settled")
async def test_a_file_that_a_variable_names_in_a_volume_rotates(
    key: MountedVolume, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to a link into a volume: a watch on the file would only notice the first swap."""
    (memory / "link").symlink_to(key.path / "api_key")
    monkeypatch.setenv("API_KEY_FILE", str(memory / "link"))
    boot = Bootstrap(Keys, mode="environment", watch=True)
    shorten_timings(boot, **EVENTS_ONLY)
    async with boot.running():
        for number in range(1, 4):
            key.publish({"api_key": f"fake-key-{number}"})
            await until(uses(boot, f"fake-key-{number}"))
        assert boot.status().missed_events == 0


@pytest.mark.usefixtures("settled")
async def test_a_saved_dotenv_file_rotates() -> None:
    """If a developer saves ``.env``, in place or by a rename, the new key comes into use."""
    project = PlainDirectory(Path.cwd())
    project.replace(".env", "API_KEY=fake-key-0")
    boot = Bootstrap(Keys, mode="development", profile="development", watch=True)
    shorten_timings(boot, **EVENTS_ONLY, **QUICK_RETRIES)
    async with boot.running():
        project.replace(".env", "API_KEY=fake-key-1")
        await until(uses(boot, "fake-key-1"))
        project.write_in_place(".env", "API_KEY=fake-key-2")
        await until(uses(boot, "fake-key-2"))
        project.replace(".env.local", "API_KEY=fake-key-3")
        await until(uses(boot, "fake-key-3"))
        assert boot.status().missed_events == 0


# Single mounted files.


@needs_mounts
@pytest.mark.usefixtures("settled")
async def test_a_compose_secret_rotates_in_place_and_becomes_stale_if_replaced(
    memory: Path, log: Log
) -> None:
    """A rewrite of the host's file is noticed; a replacement never can be, and is logged once."""
    with PinnedFile(memory / "secrets/api_key", memory / "host/api_key") as pinned:
        pinned.write("fake-key-0")
        timings = EVENTS_ONLY
        boot = watched(memory / "secrets", timings, mode="docker")
        path = str(pinned.path)
        async with boot.running():
            await until(lambda: log.about(path))
            assert log.about(path) == ["INFO"]
            status = boot.status()
            assert (status.pinned, status.stale, status.degraded) == ((path,), (), False)
            for number in range(1, 3):
                pinned.write(f"fake-key-{number}")
                await until(uses(boot, f"fake-key-{number}"))
            pinned.replace("fake-key-new")
            await until(lambda: len(log.about(path)) > 1)
            status = boot.status()
            assert (status.stale, status.degraded) == ((path,), True)
            assert [path in reason for reason in status.reasons] == [True]
            assert await boot.reload() is None
            assert boot.secrets.api_key.reveal() == "fake-key-2"
            assert log.about(path) == ["INFO", "ERROR"]


@needs_mounts
@pytest.mark.parametrize("mode", ["kubernetes", "docker"])
@ONCE
async def test_a_subpath_mount_is_a_warning_at_the_start(
    mode: str, memory: Path, mounts: ExitStack, log: Log
) -> None:
    """The kubelet never updates a subPath: with ``watch=True`` there is a warning."""
    pod = memory / "pods/6f1c"
    volume = MountedVolume(pod / "volumes/kubernetes.io~secret/app")
    mounts.enter_context(tmpfs(volume.path))
    volume.publish({"api_key": "fake-key-0"})
    assert volume.generation is not None
    bound, path = pod / "volume-subpaths/app/server/0", memory / "etc/app/api_key"
    mounts.enter_context(PinnedFile(bound, volume.generation / "api_key"))
    mounts.enter_context(PinnedFile(path, bound))
    async with watched(path.parent, mode=mode).running():
        await until(lambda: log.about(str(path)))
        assert log.about(str(path)) == ["WARNING"]


@needs_mounts
@ONCE
async def test_without_a_watcher_file_mounts_are_not_logged(memory: Path, log: Log) -> None:
    """Without ``watch=True`` a file that is mounted alone is not logged."""
    with PinnedFile(memory / "secrets/api_key", memory / "host/api_key") as pinned:
        pinned.write("fake-key-0")
        boot = Bootstrap(Keys, mode="docker", secrets_dirs=memory / "secrets")
        async with boot.running():
            assert (boot.status().watcher, boot.status().pinned) == ("off", ())
    assert log.about(str(pinned.path)) == []


# Changes without an event.


async def test_a_change_without_an_event_is_applied_and_counted_as_missed(
    directory: PlainDirectory,
) -> None:
    """A change without an event comes into use, and is counted as missed."""
    directory.replace("api_key", "fake-key-0")
    hidden = directory.link_outside("api_key")
    boot = watched(directory.path, timings=QUICK_RESYNC)
    async with boot.running():
        await until_watched(boot)
        hidden.write_text("fake-key-1")
        await until(uses(boot, "fake-key-1"))
        await until(lambda: bool(boot.status().missed_events) == (Kind.name != "poll"))


async def test_a_change_with_an_event_is_never_counted_as_missed(key: MountedVolume) -> None:
    """Changes with an event are not counted as missed, even if a resync runs very often."""
    boot = watched(key.path, {"resync_interval": 0.01})
    async with boot.running():
        for number in range(1, 21):
            key.publish({"api_key": f"fake-key-{number}"})
            await until(uses(boot, f"fake-key-{number}"))
        assert boot.status().missed_events == 0


async def test_a_change_between_the_first_read_and_ready_is_applied(key: MountedVolume) -> None:
    """When the watcher is ready, everything is read again, so no change is lost."""
    boot = watched(key.path)

    @boot.check
    async def publish_meanwhile(secrets: Keys) -> None:
        if secrets.api_key.matches("fake-key-0"):
            key.publish({"api_key": "fake-key-1"})

    async with boot.running() as secrets:
        assert secrets.api_key.reveal() == "fake-key-0"
        await until(uses(boot, "fake-key-1"))
        assert boot.status().generation == 2


HEAD = (
    """
import ctypes as libraries, json, logging, os, sys
from pathlib import Path

import anyio
from hive_boot import Bootstrap, LifecycleError, Secret, SecretSet
from hive_boot._timings import Timings
from hive_boot.testing import MountedVolume
"""
    + SELECT_EVENTS
    + """
backend, place, argument = sys.argv[1:]
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")

class Keys(SecretSet):
    '''What the application needs.'''
    api_key: Secret

volume = MountedVolume(place)
boot = Bootstrap(Keys, mode="kubernetes", secrets_dirs=place, watch=True)

def key():
    return boot.secrets.api_key.reveal()

def tell(*what):
    print(json.dumps(what), flush=True)

async def until(condition):
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.005)
"""
)

OVERFLOW = (
    HEAD
    + """
boot._declaration.timings = Timings(
    resync_interval=float(argument), poll_interval=0.1, full_read_interval=10_000.0
)

@boot.main
async def main() -> None:
    await until(lambda: boot.status().watcher != "off")
    tell("ready")
    await until(lambda: key() == "fake-key-1")
    if float(argument) < 1:
        await until(lambda: boot.status().missed_events)
    tell(boot.status().missed_events, boot.status().degraded)
    volume.publish({"api_key": "fake-key-2"})
    await until(lambda: key() == "fake-key-2")
    tell(boot.status().generation)

boot.run(backend=backend)
"""
)


def overflow(place: Path) -> None:
    """Cause more events in a directory than the kernel queues."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 200_000:
        pytest.skip(f"this kernel keeps {limit} events")
    noise, other = place / "noise", place / "other"
    noise.touch()
    for _ in range(limit // 4 + 1000):
        noise.rename(other)
        other.rename(noise)


@NOT_POLLED
@pytest.mark.both_backends
@pytest.mark.parametrize("noisy", ["the directory", "the one above"])
def test_an_overflow_of_events_loses_no_change(
    noisy: str, anyio_backend: str, key: MountedVolume
) -> None:
    """The last swap before the overflow is in use.

    inotify reports an overflow, so everything is read; watchfiles does not, and a resync notices
    the swap.
    """
    is_hidden = Kind.name == "watchfiles"
    place = key.path if noisy == "the directory" else key.path.parent
    look = str(0.1 if is_hidden else NEVER)
    with started_child(OVERFLOW, anyio_backend, str(key.path), look, EVENTS=Kind.name) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == '["ready"]\n'
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        overflow(place)
        key.publish({"api_key": "fake-key-1"})
        child.send_signal(signal.SIGCONT)
        told, errors = child.communicate()
    assert told.splitlines() == [f"[{int(is_hidden)}, false]", "[3]"], errors
    assert child.returncode == 0


# Without events.


EXHAUSTED = (
    HEAD
    + """
limit = Path("/proc/sys/user", argument)
before = limit.read_text()

def allow(number):
    limit.write_text(number)

if libraries.CDLL(None, use_errno=True).unshare(0x10000000):
    print("no user namespace:", os.strerror(libraries.get_errno()))
    sys.exit()
try:
    allow("0")
except OSError as exc:
    print("the limit stands:", exc)
    sys.exit()

boot._declaration.timings = Timings(
    watch_retry_delay=0.05, max_watch_retry_delay=0.05, poll_interval=0.05
)

@boot.main
async def main() -> None:
    number = 0

    async def rotate():
        nonlocal number
        number += 1
        volume.publish({"api_key": f"fake-key-{number}"})
        await until(lambda: key() == f"fake-key-{number}")
        tell(boot.status().watcher, boot.status().generation, boot.status().degraded)

    await rotate()
    await rotate()
    allow(before)
    await until(lambda: boot.status().watcher == "inotify")
    await rotate()
    # There is no watch left when the watcher has to start again.
    allow("0")
    volume.path.rename(f"{volume.path}-away")
    volume.path.mkdir()
    volume.publish({"api_key": "fake-key-3"})
    await until(lambda: boot.status().watcher == "poll")
    await rotate()
    allow(before)
    await until(lambda: boot.status().watcher == "inotify")
    await rotate()

boot.run(backend=backend)
"""
)


@pytest.mark.parametrize("resource", ["max_inotify_instances", "max_inotify_watches"])
@NOT_POLLED
def test_files_are_polled_while_inotify_is_exhausted(
    resource: str, anyio_backend: str, key: MountedVolume
) -> None:
    """Without inotify the application polls, and returns to events when it can; both are logged.

    The limit is that of a user namespace, which nothing else uses.
    """
    child = interpreter().run(EXHAUSTED, anyio_backend, str(key.path), resource, EVENTS=Kind.name)
    if child.stdout.startswith(("no user namespace", "the limit stands")):
        pytest.skip(child.stdout.strip())
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines() == [
        '["poll", 2, false]',
        '["poll", 3, false]',
        '["inotify", 4, false]',
        '["poll", 5, false]',
        '["inotify", 6, false]',
    ]
    log_lines = [line for line in child.stderr.splitlines() if " hive_boot.watching " in line]
    assert [line.split()[0] for line in log_lines] == ["WARNING", "INFO"] * 2
    assert all("0.05 s" in line for line in log_lines[::2])


@ONCE
async def test_the_variable_of_watchfiles_forces_polling(
    key: MountedVolume, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable that makes watchfiles poll makes hive_boot poll too."""
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    boot = watched(key.path, {"poll_interval": 0.05})
    async with boot.running():
        key.publish({"api_key": "fake-key-1"})
        await until(uses(boot, "fake-key-1"))
        status = boot.status()
        assert (status.watcher, status.degraded) == ("poll", False)
    assert log.about("WATCHFILES_FORCE_POLLING") == log.watch == ["WARNING"]


@ONCE
async def test_variables_alone_are_not_watched(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `watch=True` this is logged."""
    monkeypatch.setenv("API_KEY", "fake-key-0")
    boot = Bootstrap(Keys, mode="environment", watch=True)
    async with boot.running():
        await until(lambda: log.about("watched"))
        assert boot.status().watcher == "off"
        assert not boot.status().degraded
        assert watcher_threads() == []
        monkeypatch.setenv("API_KEY", "fake-key-1")
        assert await boot.reload() is None
    assert log.about("watched") == ["INFO"]


IMPORTS = """
import sys
import anyio
from hive_boot import Bootstrap, Secret, SecretSet

class Keys(SecretSet):
    '''What the application needs.'''
    api_key: Secret

boot = Bootstrap(Keys, mode="kubernetes", secrets_dirs=sys.argv[2], watch=sys.argv[3] == "watch")

def show():
    names = {"ctypes", "watchfiles", "hive_boot.runtime.reload", "hive_boot.runtime.watcher"}
    print(*sorted(names & sys.modules.keys()))

@boot.main
async def main() -> None:
    show()
    while sys.argv[3] == "watch" and boot.status().watcher == "off":
        await anyio.sleep(0.005)
    show()

boot.run(backend=sys.argv[1])
"""


@ONCE
def test_the_watcher_is_imported_after_main_has_begun(
    anyio_backend: str, key: MountedVolume
) -> None:
    """The watcher is imported when main waits, only with ``watch=True``; watchfiles is not."""
    without = run_child(IMPORTS, anyio_backend, str(key.path), "")
    assert without.stdout == "\n\n", without.stderr
    watcher = run_child(IMPORTS, anyio_backend, str(key.path), "watch")
    assert watcher.stdout == "\nctypes hive_boot.runtime.reload hive_boot.runtime.watcher\n"


# File systems that hang.


class FileSystem:
    """A file system that can stop responding."""

    def __init__(self) -> None:
        self.answers, self.asked = threading.Event(), threading.Event()
        self.answers.set()

    def ask(self) -> None:
        """Wait until the file system responds."""
        if not self.answers.is_set():
            self.asked.set()
            self.answers.wait(PATIENCE)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Make the file system hang while the block runs."""
        self.answers.clear()
        try:
            yield
        finally:
            self.answers.set()


@pytest.fixture
def file_system(monkeypatch: pytest.MonkeyPatch) -> FileSystem:
    """Make every snapshot of the watch targets wait for a file system that may hang."""
    found, snapshot = FileSystem(), WatchTargets.snapshot

    def wait_and_snapshot(targets: WatchTargets) -> WatchSnapshot:
        found.ask()
        return snapshot(targets)

    monkeypatch.setattr(WatchTargets, "snapshot", wait_and_snapshot)
    return found


async def test_a_file_system_that_hangs_is_logged_once(
    key: MountedVolume, file_system: FileSystem, log: Log
) -> None:
    """The application keeps serving; the hang is logged once, and so is its end."""
    boot = watched(key.path, {**QUICK_RESYNC, "watcher_silence_timeout": 0.1})
    async with boot.running():
        with file_system.hanging():
            await until(file_system.asked.is_set)
            await until(lambda: log.about("noticed"))
            status = boot.status()
            assert (status.watcher, status.degraded, status.ready) == ("down", True, True)
            assert len(status.reasons) == 1
        await until(lambda: len(log.about("noticed")) == 2)
        assert (boot.status().watcher, boot.status().degraded) == (Kind.mode, False)
        key.publish({"api_key": "fake-key-1"})
        await until(uses(boot, "fake-key-1"))
    assert log.about("noticed") == ["ERROR", "INFO"]


@pytest.mark.both_backends
async def test_a_file_system_that_hangs_does_not_delay_the_stop(
    key: MountedVolume, file_system: FileSystem
) -> None:
    """The thread that waits for the file system is a daemon, and does not delay the stop."""
    boot = watched(key.path, QUICK_RESYNC)
    with ExitStack() as stack:
        async with boot.running():
            stack.enter_context(file_system.hanging())
            await until(file_system.asked.is_set)
        left_behind = watcher_threads()
        assert left_behind
        assert all(each.daemon for each in left_behind)
    await until(lambda: not watcher_threads())


# Stop and fork.


@pytest.mark.both_backends
async def test_twenty_runs_leave_no_thread_and_no_descriptor(key: MountedVolume) -> None:
    """A watcher that has received no event releases everything."""
    boot = watched(key.path)
    async with boot.running():
        pass
    await until(lambda: not own_threads())
    files = descriptors()
    for _ in range(20):
        async with boot.running():
            await until_watched(boot)
    await until(lambda: not own_threads() and descriptors() <= files)


@pytest.mark.both_backends
async def test_a_cancelled_run_leaves_no_thread_and_no_descriptor(key: MountedVolume) -> None:
    """The cancellation does not wait for the watcher."""
    boot = watched(key.path)
    files = descriptors()
    with anyio.fail_after(PATIENCE), anyio.CancelScope() as scope:
        async with boot.running():
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    # A thread that was opening the watch at that moment closes it again.
    await until(lambda: inotify_instances() == 0 or Kind.name == "watchfiles")
    await until(lambda: not own_threads() and descriptors() <= files)


@pytest.mark.both_backends
@ONCE
async def test_a_cancelled_start_does_not_open_a_watcher_later(
    key: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that is cancelled in a slow file system does not start a watcher later."""
    slow = FileSystem()

    class Slow(HostEnvironment):
        __slots__ = ()

        def variable(self, name: str) -> str:
            slow.ask()
            return super().variable(name)

    monkeypatch.setattr("hive_boot.runtime.load_pipeline.HostEnvironment", Slow)
    boot = watched(key.path)
    with slow.hanging():
        async with anyio.create_task_group() as group:
            group.start_soon(start, boot)
            await until(slow.asked.is_set)
            group.cancel_scope.cancel()
    await until(lambda: not own_threads())


async def start(boot: Bootstrap[Keys, None]) -> None:
    """Run an application until cancelled."""
    async with boot.running():
        await anyio.sleep_forever()


EVENTS_IN_PARENT = """
# Only events report a change in the parent.
boot._declaration.timings = Timings(
    resync_interval=10_000.0, full_read_interval=10_000.0, poll_interval=0.1
)
"""

FORKED = (
    HEAD
    + EVENTS_IN_PARENT
    + """
@boot.main
async def main() -> None:
    rotated, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(rotated, 1)
        try:
            boot.reload().send(None)
        except LifecycleError:
            tell("refused")
        status = boot.status()
        tell(status.forked, status.watcher, status.generation, status.degraded, key())
        os._exit(0)
    volume.publish({"api_key": "fake-key-1"})
    await until(lambda: key() == "fake-key-1")
    os.write(go, b"!")
    await until(lambda: os.waitpid(pid, os.WNOHANG)[0])
    volume.publish({"api_key": "fake-key-2"})
    await until(lambda: key() == "fake-key-2")
    status = boot.status()
    tell(status.forked, status.watcher, status.generation, status.degraded, key())

boot.run(backend=backend)
"""
)


@pytest.mark.both_backends
def test_a_forked_child_keeps_its_set_and_does_not_watch(
    anyio_backend: str, key: MountedVolume
) -> None:
    """A forked child keeps the secrets of its start; its parent keeps rotating."""
    child = interpreter().run(FORKED, anyio_backend, str(key.path), "", EVENTS=Kind.name)
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines() == [
        '["refused"]',
        '[true, "off", 1, false, "fake-key-0"]',
        f'[false, "{Kind.mode}", 3, false, "fake-key-2"]',
    ]


STARTED_IN_CHILD = (
    HEAD
    + EVENTS_IN_PARENT
    + """
import threading
import time
from hive_boot import get_secret

async def run_again():
    if argument == "running":
        async with boot.running() as secrets:
            await judge(secrets)
    else:
        async with boot.lifespan(None) as state:
            await judge(state["secrets"])

async def judge(secrets):
    await until(lambda: boot.status().watcher != "off")
    volume.publish({"api_key": "fake-key-1"})
    await until(lambda: get_secret("API_KEY") == "fake-key-1")
    status = boot.status()
    tell(status.forked, status.watcher, secrets.api_key.reveal(), key())

async def main() -> None:
    async with boot.running():
        await until(lambda: boot.status().watcher != "off")
        pid = os.fork()
        if pid == 0:
            # The thread that forked is in a loop already, as far as its library knows.
            thread = threading.Thread(target=lambda: anyio.run(run_again, backend=backend))
            thread.start()
            thread.join()
            os._exit(0)
        await until(lambda: os.waitpid(pid, os.WNOHANG)[0])
        await until(lambda: key() == "fake-key-1")
        volume.publish({"api_key": "fake-key-2"})
        await until(lambda: key() == "fake-key-2")
        tell(boot.status().forked, boot.status().degraded, key())

anyio.run(main, backend=backend)
"""
)


@pytest.mark.both_backends
@pytest.mark.parametrize("way", ["running", "lifespan"])
def test_a_forked_child_may_start_the_same_application(
    way: str, anyio_backend: str, key: MountedVolume
) -> None:
    """A worker that was forked from a running application can start its own run.

    It polls if the library watchfiles may have left it a lock that is never released.
    """
    child = interpreter().run(STARTED_IN_CHILD, anyio_backend, str(key.path), way, EVENTS=Kind.name)
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines() == [
        f'[false, "{"inotify" if Kind.name == "inotify" else "poll"}", "fake-key-1", "fake-key-1"]',
        '[false, false, "fake-key-2"]',
    ], child.stderr


EXIT_IN_CHILD = (
    HEAD
    + EVENTS_IN_PARENT
    + """
async def main() -> None:
    async with boot.running():
        pid = os.fork()
        if pid == 0:
            raise SystemExit(5)
        status = []
        await until(lambda: status.extend(os.waitpid(pid, os.WNOHANG)) or status[-2])
        tell(os.waitstatus_to_exitcode(status[-1]))
        volume.publish({"api_key": "fake-key-1"})
        await until(lambda: key() == "fake-key-1")

anyio.run(main, backend=backend)
"""
)


def test_a_forked_child_ends_with_its_own_exit_status(key: MountedVolume) -> None:
    """The exit status of a forked child is its own, although it leaves the block of a run.

    Only on asyncio: a forked child cannot leave an event loop of trio, even without hive_boot.
    """
    child = interpreter().run(EXIT_IN_CHILD, "asyncio", str(key.path), "", EVENTS=Kind.name)
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines() == ["[5]"]
    assert "ERROR" not in child.stderr


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("by", ["secrets_dirs=", "HIVE_BOOT_SECRETS_DIR", "API_KEY_FILE"])
async def test_a_relative_path_is_resolved_at_the_start(
    by: str, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of the working directory, the same files are read and watched."""
    ours, other = (PlainDirectory(memory / home / "keys") for home in ("home", "elsewhere"))
    ours.replace("api_key", "fake-key-1")
    other.replace("api_key", "fake-of-somebody-else")
    monkeypatch.chdir(memory / "home")
    if by == "API_KEY_FILE":
        monkeypatch.setenv(by, "keys/api_key")
        boot = Bootstrap(Keys, mode="environment", watch=True)
    elif by == "HIVE_BOOT_SECRETS_DIR":
        monkeypatch.setenv(by, "keys")
        boot = Bootstrap(Keys, watch=True)
    else:
        boot = Bootstrap(Keys, mode="docker", secrets_dirs="keys", watch=True)
    shorten_timings(boot, **EVENTS_ONLY)
    async with boot.running() as secrets:
        monkeypatch.chdir(memory / "elsewhere")
        assert await boot.reload() is None
        for number in (2, 3):
            ours.replace("api_key", f"fake-key-{number}")
            await until(uses(boot, f"fake-key-{number}"))
        other.replace("api_key", "fake-of-somebody-else-again")
        assert await boot.reload() is None
        assert secrets.api_key.reveal() == "fake-key-3"
        assert (boot.status().degraded, boot.status().missed_events) == (False, 0)
