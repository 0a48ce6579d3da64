"""What is shown in the place of something else: the same in all but the values.

An exception cannot be made harmless where it is: what it says may come from any
attribute of it, and it is the program's. So whoever shows it gets another one, of the
same class as far as ``isinstance`` and a traceback can tell, with the same traceback,
notes, causes and members. The same holds for any other object that a log record has.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot.redaction.matching import Matcher

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
