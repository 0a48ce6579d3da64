"""The parser of a command: its help page, and the texts of system errors."""

from hive_boot.cli import Parser, os_error_text


def widest_line(parser: Parser) -> int:
    """Return the width of the widest line of a help page."""
    return max(map(len, parser.format_help().splitlines()))


def parser() -> Parser:
    """Return a parser whose help page fills any width."""
    parser = Parser("check", "Check.", example="hive-boot check a:b")
    parser.add_argument("--long", help="words " * 60)
    return parser


def test_a_page_is_80_columns_wide() -> None:
    """A width of the terminal would need more imports than a probe."""
    assert 68 < widest_line(parser()) <= 78


def test_the_text_of_a_system_error_has_no_path() -> None:
    """Also of an error that was made without a text."""
    assert os_error_text(PermissionError(13, "Permission denied", "x")) == "Permission denied"
    assert os_error_text(OSError(2, "")) == "No such file or directory"
