"""``hive-boot rotate``: a new value in the same file, and never on a command line."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive_boot import Secret
from hive_boot.cli import CommandError, rotate
from hive_boot.cli.main import main
from hive_boot.cli.secret_files import encode_value
from hive_boot.secrets.validation import content_problem
from hive_boot.testing import MountedVolume
from tests.cli.disks import full_disk
from tests.cli.keys import Keys
from tests.fixtures.bind_mounts import PinnedFile
from tests.fixtures.golden import assert_golden
from tests.fixtures.trees import contents, mode
from tests.support import (
    as_ordinary_user,
    child_environment,
    everything_told,
    look,
    started_child,
    values_of,
)

IMPOSSIBLE = PinnedFile.unavailable_reason()

STRICT = ("--app", "tests.cli.keys:Strict")
KEYS = ("--app", "tests.cli.keys:Keys")


@pytest.fixture
def secrets() -> Path:
    """Return a directory of secrets, as ``migrate`` makes it."""
    place = Path("secrets")
    place.mkdir(0o700)
    write(place / "api_key", b"fake-old")
    return place


def write(path: Path, raw: bytes) -> None:
    """Write the file of a secret."""
    path.write_bytes(raw)
    path.chmod(0o444)


@pytest.mark.usefixtures("secrets")
def test_an_application_that_cannot_be_imported_is_not_needed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module whose engine has no valid URL cannot be imported, and rotate is the way out."""
    monkeypatch.syspath_prepend(".")
    Path("no_engine.py").write_text("int('no engine')\n", "utf-8")
    assert main(["rotate", "API_KEY", "--app", "no_engine:boot"]) == 70
    assert "Without --app" in capsys.readouterr().err


Pipe = Callable[[bytes], None]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Return what sets the content of stdin."""
    return lambda raw: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))


# What it does.


def test_the_new_value_is_in_the_same_file(
    secrets: Path, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without one newline of the pipe; inode and mode stay."""
    before = (secrets / "api_key").stat()
    pipe(b"fake-new\n")

    assert main(["rotate", "API_KEY"]) == 0
    after = (secrets / "api_key").stat()
    assert contents(secrets) == {"api_key": b"fake-new"}
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert capsys.readouterr().err == ""


def test_the_report_names_the_file_and_the_next_steps(
    secrets: Path, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rotated with a backup, created outside of git's rules, and not changed."""
    for raw, arguments in (
        (b"fake-new", ("API_KEY", "--backup")),
        (b"fake-new", ("TLS_CERT", *KEYS, "--create")),
        (b"fake-new", ("API_KEY",)),
    ):
        pipe(raw)
        assert main(["rotate", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    (backup,) = secrets.glob("*.bak")
    assert_golden(
        "rotate_report", out, {str(Path.cwd()): "/srv/app", backup.name: "api_key.TIME.bak"}
    )


def test_the_same_value_again_writes_nothing(
    secrets: Path, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also no backup; that is a success."""
    before = (secrets / "api_key").stat()
    pipe(b"fake-old\r\n")

    assert main(["rotate", "API_KEY", "--backup", "--json"]) == 0
    after = (secrets / "api_key").stat()  # not the time of the last access, which reading sets
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert contents(secrets) == {"api_key": b"fake-old"}
    assert json.loads(capsys.readouterr().out)["state"] == "unchanged"


def test_a_program_gets_json(secrets: Path, pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    """Name, file and state; no value."""
    pipe(b"fake-new")

    assert main(["rotate", "API_KEY", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "API_KEY",
        "file": str(secrets / "api_key"),
        "state": "rotated",
        "dry_run": False,
        "backup": None,
        "version": None,
        "notes": [],
    }


def test_a_backup_keeps_the_old_value(
    secrets: Path, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under a name that no start reads, for its owner alone; the next rotation works."""
    pipe(b"fake-new")

    assert main(["rotate", "API_KEY", "--backup", "--json"]) == 0
    (backup,) = secrets.glob("*.bak")
    assert re.fullmatch(r"api_key\.\d{8}T\d{6}Z\.bak", backup.name)
    assert mode(backup) == 0o400
    assert contents(secrets) == {"api_key": b"fake-new", backup.name: b"fake-old"}
    assert json.loads(capsys.readouterr().out)["backup"] == str(backup)
    read = look(Keys, Path.cwd(), mode="docker", secrets_dirs=secrets.resolve())
    assert values_of(read) == {"api_key": "fake-new"}
    pipe(b"fake-newer")
    assert main(["rotate", "API_KEY", "--to", "secrets/"]) == 0


def test_the_file_is_the_one_that_a_start_reads(secrets: Path, pipe: Pipe) -> None:
    """Under each of its names, and when it is empty."""
    (secrets / "api_key").unlink()
    for name in ("API_KEY", "api-key", "api_key.txt"):
        write(secrets / name, b"")
        pipe(b"fake-new")
        assert main(["rotate", "API_KEY"]) == 0, name
        assert contents(secrets) == {name: b"fake-new"}
        (secrets / name).unlink()


def test_the_declared_file_is_found(secrets: Path, pipe: Pipe) -> None:
    """The name does not show another ``file=``; the declaration does."""
    (secrets / "tls").mkdir()
    write(secrets / "tls/cert.pem", b"fake-old")
    pipe(b"fake-new")
    assert main(["rotate", "TLS_CERT"]) == 64
    pipe(b"fake-new")

    assert main(["rotate", "TLS_CERT", *KEYS, "--backup"]) == 0
    assert (secrets / "tls/cert.pem").read_bytes() == b"fake-new"
    assert len(list((secrets / "tls").glob("cert.pem.*.bak"))) == 1


def test_bytes_are_taken_as_they_are(secrets: Path, pipe: Pipe) -> None:
    """A key store may end with what looks like a newline."""
    write(secrets / "keystore", b"fake-old")
    pipe(b"\xff\x00\n")

    assert main(["rotate", "KEYSTORE", *KEYS]) == 0
    assert (secrets / "keystore").read_bytes() == b"\xff\x00\n"


texts = st.text(alphabet="a=\"'# $\\\n\r\t\ufeffé", min_size=1, max_size=6) | st.text(min_size=1)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=list(HealthCheck),
)
@given(texts.filter(lambda text: "\0" not in text and not text.startswith("\ufeff")))
def test_a_start_reads_what_was_piped(text: str) -> None:
    """Byte for byte, without one newline; newlines before it included."""
    place = Path("given")
    place.mkdir(exist_ok=True)
    (place / "api_key").write_bytes(b"fake-old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{text}\n".encode())))
        status = main(["rotate", "API_KEY", "--to", "given"])
    # In this profile a text such as 000, which looks like a placeholder, is accepted.
    read = look(Keys, Path.cwd(), mode="docker", secrets_dirs=place.resolve(), profile="test")

    expected = text.removesuffix("\r")
    # A text such as 000 looks like a placeholder.
    is_value = bool(expected.strip()) and content_problem(Secret("API_KEY", expected)) is None
    assert status == (0 if is_value else 1)
    assert values_of(read) == {"api_key": expected if is_value else "fake-old"}


# A file that does not exist yet.


def test_a_file_is_created_on_request(
    secrets: Path, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the modes of ``migrate``, and a note when git does not ignore it."""
    pipe(b"fake-new\n\n")
    assert main(["rotate", "TLS_CERT", *KEYS, "--create", "--json"]) == 0
    assert (secrets / "tls/cert.pem").read_bytes() == b"fake-new\n\n"
    assert mode(secrets / "tls/cert.pem") == 0o444
    assert mode(secrets / "tls") == 0o700
    answer = json.loads(capsys.readouterr().out)
    assert answer["state"] == "created"
    (note,) = answer["notes"]
    assert f"{Path.cwd()}/.gitignore" in note
    assert "/secrets/" in note

    Path(".gitignore").write_text("/secrets/\n")
    pipe(b"fake-new")
    assert main(["rotate", "TOKEN_BEFORE", *KEYS, "--create", "--json"]) == 0
    assert (secrets / "token_before").read_bytes() == b"fake-new"
    assert json.loads(capsys.readouterr().out)["notes"] == []


# What it refuses; then the file holds what it did.


Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return what runs the command in vain and returns its message."""

    def refused(*arguments: str, status: int, to: str = "secrets") -> str:
        capsys.readouterr()
        before = contents(Path(to))
        assert main(["rotate", *arguments, "--to", to]) == status, arguments
        assert contents(Path(to)) == before
        out, err = capsys.readouterr()
        assert out == ""
        assert "fake" not in err
        return err

    return refused


@pytest.mark.usefixtures("secrets")
def test_a_value_is_not_an_argument(refused: Refused) -> None:
    """Whatever is typed beside the name is refused and not repeated; so is a wrong name."""
    for arguments in (
        ["API_KEY", "fake-value"],
        ["API_KEY", "--value=fake-value"],
        ["API_KEY", "--value", "fake-value"],
        ["API_KEY", "--json=fake-value"],
        ["API_KEY", "-p", "fake-value"],
        ["fake value"],
        ["fake-value-in-the-wrong-place"],
        ["API_KEY", "--kubernetes", "fake; rm -r /"],
        [],
    ):
        refused(*arguments, status=64)


@pytest.mark.usefixtures("secrets")
def test_a_name_without_a_file_is_a_usage_error(refused: Refused) -> None:
    """Similar files, or declared names, are in the message."""
    said = refused("APIKEY", status=64)
    assert "secrets/api_key" in said
    assert "--create" in said
    assert "--app" in said
    said = refused("TLS_CERT", *KEYS, status=64)
    assert "--create" in said
    assert "--app" not in said
    assert "API_KEY?" in refused("APIKEY", *KEYS, status=64)
    said = refused("OTHER", *KEYS, "--create", status=64)
    assert "API_KEY, TOKEN, TOKEN_BEFORE, KEYSTORE, TLS_CERT" in said


def test_a_directory_is_not_created_and_not_a_link(secrets: Path, refused: Refused) -> None:
    """A file in a new directory would be read by nothing."""
    Path("link").symlink_to(secrets)
    for to in ("other", "link"):
        assert to in refused("API_KEY", "--create", status=64, to=to)


@pytest.mark.usefixtures("secrets")
def test_a_value_that_a_start_would_refuse_is_refused(pipe: Pipe, refused: Refused) -> None:
    """By length, by the development default and by its check; before anything is written."""
    for name, raw, data in (
        ("JWT_SECRET", b"fake", "4 characters"),
        ("JWT_SECRET", b"fake-default", "default"),
        ("PIN", b"fake-pin", "check"),
    ):
        write(Path("secrets") / name.lower(), b"fake-old")
        pipe(raw)
        said = refused(name, *STRICT, status=1)
        assert name in said
        assert data in said


def test_a_value_that_passes_is_written(
    secrets: Path, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """An async check needs the loop of the application: a note says that it was not run."""
    for name, notes in (("PIN", 0), ("SLOW_PIN", 1), ("ODD_PIN", 1)):
        write(secrets / name.lower(), b"fake-old")
        pipe(b"1234")
        assert main(["rotate", name, *STRICT, "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["notes"]) == notes
        assert (secrets / name.lower()).read_bytes() == b"1234"


def test_a_check_that_is_interrupted_ends_the_command(
    secrets: Path, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends one that hangs, and the file keeps its value."""

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("tests.cli.keys.Later.__init__", interrupted)
    write(secrets / "odd_pin", b"fake-old")
    pipe(b"1234")
    assert main(["rotate", "ODD_PIN", *STRICT]) == 130
    assert (secrets / "odd_pin").read_bytes() == b"fake-old"


def test_several_files_of_one_secret_are_named(secrets: Path, refused: Refused) -> None:
    """The command cannot know which of them is mounted."""
    write(secrets / "API_KEY", b"fake-old")

    assert "secrets/API_KEY, secrets/api_key" in refused("API_KEY", status=1)


def test_a_path_that_is_not_a_file_is_refused(secrets: Path, refused: Refused) -> None:
    """Docker makes a directory where a file to mount is missing. No link is followed."""
    path = secrets / "api_key"
    path.rename(secrets / "store")
    for target in ("store", "nowhere", "../shared"):
        path.symlink_to(target)
        assert "secrets/api_key" in refused("API_KEY", status=1)
        path.unlink()
    os.mkfifo(path)
    assert "secrets/api_key" in refused("API_KEY", status=1)
    path.unlink()
    path.mkdir()
    assert "secrets/api_key" in refused("API_KEY", status=1)
    Path("elsewhere").mkdir()
    (secrets / "tls").symlink_to("../elsewhere")
    assert "secrets/tls" in refused("TLS_CERT", *KEYS, "--create", status=1)


def test_a_volume_is_not_written_to(tmp_path: Path, refused: Refused) -> None:
    """The kubelet would undo it; the message names the option for kubectl."""
    volume = MountedVolume(tmp_path / "volume")
    volume.publish({"api_key": "fake-old"})

    assert "--kubernetes" in refused("API_KEY", status=1, to=str(volume.path))


@pytest.mark.skipif(os.geteuid() != 0, reason="a file of another user is needed")
def test_without_a_permission_nothing_changes(pipe: Pipe, refused: Refused) -> None:
    """Neither an existing file nor a new one."""
    with as_ordinary_user() as place:
        os.seteuid(0)
        write(place / "api_key", b"fake-old")
        place.chmod(0o755)
        os.seteuid(65534)
        for arguments in (["API_KEY"], ["TOKEN", "--create"]):
            pipe(b"fake-new")
            said = refused(*arguments, status=1, to=str(place))
            assert str(place / arguments[0].lower()) in said


def test_a_value_that_would_be_read_otherwise_is_taken_back(
    secrets: Path, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file of the secret appears meanwhile: the old value, or no file, is back."""

    def disturb(value: Secret) -> bytes:
        write(other, b"fake-other")
        return encode_value(value)

    monkeypatch.setattr(rotate, "encode_value", disturb)
    for other, arguments in (
        (secrets / "API_KEY", ["API_KEY"]),
        (secrets / "TOKEN", ["TOKEN", "--create"]),
    ):
        pipe(b"fake-new")
        before = contents(secrets)
        assert main(["rotate", *arguments]) == 1
        assert contents(secrets) == {**before, other.name: b"fake-other"}
        other.unlink()


@pytest.mark.usefixtures("secrets")
def test_a_failure_shows_no_value_to_an_error_tracker(pipe: Pipe) -> None:
    """Not even with the variables of all frames."""
    write(Path("secrets/pin"), b"fake-old")
    for arguments, size, data in (
        (["API_KEY"], 10, "secrets/api_key"),
        (["TOKEN", "--create"], 10, "secrets/token"),
        (["PIN", *STRICT], 1000, "PIN"),
    ):
        pipe(b"fake-new-value")
        given = rotate.parser().parse_args(arguments)
        with full_disk(size), pytest.raises(CommandError, match=data) as caught:
            rotate.run(given)
        assert "fake" not in everything_told(caught.value)
    assert not Path("secrets/token").exists()


# Kubernetes.


def test_the_key_is_the_one_of_the_manifests(capsys: pytest.CaptureFixture[str]) -> None:
    """Two names of files may become one key; the other secret must not be overwritten."""
    for name, key in (("TLS_KEY", "tls-key"), ("OTHER", "tls-key-2"), ("HIDDEN", "hidden")):
        assert main(["rotate", name, "--app", "tests.cli.keys:Alike", "--kubernetes"]) == 0
        assert f" alike --from-file={key}=/dev/stdin " in capsys.readouterr().out


def test_the_command_for_kubernetes_knows_an_older_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its key is the file of that name."""
    older = ("OLD_KEY", "--app", "tests.cli.keys:Renamed", "--kubernetes")
    assert main(["rotate", *older]) == 0
    assert "--from-file=old_key=" in capsys.readouterr().out


def test_the_command_for_kubernetes_reads_stdin(
    secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No value is asked for and nothing is written; the Secret is named after the set."""
    for arguments, data in (
        (["API_KEY"], "app-secrets --from-file=api_key=/dev/stdin "),
        (["TLS_CERT", *KEYS], "generic keys --from-file=tls-cert.pem=/dev/stdin"),
    ):
        assert main(["rotate", *arguments, "--kubernetes"]) == 0
        assert data in capsys.readouterr().out
    assert main(["rotate", "API_KEY", "--kubernetes", "hive", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "generic hive --from-file=api_key=/dev/stdin" in answer["command"]
    assert (answer["name"], answer["reads"]) == ("API_KEY", "stdin")
    assert contents(secrets) == {"api_key": b"fake-old"}


# Signals, and an application that runs.

INTERRUPTED = """
import os, signal, sys
from hive_boot.cli import file_writing as in_place
from hive_boot.cli.main import main
from hive_boot.cli.secret_files import encode_value

original = os.ftruncate

def interrupted(fd, size):
    os.kill(os.getpid(), int(sys.argv.pop()))
    original(fd, size)

in_place.os.ftruncate = interrupted
# A shell starts a background process with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(["rotate", "API_KEY"]))
"""


def test_a_signal_finds_the_whole_value(secrets: Path) -> None:
    """Ctrl-C or SIGTERM between write and truncate ends the command after both."""
    for number, status, value in ((signal.SIGINT, 130, b"new"), (signal.SIGTERM, -15, b"n")):
        done = subprocess.run(
            [sys.executable, "-c", INTERRUPTED, str(int(number))],
            input=value,
            cwd=secrets.resolve().parent,
            env=child_environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )

        assert done.returncode == status, done.stderr
        assert contents(secrets) == {"api_key": value}


APPLICATION = """
import sys
import anyio
from hive_boot import Bootstrap, Change, Secret, SecretSet

class Keys(SecretSet):
    api_key: Secret

boot = Bootstrap(Keys, watch=True, mode="docker", secrets_dirs=sys.argv[1])

@boot.on_rotate()
async def tell(change: Change, secrets: Keys) -> None:
    print(len(secrets.api_key.reveal()), flush=True)

@boot.main
async def main(secrets: Keys) -> None:
    print(len(secrets.api_key.reveal()), flush=True)
    await anyio.sleep_forever()

boot.run()
"""
"""Prints the length of its key, and of each new one."""


@pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))
def test_an_application_loads_what_was_rotated(secrets: Path, pipe: Pipe) -> None:
    """Its file is mounted by itself, as Compose does it; the command writes the source."""
    mounted = Path("run/secrets/api_key").resolve()
    with (
        PinnedFile(mounted, secrets / "api_key"),
        started_child(APPLICATION, str(mounted.parent)) as child,
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == "8\n"
        for value in ("fake-longer-than-before", "short"):
            pipe(value.encode())
            assert main(["rotate", "API_KEY"]) == 0
            assert child.stdout.readline() == f"{len(value)}\n"
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
