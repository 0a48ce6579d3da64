"""``hive-boot rotate`` keeps new files and backups away from other users and from git."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hive_boot.cli.main import main
from tests.fixtures.git import git
from tests.fixtures.trees import contents, mode
from tests.support import child_environment

KEYS = ("--app", "tests.cli.keys:Keys")


@pytest.fixture
def secrets() -> Path:
    """Return a directory with one secret file."""
    place = Path("secrets")
    place.mkdir(0o700)
    (place / "api_key").write_bytes(b"fake-old")
    return place


Rotate = Callable[..., int]


@pytest.fixture
def rotate(monkeypatch: pytest.MonkeyPatch) -> Rotate:
    """Return what runs the command with a piped value."""

    def rotate(*arguments: str, value: str = "fake-new") -> int:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(value.encode())))
        return main(["rotate", *arguments])

    return rotate


def test_no_file_is_created_where_every_user_can_enter(
    secrets: Path, rotate: Rotate, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has mode 0444; the command that closes the directory is shown."""
    for open_mode in (0o755, 0o711, 0o701, 0o777, 0o1777):
        secrets.chmod(open_mode)
        for arguments in (["TOKEN"], ["TOKEN", "--dry-run"]):
            assert rotate(*arguments, "--create") == 1
            out, err = capsys.readouterr()
            assert (out, "chmod 700 " in err, "fake" in err) == ("", True, False)
            assert contents(secrets) == {"api_key": b"fake-old"}
        assert rotate("API_KEY", value=f"fake-{open_mode}") == 0
        (secrets / "api_key").write_bytes(b"fake-old")
        capsys.readouterr()
    (secrets / "tls").mkdir(0o755)
    assert rotate("TLS_CERT", *KEYS, "--create") == 1
    for closed in (0o700, 0o750, 0o744):
        secrets.chmod(closed)
        assert rotate("TLS_CERT", *KEYS, "--create") == 0
        (secrets / "tls/cert.pem").unlink()


def test_a_closed_directory_below_an_open_one_is_enough(secrets: Path, rotate: Rotate) -> None:
    """A directory that the command creates is closed."""
    secrets.chmod(0o755)
    assert rotate("TLS_CERT", *KEYS, "--create") == 0
    assert mode(secrets / "tls") == 0o700
    (secrets / "tls/cert.pem").unlink()
    (secrets / "tls").chmod(0o755)
    assert rotate("TLS_CERT", *KEYS, "--create") == 1


def test_a_backup_that_git_would_stage_is_refused(
    secrets: Path, rotate: Rotate, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pattern for the file itself does not match its backup; nothing is asked for."""
    git("init", "-q")
    for pattern in ("", "secrets/api_key", "api_key", "secrets/*_key", "secrets/\n!secrets/"):
        Path(".gitignore").write_text(f"{pattern}\n")
        for more in ([], ["--dry-run"]):
            assert rotate("API_KEY", "--backup", *more) == 1, pattern
            err = capsys.readouterr().err
            assert "secrets/api_key" in err
            assert f"add the line /secrets/ to {Path.cwd()}/.gitignore" in err
            assert contents(secrets) == {"api_key": b"fake-old"}
    for number, pattern in enumerate(("/secrets/", "secrets", "*_key*", "*.bak\napi_key")):
        Path(".gitignore").write_text(f"{pattern}\n")
        assert rotate("API_KEY", "--backup", value=f"fake-{number}") == 0, pattern
        git("add", "-A")
        assert git("ls-files") == ".gitignore\n"
        for backup in secrets.glob("*.bak"):
            backup.unlink()


def test_a_gitignore_that_git_does_not_read_is_refused(
    secrets: Path, rotate: Rotate, capsys: pytest.CaptureFixture[str]
) -> None:
    """A symbolic link, although its target has the line."""
    git("init", "-q")
    Path("rules").write_text("/secrets/\n")
    Path(".gitignore").symlink_to("rules")
    for arguments in (["API_KEY", "--backup"], ["TOKEN", "--create"]):
        assert rotate(*arguments) == 1
        assert f"{Path.cwd()}/.gitignore" in capsys.readouterr().err
    assert contents(secrets) == {"api_key": b"fake-old"}


@pytest.mark.skipif(os.geteuid() != 0, reason="a repository of another user is needed")
@pytest.mark.usefixtures("secrets")
def test_a_repository_that_git_does_not_trust_is_named(
    rotate: Rotate, capsys: pytest.CaptureFixture[str]
) -> None:
    """Git has not answered that it ignores the file, although the line is there."""
    git("init", "-q")
    Path(".gitignore").write_text("/secrets/\n")
    for path in (Path(), Path(".git")):
        os.chown(path, 1234, 1234)
    for arguments in (["API_KEY", "--backup"], ["TOKEN", "--create"]):
        assert rotate(*arguments, "--json") == 0
        (note,) = json.loads(capsys.readouterr().out)["notes"]
        assert "dubious ownership" in note
        assert "safe.directory" in note


def test_a_dry_run_checks_the_value_and_writes_nothing(
    secrets: Path, rotate: Rotate, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report has the same facts; what a rotation refuses is refused."""
    before = (secrets / "api_key").stat()
    for arguments, state in (
        (["API_KEY"], "rotated"),
        (["API_KEY", "--backup"], "rotated"),
        (["TOKEN", "--create"], "created"),
        (["API_KEY", "--backup"], "unchanged"),
    ):
        value = "fake-old" if state == "unchanged" else "fake-new"
        assert rotate(*arguments, "--dry-run", "--json", value=value) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["state"], facts["dry_run"]) == (state, True)
        has_backup = "--backup" in arguments and state != "unchanged"
        assert (facts["backup"] is not None) == has_backup
        assert rotate(*arguments, "--dry-run", value=value) == 0
        out = capsys.readouterr().out
        assert ("Dry run" in out) == (state != "unchanged")
        assert "fake" not in out
    after = (secrets / "api_key").stat()
    assert contents(secrets) == {"api_key": b"fake-old"}
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    strict = ("--app", "tests.cli.keys:Strict", "--dry-run")
    assert rotate("PIN", *strict, "--create", value="fake") == 1
    assert rotate("API_KEY", "--dry-run", value="") == 1
    assert rotate("OTHER", "--dry-run") == 64


def test_a_working_directory_that_was_removed_is_a_usage_error(tmp_path: Path) -> None:
    """One line, whichever path the command is given; nothing is read from stdin."""
    for to in ("secrets", str(tmp_path / "kept")):
        here = tmp_path / "here"
        here.mkdir()
        (tmp_path / "kept").mkdir(exist_ok=True)
        (tmp_path / "kept/api_key").write_bytes(b"fake-old")
        script = 'rmdir "$PWD"; exec "$@"'
        command = [sys.executable, "-m", "hive_boot", "rotate", "API_KEY", "--to", to]
        done = subprocess.run(
            ["sh", "-c", script, "sh", *command],  # noqa: S607  (any shell)
            input=b"fake-new",
            cwd=here,
            env=child_environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 64, done
        assert done.stderr.startswith(b"hive-boot: The working directory was removed.")
        assert done.stderr.count(b"\n") == 1
    assert (tmp_path / "kept/api_key").read_bytes() == b"fake-old"
