"""The parser of a command: its help page, and the texts of system errors."""

import fcntl
import pty
import struct
import sys
import termios

import pytest

from hive_boot.cli.terminal import Parser, os_error_text


def widest_line(parser: Parser) -> int:
    """Return the width of the widest line of a help page."""
    return max(map(len, parser.format_help().splitlines()))


def parser() -> Parser:
    """Return a parser whose help page fills any width."""
    parser = Parser("check", "Check.", example="hive-boot check a:b")
    parser.add_argument("--long", help="words " * 60)
    return parser


def test_a_page_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """COLUMNS counts, within limits that can be read."""
    for columns, most in (("50", 48), ("20", 38), ("300", 98), ("", 78), ("many", 78), ("0", 78)):
        monkeypatch.setenv("COLUMNS", columns)
        assert most - 10 < widest_line(parser()) <= most, columns


def test_a_page_asks_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without COLUMNS the size of a real terminal counts."""
    monkeypatch.delenv("COLUMNS", raising=False)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with open(slave, "w", encoding="utf-8") as terminal, open(master, "rb"):  # noqa: PTH123  (descriptors)
        monkeypatch.setattr(sys, "stdout", terminal)
        widest = widest_line(parser())
        monkeypatch.undo()
    assert 48 < widest <= 58


def test_the_text_of_a_system_error_has_no_path() -> None:
    """Also of an error that was made without a text."""
    assert os_error_text(PermissionError(13, "Permission denied", "x")) == "Permission denied"
    assert os_error_text(OSError(2, "")) == "No such file or directory"
