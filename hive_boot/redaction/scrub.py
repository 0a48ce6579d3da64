"""Redaction of objects, exceptions, structures and log records."""

from __future__ import annotations

import builtins
import logging
import threading
from collections import UserString, deque
from collections.abc import Collection, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from contextlib import suppress
from copy import copy
from functools import cache
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias

from hive_boot.redaction import MASK

if TYPE_CHECKING:
    from collections.abc import Callable

    class Matcher(Protocol):
        """The matcher of the hidden values, :class:`hive_boot.redaction.registry.Matcher`."""

        def is_clean(self, text: str) -> bool:
            """Return whether a text has no hidden value."""

        def scrub(self, text: str) -> str:
            """Replace every hidden value by ``***``."""


UNPRINTABLE = "<unprintable object>"
"""Text for an object whose ``str`` or ``repr`` raises."""


class _FixedText:
    """Object with a fixed ``str`` and a fixed ``repr``."""

    str_text = repr_text = UNPRINTABLE

    def __str__(self) -> str:
        return self.str_text

    def __repr__(self) -> str:
        return self.repr_text

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        # Its class cannot be imported: a process that gets it by pickle gets the text.
        return str, (str(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def as_text(value: object, convert: Callable[[object], str]) -> str:
    """Return the ``str`` or ``repr`` of an object, or a fixed text if it raises."""
    try:
        return convert(value)
    except Exception:  # code of the application runs here
        return UNPRINTABLE


def _has_own_str(value: object) -> bool:
    return type(value).__str__ is not object.__str__


def redacted_object(
    value: object, matcher: Matcher, attributes: dict[str, object] | None = None
) -> object:
    """Return an object with the redacted texts of ``value``; ``value`` if they have no secret.

    Args:
        value: the object.
        matcher: the matcher of the hidden values.
        attributes: its redacted attributes; None if they have no secret, and are left out.
    """
    repr_text = as_text(value, repr)
    # Without its own method, str() converts the object again to the same text.
    str_text = as_text(value, str) if _has_own_str(value) else repr_text
    names = {"str_text": matcher.scrub(str_text), "repr_text": matcher.scrub(repr_text)}
    if attributes is None and names == {"str_text": str_text, "repr_text": repr_text}:
        return value
    kind: Any = type(value)
    if fields := getattr(kind, "__dataclass_fields__", None):
        names["__dataclass_fields__"] = fields
    names |= {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    redacted = type(kind.__name__, (_FixedText,), names)()
    redacted.__dict__.update(attributes or {})
    return redacted


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
    """Return the texts of one exception: message, ``repr``, notes, attributes, source line."""
    code = [as_text(exc.text, str)] if isinstance(exc, SyntaxError) else []
    notes = [as_text(note, str) for note in _notes(exc)]
    return [as_text(exc, str), as_text(exc, repr), *notes, *code, *collect_texts(vars(exc))]


def redacted_exception(exc: BaseException, matcher: Matcher) -> BaseException:
    """Return a redacted copy of ``exc`` and its chain; ``exc`` itself if they have no secret."""
    # Most texts are part of several: the copy of each exception, and the check for changes.
    return _redacted_copy(exc, cache(matcher.scrub), {})


def _redacted_copy(
    exc: BaseException, scrub: Callable[[str], str], known: dict[int, BaseException]
) -> BaseException:
    """Return the redacted copy of one exception of a chain, which may contain cycles."""
    if id(exc) in known:
        return known[id(exc)]
    # Recorded before the others, which may refer to it. A group replaces this copy below: its
    # constructor needs the copies of its members.
    redacted = known[id(exc)] = _create_copy(exc, scrub, _builtin(type(exc)), ())
    cause = exc.__cause__ and _redacted_copy(exc.__cause__, scrub, known)
    context = exc.__context__ and _redacted_copy(exc.__context__, scrub, known)
    members = [_redacted_copy(member, scrub, known) for member in _members(exc)]
    originals = [exc.__cause__, exc.__context__, *_members(exc)]
    copies = [cause, context, *members]
    unchanged = all(new is old for new, old in zip(copies, originals, strict=True))
    if unchanged and all(scrub(text) == text for text in _own_texts(exc)):
        known[id(exc)] = exc
        return exc
    if members:
        group = next(kind for kind in type(exc).__mro__ if kind in _GROUPS)
        message = scrub(as_text(getattr(exc, "message", ""), str))
        redacted = known[id(exc)] = _create_copy(exc, scrub, group, (message, members))
    for note in _notes(exc):
        redacted.add_note(scrub(as_text(note, str)))
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
    exc: BaseException,
    scrub: Callable[[str], str],
    base: type[BaseException],
    arguments: tuple[object, ...],
) -> BaseException:
    """Create an exception with the class name and the redacted texts of ``exc``."""
    kind = type(exc)
    names = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "str_text": scrub(as_text(exc, str)),
        "repr_text": scrub(as_text(exc, repr)),
    }
    redacted: BaseException = base.__new__(
        type(kind.__name__, (_FixedText, base), names), *arguments
    )
    redacted.args = arguments or (str(redacted),)
    if isinstance(exc, SyntaxError) and isinstance(redacted, SyntaxError):
        # A traceback also shows the source line.
        for name in ("filename", "lineno", "offset", "end_lineno", "end_offset"):
            setattr(redacted, name, getattr(exc, name))
        redacted.msg = scrub(as_text(exc.msg, str))
        redacted.text = exc.text and scrub(as_text(exc.text, str))
    return redacted


def _notes(exc: BaseException) -> Sequence[object]:
    notes = getattr(exc, "__notes__", ())
    return notes if isinstance(notes, Sequence) else []


def _members(exc: BaseException) -> Sequence[BaseException]:
    return exc.exceptions if isinstance(exc, BaseExceptionGroup) else ()


_CONTAINERS = (dict, list, tuple, set, frozenset)


_NUMBERS = (int, float, complex)


_WITHOUT_TEXT = (*_NUMBERS, type(None), type, TracebackType, range)
"""Types whose ``repr`` cannot contain a hidden value.

A number can form one together with the text around it: the formatted message is checked too.
"""


_TEXT_MODULES = frozenset(
    {*("datetime", "decimal", "enum", "fractions", "ipaddress", "pathlib", "uuid", "zoneinfo")}
)
"""Modules of classes whose ``str`` shows all that an object of them contains."""


_INFRASTRUCTURE = (logging.Filterer, logging.Manager, threading.Thread)
"""Loggers, handlers and threads: many objects refer to one, which leads to all of them."""


_OPAQUE = ("reveal", "get_secret_value")
"""Methods of objects that show their value in no other way."""


_MAX_ATTRIBUTES = 500
"""Maximum number of the values in the attributes of the objects of one record."""


Others: TypeAlias = 'Literal["keep", "convert", "raise"]'
"""Handling of an object that is neither a text nor a container that Python itself has.

`keep`: it is left out, and not converted to text. `convert`: all containers are searched, and an
object whose texts or attributes have a secret is replaced. `raise`: all containers, exceptions,
URLs and other objects with a known text are searched, and any other object is a `TypeError`.
"""


def _contents(value: Any, others: Others) -> list[Any] | None:
    """Return the members of a container, pairs for a mapping; None for any other object."""
    if isinstance(value, _CONTAINERS):
        return list(value.items() if isinstance(value, dict) else value)
    if others == "keep" or isinstance(value, type | range):
        return None
    is_like_mapping = others == "raise" and _has_methods(value, "items", "keys", "__getitem__")
    try:
        if isinstance(value, Mapping) or is_like_mapping:
            # Headers and queries may have a name more than once.
            return list(getattr(value, "multi_items", value.items)())
        if isinstance(value, _COLLECTIONS) and not isinstance(value, UserString):
            return list(value) if _bytes_of(value) is None else None
    except Exception:
        if others == "raise":
            raise
    return None


_COLLECTIONS: tuple[type[Collection[Any]], ...] = (Sequence, AbstractSet, ValuesView)
"""Containers that are not mappings; the other views of a mapping are sets."""


def _has_methods(value: object, *names: str) -> bool:
    return all(callable(getattr(type(value), name, None)) for name in names)


def _bytes_of(value: Any) -> bytes | None:
    """Return the content of bytes and of other buffers, such as ``array``."""
    try:
        return bytes(memoryview(value))
    except (TypeError, ValueError, BufferError):
        return None


def _text_of_bytes(value: bytes | bytearray) -> str:
    """Return bytes as text: as Latin-1, and without the zeros that UTF-16 and UTF-32 contain."""
    text = value.decode("latin-1")
    return f"{text}\n{narrow}" if (narrow := text.replace("\0", "")) != text else text


def _text_of(value: Any) -> str | None:
    """Return the text of an object that is one in another form, such as a path or a URL."""
    bases = type(value).__mro__[:-1]
    is_url = any(word in base.__name__.lower() for base in bases for word in ("url", "uri", "dsn"))
    if (is_url and hasattr(value, "scheme")) or isinstance(value, UserString | PathLike):
        return str(value)
    if any(base.__module__ in _TEXT_MODULES for base in bases):
        return repr(value) if "enum" in {base.__module__ for base in bases} else str(value)
    return None


def _attributes(value: object) -> dict[str, object]:
    """Return the attributes of an object, in its ``__dict__`` and its slots."""
    found: dict[str, object] = {}
    if isinstance(value, (*_WITHOUT_TEXT, *_INFRASTRUCTURE)) or _text_of(value) is not None:
        return found
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in {slots} if isinstance(slots, str) else {*slots} - {"__dict__", "__weakref__"}:
            with suppress(Exception):  # code of the application runs here
                found[name] = getattr(value, name)
    with suppress(Exception):
        found |= vars(value)
    return found


def collect_texts(value: object, *, others: Others = "keep") -> list[str]:
    """Return every text in ``value``, at any depth; bytes are decoded as Latin-1.

    Args:
        value: a text, an object, or a structure of containers.
        others: what happens to other objects. Default: they have no text.

    Raises:
        TypeError: ``value`` has an object that cannot be searched, and ``others`` is `raise`.
    """
    found: list[str] = []
    todo: list[tuple[object, bool]] = [(value, False)]
    seen: set[int] = set()
    count = 0
    for each, is_attribute in todo:  # it grows, and near values come first
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, bytes | bytearray):
            found.append(_text_of_bytes(each))
        elif others == "raise" and isinstance(each, _NUMBERS) and not isinstance(each, bool):
            found.append(as_text(each, repr))
        elif id(each) not in seen and not isinstance(each, _WITHOUT_TEXT):
            seen.add(id(each))
            members = _contents(each, others)
            if type(each) not in _CONTAINERS:
                found += _object_texts(each, members, others, is_attribute=is_attribute)
            in_object = is_attribute or members is None
            if members is None and others == "convert":
                members = [*_attributes(each).values()]
            count += in_object
            if count <= _MAX_ATTRIBUTES:
                todo += [(member, in_object) for member in members or ()]
    return found


def _object_texts(
    value: object, members: list[Any] | None, others: Others, *, is_attribute: bool
) -> list[str]:
    """Return the texts of an object beside those of its members and attributes."""
    if isinstance(value, BaseException):
        return exception_texts(value)
    if others == "raise" and members is None:
        return _known_texts(value)
    if others == "keep":
        return []
    is_text = members is None and _text_of(value) is not None
    if is_attribute and not is_text:
        # Only its own attributes are searched: it may refer to all objects of the application.
        return []
    texts = [as_text(value, repr)]
    if _has_own_str(value):
        texts.append(as_text(value, str))
    return texts


def _known_texts(value: object) -> list[str]:
    """Return the texts of an object that `redact` accepts beside containers and exceptions."""
    if any(_has_methods(value, name) for name in _OPAQUE):
        return []
    if (buffer := _bytes_of(value)) is not None:
        return [_text_of_bytes(buffer)]
    if (text := _text_of(value)) is not None:
        return [text]
    kind = type(value).__qualname__
    message = (
        f"redact() cannot handle an object of {kind}, only text, bytes, containers, exceptions and "
        "URLs. Fix: redact its text, or the dict of its attributes."
    )
    raise TypeError(message)


def redact_structure(value: Any, matcher: Matcher, *, others: Others = "keep") -> Any:
    """Return a redacted copy of ``value``; ``value`` itself if it has no secret.

    Args:
        value: a text, an object, or a structure of containers.
        matcher: the matcher of the hidden values.
        others: what happens to other objects. Default: they are not changed.

    Raises:
        TypeError: ``value`` has an object that cannot be searched, and ``others`` is `raise`.
    """
    if isinstance(value, str):
        return matcher.scrub(value)
    if all(matcher.scrub(text) is text for text in collect_texts(value, others=others)):
        return value
    try:
        return _StructureCopier(matcher, others).redacted(value)
    except RecursionError:
        # The nesting exceeds the recursion limit.
        return MASK


class _StructureCopier:
    """Creates a redacted copy of one structure; a container inside itself becomes the mask.

    Args:
        matcher: the matcher of the hidden values.
        others: what happens to other objects.
    """

    def __init__(self, matcher: Matcher, others: Others) -> None:
        self._matcher = matcher
        self._others: Others = others
        self._copies: dict[int, tuple[object, Any]] = {}

    def redacted(self, value: Any) -> Any:
        """Return a redacted copy of ``value``."""
        if isinstance(value, str):
            return self._matcher.scrub(value)
        if isinstance(value, _NUMBERS) and self._others == "raise":
            text = as_text(value, repr)
            redacted = self._matcher.scrub(text)
            return value if redacted is text else redacted
        if isinstance(value, _WITHOUT_TEXT):
            return value
        if isinstance(value, bytes | bytearray):
            return type(value)(self._redacted_bytes(value))
        if id(value) not in self._copies:
            # The mask is for a reference to itself. The value is stored to keep it alive:
            # otherwise another object could get its identity.
            self._copies[id(value)] = (value, MASK)
            self._copies[id(value)] = (value, self._copy(value))
        return self._copies[id(value)][1]

    def _copy(self, value: Any) -> Any:
        members = _contents(value, self._others)
        if members is not None:
            return self._copy_container(value, members)
        if isinstance(value, BaseException):
            return redacted_exception(value, self._matcher)
        if self._others == "keep" or any(_has_methods(value, name) for name in _OPAQUE):
            return value
        if (text := _text_of(value)) is not None:
            return self._rebuild_text(value, text)
        if self._others == "raise":
            redacted = self._redacted_bytes(_bytes_of(value) or b"")
            return memoryview(redacted) if isinstance(value, memoryview) else redacted
        attributes = _attributes(value)
        texts = collect_texts(attributes, others="convert")
        has_secret = any(self._matcher.scrub(text) is not text for text in texts)
        return redacted_object(
            value, self._matcher, self.redacted(attributes) if has_secret else None
        )

    def _copy_container(self, value: Any, members: list[Any]) -> Any:
        redacted = [self.redacted(each) for each in members]
        rebuilt = _rebuild_container(value, redacted)
        if type(value) in _CONTAINERS or self._others == "keep":
            return rebuilt
        # A class may have values beside its members, as the cookies of Python have.
        shown = redacted_object(rebuilt, self._matcher)
        is_complete = shown is rebuilt and as_text(rebuilt, repr) is not UNPRINTABLE
        return shown if is_complete or self._others == "convert" else _plain(value, redacted)

    def _redacted_bytes(self, value: bytes | bytearray) -> bytes:
        text = self._matcher.scrub(value.decode("latin-1"))
        narrow = text.replace("\0", "")
        redacted = self._matcher.scrub(narrow)
        return (text if redacted is narrow else redacted).encode("latin-1")

    def _rebuild_text(self, value: Any, text: str) -> Any:
        """Return an object of the same class with the redacted text; the text if it fails."""
        redacted = self._matcher.scrub(text)
        if redacted is text:
            return value
        with suppress(Exception):  # a class may refuse the mask
            made = type(value)(redacted)
            if self._matcher.scrub(str(made)) == str(made):
                return made
        return redacted


def _rebuild_container(value: Any, members: list[Any]) -> Any:
    """Return a container of the kind of ``value`` with other members."""
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(members)
    plain = _plain(value, members)
    if isinstance(value, dict) and type(value) is not dict:
        return _rebuild_mapping(value, plain)
    if isinstance(value, _CONTAINERS):
        return plain
    with suppress(Exception):  # a class may be created in another way
        arguments = (plain, value.maxlen) if isinstance(value, deque) else (plain,)
        made = type(value)(*arguments)
        if _contents(made, "raise") == members:
            return made
    return plain


def _plain(value: Any, members: list[Any]) -> Any:
    """Return a container that Python itself has with the members of one like ``value``."""
    for kind in _CONTAINERS:
        if isinstance(value, kind):
            return kind(members)
    with suppress(TypeError):  # members that are not hashable
        if isinstance(value, AbstractSet):
            return set(members)
        if not isinstance(value, _COLLECTIONS) and len(dict(members)) == len(members):
            return dict(members)
    return members


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
    except Exception:  # code of the application runs here
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


def redact_record(
    record: logging.LogRecord, matcher: Matcher, *, others: Others = "convert"
) -> None:
    """Remove the hidden values from ``record``.

    Args:
        record: the record, which is changed.
        matcher: the matcher of the hidden values.
        others: what happens to other objects. Default: they are converted to text, and the
            message is made.

    Raises:
        Exception: redaction failed; the caller must not pass the record on.
    """
    message = _message(record) if others == "convert" else ""
    contents = [value for name, value in record.__dict__.items() if name not in _NOT_SCANNED]
    found = [message, *record.__dict__, *collect_texts(contents, others=others)]
    if record.exc_info and record.exc_info[1] is not None:
        found += exception_texts(record.exc_info[1])
    if matcher.is_clean("\n".join(found)):
        return
    for name, value in list(record.__dict__.items()):
        if name != "exc_info":
            del record.__dict__[name]
            record.__dict__[matcher.scrub(name)] = redact_structure(value, matcher, others=others)
    if record.exc_info and record.exc_info[1] is not None:
        redacted = redacted_exception(record.exc_info[1], matcher)
        record.exc_info = (type(redacted), redacted, record.exc_info[2])
    if others == "keep":
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
    except Exception:  # code of the application runs here
        return UNPRINTABLE
