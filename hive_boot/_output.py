"""Output that never raises: log records, and text on stderr of a process that may be ending.

A signal handler must not use this module: the code that it interrupts may hold the lock of
``sys.stderr``.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging


def write_stderr(text: str) -> None:
    """Write a text to stderr and flush it; an error of stderr is ignored.

    Args:
        text: the text; it is not redacted.
    """
    # stderr may be None, closed, a full disk, or unable to encode the text.
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def log_safely(
    level: int,
    text: str,
    *args: object,
    logger: logging.Logger,
    **more: Any,  # noqa: ANN401  (the arguments of Logger.log)
) -> None:
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
