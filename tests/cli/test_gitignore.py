"""A directory of secrets is ignored by git, as git itself sees it."""

import subprocess
from pathlib import Path

import pytest

from hive_boot.cli.gitignore import amendment, repository_of, tracked


def git(root: Path, *arguments: str) -> str:
    """Ask git."""
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Give an empty repository."""
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q")
    return root


def line_for(directory: Path) -> str | None:
    """Amend the file, and give the line that it took."""
    change = amendment(directory, [directory / "key", directory / "tls/cert"])
    if change is None:
        return None
    assert change.before == (change.path.read_bytes() if change.path.exists() else None)
    change.path.write_bytes(change.content)
    return change.line


def is_ignored(root: Path, path: str) -> bool:
    """Ask git."""
    return git(root, "check-ignore", path) != ""


def test_the_line_is_anchored_at_the_root(repository: Path) -> None:
    """A directory of the same name elsewhere is no secret."""
    assert line_for(repository / "deploy/secrets") == "/deploy/secrets/"

    assert (repository / ".gitignore").read_text() == "/deploy/secrets/\n"
    assert is_ignored(repository, "deploy/secrets/key")
    assert not is_ignored(repository, "other/deploy/secrets/key")


@pytest.mark.parametrize("name", ["a b ", "[ab]", "a*", "what?", "#a", "!a", "back\\slash", "ä"])
def test_a_name_with_characters_of_patterns_is_taken_literally(repository: Path, name: str) -> None:
    """Whatever the directory is called, it is the one that git ignores."""
    directory = repository / name
    line_for(directory)
    directory.mkdir()
    (directory / "key").touch()

    assert git(repository, "status", "--porcelain") == "?? .gitignore\n"
    assert line_for(directory) is None


@pytest.mark.parametrize("line", ["secrets", "/secrets/*", "**/secrets/", "secrets/**"])
def test_what_is_ignored_already_is_left(repository: Path, line: str) -> None:
    """However the pattern is written."""
    (repository / ".gitignore").write_text(f"{line}\n")

    assert line_for(repository / "secrets") is None


@pytest.mark.parametrize("line", ["secrets/key", "/secrets/\n!/secrets/", "# /secrets/"])
def test_what_is_not_wholly_ignored_gets_the_line(repository: Path, line: str) -> None:
    """A pattern for some of the files is not enough, nor one that is taken back."""
    (repository / ".gitignore").write_text(f"{line}\n")

    assert line_for(repository / "secrets") == "/secrets/"
    assert is_ignored(repository, "secrets/tls/cert")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"*.pyc", b"*.pyc\n/secrets/\n"),
        (b"*.pyc\r\n", b"*.pyc\r\n/secrets/\r\n"),
        (b"*.pyc\r\nbuild", b"*.pyc\r\nbuild\r\n/secrets/\r\n"),
        (b"", b"/secrets/\n"),
    ],
)
def test_the_file_keeps_its_line_ends(repository: Path, before: bytes, after: bytes) -> None:
    """The line is a line of its own."""
    (repository / ".gitignore").write_bytes(before)
    line_for(repository / "secrets")

    assert (repository / ".gitignore").read_bytes() == after


def test_a_link_is_followed(repository: Path) -> None:
    """The file that a link leads to is amended, and the link stays."""
    (repository / "shared").write_text("x\n")
    (repository / ".gitignore").symlink_to("shared")
    line_for(repository / "secrets")

    assert (repository / ".gitignore").is_symlink()
    assert (repository / "shared").read_text() == "x\n/secrets/\n"


def test_without_git_the_line_itself_is_looked_for(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository on a machine without git is one all the same."""
    monkeypatch.setenv("PATH", str(repository))

    assert line_for(repository / "secrets") == "/secrets/"
    assert line_for(repository / "secrets") is None
    assert tracked(repository / "secrets") == []


def test_a_broken_repository_is_no_obstacle(repository: Path) -> None:
    """Git cannot tell, so the line is written."""
    (repository / ".git/HEAD").unlink()

    assert line_for(repository / "secrets") == "/secrets/"


def test_another_repository_that_a_hook_works_in_is_not_asked(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a hook git names its own repository to whatever it starts."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))

    assert line_for(repository / "secrets") == "/secrets/"
    assert line_for(repository / "secrets") is None


def test_outside_of_a_repository_it_is_the_file_of_the_working_directory() -> None:
    """A project that is not in git yet will be."""
    here = Path.cwd()

    assert repository_of(here / "secrets") is None
    assert line_for(here / "deploy/secrets") == "/deploy/secrets/"
    assert line_for(here / "deploy/secrets") is None
    assert (here / ".gitignore").read_text() == "/deploy/secrets/\n"


def test_outside_of_the_project_nothing_is_written(tmp_path: Path) -> None:
    """A directory of a server is in no repository to come."""
    assert line_for(tmp_path / "etc/secrets") is None


def test_what_git_tracks_is_named(repository: Path) -> None:
    """To ignore a file does not take it out."""
    directory = repository / "secrets"
    directory.mkdir()
    (directory / "key").write_text("fake")
    assert tracked(directory) == []
    git(repository, "add", "secrets/key")

    assert tracked(directory) == ["secrets/key"]
    assert tracked(repository.parent) == []
