"""Bundles, subdirectories and unlistable directories whose files change."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.testing import MountedVolume
from tests.fixtures.timings import EVENTS_ONLY, QUICK_RESYNC
from tests.fixtures.watching import KINDS, SELECT_EVENTS, until_watched
from tests.fixtures.writers import PlainDirectory
from tests.runtime.rotations import mounted, set_read_policy
from tests.support import SETTLED, started_child, until

pytestmark = pytest.mark.anyio


class Keys(SecretSet):
    """Two secrets that are rotated together."""

    api_key: Secret
    db_password: Secret
    rds_password: Secret | None = secret(file="rds.json#password")


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat files that were just written as settled, so that they are read once."""
    set_read_policy(monkeypatch, wall=SETTLED.wall)


def pair(number: int) -> dict[str, str]:
    """Return both values of one rotation."""
    return {"API_KEY": f"fake-key-{number}", "DB_PASSWORD": f"fake-password-{number}"}


def as_exports(number: int) -> str:
    """Return the file that a template of Vault Agent renders."""
    return "".join(f'export {name}="{value}"\n' for name, value in pair(number).items())


def uses(boot: Bootstrap[Keys, None], number: int) -> Callable[[], bool]:
    """Return a function that returns whether both values of a rotation are in use."""

    def in_use() -> bool:
        pinned = boot.secrets.current
        values = [pinned.api_key.reveal(), pinned.db_password.reveal()]
        assert values[0].rpartition("-")[2] == values[1].rpartition("-")[2], "a torn set"
        return values == list(pair(number).values())

    return in_use


@pytest.mark.both_backends
async def test_a_bundle_rotates_as_one_set(directory: PlainDirectory) -> None:
    """A bundle is replaced or rewritten; both values change together."""
    directory.replace("bundle", as_exports(0))
    boot = mounted(directory.path / "bundle", Keys, EVENTS_ONLY)
    async with boot.running():
        await until_watched(boot)
        directory.replace("bundle", as_exports(1))
        await until(uses(boot, 1))
        directory.write_in_place("bundle", json.dumps(pair(2)))
        await until(uses(boot, 2))
        directory.replace("bundle", json.dumps(pair(3)))
        await until(uses(boot, 3))
        assert boot.status().missed_events == 0


async def test_a_bundle_in_a_volume_rotates(volume: MountedVolume) -> None:
    """A key of a Kubernetes Secret may be a bundle."""
    volume.publish({"config": as_exports(0)})
    boot = mounted(volume.path / "config", Keys, EVENTS_ONLY)
    async with boot.running():
        for number in (1, 2):
            volume.publish({"config": as_exports(number)})
            await until(uses(boot, number))


async def test_a_bundle_that_is_broken_or_gone_keeps_the_last_set(
    directory: PlainDirectory,
) -> None:
    """An incomplete, empty or missing bundle is rejected, and the next good one is accepted."""
    directory.replace("bundle", json.dumps(pair(0)))
    boot = mounted(directory.path / "bundle", Keys, QUICK_RESYNC)
    async with boot.running():
        for number, broken in enumerate(('{"API_KEY": "fake-', "", "{}", '{"API_KEY": {}}', None)):
            if broken is None:
                directory.remove("bundle")
            else:
                directory.replace("bundle", broken)
            await until(lambda: boot.status().degraded)
            assert boot.secrets.api_key.reveal() == pair(number)["API_KEY"]
            directory.replace("bundle", json.dumps(pair(number + 1)))
            await until(uses(boot, number + 1))
            await until(lambda: not boot.status().degraded)


async def test_a_member_of_a_json_file_rotates(directory: PlainDirectory) -> None:
    """A JSON file in the directory is watched by its own name."""
    for name, value in pair(0).items():
        directory.replace(name, value)
    directory.replace("rds.json", '{"password": "fake-rds-0"}')
    boot = mounted(directory.path, Keys, EVENTS_ONLY)
    async with boot.running() as secrets:
        directory.replace("rds.json", '{"password": "fake-rds-1"}')
        await until(lambda: secrets.rds_password and secrets.rds_password.matches("fake-rds-1"))
        directory.write_in_place("rds.json", '{"password": "fake-rds-2"}')
        await until(lambda: secrets.rds_password and secrets.rds_password.matches("fake-rds-2"))


async def test_volumes_below_a_named_directory_rotate(memory: Path) -> None:
    """Each volume is swapped on its own, and a volume that appears later is read too."""
    key, password = MountedVolume(memory / "all/key"), MountedVolume(memory / "all/password")
    key.publish({"api_key": "fake-key-0"})
    password.publish({"db_password": "fake-password-0"})
    boot = mounted(memory / "all", Keys, QUICK_RESYNC)
    async with boot.running() as secrets:
        key.publish({"api_key": "fake-key-1"})
        await until(lambda: secrets.api_key.matches("fake-key-1"))
        password.publish({"db_password": "fake-password-1"})
        await until(lambda: secrets.db_password.matches("fake-password-1"))
        later = MountedVolume(memory / "all/later")
        later.publish({"rds.json": '{"password": "fake-rds"}'})
        await until(lambda: secrets.rds_password is not None)


async def test_one_directory_per_secret_rotates(memory: Path) -> None:
    """Plain subdirectories are watched; if a file is removed, the last good set stays in use."""
    key, password = PlainDirectory(memory / "all/key"), PlainDirectory(memory / "all/password")
    key.replace("api_key", "fake-key-0")
    password.replace("db_password", "fake-password-0")
    boot = mounted(memory / "all", Keys, QUICK_RESYNC)
    async with boot.running() as secrets:
        key.replace("api_key", "fake-key-1")
        await until(lambda: secrets.api_key.matches("fake-key-1"))
        password.write_in_place("db_password", "fake-password-1")
        await until(lambda: secrets.db_password.matches("fake-password-1"))
        password.remove("db_password")
        await until(lambda: boot.status().degraded)
        assert secrets.db_password.matches("fake-password-1")
        password.replace("db_password", "fake-password-2")
        await until(lambda: secrets.db_password.matches("fake-password-2"))


UNLISTABLE = (
    """
import hmac, os, sys
from functools import partial
import anyio
from hive_boot import Bootstrap, Secret, SecretSet
from hive_boot._timings import Timings
from hive_boot.runtime import load_pipeline
from hive_boot.secrets.sources.directories import ReadPolicy
"""
    + SELECT_EVENTS
    + """
load_pipeline.load = partial(load_pipeline.load, policy=ReadPolicy(quiet_interval=0.01))

class Keys(SecretSet):
    api_key: Secret
    db_password: Secret | None

boot = Bootstrap(Keys, secrets_dirs=sys.argv[1], watch=True)
boot._declaration.timings = Timings(
    resync_interval=10_000.0, full_read_interval=10_000.0, poll_interval=0.05
)

async def main():
    async with boot.running():
        # What is imported now is not readable for every user.
        while boot.status().watcher == "off":
            await anyio.sleep(0.005)
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    async with boot.running() as secrets:
        while boot.status().watcher == "off":
            await anyio.sleep(0.005)
        print(boot.status().watcher, flush=True)
        seen = None
        while seen != "fake-key-end":
            now = secrets.api_key.reveal()
            if now != seen:
                print(now, bool(secrets.db_password), flush=True)
            seen = now
            await anyio.sleep(0.01)

anyio.run(main)
"""
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_of_a_directory_that_cannot_be_listed_rotate(kind: str) -> None:
    """If another user may enter a directory (0751) but not list it, its files are watched."""
    with ExitStack() as stack:
        name = stack.enter_context(TemporaryDirectory())
        Path(name).chmod(0o755)
        directory = PlainDirectory(Path(name, "secrets"))
        directory.replace("api_key", "fake-key-0")
        directory.path.chmod(0o751)
        program = started_child(UNLISTABLE, str(directory.path), EVENTS=kind)
        process = stack.enter_context(program)
        assert process.stdout is not None
        assert process.stdout.readline() == ("poll\n" if kind == "poll" else "inotify\n")
        assert process.stdout.readline() == "fake-key-0 False\n"
        directory.replace("api_key", "fake-key-1")
        assert process.stdout.readline() == "fake-key-1 False\n"
        directory.write_in_place("api_key", "fake-key-2")
        assert process.stdout.readline() == "fake-key-2 False\n"
        directory.replace("api_key", "fake-key-3")
        assert process.stdout.readline() == "fake-key-3 False\n"
        directory.replace("db_password", "fake-password")
        directory.replace("api_key", "fake-key-end")
        assert process.stdout.readline() == "fake-key-end True\n"
        assert process.wait(30) == 0
