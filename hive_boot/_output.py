"""Output that never raises: log records, and text on stderr of a process that may be ending.

Also the escapes of control characters, which a path, a name or the text of an exception can
contain: printed to a terminal, they would forge lines and hide text.

A signal handler must not use this module: the code that it interrupts may hold the lock of
``sys.stderr``.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache

TYPE_CHECKING = False  # typing takes as long to import as the rest of a probe
if TYPE_CHECKING:
    import logging
    from typing import Any


def escape_controls(text: str, *, keep_lines: bool = False) -> str:
    """Return a text with its control characters escaped.

    Args:
        text: the text.
        keep_lines: whether line breaks and tabs stay. Default False: the result is one line.
    """
    if text.isprintable():
        return text
    return text.translate(_escapes() | ({9: "\t", 10: "\n"} if keep_lines else {}))


@cache
def _escapes() -> dict[int, str]:
    """Return the escape of each control character, in the form that JSON has too.

    Unicode's line ends and bidirectional controls, which show text in another order than it has,
    are included: https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters
    """
    codes = (
        *(*range(0x20), *range(0x7F, 0xA0)),  # C0, DEL and C1
        *(0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),
        *range(0xDC80, 0xDD00),  # a byte of a file name that is not UTF-8
    )
    return {code: f"\\u{code:04x}" for code in codes} | {9: "\\t", 10: "\\n", 13: "\\r"}


def write_stderr(text: str) -> None:
    """Write a text, unredacted, to stderr and flush it; an error of stderr is ignored."""
    # stderr may be None, closed, a full disk, or unable to encode the text.
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def log_safely(level: int, text: str, *args: object, logger: logging.Logger, **more: Any) -> None:
    """Log a message; an exception of a filter or a handler is ignored.

    The record contains the location of the caller, not of this function.

    Args:
        level: the level.
        text: the message, in %-format.
        *args: the arguments of the message.
        logger: the logger.
        **more: further arguments of ``Logger.log``, such as ``exc_info`` and ``extra``.
    """
    with suppress(Exception):
        logger.log(level, text, *args, stacklevel=2, **more)


def describe(failure: BaseException) -> str:
    """Return type and text of an exception; of a group also those of its first members."""
    if not isinstance(failure, BaseExceptionGroup):
        return _describe_one(failure)
    members: dict[str, None] = {}
    left: list[BaseException] = [failure]  # not recursive: groups may be nested deeply
    while left and len(members) < _MAX_MEMBERS:
        if isinstance(each := left.pop(), BaseExceptionGroup):
            left += reversed(each.exceptions)
        else:
            members[_describe_one(each)] = None
    return f"{_describe_one(failure)}: {'; '.join(members)}"


_MAX_MEMBERS = 3
"""The number of members of an exception group that are described."""


def _describe_one(failure: BaseException) -> str:
    name = type(failure).__name__
    try:
        text = str(failure)
    except BaseException:  # noqa: BLE001  (str() of an exception of the application may raise)
        return name
    return f"{name}: {text}" if text else name
