"""The arguments of a command, and the page that explains them."""

import sys

import pytest

from hive_boot.cli.usage import Parser, reason


def page(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Give the help page of a command."""
    parser = Parser("check", "Judge.", example="hive-boot check a:b")
    parser.add_argument("--long", help="words " * 60)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("columns", "most"), [("50", 48), ("20", 38), ("300", 98), ("", 78), ("many", 78), ("0", 78)]
)
def test_a_page_is_as_wide_as_the_terminal(
    columns: str, most: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """COLUMNS says it; no narrower and no wider than can be read."""
    monkeypatch.setenv("COLUMNS", columns)
    widest = max(map(len, page(capsys)))
    assert most - 10 < widest <= most


def test_a_page_asks_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a real terminal answers counts when no variable says it."""
    import fcntl  # noqa: PLC0415  (beside what it is for)
    import pty  # noqa: PLC0415
    import struct  # noqa: PLC0415
    import termios  # noqa: PLC0415

    monkeypatch.delenv("COLUMNS", raising=False)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with open(slave, "w", encoding="utf-8") as terminal, open(master, "rb"):  # noqa: PTH123  (descriptors)
        monkeypatch.setattr(sys, "stdout", terminal)
        parser = Parser("check", "words " * 60, example="x")
        parser.add_argument("--long", help="words " * 60)
        lines = parser.format_help().splitlines()
        monkeypatch.undo()
    assert 48 < max(len(line) for line in lines if "words words" not in line[:12]) <= 58


def test_the_system_says_what_is_wrong() -> None:
    """In its own words, also where an error came without any."""
    assert reason(PermissionError(13, "Permission denied")) == "Permission denied"
    assert reason(OSError(2, "")) == "No such file or directory"
