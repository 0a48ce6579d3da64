"""Take values out of a log record, wherever in it they are.

Records are changed in place, because whoever looks at one next (a handler, a filter, an
error tracker) has the same object. A record without a value is left as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.redaction.standins import UNPRINTABLE, exception_texts, redacted_exception
from hive_boot.redaction.structures import collect_texts, redact_structure

if TYPE_CHECKING:
    import logging

    from hive_boot.redaction.matching import Matcher


_HARMLESS = frozenset(
    {
        "created",
        "exc_info",
        "filename",
        "funcName",
        "levelname",
        "levelno",
        "lineno",
        "module",
        "msecs",
        "pathname",
        "process",
        "processName",
        "relativeCreated",
        "thread",
    }
)
"""Attributes of a record that are not a program's to choose, or are looked at by themselves."""


def redact_record(record: logging.LogRecord, matcher: Matcher) -> None:
    """Take the values out of ``record``.

    Raises:
        Exception: it cannot be done. Then the record must not pass.
    """
    message = _message(record)
    holds = [it for name, it in record.__dict__.items() if name not in _HARMLESS]
    found = [message, *record.__dict__, *collect_texts(holds, objects=True)]
    if record.exc_info and record.exc_info[1] is not None:
        found += exception_texts(record.exc_info[1])
    if matcher.is_clean("\n".join(found)):
        return
    for name, it in list(record.__dict__.items()):
        if name != "exc_info":
            del record.__dict__[name]
            record.__dict__[matcher.scrub(name)] = redact_structure(it, matcher, objects=True)
    if record.exc_info and record.exc_info[1] is not None:
        shown = redacted_exception(record.exc_info[1], matcher)
        record.exc_info = (type(shown), shown, record.exc_info[2])
    again = _message(record)
    # What tells nothing by itself may tell it together, and `%d` takes no text.
    if message is not UNPRINTABLE and (again is UNPRINTABLE or matcher.scrub(again) is not again):
        record.msg, record.args = matcher.scrub(message), ()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  (arguments that do not fit are the handler's to complain of)
        return UNPRINTABLE
