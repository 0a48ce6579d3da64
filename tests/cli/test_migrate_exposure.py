"""``hive-boot migrate`` in repositories and directories where values would get out."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hive_boot.cli.main import main
from tests.cli.keys import APP
from tests.fixtures.git import git
from tests.fixtures.trees import contents, mode
from tests.support import as_ordinary_user

ENV = "API_KEY=fake-key\nTLS_CERT='fake cert'\n"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of another user are needed")


@pytest.fixture
def here() -> Path:
    """Return the working directory: a repository with a ``.env`` that git ignores."""
    place = Path.cwd()
    (place / ".env").write_text(ENV)
    git("init", "-q")
    (place / ".git/info/exclude").write_text(".env\n")
    return place


def staged() -> list[str]:
    """Return what ``git add -A`` would commit."""
    git("add", "-A")
    return git("ls-files").splitlines()


Migrated = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def migrated(capsys: pytest.CaptureFixture[str]) -> Migrated:
    """Return what runs the command and returns exit status, report and error."""

    def migrated(*arguments: str) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        status = main(["migrate", APP, "--json", *arguments])
        out, err = capsys.readouterr()
        assert "fake" not in out + err
        return status, json.loads(out) if out else {}, err

    return migrated


def test_a_gitignore_that_is_not_a_file_is_refused(
    here: Path, migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git reads no link, although it leads to the line, and nothing is written through it."""
    monkeypatch.setattr("hive_boot.cli.secret_files.GIT_TIMEOUT", 0.5)  # git itself hangs at a FIFO
    (here / "rules").write_text("/secrets/\n")
    path = here / ".gitignore"
    makes: list[Callable[[], object]] = [
        lambda: path.symlink_to("rules"),
        lambda: path.symlink_to(here / "rules"),
        lambda: path.symlink_to("nowhere"),
        lambda: path.symlink_to("/dev/zero"),
        lambda: os.mkfifo(path),
        path.mkdir,
    ]
    for make in makes:
        make()
        for more in ([], ["--dry-run"]):
            status, _, err = migrated(*more)
            assert (status, str(path) in err) == (1, True)
        assert contents(here / "secrets") == {}
        assert (here / "rules").read_text() == "/secrets/\n"
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


def test_a_link_that_does_not_matter_is_left_alone(here: Path, migrated: Migrated) -> None:
    """Git ignores the directory by another rule."""
    (here / "rules").write_text("*.pyc\n")
    (here / ".gitignore").symlink_to("rules")
    (here / ".git/info/exclude").write_text(".env\nsecrets\n")
    assert migrated()[0] == 0
    assert staged() == [".gitignore", "rules"]


def test_without_a_repository_a_link_is_refused_too(
    here: Path, migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later ``git init`` would read no rule; the same without a git that answers."""
    (here / "rules").write_text("/secrets/\n")
    (here / ".gitignore").symlink_to("rules")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(here))
        assert migrated()[0] == 1
    shutil.rmtree(here / ".git")
    assert migrated()[0] == 1
    assert not (here / "secrets").exists()


def test_a_nested_gitignore_that_wins_is_refused(here: Path, migrated: Migrated) -> None:
    """Git is asked after the change, which is undone."""
    (here / "deploy/prod").mkdir(parents=True)
    for place, text in (
        ("deploy", "!secrets/\n"),
        ("deploy", "!prod/\n!prod/secrets/\n"),
        ("deploy", "!/prod/secrets\n"),
        ("deploy/prod", "!secrets\n"),
        ("deploy/prod", "!*\n"),
    ):
        rules = here / place / ".gitignore"
        rules.write_text(text)
        before = contents(here)
        to = "deploy/secrets" if "prod" not in place + text else "deploy/prod/secrets"
        status, _, err = migrated("--to", to)
        assert (status, to in err) == (1, True), (place, text)
        assert {path: raw for path, raw in contents(here).items() if ".git/" not in path} == {
            path: raw for path, raw in before.items() if ".git/" not in path
        }
        rules.unlink()
    (here / "deploy/.gitignore").symlink_to("../nowhere")
    assert migrated("--to", "deploy/secrets")[0] == 0
    assert staged() == [".gitignore", "deploy/.gitignore"]


def test_the_directory_is_ignored_and_not_only_the_files(here: Path, migrated: Migrated) -> None:
    """A temporary file that a killed migration leaves, and a backup, have other names."""
    for number, rules in enumerate(("api_key\n*.pem\n", "secrets/api_key\nsecrets/tls\n")):
        (here / ".gitignore").write_text(rules.replace("secrets", f"s{number}"))
        assert migrated("--to", f"s{number}")[0] == 0
        assert (here / ".gitignore").read_text().endswith(f"/s{number}/\n")


def test_after_a_success_git_stages_no_value(here: Path, migrated: Migrated) -> None:
    """With rules around it, with a nested repository, and from a subdirectory."""
    for to, rules in (
        ("secrets", "!secrets\n"),
        ("a b/[x]*", "*.py[cod]\n!a b\n"),
        ("deep/er/secrets", "# /deep/er/secrets/\n"),
    ):
        (here / ".gitignore").write_text(rules)
        assert migrated("--to", to)[0] == 0, to
        assert contents(here / to) == {"api_key": b"fake-key", "tls/cert.pem": b"fake cert"}
        assert not [path for path in staged() if path.startswith(to)]
    git("init", "-q", "inner")
    assert migrated("--to", "inner/secrets")[0] == 0
    assert (here / "inner/.gitignore").read_text() == "/secrets/\n"


@needs_root
def test_a_repository_that_git_does_not_trust_is_not_an_empty_one(
    here: Path, migrated: Migrated
) -> None:
    """A warning has git's own text, which names the command; a dry run has it too."""
    (here / "secrets").mkdir(0o700)
    (here / "secrets/api_key").write_text("fake-key")
    git("add", "-A")
    for path in (here, here / ".git"):
        os.chown(path, 1234, 1234)
    for more in (["--dry-run"], []):
        status, facts, _ = migrated(*more)
        (warning,) = [each for each in facts["warnings"] if "git" in each and "1234" not in each]
        assert status == 0
        assert "dubious ownership" in warning
        assert f"git config --global --add safe.directory {here}" in warning
    os.chown(here, 0, 0)
    os.chown(here / ".git", 0, 0)
    (warning,) = migrated()[1]["warnings"]
    assert "git tracks secrets/api_key" in warning


def test_a_git_that_cannot_answer_is_named(
    here: Path, migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is missing, it cannot be run, or the repository is broken."""
    programs = here.parent / "programs"
    programs.mkdir()
    (here / ".git/HEAD").unlink()
    (warning,) = migrated("--dry-run")[1]["warnings"]
    assert "not a git repository" in warning
    monkeypatch.setenv("PATH", str(programs))
    (warning,) = migrated("--dry-run")[1]["warnings"]
    assert "git is not installed" in warning
    (programs / "git").write_text("\x7fELF")
    (programs / "git").chmod(0o755)
    (warning,) = migrated("--dry-run")[1]["warnings"]
    assert "git cannot be run" in warning
    assert migrated()[0] == 0
    assert (here / ".gitignore").read_text() == "/secrets/\n"


@needs_root
def test_a_directory_of_another_user_is_named(here: Path, migrated: Migrated) -> None:
    """Its owner can replace the files, also that of a directory above; the nearest is named."""
    (here / "a/b").mkdir(parents=True, mode=0o755)
    (here / "a/b/secrets").mkdir()
    for path, owner in (("a", 1111), ("a/b", 2222), ("a/b/secrets", 3333)):
        os.chown(here / path, owner, owner)
        (warning,) = migrated("--to", "a/b/secrets", "--dry-run")[1]["warnings"]
        assert f"{here / path} belongs to user {owner}" in warning
    assert migrated("--to", "secrets", "--dry-run")[1]["warnings"] == []


def test_a_directory_that_others_can_write_is_named(here: Path, migrated: Migrated) -> None:
    """Not one that the migration closes, nor a sticky one above, such as ``/tmp``."""
    (here / "a b/secrets").mkdir(parents=True)
    (here / "a b/secrets").chmod(0o777)
    for open_mode, warned in ((0o755, False), (0o777, True), (0o1777, False), (0o702, True)):
        (here / "a b").chmod(open_mode)
        _, facts, _ = migrated("--to", "a b/secrets", "--dry-run")
        assert facts["tightened"]
        assert [f"chmod o-w '{here}/a b'" in each for each in facts["warnings"]] == [True] * warned
    (here / "a b").chmod(0o755)
    (here / "a b/secrets/README").touch()
    closed, replaced = migrated("--to", "a b/secrets")[1]["warnings"]
    assert "chmod 700 'a b/secrets'" in closed
    assert f"chmod o-w '{here}/a b/secrets'" in replaced
    assert mode(here / "a b/secrets") == 0o777


@needs_root
def test_an_ordinary_user_is_not_warned_of_root(migrated: Migrated) -> None:
    """Root owns the directories above every home."""
    with as_ordinary_user() as place:
        os.seteuid(0)
        place.chmod(0o755)
        home = place / "home"
        home.mkdir()
        os.chown(home, 65534, 65534)
        os.seteuid(65534)
        (home / ".env").write_text(ENV)
        facts = migrated("--env-file", str(home / ".env"), "--to", str(home / "secrets"))[1]
        assert facts["warnings"] == []


def test_a_reference_of_another_line_is_refused(here: Path, migrated: Migrated) -> None:
    """In each form that hive_boot, python-dotenv or Compose replaces, with the line's number."""
    for line in (
        "URL=postgres://u:${API_KEY}@db/app",
        'URL="postgres://u:${API_KEY}@db/app"',
        "export URL = '${API_KEY}'",
        "URL=$API_KEY",
        "URL=x$API_KEY/y",
        "URL=${API_KEY:-fallback}",
        "URL=${API_KEY-fallback}",
        "URL=${API_KEY:?is needed}",
        "URL=${API_KEY?}",
        "URL=${API_KEY:+set}",
        "URL=${OTHER:-${API_KEY}}",
        "URL=${OTHER}${API_KEY}",
        "URL=${API_KEY_FILE}",
        'URL="first\nsecond ${API_KEY}"',
        "API_KEY_COPY=${API_KEY}",
        "postgres://fake-user:fake-password@db?key=${API_KEY}",
    ):
        for text, number in ((f"{ENV}\n{line}\n", 4), (f"{line}\n{ENV}", 1)):
            (here / ".env").write_text(text)
            status, _, err = migrated()
            assert (status, f"line {number} refers to API_KEY" in err) == (1, True), text
            assert not (here / "secrets").exists()


def test_a_line_that_refers_to_no_secret_stays(here: Path, migrated: Migrated) -> None:
    """Similar names, comments, and secrets that are migrated themselves."""
    for line in (
        "URL=${API_KEY_ID}",
        "URL=${MY_API_KEY}",
        "URL=$API_KEYS",
        "URL=${api_key}",
        "URL=API_KEY",
        "# ${API_KEY}",
        "URL=x # ${API_KEY}",
        "URL=${API.KEY}",
    ):
        (here / ".env").write_text(f"{ENV}{line}\n")
        assert migrated("--dry-run")[0] == 0, line


def test_an_env_file_that_is_not_a_file_is_a_usage_error(here: Path, migrated: Migrated) -> None:
    """It holds no lines to delete, and a FIFO could be read only once."""
    (here / ".env").unlink()
    makes: list[Callable[[], object]] = [
        (here / ".env").mkdir,
        lambda: os.mkfifo(here / ".env"),
        lambda: (here / ".env").symlink_to("nowhere"),
        lambda: (here / ".env").symlink_to("/dev/zero"),
    ]
    for make in makes:
        make()
        status, _, err = migrated()
        assert (status, ".env" in err) == (64, True)
        (here / ".env").rmdir() if (here / ".env").is_dir() else (here / ".env").unlink()
