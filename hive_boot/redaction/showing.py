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

REPLACED = "hive_boot could not scrub what belongs here, so it is not shown"


def shown_for(it: T, matcher: Matcher) -> T:
    """Give what is shown in the place of an exception or another object."""
    try:
        from hive_boot.redaction.standins import (  # noqa: PLC0415  (many show nothing)
            in_its_place,
            stand_in,
        )

        make: Any = stand_in if isinstance(it, BaseException) else in_its_place
        shown: T = make(it, matcher)
    except Exception:  # noqa: BLE001  (whatever it is, the object must not pass)
        failed: Any = RuntimeError(REPLACED)
        return failed  # type: ignore[no-any-return]
    return shown


def redacted(text: str) -> str:
    """Give a text without the values in it."""
    try:
        return hidden.redact(text)
    except Exception:  # noqa: BLE001  (whatever it is, the text must not pass)
        return f"{REPLACED}\n"


def trace(exc: BaseException) -> str:
    """Give a traceback. A stand-in is shown, because a group's lines are written indented."""
    matcher = hidden.matcher
    shown = exc if matcher is None else shown_for(exc, matcher)
    return "".join(traceback.format_exception(shown))


def say(write: Callable[[Any], str], it: object) -> None:
    """Write to stderr what ``write`` makes of ``it``, scrubbed, if there is a stderr."""
    try:
        text = write(it)
    except Exception:  # noqa: BLE001  (it is somebody else's code that speaks)
        text = f"{REPLACED}\n"
    write_stderr(redacted(text))
