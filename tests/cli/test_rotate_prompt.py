"""The input of a new value: from a pipe, or at a real terminal."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hive_boot.cli.arguments import CommandError, UsageError
from hive_boot.cli.rotate import read_new_value
from hive_boot.secrets.fields import Field
from hive_boot.secrets.sources.files import LIMIT
from tests.fixtures.trees import contents
from tests.support import child_environment, everything_told

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
def terminal() -> Iterator[Terminal]:
    """Return a terminal at which a secret is being rotated."""
    place = Path("secrets")
    place.mkdir(0o700)
    (place / "api_key").write_bytes(b"fake-old")
    terminal = Terminal(Path.cwd(), "rotate", "API_KEY")
    yield terminal
    terminal.child.kill()
    terminal.child.wait()


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
