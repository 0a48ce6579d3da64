"""Files of secrets, and a real git."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hive_boot.cli.examinations.versioned import files_in_git
from tests.cli.examinations.patients import kinds, mounted, patient_of, write

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")


@pytest.fixture(autouse=True)
def own_git(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a git without the settings of who runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(machine))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def git(place: Path, *arguments: str) -> None:
    """Do something with git."""
    subprocess.run(["git", "-C", str(place), *arguments], check=True, capture_output=True)  # noqa: S607  (whichever is there)


@pytest.fixture
def repository(machine: Path) -> Path:
    """Have a repository with a ``.env`` in it."""
    write(machine / "cwd/.env", "API_KEY=fake-value")
    git(machine / "cwd", "init", "--quiet")
    return machine


def test_a_dotenv_file_in_git_is_named_with_all_that_mends_it(repository: Path) -> None:
    """Taking it out is not enough: its history keeps the values, so they are rotated."""
    git(repository / "cwd", "add", "--force", ".env")

    symptoms = files_in_git(patient_of(repository))

    assert kinds(symptoms) == [("warning", "tracked-by-git")]
    assert "rm --cached .env" in symptoms[0].mend
    assert "rotate" in symptoms[0].mend
    assert "fake-value" not in str(symptoms)


def test_a_dotenv_file_that_git_would_take_is_named(repository: Path) -> None:
    """One ``git add .`` is all that is needed."""
    (symptom,) = files_in_git(patient_of(repository))

    assert symptom.kind == "not-ignored-by-git"
    assert symptom.where == f"{repository / 'cwd'}: .env"


def test_an_ignored_file_is_all_right(repository: Path) -> None:
    """That is how it is meant to be."""
    write(repository / "cwd/.gitignore", ".env\n")

    assert files_in_git(patient_of(repository)) == []


def test_files_of_a_directory_are_judged_one_by_one(machine: Path) -> None:
    """One of them was added before somebody thought of ``.gitignore``."""
    git(machine, "init", "--quiet")
    for name in ("api_key", "jwt_secret", "sentry_dsn", "JWT_SECRET_PREVIOUS"):
        write(machine / "secrets" / name)
    write(machine / ".gitignore", "secrets/sentry_dsn\n")
    git(machine, "add", "secrets/api_key")

    tracked, not_ignored = files_in_git(mounted(machine))

    assert (tracked.kind, tracked.where) == ("tracked-by-git", f"{machine / 'secrets'}: api_key")
    assert not_ignored.where == f"{machine / 'secrets'}: JWT_SECRET_PREVIOUS, jwt_secret"
    assert "secrets/" in not_ignored.mend


def test_without_a_repository_nothing_is_said(machine: Path) -> None:
    """Neither in one that git does not trust: it does not answer."""
    write(machine / "cwd/.env", "API_KEY=fake-value")

    assert files_in_git(patient_of(machine)) == []


def test_without_git_nothing_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slim image has none."""
    monkeypatch.setenv("PATH", str(repository / "empty"))

    assert files_in_git(patient_of(repository)) == []


def test_a_git_that_cannot_be_started_says_nothing(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken tool is not the patient's illness."""
    write(repository / "bin/git", "\x7fELF", mode=0o755)
    monkeypatch.setenv("PATH", str(repository / "bin"))

    assert files_in_git(patient_of(repository)) == []


def test_git_is_asked_for_nothing_below_run(machine: Path) -> None:
    """A mount is in nobody's repository, and a walk up from it is for nothing."""
    environ = {"API_KEY_FILE": "/dev/shm/nothing", "SENTRY_DSN_FILE": "/proc/self/status"}  # noqa: S108  (nothing is there)

    assert files_in_git(patient_of(machine, environ)) == []


def test_a_secret_in_the_environment_is_not_handed_to_git(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is started for a look gets no more than it needs."""
    script = '#!/bin/sh\nenv > "$HOME/seen"\nexit 128\n'
    write(repository / "bin/git", script, mode=0o755)
    monkeypatch.setenv("PATH", f"{repository / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("API_KEY", "fake-value-of-the-shell")

    files_in_git(patient_of(repository))

    seen = (repository / "seen").read_text()
    assert "GIT_OPTIONAL_LOCKS=0" in seen
    assert "fake-value-of-the-shell" not in seen
