"""Show something to a person, or say that it is not shown.

What cannot be scrubbed is replaced: that a line is missing is told, and that a value got
out could not be taken back. The scrubbing itself is imported when there is something to
show, which at the end of a process may be too late: that, too, must not let a value pass.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, TypeVar

from hive_boot._output import write_stderr
from hive_boot.redaction import hidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot.redaction.matching import Matcher

T = TypeVar("T")

REDACTION_FAILED = "hive_boot could not scrub what belongs here, so it is not shown"


def redacted_copy(value: T, matcher: Matcher) -> T:
    """Give what is shown in the place of an exception or another object."""
    try:
        from hive_boot.redaction.standins import (  # noqa: PLC0415  (many show nothing)
            redacted_exception,
            redacted_object,
        )

        make: Any = redacted_exception if isinstance(value, BaseException) else redacted_object
        shown: T = make(value, matcher)
    except Exception:  # noqa: BLE001  (whatever it is, the object must not pass)
        failed: Any = RuntimeError(REDACTION_FAILED)
        return failed  # type: ignore[no-any-return]
    return shown


def redact_safely(text: str) -> str:
    """Give a text without the values in it."""
    try:
        return hidden.redact(text)
    except Exception:  # noqa: BLE001  (whatever it is, the text must not pass)
        return f"{REDACTION_FAILED}\n"


def format_redacted_traceback(exc: BaseException) -> str:
    """Give a traceback. A stand-in is shown, because a group's lines are written indented."""
    matcher = hidden.matcher
    shown = exc if matcher is None else redacted_copy(exc, matcher)
    return "".join(traceback.format_exception(shown))


def write_redacted(write: Callable[[Any], str], value: object) -> None:
    """Write to stderr what ``write`` makes of ``value``, scrubbed, if there is a stderr."""
    try:
        text = write(value)
    except Exception:  # noqa: BLE001  (it is somebody else's code that speaks)
        text = f"{REDACTION_FAILED}\n"
    write_stderr(redact_safely(text))
