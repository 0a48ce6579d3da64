"""Command-line arguments, exit statuses and the errors of a command.

Exit statuses: 0 success, 1 failure (a failed probe, a differing file, a finding), and after
BSD's ``sysexits.h`` 64 ``EX_USAGE``, 70 ``EX_SOFTWARE``, 78 ``EX_CONFIG``.
"""

from __future__ import annotations

import argparse
import os
import sys

TYPE_CHECKING = False  # importing typing takes as long as all of a probe
if TYPE_CHECKING:
    from typing import NoReturn

_DEFAULT_WIDTH = 80

EXIT_FAILURE = 1
EXIT_USAGE = 64


class UsageError(Exception):
    """The command line is invalid; the text says what to type instead. Exit 64."""


class CommandError(Exception):
    """The command is valid, and was refused or failed. Exit 1."""


class Parser(argparse.ArgumentParser):
    """The argument parser of one command.

    Args:
        command: its name; empty for ``hive-boot`` itself.
        about: what it does, in a sentence or two.
        example: command lines to type, one line each.
    """

    def __init__(self, command: str, about: str, *, example: str) -> None:
        # Each example is indented here: argparse would join the lines into a paragraph.
        examples = "\n".join(f"  {line.strip()}" for line in example.strip().splitlines())
        super().__init__(
            prog=f"hive-boot {command}".strip(),
            description=about,
            epilog=f"example:\n{examples}",
            formatter_class=_formatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise a usage error; argparse itself would exit with 2.

        Raises:
            UsageError: always.
        """
        text = f"{message}\n{self.format_usage().rstrip()}"
        raise UsageError(text)

    def add_app(self, *, optional: bool = False) -> None:
        """Add ``APP``, which :func:`hive_boot.cli.app_loader.load_application` takes."""
        self.add_argument(
            *(["--app"] if optional else ["app"]),
            metavar="APP",
            help="the declaration, as package.module:boot or package.module:HiveSecrets",
        )

    def add_json(self) -> None:
        """Add ``--json``."""
        self.add_argument("--json", action="store_true", help="print JSON, for programs")


def os_error_text(exc: OSError) -> str:
    """Return the system's message of an error, without the path."""
    return exc.strerror or os.strerror(exc.errno or 0)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return a formatter with a width, because argparse imports shutil to find one."""
    try:
        width = int(os.environ.get("COLUMNS", "")) or _DEFAULT_WIDTH
    except ValueError:
        try:
            width = os.get_terminal_size(sys.stdout.fileno()).columns or _DEFAULT_WIDTH
        except (AttributeError, OSError, ValueError):
            width = _DEFAULT_WIDTH
    return argparse.RawDescriptionHelpFormatter(prog, width=max(40, min(width, 100) - 2))
