"""Git ignore rules, as a real git sees them."""

import os
from pathlib import Path

import pytest

from hive_boot.cli import CommandError
from hive_boot.cli.secret_files import find_repository, plan_gitignore_change, tracked_files
from tests.fixtures.git import git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return an empty repository."""
    root = tmp_path / "project"
    root.mkdir()
    git("init", "-q", root=root)
    return root


def add_line(directory: Path) -> str | None:
    """Make the planned change, and return its line."""
    change = plan_gitignore_change(directory, [directory / "key", directory / "tls/cert"])
    if change is None:
        return None
    assert change.before == (change.path.read_bytes() if change.path.exists() else None)
    change.path.write_bytes(change.content)
    return change.line


def is_ignored(root: Path, path: str) -> bool:
    """Return whether git ignores a path."""
    return git("check-ignore", path, root=root) != ""


def test_the_line_is_anchored_at_the_root(repository: Path) -> None:
    """A directory of the same name elsewhere is not ignored."""
    assert add_line(repository / "deploy/secrets") == "/deploy/secrets/"

    assert (repository / ".gitignore").read_text() == "/deploy/secrets/\n"
    assert is_ignored(repository, "deploy/secrets/key")
    assert not is_ignored(repository, "other/deploy/secrets/key")


def test_a_name_with_characters_of_patterns_is_taken_literally(repository: Path) -> None:
    """Whatever the directory is called, git ignores it, and nothing else."""
    for name in ["a b ", "[ab]", "a*", "what?", "#a", "!a", "back\\slash", "ä"]:
        directory = repository / name
        add_line(directory)
        directory.mkdir()
        (directory / "key").touch()

        assert git("status", "--porcelain", root=repository) == "?? .gitignore\n", name
        assert add_line(directory) is None, name


def test_a_line_is_added_unless_all_files_are_ignored(repository: Path) -> None:
    """A pattern for some of the files is not enough, nor one that is negated."""
    for text, line in (
        ("secrets", None),
        ("/secrets/*", None),
        ("**/secrets/", None),
        ("secrets/**", None),
        ("secrets/key", "/secrets/"),
        ("/secrets/\n!/secrets/", "/secrets/"),
        ("# /secrets/", "/secrets/"),
    ):
        (repository / ".gitignore").write_text(f"{text}\n")
        assert add_line(repository / "secrets") == line, text
        assert is_ignored(repository, "secrets/tls/cert"), text


def test_the_file_keeps_its_line_ends(repository: Path) -> None:
    """The line is a line of its own."""
    for before, after in (
        (b"*.pyc", b"*.pyc\n/secrets/\n"),
        (b"*.pyc\r\n", b"*.pyc\r\n/secrets/\r\n"),
        (b"*.pyc\r\nbuild", b"*.pyc\r\nbuild\r\n/secrets/\r\n"),
        (b"", b"/secrets/\n"),
    ):
        (repository / ".gitignore").write_bytes(before)
        add_line(repository / "secrets")
        assert (repository / ".gitignore").read_bytes() == after


def test_without_an_answer_of_git_the_line_itself_is_looked_for(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository on a machine without git, and a broken repository."""
    (repository / ".git/HEAD").unlink()
    assert add_line(repository / "a") == "/a/"
    monkeypatch.setenv("PATH", str(repository))
    assert add_line(repository / "secrets") == "/secrets/"
    assert add_line(repository / "secrets") is None
    assert tracked_files(repository / "secrets") == []


def test_outside_of_a_repository_the_working_directory_counts(tmp_path: Path) -> None:
    """It can become a repository; a directory elsewhere does not belong to a project."""
    here = Path.cwd()

    assert find_repository(here / "secrets") is None
    assert add_line(here / "deploy/secrets") == "/deploy/secrets/"
    assert add_line(here / "deploy/secrets") is None
    assert (here / ".gitignore").read_text() == "/deploy/secrets/\n"
    assert add_line(tmp_path / "etc/secrets") is None


def test_tracked_files_are_found(repository: Path) -> None:
    """A line in ``.gitignore`` does not untrack them."""
    directory = repository / "secrets"
    directory.mkdir()
    (directory / "key").write_text("fake")
    assert tracked_files(directory) == []
    git("add", "secrets/key", root=repository)

    assert tracked_files(directory) == ["secrets/key"]
    assert tracked_files(repository.parent) == []


def test_a_file_that_cannot_be_read_is_refused(repository: Path) -> None:
    """It is larger than any .gitignore of a person, such as a sparse file."""
    ignore = repository / ".gitignore"
    ignore.touch()
    os.truncate(ignore, 1 << 35)
    with pytest.raises(CommandError, match=str(ignore)):
        add_line(repository / "secrets")
