"""Command line: what commands share, which is arguments, exit statuses, errors and output.

Exit statuses: 0 success; 1 failure (a failed probe, a differing file, a finding); and from
BSD's ``sysexits.h`` 64 ``EX_USAGE``, 69 ``EX_UNAVAILABLE``, 70 ``EX_SOFTWARE``,
75 ``EX_TEMPFAIL`` and 78 ``EX_CONFIG``.

Text and JSON go to stdout, errors to stderr. Control characters are escaped in each of them,
except in text of :func:`print_text`. Colours are used only on a terminal, and never when
``NO_COLOR`` is set (https://no-color.org). Tables are drawn by rich when rich is installed and
stdout is a terminal, otherwise as plain columns.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial

from hive_boot._output import escape_controls, is_terminal, write_stderr

TYPE_CHECKING = False  # typing takes as long to import as the rest of a probe
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_WIDTH = 78
"""Width of a help page."""

EXIT_FAILURE = 1
EXIT_USAGE = 64


class _LinesError(Exception):
    """An error whose arguments are the lines of its message; control characters are escaped."""

    def __str__(self) -> str:
        """Return the lines."""
        return "\n".join(escape_controls(str(line)) for line in self.args)


class UsageError(_LinesError):
    """The command line is invalid. The message states the valid form."""

    exit_code = EXIT_USAGE


class CommandError(_LinesError):
    """The command line is valid, but the command was refused or failed."""

    exit_code = EXIT_FAILURE


class Terminated(KeyboardInterrupt):
    """Raised by a signal, to end the command as Ctrl-C does; the argument is its number."""


def raise_terminated(number: int, _frame: object) -> NoReturn:
    """Raise :class:`Terminated`; the handler of a signal.

    Raises:
        Terminated: always.
    """
    raise Terminated(number)


class _Once(argparse.Action):
    """Stores a value; a second one would replace it, which is not what its user expects."""

    _given_in: argparse.Namespace | None = None

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option: str | None = None,
    ) -> None:
        if option and self._given_in is namespace:
            parser.error(f"{option} was given more than once")
        self._given_in = namespace
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """The argument parser of one command.

    Args:
        command: the name of the command; empty for ``hive-boot`` itself.
        about: the description at the top of the help text.
        example: example command lines, one per line.
    """

    def __init__(self, command: str, about: str, *, example: str) -> None:
        examples = "\n".join(f"  {line.strip()}" for line in example.strip().splitlines())
        super().__init__(
            prog=f"hive-boot {command}".strip(),
            description=about,
            epilog=f"example:\n{examples}",
            # Without a width argparse imports shutil.
            formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=_WIDTH),
            allow_abbrev=False,
        )
        self.register("action", None, _Once)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with the usage line; argparse itself exits with status 2.

        Raises:
            UsageError: always.
        """
        raise UsageError(message, *self.format_usage().rstrip().split("\n"))

    def add_app(self, *, optional: bool = False) -> None:
        """Add ``APP`` for :func:`hive_boot.cli.app_loader.load_application`, or ``--app APP``."""
        about = "Bootstrap or SecretSet, as package.module:boot or package.module:AppSecrets"
        self.add_argument("--app" if optional else "app", metavar="APP", help=about)

    def add_directory(self, about: str) -> None:
        """Add ``--to DIR``, with what the directory is for."""
        about = f"{about} (default: %(default)s)"
        self.add_argument("--to", default="secrets", metavar="DIR", help=about)

    def add_json(self) -> None:
        """Add the flag ``--json``."""
        self.add_argument("--json", action="store_true", help="print JSON instead of text")


def os_error_text(exc: OSError) -> str:
    """Return the message of the operating system for an error, without the path."""
    return exc.strerror or os.strerror(exc.errno or 0)


_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Cell:
    """A cell of a table, or a part of a line, with a style.

    Attributes:
        text: the text, with control characters escaped.
        style: ``bold``, ``dim``, ``red``, ``green`` or ``yellow``; empty for none.
    """

    __slots__ = ("style", "text")

    def __init__(self, text: str, style: str = "") -> None:
        self.text: str = escape_controls(text)
        self.style: str = style

    def __str__(self) -> str:
        """Return the text with the escape codes of its style if colours are enabled."""
        if self.style and is_colored():
            return f"\x1b[{_CODES[self.style]}m{self.text}\x1b[0m"
        return self.text


def print_line(*parts: str | Cell) -> None:
    """Write one line to stdout: the parts, without a separator."""
    print_text("".join(str(part if isinstance(part, Cell) else Cell(part)) for part in parts))


def print_text(text: str) -> None:
    """Write a text to stdout as it is, and a line break.

    Raises:
        CommandError: stdout cannot be written, for example because the disk is full.
        BrokenPipeError: the process that reads stdout has closed the pipe.
    """
    try:
        print(text, flush=True)  # noqa: T201  (the output of a command)
    except BrokenPipeError:
        raise
    except OSError as exc:
        message = f"Output cannot be written to stdout: {os_error_text(exc).lower()}"
        raise CommandError(message) from None


def print_json(facts: object) -> None:
    """Write JSON to stdout, in ASCII, which every encoding of stdout can represent."""
    import json  # only for --json

    finite = json.loads(json.dumps(facts), parse_constant=lambda _: None)  # JSON has no NaN
    print_text(escape_controls(json.dumps(finite, indent=2), keep_lines=True))


def print_error(text: str) -> None:
    """Write a text, whose control characters are escaped already, to stderr.

    Errors of the write are ignored: a closed stderr must not change the exit status.
    """
    write_stderr(f"hive-boot: {text}\n")


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Write a table to stdout.

    Args:
        headers: the column names.
        rows: the rows, with one cell per column.
    """
    if is_terminal(sys.stdout) and _draw_with_rich(headers, rows):
        return
    widths = [
        max([len(header), *(len(row[column].text) for row in rows)])
        for column, header in enumerate(headers)
    ]
    head = "  ".join(f"{header:<{width}}" for header, width in zip(headers, widths, strict=True))
    print_line(Cell(head.rstrip(), "bold"))
    for row in rows:
        line = "  ".join(
            f"{cell}{' ' * (width - len(cell.text))}"
            for cell, width in zip(row, widths, strict=True)
        )
        print_text(line.rstrip())


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 file``, ``2 files``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def is_colored() -> bool:
    """Return whether colours are enabled: a terminal, no ``NO_COLOR``, ``TERM`` not dumb."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return is_terminal(sys.stdout)


def _draw_with_rich(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> bool:
    """Print a table with rich, which wraps long cells; return False if rich is not installed."""
    try:
        from rich import box, console, table, text  # an extra, only for a terminal
    except ImportError:
        return False
    drawn = table.Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        drawn.add_column(header, overflow="fold")
    for row in rows:
        drawn.add_row(*(text.Text(cell.text, style=cell.style) for cell in row))
    console.Console(highlight=False).print(drawn)
    return True
