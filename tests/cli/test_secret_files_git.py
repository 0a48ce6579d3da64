"""The one call of git: what it passes, what it returns, and that it ends."""

import os
import subprocess
from pathlib import Path

import pytest

from hive_boot.cli import secret_files
from hive_boot.cli.secret_files import git_paths


@pytest.fixture
def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a script that is run as git."""
    script = tmp_path / "bin/git"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return script


def test_paths_are_returned_as_they_are_called(tmp_path: Path) -> None:
    """Names with line ends and bytes that are not UTF-8 included."""
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)  # noqa: S607  (any git)
    (tmp_path / ".gitignore").write_text("secrets/\n")
    names = ["secrets/a\nb", "secrets/\udcff", "other"]

    ignored = git_paths(tmp_path, "check-ignore", "-z", "--stdin", stdin_paths=names)

    assert ignored == names[:2]
    assert git_paths(tmp_path, "check-ignore", "-z", "--stdin", stdin_paths=["other"]) == []
    assert git_paths(tmp_path, "ls-files", "-z") == []


def test_git_that_cannot_answer_returns_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_git: Path
) -> None:
    """Not a repository, a program that cannot start, a call that hangs, no git at all."""
    fake_git.write_text("#!/bin/sh\nexit 128\n")
    assert git_paths(tmp_path, "ls-files", "-z") is None
    fake_git.write_text("\x7fELF")
    assert git_paths(tmp_path, "ls-files", "-z") is None
    monkeypatch.setattr(secret_files, "GIT_TIMEOUT", 0.05)
    fake_git.write_text("#!/bin/sh\nexec sleep 60\n")
    assert git_paths(tmp_path, "ls-files", "-z") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_paths(tmp_path, "ls-files", "-z") is None


def test_git_gets_neither_secrets_nor_another_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_git: Path
) -> None:
    """The environment of this process may hold secrets; in a hook it holds GIT_DIR."""
    fake_git.write_text('#!/bin/sh\nenv > "$HOME/environ"\necho "$@" > "$HOME/arguments"\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("API_KEY", "fake-value")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))

    assert git_paths(tmp_path, "ls-files", "-z") == []

    environ = (tmp_path / "environ").read_text().splitlines()
    assert not [line for line in environ if line.startswith(("API_KEY=", "GIT_DIR="))]
    assert {"GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0"} <= {*environ}
    arguments = (tmp_path / "arguments").read_text()
    assert "--no-pager" in arguments
    assert "core.fsmonitor=false" in arguments
