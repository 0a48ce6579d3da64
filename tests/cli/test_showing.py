"""How an answer looks: in a file, on a terminal, without colours, with rich and without."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from hive_boot.cli import showing
from tests.support import child_environment

SHOW = """
import sys
from hive_boot.cli.showing import Cell, painted, say, show_table
{before}
rows = [
    [Cell("JWT_SECRET", "bold"), Cell("missing", "red")],
    [Cell("SENTRY_DSN"), Cell("in a place with a name that is much too long for one line " * 2)],
]
show_table(("NAME", "PROBLEM"), rows)
show_table(("NAME", "PROBLEM"), [])
say(painted("done", "green"))
"""


def on_terminal(source: str, columns: int = 80, **variables: str) -> str:
    """Run a program on a terminal of so many columns, and give what it shows there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {"TERM": "xterm", **variables}
    environment = child_environment(**variables)
    environment.pop("COLUMNS", None)
    with subprocess.Popen(
        [sys.executable, "-c", source],
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
    ) as child:
        os.close(slave)
        shown = b""
        while True:
            try:
                chunk = os.read(master, 1 << 16)
            except OSError:  # what Linux says when the other end is closed
                break
            if not chunk:
                break
            shown += chunk
        os.close(master)
        assert child.stderr is not None
        assert child.stderr.read() == b""
    assert child.returncode == 0
    return shown.decode().replace("\r\n", "\n")


WITHOUT_RICH = "sys.modules['rich.box'] = None"


def test_a_file_gets_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """No colour, no line drawing, nothing at the ends of lines."""
    rows = [[showing.Cell("JWT_SECRET", "bold"), showing.Cell("missing", "red")]]
    showing.show_table(("NAME", "PROBLEM"), rows)
    showing.show_table(("NAME", "PROBLEM"), [])
    assert capsys.readouterr().out == ("NAME        PROBLEM\nJWT_SECRET  missing\nNAME  PROBLEM\n")


def test_without_rich_a_terminal_gets_columns_in_colour() -> None:
    """The extra is for looks; nothing is lost without it."""
    shown = on_terminal(SHOW.format(before=WITHOUT_RICH))
    assert "\x1b[1mNAME        PROBLEM\x1b[0m\n" in shown
    assert "\x1b[1mJWT_SECRET\x1b[0m  \x1b[31mmissing\x1b[0m\n" in shown
    assert shown.endswith("\x1b[32mdone\x1b[0m\n")


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
@pytest.mark.parametrize("before", [WITHOUT_RICH, ""])
def test_who_wants_no_colour_gets_none(before: str, variables: dict[str, str]) -> None:
    """NO_COLOR is a promise of every program, with rich and without."""
    shown = on_terminal(SHOW.format(before=before), 80, **variables)
    assert "JWT_SECRET" in shown
    assert "\x1b[3" not in shown


@pytest.mark.parametrize("columns", [80, 120])
def test_with_rich_no_line_is_wider_than_the_terminal(columns: int) -> None:
    """A long text is folded inside its column."""
    shown = on_terminal(SHOW.format(before=""), columns, NO_COLOR="1")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "JWT_SECRET" in shown
    assert max(map(len, shown.splitlines())) <= columns
    assert len(shown.splitlines()) > 5


def test_a_program_gets_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Readable, and in the letters that people write."""
    showing.answer({"who": "Jürgen"})
    assert capsys.readouterr().out == '{\n  "who": "Jürgen"\n}\n'


def test_a_stdout_that_is_gone_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at what is closed, or never was there."""
    monkeypatch.setattr(sys, "stdout", None)
    assert not showing.is_terminal()
