"""Log lines of a run: on the handlers of the application, or on stderr without any."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from itertools import product
from pathlib import Path

import pytest
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, Change, InvalidSecretsError, Problem, Secret, SecretSet, secret
from hive_boot.runtime import log_messages, rotation_messages
from hive_boot.runtime.log_messages import fallback_handler, log
from hive_boot.secrets.watch_targets import MountedFile
from hive_boot.testing import MountedVolume
from tests.fixtures.golden import assert_golden
from tests.fixtures.owned_processes import STATUS_OF, ended, errors_of, side_by_side
from tests.runtime.rotations import Heard, mounted
from tests.support import failed_start, until

VALUE = "fake-jwt-secret-0123456789-0123456789"

PROGRAM = f"""
{STATUS_OF}
import logging

class HiveSecrets(SecretSet):
    jwt_secret: Secret = secret(dev_default="dev-only-jwt-secret-0123456789abcdef")

async def main() -> None:
    logging.getLogger("hive_boot").info("said while running")

def run():
    assert status_of(Bootstrap(HiveSecrets), main) == 0

run()
# The level of our logger alone decides what our own handler prints.
logging.getLogger("hive_boot").setLevel("ERROR")
run()
logging.getLogger("hive_boot").setLevel("NOTSET")
# An application's own logging is used, in its own form, and nothing added.
logging.basicConfig(level=20, format="app %(levelname)s %(message)s")
run()
logging.getLogger().setLevel("WARNING")
run()
"""

RUN = """
import anyio
from hive_boot import InvalidSecretsError
from hive_boot.testing import MountedVolume

volume = MountedVolume("secrets")
volume.publish({"jwt_secret": "fake-jwt-000001", "api_key": "fake-api-000001"})

class Signing(SecretSet):
    jwt_secret: Secret = secret(activate_after=3600)
    api_key: Secret = secret(min_length=12)
    pin: Secret = secret(dev_default="1234")

boot = Bootstrap(Signing, mode="kubernetes", profile="development", secrets_dirs="secrets")

@boot.main
async def main() -> None:
    good = {"jwt_secret": "fake-jwt-000002", "api_key": "fake-api-000002"}
    volume.publish(good)
    await boot.reload()
    await boot.reload(now=True)
    volume.publish({"api_key": "fake", "pin": "4321"})
    try:
        await boot.reload()
    except InvalidSecretsError:
        volume.publish(good)
    await boot.reload()
    signal.raise_signal(signal.SIGTERM)
    await anyio.sleep_forever()

boot.run(backend=backend)
"""


class HiveSecrets(SecretSet):
    """A secret with a default, and an optional one."""

    jwt_secret: Secret = secret(dev_default="dev-only-jwt-secret-0123456789abcdef")
    sentry_dsn: Secret | None


@contextmanager
def no_handlers() -> Iterator[None]:
    """Remove the handlers that pytest has on the root logger, for the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        yield


@pytest.fixture
def boot() -> Bootstrap[HiveSecrets, None]:
    """Return an application in development."""
    return Bootstrap(HiveSecrets, mode="development", profile="development")


def test_the_log_of_a_run(memory: Path) -> None:
    """Every step is a line on stderr, from the start over rotations to the stop."""
    code, _, err = ended(RUN, "asyncio", cwd=memory, JWT_SECRET="")
    assert code == 0, err
    text = re.sub(r"\d+\.\d\d s\b", "<seconds> s", err)
    assert_golden("log_of_a_run", text, {str(memory): "<directory>"})
    assert "fake-" not in err


def test_the_handlers_of_an_application_are_used_if_it_has_any(tmp_path: Path) -> None:
    """Without a handler every line is on stderr; levels that were set are respected."""
    development = {"HIVE_BOOT_MODE": "development", "HIVE_BOOT_PROFILE": "development"}
    code, out, err = ended(PROGRAM, "asyncio", cwd=tmp_path, JWT_SECRET="", **development)
    assert (code, out) == (0, []), err
    plain, quiet, own, warnings = (text.splitlines() for text in errors_of(err))
    starts = [(line.split()[0], line.split()[1]) for line in plain]
    assert starts.count(("WARNING", "hive_boot:")) == 1
    assert set(starts) == {("INFO", "hive_boot:"), ("WARNING", "hive_boot:")}
    assert plain[-2] == "INFO hive_boot: said while running"
    reasons = ("(HIVE_BOOT_MODE)", "(HIVE_BOOT_PROFILE)", "JWT_SECRET")
    for line, contains in zip(plain[:3], reasons, strict=True):
        assert contains in line
    assert quiet == []
    form = [line.replace(" hive_boot:", "", 1) for line in plain]
    assert [without_seconds(line) for line in own] == [
        f"app {without_seconds(line)}" for line in form
    ]
    (warning,) = warnings
    assert warning.startswith("app WARNING ")
    assert "JWT_SECRET" in warning


def without_seconds(line: str) -> str:
    """Return a line without its duration."""
    return re.sub(r"\d+\.\d\d s$", "<seconds> s", line)


def test_the_fallback_handler_is_removed_after_the_last_run() -> None:
    """The logger then has no handler and no level, as before."""
    with no_handlers(), fallback_handler("hive_boot"), fallback_handler("hive_boot"):
        assert len(log.handlers) == 1
        assert log.level == logging.INFO
    assert log.handlers == []
    assert log.level == logging.NOTSET


CONFIGURED = (
    "file",
    "unopened file",
    "null",
    "stdout",
    "path of stderr",
    "file and stderr",
    "late",
)
"""The logging setups of the program, in order."""

FILES_ONLY = f"""
{STATUS_OF}
import logging
from logging.handlers import RotatingFileHandler

class HiveSecrets(SecretSet):
    jwt_secret: Secret = secret(dev_default="dev-only-jwt-secret-0123456789abcdef")

attempts = []

def boot():
    declared = Bootstrap(HiveSecrets)

    @declared.check
    async def database_answers() -> None:
        attempts.append(1)
        if len(attempts) % 2:
            raise ConnectionError("the database does not answer")

    return declared

async def main() -> None: ...

def run(*handlers):
    logging.basicConfig(level=20, handlers=handlers, force=True)
    assert status_of(boot(), main) == 0

run(RotatingFileHandler("app.log"))
run(logging.FileHandler("other.log", delay=True))
run(logging.NullHandler())
run(logging.StreamHandler(sys.stdout))
run(logging.FileHandler("/proc/self/fd/2"))
run(logging.FileHandler("third.log"), logging.StreamHandler())

# Configured after the start: the line is not written twice.
logging.basicConfig(level=20, handlers=[], force=True)
logging.getLogger().handlers.clear()

async def main() -> None:
    logging.basicConfig(level=20, format="app %(message)s")
    logging.getLogger("hive_boot").info("said after the start")

assert status_of(boot(), main) == 0
"""


def test_warnings_of_a_start_are_visible_when_logs_go_to_files_only(tmp_path: Path) -> None:
    """A start that retries a check shows why on stderr, once, whatever logging is configured."""
    development = {"HIVE_BOOT_MODE": "development", "HIVE_BOOT_PROFILE": "development"}
    code, out, err = ended(FILES_ONLY, "asyncio", cwd=tmp_path, JWT_SECRET="", **development)
    assert code == 0, err
    parts = dict(zip(CONFIGURED, errors_of(err), strict=True))
    for name in ("file", "unopened file", "null"):
        assert parts[name].count("retry in") == 1, parts[name]
        assert "WARNING hive_boot: " in parts[name]
        assert "INFO" not in parts[name], name
    assert "retry in" not in parts["stdout"]
    assert sum("retry in" in line for line in out) == 1
    for name in ("path of stderr", "file and stderr"):
        assert parts[name].count("retry in") == 1, parts[name]
        assert "WARNING hive_boot: " not in parts[name], name
    assert parts["late"].count("retry in") == 1
    assert parts["late"].count("said after the start") == 1
    assert "app said after the start" in parts["late"]


def test_a_handler_without_a_descriptor_may_write_to_the_console(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program may have replaced stderr with an object in memory."""
    console, other = StringIO(), StringIO()
    monkeypatch.setattr(sys, "stderr", console)
    reaches_console = log_messages._reaches_console  # noqa: SLF001
    assert reaches_console(logging.StreamHandler(console))
    assert not reaches_console(logging.StreamHandler(other))


@pytest.mark.anyio
async def test_a_failed_start_removes_its_fallback_handler(
    boot: Bootstrap[HiveSecrets, None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several starts do not add up handlers."""
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "production")
    production = Bootstrap(HiveSecrets, mode="development")
    with no_handlers():
        await failed_start(production)
        assert log.handlers == []
        async with boot.running():
            assert len(log.handlers) == 1
        assert log.handlers == []


@pytest.mark.anyio
async def test_no_line_of_a_start_contains_a_value(
    boot: Bootstrap[HiveSecrets, None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Mode and profile are logged with their reasons, and no value is."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    with caplog.at_level("DEBUG"):
        async with boot.running():
            pass
    ours = [each.getMessage() for each in caplog.records if each.name == "hive_boot"]
    reasons = ("(Bootstrap(mode=…))", "(Bootstrap(profile=…))")
    for line, contains in zip(ours[:2], reasons, strict=True):
        assert "development" in line
        assert contains in line
    assert VALUE not in caplog.text


OWN_LINES = f"""
{STATUS_OF}
import logging
from hive_boot import SecretBytes

class Keys(SecretSet):
    api_key: KIND

async def main() -> None:
    LINES
    print(*sorted(name for name in sys.modules if name.startswith("hive_boot.redaction.")))

print(status_of(Bootstrap(Keys, mode="environment"), main))
"""

LINES = {
    "none": "",
    "text": "logging.getLogger('hive_boot').info('said while running')",
    "traceback": "ours.log.info(ours._READY, 1, exc_info=ValueError(VALUE))",
    "stack": "ours.log.info(ours._READY, 1, stack_info=VALUE)",
    "formatter": "handler.setFormatter(logging.Formatter(f'{VALUE} %(message)s')); ready(1)",
    "filter": "handler.addFilter(replace); ready(1)",
    "record": "logging.setLogRecordFactory(Other); ready(1)",
    "attribute": "ours.log.addFilter(extend); ready(1)",
}
"""Code of main, in a program with the fallback handler."""

HELPERS = f"""
    import hive_boot.runtime.log_messages as ours
    VALUE = {VALUE!r}
    (handler,) = ours.log.handlers
    def ready(seconds):
        ours.log_ready(seconds, None)
    def replace(record):
        record.msg = VALUE
        return True
    def extend(record):
        record.user = VALUE
        return True
    class Other(logging.LogRecord):
        def getMessage(self):
            return VALUE
"""


def test_the_lines_of_a_start_do_not_build_the_matcher(tmp_path: Path) -> None:
    """The first line that can have a value builds it: one of the application, or a changed one."""

    def scenario(name: str, path: Path) -> None:
        source = OWN_LINES.replace("KIND", "Secret").replace(
            "LINES", HELPERS + "    " + LINES[name]
        )
        code, out, err = ended(source, "asyncio", cwd=path, API_KEY=VALUE)
        assert (code, out[-1]) == (0, "0"), err
        assert ("hive_boot.redaction.needles" in out[0]) == (name != "none"), err
        assert "Ready after" in err
        assert "Stopped in" in err or name in {"formatter", "filter", "record"}
        assert VALUE not in err

    side_by_side(tmp_path, scenario, [(name,) for name in LINES])


def test_a_value_that_equals_a_part_of_a_start_line_is_redacted(tmp_path: Path) -> None:
    """This also holds for values of SecretBytes."""

    def scenario(kind: str, value: str, path: Path) -> None:
        source = OWN_LINES.replace("KIND", kind).replace("    LINES\n", "")
        code, out, err = ended(source, "asyncio", cwd=path, API_KEY=value)
        assert (code, out[-1]) == (0, "0"), err
        assert "***" in err
        assert value not in err

    values = ("Ready after", "hive_boot: Ready", "Ready after 0.", "Stopped in")
    side_by_side(tmp_path, scenario, list(product(("Secret", "SecretBytes"), values)))


# Rotations


class Signing(SecretSet):
    """A secret with `activate_after`, and one without."""

    jwt_secret: Secret = secret(activate_after=3600)
    api_key: Secret = secret(min_length=12)


def assert_logged(caplog: pytest.LogCaptureFixture, *expected: tuple[str, str, str]) -> None:
    """Assert logger, level and a part of the text of each record, and clear the records."""
    logged = [
        (each.name, each.levelname, each.getMessage())
        for each in caplog.records
        if each.name.startswith("hive_boot")
    ]
    caplog.clear()
    assert [each[:2] for each in logged] == [each[:2] for each in expected]
    for (*_, text), (*_, contains) in zip(logged, expected, strict=True):
        assert contains in text


def facts(record: logging.LogRecord) -> tuple[list[str], int | None, str]:
    """Return names, generation and verdict of a record; its duration is a number."""
    found = vars(record)
    assert isinstance(found["duration"], float)
    assert found["duration"] >= 0
    return found["names"], found["generation"], found["verdict"]


@pytest.fixture
def info(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Return the captured log, with the level INFO."""
    caplog.set_level(logging.INFO, "hive_boot")
    return caplog


@pytest.mark.anyio
async def test_a_rotation_is_logged_at_its_acceptance_and_its_activation(
    volume: MountedVolume, info: pytest.LogCaptureFixture
) -> None:
    """Each record has names, generation, verdict and duration as attributes."""
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
    assert_logged(
        info, ("hive_boot.rotation", "INFO", "3600 s"), ("hive_boot.rotation", "INFO", "JWT_SECRET")
    )


@pytest.mark.anyio
async def test_a_refusal_and_the_recovery_are_logged_once_each(
    volume: MountedVolume, info: pytest.LogCaptureFixture
) -> None:
    """One line has the reason, one line names the generation in use, and neither has a value."""
    files = {"jwt_secret": "fake-jwt-000001", "api_key": "fake-api-000001"}
    volume.publish(files)
    boot = mounted(volume.path, Signing, watch=False)
    async with boot.running():
        info.clear()
        volume.publish({"api_key": "fake"})
        for _ in range(3):
            with pytest.raises(InvalidSecretsError):
                await boot.reload()
        (record,) = info.records
        volume.publish(files)
        for _ in range(3):
            assert await boot.reload() is None
    assert facts(record) == (["JWT_SECRET", "API_KEY"], None, "refused")
    assert_logged(
        info,
        ("hive_boot.rotation", "ERROR", "JWT_SECRET is missing; API_KEY"),
        ("hive_boot.rotation", "INFO", "generation 1"),
    )


@pytest.mark.anyio
async def test_each_failure_of_a_hook_and_its_success_are_logged(
    volume: MountedVolume, info: pytest.LogCaptureFixture
) -> None:
    """The first failure has a traceback, the others have one line each."""
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
    assert_logged(
        info,
        ("hive_boot.rotation", "ERROR", "ConnectionError: the pool is busy"),
        ("hive_boot.rotation", "ERROR", "ConnectionError: it is busy still"),
        ("hive_boot.rotation", "INFO", "reconnect"),
    )


def test_the_state_of_the_watcher_is_logged(info: pytest.LogCaptureFixture) -> None:
    """An error if changes are not noticed, and info if they are noticed again."""
    rotation_messages.log_watch_state(is_down=True)
    rotation_messages.log_watch_state(is_down=False)
    rotation_messages.log_nothing_to_watch("environment")
    log_messages.log_waiting_for_files(["JWT_SECRET", "API_KEY"], 7.5)
    assert_logged(
        info,
        ("hive_boot", "ERROR", ""),
        ("hive_boot", "INFO", ""),
        ("hive_boot", "INFO", "environment"),
        ("hive_boot", "INFO", "files: JWT_SECRET, API_KEY"),
    )


COMPOSE = MountedFile("/run/secrets/a", "/srv/a", stale=False)
SUBPATH = MountedFile("/run/secrets/b", "/..2026_11_24_10_00_00.1/b", stale=False)


def test_files_that_are_mount_points_are_logged(info: pytest.LogCaptureFixture) -> None:
    """A subPath mount, which is never updated, is a warning; a file of Compose is not."""
    rotation_messages.log_pinned_files([COMPOSE, SUBPATH], "docker")
    assert_logged(
        info,
        ("hive_boot", "WARNING", "/run/secrets/b"),
        ("hive_boot", "INFO", "/run/secrets/a"),
    )
    rotation_messages.log_pinned_files([COMPOSE, SUBPATH], "kubernetes")
    assert_logged(info, ("hive_boot", "WARNING", "/run/secrets/a, /run/secrets/b"))
    rotation_messages.log_pinned_files([], "docker")
    rotation_messages.log_stale_mounts([])
    assert_logged(info)
    # A stale mount, which needs a restart, is an error.
    rotation_messages.log_stale_mounts(["/run/secrets/a", "/run/secrets/b"])
    assert_logged(info, ("hive_boot", "ERROR", "/run/secrets/a, /run/secrets/b"))


def test_a_rejection_logs_each_name_once_and_every_problem(
    info: pytest.LogCaptureFixture,
) -> None:
    """Of the new values that are not used, those without a problem of their own are named."""
    faults = [Problem("A", "length", "is short"), Problem("A", "pattern", "is odd")]
    rotations = rotation_messages.RotationLog()
    rotations.log_rejection(faults, ["A"], 3, 0.5)
    assert facts(info.records[0]) == (["A"], None, "refused")
    assert_logged(info, ("hive_boot.rotation", "ERROR", "A is short; A is odd"))
    rotations.log_rejection([Problem("reached", "check", "has failed")], ["A", "B"], 3, 0.5)
    assert facts(info.records[0]) == (["reached"], None, "refused")
    assert rotations.latest[0]["reason"] == "reached has failed"
    assert_logged(info, ("hive_boot.rotation", "ERROR", "has failed; new values not used: A, B"))


@pytest.mark.anyio
async def test_without_a_handler_rotations_are_on_stderr(
    volume: MountedVolume, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fallback handler stays until the end of the run."""
    files = {"jwt_secret": "fake-jwt-000001", "api_key": "fake-api-000001"}
    volume.publish(files)
    boot = mounted(volume.path, Signing, watch=False)
    with no_handlers():
        async with boot.running():
            volume.publish({**files, "api_key": "fake-api-000002"})
            await boot.reload()
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "rotation" in line)
    assert line.startswith("INFO hive_boot.rotation: ")
    assert "API_KEY" in line


RECONFIGURED = f"""
{STATUS_OF}
import logging.config

@boot.resource
async def logs():
    {{configure}}

async def main(logs: None) -> None:
    logging.getLogger("hive_boot.rotation").warning("rotated after it")
    boot.stop("the work is done")

print(status_of(boot, main))
log = logging.getLogger("hive_boot")
print(log.level, [type(each).__name__ for each in log.handlers], len(log.filters))
"""

DICT_CONFIG = """logging.config.dictConfig({
        "version": 1,
        "formatters": {"app": {"format": "app %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "app"}},
        "loggers": {NAME: {"level": "LEVEL", "handlers": ["stderr"]}},
    })"""


def dict_config(name: str, level: str) -> str:
    """Return a call that configures one logger, and disables all others."""
    return DICT_CONFIG.replace("NAME", repr(name)).replace("LEVEL", level)


CONFIGURATIONS = {
    "basicConfig": ('logging.basicConfig(level="INFO", format="app %(message)s")', "app "),
    "basicConfig of warnings": ('logging.basicConfig(level="WARNING")', None),
    "dictConfig": (dict_config("", "INFO"), "app "),
    "dictConfig of warnings": (dict_config("", "WARNING"), None),
    "dictConfig of our logger": (dict_config("hive_boot", "WARNING"), None),
    "dictConfig of another logger": (dict_config("orders", "INFO"), "INFO hive_boot: "),
    "setLevel": ('logging.getLogger("hive_boot").setLevel("WARNING")', None),
    "disabled": ('logging.getLogger("hive_boot").disabled = True', None),
}
"""Configurations of logging during a start, and how lines of hive_boot begin afterwards."""


def test_logging_that_is_configured_late_neither_doubles_nor_silences_lines(tmp_path: Path) -> None:
    """Each line is written once, by the handlers of the application if it has any."""

    def scenario(name: str, path: Path) -> None:
        configure, form = CONFIGURATIONS[name]
        source = "boot = Bootstrap(Needs)" + RECONFIGURED.format(configure=configure)
        code, out, err = ended(source, "asyncio", cwd=path)
        assert (code, out[0]) == (0, "0"), err
        for text in ("Ready", "Stop requested", "Stopped"):
            lines = [line for line in err.splitlines() if text in line]
            if form is None:
                assert lines == [], err
            else:
                (line,) = lines
                assert line.startswith(f"{form}{text}"), err
        # Another logger of hive_boot is neither disabled nor limited by that.
        assert err.count("rotated after it") == 1, err
        # The logger is as the application left it.
        is_ours = name in {"setLevel", "dictConfig of our logger"}
        handlers = ["StreamHandler"] if name == "dictConfig of our logger" else []
        assert out[1] == f"{30 if is_ours else 0} {handlers} 1"

    side_by_side(tmp_path, scenario, [(name,) for name in CONFIGURATIONS])
