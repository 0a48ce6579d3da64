"""Scrubbing: values removed from objects, exceptions, structures and log records."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hive_boot.redaction.matcher import MASK

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from hive_boot.redaction.matcher import Matcher

UNPRINTABLE = "<it cannot be shown>"
"""What stands for an object that fails to say what it is."""


class _FixedText:
    """Says what it was told to say."""

    says = shows = UNPRINTABLE

    def __str__(self) -> str:
        return self.says

    def __repr__(self) -> str:
        return self.shows


def as_text(value: object, how: Callable[[object], str]) -> str:
    """Give what ``str`` or ``repr`` makes of something, or say that it cannot be shown."""
    try:
        return how(value)
    except Exception:  # noqa: BLE001  (it is somebody else's code that speaks)
        return UNPRINTABLE


def redacted_object(value: object, matcher: Matcher) -> object:
    """Give what is shown in the place of ``value``: ``value`` itself when it tells no value."""
    says, shows = as_text(value, str), as_text(value, repr)
    shown = _FixedText()
    shown.says, shown.shows = matcher.scrub(says), matcher.scrub(shows)
    return value if shown.says is says and shown.shows is shows else shown


def exception_texts(exc: BaseException) -> list[str]:
    """Give everything that an exception says, and those that it comes from or consists of."""
    found: list[str] = []
    todo: list[BaseException | None] = [exc]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            found += _own_texts(each)
            todo += [each.__cause__, each.__context__, *_members(each)]
    return found


def _own_texts(exc: BaseException) -> list[str]:
    """Give what an exception says itself."""
    code = [as_text(exc.text, str)] if isinstance(exc, SyntaxError) else []
    notes = [as_text(note, str) for note in _notes(exc)]
    return [as_text(exc, str), as_text(exc, repr), *notes, *code]


def redacted_exception(exc: BaseException, matcher: Matcher) -> BaseException:
    """Give what is shown in the place of ``exc``: ``exc`` itself when it tells no value."""
    return _stand_in(exc, matcher, {})


def _stand_in(
    exc: BaseException, matcher: Matcher, known: dict[int, BaseException]
) -> BaseException:
    """Give the stand-in of one of several exceptions that may lead to each other."""
    if id(exc) in known:
        return known[id(exc)]
    # One may lead back to it; a group can be made only when its members are there.
    shown = known[id(exc)] = _speaker(exc, matcher, _builtin(type(exc)), ())
    cause = exc.__cause__ and _stand_in(exc.__cause__, matcher, known)
    context = exc.__context__ and _stand_in(exc.__context__, matcher, known)
    members = [_stand_in(member, matcher, known) for member in _members(exc)]
    led_by = [exc.__cause__, exc.__context__, *_members(exc)]
    alike = all(new is old for new, old in zip([cause, context, *members], led_by, strict=True))
    if alike and all(matcher.scrub(text) is text for text in _own_texts(exc)):
        known[id(exc)] = exc
        return exc
    if members:
        group = next(kind for kind in type(exc).__mro__ if kind in _GROUPS)
        message = matcher.scrub(as_text(getattr(exc, "message", ""), str))
        shown = known[id(exc)] = _speaker(exc, matcher, group, (message, members))
    for note in _notes(exc):
        shown.add_note(matcher.scrub(as_text(note, str)))
    shown.__cause__, shown.__context__ = cause, context
    shown.__suppress_context__ = exc.__suppress_context__
    return shown.with_traceback(exc.__traceback__)


_GROUPS = (ExceptionGroup, BaseExceptionGroup)


def _builtin(kind: type[BaseException]) -> type[BaseException]:
    """Give the nearest class that is Python's own, so that no code of the program's runs."""
    found: type[BaseException] = next(
        base
        for base in kind.__mro__
        if issubclass(base, BaseException)
        and getattr(builtins, base.__name__, None) is base
        and not issubclass(base, _GROUPS)
    )
    return found


def _speaker(
    exc: BaseException, matcher: Matcher, base: type[BaseException], arguments: tuple[object, ...]
) -> BaseException:
    """Make an exception that is called and speaks as ``exc``, without the values."""
    kind = type(exc)
    names = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "says": matcher.scrub(as_text(exc, str)),
        "shows": matcher.scrub(as_text(exc, repr)),
    }
    shown: BaseException = base.__new__(type(kind.__name__, (_FixedText, base), names), *arguments)
    shown.args = arguments or (str(shown),)
    if isinstance(exc, SyntaxError) and isinstance(shown, SyntaxError):
        # A traceback shows the line as well.
        for name in ("filename", "lineno", "offset", "end_lineno", "end_offset"):
            setattr(shown, name, getattr(exc, name))
        shown.msg = matcher.scrub(as_text(exc.msg, str))
        shown.text = exc.text and matcher.scrub(as_text(exc.text, str))
    return shown


def _notes(exc: BaseException) -> Sequence[object]:
    notes = getattr(exc, "__notes__", ())
    return notes if isinstance(notes, Sequence) else []


def _members(exc: BaseException) -> Sequence[BaseException]:
    return exc.exceptions if isinstance(exc, BaseExceptionGroup) else ()


_CONTAINERS = (dict, list, tuple, set, frozenset)


_SILENT = (bool, int, float, complex, type(None), type, TracebackType)
"""What says nothing of its own accord that could hold a value; a number does in a message."""


def collect_texts(value: object, *, objects: bool = False) -> list[str]:
    """Give every text in ``value``, at any depth; of bytes the text that Latin-1 makes of them.

    Args:
        value: what to look through.
        objects: whether what an object says of itself is a text, too. Default False.
    """
    found: list[str] = []
    todo = [value]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, bytes | bytearray):
            found.append(each.decode("latin-1"))
        elif isinstance(each, _CONTAINERS):
            if id(each) not in seen:
                seen.add(id(each))
                todo += [*each, *each.values()] if isinstance(each, dict) else each
        elif objects and not isinstance(each, _SILENT):
            found.append(as_text(each, repr))
            if type(each).__str__ is not object.__str__:
                found.append(as_text(each, str))
    return found


def redact_structure(value: Any, matcher: Matcher, *, objects: bool = False) -> Any:  # noqa: ANN401  (a text gives a text, a dict a dict)
    """Give ``value`` without the values in it; ``value`` itself when there are none.

    Args:
        value: what to look through.
        matcher: what finds the values.
        objects: whether an object that tells a value is replaced. Default False.
    """
    if isinstance(value, str):
        return matcher.scrub(value)
    if all(matcher.scrub(text) is text for text in collect_texts(value, objects=objects)):
        return value
    try:
        return _StructureCopier(matcher, objects=objects).rebuilt(value)
    except RecursionError:
        # It is nested deeper than Python goes.
        return MASK


class _StructureCopier:
    """Makes one structure anew; what contains itself is cut there.

    Args:
        matcher: what finds the values.
        objects: whether an object that tells a value is replaced.
    """

    def __init__(self, matcher: Matcher, *, objects: bool) -> None:
        self._matcher = matcher
        self._objects = objects
        self._made: dict[int, tuple[object, Any]] = {}

    def rebuilt(self, value: Any) -> Any:  # noqa: ANN401  (as above)
        """Give ``value`` without the values in it."""
        if isinstance(value, str):
            return self._matcher.scrub(value)
        if isinstance(value, bytes | bytearray):
            return type(value)(self._matcher.scrub(value.decode("latin-1")).encode("latin-1"))
        if isinstance(value, _CONTAINERS):
            if id(value) not in self._made:
                # What it contains may be itself. It is kept, so that its identity is.
                self._made[id(value)] = (value, MASK)
                members = list(value.items() if isinstance(value, dict) else value)
                anew = _rebuild_container(value, [self.rebuilt(each) for each in members])
                self._made[id(value)] = (value, anew)
            return self._made[id(value)][1]
        said = self._objects and not isinstance(value, _SILENT)
        return redacted_object(value, self._matcher) if said else value


def _rebuild_container(value: Any, members: list[Any]) -> Any:  # noqa: ANN401  (as above)
    """Make a container such as ``value`` is of other members."""
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(members)
    kind = next(kind for kind in _CONTAINERS if isinstance(value, kind))
    if kind is dict and type(value) is not dict:
        return _rebuild_mapping(value, dict(members))
    return kind(members)


def _rebuild_mapping(value: dict[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    """Give a dict of the same class: one that servers log with has a look-up of its own."""
    try:
        anew = copy(value)
        if anew is not value:
            anew.clear()
            anew.update(items)
            return anew
    except Exception:  # noqa: BLE001  (it is somebody else's code that speaks)
        return items
    return items


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
    holds = [value for name, value in record.__dict__.items() if name not in _HARMLESS]
    found = [message, *record.__dict__, *collect_texts(holds, objects=True)]
    if record.exc_info and record.exc_info[1] is not None:
        found += exception_texts(record.exc_info[1])
    if matcher.is_clean("\n".join(found)):
        return
    for name, value in list(record.__dict__.items()):
        if name != "exc_info":
            del record.__dict__[name]
            record.__dict__[matcher.scrub(name)] = redact_structure(value, matcher, objects=True)
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
    except Exception:  # noqa: BLE001  (it is somebody else's code that speaks)
        return UNPRINTABLE
