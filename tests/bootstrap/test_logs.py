"""What a start says, and to whom: the application's log, or stderr when it has none."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, Change, InvalidSecrets, Problem, Secret, SecretSet, secret
from hive_boot.bootstrap import logs
from hive_boot.bootstrap.logs import audible, log
from hive_boot.secrets.sources.mounts import Pin
from hive_boot.testing import MountedVolume
from tests.bootstrap.rotations import Heard, mounted
from tests.support import failed_start, run_child, until

VALUE = "fake-jwt-secret-0123456789-0123456789"

PROGRAM = """
import logging
from hive_boot import Bootstrap, Secret, SecretSet, secret

class HiveSecrets(SecretSet):
    jwt_secret: Secret = secret(dev_default="dev-only-jwt-secret-0123456789abcdef")

boot = Bootstrap(HiveSecrets)

@boot.main
async def main() -> None:
    logging.getLogger("hive_boot").info("said while running")

{before}
boot.run()
"""


class HiveSecrets(SecretSet):
    """One secret with a default, and one that may be absent."""

    jwt_secret: Secret = secret(dev_default="dev-only-jwt-secret-0123456789abcdef")
    sentry_dsn: Secret | None


@contextmanager
def nobody_listens() -> Iterator[None]:
    """Take away the handlers that a test run has on the root logger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        yield


@pytest.fixture
def boot() -> Bootstrap[HiveSecrets, None]:
    """Give an application in development."""
    return Bootstrap(HiveSecrets, mode="development", profile="development")


def test_without_a_log_the_mode_is_said_on_stderr() -> None:
    """A service that configures no logging still says where its secrets come from, and why."""
    child = run_child(
        PROGRAM.format(before=""),
        HIVE_BOOT_MODE="development",
        HIVE_BOOT_PROFILE="development",
    )
    assert child.returncode == 0, child.stderr
    lines = child.stderr.splitlines()
    assert lines[0] == "INFO hive_boot: 🔐 Secrets mode: development (HIVE_BOOT_MODE)"
    assert lines[1] == "INFO hive_boot: Profile: development (HIVE_BOOT_PROFILE)"
    assert re.fullmatch(
        r"INFO hive_boot: No \.env file: \S+/\.env and \S+/\.env\.local do not exist", lines[3]
    )
    assert lines[2] == "WARNING hive_boot: Development defaults are in use: JWT_SECRET"
    assert re.fullmatch(r"INFO hive_boot: Ready after \d+\.\d\d s", lines[4])
    assert lines[5] == "INFO hive_boot: said while running"
    assert re.fullmatch(r"INFO hive_boot: Stopped in \d+\.\d\d s", lines[6])
    assert not lines[7:]
    assert child.stdout == ""


def test_an_application_s_own_logging_is_used_and_nothing_added() -> None:
    """Where logging is configured every line comes once, in the application's own form."""
    child = run_child(
        PROGRAM.format(before="logging.basicConfig(level=20, format='app %(message)s')"),
        HIVE_BOOT_MODE="development",
        HIVE_BOOT_PROFILE="development",
    )
    assert child.returncode == 0, child.stderr
    lines = child.stderr.splitlines()
    assert lines[0] == "app 🔐 Secrets mode: development (HIVE_BOOT_MODE)"
    assert lines[-2] == "app said while running"
    assert all(line.startswith("app ") for line in lines)


def test_the_level_of_an_application_is_respected() -> None:
    """An application that logs from WARNING on is not told the mode, but of a default in use."""
    child = run_child(
        PROGRAM.format(before="logging.basicConfig(format='app %(message)s')"),
        HIVE_BOOT_MODE="development",
        HIVE_BOOT_PROFILE="development",
    )
    assert child.stderr == "app Development defaults are in use: JWT_SECRET\n"


def test_a_level_that_was_set_for_us_is_kept() -> None:
    """Whoever sets the level of our logger alone decides what our own handler prints."""
    before = "logging.getLogger('hive_boot').setLevel('ERROR')"
    child = run_child(
        PROGRAM.format(before=before),
        HIVE_BOOT_MODE="development",
        HIVE_BOOT_PROFILE="development",
    )
    assert (child.returncode, child.stderr) == (0, "")


def test_the_lent_handler_is_taken_back() -> None:
    """After a run the logger is as it was: no handler, no level."""
    with nobody_listens(), audible():
        assert len(log.handlers) == 1
        assert log.level == logging.INFO
    assert log.handlers == []
    assert log.level == logging.NOTSET


def test_one_handler_is_enough_for_two_runs() -> None:
    """A second application in the same process does not make every line come twice."""
    with nobody_listens(), audible(), audible():
        assert len(log.handlers) == 1
    assert log.handlers == []


@pytest.mark.anyio
async def test_a_failed_start_takes_its_handler_back_as_well(
    boot: Bootstrap[HiveSecrets, None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting again and again does not add up handlers."""
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "production")
    production = Bootstrap(HiveSecrets, mode="development")
    with nobody_listens():
        await failed_start(production)
        assert log.handlers == []
        async with boot.running():
            assert len(log.handlers) == 1
        assert log.handlers == []


@pytest.mark.anyio
async def test_no_line_of_a_start_holds_a_value(
    boot: Bootstrap[HiveSecrets, None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Mode and profile are told with their reasons, and the value that was found is not."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    with caplog.at_level("DEBUG"):
        async with boot.running():
            pass
    ours = [each.getMessage() for each in caplog.records if each.name == "hive_boot"]
    assert ours[:2] == [
        "🔐 Secrets mode: development (Bootstrap(mode=…))",
        "Profile: development (Bootstrap(profile=…))",
    ]
    assert VALUE not in caplog.text


# Rotations


class Signing(SecretSet):
    """A key that comes into use later, and one that does so at once."""

    jwt_secret: Secret = secret(lead=3600)
    api_key: Secret = secret(min_length=12)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Give name, level and text of what we have logged, and forget it."""
    found = [
        (each.name, each.levelname, each.getMessage())
        for each in caplog.records
        if each.name.startswith("hive_boot")
    ]
    caplog.clear()
    return found


def facts(record: logging.LogRecord) -> tuple[list[str], int, str]:
    """Give what a record says to programs, but for the time that it took."""
    held = vars(record)
    assert isinstance(held["duration"], float)
    assert held["duration"] >= 0
    return held["names"], held["generation"], held["verdict"]


@pytest.fixture
def info(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Hear everything from INFO on."""
    caplog.set_level(logging.INFO, "hive_boot")
    return caplog


@pytest.mark.anyio
async def test_a_rotation_is_told_from_its_acceptance_to_its_use(
    volume: MountedVolume, info: pytest.LogCaptureFixture
) -> None:
    """One record for each step, with names, generation, verdict and duration for programs."""
    volume.publish({"jwt_secret": "fake-jwt-000001", "api_key": "fake-api-000001"})
    boot = mounted(volume.path, Signing, watch=False)
    heard = Heard(boot)
    async with boot.running():
        info.clear()
        volume.publish({"jwt_secret": "fake-jwt-000002", "api_key": "fake-api-000002"})
        await boot.reload()
        await boot.reload(now=True)
        await boot.reload()
        await until(lambda: len(heard.changes) == 2)
    assert [facts(each) for each in info.records] == [
        (["JWT_SECRET", "API_KEY"], 2, "accepted"),
        (["JWT_SECRET"], 2, "in-use"),
    ]
    assert told(info) == [
        (
            "hive_boot.rotation",
            "INFO",
            "Rotated JWT_SECRET, API_KEY: generation 2; JWT_SECRET is used in 3600 s",
        ),
        ("hive_boot.rotation", "INFO", "In use now: JWT_SECRET of generation 2"),
    ]


@pytest.mark.anyio
async def test_a_refusal_is_told_once_and_so_is_the_end_of_it(
    volume: MountedVolume, info: pytest.LogCaptureFixture
) -> None:
    """Why a set is not used, and that the one in use is there again: a line for each, no value."""
    files = {"jwt_secret": "fake-jwt-000001", "api_key": "fake-api-000001"}
    volume.publish(files)
    boot = mounted(volume.path, Signing, watch=False)
    async with boot.running():
        info.clear()
        volume.publish({"api_key": "fake"})
        for _ in range(3):
            with pytest.raises(InvalidSecrets):
                await boot.reload()
        (record,) = info.records
        volume.publish(files)
        for _ in range(3):
            assert await boot.reload() is None
    assert facts(record) == (["JWT_SECRET", "API_KEY"], 2, "refused")
    assert told(info) == [
        (
            "hive_boot.rotation",
            "ERROR",
            (
                "Rotation refused, generation 1 stays in use: "
                "JWT_SECRET is missing; API_KEY has 4 characters, and at least 12 are needed"
            ),
        ),
        (
            "hive_boot.rotation",
            "INFO",
            "The sources hold generation 1 again, which is in use",
        ),
    ]


@pytest.mark.anyio
async def test_a_hook_that_fails_is_told_until_it_succeeds(
    volume: MountedVolume, info: pytest.LogCaptureFixture
) -> None:
    """A traceback at the first time, one line at each further one, one at the end."""
    files = {"jwt_secret": "fake-jwt-000001", "api_key": "fake-api-000001"}
    volume.publish(files)
    boot = mounted(volume.path, Signing, watch=False)
    failures = [ConnectionError("the pool is busy"), ConnectionError("it is busy still")]

    @boot.on_rotate("api_key")
    async def reconnect(_: Change) -> None:
        await checkpoint()
        if failures:
            raise failures.pop(0)

    async with boot.running():
        volume.publish({**files, "api_key": "fake-api-000002"})
        await boot.reload()
        info.clear()
        await until(lambda: "succeeded" in info.text)
    assert [bool(each.exc_info) for each in info.records] == [True, False, False]
    first, again, healed = told(info)
    text = "The hook reconnect failed at generation 2: ConnectionError: the pool is busy; it is"
    assert first[:2] == again[:2] == ("hive_boot.rotation", "ERROR")
    assert re.fullmatch(f"{text} called again in [0-9.]+ s", first[2])
    assert "ConnectionError: it is busy still" in again[2]
    text = "The hook reconnect has succeeded at generation 2"
    assert healed == ("hive_boot.rotation", "INFO", text)


def test_what_ails_a_watch_is_told(info: pytest.LogCaptureFixture) -> None:
    """That changes go unnoticed is an error; that they are noticed again is not."""
    logs.tell_watch(is_down=True)
    logs.tell_watch(is_down=False)
    logs.tell_nothing_to_watch("environment")
    logs.tell_waiting(["JWT_SECRET", "API_KEY"], 7.5)
    assert told(info) == [
        (
            "hive_boot",
            "ERROR",
            "Changes of secrets are not noticed: what looks for them hangs or has ended",
        ),
        ("hive_boot", "INFO", "Changes of secrets are noticed again"),
        (
            "hive_boot",
            "INFO",
            "Nothing is watched: in environment mode secrets are variables, which cannot change",
        ),
        ("hive_boot", "INFO", "Waiting up to 7.5 s for JWT_SECRET, API_KEY"),
    ]


COMPOSE = Pin("/run/secrets/a", "/srv/a", stale=False)
SUBPATH = Pin("/run/secrets/b", "/..2026_11_24_10_00_00.1/b", stale=False)

ALONE = (
    "hive_boot",
    "INFO",
    "Mounted as a file of its own, so a change has to be written into that file: /run/secrets/a",
)
NEVER = "Mounted with subPath, so the kubelet will never update it: {}. Mount the directory"


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("docker", [("hive_boot", "WARNING", NEVER.format("/run/secrets/b")), ALONE]),
        (
            "kubernetes",
            [("hive_boot", "WARNING", NEVER.format("/run/secrets/a, /run/secrets/b"))],
        ),
    ],
)
def test_files_that_cannot_be_replaced_are_told(
    mode: str, expected: list[tuple[str, str, str]], info: pytest.LogCaptureFixture
) -> None:
    """A subPath, which will never be updated, is a warning; a single file of Compose is not."""
    logs.tell_pins([COMPOSE, SUBPATH], mode)
    assert told(info) == expected


def test_stale_mounts_are_told(info: pytest.LogCaptureFixture) -> None:
    """What only a restart mends is an error; where there is nothing to tell nothing is."""
    logs.tell_pins([], "docker")
    logs.tell_stale([])
    logs.tell_stale(["/run/secrets/a", "/run/secrets/b"])
    assert told(info) == [
        (
            "hive_boot",
            "ERROR",
            (
                "Stale mount: /run/secrets/a, /run/secrets/b was replaced outside, "
                "and only a restart will show the new file"
            ),
        )
    ]


def test_a_name_is_told_once_for_all_its_problems(info: pytest.LogCaptureFixture) -> None:
    """A secret with two faults is one name to programs, and two reasons to people."""
    faults = [Problem("A", "length", "is short"), Problem("A", "pattern", "is odd")]
    logs.tell_refusal(faults, 3, 0.5)
    assert facts(info.records[0]) == (["A"], 4, "refused")
    assert told(info)[0][2] == ("Rotation refused, generation 3 stays in use: A is short; A is odd")


@pytest.mark.anyio
async def test_without_a_log_rotations_are_said_on_stderr_too(
    volume: MountedVolume, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lent handler is there as long as the run, so nobody has to set up logging to see one."""
    files = {"jwt_secret": "fake-jwt-000001", "api_key": "fake-api-000001"}
    volume.publish(files)
    boot = mounted(volume.path, Signing, watch=False)
    with nobody_listens():
        async with boot.running():
            volume.publish({**files, "api_key": "fake-api-000002"})
            await boot.reload()
    assert "INFO hive_boot.rotation: Rotated API_KEY: generation 2\n" in capsys.readouterr().err
