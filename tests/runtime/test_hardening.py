"""What went wrong once: settings, checks that end oddly, and the last words of a process."""

import asyncio
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import ENOSPC
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from pydantic_settings import BaseSettings, SettingsConfigDict

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.testing import MountedVolume
from tests.fixtures.owned_processes import (
    BACKENDS,
    HEAD,
    STATUS_OF,
    ended,
    errors_of,
    side_by_side,
)
from tests.runtime.rotations import mounted
from tests.support import child_environment, failed_start

VALUE = "fake-jwt-secret-0123456789-0123456789"


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
@pytest.mark.usefixtures("provided")
async def test_a_cancelled_check_has_not_passed() -> None:
    """A secret or a set whose check was cancelled halfway on asyncio is refused."""
    for check in (awaits_a_cancelled_task, raises_cancelled):
        for boot, name in ((one_check(check), "JWT_SECRET"), (set_check(check), "Whole")):
            error = await failed_start(boot)
            assert [(each.name, each.kind) for each in error.problems] == [(name, "check")]


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
@pytest.mark.both_backends
async def test_a_check_refuses_by_whatever_it_raises() -> None:
    """A check that leaves the process refuses the secret; the report does not show the value."""
    for check in (leaves, is_gone):
        for boot, name in ((one_check(check), "JWT_SECRET"), (set_check(check), "Whole")):
            error = await failed_start(boot)
            assert [(each.name, each.kind) for each in error.problems] == [(name, "check")]
            assert error.exit_code == 78
            assert VALUE not in error.report()


# Variables


@pytest.mark.anyio
@pytest.mark.usefixtures("provided")
async def test_a_variable_that_names_no_directory_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HIVE_BOOT_SECRETS_DIR with separators alone does not mean the usual place."""
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", ":")
    for mode in ("", "docker"):
        if mode:
            monkeypatch.setenv("HIVE_BOOT_MODE", mode)
        error = await failed_start(Bootstrap(HiveSecrets))
        problems = [(each.name, each.kind) for each in error.problems]
        assert problems == [("HIVE_BOOT_SECRETS_DIR", "setting")]


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
        """Return a part that does not say where it is."""
        return [{"msg": "x"}]


@pytest.mark.anyio
@pytest.mark.usefixtures("provided")
async def test_settings_that_raise_anything_are_reported() -> None:
    """An error that cannot be read, or leaves the process, is named by its type."""
    failures = (
        SpeechlessError(),
        FailingError(),
        PartialError(),
        GoneError(VALUE),
        SystemExit(f"bye {VALUE}"),
    )
    for raised in failures:

        def settings(raised: BaseException = raised) -> None:
            raise raised

        error = await failed_start(boot_of(settings))
        (problem,) = error.problems
        assert (problem.kind, error.exit_code) == ("config", 78)
        assert type(raised).__name__ in problem.message
        assert VALUE not in error.report()


# The end of a process

TABLE = f"""
{STATUS_OF}
import asyncio

class Gone(BaseException):
    pass

class Speechless(Exception):
    __str__ = None

value = os.environ["JWT_SECRET"]

def raising(failure, cause=None):
    '''Return a function that raises.'''
    async def raises(*_):
        raise failure from cause
    return raises

def exits(code):
    '''Return a main that exits.'''
    async def main():
        sys.exit(code)
    return main

def returns(code):
    '''Return a main that returns.'''
    async def main():
        return code
    return main

def judged_by(judge):
    class Judged(SecretSet):
        jwt_secret: Secret = secret(check=judge)
    return Bootstrap(Judged)

def made_by(failure):
    def make():
        raise failure
    return Bootstrap(Needs, config=make)

async def ends_cancelled():
    task = asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task

async def nothing():
    pass

def show(name, *codes):
    print(name, *codes)

show("exits", *(status_of(Bootstrap(Needs), exits(code)) for code in (3, 0, None)))
text = f"bye {{value}}"
show("text", status_of(Bootstrap(Needs), exits(text)))
show("interrupted", status_of(Bootstrap(Needs), raising(KeyboardInterrupt(value))))
show(
    "gone",
    status_of(Bootstrap(Needs), raising(Gone(value))),
    status_of(Bootstrap(Needs), raising(BaseExceptionGroup(value, [Gone(value)]))),
    status_of(Bootstrap(Needs), raising(Gone(), ValueError(value))),
)
if backend == "asyncio":
    show("cancelled", status_of(Bootstrap(Needs), ends_cancelled))
for way in (exits, returns):
    # The system would cut these down to a byte.
    codes = [status_of(Bootstrap(Needs), way(code)) for code in (256, 512, -1, -256)]
    show("too large", all(0 < code < 256 for code in codes))
for failure in (Gone(value), SystemExit(text)):
    show("report", status_of(judged_by(raising(failure)), nothing))
    show("report", status_of(made_by(failure), nothing))
show("report", status_of(made_by(Speechless()), nothing))
"""


def test_statuses_of_a_process(tmp_path: Path) -> None:
    """Nothing but a success ends as one, and no way to end shows the value."""

    def scenario(backend: str, path: Path) -> None:
        code, out, err = ended(TABLE, backend, cwd=path, JWT_SECRET=VALUE)
        assert code == 0, err
        cancelled = ["cancelled 70"] if backend == "asyncio" else []
        assert out == [
            "exits 3 0 0",
            "text 1",
            "interrupted 130",
            "gone 70 70 70",
            *cancelled,
            "too large True",
            "too large True",
            *["report 78"] * 5,
        ]
        assert VALUE not in err
        written = errors_of(err)
        # A number, and nothing, are no reason for a traceback; a text is written as it is.
        assert not any("Traceback" in text for text in written[:4])
        assert written[3].splitlines()[-1] == "bye ***"
        reports = written[-5:]
        assert not any("Traceback" in text for text in reports)
        assert all(" has 1 problem;" in text for text in reports)
        assert "Speechless" in reports[-1]

    side_by_side(tmp_path, scenario, [(backend,) for backend in BACKENDS])


LAST_WORDS = """
boot = Bootstrap(Needs)

@boot.main
async def main(secrets: Needs):
    {}(f"bye {{secrets.jwt_secret.reveal()}}")

boot.run(backend=backend)
"""


def test_the_last_words_of_a_process_are_without_the_value(tmp_path: Path) -> None:
    """sys.exit with a text ends as Python does: the text on stderr and 1; no value is in it."""

    def scenario(backend: str, path: Path) -> None:
        source = LAST_WORDS.format("sys.exit")
        code, out, err = ended(source, backend, cwd=path, JWT_SECRET=VALUE)
        assert (code, out) == (1, []), err
        assert err.splitlines()[-1] == "bye ***"
        assert "Traceback" not in err
        assert VALUE not in err

    side_by_side(tmp_path, scenario, [(backend,) for backend in BACKENDS])


def test_the_status_is_right_without_a_stderr(tmp_path: Path) -> None:
    """A daemon without stderr, or with a full disk behind it, ends with the same status."""
    shell = shutil.which("sh")
    assert shell is not None
    source = HEAD + LAST_WORDS.format("raise RuntimeError")

    def scenario(stderr: str, given: str, path: Path) -> None:
        child = subprocess.run(
            [shell, "-c", f'exec "$0" -c "$1" "$2" {stderr}', sys.executable, source, "asyncio"],
            env=child_environment(HIVE_BOOT_MODE="environment", JWT_SECRET=given),
            cwd=path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert child.returncode == (70 if given else 78)
        assert VALUE.encode() not in child.stdout + child.stderr

    side_by_side(tmp_path, scenario, product(["2>&-", "2>/dev/full"], ["", VALUE]))


# A log that fails


class Full(logging.Handler):
    """Cannot write, as on a full disk, and says so by raising."""

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002  (logging's)
        """Fail."""
        raise OSError(ENOSPC, "no space left on device")


@pytest.mark.anyio
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
