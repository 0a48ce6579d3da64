"""Files of secrets, and a real git."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hive_boot.cli.doctor_checks.files import secrets_tracked_by_git
from tests.cli.doctor_checks.contexts import context_of, kinds, mounted, write

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture(autouse=True)
def isolated_git(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the git settings of the user who runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(machine))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def git(directory: Path, *arguments: str) -> None:
    """Run git in a directory."""
    subprocess.run(["git", "-C", str(directory), *arguments], check=True, capture_output=True)  # noqa: S607  (the git of the machine)


@pytest.fixture
def repository(machine: Path) -> Path:
    """Return the working directory, a repository with a ``.env`` that git does not track."""
    write(machine / "cwd/.env", "API_KEY=fake-value")
    git(machine / "cwd", "init", "--quiet")
    return machine / "cwd"


def test_a_tracked_dotenv_file_is_reported(machine: Path, repository: Path) -> None:
    """The history keeps the values, so they have to be rotated too."""
    git(repository, "add", "--force", ".env")

    (finding,) = secrets_tracked_by_git(context_of(machine))

    assert kinds([finding]) == [("warning", "tracked-by-git")]
    assert finding.locations == (str(repository / ".env"),)
    assert f"git -C {repository} rm --cached .env" in finding.fix
    assert "fake-value" not in str(finding)


def test_a_dotenv_file_that_git_does_not_ignore_is_reported(
    machine: Path, repository: Path
) -> None:
    """The next ``git add .`` would add it."""
    (finding,) = secrets_tracked_by_git(context_of(machine))

    assert kinds([finding]) == [("warning", "not-ignored-by-git")]
    assert finding.locations == (str(repository / ".env"),)
    write(repository / ".gitignore", ".env\n")
    assert not list(secrets_tracked_by_git(context_of(machine)))


def test_files_of_a_directory_are_reported_by_their_state(machine: Path) -> None:
    """One file is tracked, one is ignored, and two are neither."""
    directory = machine / "secrets"
    git(machine, "init", "--quiet")
    for name in ("api_key", "jwt_secret", "sentry_dsn", "JWT_SECRET_PREVIOUS"):
        write(directory / name)
    write(machine / ".gitignore", "secrets/sentry_dsn\n")
    git(machine, "add", "secrets/api_key")

    tracked, not_ignored = secrets_tracked_by_git(mounted(machine))

    assert (tracked.kind, tracked.names) == ("tracked-by-git", ("API_KEY",))
    assert tracked.locations == (str(directory / "api_key"),)
    assert not_ignored.names == ("JWT_SECRET_PREVIOUS", "JWT_SECRET")
    assert not_ignored.locations == (
        str(directory / "JWT_SECRET_PREVIOUS"),
        str(directory / "jwt_secret"),
    )
    assert "secrets/" in not_ignored.fix


def test_without_a_repository_there_is_no_finding(machine: Path) -> None:
    """Git fails there too, but it has nothing to answer."""
    write(machine / "cwd/.env", "API_KEY=fake-value")

    assert not list(secrets_tracked_by_git(context_of(machine)))


def test_directories_of_the_system_are_not_checked(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount is in no repository."""
    write(machine / "bin/git", f"#!/bin/sh\ntouch {machine}/called\nexit 128\n", mode=0o755)
    monkeypatch.setenv("PATH", f"{machine / 'bin'}{os.pathsep}{os.environ['PATH']}")

    assert not list(secrets_tracked_by_git(context_of(machine, {"API_KEY_FILE": "/proc/version"})))
    assert not (machine / "called").exists()

    write(machine / "cwd/.env", "API_KEY=fake-value")
    list(secrets_tracked_by_git(context_of(machine)))
    assert (machine / "called").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a repository of another user is needed")
def test_a_repository_that_git_does_not_trust_is_a_note(machine: Path, repository: Path) -> None:
    """Git has not answered that it tracks nothing; its text names the command that trusts it."""
    for path in (repository, repository / ".git"):
        os.chown(path, 1234, 1234)

    (finding,) = secrets_tracked_by_git(context_of(machine))

    assert kinds([finding]) == [("note", "git-unavailable")]
    assert "dubious ownership" in finding.message
    assert f"safe.directory {repository}" in finding.message
