"""Command-line arguments, exit statuses and the errors of a command.

Exit statuses: 0 success; 1 failure (a failed probe, a differing file, a finding); and from
BSD's ``sysexits.h`` 64 ``EX_USAGE``, 70 ``EX_SOFTWARE``, 75 ``EX_TEMPFAIL`` and
78 ``EX_CONFIG``.
"""

from __future__ import annotations

import argparse
import os
import sys

from hive_boot._output import escape_controls

TYPE_CHECKING = False  # typing takes as long to import as the rest of a probe
if TYPE_CHECKING:
    from typing import NoReturn

_DEFAULT_WIDTH = 80

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
    """A signal ends the command as Ctrl-C does; its number is the argument."""


def raise_terminated(number: int, _frame: object) -> NoReturn:
    """Raise :class:`Terminated`; the handler of a signal.

    Raises:
        Terminated: always.
    """
    raise Terminated(number)


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
            formatter_class=_formatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with the usage line; argparse itself exits with status 2.

        Raises:
            UsageError: always.
        """
        raise UsageError(message, *self.format_usage().rstrip().split("\n"))

    def add_app(self, *, optional: bool = False) -> None:
        """Add ``APP`` for :func:`hive_boot.cli.app_loader.load_application`, or ``--app APP``."""
        self.add_argument(
            *(["--app"] if optional else ["app"]),
            metavar="APP",
            help="Bootstrap or SecretSet, as package.module:boot or package.module:AppSecrets",
        )

    def add_json(self) -> None:
        """Add the flag ``--json``."""
        self.add_argument("--json", action="store_true", help="print JSON instead of text")


def os_error_text(exc: OSError) -> str:
    """Return the message of the operating system for an error, without the path."""
    return exc.strerror or os.strerror(exc.errno or 0)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return a formatter with an explicit width; without one argparse imports shutil."""
    try:
        width = int(os.environ.get("COLUMNS", "")) or _DEFAULT_WIDTH
    except ValueError:
        try:
            width = os.get_terminal_size(sys.stdout.fileno()).columns or _DEFAULT_WIDTH
        except (AttributeError, OSError, ValueError):
            width = _DEFAULT_WIDTH
    return argparse.RawDescriptionHelpFormatter(prog, width=max(40, min(width, 100) - 2))
