"""The way out of ``.env``: what is read afterwards is what was read before."""

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive_boot.cli import migrate
from hive_boot.cli.main import main
from hive_boot.cli.migration import Migration
from hive_boot.cli.usage import Refusal
from hive_boot.secrets.placeholder import placeholder
from hive_boot.testing import MountedVolume
from tests.cli.disks import full_disk
from tests.cli.keys import APP, Keys
from tests.support import as_ordinary_user, child_environment, everything_told, look, values_of

ENV = """\
# Settings of a developer
LOG_LEVEL=debug
API_KEY=fake-key=with==signs # a note
export TOKEN="fake line one
line two with # and 'quotes' and \\"more\\"
"

TLS_CERT='fake cert'
"""

REWRITTEN = """\
# Settings of a developer
LOG_LEVEL=debug
# API_KEY=fake-key=with==signs # a note
# export TOKEN="fake line one
# line two with # and 'quotes' and \\"more\\"
# "

# TLS_CERT='fake cert'
"""

FILES = {
    "api_key": b"fake-key=with==signs",
    "tls/cert.pem": b"fake cert",
    "token": b"fake line one\nline two with # and 'quotes' and \"more\"\n\n",
}


@pytest.fixture
def here() -> Path:
    """Give the working directory, with a ``.env`` in it."""
    place = Path.cwd()
    (place / ".env").write_text(ENV)
    return place


def run(*arguments: str, app: str = APP) -> int:
    """Migrate."""
    return main(["migrate", app, *arguments])


def contents(root: Path) -> dict[str, bytes]:
    """Give every file below a directory."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def names(root: Path) -> set[str]:
    """Give what a directory holds."""
    return {path.name for path in root.iterdir()}


def mode(path: Path) -> int:
    """Give the permissions."""
    return stat.S_IMODE(path.stat().st_mode)


# What it does.


def test_each_secret_becomes_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole values, readable for a container, in a directory that is nobody else's."""
    assert run() == 0

    secrets = here / "secrets"
    assert contents(secrets) == FILES
    assert mode(secrets) == mode(secrets / "tls") == 0o700
    assert {mode(secrets / name) for name in FILES} == {0o444}
    assert (here / ".env").read_text() == ENV
    assert (here / ".gitignore").read_text() == "/secrets/\n"
    assert names(here) == {".env", ".gitignore", "secrets"}
    out, err = capsys.readouterr()
    assert "fake" not in out
    assert err == ""
    assert "HIVE_BOOT_SECRETS_DIR=secrets hive-boot check tests.cli.keys:Keys" in out
    assert ".env stays as it is, values and all; --rewrite comments them out" in out


def test_on_request_the_bindings_become_comments(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every other byte of the file stays, its mode too, and the person is told of the rest."""
    (here / ".env").chmod(0o640)

    assert run("--rewrite") == 0
    assert (here / ".env").read_text() == REWRITTEN
    assert mode(here / ".env") == 0o640
    told = "5 lines become comments in .env; the values stay in there until you delete them"
    assert told in capsys.readouterr().out


def test_one_line_is_told_as_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence is one that a person would write."""
    (here / ".env").write_text("API_KEY=fake")

    assert run("--rewrite") == 0
    assert "1 line becomes a comment in .env" in capsys.readouterr().out


def test_a_dry_run_shows_it_and_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same table and the same sentences, and the place is what it was."""
    assert run("--dry-run", "--rewrite") == 0
    dry = capsys.readouterr().out
    assert names(here) == {".env"}
    assert (here / ".env").read_text() == ENV
    assert run("--rewrite") == 0
    done = capsys.readouterr().out

    assert dry.startswith("Nothing was written. This would be done:\n\n")
    assert done.startswith("Done:\n\n")
    assert dry.split("\n", 1)[1] == done.split("\n", 1)[1].split("\nNext:")[0]


def test_a_program_is_told_in_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names and places, and no value."""
    (here / ".env").write_text("API_KEY=fake-one\nJWT_SECRT=fake\n")

    assert run("--json", "--rewrite", "--to", "deploy/secrets", app="tests.cli.keys:Strict") == 0
    assert json.loads(capsys.readouterr().out) == {
        "declaration": "Strict",
        "directory": "deploy/secrets",
        "dry_run": False,
        "secrets": [{"name": "API_KEY", "file": "deploy/secrets/api_key", "state": "new"}],
        "missing": ["JWT_SECRET"],
        "tightened": False,
        "gitignore": {"file": str(here / ".gitignore"), "line": "/deploy/secrets/"},
        "rewritten": [{"file": ".env", "lines": 1}],
        "warnings": [],
    }


def test_a_secret_that_is_required_and_not_there_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what may have been meant for it; that is no failure."""
    (here / ".env").write_text("PIN=1\nJWT_SECRT=fake-word\nAPIKEY=fake\n")

    assert run(app="tests.cli.keys:Strict") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert " ".join(lines[4]) == "API_KEY - required, and not there (there is APIKEY)"
    assert " ".join(lines[5]) == (
        "JWT_SECRET - required in production, test, and not there (there is JWT_SECRT)"
    )


def test_the_same_again_changes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that hold these values are left, whatever of their names they have."""
    assert run() == 0
    (here / "secrets/api_key").rename(here / "secrets/API_KEY")
    before = {path: path.stat() for path in (here / "secrets").rglob("*")}
    capsys.readouterr()

    assert run("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["state"] for each in told["secrets"]] == ["unchanged"] * 3
    assert told["secrets"][0]["file"] == "secrets/API_KEY"
    assert told["gitignore"] is None
    assert {path: path.stat() for path in (here / "secrets").rglob("*")} == before
    assert run() == 0
    out = capsys.readouterr().out
    assert "unchanged" in out
    assert "new files" not in out


def test_the_last_file_is_the_strongest(here: Path) -> None:
    """As ``.env.local`` is over ``.env``; what it sets to nothing it does not set."""
    (here / "more.env").write_text("API_KEY=fake-more\nTOKEN=\n")

    assert run("--env-file", ".env", "--env-file", "more.env", "--rewrite") == 0
    assert contents(here / "secrets") == {**FILES, "api_key": b"fake-more"}
    assert (here / "more.env").read_text() == "# API_KEY=fake-more\n# TOKEN=\n"
    assert (here / ".env").read_text() == REWRITTEN


def test_the_file_of_the_declaration_is_the_default(here: Path) -> None:
    """``Bootstrap(dotenv=…)`` says which file a start reads."""
    (here / "other.env").write_text("API_KEY=fake-other\n")

    assert run(app="tests.cli.keys:boot") == 0
    assert contents(here / "secrets") == {"api_key": b"fake-other"}


def test_a_pointer_is_followed(here: Path) -> None:
    """The value is in the file that it names, and afterwards in one of ours."""
    (here / "pointed").write_bytes(b"\xef\xbb\xbffake-pointed\r\n")
    (here / "store").write_bytes(b"\xff\x00\n")
    (here / ".env").write_text("API_KEY_FILE=pointed\nKEYSTORE_FILE=store\nA=x\n")

    assert run("--rewrite") == 0
    assert contents(here / "secrets") == {"api_key": b"fake-pointed", "keystore": b"\xff\x00\n"}
    assert (here / ".env").read_text() == "# API_KEY_FILE=pointed\n# KEYSTORE_FILE=store\nA=x\n"


def test_a_linked_file_stays_a_link(here: Path) -> None:
    """What the link leads to is rewritten."""
    (here / ".env").rename(here / "shared.env")
    (here / ".env").symlink_to("shared.env")

    assert run("--rewrite") == 0
    assert (here / ".env").is_symlink()
    assert (here / "shared.env").read_text() == REWRITTEN


def test_a_linked_directory_is_filled_where_it_is(here: Path) -> None:
    """The link stays, and git ignores what it leads to."""
    (here / "real").mkdir(0o700)
    (here / "secrets").symlink_to("real")

    assert run() == 0
    assert contents(here / "real") == FILES
    assert (here / ".gitignore").read_text() == "/real/\n"


# What it warns of.


def warnings_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Give what was warned of."""
    lines = capsys.readouterr().out.splitlines()
    return [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]


def test_what_counts_more_and_says_something_else_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A developer who had it from there would miss it; what says the same is no matter."""
    (here / ".env.local").write_text(
        "API_KEY=fake-local\nTLS_CERT='fake cert'\nKEYSTORE=fake-more\nTOKEN=a\nTOKEN_FILE=b\n"
    )
    monkeypatch.setenv("API_KEY", "fake-environment")
    monkeypatch.setenv("TLS_CERT", "fake cert")

    assert run() == 0
    local, environment = warnings_of(capsys)
    assert local == (
        ".env.local says something else for API_KEY, TOKEN, KEYSTORE, and counts more in "
        "development: --env-file .env.local as the last one takes it from there"
    )
    assert environment == (
        "the environment of this shell says something else for API_KEY: unset it"
    )


def test_a_file_without_secrets_is_not_rewritten(here: Path) -> None:
    """Of several files only those that set one."""
    (here / "more.env").write_text("LOG_LEVEL=info\n")

    assert run("--env-file", ".env", "--env-file", "more.env", "--rewrite") == 0
    assert (here / "more.env").read_text() == "LOG_LEVEL=info\n"


def test_a_local_file_that_says_the_same_is_no_matter(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor one that is read as well."""
    (here / ".env.local").write_text("TLS_CERT='fake cert'\n")
    assert run("--dry-run") == 0
    assert warnings_of(capsys) == []
    (here / ".env.local").write_text("TLS_CERT=fake-more\n")
    assert run("--dry-run", "--env-file", ".env", "--env-file", ".env.local") == 0
    assert warnings_of(capsys) == []


def test_a_local_file_that_cannot_be_read_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody knows what it says."""
    (here / ".env.local").write_text("fake and wrong\n")

    assert run("--dry-run") == 0
    (warning,) = warnings_of(capsys)
    assert warning.startswith(f".env.local says something else for {here}/.env.local, line 1,")


def test_what_a_start_will_refuse_is_moved_and_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was refused before: it is no business of a move."""
    (here / ".env").write_text("API_KEY=fake\nJWT_SECRET=short\n")
    assert run("--dry-run", app="tests.cli.keys:Strict") == 0
    assert warnings_of(capsys) == [
        "JWT_SECRET has 5 characters, and at least 8 are needed: a start will refuse it"
    ]
    (here / ".env").write_text("API_KEY=fake\nJWT_SECRET=fake-default\nHIVE_BOOT_MODE=docker\n")
    assert run(app="tests.cli.keys:Strict") == 0
    ignored, default = warnings_of(capsys)
    assert ignored == f"HIVE_BOOT_MODE in {here}/.env means nothing: set it in the environment"
    assert default == (
        "JWT_SECRET is the development default, which other profiles refuse: a start will refuse it"
    )
    assert contents(here / "secrets")["jwt_secret"] == b"fake-default"


def test_a_directory_that_others_get_into_is_closed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that was made by hand has the mode 0755; it holds nothing but secrets."""
    (here / "secrets").mkdir(0o755)
    (here / "secrets/.gitkeep").touch()
    (here / "secrets/token.20260101T000000Z.bak").touch()

    assert run() == 0
    assert mode(here / "secrets") == 0o700
    assert "secrets becomes 0700: others get into it so far" in capsys.readouterr().out


def test_a_directory_that_holds_more_is_left_open_and_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody may need what else is in it."""
    (here / "secrets").mkdir(0o755)
    (here / "secrets/page.html").touch()

    assert run() == 0
    assert mode(here / "secrets") == 0o755
    (warning,) = warnings_of(capsys)
    assert warning == (
        "other users of this machine get into secrets, and can read what is in it: "
        "chmod 700 secrets"
    )


def test_what_git_tracks_already_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line in ``.gitignore`` does not take it out."""
    (here / "secrets").mkdir(0o700)
    (here / "secrets/token").write_bytes(FILES["token"])
    for command in (["init", "-q"], ["add", "secrets/token"]):
        subprocess.run(["git", *command], check=True)  # noqa: S607

    assert run() == 0
    assert warnings_of(capsys) == [
        "git tracks secrets/token: take that out with git rm -r --cached secrets"
    ]


# What it refuses; then nothing has changed.


def refused(
    capsys: pytest.CaptureFixture[str], *arguments: str, status: int, app: str = APP
) -> str:
    """Migrate in vain, and give what was said; nothing may have changed."""
    here = Path.cwd()
    before = contents(here)
    assert run("--rewrite", *arguments, app=app) == status
    assert contents(here) == before
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_a_line_that_cannot_be_read_refuses_all(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be the half of a secret; it is named by its number, as every such line is."""
    (here / ".env").write_text("API_KEY=fake\nTOKEN='fake\n\nfake and wrong\n")

    said = refused(capsys, status=78)
    assert "nothing was written, because this cannot be understood in .env:\n" in said
    assert f"  {here}/.env, line 2, cannot be read\n    mend: write NAME=value" in said
    assert f"{here}/.env, line 4, cannot be read" in said
    assert "fake" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("API_KEY=fake\nAPI_KEY_FILE=fake\n", "API_KEY is set twice"),
        ("API_KEY_FILE=missing\n", "API_KEY is to be read from a file that does not exist"),
        ("API_KEY_FILE=.\n", "API_KEY is a directory, not a file"),
        ("API_KEY=\ufffd\0\n", "holds a NUL character"),
    ],
)
def test_what_a_start_stumbles_over_refuses_all(
    here: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    """Nobody knows what was meant."""
    (here / ".env").write_text(text)

    assert said in refused(capsys, status=78)


def test_a_file_without_secrets_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who would delete the file after this is kept from it."""
    (here / ".env").write_text("LOG_LEVEL=debug\nAPI_KEY=\n")

    assert refused(capsys, status=1) == (
        "hive-boot: none of the 5 secrets that Keys declares is set in .env\n"
    )


def test_a_file_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With the option that names another one."""
    assert refused(capsys, status=64) == (
        "hive-boot: there is no file .env: name it with --env-file\n"
    )


@pytest.mark.parametrize("to", [".", "..", "/", "src", "a\nb"])
def test_a_directory_of_more_than_secrets_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    """Git would ignore a project, or nobody could tell the files from others."""
    (here / "src/.git").mkdir(parents=True)

    said = refused(capsys, "--to", to, status=64)
    assert "--to has to be" in said


@pytest.mark.parametrize("to", ["shop", "shop/secrets", "shop/data/secrets"])
def test_a_package_is_no_place_for_secrets(
    here: Path, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    """They would go into what is built, and git would ignore the package."""
    (here / "shop/data").mkdir(parents=True)
    (here / "shop/__init__.py").touch()

    assert "outside of packages" in refused(capsys, "--to", to, status=64)


def test_a_directory_of_the_project_is_not_ignored(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is new in it would never get into git, and nobody would notice."""
    (here / "deploy").mkdir()
    (here / "deploy/Dockerfile").touch()
    for command in (["init", "-q"], ["add", "deploy"]):
        subprocess.run(["git", *command], check=True)  # noqa: S607

    said = refused(capsys, "--to", "deploy", status=1)
    assert "git would ignore all of deploy from now on, and it tracks deploy/Dockerfile" in said


def test_a_file_in_place_of_the_directory_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not touched."""
    (here / "secrets").write_text("mine")

    assert "secrets is a file" in refused(capsys, status=64)


def test_another_value_is_not_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither of the two is shown, and both files are named."""
    (here / "secrets").mkdir()
    (here / "secrets/api-key.txt").write_text("fake-other")
    (here / "secrets/token").touch()
    (here / "secrets/tls").write_text("in the way")

    assert refused(capsys, status=1) == (
        "hive-boot: nothing was written, because there are files already:\n"
        "  secrets/api-key.txt holds another API_KEY than .env: remove what is wrong, there or "
        "here\n"
        "  secrets/token is empty: remove it\n"
    )
    (here / "secrets/api-key.txt").unlink()
    (here / "secrets/token").unlink()
    said = refused(capsys, status=1)
    assert said.startswith("hive-boot: nothing was changed, because of ")
    assert said.endswith("not a directory\n")


def test_a_placeholder_is_no_value(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in the file, where a start refuses it, nor in the directory."""
    (here / "secrets").mkdir()
    (here / "secrets/api_key").write_text(placeholder("API_KEY"))
    assert refused(capsys, status=1) == (
        "hive-boot: nothing was written, because there are files already:\n"
        "  secrets/api_key is the placeholder of a rendered manifest, not a value: remove it\n"
    )
    (here / ".env").write_text(f"API_KEY='{placeholder('API_KEY')}'\n")
    said = refused(capsys, status=78)
    assert "API_KEY is the placeholder of a rendered manifest, not a value" in said


def test_two_files_that_differ_are_both_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start would not know which of them to believe."""
    (here / "secrets").mkdir()
    (here / "secrets/API_KEY").write_text("fake-one")
    (here / "secrets/api_key").write_text("fake-two")

    said = refused(capsys, status=1)
    assert "  secrets/API_KEY holds a value: remove it\n" in said
    assert "  secrets/api_key holds a value: remove it\n" in said


def test_a_volume_is_not_written_to(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The kubelet would take it away again."""
    del here
    volume = MountedVolume(tmp_path / "volume")
    volume.publish({"api_key": "fake"})

    said = refused(capsys, "--to", str(tmp_path / "volume"), status=1)
    assert "is a volume that the kubelet writes" in said


def test_a_directory_that_may_not_be_read_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody knows what is in it."""
    with as_ordinary_user() as place:
        (place / ".env").write_text(ENV)
        (place / "secrets").mkdir(0o300)
        to, env = str(place / "secrets"), str(place / ".env")
        assert run("--env-file", env, "--to", to) == 1
        (place / "secrets").chmod(0o700)

    assert capsys.readouterr().err == f"hive-boot: {to} cannot be read: permission denied\n"


def test_without_the_permission_to_write_nothing_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither in the directory, nor in the file, whose own directory would allow it."""
    with as_ordinary_user() as place:
        home, closed = place / "home", place / "closed"
        home.mkdir()
        (home / ".env").write_text(ENV)
        closed.mkdir(0o500)
        before = contents(place)
        arguments = ["--env-file", str(home / ".env"), "--to", str(closed / "secrets")]
        assert run(*arguments, "--rewrite") == 1
        closed.chmod(0o700)
        home.chmod(0o500)
        assert run(*arguments, "--rewrite") == 1
        home.chmod(0o700)

        assert contents(place) == before
    err = capsys.readouterr().err
    assert err.count("nothing was changed, because of ") == 2
    assert err.count(": permission denied\n") == 2


def test_a_file_that_changes_meanwhile_refuses_all(here: Path) -> None:
    """What would be commented out is not what would be written."""
    migration = Migration(Keys, [Path(".env")], Path("secrets"), rewrite=True)
    (here / ".env").write_text(ENV.replace("fake-key", "fake-new"))
    with pytest.raises(Refusal, match="changed by somebody else meanwhile"):
        migrate.perform(migration)

    assert names(here) == {".env"}


def test_what_would_be_read_otherwise_refuses_all(here: Path, tmp_path: Path) -> None:
    """The new files are read as a start reads them, before they are anything."""
    del here
    migration = Migration(Keys, [Path(".env")], Path("secrets"), rewrite=False)
    staged = tmp_path / "staged"
    (staged / "tls").mkdir(parents=True)
    for name, raw in FILES.items():
        (staged / name).write_bytes(raw)
    migrate.refuse_unlike(migration, staged)
    (staged / "api_key").write_bytes(FILES["api_key"] + b"!")
    (staged / "token").unlink()

    with pytest.raises(Refusal, match="is not what it was for API_KEY, TOKEN, so nothing"):
        migrate.refuse_unlike(migration, staged)


# All of it, or nothing, in a process of its own.

INTERRUPTED = """
import os, signal, sys
from hive_boot.cli.main import main
from hive_boot.cli.staging import Staging

moment, what = sys.argv[1], int(sys.argv[2])
original = getattr(Staging, moment)

def interrupted(self, *arguments):
    os.kill(os.getpid(), what)
    return original(self, *arguments)

setattr(Staging, moment, interrupted)
# Who is started in the background by a shell ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[3:]))
"""
"""Migrates, and gets a signal at a certain moment."""


@pytest.fixture
def interrupted(here: Path) -> Callable[..., int]:
    """Give what migrates in a child that gets a signal, and gives its exit status."""

    def migrate_in_child(moment: str, what: int) -> int:
        command = [sys.executable, "-c", INTERRUPTED, moment, str(what)]
        done = subprocess.run(
            [*command, "migrate", APP, "--rewrite"],
            cwd=here,
            env=child_environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        assert b"fake" not in done.stderr
        return done.returncode

    return migrate_in_child


@pytest.mark.parametrize("moment", ["_room", "add", "commit"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_finds_everything_done(
    here: Path, interrupted: Callable[..., int], moment: str, number: int, status: int
) -> None:
    """Once it has begun to write, Ctrl-C ends it when all is in place."""
    assert interrupted(moment, number) == status

    assert contents(here / "secrets") == FILES
    assert (here / ".env").read_text() == REWRITTEN
    assert names(here) == {".env", ".gitignore", "secrets"}


def test_a_signal_before_that_finds_nothing_done(
    here: Path, interrupted: Callable[..., int]
) -> None:
    """It has read, and no more."""
    assert interrupted("__enter__", signal.SIGINT) == 130

    assert contents(here) == {".env": ENV.encode()}


@pytest.mark.parametrize("size", [1, 10, 100])
def test_a_full_disk_changes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    """Whether there is no room for anything, or for the last file only."""
    with full_disk(size):
        assert run("--rewrite") == 1

    assert contents(here) == {".env": ENV.encode()}
    assert capsys.readouterr().err == (
        "hive-boot: nothing was changed, because of secrets: file too large\n"
    )


def test_a_failure_shows_no_value_to_an_error_tracker(here: Path) -> None:
    """Not even with the variables of all the frames."""
    migration = Migration(Keys, [Path(".env")], Path("secrets"), rewrite=True)
    for size in (10, 100):
        with full_disk(size), pytest.raises(Refusal) as caught:
            migrate.perform(migration)
        assert "fake" not in everything_told(caught.value)
    (here / "secrets").mkdir()
    (here / "secrets/token").write_text("fake-other")
    with pytest.raises(Refusal) as caught:
        Migration(Keys, [Path(".env")], Path("secrets"), rewrite=True)

    assert "fake" not in everything_told(caught.value)


def test_who_is_killed_is_helped_by_the_next(here: Path, interrupted: Callable[..., int]) -> None:
    """SIGKILL leaves something hidden behind, and no more; the same command removes it."""
    assert interrupted("commit", signal.SIGKILL) == -9
    (left,) = (path for path in here.iterdir() if path.name.startswith(".hive-boot-staging-"))
    assert (left / ".gitignore").read_text() == "*\n"
    assert (here / ".env").read_text() == ENV

    assert run("--rewrite") == 0
    assert names(here) == {".env", ".gitignore", "secrets"}
    assert contents(here / "secrets") == FILES


# The law.

NOISE = st.text(alphabet="AB_= '\"#\\n$\n\r\t{}\ufeff\0é", max_size=12)

VALUES = st.one_of(
    NOISE,
    st.text(max_size=8),
    st.sampled_from(["", "\n", "fake\r\n", "\ufefffake", "fake\n\n", "-----BEGIN FAKE-----"]),
)


def quoted(quote: str, value: str) -> str:
    """Write a value in quotes, as the grammar wants it."""
    return quote + value.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


WELL_MADE = st.one_of(
    VALUES.map(lambda value: quoted("'", value)),
    VALUES.map(lambda value: quoted('"', value)),
    st.sampled_from(["pointed", "bytes", "", "=", "fake # comment", "'fake' # comment", "#fake"]),
)

OTHERS = ["API_KEY", "API_KEY_FILE", "KEYSTORE_FILE", "LOG_LEVEL", "HIVE_BOOT_MODE", "A.B-C"]


def lines(rendered: st.SearchStrategy[str], *ends: str) -> st.SearchStrategy[str]:
    """Give lines that set something, with all that may stand around."""
    parts = st.tuples(
        st.sampled_from(["", "", "", "export ", "  ", "\n\n", "# comment\n"]),
        st.sampled_from(
            ["API_KEY", "TOKEN", "TOKEN_BEFORE", "KEYSTORE", "TLS_CERT", "'API_KEY'", *OTHERS]
        ),
        st.sampled_from(["=", "=", "=", " = ", "= ", "=\t"]),
        rendered,
        st.sampled_from(["\n", "\n", "\r\n", "\r", " \n", *ends]),
    )
    return parts.map("".join)


ENV_FILES = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", "\ufeff"]),
    st.one_of(
        st.lists(lines(WELL_MADE), min_size=1, max_size=6),
        st.lists(lines(WELL_MADE), min_size=1, max_size=6),
        st.lists(lines(NOISE | WELL_MADE, "") | NOISE, max_size=5),
    ).map("".join),
    st.sampled_from(["", "", "API_KEY=fake", "TOKEN", "\n \n"]),
)


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=list(HealthCheck),
)
@given(text=ENV_FILES, pointed=VALUES, raw=st.binary(max_size=5))
def test_what_is_read_afterwards_is_what_was_read_before(
    text: str, pointed: str, raw: bytes
) -> None:
    """Byte for byte, with our own loader; or it is refused, and nothing has changed."""
    with TemporaryDirectory() as name:
        place = Path(name) / "cwd"
        place.mkdir()
        env = place / ".env"
        env.write_bytes(
            text.replace("pointed", f"{place}/p").replace("bytes", f"{place}/b").encode()
        )
        (place / "p").write_bytes(pointed.encode())
        (place / "b").write_bytes(raw)
        written = env.read_bytes()
        before = look(Keys, Path(name), mode="development")
        to = place / "secrets"
        status = run("--env-file", str(env), "--to", str(to), "--rewrite")

        if status:
            assert status == (78 if before.problems else 1)
            assert before.problems or not before.values
            assert not to.exists()
            assert env.read_bytes() == written
            return
        after = look(Keys, Path(name), mode="docker", secrets_dirs=to)
        assert not before.problems
        assert values_of(after) == values_of(before)
        assert not after.problems
        rest = look(Keys, Path(name), mode="development")
        assert not rest.values
        assert not rest.problems
