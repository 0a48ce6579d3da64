"""Redaction of a run: its logs from start to end, and the environment of its child processes."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from hive_boot import (
    Bootstrap,
    Change,
    InvalidSecretsError,
    Secret,
    SecretBytes,
    SecretSet,
    redact,
    secret,
)
from hive_boot.redaction import hooks, registry
from hive_boot.redaction.registry import Matcher
from hive_boot.testing import MountedVolume
from tests.fixtures.owned_processes import side_by_side
from tests.runtime.rotations import mounted, set_read_policy
from tests.support import SETTLED, failed_start, run_child, until

VALUE = "fake-jwt-secret-0123456789-0123456789"
OLD = "fake-old-secret-9876543210-9876543210"

log = logging.getLogger("application")


class HiveSecrets(SecretSet):
    """The secrets of the application."""

    jwt_secret: Secret = secret(previous="JWT_SECRET_PREVIOUS")
    sentry_dsn: Secret | None


@pytest.fixture(autouse=True)
def provided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the secrets as variables, and treat new files as settled."""
    set_read_policy(monkeypatch, wall=SETTLED.wall)
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("JWT_SECRET", VALUE)
    monkeypatch.setenv("JWT_SECRET_PREVIOUS", OLD)


@pytest.fixture(autouse=True)
def all_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Set the log level to DEBUG."""
    caplog.set_level(logging.DEBUG)


class Database(SecretSet):
    """Two connection strings, the first of which has ``redact_parts=False``."""

    dsn: Secret = secret(redact_parts=False, previous="DSN_PREVIOUS", aliases="OLD_DSN")
    other_dsn: Secret | None


PASSWORDS = ("fake-one-0123456789", "fake-two-0123456789", "fake-three-0123456789")
DSNS = [f"postgresql://app:{password}@db/orders" for password in PASSWORDS]


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["DSN", "OLD_DSN"])
async def test_a_field_may_be_hidden_as_a_whole_only(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of the field and of its previous value are not redacted, in a run and after a load."""
    for variable, value in zip((name, "DSN_PREVIOUS", "OTHER_DSN"), DSNS, strict=True):
        monkeypatch.setenv(variable, value)
    boot = Bootstrap(Database)

    def is_hidden_as_a_whole() -> None:
        assert [redact(f"<{dsn}>") for dsn in DSNS] == ["<***>"] * 3
        assert redact(DSNS[0].encode().hex()) == "***"
        assert [redact(password) for password in PASSWORDS] == [*PASSWORDS[:2], "***"]

    async with boot.running():
        is_hidden_as_a_whole()
        await boot.reload()
        is_hidden_as_a_whole()
    with boot.loaded():
        is_hidden_as_a_whole()


@pytest.mark.anyio
async def test_equal_values_of_two_fields_are_hidden_in_parts_if_one_field_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If two fields have the same value, a part is hidden if one of them hides its parts."""
    monkeypatch.setenv("DSN", DSNS[0])
    monkeypatch.setenv("OTHER_DSN", DSNS[0])
    async with Bootstrap(Database).running():
        assert redact(f"{PASSWORDS[0]} of {DSNS[0]}") == "*** of ***"


# Logs


@pytest.mark.anyio
async def test_the_logs_of_an_application_contain_no_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A value and its previous one are redacted in logs while the run lasts."""
    async with Bootstrap(HiveSecrets).running() as secrets:
        log.info("signed with %s, before with %s", secrets.jwt_secret.reveal(), OLD)
    assert caplog.messages[-1] == "signed with ***, before with ***"
    log.info("later: %s", VALUE)
    assert caplog.messages[-1] == f"later: {VALUE}"


@pytest.mark.anyio
async def test_the_logs_of_a_check_contain_no_value(caplog: pytest.LogCaptureFixture) -> None:
    """Values are hidden before the checks are called."""

    def now(value: str) -> None:
        log.info("judging %s", value)

    async def later(value: str) -> None:
        log.info("judging later %s", value)
        await anyio.lowlevel.checkpoint()

    class Checked(SecretSet):
        """A set with checks."""

        jwt_secret: Secret = secret(check=now)
        jwt_secret_previous: Secret = secret(check=later)

        async def check(self) -> None:
            """Check the set."""
            log.info("judging both %s", self.jwt_secret.reveal())
            await anyio.lowlevel.checkpoint()

    async with Bootstrap(Checked).running():
        pass
    judged = [text for text in caplog.messages if text.startswith("judging")]
    assert sorted(judged[:2]) == ["judging ***", "judging later ***"]
    assert judged[2:] == ["judging both ***"]


@pytest.mark.anyio
async def test_values_stay_hidden_after_a_failed_start(caplog: pytest.LogCaptureFixture) -> None:
    """After a failed start, the values that it has read are still hidden."""

    class Strict(SecretSet):
        """A set with a constraint that its value violates."""

        jwt_secret: Secret = secret(min_length=100)

    await failed_start(Bootstrap(Strict))
    log.error("could not start with %s", VALUE)
    assert caplog.messages[-1] == "could not start with ***"


@pytest.mark.anyio
async def test_a_copy_in_the_environment_is_hidden_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The value of a variable that duplicates a file is hidden too."""
    (tmp_path / "jwt_secret").write_text("fake-value-of-the-file")
    for fallback in (True, False):
        boot = Bootstrap(
            HiveSecrets,
            mode="docker",
            secrets_dirs=tmp_path,
            env_fallback=fallback,
            profile="development",
        )
        if fallback:
            async with boot.running():
                log.info("a copy: %s", VALUE)
        else:
            # Without a fallback the old value in the environment is refused.
            await failed_start(boot)
            log.info("a copy: %s", VALUE)
        assert caplog.messages[-1] == "a copy: ***"


@pytest.mark.anyio
async def test_a_conflict_hides_both_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Both values of a conflict are hidden, and so is that of a variable."""
    monkeypatch.delenv("JWT_SECRET_PREVIOUS")
    values = [f"fake-value-number-{number}" for number in range(2)]
    for number, value in enumerate(values):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "jwt_secret").write_text(value)
    directories = [tmp_path / "0", tmp_path / "1"]
    boot = Bootstrap(HiveSecrets, mode="docker", secrets_dirs=directories)
    await failed_start(boot)
    log.error("%s", [*values, VALUE])
    assert caplog.messages[-1] == "['***', '***', '***']"


@pytest.mark.anyio
async def test_the_error_of_a_run_is_redacted_in_the_log_of_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error that ends a run is redacted also when the caller logs it."""
    boot = Bootstrap(HiveSecrets)
    try:
        async with boot.running():
            int(VALUE)
    except ValueError:
        log.exception("the application has crashed")
    assert VALUE not in caplog.text
    assert "int() with base 10: '***'" in caplog.text
    async with boot.running():
        pass
    assert redact(VALUE) == VALUE


@pytest.mark.anyio
async def test_the_error_of_a_sibling_task_that_cancels_the_run_is_redacted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If a run is cancelled because of another task, the error of that task is redacted."""

    async def fail(value: str) -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError(value)

    try:
        async with anyio.create_task_group() as group, Bootstrap(HiveSecrets).running() as secrets:
            group.start_soon(fail, secrets.jwt_secret.reveal())
            await anyio.sleep_forever()
    except ExceptionGroup:
        log.exception("something has failed")
    assert "ValueError: ***" in caplog.text
    assert VALUE not in caplog.text


@pytest.mark.anyio
async def test_the_message_of_a_system_exit_is_redacted() -> None:
    """The message of a SystemExit is redacted."""
    with pytest.raises(SystemExit) as caught:
        async with Bootstrap(HiveSecrets).running():
            sys.exit(f"cannot go on with {VALUE}")
    assert caught.value.code == "cannot go on with ***"
    with pytest.raises(SystemExit) as caught:
        async with Bootstrap(HiveSecrets).running():
            sys.exit(3)
    assert caught.value.code == 3


@pytest.mark.anyio
async def test_the_matcher_is_built_before_the_first_log_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The matcher is built in a thread during the start, not at the first log record."""
    monkeypatch.setenv("SENTRY_DSN", "fake-dsn-" * 3000)
    async with Bootstrap(HiveSecrets).running():
        assert registry.matcher is not None
        assert registry.matcher.is_built


@pytest.mark.anyio
async def test_two_applications_hide_the_values_of_both() -> None:
    """With two applications, the values of each are hidden until it ends."""

    class Other(SecretSet):
        """A set with another secret."""

        jwt_secret_previous: Secret

    async with Bootstrap(HiveSecrets).running(), Bootstrap(Other).running():
        assert redact([VALUE, OLD]) == ["***", "***"]
    assert redact([VALUE, OLD]) == [VALUE, OLD]
    assert registry.matcher is None


@pytest.mark.anyio
async def test_a_development_default_is_not_hidden() -> None:
    """A default for development is not hidden, even if a source provides it."""
    default = "dev-only-jwt-secret-0123456789"

    class Defaulted(SecretSet):
        """Two secrets with the same default, one of which is provided."""

        jwt_secret: Secret = secret(dev_default=VALUE)
        api_key: Secret = secret(dev_default=default)

    async with Bootstrap(Defaulted, profile="development").running():
        assert redact([VALUE, default]) == [VALUE, default]


# What cannot be hidden


class Short(SecretSet):
    """Values of many lengths."""

    pin: Secret
    code: SecretBytes
    padded: Secret
    long: Secret
    binary: SecretBytes
    dsn: Secret
    open_dsn: Secret
    weak_dsn: Secret
    weak_settings: Secret
    weak_document: Secret
    settings: Secret
    absent: Secret | None
    default: Secret = secret(dev_default="dev")


SHORT = {
    "PIN": "1234567",
    "CODE": "1234567",
    "PADDED": "  123   ",
    "LONG": "12345678",
    "BINARY": "12345678",
    "DSN": "postgres://app:fake-password@db/app",
    "OPEN_DSN": "https://errors.example:8443/1",
    "WEAK_DSN": "postgres://app:pw@db/app",
    "WEAK_SETTINGS": "host=db user=app password='pw' sslmode=require",
    "WEAK_DOCUMENT": '{"user": "app", "password": "pw"}',
    "SETTINGS": "host=db password_tries=3 password=fake-word-01;auth=yes",
}


@pytest.mark.anyio
async def test_a_value_that_is_too_short_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning names values, and passwords in them, with less than 8 characters."""
    for name, value in SHORT.items():
        monkeypatch.setenv(name, value)
    async with Bootstrap(Short, profile="development").running():
        assert redact("pin 1234567, pw") == "pin 1234567, pw"
        assert redact("12345678 fake-password") == "*** ***"
    (told,) = (text for text in caplog.messages if "under 8 characters" in text)
    assert told.endswith(": PIN, CODE, PADDED, WEAK_DSN, WEAK_SETTINGS, WEAK_DOCUMENT")
    assert "8 characters" in told
    caplog.clear()
    async with Bootstrap(HiveSecrets).running():
        pass
    assert "8 characters" not in caplog.text


# The environment


def child_sees() -> list[str]:
    """Return the names of the secrets that a child process inherits."""
    source = "import os; print(*sorted(n for n in os.environ if 'JWT' in n or 'SENTRY' in n))"
    command = [sys.executable, "-c", source]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.anyio
async def test_children_inherit_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``unset_env`` a child process inherits no declared variable; the run restores them."""
    monkeypatch.setenv("SENTRY_DSN_FILE_NAME", "not-declared")
    boot = Bootstrap(HiveSecrets, unset_env=True)
    before = dict(os.environ)
    for _ in range(2):
        async with boot.running() as secrets:
            assert child_sees() == ["SENTRY_DSN_FILE_NAME"]
            assert secrets.jwt_secret.reveal() == VALUE
            assert boot.accepted("jwt_secret")[1].reveal() == OLD
        assert dict(os.environ) == before


@pytest.mark.anyio
async def test_a_variable_that_is_set_during_the_run_is_not_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A variable that is set during the run is not changed at its end."""
    async with Bootstrap(HiveSecrets, unset_env=True).running():
        monkeypatch.setenv("JWT_SECRET", "fake-value-of-somebody")
    assert os.environ["JWT_SECRET"] == "fake-value-of-somebody"
    assert os.environ["JWT_SECRET_PREVIOUS"] == OLD


@pytest.mark.anyio
async def test_a_copy_beside_a_file_is_not_inherited_either(tmp_path: Path) -> None:
    """With ``unset_env`` a variable that duplicates a file is not inherited either."""
    (tmp_path / "jwt_secret").write_text(VALUE)
    (tmp_path / "jwt_secret_previous").write_text(OLD)
    boot = Bootstrap(HiveSecrets, unset_env=True, mode="docker", secrets_dirs=tmp_path)
    async with boot.running():
        assert child_sees() == []


@pytest.mark.anyio
async def test_without_unset_env_the_environment_is_not_changed() -> None:
    """Without ``unset_env`` the environment is not changed."""
    async with Bootstrap(HiveSecrets).running():
        assert child_sees() == ["JWT_SECRET", "JWT_SECRET_PREVIOUS"]


@pytest.mark.anyio
async def test_a_failed_start_leaves_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed start the variables are restored, so the next start can read them."""
    monkeypatch.setenv("SENTRY_DSN", "fake")

    class Strict(HiveSecrets):
        """A set with one more constraint."""

        sentry_dsn: Secret | None = secret(min_length=8)

    boot = Bootstrap(Strict, unset_env=True)
    await failed_start(boot)
    assert child_sees() == ["JWT_SECRET", "JWT_SECRET_PREVIOUS", "SENTRY_DSN"]
    monkeypatch.setenv("SENTRY_DSN", "fake-dsn-0123456789")
    async with boot.running():
        assert child_sees() == []


# A process of one's own

PROGRAM = """
import atexit, logging, os, sys
from hive_boot import Bootstrap, Secret, SecretSet

class HiveSecrets(SecretSet):
    jwt_secret: Secret

boot = Bootstrap(HiveSecrets, unset_env=True)

@boot.main
async def main(secrets: HiveSecrets) -> None:
    value = secrets.jwt_secret.reveal()
    atexit.register(lambda: logging.error("at the end %s", value))
    assert "JWT_SECRET" not in os.environ
    {body}

boot.run()
"""


def test_an_owned_process_shows_no_value_until_its_exit(tmp_path: Path) -> None:
    """Output after the run, until the process exits, contains no value."""

    def scenario(body: str, path: Path) -> None:
        child = run_child(PROGRAM.format(body=body), cwd=path)
        written = child.stdout + child.stderr
        assert "at the end ***" in written
        assert VALUE not in written

    bodies = ("pass", "raise SystemExit(value)", "int(value)", "raise KeyError(value)")
    side_by_side(tmp_path, scenario, [(body,) for body in bodies])


def test_a_value_that_equals_a_part_of_a_path_is_redacted_in_the_report() -> None:
    """A value that happens to be part of a path in the report is redacted."""
    place = Path.cwd() / VALUE
    place.mkdir()
    source = PROGRAM.format(body="pass")
    source = source.replace("    jwt_secret: Secret", "    jwt_secret: Secret\n    other: Secret")
    child = run_child(
        source,
        cwd=place,
        HIVE_BOOT_MODE="development",
        HIVE_BOOT_PROFILE="production",
    )
    assert child.returncode == 78
    assert "OTHER" in child.stderr
    assert VALUE not in child.stderr


# What was found, and is in no use


@pytest.mark.anyio
async def test_a_value_behind_a_stronger_one_is_hidden_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value in .env is hidden, also if a variable has precedence."""
    (tmp_path / "cwd" / ".env").write_text("JWT_SECRET=fake-value-of-the-dotenv-file\n")
    monkeypatch.setenv("HIVE_BOOT_MODE", "development")
    async with Bootstrap(HiveSecrets).running() as secrets:
        assert secrets.jwt_secret.reveal() == VALUE
        assert redact("fake-value-of-the-dotenv-file") == "***"


@pytest.mark.anyio
async def test_a_file_that_name_file_overrides_is_hidden_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mounted file is hidden, also if NAME_FILE names another file with another value."""
    monkeypatch.delenv("JWT_SECRET")
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "jwt_secret").write_text("fake-value-of-the-mount")
    (tmp_path / "elsewhere").write_text(VALUE)
    monkeypatch.setenv("JWT_SECRET_FILE", str(tmp_path / "elsewhere"))
    boot = Bootstrap(HiveSecrets, mode="docker", secrets_dirs=mount, env_fallback=True)
    await failed_start(boot)
    assert redact(["fake-value-of-the-mount", VALUE]) == ["***", "***"]


@pytest.mark.anyio
async def test_a_name_that_is_set_twice_hides_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of a conflict is hidden."""
    monkeypatch.setenv("JWT_SECRET_FILE", "/nowhere")
    await failed_start(Bootstrap(HiveSecrets))
    assert redact(VALUE) == "***"


@pytest.mark.anyio
async def test_a_value_in_name_file_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """If NAME_FILE contains the value itself, it is hidden."""
    monkeypatch.delenv("JWT_SECRET")
    monkeypatch.setenv("JWT_SECRET_FILE", VALUE)
    await failed_start(Bootstrap(HiveSecrets))
    assert redact(VALUE) == "***"


@pytest.mark.anyio
async def test_a_variable_that_is_not_utf_8_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not UTF-8 is hidden, also in its repr."""
    text = "fake-value-\udcff-0123456789"
    monkeypatch.setenv("JWT_SECRET", text)
    await failed_start(Bootstrap(HiveSecrets))
    assert redact(f"{text} {text!r}") == "*** '***'"


@pytest.mark.anyio
async def test_the_message_of_a_check_about_another_secret_is_redacted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A value of another secret in the message of a check is redacted."""

    def check(_: str) -> None:
        message = f"differs from {OLD}"
        raise ValueError(message)

    class Checked(SecretSet):
        """A set with a check that uses the other secret."""

        jwt_secret: Secret = secret(check=check)
        jwt_secret_previous: Secret

    monkeypatch.setenv("JWT_SECRET_PREVIOUS", OLD)
    error = await failed_start(Bootstrap(Checked))
    assert "***" in error.problems[0].message
    assert OLD not in str(error)


@pytest.mark.anyio
async def test_an_empty_file_that_name_file_overrides_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty mounted file is ignored if NAME_FILE names another file."""
    monkeypatch.delenv("JWT_SECRET")
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "jwt_secret").touch()
    (tmp_path / "elsewhere").write_text(VALUE)
    monkeypatch.setenv("JWT_SECRET_FILE", str(tmp_path / "elsewhere"))
    boot = Bootstrap(HiveSecrets, mode="docker", secrets_dirs=mount, env_fallback=True)
    async with boot.running() as secrets:
        assert secrets.jwt_secret.reveal() == VALUE


# What is rotated


class Rotated(SecretSet):
    """A secret with a constraint and a check, and an optional one."""

    jwt_secret: Secret = secret(min_length=20, check=lambda value: "bad" not in value)
    sentry_dsn: Secret | None


def jwt(number: int) -> str:
    """Return the value of a generation."""
    return f"fake-jwt-secret-{number:09}"


def publish(volume: MountedVolume, *numbers: int) -> None:
    """Publish the values with these numbers: the secret, and the optional one."""
    names = ("jwt_secret", "sentry_dsn")
    volume.publish(dict(zip(names, map(jwt, numbers), strict=False)))


@pytest.fixture
def volume(tmp_path: Path) -> MountedVolume:
    """Return a volume without content."""
    return MountedVolume(tmp_path / "volume")


@pytest.fixture
def reloader(volume: MountedVolume, monkeypatch: pytest.MonkeyPatch) -> Bootstrap[Rotated, None]:
    """Return an application that reloads only on demand."""
    for name in ("JWT_SECRET", "JWT_SECRET_PREVIOUS"):
        monkeypatch.delenv(name)
    publish(volume, 1)
    return mounted(volume.path, Rotated, watch=False)


@pytest.mark.anyio
async def test_old_values_stay_hidden_until_the_end_of_the_run(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """Old values stay hidden until the end of the run, because they may be logged late."""
    async with reloader.running():
        for number in range(2, 6):
            publish(volume, number)
            assert await reloader.reload()
            log.info("%s", [jwt(each) for each in range(1, number + 1)])
            assert caplog.messages[-1] == str(["***"] * number)
    assert redact(jwt(1)) == jwt(1)


@pytest.mark.anyio
async def test_a_removed_optional_secret_stays_hidden(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume
) -> None:
    """An optional secret that is removed may still be valid, so it stays hidden."""
    publish(volume, 1, 2)
    async with reloader.running() as secrets:
        publish(volume, 1)
        assert await reloader.reload()
        assert secrets.sentry_dsn is None
        assert redact(jwt(2)) == "***"


@pytest.mark.anyio
async def test_a_rejected_new_value_stays_hidden(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that a constraint or a check rejects stays hidden."""
    refused = ["fake-too-short", "fake-bad-secret-0123456789"]
    async with reloader.running():
        for value in refused:
            volume.publish({"jwt_secret": value})
            with pytest.raises(InvalidSecretsError):
                await reloader.reload()
            log.error("cannot use %s", value)
            assert caplog.messages[-1] == "cannot use ***"
        publish(volume, 2)
        assert await reloader.reload()
        assert redact([*refused, jwt(1), jwt(2)]) == ["***"] * 4


@pytest.mark.anyio
async def test_a_check_sees_new_values_that_are_hidden(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """In a rotation, as in a start, values are hidden before the checks are called."""
    publish(volume, 1)
    boot = mounted(volume.path, Rotated, watch=False)

    @boot.check
    async def look(secrets: Rotated) -> None:
        await anyio.lowlevel.checkpoint()
        log.info("judging %s", secrets.jwt_secret.reveal())

    async with boot.running():
        publish(volume, 2)
        await boot.reload()
    judged = [text for text in caplog.messages if text.startswith("judging")]
    assert judged == ["judging ***", "judging ***"]


@pytest.mark.anyio
async def test_the_logs_of_a_hook_contain_no_value(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """Old and new values are redacted, also in the traceback of a failed hook."""

    @reloader.on_rotate("jwt_secret")
    async def compare(change: Change) -> None:
        await anyio.lowlevel.checkpoint()
        old, new = change.old["jwt_secret"], change.new["jwt_secret"]
        assert old is not None
        assert new is not None
        message = f"{old.reveal()!r} to {new.reveal()!r}"
        raise ValueError(message)

    async with reloader.running():
        publish(volume, 2)
        await reloader.reload()
        await until(lambda: "ValueError" in caplog.text)
    assert "ValueError: '***' to '***'" in caplog.text
    assert jwt(1) not in caplog.text
    assert jwt(2) not in caplog.text


@pytest.mark.anyio
async def test_a_limited_number_of_old_values_stays_hidden(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the newest old values stay hidden, so memory does not grow without limit."""
    monkeypatch.setattr(hooks, "_KEPT", 5)
    async with reloader.running():
        for number in range(2, 20):
            publish(volume, number)
            assert await reloader.reload()
            kept = range(max(1, number - 5), number + 1)
            assert redact([jwt(each) for each in kept]) == ["***"] * len(kept)
        gone = [jwt(each) for each in range(1, 13)]
        assert redact(gone) == gone
        # Beside the five: the one in use, and the one that was while it was read.
        assert len(hidden_values()) == 7


@pytest.mark.anyio
async def test_new_values_are_in_use_before_the_oldest_are_dropped(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation is applied before the oldest values are dropped."""
    in_use: list[str] = []
    update = Matcher.update

    def note(matcher: Matcher, *, added: Iterable[str], removed: Iterable[str]) -> None:
        removed = [*removed]
        if removed:
            in_use.append(reloader.secrets.jwt_secret.reveal())
        update(matcher, added=added, removed=removed)

    monkeypatch.setattr(hooks, "_KEPT", 1)
    monkeypatch.setattr(Matcher, "update", note)
    async with reloader.running():
        redact("the first line")
        for number in range(2, 6):
            publish(volume, number)
            assert await reloader.reload()
    assert in_use == [jwt(4), jwt(5)]


def test_a_value_that_returns_during_a_reload_stays_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Old values are dropped only at the end of a reload, which may read several times."""
    monkeypatch.setattr(hooks, "_KEPT", 1)
    redaction = hooks.Redaction()
    redaction.open()
    for values in ((1,), (2,), (3,), (4,), (1, 4)):
        redaction.hide([Secret("A", jwt(number)) for number in values])
    redaction.drop_surplus()
    assert redact([jwt(number) for number in range(1, 5)]) == ["***", jwt(2), "***", "***"]
    redaction.close()


@pytest.mark.anyio
async def test_rejected_values_do_not_displace_values_in_use(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rejected values do not displace the value in use."""
    monkeypatch.setattr(hooks, "_KEPT", 2)
    async with reloader.running():
        for number in range(10):
            volume.publish({"jwt_secret": f"fake-bad-{number:020}"})
            with pytest.raises(InvalidSecretsError):
                await reloader.reload()
        assert redact(jwt(1)) == "***"


def hidden_values() -> list[object]:
    """Return the hidden values of this process."""
    return [value for _, values in registry._owned for value in values]  # noqa: SLF001  (what is measured)


@pytest.mark.anyio
async def test_a_thousand_old_values_stay_hidden(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume
) -> None:
    """By default 1000 old values stay hidden."""
    assert hooks._KEPT == 1000  # noqa: SLF001  (what is promised)
    async with reloader.running():
        for number in range(2, 12):
            publish(volume, number)
            assert await reloader.reload()
        assert len(hidden_values()) == 11


@pytest.mark.anyio
async def test_long_old_values_stay_hidden_up_to_a_length(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The total length of old values is limited; the newest one always stays hidden."""
    assert len(jwt(1)) == 25
    for limit, kept in ((100, 4), (99, 3), (10, 1)):
        monkeypatch.setattr(hooks, "_KEPT_LENGTH", limit)
        publish(volume, 1)
        async with reloader.running():
            for number in range(2, 12):
                publish(volume, number)
                assert await reloader.reload()
            # Beside them: the one in use, and the one that was while it was read.
            assert len(hidden_values()) == kept + 2
            old = [jwt(each) for each in range(1, 10)]
            assert redact(old) == [*old[:-kept], *["***"] * kept]


@pytest.mark.anyio
async def test_a_large_old_value_does_not_displace_small_ones(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume
) -> None:
    """A large old value does not displace a small one; the newest stays hidden."""
    assert hooks._KEPT_LENGTH == 64 * 1024  # noqa: SLF001  (what is promised)
    long = ["".join(f"fake-{letter}{number:07}" for number in range(6_000)) for letter in "ab"]
    async with reloader.running():
        for value in long:
            volume.publish({"jwt_secret": value})
            assert await reloader.reload()
        publish(volume, 2)
        assert await reloader.reload()
        assert redact([*long, jwt(1), jwt(2)]) == ["***"] * 4
        publish(volume, 3)
        assert await reloader.reload()
        assert redact([*long, jwt(1), jwt(2), jwt(3)]) == [long[0], *["***"] * 4]


@pytest.mark.anyio
async def test_the_encoded_forms_of_new_values_are_computed_outside_the_loop(
    reloader: Bootstrap[Rotated, None],
    volume: MountedVolume,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Encoded forms are computed in the thread that reads, for accepted and rejected values."""
    threads: list[threading.Thread] = []
    forms = registry._forms  # noqa: SLF001  (what takes long)

    def note(values: Iterable[Any]) -> Iterator[str]:
        threads.append(threading.current_thread())
        return forms(values)

    async with reloader.running():
        redact("the first line")
        monkeypatch.setattr(registry, "_forms", note)
        for value in ("fake-too-short", jwt(2)):
            threads.clear()
            volume.publish({"jwt_secret": value})
            with suppress(InvalidSecretsError):
                await reloader.reload()
            log.info("%s", [value, jwt(1)])
            assert caplog.messages[-1] == "['***', '***']"
            assert threads
            assert threading.current_thread() not in threads


@pytest.mark.anyio
async def test_a_reload_without_a_change_hides_nothing_new(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume
) -> None:
    """A reload without a change hides nothing new, so neither memory nor work grows."""
    publish(volume, 1, 2)
    async with reloader.running():
        known, matcher = hidden_values(), registry.matcher
        for _ in range(50):
            assert await reloader.reload() is None
        assert registry.matcher is matcher
        for number in (3, 1, 3, 1):
            publish(volume, number, 2)
            assert await reloader.reload()
        assert len(hidden_values()) == len(known) + 1


@pytest.mark.anyio
async def test_rejected_values_that_are_read_again_are_hidden_once(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume
) -> None:
    """A rejected set that is read many times is hidden once."""
    async with reloader.running():
        volume.publish({"jwt_secret": "fake-too-short"})
        counts = set()
        for _ in range(20):
            with pytest.raises(InvalidSecretsError):
                await reloader.reload()
            counts.add(len(hidden_values()))
        assert counts == {2}


@pytest.mark.anyio
async def test_no_value_is_hidden_after_the_run(
    reloader: Bootstrap[Rotated, None], volume: MountedVolume
) -> None:
    """After the run nothing is hidden, also after rotations."""
    for number in (2, 3):
        async with reloader.running():
            publish(volume, number)
            await reloader.reload()
        assert registry.matcher is None
        assert hooks._open == []
