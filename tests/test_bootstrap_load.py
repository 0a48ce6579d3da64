"""Synchronous access to secrets: ``load()`` and ``loaded()``."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic_settings import BaseSettings

from hive_boot import (
    Bootstrap,
    DeclarationError,
    InvalidSecretsError,
    LifecycleError,
    Secret,
    SecretBytes,
    SecretSet,
    get_secret,
    require_secret,
    secret,
)
from hive_boot import secrets as applications
from hive_boot.redaction import hooks
from hive_boot.testing import MountedVolume, override
from tests.fixtures.cases import case
from tests.support import child_environment, everything_told, run_child

FAKE = "fake-jwt-secret-0123456789-0123456789"
OTHER = "fake-other-secret-9876543210-9876543210"


class Hive(SecretSet):
    """The declaration of the tests."""

    jwt_secret: Secret = secret(min_length=12, accept_old_for=3600, previous="JWT_SECRET_PREVIOUS")
    tls_key: SecretBytes | None
    sentry_dsn: Secret | None


class Settings(BaseSettings):
    """Settings that are not secret."""

    workers: int = 1


@pytest.fixture
def injected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a platform that injects variables, one of which is a secret."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("JWT_SECRET", FAKE)


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MountedVolume:
    """Mount a volume with a secret, which can be rotated."""
    volume = MountedVolume(tmp_path / "volume")
    volume.publish({"jwt_secret": FAKE})
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(tmp_path / "volume"))
    return volume


@contextmanager
def unloading(*boots: Bootstrap[Any, Any]) -> Iterator[None]:
    """Undo ``load()`` of applications at the end of the block, which only tests do."""
    try:
        yield
    finally:
        for boot in boots:
            boot._unload(keep_redacting=False)  # noqa: SLF001


# Loading


@pytest.mark.usefixtures("injected")
def test_a_loaded_application_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded application has its secrets, settings, accepted values and plain functions."""
    monkeypatch.setenv("JWT_SECRET_PREVIOUS", OTHER)
    monkeypatch.setenv("TLS_KEY", "fake-key-0123456789")
    monkeypatch.setenv("WORKERS", "3")
    boot = Bootstrap(Hive, config=Settings)
    with unloading(boot):
        secrets = boot.load()
        monkeypatch.delenv("JWT_SECRET")
        assert boot.load() is secrets is boot.secrets
        assert isinstance(secrets, Hive)
        assert (secrets.jwt_secret.reveal(), secrets.sentry_dsn) == (FAKE, None)
        assert secrets.current.jwt_secret.reveal() == FAKE
        assert boot.config.workers == 3
        assert boot.config is boot.config
        assert [value.reveal() for value in boot.accepted("jwt_secret")] == [FAKE, OTHER]
        assert require_secret("JWT_SECRET") == FAKE
        assert get_secret("SENTRY_DSN") is None
        for undeclared in ("STRIPE_SECRET_KEY", "TLS_KEY"):
            with pytest.raises(DeclarationError):
                get_secret(undeclared)
        assert not boot.status().ready
        with pytest.raises(LifecycleError):
            anyio.run(boot.reload)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log messages of the application, without those of hive_boot."""
    return [each.getMessage() for each in caplog.records if each.name != "hive_boot"]


@pytest.mark.usefixtures("injected")
def test_a_loaded_application_hides_its_values(caplog: pytest.LogCaptureFixture) -> None:
    """A log record of a script contains no value, as in a run."""
    boot = Bootstrap(Hive)
    with unloading(boot):
        logging.getLogger("script").warning("connecting with %s", boot.load().jwt_secret.reveal())
    assert messages(caplog) == ["connecting with ***"]


def test_the_options_of_the_bootstrap_count(tmp_path: Path) -> None:
    """``load()`` uses the options of the Bootstrap, as a start does."""
    (tmp_path / "jwt_secret").write_text(FAKE)
    (tmp_path / "own.env").write_text(f"JWT_SECRET={OTHER}\n")
    cases: list[tuple[Any, str]] = [
        ({"secrets_dirs": tmp_path}, FAKE),
        ({"mode": "development", "env_file": tmp_path / "own.env"}, OTHER),
    ]
    for options, value in cases:
        boot = Bootstrap(Hive, **options)
        with case(options), unloading(boot):
            assert boot.load().jwt_secret.reveal() == value == get_secret("JWT_SECRET")


@pytest.mark.usefixtures("injected")
def test_nothing_is_checked_or_started() -> None:
    """``load()`` runs no check and no resource: they may need an event loop or the network."""

    async def refuse_later(_: str) -> bool:
        pytest.fail("a check was awaited")

    def refuse(_: str) -> bool:
        pytest.fail("a check was called")

    class Checked(SecretSet):
        jwt_secret: Secret = secret(check=refuse)
        sentry_dsn: Secret | None = secret(check=refuse_later)

        async def check(self) -> None:
            pytest.fail("the check of the set was called")

    boot = Bootstrap(Checked)

    @boot.check
    async def no_check(secrets: Checked) -> None:
        del secrets
        pytest.fail("a check of the application was called")

    @boot.resource
    async def no_resource(secrets: Checked) -> AsyncIterator[int]:
        if secrets:
            pytest.fail("a resource was started")
        yield 1

    with unloading(boot):
        assert boot.load().jwt_secret.reveal() == FAKE


def test_no_event_loop_is_imported(tmp_path: Path) -> None:
    """A script that only loads does not import anyio."""
    (tmp_path / "jwt_secret").write_text(FAKE)
    done = run_child(
        "import sys\n"
        "from hive_boot import Bootstrap, Secret, SecretSet\n"
        "class S(SecretSet):\n    jwt_secret: Secret\n"
        f"print(len(Bootstrap(S, secrets_dirs={str(tmp_path)!r}).load().jwt_secret.reveal()))\n"
        "print(sorted({'anyio', 'asyncio', 'trio', 'watchfiles'} & sys.modules.keys()))\n"
    )
    assert done.stdout.splitlines() == [str(len(FAKE)), "[]"], done.stderr


@pytest.mark.anyio
@pytest.mark.both_backends
@pytest.mark.usefixtures("injected")
async def test_an_event_loop_may_run() -> None:
    """In a notebook or an async test the call blocks while it reads, as opening a file does."""
    boot = Bootstrap(Hive)
    with unloading(boot):
        assert boot.load().jwt_secret.reveal() == FAKE


def test_every_problem_is_in_one_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The problems of secrets and settings are in one error, and a later call tries again."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    boot = Bootstrap(Hive, config=Settings)
    cases = [
        ("", "many", ["missing", "config"]),
        ("fake-short", "many", ["length", "config"]),
        (FAKE, "many", ["config"]),
        ("", "1", ["missing"]),
    ]
    for value, workers, kinds in cases:
        with case(value, workers):
            monkeypatch.setenv("JWT_SECRET", value)
            monkeypatch.setenv("WORKERS", workers)
            with pytest.raises(InvalidSecretsError) as caught:
                boot.load()
            assert [problem.kind for problem in caught.value.problems] == kinds
            assert dict(caught.value.facts)["mode"].startswith("environment")
            assert value == "" or value not in everything_told(caught.value)
            with pytest.raises(LifecycleError):
                _ = boot.secrets
    monkeypatch.setenv("JWT_SECRET", FAKE)
    with unloading(boot):
        assert boot.load().jwt_secret.reveal() == FAKE
    monkeypatch.setenv("HIVE_BOOT_MODE", "nonsense")
    with pytest.raises(InvalidSecretsError) as caught:
        boot.load()
    assert caught.value.problems[0].kind == "setting"


@pytest.mark.usefixtures("injected")
def test_threads_load_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that call ``load()`` at the same time get the same object."""
    reads: list[object] = []
    from hive_boot.runtime import load_pipeline  # noqa: PLC0415

    before = vars(load_pipeline)["load"]

    def counted(*args: object, **more: object) -> object:
        reads.append(args)
        return before(*args, **more)

    monkeypatch.setattr(load_pipeline, "load", counted)
    boot = Bootstrap(Hive)
    together = threading.Barrier(8)
    seen: list[Hive] = []

    def load() -> None:
        together.wait(timeout=20)
        seen.append(boot.load())

    with unloading(boot):
        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(each is seen[0] for each in seen)
    assert (len(seen), len(reads)) == (8, 1)


@pytest.mark.usefixtures("injected")
def test_two_loaded_applications_are_not_guessed() -> None:
    """With two loaded applications a plain function raises; with one running, it uses that one."""
    one, two = Bootstrap(Hive), Bootstrap(Hive)
    with unloading(one, two):
        one.load()
        two.load()
        with pytest.raises(LifecycleError):
            get_secret("JWT_SECRET")

        async def read() -> str | None:
            async with one.running():
                return get_secret("JWT_SECRET")

        assert anyio.run(read) == FAKE


@pytest.mark.usefixtures("injected")
def test_the_settings_may_read_the_secrets() -> None:
    """The settings may read the secrets while they are created, by a property or by ``load()``."""
    boot: Bootstrap[Hive, dict[str, str]]
    boot = Bootstrap(Hive, config=lambda: {"dsn": f"db://{boot.secrets.jwt_secret.reveal()}"})
    with unloading(boot):
        boot.load()
        assert boot.config == {"dsn": f"db://{FAKE}"}
    again: Bootstrap[Hive, int]
    again = Bootstrap(Hive, config=lambda: len(again.load().jwt_secret.reveal()))
    with unloading(again):
        again.load()
        assert again.config == len(FAKE)


def test_settings_that_call_load_do_not_recurse(monkeypatch: pytest.MonkeyPatch) -> None:
    """With invalid secrets, a ``config=`` that calls ``load()`` is a problem in the same report."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    boot: Bootstrap[Hive, int]
    boot = Bootstrap(Hive, config=lambda: len(boot.load().jwt_secret.reveal()))
    with pytest.raises(InvalidSecretsError) as caught:
        boot.load()
    assert [problem.kind for problem in caught.value.problems] == ["missing", "config"]
    assert "LifecycleError: config= of Bootstrap(Hive) must not" in str(caught.value)


# A run takes over


@pytest.mark.anyio
async def test_a_run_takes_the_object_over(mounted: MountedVolume) -> None:
    """The object from ``load()`` follows the start, a rotation, and the next run."""
    boot = Bootstrap(Hive)
    with unloading(boot):
        held = boot.load()
        for first, second in ((FAKE, OTHER), (OTHER, FAKE + "-2")):
            mounted.publish({"jwt_secret": first})
            async with boot.running() as secrets:
                assert secrets is held is boot.load() is boot.secrets
                assert held.jwt_secret.reveal() == first
                assert boot.status().generation == 1
                mounted.publish({"jwt_secret": second})
                await boot.reload()
                assert held.jwt_secret.reveal() == get_secret("JWT_SECRET") == second
                assert [each.reveal() for each in boot.accepted("jwt_secret")] == [second, first]
            assert held.jwt_secret.reveal() == get_secret("JWT_SECRET") == second
            assert [each.reveal() for each in boot.accepted("jwt_secret")] == [second, first]


@pytest.mark.anyio
async def test_a_run_takes_the_settings_over(mounted: MountedVolume) -> None:
    """What a module holds is what functions of the run receive, while the secrets are the same."""
    boot: Bootstrap[Hive, Settings] = Bootstrap(Hive, config=Settings)
    received: list[Settings] = []

    @boot.resource
    async def pool(settings: Settings) -> None:
        received.append(settings)

    with unloading(boot):
        boot.load()
        held = boot.config
        async with boot.running():
            assert boot.config is held is received.pop()
            mounted.publish({"jwt_secret": OTHER})
            await boot.reload()
            assert boot.config is held
        async with boot.running():
            assert boot.config is held is received.pop()
        with override(boot, sentry_dsn=None):
            assert boot.config is held
        with override(boot, jwt_secret=FAKE):
            assert boot.config is not held
        assert boot.config is held


@pytest.mark.anyio
async def test_settings_that_contain_a_secret_are_created_again(mounted: MountedVolume) -> None:
    """A run that finds other secrets than load() calls the factory again."""
    by_parameter = Bootstrap(Hive, config=lambda secrets: [secrets.jwt_secret.reveal()])
    by_name = Bootstrap(Hive, config=lambda: [get_secret("JWT_SECRET")])
    for boot in (by_parameter, by_name):
        with unloading(boot):
            mounted.publish({"jwt_secret": FAKE})
            boot.load()
            held = boot.config
            async with boot.running():
                assert boot.config is held
            mounted.publish({"jwt_secret": OTHER})
            async with boot.running():
                assert boot.config is not held
                assert boot is by_name or boot.config == [OTHER]


@pytest.mark.anyio
@pytest.mark.usefixtures("injected")
async def test_load_during_a_start_returns_the_values_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Checks and resources read the values of the run; an invalid set changes nothing."""
    boot = Bootstrap(Hive, config=Settings)
    seen: list[str | None] = []

    @boot.check
    async def read_first(secrets: Hive) -> None:
        assert secrets.jwt_secret.reveal() == OTHER
        seen.append(get_secret("JWT_SECRET"))
        seen.append(boot.accepted("jwt_secret")[0].reveal())  # type: ignore[arg-type]

    @boot.resource
    async def read_second() -> None:
        seen.append(get_secret("JWT_SECRET"))
        seen.append(boot.accepted("jwt_secret")[0].reveal())  # type: ignore[arg-type]

    with unloading(boot):
        held = boot.load()
        monkeypatch.setenv("JWT_SECRET", "fake-short")
        with pytest.raises(InvalidSecretsError):
            async with boot.running():
                pass
        assert held.jwt_secret.reveal() == get_secret("JWT_SECRET") == FAKE
        monkeypatch.setenv("JWT_SECRET", OTHER)
        async with boot.running():
            assert seen == [OTHER] * 4


@pytest.mark.anyio
async def test_load_in_a_run_returns_the_object_of_the_run(
    mounted: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A module that is imported during or after startup gets the same object."""
    held: list[Hive] = []
    for moment in ("config", "resource", "main"):
        with case(moment):
            mounted.publish({"jwt_secret": FAKE})
            boot: Bootstrap[Hive, None]

            def at(now: str, moment: str = moment) -> None:
                if now == moment:
                    held[:] = [boot.load()]  # noqa: B023  (called in this round)

            boot = Bootstrap(Hive, config=partial(at, "config"))

            @boot.resource
            async def imported(at: Any = at) -> None:  # noqa: ANN401
                at("resource")

            with unloading(boot):
                async with boot.running() as secrets:
                    at("main")
                    assert held[0] is secrets
                    mounted.publish({"jwt_secret": OTHER})
                    await boot.reload()
                    assert held[0].jwt_secret.reveal() == OTHER
                assert held[0].jwt_secret.reveal() == get_secret("JWT_SECRET") == OTHER
                logging.getLogger("late").warning("a line with %s", OTHER)
                async with boot.running():
                    assert held[0] is boot.secrets
    assert OTHER not in caplog.text


_PRELOADED = """
import os
from hive_boot import Bootstrap, Secret, SecretSet, get_secret
class S(SecretSet):
    jwt_secret: Secret
boot = Bootstrap(S, mode="environment")
held = boot.load()
workers = []
for number in range(2):
    worker = os.fork()
    if not worker:
        import anyio
        assert get_secret("JWT_SECRET") == "fake-before-the-fork" and boot.load() is held
        os.environ["JWT_SECRET"] = f"fake-of-worker-{number}"
        async def main():
            async with boot.running() as secrets:
                assert secrets is held and held.jwt_secret.reveal() == f"fake-of-worker-{number}"
        anyio.run(main)
        os._exit(7)
    workers.append(worker)
print([os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers])
print(held.jwt_secret.reveal())
"""


def test_a_server_may_fork_after_the_load() -> None:
    """Each worker of a preloaded application starts its own run, with the same object."""
    done = run_child(_PRELOADED, JWT_SECRET="fake-before-the-fork")
    assert done.stdout.splitlines() == ["[7, 7]", "fake-before-the-fork"], done.stderr


@pytest.mark.anyio
@pytest.mark.usefixtures("injected")
async def test_a_forked_child_of_a_run_may_load() -> None:
    """A forked child keeps the values of the run."""
    done = run_child(
        "import anyio, os\n"
        "from hive_boot import Bootstrap, Secret, SecretSet\n"
        "class S(SecretSet):\n    jwt_secret: Secret\n"
        "boot = Bootstrap(S)\n"
        "async def main():\n"
        "    async with boot.running() as secrets:\n"
        "        if child := os.fork():\n"
        "            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "        else:\n"
        "            del os.environ['JWT_SECRET']\n"
        "            assert boot.load() is secrets\n"
        "            os._exit(7)\n"
        "anyio.run(main)\n"
    )
    assert done.stdout == "7\n", done.stderr


# Blocks


@pytest.mark.usefixtures("injected")
def test_a_block_has_the_secrets_and_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    """At the end of the block, the secrets and the redaction end."""
    boot = Bootstrap(Hive, config=Settings)
    log = logging.getLogger("script")
    for _ in range(2):
        caplog.clear()
        with boot.loaded() as secrets:
            assert secrets is boot.secrets
            assert secrets.jwt_secret.reveal() == get_secret("JWT_SECRET") == FAKE
            assert boot.config.workers == 1
            log.warning("inside %s", FAKE)
        log.warning("outside %s", FAKE)
        assert messages(caplog) == ["inside ***", f"outside {FAKE}"]
        with pytest.raises(LifecycleError):
            _ = boot.secrets
        assert hooks._open == []
        assert applications.view is None


@pytest.mark.usefixtures("injected")
def test_a_block_does_not_unload_an_earlier_load() -> None:
    """A block does not unload what was loaded before it, also by an outer block."""
    boot = Bootstrap(Hive)
    with boot.loaded() as outer, boot.loaded() as inner:
        assert inner is outer
    with unloading(boot):
        held = boot.load()
        with boot.loaded() as secrets:
            assert secrets is held
        assert boot.secrets is held


@pytest.mark.usefixtures("injected")
def test_an_exception_of_a_block_is_redacted_until_it_is_reported() -> None:
    """The traceback of an exception is redacted, although it is printed after the block."""
    done = run_child(
        "from hive_boot import Bootstrap, Secret, SecretSet\n"
        "class S(SecretSet):\n    jwt_secret: Secret\n"
        "with Bootstrap(S).loaded() as secrets:\n"
        "    raise ValueError(f'no such user: {secrets.jwt_secret.reveal()}')\n"
    )
    assert done.returncode == 1
    assert "ValueError: no such user: ***" in done.stderr
    assert FAKE not in done.stderr


def test_a_block_that_cannot_begin_exits_as_a_start_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report is on stderr, the exit status is 78, and no traceback is shown."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("WORKERS", "many")
    with pytest.raises(SystemExit) as caught, Bootstrap(Hive, config=Settings).loaded():
        pytest.fail("the block was entered")
    assert caught.value.code == 78
    assert caught.value.__suppress_context__
    report = capsys.readouterr().err
    assert "1. JWT_SECRET" in report
    assert "2. Settings.workers" in report
    assert "Traceback" not in report


# A failure at import

BROKEN = """
from pydantic_settings import BaseSettings
from hive_boot import Bootstrap, Secret, SecretSet

class AppSecrets(SecretSet):
    jwt_secret: Secret
    sentry_dsn: Secret | None

class Settings(BaseSettings):
    workers: int

boot = Bootstrap(AppSecrets, config=Settings, env_file="own.env")
secrets = boot.load()

async def app(scope, receive, send):
    raise RuntimeError
"""

SHORT = "fake-tiny"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Return a directory with a module whose ``load()`` fails, and a value to hide."""
    (tmp_path / "broken.py").write_text(BROKEN, "utf-8")
    (tmp_path / "own.env").write_text(f"SENTRY_DSN={FAKE}\n", "utf-8")
    return tmp_path


def run_tool(broken: Path, *command: str, **variables: str) -> tuple[int, str, str]:
    """Run a Python module as a command, in the directory of the broken module."""
    done = run_child(
        f"import runpy, sys; sys.argv[1:] = {list(command[1:])!r}; sys.path.insert(0, '')\n"
        f"runpy.run_module({command[0]!r}, run_name='__main__', alter_sys=True)",
        cwd=broken,
        HIVE_BOOT_MODE="development",
        HIVE_BOOT_PROFILE="production",
        **variables,
    )
    assert FAKE not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def assert_one_report(stderr: str) -> None:
    """Assert that stderr contains the report of the broken module once."""
    assert stderr.count("AppSecrets has 2 problems; the service does not start.") == 1, stderr
    assert stderr.count("1. JWT_SECRET is missing.") == 1
    assert stderr.count("2. Settings.workers") == 1


def test_an_uncaught_failure_of_load_prints_the_report_and_exits_with_78(broken: Path) -> None:
    """The report is printed and the exit status is 78, for each way to start the module."""
    for command in (
        ("broken",),
        ("hive_boot", "run", "broken:boot"),
        ("hive_boot", "run", "broken:boot", "--serve", "broken:app"),
        ("hive_boot", "run", "-m", "broken"),
        ("uvicorn", "broken:app", "--port", "0"),
    ):
        with case(command):
            status, _, stderr = run_tool(broken, *command)
            assert_one_report(stderr)
            assert status == 78
            assert "Traceback" not in stderr


def test_another_exception_is_printed_as_before(broken: Path) -> None:
    """After a failed load that was caught, any other exception has its traceback."""
    (broken / "caught.py").write_text(
        "try:\n    import broken\nexcept Exception: pass\n"
        "try:\n    import broken\nexcept Exception: pass\n"
        "raise ZeroDivisionError\n",
        "utf-8",
    )
    status, _, stderr = run_tool(broken, "caught")
    assert status == 1
    assert stderr.count("ZeroDivisionError") == 2  # the line, and the exception
    assert stderr.count("Traceback") == 1


def test_a_failed_load_does_not_end_an_interactive_interpreter(broken: Path) -> None:
    """An interactive interpreter prints the report, and continues."""
    done = subprocess.run(
        [sys.executable, "-i"],
        input="import broken\nprint('here', 'still')\n",
        env=child_environment(HIVE_BOOT_MODE="environment"),
        cwd=broken,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert_one_report(done.stderr)
    assert (done.stdout, done.returncode) == ("here still\n", 0)


def test_a_traceback_with_local_variables_has_no_value(
    injected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traceback with variables contains no value of a secret or of the settings."""
    del injected
    monkeypatch.setenv("SENTRY_DSN", OTHER)

    class Strict(Hive):
        other_key: Secret

    class Private(BaseSettings):
        jwt_secret: str

    with pytest.raises(InvalidSecretsError) as caught:
        Bootstrap(Strict, config=Private).load()
    told = everything_told(caught.value)
    assert FAKE not in told
    assert OTHER not in told


def test_a_check_of_a_module_that_fails_at_import_is_a_report(broken: Path) -> None:
    """``hive-boot check`` prints the report with its table, or as JSON, with exit status 78."""
    for target in ("broken:boot", "broken:AppSecrets"):
        status, stdout, stderr = run_tool(broken, "hive_boot", "check", target)
        assert_one_report(stderr)
        assert (status, "SENTRY_DSN" in stdout) == (78, True)
    status, stdout, _ = run_tool(broken, "hive_boot", "check", "broken:boot", "--json")
    assert (status, '"ok": false' in stdout) == (78, True)


def test_manifests_can_be_rendered_before_any_secret_exists(broken: Path) -> None:
    """The failure of `load()` at import does not prevent it."""
    status, stdout, stderr = run_tool(
        broken, "hive_boot", "manifests", "broken:boot", "--target", "markdown"
    )
    assert (status, "JWT_SECRET" in stdout) == (0, True), stderr


def test_loaded_and_require_secret_at_import_fail_with_78(broken: Path) -> None:
    """``loaded()`` and ``require_secret`` in a module also fail with 78."""
    head = BROKEN.partition("secrets = boot.load()")[0]
    invalid_setting = (
        "import os\nfrom hive_boot import get_secret\nos.environ['HIVE_BOOT_PROFILE'] = 'nonsense'"
    )
    for lines, told in (
        ("with boot.loaded() as secrets: pass", "1. JWT_SECRET is missing."),
        ("from hive_boot import require_secret\nrequire_secret('JWT_SECRET')", "JWT_SECRET is not"),
        (f"{invalid_setting}\nget_secret('JWT_SECRET')", "1. HIVE_BOOT_PROFILE"),
    ):
        with case(lines):
            (broken / "broken.py").write_text(head + lines, "utf-8")
            status, _, stderr = run_tool(broken, "hive_boot", "check", "broken:boot")
            assert (status, stderr.count(told)) == (78, 1), stderr
            assert "Traceback" not in stderr


@pytest.mark.usefixtures("injected")
def test_blocks_of_two_threads_end_when_the_last_one_ends(caplog: pytest.LogCaptureFixture) -> None:
    """The values stay readable, and redacted, until the last block ends."""
    boot = Bootstrap(Hive)
    both, ended = threading.Barrier(2, timeout=10), threading.Event()
    found: list[str] = []

    def first() -> None:
        with boot.loaded():
            both.wait()
        ended.set()

    def last() -> None:
        with boot.loaded() as secrets:
            both.wait()
            assert ended.wait(10)
            logging.getLogger("script").warning("still with %s", FAKE)
            assert boot.secrets is secrets
            found.append(secrets.jwt_secret.reveal())

    threads = [threading.Thread(target=each) for each in (first, last)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, messages(caplog)) == ([FAKE], ["still with ***"])
    with pytest.raises(LifecycleError):
        _ = boot.secrets


@pytest.mark.usefixtures("injected")
def test_a_block_in_config_does_not_undo_the_load_around_it() -> None:
    """The factory of the settings may enter its own block."""

    def make() -> str:
        with boot.loaded() as secrets:
            return secrets.jwt_secret.reveal()

    boot: Bootstrap[Hive, str] = Bootstrap(Hive, config=make)
    with unloading(boot):
        held = boot.load()
        assert boot.secrets is held
        assert boot.config == FAKE
    with boot.loaded():
        assert boot.config == FAKE
    with pytest.raises(LifecycleError):
        _ = boot.secrets


@pytest.mark.usefixtures("injected")
def test_a_block_does_not_undo_a_load_in_it() -> None:
    """``load()`` in a block lasts longer than the block."""
    boot = Bootstrap(Hive)
    with unloading(boot):
        with boot.loaded():
            held = boot.load()
        assert boot.secrets is held


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_values_of_a_run_stay_when_it_has_ended(backend: str, mounted: MountedVolume) -> None:
    """After a run, secrets, config and accepted values are those of its last generation."""
    boot = Bootstrap(Hive, config=lambda secrets: secrets.jwt_secret.reveal())

    async def run() -> None:
        async with boot.running():
            mounted.publish({"jwt_secret": OTHER})
            await boot.reload()

    with unloading(boot):
        secrets = boot.load()
        for _ in range(2):
            anyio.run(run, backend=backend)
            assert boot.secrets is secrets
            assert (secrets.jwt_secret.reveal(), boot.config) == (OTHER, OTHER)
            assert get_secret("JWT_SECRET") == OTHER
        mounted.publish({"jwt_secret": FAKE})
        anyio.run(run, backend=backend)
        assert [value.reveal() for value in boot.accepted("jwt_secret")] == [OTHER, FAKE]


def test_a_child_forked_during_a_load_loads_again(tmp_path: Path) -> None:
    """A forked child loads again, because the loading thread does not exist in it.

    The thread waits for a file then: Python cannot import in a child what a thread of the parent
    was importing.
    """
    program = f"""
import logging, os, threading
from pathlib import Path
from hive_boot import Bootstrap, Secret, SecretSet

class Waiting(logging.Handler):
    def emit(self, record):
        if "waiting" in record.getMessage().lower():
            waits.set()

class S(SecretSet):
    jwt_secret: Secret

waits = threading.Event()
logging.basicConfig(level=logging.INFO, handlers=[Waiting()])
boot = Bootstrap(S, secrets_dirs={str(tmp_path)!r}, wait_for_files=30)
thread = threading.Thread(target=boot.load)
thread.start()
assert waits.wait(30)
pid = os.fork()
if pid == 0:
    Path({str(tmp_path / "jwt_secret")!r}).write_text({FAKE!r})
    os._exit(0 if boot.load().jwt_secret.reveal() == {FAKE!r} else 1)
status = os.waitpid(pid, 0)[1]
thread.join()
raise SystemExit(os.waitstatus_to_exitcode(status))
"""
    done = run_child(program)
    assert done.returncode == 0, done.stderr


def test_a_check_asks_no_source_for_a_load_at_import(tmp_path: Path) -> None:
    """``load()`` at import cannot read a custom source: a start would fail, so the check does."""
    (tmp_path / "asking.py").write_text(
        "from hive_boot import Bootstrap, Secret, SecretSet\n"
        "class S(SecretSet):\n    api_key: Secret\n"
        "class Vault:\n    name = 'vault'\n"
        "    async def load(self, names): return dict.fromkeys(names, 'fake-value-0123456789')\n"
        "boot = Bootstrap(S, sources=[Vault()])\n"
        "if __name__ != 'later': boot.load()\n",
        "utf-8",
    )
    (tmp_path / "later.py").write_text((tmp_path / "asking.py").read_text("utf-8"), "utf-8")
    for command, expected in (
        (("asking",), 78),
        (("hive_boot", "check", "asking:boot"), 78),
        (("hive_boot", "check", "later:boot"), 0),
    ):
        with case(command):
            status, _, stderr = run_tool(tmp_path, *command)
            assert status == expected, stderr
            assert ("vault did not provide API_KEY" in stderr) == (expected == 78)


def test_a_tool_leaves_a_fifo_to_the_service(tmp_path: Path) -> None:
    """If a tool imports a module that calls ``load()``, the content of the FIFO is not consumed."""
    (tmp_path / "piped.py").write_text(
        "from hive_boot import Bootstrap, Secret, SecretSet\n"
        "class S(SecretSet):\n    api_key: Secret\n"
        "boot = Bootstrap(S, mode='development', profile='production')\n"
        "boot.load()\n",
        "utf-8",
    )
    fifo = tmp_path / ".env"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDWR)
    try:
        os.write(reading, b"API_KEY=fake-value-0123456789\n")
        status, _, stderr = run_tool(tmp_path, "hive_boot", "check", "piped:boot")
        assert (status, "FIFO" in stderr) == (78, True), stderr
        assert os.read(reading, 100).startswith(b"API_KEY=")
    finally:
        os.close(reading)


def test_a_signal_ends_a_load_that_waits_at_import(tmp_path: Path) -> None:
    """SIGTERM during an import ends the load, so a container need not be killed."""
    (tmp_path / "waiting.py").write_text(
        "import os, signal, threading\n"
        "from hive_boot import Bootstrap, Secret, SecretSet\n"
        "class S(SecretSet):\n    api_key: Secret\n"
        f"boot = Bootstrap(S, secrets_dirs={str(tmp_path)!r}, wait_for_files=600)\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "boot.load()\n",
        "utf-8",
    )
    status, _, stderr = run_tool(tmp_path, "hive_boot", "run", "waiting:boot")
    assert (status, stderr.count("API_KEY is missing")) == (78, 1), stderr
