"""Take a new value from a person or from a pipe; never from an argument."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from hive_boot.cli.secret_files import fault_of, value_in
from hive_boot.cli.usage import Refusal, UsageError
from hive_boot.secrets.sources.reading import LIMIT, NOT_UTF_8

if TYPE_CHECKING:
    from hive_boot.secrets.field import Field
    from hive_boot.secrets.sources.reading import Value

_MOST = LIMIT + 3
"""What a start reads of a text, with a byte order mark, or with a final ``\\r\\n``, and more."""


def ask(field: Field) -> Value:
    """Take the new value of a secret: from stdin, or at a prompt when that is a terminal.

    A pipe is read as a start reads a file: one byte order mark and one final newline are
    taken away from a text, and nothing from SecretBytes.

    Args:
        field: the secret.

    Raises:
        UsageError: there is no stdin.
        Refusal: nothing was given, or it cannot be a value, or two entries differ.
    """
    if sys.stdin is None:
        message = "there is no stdin to read the new value from"
        raise UsageError(message)
    value = _prompted(field) if sys.stdin.isatty() else value_in(_piped(), field)
    fault = NOT_UTF_8 if value is None else fault_of(value)
    if fault is not None or value is None:
        message = f"the new value of {field.name} {fault.message if fault else ''}"
        raise Refusal(message)
    return value


def _piped() -> bytes:
    return sys.stdin.buffer.read(_MOST)


def _prompted(field: Field) -> Value | None:
    """Ask twice, and show nothing of what is typed."""
    from getpass import GetPassWarning, getpass  # noqa: PLC0415  (only for people)

    failure = ""
    given: list[Value | None] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            # In no variable: what is raised here shows those.
            given = [
                value_in(getpass(prompt).encode("utf-8", "surrogateescape"), field)
                for prompt in (f"New value of {field.name}: ", "Once more: ")
            ]
    except EOFError:
        failure = "nothing was typed"
    except GetPassWarning:
        failure = "this terminal would show what is typed: pipe the value in instead"
    if not failure and given[0] != given[1]:
        failure = "the two entries differ"
    if failure:
        message = f"{failure}; {field.name} is what it was"
        raise Refusal(message)
    return given[0]
