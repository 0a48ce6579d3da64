"""What went wrong once: settings, checks that end oddly, and the last words of a process."""

import asyncio
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from pydantic_settings import BaseSettings, SettingsConfigDict

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.testing import MountedVolume
from tests.bootstrap.rotations import mounted
from tests.support import child_environment, failed_start, run_child

VALUE = "fake-jwt-secret-0123456789-0123456789"

ENVIRONMENT = {"HIVE_BOOT_MODE": "environment", "JWT_SECRET": VALUE}

asyncio_only = pytest.mark.parametrize("anyio_backend", ["asyncio"])


class HiveSecrets(SecretSet):
    """One secret."""

    jwt_secret: Secret


class GoneError(BaseException):
    """What no except clause of the usual kind catches."""


@pytest.fixture
def provided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide the secret."""
    monkeypatch.setenv("JWT_SECRET", VALUE)


def boot_of(config: Any) -> Bootstrap[HiveSecrets, Any]:  # noqa: ANN401  (anything that is called)
    """Make an application with these settings, whose secrets are variables."""
    return Bootstrap(HiveSecrets, config=config, mode="environment")


def one_check(check: Callable[[str], Any]) -> Bootstrap[Any, None]:
    """Make an application with one secret that ``check`` judges."""

    class One(SecretSet):
        """One secret with a check."""

        jwt_secret: Secret = secret(check=check)

    return Bootstrap(One, mode="environment")


def set_check(judge: Callable[[], Any]) -> Bootstrap[Any, None]:
    """Make an application whose set ``judge`` judges."""

    class Whole(SecretSet):
        """One secret, and a check of the set."""

        jwt_secret: Secret

        async def check(self) -> None:
            """Judge the set."""
            await judge()

    return Bootstrap(Whole, mode="environment")


# Checks


async def awaits_a_cancelled_task(_: object = None) -> None:
    """Cancel a task of its own, and await it."""
    task = asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def raises_cancelled(_: object = None) -> None:
    """End as a cancelled task does."""
    await asyncio.sleep(0)
    raise asyncio.CancelledError


@pytest.mark.anyio
@asyncio_only
@pytest.mark.usefixtures("provided")
@pytest.mark.parametrize("check", [awaits_a_cancelled_task, raises_cancelled])
async def test_a_cancelled_check_has_not_passed(check: Callable[..., Any]) -> None:
    """A secret whose check was cancelled halfway is refused, as one that nobody judged."""
    error = await failed_start(one_check(check))
    assert [(each.name, each.kind) for each in error.problems] == [("JWT_SECRET", "check")]


@pytest.mark.anyio
@asyncio_only
@pytest.mark.usefixtures("provided")
@pytest.mark.parametrize("check", [awaits_a_cancelled_task, raises_cancelled])
async def test_a_cancelled_check_of_the_set_has_not_passed(check: Callable[[], Any]) -> None:
    """A set whose check was cancelled halfway is refused."""
    error = await failed_start(set_check(check))
    assert [(each.name, each.kind) for each in error.problems] == [("Whole", "check")]


async def leaves(value: str = VALUE) -> None:
    """Leave the process with the value for a last word."""
    await checkpoint()
    sys.exit(f"bye {value}")


async def is_gone(value: str = VALUE) -> None:
    """Raise what is no Exception."""
    await checkpoint()
    raise GoneError(value)


@pytest.mark.anyio
@pytest.mark.usefixtures("provided")
@pytest.mark.parametrize("check", [leaves, is_gone])
async def test_a_check_refuses_by_whatever_it_raises(check: Callable[..., Any]) -> None:
    """A check that leaves the process refuses the secret; the report does not show the value."""
    for boot, name in ((one_check(check), "JWT_SECRET"), (set_check(check), "Whole")):
        error = await failed_start(boot)
        assert [(each.name, each.kind) for each in error.problems] == [(name, "check")]
        assert error.exit_code == 78
        assert VALUE not in error.report()


# Variables


@pytest.mark.anyio
@pytest.mark.usefixtures("provided")
@pytest.mark.parametrize("mode", ["", "docker"])
async def test_a_variable_that_names_no_directory_is_told(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HIVE_BOOT_SECRETS_DIR with separators alone is told; it does not mean the usual place."""
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", ":")
    if mode:
        monkeypatch.setenv("HIVE_BOOT_MODE", mode)
    error = await failed_start(Bootstrap(HiveSecrets))
    told = [(each.name, each.kind) for each in error.problems]
    assert told == [("HIVE_BOOT_SECRETS_DIR", "setting")]


# Settings


@pytest.mark.anyio
@pytest.mark.usefixtures("provided")
async def test_a_stray_line_of_a_settings_file_is_not_shown(tmp_path: Path) -> None:
    """A key block without quotes in the settings' own .env shows no line of it in the report."""
    dotenv = tmp_path / "settings.env"
    lines = ["KEY=-----BEGIN FAKE KEY-----", "RmFrZUxpbmVPZkFLZXk==", "-----END FAKE KEY-----"]
    dotenv.write_text("\n".join(lines))

    class Settings(BaseSettings):
        """Settings that refuse what they do not know."""

        model_config = SettingsConfigDict(extra="forbid", env_file=dotenv)

        port: int = 3000
        key: str = ""

    error = await failed_start(boot_of(Settings))
    report = error.report()
    assert "rmfrzu" not in report.lower()
    assert {each.kind for each in error.problems} == {"config"}
    assert all(each.name.startswith("Settings") for each in error.problems)
    assert "Extra inputs are not permitted" in report


class SpeechlessError(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError(VALUE)


class FailingError(Exception):
    """An error whose parts cannot be asked for."""

    def errors(self, **_: object) -> list[dict[str, str]]:
        """Fail."""
        raise RuntimeError(VALUE)


class PartialError(Exception):
    """An error whose parts are not those of pydantic."""

    def errors(self, **_: object) -> list[dict[str, str]]:
        """Give a part that does not say where it is."""
        return [{"msg": "x"}]


@pytest.mark.anyio
@pytest.mark.usefixtures("provided")
@pytest.mark.parametrize("kind", [SpeechlessError, FailingError, PartialError])
async def test_an_error_that_cannot_be_read_is_named_by_its_type(kind: type[Exception]) -> None:
    """Whatever the settings raise, the report has a line that names it."""

    def settings() -> None:
        raise kind

    error = await failed_start(boot_of(settings))
    (problem,) = error.problems
    assert (problem.kind, error.exit_code) == ("config", 78)
    assert kind.__name__ in problem.message
    assert VALUE not in error.report()


@pytest.mark.anyio
@pytest.mark.usefixtures("provided")
@pytest.mark.parametrize("raised", [GoneError(VALUE), SystemExit(f"bye {VALUE}")], ids=repr)
async def test_settings_that_leave_are_reported(raised: BaseException) -> None:
    """A factory that leaves the process is a problem of the settings, without the value."""

    def settings() -> None:
        raise raised

    error = await failed_start(boot_of(settings))
    (problem,) = error.problems
    assert (problem.kind, error.exit_code) == ("config", 78)
    assert type(raised).__name__ in problem.message
    assert VALUE not in error.report()


# The end of a process

HEAD = """
import asyncio, sys
from hive_boot import Bootstrap, Secret, SecretSet, secret

backend = sys.argv[1]

class Gone(BaseException):
    pass

async def check(value):
    {check}

def settings():
    {settings}

class HiveSecrets(SecretSet):
    jwt_secret: Secret = secret(check=check)

boot = Bootstrap(HiveSecrets, config=settings)

@boot.main
async def main(secrets: HiveSecrets):
    value = secrets.jwt_secret.reveal()
    {main}

boot.run(backend=backend)
"""


def program(main: str = "pass", check: str = "pass", settings: str = "pass") -> str:
    """Write an application with this main, this check and these settings."""
    return HEAD.format(main=main, check=check, settings=settings)


def run_main(backend: str, source: str) -> subprocess.CompletedProcess[str]:
    """Run an application whose secret is provided."""
    return run_child(source, backend, cwd=None, **ENVIRONMENT)


def test_the_last_word_of_main_is_without_the_value(anyio_backend: str) -> None:
    """sys.exit with a text ends as Python does: the text on stderr and 1; no value is in it."""
    child = run_main(anyio_backend, program("sys.exit(f'bye {value}')"))
    assert child.returncode == 1, child.stderr
    assert child.stderr.splitlines()[-1] == "bye ***"
    assert "Traceback" not in child.stderr
    assert VALUE not in child.stdout + child.stderr


@pytest.mark.parametrize(("given", "code"), [("3", 3), ("0", 0), ("", 0)])
def test_main_may_exit_with_a_status(anyio_backend: str, given: str, code: int) -> None:
    """sys.exit with a number, or with nothing, is the exit status, and tells nothing."""
    child = run_main(anyio_backend, program(f"sys.exit({given})"))
    assert child.returncode == code, child.stderr
    assert "Traceback" not in child.stderr


@pytest.mark.parametrize(
    ("main", "code"),
    [
        ("raise KeyboardInterrupt(value)", 130),
        ("raise Gone(value)", 70),
        ("raise BaseExceptionGroup(value, [Gone(value)])", 70),
        ("raise Gone from ValueError(value)", 70),
    ],
)
def test_no_kind_of_exception_shows_the_value(anyio_backend: str, main: str, code: int) -> None:
    """Whatever main raises, the log has no value, and the status is that of a crash."""
    child = run_main(anyio_backend, program(main))
    assert child.returncode == code, child.stderr
    assert VALUE not in child.stdout + child.stderr


def test_a_main_that_ends_cancelled_is_no_success() -> None:
    """A main that awaits a task which somebody cancelled did not do its work: 70."""
    body = """task = asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task"""
    child = run_main("asyncio", program(body))
    assert child.returncode == 70, child.stderr


@pytest.mark.parametrize("code", [256, 512, -1, -256])
@pytest.mark.parametrize("way", ["return {}", "sys.exit({})"])
def test_a_number_that_is_no_status_is_no_success(anyio_backend: str, way: str, code: int) -> None:
    """A number that the system would cut down to a byte never ends as a success."""
    child = run_main(anyio_backend, program(way.format(code)))
    assert child.returncode != 0, child.stderr


@pytest.mark.parametrize("place", ["check", "settings"])
@pytest.mark.parametrize("raised", ["Gone(value)", "SystemExit(f'bye {value}')"])
def test_a_start_that_somebody_leaves_is_a_report(
    anyio_backend: str, place: str, raised: str
) -> None:
    """A check or a factory that leaves the process is a failed start: 78, without the value."""
    body = f"import os; value = os.environ['JWT_SECRET']; raise {raised}"
    child = run_main(anyio_backend, program(**{place: body}))
    assert child.returncode == 78, child.stderr
    assert "hive_boot: 1 problem with HiveSecrets" in child.stderr
    assert "Traceback" not in child.stderr
    assert VALUE not in child.stdout + child.stderr


def test_settings_that_cannot_say_what_is_wrong_are_a_report(anyio_backend: str) -> None:
    """An error of the settings that fails to be a text still ends as a failed start: 78."""
    body = """class Speechless(Exception):
        __str__ = None
    raise Speechless"""
    child = run_main(anyio_backend, program(settings=body))
    assert child.returncode == 78, child.stderr
    assert "Speechless" in child.stderr
    assert "Traceback" not in child.stderr


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("secret_given", "code"), [("", 78), (VALUE, 70)], ids=["missing", "crash"]
)
def test_the_status_is_right_without_a_stderr(
    anyio_backend: str, stderr: str, secret_given: str, code: int
) -> None:
    """A daemon without stderr, or with a full disk behind it, ends with the same status."""
    shell = shutil.which("sh")
    assert shell is not None
    source = program("raise RuntimeError(value)")
    command = f'exec "$0" -c "$1" "$2" {stderr}'
    child = subprocess.run(
        [shell, "-c", command, sys.executable, source, anyio_backend],
        env=child_environment(HIVE_BOOT_MODE="environment", JWT_SECRET=secret_given),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == code
    assert VALUE.encode() not in child.stdout + child.stderr


# A log that fails


class Full(logging.Handler):
    """Cannot write, as on a full disk, and says so by raising."""

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002  (logging's)
        """Fail."""
        raise OSError(ENOSPC, "no space left on device")


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_log_that_fails_ends_no_rotation(volume: MountedVolume) -> None:
    """An application whose log breaks for a while goes on with its rotations, and answers."""
    volume.publish({"jwt_secret": VALUE})
    boot = mounted(volume.path, HiveSecrets, watch=False)
    log, handler = logging.getLogger("hive_boot.rotation"), Full()
    async with boot.running() as secrets:
        log.addHandler(handler)
        try:
            volume.publish({"jwt_secret": f"{VALUE}-2"})
            with anyio.fail_after(20), suppress(Exception):
                await boot.reload()
        finally:
            log.removeHandler(handler)
        volume.publish({"jwt_secret": f"{VALUE}-3"})
        with anyio.fail_after(5):
            await boot.reload()
        assert secrets.jwt_secret.reveal() == f"{VALUE}-3"
        assert not boot.status().degraded
