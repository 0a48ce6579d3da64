"""The output of a command: in a file, on a terminal, without colours, with and without rich."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from hive_boot import cli
from tests.support import child_environment

SHOW = """
import sys
from hive_boot.cli import Cell, print_line, print_table
{before}
rows = [
    [Cell("JWT_SECRET", "bold"), Cell("missing", "red")],
    [Cell("SENTRY_DSN"), Cell("in a place with a name that is much too long for one line " * 2)],
]
print_table(("NAME", "PROBLEM"), rows)
print_table(("NAME", "PROBLEM"), [])
print_line(Cell("done", "green"))
"""


def on_terminal(source: str, columns: int = 80, **variables: str) -> str:
    """Run a program on a terminal of so many columns, and return what it prints there."""
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
    """No colours, no lines, no spaces at the ends of lines."""
    rows = [[cli.Cell("JWT_SECRET", "bold"), cli.Cell("missing", "red")]]
    cli.print_table(("NAME", "PROBLEM"), rows)
    cli.print_table(("NAME", "PROBLEM"), [])
    assert capsys.readouterr().out == ("NAME        PROBLEM\nJWT_SECRET  missing\nNAME  PROBLEM\n")


def test_a_terminal_without_rich_gets_columns_in_colour() -> None:
    """The extra adds no content."""
    shown = on_terminal(SHOW.format(before=WITHOUT_RICH))
    assert "\x1b[1mNAME        PROBLEM\x1b[0m\n" in shown
    assert "\x1b[1mJWT_SECRET\x1b[0m  \x1b[31mmissing\x1b[0m\n" in shown
    assert shown.endswith("\x1b[32mdone\x1b[0m\n")


@pytest.mark.parametrize(
    ("before", "columns", "variables"),
    [
        ("", 80, {"NO_COLOR": "1"}),
        ("", 120, {"TERM": "dumb"}),
        (WITHOUT_RICH, 80, {"TERM": "dumb"}),
    ],
    ids=["rich", "rich-dumb", "dumb"],
)
def test_no_colour_means_no_colour(before: str, columns: int, variables: dict[str, str]) -> None:
    """With rich and without; rich folds a long text inside its column."""
    shown = on_terminal(SHOW.format(before=before), columns, **variables)
    assert "JWT_SECRET" in shown
    assert "\x1b[3" not in shown
    if not before:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
        assert max(map(len, lines)) <= columns
        assert len(lines) > 5


def test_json_is_printed_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """Indented, for people who read it too."""
    cli.print_json({"who": "Jürgen"})
    assert capsys.readouterr().out == '{\n  "who": "J\\u00fcrgen"\n}\n'


def test_a_number_that_json_does_not_have_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    """NaN and Infinity (https://www.rfc-editor.org/rfc/rfc8259#section-6)."""
    cli.print_json({"uptime": float("nan"), "ages": [float("inf"), -float("inf"), 0.1, None]})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "uptime": None,
        "ages": [None, None, 0.1, None],
    }


def test_output_without_streams_does_not_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon may have neither stdout nor stderr."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    cli.print_error("nothing")
    assert not cli.is_colored()
