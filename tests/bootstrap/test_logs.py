"""What a start says, and to whom: the application's log, or stderr when it has none."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.bootstrap.logs import audible, log
from tests.support import failed_start, run_child

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
    assert lines[4:] == ["INFO hive_boot: said while running"]
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
    assert lines[-1] == "app said while running"
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
