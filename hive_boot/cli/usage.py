"""How a command is told what to do, and how it says no.

The exit statuses: 0 it is so, 1 it is not (a probe that fails, a file that differs), and
after BSD's ``sysexits.h`` 64 ``EX_USAGE``, 70 ``EX_SOFTWARE``, 78 ``EX_CONFIG``.
"""

from __future__ import annotations

import argparse
import os
import sys

TYPE_CHECKING = False  # typing would take as long as all of a probe
if TYPE_CHECKING:
    from typing import NoReturn

_WIDTH = 80

NO = 1
USAGE = 64


class UsageError(Exception):
    """What was typed cannot be done; the text says what to type instead. Exit 64."""


class Refusal(Exception):  # noqa: N818  (nothing has failed: the answer is no)
    """The command was understood, and will not or could not be done. Exit 1."""


class Parser(argparse.ArgumentParser):
    """The arguments of one command.

    Args:
        command: its name; empty for the whole.
        about: what it does, in a sentence or two.
        example: what to type, one line each.
    """

    def __init__(self, command: str, about: str, *, example: str) -> None:
        # Written once more: argparse would set the lines of an example in a row.
        examples = "\n".join(f"  {line.strip()}" for line in example.strip().splitlines())
        super().__init__(
            prog=f"hive-boot {command}".strip(),
            description=about,
            epilog=f"example:\n{examples}",
            formatter_class=_formatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with what was typed.

        Raises:
            UsageError: always.
        """
        text = f"{message}\n{self.format_usage().rstrip()}"
        raise UsageError(text)

    def takes_app(self, *, optional: bool = False) -> None:
        """Have the command take ``APP``, as :func:`hive_boot.cli.applications.find` does."""
        self.add_argument(
            *(["--app"] if optional else ["app"]),
            metavar="APP",
            help="the declaration, as package.module:boot or package.module:HiveSecrets",
        )

    def takes_json(self) -> None:
        """Have the command take ``--json``."""
        self.add_argument("--json", action="store_true", help="answer in JSON, for programs")


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Lay out a help page: argparse would import all of shutil to learn how wide it may be."""
    try:
        width = int(os.environ.get("COLUMNS", "")) or _WIDTH
    except ValueError:
        try:
            width = os.get_terminal_size(sys.stdout.fileno()).columns or _WIDTH
        except (AttributeError, OSError, ValueError):
            width = _WIDTH
    return argparse.RawDescriptionHelpFormatter(prog, width=max(40, min(width, 100) - 2))


def reason(exc: OSError) -> str:
    """Give what the system says is wrong, without the path."""
    return exc.strerror or os.strerror(exc.errno or 0)
