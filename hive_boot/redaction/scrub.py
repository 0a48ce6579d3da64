"""Redaction of objects, exceptions, structures and log records."""

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

UNPRINTABLE = "<unprintable object>"
"""Text for an object whose ``str`` or ``repr`` raises."""


class _FixedText:
    """Object with a fixed ``str`` and a fixed ``repr``."""

    str_text = repr_text = UNPRINTABLE

    def __str__(self) -> str:
        return self.str_text

    def __repr__(self) -> str:
        return self.repr_text


def as_text(value: object, convert: Callable[[object], str]) -> str:
    """Return the ``str`` or ``repr`` of an object, or a fixed text if it raises."""
    try:
        return convert(value)
    except Exception:  # noqa: BLE001  (code of the application runs here)
        return UNPRINTABLE


def redacted_object(value: object, matcher: Matcher) -> object:
    """Return an object with the redacted texts of ``value``; ``value`` if they have no secret."""
    str_text, repr_text = as_text(value, str), as_text(value, repr)
    redacted = _FixedText()
    redacted.str_text, redacted.repr_text = matcher.scrub(str_text), matcher.scrub(repr_text)
    is_clean = redacted.str_text is str_text and redacted.repr_text is repr_text
    return value if is_clean else redacted


def exception_texts(exc: BaseException) -> list[str]:
    """Return the texts of an exception, its causes, its contexts and the members of groups."""
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
    """Return the texts of one exception: message, ``repr``, notes, the line of a SyntaxError."""
    code = [as_text(exc.text, str)] if isinstance(exc, SyntaxError) else []
    notes = [as_text(note, str) for note in _notes(exc)]
    return [as_text(exc, str), as_text(exc, repr), *notes, *code]


def redacted_exception(exc: BaseException, matcher: Matcher) -> BaseException:
    """Return a redacted copy of ``exc`` and its chain; ``exc`` itself if they have no secret."""
    return _redacted_copy(exc, matcher, {})


def _redacted_copy(
    exc: BaseException, matcher: Matcher, known: dict[int, BaseException]
) -> BaseException:
    """Return the redacted copy of one exception of a chain, which may contain cycles."""
    if id(exc) in known:
        return known[id(exc)]
    # Recorded before the others, which may refer to it. A group replaces this copy below: its
    # constructor needs the copies of its members.
    redacted = known[id(exc)] = _create_copy(exc, matcher, _builtin(type(exc)), ())
    cause = exc.__cause__ and _redacted_copy(exc.__cause__, matcher, known)
    context = exc.__context__ and _redacted_copy(exc.__context__, matcher, known)
    members = [_redacted_copy(member, matcher, known) for member in _members(exc)]
    originals = [exc.__cause__, exc.__context__, *_members(exc)]
    copies = [cause, context, *members]
    unchanged = all(new is old for new, old in zip(copies, originals, strict=True))
    if unchanged and all(matcher.scrub(text) is text for text in _own_texts(exc)):
        known[id(exc)] = exc
        return exc
    if members:
        group = next(kind for kind in type(exc).__mro__ if kind in _GROUPS)
        message = matcher.scrub(as_text(getattr(exc, "message", ""), str))
        redacted = known[id(exc)] = _create_copy(exc, matcher, group, (message, members))
    for note in _notes(exc):
        redacted.add_note(matcher.scrub(as_text(note, str)))
    redacted.__cause__, redacted.__context__ = cause, context
    redacted.__suppress_context__ = exc.__suppress_context__
    return redacted.with_traceback(exc.__traceback__)


_GROUPS = (ExceptionGroup, BaseExceptionGroup)


def _builtin(kind: type[BaseException]) -> type[BaseException]:
    """Return the nearest built-in base class, so that no code of the application runs."""
    found: type[BaseException] = next(
        base
        for base in kind.__mro__
        if issubclass(base, BaseException)
        and getattr(builtins, base.__name__, None) is base
        and not issubclass(base, _GROUPS)
    )
    return found


def _create_copy(
    exc: BaseException, matcher: Matcher, base: type[BaseException], arguments: tuple[object, ...]
) -> BaseException:
    """Create an exception with the class name and the redacted texts of ``exc``."""
    kind = type(exc)
    names = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "str_text": matcher.scrub(as_text(exc, str)),
        "repr_text": matcher.scrub(as_text(exc, repr)),
    }
    redacted: BaseException = base.__new__(
        type(kind.__name__, (_FixedText, base), names), *arguments
    )
    redacted.args = arguments or (str(redacted),)
    if isinstance(exc, SyntaxError) and isinstance(redacted, SyntaxError):
        # A traceback also shows the source line.
        for name in ("filename", "lineno", "offset", "end_lineno", "end_offset"):
            setattr(redacted, name, getattr(exc, name))
        redacted.msg = matcher.scrub(as_text(exc.msg, str))
        redacted.text = exc.text and matcher.scrub(as_text(exc.text, str))
    return redacted


def _notes(exc: BaseException) -> Sequence[object]:
    notes = getattr(exc, "__notes__", ())
    return notes if isinstance(notes, Sequence) else []


def _members(exc: BaseException) -> Sequence[BaseException]:
    return exc.exceptions if isinstance(exc, BaseExceptionGroup) else ()


_CONTAINERS = (dict, list, tuple, set, frozenset)


_WITHOUT_TEXT = (bool, int, float, complex, type(None), type, TracebackType)
"""Types whose ``repr`` cannot contain a hidden value.

A number can form one together with the text around it: the formatted message is checked too.
"""


def collect_texts(value: object, *, objects: bool = False) -> list[str]:
    """Return every text in ``value``, at any depth; bytes are decoded as Latin-1.

    Args:
        value: a text, an object, or a structure of containers.
        objects: whether ``repr`` and ``str`` of other objects are included. Default False.
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
        elif objects and not isinstance(each, _WITHOUT_TEXT):
            found.append(as_text(each, repr))
            if type(each).__str__ is not object.__str__:
                found.append(as_text(each, str))
    return found


def redact_structure(value: Any, matcher: Matcher, *, objects: bool = False) -> Any:  # noqa: ANN401  (the type of the result is that of the value)
    """Return a redacted copy of ``value``; ``value`` itself if it has no secret.

    Args:
        value: a text, an object, or a structure of containers.
        matcher: the matcher of the hidden values.
        objects: whether an object whose ``repr`` or ``str`` has a secret is replaced. Default
            False.
    """
    if isinstance(value, str):
        return matcher.scrub(value)
    if all(matcher.scrub(text) is text for text in collect_texts(value, objects=objects)):
        return value
    try:
        return _StructureCopier(matcher, objects=objects).redacted(value)
    except RecursionError:
        # The nesting exceeds the recursion limit.
        return MASK


class _StructureCopier:
    """Creates a redacted copy of one structure; a container inside itself becomes the mask.

    Args:
        matcher: the matcher of the hidden values.
        objects: whether an object whose ``repr`` or ``str`` has a secret is replaced.
    """

    def __init__(self, matcher: Matcher, *, objects: bool) -> None:
        self._matcher = matcher
        self._objects = objects
        self._copies: dict[int, tuple[object, Any]] = {}

    def redacted(self, value: Any) -> Any:  # noqa: ANN401  (the same)
        """Return a redacted copy of ``value``."""
        if isinstance(value, str):
            return self._matcher.scrub(value)
        if isinstance(value, bytes | bytearray):
            return type(value)(self._matcher.scrub(value.decode("latin-1")).encode("latin-1"))
        if isinstance(value, _CONTAINERS):
            if id(value) not in self._copies:
                # The mask is for a reference to itself. The container is stored to keep it alive:
                # otherwise another object could get its identity.
                self._copies[id(value)] = (value, MASK)
                members = list(value.items() if isinstance(value, dict) else value)
                copied = _rebuild_container(value, [self.redacted(each) for each in members])
                self._copies[id(value)] = (value, copied)
            return self._copies[id(value)][1]
        has_text = self._objects and not isinstance(value, _WITHOUT_TEXT)
        return redacted_object(value, self._matcher) if has_text else value


def _rebuild_container(value: Any, members: list[Any]) -> Any:  # noqa: ANN401  (the same)
    """Return a container of the kind of ``value`` with other members."""
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(members)
    kind = next(kind for kind in _CONTAINERS if isinstance(value, kind))
    if kind is dict and type(value) is not dict:
        return _rebuild_mapping(value, dict(members))
    return kind(members)


def _rebuild_mapping(value: dict[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    """Return a dict of the same class, if it can be copied.

    The access log of a server formats with a dict subclass that overrides the look-up.
    """
    try:
        copied = copy(value)
        if copied is not value:
            copied.clear()
            copied.update(items)
            return copied
    except Exception:  # noqa: BLE001  (code of the application runs here)
        return items
    return items


_NOT_SCANNED = frozenset(
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
"""Attributes that logging sets itself, and the exception, which is checked separately."""


def redact_record(record: logging.LogRecord, matcher: Matcher, *, objects: bool = True) -> None:
    """Remove the hidden values from ``record``.

    Args:
        record: the record, which is changed.
        matcher: the matcher of the hidden values.
        objects: whether the message is made, and other objects are converted to text. Default
            True.

    Raises:
        Exception: redaction failed; the caller must not pass the record on.
    """
    message = _message(record) if objects else ""
    contents = [value for name, value in record.__dict__.items() if name not in _NOT_SCANNED]
    found = [message, *record.__dict__, *collect_texts(contents, objects=objects)]
    if record.exc_info and record.exc_info[1] is not None:
        found += exception_texts(record.exc_info[1])
    if matcher.is_clean("\n".join(found)):
        return
    for name, value in list(record.__dict__.items()):
        if name != "exc_info":
            del record.__dict__[name]
            record.__dict__[matcher.scrub(name)] = redact_structure(value, matcher, objects=objects)
    if record.exc_info and record.exc_info[1] is not None:
        redacted = redacted_exception(record.exc_info[1], matcher)
        record.exc_info = (type(redacted), redacted, record.exc_info[2])
    if not objects:
        return
    formatted = _message(record)
    # The format and its arguments may form a secret only together; and a mask as the argument of
    # `%d` makes formatting fail.
    if message is not UNPRINTABLE and (
        formatted is UNPRINTABLE or matcher.scrub(formatted) is not formatted
    ):
        record.msg, record.args = matcher.scrub(message), ()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  (code of the application runs here)
        return UNPRINTABLE
