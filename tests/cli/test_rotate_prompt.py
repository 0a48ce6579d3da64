"""The input of a new value: from a pipe, or at a real terminal."""

import io
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from hive_boot.cli import CommandError, UsageError
from hive_boot.cli.rotate import read_new_value
from hive_boot.secrets.fields import Field
from hive_boot.secrets.sources.files import LIMIT
from tests.fixtures.trees import contents
from tests.support import child_environment, everything_told, wait_until

FIELD = Field(attribute="api_key", name="API_KEY")


def set_stdin(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> io.TextIOWrapper:
    """Set the content of stdin."""
    stdin = io.TextIOWrapper(io.BytesIO(raw))
    monkeypatch.setattr("sys.stdin", stdin)
    return stdin


def test_a_pipe_is_read_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a byte order mark and one final newline."""
    for raw in (b"fake", b"fake\n", b"fake\r\n", b"\xef\xbb\xbffake\n"):
        set_stdin(monkeypatch, raw)
        assert read_new_value(FIELD).reveal() == "fake"


def test_input_that_is_not_a_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty pipe above all: the command before it has failed."""
    bom, large = b"\xef\xbb\xbf", b"a" * (LIMIT + 1)
    too_large = (large, large + b"\r\n", bom + large, bom + large + b"\r\n", bom + large + b"a")
    for raw in (b"", b"\n", b"\xff", b"fake\0", *too_large):
        set_stdin(monkeypatch, raw)
        with pytest.raises(CommandError, match="API_KEY") as caught:
            read_new_value(FIELD)
        assert "fake" not in everything_told(caught.value)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):  # what PowerShell pipes
        set_stdin(monkeypatch, "fake-new\r\n".encode(encoding))
        with pytest.raises(CommandError, match="is UTF-16 text"):
            read_new_value(FIELD)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="stdin"):
        read_new_value(FIELD)


def test_a_terminal_that_would_show_the_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the echo cannot be turned off, nothing is read."""
    stdin = set_stdin(monkeypatch, b"fake-new\nfake-new\n")
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    # Without a controlling terminal, as in some editors, there is only this stdin.
    monkeypatch.setattr("os.open", _no_terminal(os.open))

    with pytest.raises(CommandError, match="API_KEY"):
        read_new_value(FIELD)
    assert stdin.read() == "fake-new\nfake-new\n"


def _no_terminal(original: Callable[..., int]) -> Callable[..., int]:
    def opened(path: object, *arguments: object, **more: object) -> int:
        if path == "/dev/tty":
            raise FileNotFoundError
        return original(path, *arguments, **more)

    return opened


PROGRAM = """
import signal, sys
from hive_boot.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores both in background jobs
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
sys.exit(main(sys.argv[1:]))
"""


class Terminal:
    """A child on a terminal of its own."""

    def __init__(self, cwd: Path, *arguments: str, controlling: bool = False) -> None:
        self._ours, theirs = pty.openpty()
        self.shown = ""
        self.modes: list[Any] = termios.tcgetattr(self._ours)
        self.child = subprocess.Popen(
            # With a controlling terminal, getpass opens /dev/tty instead of stdin.
            [
                *(["setsid", "--ctty"] if controlling else []),
                *(sys.executable, "-c", PROGRAM, *arguments),
            ],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env=child_environment(),
            start_new_session=not controlling,
        )
        os.close(theirs)

    def expect(self, text: str) -> None:
        """Wait until a text is shown."""
        while text not in self.shown:
            self.shown += os.read(self._ours, 1024).decode()

    def type(self, raw: bytes) -> None:
        """Type something."""
        os.write(self._ours, raw)

    def is_waiting(self) -> bool:
        """Return whether the child sleeps, as it does while it reads."""
        return Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(") ")[2][0] == "S"

    def is_restored(self) -> bool:
        """Return whether the modes of the terminal, such as the echo, are those of the start."""
        modes: list[Any] = termios.tcgetattr(self._ours)
        return modes == self.modes

    def end(self) -> int:
        """Wait for the end, and give the exit status."""
        while True:
            try:
                more = os.read(self._ours, 1024)
            except OSError:
                # The other end is closed.
                break
            self.shown += more.decode()
            if not more:
                break
        return self.child.wait(60)


Start = Callable[..., Terminal]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return what starts a rotation at a terminal."""
    place = Path("secrets")
    place.mkdir(0o700)
    (place / "api_key").write_bytes(b"fake-old")
    started: list[Terminal] = []

    def start(*arguments: str, controlling: bool = False) -> Terminal:
        started.append(
            Terminal(Path.cwd(), "rotate", *(arguments or ["API_KEY"]), controlling=controlling)
        )
        return started[-1]

    yield start
    for terminal in started:
        terminal.child.kill()
        terminal.child.wait()


@pytest.fixture
def terminal(start: Start) -> Terminal:
    """Return a terminal at which a secret is being rotated."""
    return start()


def test_the_prompt_asks_twice_and_shows_nothing(terminal: Terminal) -> None:
    """The echo is off."""
    terminal.expect("New value of API_KEY: ")
    terminal.type("fake-néw\n".encode())
    terminal.expect("Repeat the value: ")
    terminal.type("fake-néw\n".encode())

    assert terminal.end() == 0
    assert "fake" not in terminal.shown
    assert contents(Path("secrets")) == {"api_key": "fake-néw".encode()}


def test_two_entries_that_differ_change_nothing(terminal: Terminal) -> None:
    """A typing error does not become a value."""
    terminal.expect("New value of API_KEY: ")
    terminal.type(b"fake-new\n")
    terminal.expect("Repeat the value: ")
    terminal.type(b"fake-nwe\n")

    assert terminal.end() == 1
    assert "fake" not in terminal.shown
    assert contents(Path("secrets")) == {"api_key": b"fake-old"}


def test_the_end_of_input_changes_nothing(terminal: Terminal) -> None:
    """Ctrl-D cancels."""
    terminal.expect("New value of API_KEY: ")
    terminal.type(b"\x04")

    assert terminal.end() == 1
    assert contents(Path("secrets")) == {"api_key": b"fake-old"}


def test_a_signal_at_the_prompt_restores_the_terminal(start: Start) -> None:
    """Without the echo the next commands of the user would be invisible."""
    usual = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT)
    for controlling, number, prompts in (
        *product((False, True), usual, (1,)),
        *((each, signal.SIGTERM, 2) for each in (False, True)),
        *((False, each, 1) for each in (signal.SIGALRM, signal.SIGUSR1)),
        *((True, each, 1) for each in (signal.SIGUSR2, signal.SIGXCPU)),
    ):
        terminal = start(controlling=controlling)
        terminal.expect("New value of API_KEY: ")
        if prompts == 2:
            terminal.type(b"fake-new\n")
            terminal.expect("Repeat the value: ")
        assert not terminal.is_restored()
        # CPython handles a signal that arrives just before the read only after the read.
        wait_until(terminal.is_waiting)
        terminal.type(b"begun")  # it is echoed if it arrives after the signal
        terminal.child.send_signal(number)

        assert terminal.child.wait(60) == 128 + number
        assert terminal.is_restored(), (controlling, number)
        assert terminal.end() == 128 + number
        assert "fake" not in terminal.shown
        assert "Traceback" not in terminal.shown
    assert contents(Path("secrets")) == {"api_key": b"fake-old"}


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nohup, a hangup does not end the command."""
    prompts: list[object] = []

    def entered(_: str) -> str:
        prompts.append(signal.getsignal(signal.SIGHUP))
        prompts.append(signal.getsignal(signal.SIGTERM))
        prompts.append(signal.getsignal(signal.SIGTSTP))
        return "fake-new"

    monkeypatch.setattr("hive_boot.cli.rotate.getpass", entered)
    stdin = set_stdin(monkeypatch, b"")
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert read_new_value(FIELD).reveal() == "fake-new"
        assert prompts[0] is signal.SIG_IGN
        assert prompts[1] is not signal.SIG_DFL
        # Stopped by Ctrl-Z, the command would leave the terminal to the shell without echo.
        assert prompts[2] is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_entry_that_is_not_utf_8_is_refused(start: Start) -> None:
    """With one line, which shows no part of the entry; the terminal is restored."""
    for controlling, raw in (
        *((False, each) for each in (b"fake-\xff\n", b"\xe9\n")),
        *((True, each) for each in (b"fake-\xc3\n", b"fake-\xed\xa0\x80\n")),
    ):
        terminal = start(controlling=controlling)
        terminal.expect("New value of API_KEY: ")
        terminal.type(raw)
        assert terminal.end() == 1
        assert terminal.is_restored()
        assert "UTF-8" in terminal.shown
        assert "fake" not in terminal.shown
        assert "Traceback" not in terminal.shown
    assert contents(Path("secrets")) == {"api_key": b"fake-old"}


def replace_by_rename(path: Path) -> None:
    """Replace the file by another one, as most programs write."""
    path.with_name("new").write_bytes(b"fake-other")
    path.with_name("new").rename(path)


def replace_by_link(path: Path) -> None:
    """Replace the file by a symbolic link to another one."""
    path.unlink()
    path.symlink_to("../outside")


def replace_by_hard_link(path: Path) -> None:
    """Replace the file by another name of a file outside."""
    path.unlink()
    path.hardlink_to("outside")


def replace_by_directory(path: Path) -> None:
    """Replace the file by a directory."""
    path.unlink()
    path.mkdir()


def replace_by_fifo(path: Path) -> None:
    """Replace the file by a FIFO."""
    path.unlink()
    os.mkfifo(path)


def write_in_place(path: Path) -> None:
    """Write another value."""
    path.write_bytes(b"fake-other")


def test_a_file_that_was_swapped_at_the_prompt_is_not_overwritten(start: Start) -> None:
    """By a rename, in place, removed, or replaced by a link, a directory or a FIFO."""
    path = Path("secrets/api_key")
    outside = Path("outside")
    for swap in (
        replace_by_rename,
        replace_by_link,
        replace_by_hard_link,
        write_in_place,
        Path.unlink,
        replace_by_directory,
        replace_by_fifo,
    ):
        outside.write_bytes(b"fake-outside")
        path.write_bytes(b"fake-old")
        terminal = start("API_KEY", "--create", "--backup")
        terminal.expect("New value of API_KEY: ")
        swap(path)
        before = contents(Path())
        terminal.type(b"fake-new\n")
        terminal.expect("Repeat the value: ")
        terminal.type(b"fake-new\n")

        assert terminal.end() == 1, swap
        assert "secrets/api_key" in terminal.shown
        assert contents(Path()) == before
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def test_a_file_that_appears_at_the_prompt_is_not_overwritten(start: Start) -> None:
    """It was to be created."""
    terminal = start("TOKEN", "--create")
    terminal.expect("New value of TOKEN: ")
    Path("secrets/token").write_bytes(b"fake-other")
    terminal.type(b"fake-new\n")
    terminal.expect("Repeat the value: ")
    terminal.type(b"fake-new\n")

    assert terminal.end() == 1
    assert contents(Path("secrets")) == {"api_key": b"fake-old", "token": b"fake-other"}


def test_a_directory_that_becomes_a_link_at_the_prompt_is_not_followed(start: Start) -> None:
    """The directory itself, or one above it."""
    for to, swapped in (("secrets", "secrets"), ("a/secrets", "a")):
        Path(to).mkdir(0o700, parents=True, exist_ok=True)
        Path("elsewhere/secrets").mkdir(0o700, parents=True, exist_ok=True)
        terminal = start("TOKEN", "--create", "--to", to)
        terminal.expect("New value of TOKEN: ")
        Path(swapped).rename(f"{swapped}.old")
        Path(swapped).symlink_to("elsewhere")
        terminal.type(b"fake-new\n")
        terminal.expect("Repeat the value: ")
        terminal.type(b"fake-new\n")

        assert terminal.end() == 1
        assert "was changed by another process" in terminal.shown
        assert contents(Path("elsewhere")) == {}


def test_a_directory_that_is_removed_at_the_prompt_is_an_error(start: Start) -> None:
    """The working directory, or that of the file; one line, no traceback."""
    home = Path.cwd()
    for removed in ("here", "secrets"):
        here = home / "here"
        here.mkdir(exist_ok=True)
        os.chdir(here)
        terminal = start("API_KEY", "--to", f"{home}/secrets")
        os.chdir(home)
        terminal.expect("New value of API_KEY: ")
        shutil.rmtree(home / removed)
        terminal.type(b"fake-new\n")
        terminal.expect("Repeat the value: ")
        terminal.type(b"fake-new\n")

        assert terminal.end() == 1, terminal.shown
        assert "Nothing was changed: " in terminal.shown
        assert "Traceback" not in terminal.shown
