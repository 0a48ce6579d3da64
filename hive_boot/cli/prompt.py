"""Input of a new secret value: from a pipe or a prompt, never from an argument."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from hive_boot.cli.arguments import CommandError, UsageError
from hive_boot.cli.secret_files import decode_value, value_problem
from hive_boot.secrets.sources.reading import LIMIT, NOT_UTF_8

if TYPE_CHECKING:
    from hive_boot.secrets.field import Field
    from hive_boot.secrets.sources.reading import Value

_MOST_BYTES = LIMIT + 3
"""Enough to tell a value that is too large, with a byte order mark or a final ``\\r\\n``."""


def read_new_value(field: Field) -> Value:
    """Read the new value of a secret from stdin; with a prompt when stdin is a terminal.

    A pipe is decoded as a start decodes a file: one byte order mark and one final newline
    are removed from a text, and nothing from SecretBytes.

    Raises:
        UsageError: there is no stdin.
        CommandError: the input is empty or cannot be a value, or two entries differ.
    """
    if sys.stdin is None:
        message = "there is no stdin to read the new value from"
        raise UsageError(message)
    value = _prompt(field) if sys.stdin.isatty() else decode_value(_read_pipe(), field)
    problem = NOT_UTF_8 if value is None else value_problem(value)
    if problem is not None or value is None:
        message = f"the new value of {field.name} {problem.message if problem else ''}"
        raise CommandError(message)
    return value


def _read_pipe() -> bytes:
    return sys.stdin.buffer.read(_MOST_BYTES)


def _prompt(field: Field) -> Value | None:
    """Read the value twice, without echo."""
    from getpass import GetPassWarning, getpass  # noqa: PLC0415  (only for a terminal)

    failure = ""
    given: list[Value | None] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            # The plain text is in no variable: a traceback with locals would show it.
            given = [
                decode_value(getpass(prompt).encode("utf-8", "surrogateescape"), field)
                for prompt in (f"New value of {field.name}: ", "Once more: ")
            ]
    except EOFError:
        failure = "nothing was typed"
    except GetPassWarning:
        failure = "this terminal would show what is typed: pipe the value in instead"
    if not failure and given[0] != given[1]:
        failure = "the two entries differ"
    if failure:
        message = f"{failure}; {field.name} was not changed"
        raise CommandError(message)
    return given[0]
