"""Output that never raises: log lines, and text on stderr of a process that may be ending.

A handler for signals does not use this module, because the code that it interrupts may hold
the lock of ``sys.stderr``.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging


def write_stderr(text: str) -> None:
    """Write a text to stderr, and flush it, if there is a stderr that takes it.

    Args:
        text: what is written, as it is: secrets are not taken out of it.
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
    **more: Any,  # noqa: ANN401  (the logger's)
) -> None:
    """Log a message; a filter or a handler of the application that raises ends nothing.

    The record names the caller of this function.

    Args:
        level: the level.
        text: the message, with the places of ``args`` in it.
        *args: what the message is formatted with.
        logger: the logger.
        **more: what ``Logger.log`` takes besides: ``exc_info``, ``extra``.
    """
    with suppress(Exception):
        logger.log(level, text, *args, stacklevel=2, **more)
