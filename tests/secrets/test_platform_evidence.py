"""Signs of a platform and evidence of a developer, in real processes and real files."""

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.secrets import global_access
from hive_boot.secrets.fields import undeclared_field
from hive_boot.secrets.platform import PLATFORM_VARIABLES
from tests.fixtures.cases import case, empty_machines
from tests.support import (
    as_ordinary_user,
    child_environment,
    everything_told,
    failed_start,
    look,
    move_to,
    report_of,
    run_child,
    situate,
)

CANARY = "fake-jwt-secret-0123456789"

# A process without a terminal; the arguments are a terminal's descriptor and where it goes.
_TERMINALS = """
import fcntl, os, sys, termios
from hive_boot.secrets.platform import HostEnvironment, platform_sign
terminal, use = int(sys.argv[1]), sys.argv[2]
if use == "/dev/tty":
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
elif use:
    os.dup2(terminal, {"stdin": 0, "stderr": 2}[use])
os.close(terminal)
print(HostEnvironment().terminal())
if not use:
    assert not HostEnvironment(root=sys.argv[3]).terminal()
os.close(2)
os.environ["JOURNAL_STREAM"] = "8:1"
print(platform_sign(HostEnvironment(root="/nowhere")))
"""


class Needs(SecretSet):
    """Secrets that development can do without."""

    jwt_secret: Secret = secret(dev_default="dev-only-jwt-secret")
    sentry_dsn: Secret | None


def test_a_terminal_of_the_process_is_evidence(tmp_path: Path) -> None:
    """A terminal is stdin, or stderr, or the controlling terminal; stdout does not count."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/tty").touch()
    for use, evidence in (
        ("", ""),
        ("stdin", "stdin is a terminal"),
        ("stderr", "stderr is a terminal"),
        ("/dev/tty", "/dev/tty opens"),
    ):
        with case(use):
            master, terminal = pty.openpty()
            environ = child_environment()
            for name in (*" ".join(PLATFORM_VARIABLES.values()).split(), "container"):
                environ.pop(name, None)
            child = subprocess.run(
                [sys.executable, "-c", _TERMINALS, str(terminal), use, str(tmp_path)],
                env=environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                pass_fds=[terminal],
                start_new_session=True,
                check=True,
                timeout=60,
            )
            os.close(terminal)
            os.close(master)
            assert child.stdout.decode() == f"{evidence}\n\n"


def test_a_cgroup_that_cannot_be_read_is_not_a_sign(tmp_path: Path) -> None:
    """Lines of another form, and other controllers, say nothing about a service."""
    contents = (
        "",
        "\n",
        "garbage",
        "0::",
        "0::/",
        ":::/a.service:",
        "4:memory:/system.slice/shop.service",
        "0::/user.slice/user-1000.slice/session-3.scope",
        "0::/system.slice/shop.service/payload.scope",
        "0::/system.slice/x.service.d/caf\xe9",
        "0::/user.slice/user-0.slice/user@0.service/init.scope",
    )
    machines = empty_machines(tmp_path)
    for content in contents:
        with case(content):
            root = next(machines)
            (root / "proc/self").mkdir(parents=True)
            (root / "proc/self/cgroup").write_bytes(content.encode("latin-1"))

            assert situate(root, {"INVOCATION_ID": "1"}).profile == "development"


def test_app_env_of_a_dotenv_file_is_read_as_the_parser_reads_it(tmp_path: Path) -> None:
    """Quotes and later lines count, and what cannot be read is held to production.

    A comment does not count, and neither does a file that is no text, or no file.
    """
    cases: list[tuple[bytes, str]] = [
        (b"APP_ENV=production", "production"),
        (b"export APP_ENV='staging' # where it runs", "staging"),
        (b'APP_ENV = "Prod"\r\n', "production"),
        (b"APP_ENV=production\nAPP_ENV=test\n", "test"),
        (b"\xef\xbb\xbfAPP_ENV=test\n", "test"),
        (b"# APP_ENV=production", "development"),
        (b"MY_APP_ENV=production", "development"),
        (b"APP_ENV=", "development"),
        (b"APP_ENV", "development"),
        (b"APP_ENVIRONMENT=production", "development"),
        (b'NOTE="\nAPP_ENV=production\n"', "production"),
        (b"APP_ENV=${DEPLOY_ENV}", "production"),
        (b"DEPLOY_ENV=test\nAPP_ENV=${DEPLOY_ENV}", "test"),
        (b'APP_ENV="production\n', "production"),
        (b"APP_ENV: production", "production"),
        (b"if true; then APP_ENV=production; fi", "development"),
        (b"HIVE_BOOT_PROFILE=production", "development"),
        (b"APP_ENV=production\xff", "development"),
        (b"APP_ENV=production\n" + b"#" * 1_048_576, "development"),
        (b"", "development"),
    ]
    machines = empty_machines(tmp_path)
    for content, profile in cases:
        with case(content):
            root = next(machines)
            (root / "cwd/.env").write_bytes(content)
            assert situate(root).profile == profile


def test_a_dotenv_file_that_blocks_is_not_read_for_app_env(tmp_path: Path) -> None:
    """A FIFO is not read without a reader, as in doctor; a device and a directory never are."""
    machines = empty_machines(tmp_path)
    for make in (
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("nowhere"),
    ):
        root = next(machines)
        make(root / "cwd/.env")
        assert situate(root).profile == "development"


@pytest.mark.anyio
async def test_a_fifo_is_read_once_for_app_env_and_the_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load uses what the detection of the profile has read."""
    move_to(tmp_path, monkeypatch)
    path = tmp_path / "cwd/.env"
    os.mkfifo(path)
    text = "APP_ENV=staging\nJWT_SECRET=fake-value-0123456789\n"
    writer = threading.Thread(target=path.write_text, args=(text,))
    writer.start()
    boot = Bootstrap(Needs)
    async with boot.running() as secrets:
        writer.join()
        assert boot.status().profile_reason == f"APP_ENV in {path}"
        assert boot.status().profile == "staging"
        assert secrets.jwt_secret.reveal() == "fake-value-0123456789"


def test_no_other_mode_looks_for_app_env(tmp_path: Path) -> None:
    """A `.env` in an image, and APP_ENV beside a mount, do not select the profile."""
    (tmp_path / "cwd/.env").write_text("APP_ENV=development")
    for mode in ("docker", "kubernetes", "systemd", "environment"):
        assert situate(tmp_path, {"APP_ENV": "test"}, mode=mode).profile == "production"


@pytest.mark.anyio
async def test_an_app_env_of_the_application_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start goes on, held to production, and does not show the text, which may be a value."""
    move_to(tmp_path, monkeypatch)
    monkeypatch.setenv("JWT_SECRET", "fake-value-0123456789")
    file = tmp_path / "cwd/.env"
    for text, in_file in (("qa", False), ("uat", True), ("preview", True), (CANARY, True)):
        with case(text, in_file), monkeypatch.context() as patch:
            file.unlink(missing_ok=True)
            place = "APP_ENV"
            if in_file:
                file.write_text(f"APP_ENV={text}\n")
                place = f"APP_ENV in {file}"
            else:
                patch.setenv("APP_ENV", text)
            loaded = look(Needs, tmp_path, dict(os.environ))
            boot = Bootstrap(Needs)
            async with boot.running():
                status = boot.status()

            notes = [note for note in loaded.notes if note.kind == "unknown-app-env"]
            assert [note.locations for note in notes] == [(place,)]
            assert (status.profile, status.profile_reason) == (
                "production",
                f"{place} is not a profile",
            )
            assert text not in report_of(loaded).replace(str(tmp_path), "")
    monkeypatch.delenv("JWT_SECRET")
    failure = await failed_start(Bootstrap(Needs))
    assert CANARY not in everything_told(failure)
    assert "is not a profile" in str(failure)


_START = """
import sys
from functools import partial
from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.runtime import load_pipeline
host = partial(load_pipeline.HostEnvironment, root=sys.argv[1], pid=4711)
load_pipeline.HostEnvironment = host
class Needs(SecretSet):
    jwt_secret: Secret = secret(dev_default="dev-only-jwt-secret")
boot = Bootstrap(Needs)
@boot.main
async def main(secrets: Needs) -> None: print(secrets.jwt_secret.reveal())
boot.run()
"""


def test_a_start_logs_what_decided_the_profile(tmp_path: Path) -> None:
    """A service with a forgotten mount ends with 78, and a development container starts."""
    cases: list[tuple[dict[str, str], int, str]] = [
        ({}, 78, "no evidence of a developer"),
        ({"SUPERVISOR_ENABLED": "1", "DISPLAY": ":0"}, 78, "SUPERVISOR_ENABLED is set"),
        ({"FLY_APP_NAME": "shop", "CI": "true"}, 78, "FLY_APP_NAME is set"),
        ({"REMOTE_CONTAINERS": "true"}, 0, "REMOTE_CONTAINERS is set"),
        ({"APP_ENV": "qa"}, 78, "APP_ENV is not a profile"),
        ({"APP_ENV": "qa", "JWT_SECRET": "fake-value-0123456789"}, 0, "APP_ENV is not a profile"),
    ]
    for variables, status, reason in cases:
        with case(variables):
            environ = {"APP_ENV": "", **variables}
            child = run_child(_START, str(tmp_path), cwd=tmp_path, **environ)
            assert child.returncode == status, child.stderr
            assert reason in child.stderr
            default_is_used = "dev-only-jwt-secret" in child.stdout
            assert default_is_used is (status == 0 and "JWT_SECRET" not in variables)


def test_a_development_default_is_used_only_with_evidence(tmp_path: Path) -> None:
    """Without a terminal the default is refused, and the report names HIVE_BOOT_PROFILE."""
    assert not look(Needs, tmp_path).problems
    loaded = look(Needs, tmp_path, terminal="")

    assert [problem.kind for problem in loaded.problems] == ["missing"]
    assert "no-mount" in [note.kind for note in loaded.report_notes]
    assert "HIVE_BOOT_PROFILE=development" in report_of(loaded)
    assert "environment variable JWT_SECRET" in loaded.problems[0].fix


def test_a_credentials_directory_that_was_not_made_is_a_problem(tmp_path: Path) -> None:
    """Optional secrets too: systemd has failed to load what the unit asks for."""

    class Optional(SecretSet):
        sentry_dsn: Secret | None

    environ = {"CREDENTIALS_DIRECTORY": "/run/credentials/shop.service"}
    (problem,) = look(Optional, tmp_path, environ).problems
    assert problem.name == f"{tmp_path}/run/credentials/shop.service"
    assert "CREDENTIALS_DIRECTORY" in problem.message
    assert "LoadCredential=" in problem.fix
    (tmp_path / "run/credentials/shop.service").mkdir(parents=True)
    assert not look(Optional, tmp_path, environ).problems


def test_get_secret_finds_a_directory_that_cannot_be_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each name is tried there, also after one that is not there."""
    store = global_access.StandaloneStore()
    with as_ordinary_user() as root:
        (root / "run/secrets").mkdir(parents=True)
        (root / "run/secrets/api_key").write_text("fake-value")
        (root / "run/secrets").chmod(0o100)
        monkeypatch.chdir(root)
        move_to(root, monkeypatch)
        modes = [
            store.source_context(undeclared_field(name) if name else None).mode
            for name in (None, "LOG_LEVEL", None, "API_KEY", "LOG_LEVEL", None)
        ]
        (root / "run/secrets").chmod(0o700)
    assert modes == ["development"] * 3 + ["docker"] * 3


def test_detection_in_docker_mode_imports_no_dotenv_parser(tmp_path: Path) -> None:
    """What a plain start does not need is not imported."""
    (tmp_path / "run/secrets").mkdir(parents=True)
    (tmp_path / "run/secrets/api_key").touch()
    (tmp_path / ".env").write_text("APP_ENV=production")
    child = run_child(
        "import sys\n"
        "from hive_boot.secrets.platform import HostEnvironment, SourceOptions, detect\n"
        f"context = detect(HostEnvironment(root={str(tmp_path)!r}), SourceOptions())\n"
        "print(context.mode, [name for name in sys.modules if 'dotenv' in name])\n",
        cwd=tmp_path,
    )
    assert (child.stdout, child.stderr) == ("docker []\n", "")
