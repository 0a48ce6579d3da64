"""A new value is in the file, which is the same file, and never on a command line."""

import io
import json
import os
import pty
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive_boot import Secret
from hive_boot.cli import rotate
from hive_boot.cli.main import main
from hive_boot.cli.usage import Refusal
from hive_boot.secrets.field import Field
from hive_boot.secrets.sources.reading import LIMIT
from hive_boot.testing import MountedVolume
from tests.cli.disks import full_disk
from tests.cli.keys import Keys
from tests.fixtures.bind_mounts import PinnedFile
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
    """Give a directory of secrets, as ``migrate`` makes it."""
    place = Path("secrets")
    place.mkdir(0o700)
    write(place / "api_key", b"fake-old")
    return place


def write(path: Path, raw: bytes) -> None:
    """Write a file that is mounted somewhere, perhaps."""
    path.write_bytes(raw)
    path.chmod(0o444)


Typing = Callable[[bytes], None]


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Typing:
    """Give what decides what is piped in."""
    return lambda raw: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))


def contents(root: Path) -> dict[str, bytes]:
    """Give every file below a directory."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# What it does.


def test_the_new_value_is_in_the_same_file(
    secrets: Path, typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    """One newline of the pipe is no part of it; inode, mode and owner stay."""
    before = (secrets / "api_key").stat()
    typing(b"fake-new\n")

    assert main(["rotate", "API_KEY"]) == 0
    after = (secrets / "api_key").stat()
    assert contents(secrets) == {"api_key": b"fake-new"}
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    out, err = capsys.readouterr()
    assert err == ""
    assert out == (
        "API_KEY is rotated: secrets/api_key\n"
        "An application that runs with watch=True takes it up; any other, when it starts.\n"
    )


def test_the_same_value_again_is_said(
    secrets: Path, typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written, and that is no failure."""
    before = (secrets / "api_key").stat()
    typing(b"fake-old\r\n")

    assert main(["rotate", "API_KEY", "--backup"]) == 0
    assert (secrets / "api_key").stat() == before
    assert contents(secrets) == {"api_key": b"fake-old"}
    assert capsys.readouterr().out == "secrets/api_key holds this value already.\n"


def test_a_program_is_told_in_json(
    secrets: Path, typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    """Name, place and outcome; no value."""
    typing(b"fake-new")

    assert main(["rotate", "API_KEY", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "API_KEY",
        "file": str(secrets / "api_key"),
        "state": "rotated",
        "backup": None,
        "notes": [],
    }


def test_the_old_value_is_kept_on_request(
    secrets: Path, typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under a name that no start reads, for its owner alone; it can be rotated again."""
    typing(b"fake-new")

    assert main(["rotate", "API_KEY", "--backup"]) == 0
    (backup,) = secrets.glob("*.bak")
    assert re.fullmatch(r"api_key\.\d{8}T\d{6}Z\.bak", backup.name)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o400
    assert contents(secrets) == {"api_key": b"fake-new", backup.name: b"fake-old"}
    assert f"The old value is in {backup}: remove it" in capsys.readouterr().out
    read = look(Keys, Path.cwd(), mode="docker", secrets_dirs=secrets.resolve())
    assert values_of(read) == {"api_key": "fake-new"}
    typing(b"fake-newer")
    assert main(["rotate", "API_KEY", "--to", "secrets/"]) == 0


@pytest.mark.parametrize("name", ["API_KEY", "api-key", "api_key.txt"])
def test_the_file_is_the_one_that_a_start_reads(secrets: Path, typing: Typing, name: str) -> None:
    """Whichever of its names it has."""
    (secrets / "api_key").rename(secrets / name)
    typing(b"fake-new")

    assert main(["rotate", "API_KEY"]) == 0
    assert contents(secrets) == {name: b"fake-new"}


def test_the_declared_file_is_found(secrets: Path, typing: Typing) -> None:
    """A name says nothing about a file that is called otherwise; the declaration does."""
    (secrets / "tls").mkdir()
    write(secrets / "tls/cert.pem", b"fake-old")
    typing(b"fake-new")
    assert main(["rotate", "TLS_CERT"]) == 64
    typing(b"fake-new")

    assert main(["rotate", "TLS_CERT", *KEYS, "--backup"]) == 0
    assert (secrets / "tls/cert.pem").read_bytes() == b"fake-new"
    assert len(list((secrets / "tls").glob("cert.pem.*.bak"))) == 1


def test_an_empty_file_is_filled(secrets: Path, typing: Typing) -> None:
    """It holds no value that could be lost."""
    write(secrets / "api_key", b"")
    typing(b"fake-new")

    assert main(["rotate", "API_KEY"]) == 0
    assert contents(secrets) == {"api_key": b"fake-new"}


def test_a_link_inside_is_followed(secrets: Path, typing: Typing) -> None:
    """The file that it leads to is written, and the link stays."""
    (secrets / "API_KEY").symlink_to("store")
    (secrets / "api_key").rename(secrets / "store")
    typing(b"fake-new")

    assert main(["rotate", "API_KEY"]) == 0
    assert (secrets / "API_KEY").is_symlink()
    assert (secrets / "store").read_bytes() == b"fake-new"


def test_bytes_are_taken_as_they_are(secrets: Path, typing: Typing) -> None:
    """A key store may end in what looks like a newline."""
    write(secrets / "keystore", b"fake-old")
    typing(b"\xff\x00\n")

    assert main(["rotate", "KEYSTORE", *KEYS]) == 0
    assert (secrets / "keystore").read_bytes() == b"\xff\x00\n"


texts = st.text(alphabet="a=\"'# $\\\n\r\t\ufeffé", min_size=1, max_size=6) | st.text(min_size=1)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=list(HealthCheck),
)
@given(texts.filter(lambda text: "\0" not in text and not text.startswith("\ufeff")))
def test_what_is_given_is_what_is_read(text: str) -> None:
    """Byte for byte, with one newline less; newlines at the end included."""
    place = Path("given")
    place.mkdir(exist_ok=True)
    (place / "api_key").write_bytes(b"fake-old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{text}\n".encode())))
        status = main(["rotate", "API_KEY", "--to", "given"])
    read = look(Keys, Path.cwd(), mode="docker", secrets_dirs=place.resolve())

    expected = text.removesuffix("\r")
    assert status == (0 if expected else 1)
    assert values_of(read) == {"api_key": expected or "fake-old"}


# A file that is not there yet.


def test_a_file_is_made_on_request(
    secrets: Path, typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    """As ``migrate`` makes it; and who has not told git is told."""
    typing(b"fake-new\n\n")

    assert main(["rotate", "TLS_CERT", *KEYS, "--create"]) == 0
    assert (secrets / "tls/cert.pem").read_bytes() == b"fake-new\n\n"
    assert stat.S_IMODE((secrets / "tls/cert.pem").stat().st_mode) == 0o444
    assert stat.S_IMODE((secrets / "tls").stat().st_mode) == 0o700
    assert capsys.readouterr().out == (
        "TLS_CERT is created: secrets/tls/cert.pem\n"
        f"Note: git does not ignore it: {Path.cwd()}/.gitignore needs the line /secrets/\n"
    )
    Path(".gitignore").write_text("/secrets/\n")
    typing(b"fake-new")
    assert main(["rotate", "TOKEN_BEFORE", *KEYS, "--create"]) == 0
    assert (secrets / "token_before").read_bytes() == b"fake-new"
    assert capsys.readouterr().out == "TOKEN_BEFORE is created: secrets/token_before\n"


def test_without_that_request_the_near_misses_are_named(
    secrets: Path, typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name is not repeated, because it may be the value."""
    typing(b"fake-new")

    assert main(["rotate", "APIKEY"]) == 64
    assert capsys.readouterr().err == (
        "hive-boot: secrets holds no file of this secret; there is secrets/api_key; "
        "if its file= is another, --app APP knows it; else --create makes one\n"
    )
    assert main(["rotate", "TLS_CERT", *KEYS]) == 64
    assert capsys.readouterr().err == (
        "hive-boot: secrets holds no file of this secret; --create makes one\n"
    )
    assert main(["rotate", "fake-value-in-the-wrong-place"]) == 64
    assert "fake" not in capsys.readouterr().err
    assert contents(secrets) == {"api_key": b"fake-old"}


# What it refuses; then the file holds what it did.


def refused(
    capsys: pytest.CaptureFixture[str], *arguments: str, status: int, to: str = "secrets"
) -> str:
    """Rotate in vain, and give what was said."""
    before = contents(Path(to))
    assert main(["rotate", *arguments, "--to", to]) == status
    assert contents(Path(to)) == before
    out, err = capsys.readouterr()
    assert out == ""
    return err.removeprefix("hive-boot: ").removesuffix("\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["API_KEY", "fake-value"],
        ["API_KEY", "--value=fake-value"],
        ["API_KEY", "--value", "fake-value"],
        ["API_KEY", "--json=fake-value"],
        ["API_KEY", "-p", "fake-value"],
        [],
    ],
)
@pytest.mark.usefixtures("secrets")
def test_a_value_is_no_argument(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is typed beside the name is refused, and not repeated."""
    said = refused(capsys, *arguments, status=64)
    assert said.startswith("rotate takes the name of a secret and options; the value comes from")
    assert "fake-value" not in said


@pytest.mark.usefixtures("secrets")
def test_what_is_no_name_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    """It may be the value."""
    assert "fake" not in refused(capsys, "fake value", status=64)


@pytest.mark.usefixtures("secrets")
def test_an_undeclared_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With what may have been meant, else with what there is."""
    assert refused(capsys, "APIKEY", *KEYS, status=64) == (
        "Keys declares no secret of this name; did you mean API_KEY?"
    )
    assert refused(capsys, "OTHER", *KEYS, "--create", status=64) == (
        "Keys declares no secret of this name; it declares API_KEY, TOKEN, TOKEN_BEFORE, "
        "KEYSTORE, TLS_CERT"
    )


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "is not UTF-8 text (SecretBytes takes what is no text)"),
        (b"fa\0ke", "holds a NUL character (SecretBytes takes what is no text)"),
        (b"a" * (LIMIT + 2), f"is larger than the {LIMIT} bytes that a start reads"),
    ],
    ids=["nothing", "newline", "bytes", "nul", "large"],
)
@pytest.mark.usefixtures("secrets")
def test_what_is_no_value_is_refused(
    raw: bytes, said: str, typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty pipe above all: what was to fill it has failed."""
    typing(raw)

    assert refused(capsys, "API_KEY", status=1) == f"the new value of API_KEY {said}"


@pytest.mark.usefixtures("secrets")
def test_without_stdin_it_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service may have none."""
    monkeypatch.setattr("sys.stdin", None)

    assert refused(capsys, "API_KEY", status=64) == "there is no stdin to read the new value from"


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("JWT_SECRET", b"fake", "has 4 characters, and at least 8 are needed"),
        (
            "JWT_SECRET",
            b"fake-default",
            "is the development default, which other profiles refuse",
        ),
        ("PIN", b"fake-pin", "was refused by its check: it returned False"),
    ],
)
@pytest.mark.usefixtures("secrets")
def test_a_value_that_a_start_would_refuse_is_refused(
    name: str, raw: bytes, said: str, typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    """By length, by pattern, by the default, by the check; before anything is written."""
    write(Path("secrets") / name.lower(), b"fake-old")
    typing(raw)

    assert refused(capsys, name, *STRICT, status=1) == (
        f"the new value of {name} was not written:\n  {said}"
    )


@pytest.mark.parametrize(("name", "notes"), [("PIN", 0), ("SLOW_PIN", 1), ("ODD_PIN", 1)])
def test_a_value_that_passes_is_written(
    name: str, notes: int, secrets: Path, typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    """An async check needs the application's loop: that it was not asked is told."""
    write(secrets / name.lower(), b"fake-old")
    typing(b"1234")

    assert main(["rotate", name, *STRICT, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["notes"]) == notes
    assert (secrets / name.lower()).read_bytes() == b"1234"


@pytest.mark.usefixtures("secrets")
def test_a_directory_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """It is not made: a value that nobody reads would be in it."""
    assert refused(capsys, "API_KEY", "--create", status=64, to="other") == (
        "there is no directory other: name it with --to"
    )


def test_several_files_of_one_secret_are_named(
    secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody knows which of them is mounted."""
    write(secrets / "API_KEY", b"fake-old")

    assert refused(capsys, "API_KEY", status=1) == (
        "API_KEY is in 2 files: secrets/API_KEY, secrets/api_key; remove all but one"
    )


def test_a_link_that_leads_out_is_not_followed(
    secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others may use that file."""
    (secrets / "api_key").rename("shared")
    (secrets / "api_key").symlink_to("../shared")

    assert refused(capsys, "API_KEY", status=1) == (
        "secrets/api_key is a link that leads elsewhere: change the secret over there"
    )


@pytest.mark.parametrize("what", ["directory", "fifo", "broken"])
def test_what_is_no_file_is_told(
    what: str, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Docker makes a directory where a file to be mounted is missing."""
    (secrets / "api_key").unlink()
    if what == "directory":
        (secrets / "api_key").mkdir()
    elif what == "fifo":
        os.mkfifo(secrets / "api_key")
    else:
        (secrets / "api_key").symlink_to("nowhere")

    assert refused(capsys, "API_KEY", status=1) == (
        "secrets/api_key is no file: remove it, and use --create"
    )


def test_a_volume_is_not_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kubelet would undo it; kubectl is the way."""
    volume = MountedVolume(tmp_path / "volume")
    volume.publish({"api_key": "fake-old"})

    said = refused(capsys, "API_KEY", status=1, to=str(volume.path))
    assert said.endswith("and nobody else: --kubernetes tells how to change the Secret")


@pytest.mark.skipif(os.geteuid() != 0, reason="a file of somebody else's is needed")
def test_a_file_of_somebody_else_is_told(
    secrets: Path, typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who may not write it is told so; and where no file may be made as well."""
    typing(b"fake-new")
    with as_ordinary_user() as place:
        os.seteuid(0)
        write(place / "api_key", b"fake-old")
        place.chmod(0o755)
        os.seteuid(65534)
        said = refused(capsys, "API_KEY", status=1, to=str(place))
        assert said == f"{place}/api_key was not changed: operation not permitted"
        typing(b"fake-new")
        said = refused(capsys, "TOKEN", "--create", status=1, to=str(place))
        assert said == f"{place}/token was not changed: permission denied"
    assert contents(secrets) == {"api_key": b"fake-old"}


def test_a_file_that_is_read_otherwise_is_told(
    secrets: Path,
    typing: Typing,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else writes another file of this secret meanwhile: the old value is back."""

    def disturbed(value: object) -> bytes:
        write(secrets / "API_KEY", b"fake-other")
        del value
        return b"fake-new"

    monkeypatch.setattr(rotate, "content_of", disturbed)
    typing(b"fake-new")
    assert main(["rotate", "API_KEY"]) == 1

    assert contents(secrets) == {"API_KEY": b"fake-other", "api_key": b"fake-old"}
    assert capsys.readouterr().err == (
        "hive-boot: secrets/api_key: it could not be written, and holds the old value still: "
        "what a start would read from it was not the new value\n"
    )


def test_what_would_be_read_otherwise_is_refused(secrets: Path) -> None:
    """A new file is read as a start reads it, before it is anything."""
    field = Field(attribute="api_key", name="API_KEY", candidates=("api_key",))
    rotate.refuse_unlike(field, secrets, Secret("API_KEY", "fake-old"))

    with pytest.raises(Refusal, match="what a start would read from it"):
        rotate.refuse_unlike(field, secrets, Secret("API_KEY", "fake-new"))


@pytest.mark.usefixtures("secrets")
def test_a_failure_shows_no_value_to_an_error_tracker(typing: Typing) -> None:
    """Not even with the variables of all the frames."""
    write(Path("secrets/pin"), b"fake-old")
    told = []
    for arguments, size in (("API_KEY", 10), ("TOKEN --create", 10), ("PIN", 1000)):
        typing(b"fake-new-value")
        given = rotate.parser().parse_args([*arguments.split(), *STRICT[: 2 * (size > 10)]])
        with full_disk(size), pytest.raises(Refusal) as caught:
            rotate.run(given)
        told.append(everything_told(caught.value))

    assert "fake" not in "".join(told)
    assert "it could not be written, and holds" in told[0]
    assert "token was not changed: file too large" in told[1]
    assert "was refused by its check" in told[2]


# Kubernetes.


def test_the_key_is_the_one_that_the_manifests_have(capsys: pytest.CaptureFixture[str]) -> None:
    """Two files' names may become one key; the other secret's must not be written over."""
    for name, key in (("TLS_KEY", "tls-key"), ("OTHER", "tls-key-2"), ("HIDDEN", "hidden")):
        assert main(["rotate", name, "--app", "tests.cli.keys:Alike", "--kubernetes"]) == 0
        assert f" alike --from-file={key}=/dev/stdin " in capsys.readouterr().out


def test_the_command_for_kubernetes_reads_stdin(
    secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is asked and nothing is written; the Secret is named as it was declared."""
    assert main(["rotate", "API_KEY", "--kubernetes"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# It reads the value from stdin: paste it and press Ctrl-D.\n")
    assert "kubectl create secret generic app-secrets --from-file=api_key=/dev/stdin " in out
    assert main(["rotate", "TLS_CERT", *KEYS, "--kubernetes"]) == 0
    assert "generic keys --from-file=tls-cert.pem=/dev/stdin" in capsys.readouterr().out
    assert main(["rotate", "API_KEY", "--kubernetes", "hive", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "generic hive --from-file=api_key=/dev/stdin" in told["command"]
    assert (told["name"], told["reads"]) == ("API_KEY", "stdin")
    assert contents(secrets) == {"api_key": b"fake-old"}


def test_what_is_no_name_of_a_secret_is_not_put_into_a_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nor repeated."""
    assert main(["rotate", "API_KEY", "--kubernetes", "fake; rm -r /"]) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert "fake" not in err


# At a terminal, and under signals, in a process of its own.

PROGRAM = """
import sys
from hive_boot.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


class Terminal:
    """A child on a terminal of its own."""

    def __init__(self, cwd: Path, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.shown = ""
        self.child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env=child_environment(),
            start_new_session=True,
        )
        os.close(theirs)

    def expect(self, text: str) -> None:
        """Wait until a text is shown."""
        while text not in self.shown:
            self.shown += os.read(self._ours, 1024).decode()

    def type(self, raw: bytes) -> None:
        """Type something."""
        os.write(self._ours, raw)

    def end(self) -> int:
        """Wait for the end, and give the exit status."""
        while True:
            try:
                more = os.read(self._ours, 1024)
            except OSError:
                # Nobody is at the other end any more.
                break
            self.shown += more.decode()
            if not more:
                break
        os.close(self._ours)
        return self.child.wait(60)


@pytest.fixture
def terminal(secrets: Path) -> Iterator[Terminal]:
    """Give a terminal at which a secret is being rotated."""
    terminal = Terminal(secrets.resolve().parent, "rotate", "API_KEY")
    yield terminal
    terminal.child.kill()
    terminal.child.wait()


def test_at_a_terminal_it_asks_twice_and_shows_nothing(terminal: Terminal, secrets: Path) -> None:
    """What is typed is seen by nobody."""
    terminal.expect("New value of API_KEY: ")
    terminal.type("fake-néw\n".encode())
    terminal.expect("Once more: ")
    terminal.type("fake-néw\n".encode())

    assert terminal.end() == 0
    assert "API_KEY is rotated" in terminal.shown
    assert "fake" not in terminal.shown
    assert (secrets / "api_key").read_text() == "fake-néw"


def test_two_entries_that_differ_change_nothing(terminal: Terminal, secrets: Path) -> None:
    """A slip of the fingers is no new value."""
    terminal.expect("New value of API_KEY: ")
    terminal.type(b"fake-new\n")
    terminal.expect("Once more: ")
    terminal.type(b"fake-nwe\n")

    assert terminal.end() == 1
    assert "the two entries differ; API_KEY is what it was" in terminal.shown
    assert contents(secrets) == {"api_key": b"fake-old"}


def test_the_end_of_input_changes_nothing(terminal: Terminal, secrets: Path) -> None:
    """Ctrl-D is a way out."""
    terminal.expect("New value of API_KEY: ")
    terminal.type(b"\x04")

    assert terminal.end() == 1
    assert "nothing was typed; API_KEY is what it was" in terminal.shown
    assert contents(secrets) == {"api_key": b"fake-old"}


@pytest.mark.usefixtures("secrets")
def test_a_terminal_that_would_show_it_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the echo cannot be switched off nothing is asked."""
    stdin = io.TextIOWrapper(io.BytesIO(b"fake-new\nfake-new\n"))
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stdin)
    # Without a controlling terminal, as in some editors, there is only this stdin.
    monkeypatch.setattr("os.open", _no_terminal(os.open))

    assert refused(capsys, "API_KEY", status=1) == (
        "this terminal would show what is typed: pipe the value in instead; API_KEY is what it was"
    )


def _no_terminal(original: Callable[..., int]) -> Callable[..., int]:
    def opened(path: object, *arguments: object, **more: object) -> int:
        if path == "/dev/tty":
            raise FileNotFoundError
        return original(path, *arguments, **more)

    return opened


INTERRUPTED = """
import os, signal, sys
from hive_boot.cli import rewriting
from hive_boot.cli.main import main

original = os.ftruncate

def interrupted(fd, size):
    os.kill(os.getpid(), signal.SIGINT)
    original(fd, size)

rewriting.os.ftruncate = interrupted
# Who is started in the background by a shell ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""


def test_a_signal_finds_the_whole_value(secrets: Path) -> None:
    """Ctrl-C between the writing and the cutting ends it after both."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "rotate", "API_KEY"],
        input=b"new",
        cwd=secrets.resolve().parent,
        env=child_environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 130, done.stderr
    assert contents(secrets) == {"api_key": b"new"}


# An application that runs.

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
"""Prints how long its key is, and that of each that comes."""


@pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))
def test_an_application_takes_up_what_was_rotated(secrets: Path, typing: Typing) -> None:
    """Its file is mounted by itself, as Compose does it, and it has the new value at once."""
    mounted = Path("run/secrets/api_key").resolve()
    with (
        PinnedFile(mounted, secrets / "api_key"),
        started_child(APPLICATION, str(mounted.parent)) as child,
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == "8\n"
        for value in ("fake-longer-than-before", "short"):
            typing(value.encode())
            assert main(["rotate", "API_KEY"]) == 0
            assert child.stdout.readline() == f"{len(value)}\n"
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
