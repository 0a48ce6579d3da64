"""Take values out of a log record, wherever in it they are.

Records are changed in place, because whoever looks at one next (a handler, a filter, an
error tracker) has the same object. A record without a value is left as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.redaction.standins import UNSHOWN, in_its_place, stand_in, told
from hive_boot.redaction.structures import scrubbed, texts

if TYPE_CHECKING:
    import logging

    from hive_boot.redaction.matching import Matcher


def clean(record: logging.LogRecord, matcher: Matcher) -> None:
    """Take the values out of ``record``.

    Raises:
        Exception: it cannot be done. Then the record must not pass.
    """
    if not all(map(matcher.is_clean, _texts(record))):
        _scrub(record, matcher)


def _texts(record: logging.LogRecord) -> list[str]:
    """Give every text in a record, the message too."""
    exc = record.exc_info and record.exc_info[1]
    said = [] if exc is None else told(exc)
    return [*texts(list(record.__dict__.values())), *said, _message(record)]


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  (arguments that do not fit are the handler's to complain of)
        return UNSHOWN


def _scrub(record: logging.LogRecord, matcher: Matcher) -> None:
    known = record.__dict__
    for name, it in list(known.items()):
        known[name] = scrubbed(it, matcher)
    if record.exc_info and record.exc_info[1] is not None:
        shown = stand_in(record.exc_info[1], matcher)
        record.exc_info = (type(shown), shown, record.exc_info[2])
    message = _message(record)
    if matcher.scrub(message) is not message:
        _scrub_objects(record, matcher)
        # Objects that tell nothing by themselves may tell it together, and `%d` takes no text.
        again = _message(record)
        if again is UNSHOWN or matcher.scrub(again) is not again:
            record.msg, record.args = matcher.scrub(message), ()


def _scrub_objects(record: logging.LogRecord, matcher: Matcher) -> None:
    """Put something else in the place of the objects that tell a value as text."""
    record.msg = in_its_place(record.msg, matcher)
    if isinstance(record.args, tuple):
        record.args = tuple(in_its_place(it, matcher) for it in record.args)
    elif record.args:
        record.args = {name: in_its_place(it, matcher) for name, it in record.args.items()}
