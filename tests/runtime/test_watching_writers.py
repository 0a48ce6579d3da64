"""Files that are being written while an application watches them."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from hive_boot import Bootstrap, Secret, SecretSet
from hive_boot.exceptions import ProblemsError
from hive_boot.runtime.watcher import Watcher
from tests.fixtures.bind_mounts import PinnedFile
from tests.fixtures.timings import QUICK_RETRIES, set_timings
from tests.fixtures.watching import until_watched
from tests.fixtures.writers import PlainDirectory
from tests.runtime.rotations import set_read_policy
from tests.support import SETTLED, until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

IMPOSSIBLE = PinnedFile.unavailable_reason()

really = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))

OLD, NEW = "fake-old-key-000000", "fake-new-key-111111"


class Keys(SecretSet):
    """One secret."""

    api_key: Secret


class Waits:
    """Counter of the pauses of reads that wait for a writer; files are settled by its clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
        self.count = 0
        set_read_policy(monkeypatch, wall=SETTLED.wall, sleep=self.sleep, **limits)

    def sleep(self, seconds: float) -> None:
        """Wait, and count the pause."""
        self.count += 1
        time.sleep(seconds)

    def more_than(self, count: int) -> Callable[[], bool]:
        """Return a function that returns whether there were more than ``count`` further pauses."""
        before = self.count
        return lambda: self.count > before + count


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Return a counter of the pauses of reads."""
    return Waits(monkeypatch)


def watched(
    place: str,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    **more: Any,  # noqa: ANN401  (what Bootstrap takes)
) -> Bootstrap[Keys, None]:
    """Declare an application with a secret in the directory ``real``, which it reads often."""
    real = directory / "real/key"
    options: dict[str, Any] = {"mode": "docker", "secrets_dirs": directory / "secrets"}
    (directory / "secrets").mkdir()
    if place == "plain":
        options["secrets_dirs"] = real.parent
    elif place == "link":
        (directory / "secrets/api_key").symlink_to(real)
    elif place == "subdirectory":
        options["secrets_dirs"] = directory
    elif place == "variable":
        monkeypatch.setenv("API_KEY_FILE", str(real))
        options = {"mode": "environment"}
    elif place == "bundle":
        options["secrets_dirs"] = real
    elif place == "dotenv":
        options = {"mode": "development", "env_file": str(real)}
    boot = Bootstrap(Keys, watch=True, **{**options, **more})
    set_timings(boot, **QUICK_RETRIES, full_read_interval=0.02, writer_silence_timeout=1000.0)
    return boot


def name_of(place: str) -> str:
    """Return the name of the file."""
    return {"variable": "key", "bundle": "key", "dotenv": "key", "link": "key"}.get(
        place, "api_key"
    )


def content_of(place: str, value: str) -> str:
    """Return the content of the file with a value; half of the content is valid too."""
    return f"API_KEY={value}" if place in {"bundle", "dotenv"} else value


def uses(boot: Bootstrap[Keys, None], value: str) -> Callable[[], bool]:
    """Return a function that returns whether a value is in use."""
    return lambda: boot.secrets.api_key.reveal() == value


PLACES = ["plain", "link", "subdirectory", "variable", "bundle", "dotenv"]


@pytest.mark.parametrize("place", PLACES)
async def test_half_of_a_file_is_not_used_while_its_writer_has_it_open(
    place: str, memory: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
) -> None:
    """While a writer pauses, half of a file is not used, however often it is read."""
    directory, name = PlainDirectory(memory / "real"), name_of(place)
    directory.replace(name, content_of(place, OLD))
    boot = watched(place, memory, monkeypatch)
    async with boot.running():
        await until_watched(boot)
        with directory.partial_write(name, content_of(place, NEW)):
            await until(waits.more_than(20))
            assert uses(boot, OLD)()
        await until(uses(boot, NEW))
        assert boot.status().generation == 2
        assert boot.status().missed_events == 0


@really
async def test_half_of_a_mounted_file_is_not_used_while_its_writer_has_it_open(
    memory: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
) -> None:
    """The same holds if the writer uses the path on the host."""
    directory = PlainDirectory(memory / "real")
    directory.replace("api_key", OLD)
    boot = watched("mounted", memory, monkeypatch)
    with PinnedFile(memory / "secrets/api_key", memory / "real/api_key"):
        async with boot.running():
            await until_watched(boot)
            with directory.partial_write("api_key", NEW):
                await until(waits.more_than(20))
                assert uses(boot, OLD)()
            await until(uses(boot, NEW))


async def test_a_start_that_waits_for_a_file_does_not_use_half_of_it(
    memory: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
) -> None:
    """A start that waits for a file watches it before it exists, so it notices its writer."""
    directory = PlainDirectory(memory / "real")
    boot = watched("plain", memory, monkeypatch, wait_for_files=20.0)
    ready, finished = anyio.Event(), anyio.Event()

    async def run() -> None:
        async with boot.running():
            ready.set()
            await finished.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await until(lambda: watcher_of(boot) is not None)
        with directory.partial_write("api_key", NEW):
            await until(waits.more_than(20))
            assert not ready.is_set()
        await until(ready.is_set)
        assert uses(boot, NEW)()
        directory.replace("api_key", OLD)
        await until(uses(boot, OLD))
        assert (boot.status().generation, boot.status().missed_events) == (2, 0)
        finished.set()


def watcher_of(boot: Bootstrap[Keys, None]) -> Watcher | None:
    """Return the watcher of a run; None before it uses inotify."""
    reloader = boot._run and boot._run.reloader  # noqa: SLF001  (no public name)
    watcher = reloader and reloader.watcher
    return watcher if watcher and watcher.mode == "inotify" else None


async def test_a_writer_that_began_before_the_watch_is_not_seen(
    memory: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
) -> None:
    """A limit: half of a file is used if its writer began before the watch."""
    directory = PlainDirectory(memory / "real")
    boot = watched("plain", memory, monkeypatch)
    with ExitStack() as writing:
        writing.enter_context(directory.partial_write("api_key", NEW * 2))
        async with boot.running():
            assert uses(boot, NEW)()
            assert waits.count == 0
            writing.close()
            await until(uses(boot, NEW * 2))


async def test_a_writer_that_closes_a_file_in_the_middle_looks_done(
    memory: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
) -> None:
    """A limit: a writer that closes a file halfway looks done. Only a rename avoids that."""
    del waits
    directory = PlainDirectory(memory / "real")
    directory.replace("api_key", OLD)
    boot = watched("plain", memory, monkeypatch)
    async with boot.running():
        directory.write_in_place("api_key", NEW)
        await until(uses(boot, NEW))
        with (directory.path / "api_key").open("a") as file:
            file.write(NEW)
        await until(uses(boot, NEW * 2))


async def test_a_silent_writer_is_not_waited_for(
    memory: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
) -> None:
    """A file that stays open is used when its writer has been silent for a while."""
    directory = PlainDirectory(memory / "real")
    directory.replace("api_key", OLD)
    boot = watched("plain", memory, monkeypatch)
    set_timings(boot, writer_silence_timeout=0.3, full_read_interval=10_000.0)
    async with boot.running():
        await until_watched(boot)
        with directory.partial_write("api_key", NEW * 2):
            await until(uses(boot, NEW))
        await until(uses(boot, NEW * 2))
    assert waits.count


async def test_a_file_that_is_replaced_does_not_wait_for_the_writer_of_the_old_one(
    memory: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
) -> None:
    """A rename brings a complete file, even if another process still has the old one open."""
    directory = PlainDirectory(memory / "real")
    directory.replace("api_key", OLD)
    boot = watched("plain", memory, monkeypatch)
    async with boot.running():
        await until_watched(boot)
        with directory.partial_write("api_key", "fake-never-used"):
            await until(waits.more_than(5))
            directory.replace("api_key", NEW)
            await until(uses(boot, NEW))
        directory.replace("api_key", OLD)
        await until(uses(boot, OLD))
        assert boot.status().generation == 3


async def test_a_writer_of_a_file_that_is_gone_delays_nothing(
    memory: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
) -> None:
    """A process that still writes to a replaced file delays no read."""
    directory = PlainDirectory(memory / "real")
    directory.replace("api_key", OLD)
    boot = watched("plain", memory, monkeypatch)
    async with boot.running():
        with (directory.path / "api_key").open("ab", buffering=0) as old:
            directory.replace("api_key", NEW)
            old.write(b"fake-never-used")
            await until(uses(boot, NEW))
    assert waits.count < 20


async def test_a_demand_is_refused_while_a_file_is_written(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``boot.reload()`` waits for the writer up to a limit, and never uses half of a file."""
    Waits(monkeypatch, unstable_timeout=0.1)
    directory = PlainDirectory(memory / "real")
    directory.replace("api_key", OLD)
    boot = watched("plain", memory, monkeypatch)
    set_timings(boot, full_read_interval=10_000.0)
    async with boot.running():
        await until_watched(boot)
        watcher = watcher_of(boot)
        assert watcher is not None
        with directory.partial_write("api_key", NEW):
            await until(lambda: watcher.is_being_written([str(directory.path / "api_key")]))
            with pytest.raises(ProblemsError) as caught:
                await boot.reload()
            assert "unstable" in [problem.kind for problem in caught.value.problems]
            assert uses(boot, OLD)()
        await until(uses(boot, NEW))
        await until(lambda: not boot.status().degraded)


async def test_other_files_that_are_written_delay_nothing(
    memory: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
) -> None:
    """Other files in the directory may stay open forever."""
    directory = PlainDirectory(memory / "real")
    directory.replace("api_key", OLD)
    boot = watched("plain", memory, monkeypatch)
    async with boot.running():
        with (directory.path / "service.log").open("w") as log:
            for value in (NEW, OLD, NEW):
                log.write("fake line\n")
                log.flush()
                os.fsync(log.fileno())
                directory.replace("api_key", value)
                await until(uses(boot, value))
    assert waits.count < 20
