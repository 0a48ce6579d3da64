"""``hive-boot migrate``: a start reads the same values from files as from ``.env``."""

import json
import re
import signal
from collections.abc import Callable, Sequence
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hive_boot import Secret
from hive_boot.cli import CommandError, migrate
from hive_boot.cli.main import main
from hive_boot.cli.migrate import DotenvLines, MigrationPlan
from hive_boot.secrets.sources.dotenv import read_dotenv
from hive_boot.secrets.validation import placeholder
from hive_boot.testing import MountedVolume
from tests.cli.disks import full_disk
from tests.cli.keys import APP, Keys
from tests.fixtures.git import git
from tests.fixtures.golden import assert_golden
from tests.fixtures.trees import contents, mode
from tests.support import as_ordinary_user, everything_told, look, run_child, values_of

STRICT = "tests.cli.keys:Strict"

ENV = """\
# Settings of a developer
LOG_LEVEL=debug
API_KEY=fake-key=with==signs # a note
export TOKEN="fake line one
line two with # and 'quotes' and \\"more\\"
"

TLS_CERT='fake cert'
"""

LINES = [("API_KEY", 3, 3), ("TOKEN", 4, 6), ("TLS_CERT", 8, 8)]

FILES = {
    "api_key": b"fake-key=with==signs",
    "tls/cert.pem": b"fake cert",
    "token": b"fake line one\nline two with # and 'quotes' and \"more\"\n\n",
}


@pytest.fixture
def here() -> Path:
    """Return the working directory, with a ``.env`` in it."""
    place = Path.cwd()
    (place / ".env").write_text(ENV)
    return place


def run(*arguments: str, app: str = APP) -> int:
    """Run the command and return its exit status."""
    return main(["migrate", app, *arguments])


Facts = Callable[..., dict[str, Any]]


@pytest.fixture
def facts(capsys: pytest.CaptureFixture[str]) -> Facts:
    """Return what runs the command and returns its report for programs."""

    def facts(*arguments: str, app: str = APP) -> dict[str, Any]:
        capsys.readouterr()
        assert run("--json", *arguments, app=app) == 0
        out, err = capsys.readouterr()
        assert "fake" not in out + err
        answer: dict[str, Any] = json.loads(out)
        return answer

    return facts


# What it does.


def test_each_secret_becomes_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole values, in a directory for their owner; ``.env`` stays, and its lines are listed."""
    assert run() == 0

    secrets = here / "secrets"
    assert contents(here) == {
        ".env": ENV.encode(),
        ".gitignore": b"/secrets/\n",
        **{f"secrets/{name}": content for name, content in FILES.items()},
    }
    assert mode(secrets) == mode(secrets / "tls") == 0o700
    assert {mode(secrets / name) for name in FILES} == {0o444}
    out, err = capsys.readouterr()
    assert "fake" not in out
    assert err == ""
    assert_golden("migrate_report", out, replace={str(here): "/srv/app"})


def test_a_dry_run_prints_the_report_and_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table and the sentences are the same."""
    assert run("--dry-run") == 0
    dry = capsys.readouterr().out
    assert contents(here) == {".env": ENV.encode()}
    assert run() == 0
    done = capsys.readouterr().out

    assert dry.split("\n", 1)[1] == done.split("\n", 1)[1].split("\nNext:")[0]
    assert dry.split("\n", 1)[0] != done.split("\n", 1)[0]


def test_a_program_gets_json(here: Path, facts: Facts) -> None:
    """Names, places and lines, and no value."""
    (here / ".env").write_text("API_KEY=fake-one\n")

    assert facts("--to", "deploy/secrets", app=STRICT) == {
        "declaration": "Strict",
        "directory": "deploy/secrets",
        "dry_run": False,
        "secrets": [{"name": "API_KEY", "file": "deploy/secrets/api_key", "state": "new"}],
        "tightened": False,
        "gitignore": {"file": str(here / ".gitignore"), "line": "/deploy/secrets/"},
        "lines_to_delete": [{"file": ".env", "name": "API_KEY", "first": 1, "last": 1}],
        "warnings": [],
    }
    assert mode(here / "deploy/secrets") == 0o700


def test_the_report_has_only_changes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of each file; a directory that is closed; nothing else the second time."""
    (here / "more.env").write_text("\nAPI_KEY=fake-more\n")
    (here / "secrets").mkdir(0o755)
    both = ("--env-file", ".env", "--env-file", "more.env")
    assert run(*both) == 0
    first = capsys.readouterr().out
    assert run(*both) == 0
    second = capsys.readouterr().out

    for text in ("0444", "permissions of other users", "/secrets/"):
        assert text in first, text
        assert text not in second, text
    for out in (first, second):
        lines = [line for line in out.splitlines() if line.startswith(("- ", "    line"))]
        files = [at for at, line in enumerate(lines) if ".env " in line]
        assert "API_KEY" in lines[files[0] + 1]
        assert lines[files[1] + 1] == "    line 2: API_KEY"


def test_a_second_migration_changes_nothing(here: Path, facts: Facts) -> None:
    """Files that hold these values stay, under whichever of their names."""
    assert run() == 0
    (here / "secrets/api_key").rename(here / "secrets/API_KEY")
    before = {path: path.stat().st_ctime_ns for path in (here / "secrets").rglob("*")}
    again = facts()

    assert [each["state"] for each in again["secrets"]] == ["unchanged"] * 3
    assert again["secrets"][0]["file"] == "secrets/API_KEY"
    assert again["gitignore"] is None
    after = {path: path.stat().st_ctime_ns for path in (here / "secrets").rglob("*")}
    assert after == before


def test_the_last_file_has_precedence(here: Path, facts: Facts) -> None:
    """As ``.env.local`` over ``.env``; an empty value of it sets nothing."""
    (here / "more.env").write_text("API_KEY=fake-more\nTOKEN=\n")
    (here / "other.env").write_text("LOG_LEVEL=info\n")

    told = facts("--env-file", ".env", "--env-file", "more.env", "--env-file", "other.env")
    assert contents(here / "secrets") == {**FILES, "api_key": b"fake-more"}
    assert [(line["file"], line["name"]) for line in told["lines_to_delete"]] == [
        *((".env", name) for name, _, _ in LINES),
        ("more.env", "API_KEY"),
        ("more.env", "TOKEN"),
    ]


def test_the_file_of_the_declaration_is_the_default(here: Path, tmp_path: Path) -> None:
    """``Bootstrap(env_file=…)`` names the file that a start reads, also by ``~``."""
    (here / "other.env").write_text("API_KEY=fake-other\n")
    (tmp_path / "home.env").write_text("API_KEY=fake-home\n")

    for app in ("boot", "at_home"):
        assert run("--to", app, app=f"tests.cli.keys:{app}") == 0
    assert contents(here / "boot") == {"api_key": b"fake-other"}
    assert contents(here / "at_home") == {"api_key": b"fake-home"}


def test_the_file_of_a_name_file_variable_is_migrated(here: Path, facts: Facts) -> None:
    """The value is in the file that it names, and afterwards in one of ours."""
    (here / "pointed").write_bytes(b"\xef\xbb\xbffake-pointed\r\n")
    (here / "store").write_bytes(b"\xff\x00\n")
    (here / ".env").write_text("API_KEY_FILE=pointed\nKEYSTORE_FILE=store\nA=x\n")

    names = [line["name"] for line in facts()["lines_to_delete"]]
    assert names == ["API_KEY_FILE", "KEYSTORE_FILE"]
    assert contents(here / "secrets") == {"api_key": b"fake-pointed", "keystore": b"\xff\x00\n"}


def test_a_file_variable_of_other_software_is_not_listed(here: Path, facts: Facts) -> None:
    """With ``file_variable=False`` it stays in the file, and other lines may refer to it."""
    (here / ".env").write_text(
        "SSL_CERT=fake\nOLD_CERT_FILE=x\nSSL_CERT_FILE=/etc/ssl/x\nCURL_CA=${SSL_CERT_FILE}\n"
    )
    told = facts("--dry-run", app="tests.cli.keys:Foreign")
    assert [line["first"] for line in told["lines_to_delete"]] == [1]


def test_each_line_of_a_binding_is_listed(here: Path, facts: Facts) -> None:
    """By the line ends of python-dotenv; blank lines before a binding stay."""
    for text, lines in {
        "API_KEY=x": [("API_KEY", 1, 1)],
        "API_KEY=x\nB=y\nAPI_KEY=z\n": [("API_KEY", 1, 1), ("API_KEY", 3, 3)],
        "  export API_KEY=x # y\n": [("API_KEY", 1, 1)],
        "'API_KEY'=x\n": [("API_KEY", 1, 1)],
        'API_KEY="x\n\ny"\nB=z\n': [("API_KEY", 1, 3)],
        'API_KEY="x\r\ny"\r\nB=z\r\n': [("API_KEY", 1, 2)],
        "API_KEY='x\ry'\rB=z\r": [("API_KEY", 1, 2)],
        "API_KEY='x\r'": [("API_KEY", 1, 2)],
        "B=y\n\n \n\tAPI_KEY=x\n\n": [("API_KEY", 4, 4)],
        "\r\rAPI_KEY=x\r": [("API_KEY", 3, 3)],
        "\ufeffAPI_KEY=x\n": [("API_KEY", 1, 1)],
        "# API_KEY=x\nTOKEN\nexport KEYSTORE\nTLS_CERT=\nAPI_KEY=x\n": [("API_KEY", 5, 5)],
    }.items():
        (here / ".env").write_bytes(text.encode())
        told = facts("--dry-run")["lines_to_delete"]
        found = [(line["name"], line["first"], line["last"]) for line in told]
        assert found == lines, repr(text)


# What it warns of.


def test_the_lines_after_one_that_cannot_be_parsed(here: Path, facts: Facts) -> None:
    """They have the numbers of an editor, with each kind of line end."""
    for end in ("\n", "\r\n", "\r"):
        (here / ".env").write_bytes(f"some prose{end}API_KEY=fake{end}".encode())
        (line,) = facts("--dry-run")["lines_to_delete"]
        assert (line["name"], line["first"], line["last"]) == ("API_KEY", 2, 2)


def test_a_value_that_a_start_refuses_is_migrated_with_a_warning(here: Path, facts: Facts) -> None:
    """A start refused it before too; a setting in the file is named as well."""
    (here / ".env").write_text("API_KEY=fake\nJWT_SECRET=short\n")
    (warning,) = facts("--dry-run", app=STRICT)["warnings"]
    assert "JWT_SECRET has 5 characters" in warning
    (here / ".env").write_text("API_KEY=fake\nJWT_SECRET=fake-default\nHIVE_BOOT_MODE=docker\n")
    setting, default = facts(app=STRICT)["warnings"]
    assert f"HIVE_BOOT_MODE in {here}/.env" in setting
    assert "JWT_SECRET" in default
    assert contents(here / "secrets")["jwt_secret"] == b"fake-default"


def test_the_permissions_of_a_directory_of_secrets_are_restricted(here: Path, facts: Facts) -> None:
    """A directory that contains other files is not changed."""
    (here / "secrets").mkdir(0o755)
    (here / "secrets/.gitkeep").touch()
    (here / "secrets/token.20260101T000000Z.bak").touch()
    (here / "our pages").mkdir(0o755)
    (here / "our pages/page.html").touch()

    told = facts()
    assert (told["tightened"], told["warnings"]) == (True, [])
    assert mode(here / "secrets") == 0o700
    told = facts("--to", "our pages")
    assert told["tightened"] is False
    assert mode(here / "our pages") == 0o755
    (warning,) = told["warnings"]
    assert "chmod 700 'our pages'" in warning


def test_files_that_git_tracks_are_named(here: Path, facts: Facts) -> None:
    """A line in ``.gitignore`` does not untrack them."""
    (here / "our secrets").mkdir(0o700)
    (here / "our secrets/token").write_bytes(FILES["token"])
    git("init", "-q")
    git("add", "our secrets/token")

    (warning,) = facts("--to", "our secrets")["warnings"]
    assert "our secrets/token" in warning
    assert "git rm -r --cached 'our secrets'" in warning


# What it refuses; then nothing has changed.


Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return what runs the command in vain and returns its message."""

    def refused(*arguments: str, status: int, app: str = APP) -> str:
        capsys.readouterr()
        before = contents(Path.cwd())
        assert run(*arguments, app=app) == status
        assert contents(Path.cwd()) == before
        out, err = capsys.readouterr()
        assert out == ""
        assert "fake" not in err
        return err

    return refused


def test_a_file_that_a_start_cannot_read_is_refused(here: Path, refused: Refused) -> None:
    """A line may be a part of a secret: it is named by its number, with a fix."""
    (here / ".env").write_text("API_KEY=fake\nTOKEN='fake\n\nKEYSTORE and wrong\n")
    said = refused(status=78)
    assert f"{here}/.env:2 " in said
    assert f"{here}/.env:4 " in said
    assert said.count("Fix: ") == 2
    for text, data in (
        ("API_KEY=x\nAPI_KEY_FILE=x\n", "API_KEY"),
        ("API_KEY_FILE=missing\n", "API_KEY"),
        ("API_KEY_FILE=.\n", "API_KEY"),
        ("API_KEY=\ufffd\0\n", f"{here}/.env"),
        (f"API_KEY='{placeholder('API_KEY')}'\n", "API_KEY"),
    ):
        (here / ".env").write_text(text)
        assert data in refused(status=78), text


def test_a_file_without_secrets_is_refused(here: Path, refused: Refused) -> None:
    """The report would list no line to delete, and the user could delete the file."""
    (here / ".env").write_text("LOG_LEVEL=debug\nAPI_KEY=\n")
    assert ".env" in refused(status=1)


def test_an_unsuitable_path_is_a_usage_error(here: Path, refused: Refused) -> None:
    """A missing file, the project, a package, a file, a link, a name of two lines."""
    (here / "src/.git").mkdir(parents=True)
    (here / "shop/data").mkdir(parents=True)
    (here / "shop/__init__.py").touch()
    (here / "file").write_text("mine")
    (here / "real").mkdir()
    (here / "link").symlink_to("real")
    for to in (".", "..", "/", "src", "a\nb", "shop", "shop/secrets", "shop/data/secrets", "file"):
        assert "--to" in refused("--to", to, status=64), to
    assert "link" in refused("--to", "link", status=64)
    for gone in ("gone.env", "~no-such-user/gone.env"):
        assert gone in refused("--env-file", gone, status=64)
    (here / ".env").unlink()
    assert "--env-file" in refused(status=64)


def test_a_directory_of_the_project_is_refused(here: Path, refused: Refused) -> None:
    """Git would ignore new files of the project in it."""
    (here / "deploy").mkdir()
    (here / "deploy/Dockerfile").touch()
    git("init", "-q")
    git("add", "deploy")

    assert "deploy/Dockerfile" in refused("--to", "deploy", status=1)


def test_another_value_is_not_overwritten(here: Path, refused: Refused) -> None:
    """Neither of the two is shown; every file in the way is named."""
    secrets = here / "secrets"
    secrets.mkdir()
    (secrets / "api-key.txt").write_text("fake-other")
    (secrets / "token").touch()
    (secrets / "tls").write_text("in the way")
    said = refused(status=1)
    assert "secrets/api-key.txt" in said
    assert "secrets/token" in said
    (secrets / "api-key.txt").unlink()
    (secrets / "token").unlink()
    assert str(secrets / "tls") in refused(status=1)
    (secrets / "tls").unlink()
    (secrets / "api_key").write_text(placeholder("API_KEY"))
    assert "secrets/api_key" in refused(status=1)
    (secrets / "api_key").write_text("fake-one")
    (secrets / "API_KEY").write_text("fake-two")
    said = refused(status=1)
    assert "secrets/API_KEY" in said
    assert "secrets/api_key" in said


def test_a_link_in_the_directory_is_not_followed(here: Path, refused: Refused) -> None:
    """Neither one in place of the file, nor one above it."""
    (here / "elsewhere").mkdir()
    (here / "secrets").mkdir()
    (here / "secrets/tls").symlink_to("../elsewhere")
    assert "secrets/tls" in refused(status=1)
    (here / "secrets/tls").unlink()
    (here / "secrets/token").symlink_to("../elsewhere/token")
    assert "secrets/token" in refused(status=1)


def test_a_volume_is_not_written_to(refused: Refused, here: Path, tmp_path: Path) -> None:
    """The kubelet would remove the files."""
    assert here.is_dir()
    volume = MountedVolume(tmp_path / "volume")
    volume.publish({"api_key": "fake"})

    assert "--kubernetes" in refused("--to", str(tmp_path / "volume"), status=1)


def test_without_a_permission_nothing_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither to read the directory, nor to write in it or beside it."""
    with as_ordinary_user() as place:
        (place / ".env").write_text(ENV)
        (place / "secrets").mkdir(0o000)
        (place / "closed").mkdir(0o500)
        before = contents(place)
        for to in ("secrets", "closed/secrets", "closed"):
            assert run("--env-file", str(place / ".env"), "--to", str(place / to)) == 1
            assert str(place / to) in capsys.readouterr().err
            assert contents(place) == before
        (place / "secrets").chmod(0o700)
        (place / "closed").chmod(0o700)


def test_a_full_disk_changes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether there is space for nothing, or for all but the last file."""
    for size in (1, 10, 20):
        with full_disk(size):
            assert run() == 1
        assert contents(here) == {".env": ENV.encode()}, size
        assert not (here / "secrets").exists()
        assert "File too large" in capsys.readouterr().err


KILLED = """
import os, signal, sys
from pathlib import Path
from hive_boot.cli.main import main

signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # a shell ignores it in background jobs
original = Path.hardlink_to

def kill(self, target):
    if self.name == "token":
        os.kill(os.getpid(), signal.SIGKILL)
    original(self, target)

Path.hardlink_to = kill
main(sys.argv[1:])
"""
"""Migrates, and is killed before the file of TOKEN has its name."""


def test_a_killed_migration_can_be_repeated(here: Path) -> None:
    """It leaves a temporary file, which git ignores and no start reads."""
    git("init", "-q")
    assert run_child(KILLED, "migrate", APP, cwd=here).returncode == -signal.SIGKILL
    (left,) = (path for path in here.rglob(".hive-boot-*.tmp"))
    assert left.parent == here / "secrets"

    assert run() == 0
    found = contents(here / "secrets")
    assert found.pop(left.name) == FILES["token"]
    assert found == FILES
    git("add", ".")
    assert git("ls-files") == ".env\n.gitignore\n"


def test_a_terminated_migration_changes_nothing(here: Path) -> None:
    """A signal that can be caught undoes the files before it."""
    before = contents(here)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
        program = KILLED.replace("SIGKILL", number.name).replace(
            "main(sys", "exit_status = main(sys"
        )
        done = run_child(f"{program}sys.exit(exit_status)", "migrate", APP, cwd=here)
        assert (done.returncode, done.stdout) == (128 + number, ""), done.stderr
        assert contents(here) == before
        assert not (here / "secrets").exists()


def test_files_that_a_start_would_read_otherwise_are_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read back with the loader of a start, and removed."""
    plan = MigrationPlan(Keys, [Path(".env")], Path("secrets"))
    monkeypatch.setattr(migrate, "encode_value", lambda _: b"fake-other")
    with pytest.raises(CommandError, match="API_KEY, TOKEN, TLS_CERT") as caught:
        migrate.apply(plan)

    assert contents(here) == {".env": ENV.encode()}
    assert "fake" not in everything_told(caught.value)


def test_a_failure_shows_no_value_to_an_error_tracker(here: Path) -> None:
    """Not even with the variables of all frames."""
    plan = MigrationPlan(Keys, [Path(".env")], Path("secrets"))
    for size in (10, 20):
        with full_disk(size), pytest.raises(CommandError) as caught:
            migrate.apply(plan)
        assert "fake" not in everything_told(caught.value)
    (here / "secrets").mkdir()
    (here / "secrets/token").write_text("fake-other")
    with pytest.raises(CommandError) as caught:
        MigrationPlan(Keys, [Path(".env")], Path("secrets"))

    assert "fake" not in everything_told(caught.value)


def test_a_reference_has_the_value_that_a_start_gives_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment, from ``.env.local``, from an earlier line; or as it is written."""
    environ = {"DB_HOST": "fake-host", "BOTH": "fake-environment", "API_KEY_PART": "fake-part"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (here / ".env.local").write_text("REGION=fake-region\nBOTH=fake-local\n")
    (here / ".env").write_text(
        "PORT=5432\nBOTH=fake-line\n"
        "API_KEY=fake://${DB_HOST}:${PORT}/${REGION}?${BOTH}\n"
        "TOKEN='fake-${PORT}'\n"
        'TLS_CERT="${PORT} $PORT ${NONE:-fake-default}"\n'
    )
    before = look(Keys, here.parent, environ, mode="development")
    assert not before.problems
    assert run() == 0
    after = look(Keys, here.parent, mode="docker", secrets_dirs=here / "secrets")
    assert values_of(after) == values_of(before)


# The guarantee, over the grammar of python-dotenv.

NOISE = st.text(alphabet="AB_= '\"#\\n$\n\r\t{}\ufeff\0é", max_size=12)

VALUES = st.one_of(
    NOISE,
    st.text(max_size=8),
    st.sampled_from(["", "\n", "fake\r\n", "\ufefffake", "fake\n\n", "-----BEGIN FAKE-----"]),
)


def quoted(quote: str, value: str) -> str:
    """Return a value in quotes, with escapes."""
    return quote + value.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


WELL_MADE = st.one_of(
    VALUES.map(lambda value: quoted("'", value)),
    VALUES.map(lambda value: quoted('"', value)),
    st.sampled_from(["pointed", "bytes", "", "=", "fake # comment", "'fake' # comment", "#fake"]),
)

OTHERS = ["API_KEY", "API_KEY_FILE", "KEYSTORE_FILE", "LOG_LEVEL", "HIVE_BOOT_MODE", "A.B-C"]


def lines(rendered: st.SearchStrategy[str], *ends: str) -> st.SearchStrategy[str]:
    """Return lines that set something, with all that the grammar allows around it."""
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


def without_lines(text: str, lines: Sequence[DotenvLines]) -> str:
    """Return a file without the lines that a migration lists."""
    pieces = re.findall(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z", text)
    for each in lines:
        pieces[each.first - 1 : each.last] = [""] * (each.last - each.first + 1)
    return "".join(pieces)


def others_in(env: Path) -> dict[str, Secret]:
    """Return the variables of a file that set no secret."""
    return {
        name: value
        for name, value in read_dotenv(str(env)).values.items()
        if name not in {*OWN, *(f"{own}_FILE" for own in OWN)}
    }


OWN = [field.name for field in Keys._field_index.all_fields]


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=list(HealthCheck),
)
@given(text=ENV_FILES, pointed=VALUES, raw=st.binary(max_size=5))
@example(text="API_KEY='NIL'\n", pointed="", raw=b"")
@example(text="API_KEY_FILE=b\n", pointed="", raw=b"")
def test_a_start_reads_what_it_read_before(text: str, pointed: str, raw: bytes) -> None:
    """Byte for byte, with the loader of a start; else the file is refused and nothing changes.

    Without the lines that are listed, the file sets no secret, and the rest is what it was.
    """
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
        with chdir(place):  # a path in the file may be relative
            status = run("--env-file", str(env), "--to", str(to))

        assert env.read_bytes() == written
        if status:
            unread = any(each.kind == "dotenv-unread" for each in before.warnings)
            assert status == (78 if before.problems or unread else 1)
            assert before.problems or not before.values
            assert not to.exists()
            return
        # In this profile a value such as 0000, which looks like a placeholder, is accepted.
        after = look(Keys, Path(name), mode="docker", secrets_dirs=to, profile="test")
        assert not before.problems
        assert values_of(after) == values_of(before)
        assert not after.problems
        others = others_in(env)
        plan = MigrationPlan(Keys, [env], to)
        env.write_bytes(without_lines(written.decode(), plan.lines).encode())
        rest = look(Keys, Path(name), mode="development")
        assert not rest.values
        # A line that cannot be parsed may concern a name that has no line any more.
        assert {each.kind for each in rest.problems} <= {"dotenv"}
        assert others_in(env) == others


def test_a_value_of_an_older_name_becomes_the_file_of_the_name(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line of the older name is among the lines to delete."""
    (here / ".env").write_text("OTHER=1\nOLD_KEY=fake-old\n")
    assert run(app="tests.cli.keys:Renamed") == 0
    assert contents(here / "secrets") == {"api_key": b"fake-old"}
    assert "line 2: OLD_KEY" in capsys.readouterr().out
