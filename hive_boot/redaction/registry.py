"""Registry of hidden values, and the matcher that finds them; text and tracebacks without them."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hive_boot._output import write_stderr
from hive_boot.exceptions import BootError
from hive_boot.redaction import MASK, MIN_LENGTH, conceal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from hive_boot.redaction.needles import NeedleIndex

    class Revealable(Protocol):
        """An object whose plain value only ``reveal()`` returns."""

        def reveal(self) -> str | bytes:
            """Return the plain value."""


T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


_KNOWN = 1000
"""Maximum number of texts without a needle that are remembered."""

_STRUCTURE = frozenset('=>:@"{[,;|')
"""Characters, beside blanks, of which every value with a secret inside has one; few keys have."""


class Matcher:
    """Finds needles in texts, escaped or not, and replaces them.

    Args:
        needles: returns what to find, when the first text is examined; the empty text is
            ignored. Two threads may call it at the same time.

    Attributes:
        known_clean: texts without a needle that are often the same.
    """

    __slots__ = ("_built", "_index", "_needles", "known_clean")

    def __init__(self, needles: Callable[[], Iterable[str]]) -> None:
        self._needles = needles
        self._built: dict[str, NeedleIndex] = {}
        self._index: NeedleIndex | None = None
        self.known_clean: set[str] = set()

    @property
    def is_built(self) -> bool:
        """Whether a text was examined."""
        return self._index is not None

    def build(self) -> NeedleIndex:
        """Return the index of the needles, which the first call creates."""
        if self._index is None:
            from hive_boot.redaction.needles import NeedleIndex  # most starts examine no text

            # Of two threads that create one, both use the one that is added to later.
            self._index = self._built.setdefault("index", NeedleIndex([*self._needles()]))
        return self._index

    def update(self, *, added: Iterable[str], removed: Iterable[str]) -> None:
        """Add and remove needles of a matcher that is built; the added ones are found at once."""
        index = self.build()
        index.add(added)
        # Another thread may still add a text to the old set, which was examined before.
        self.known_clean = set()
        index.remove(removed)

    def is_clean(self, text: str) -> bool:
        """Return whether a text has no needle; it is called for every log line."""
        for first, index in (self._index or self.build()).searches:
            if first in text and not index.are_absent(text):
                for _ in index.spans(text):
                    return False
        return True

    def is_known_clean(self, text: str) -> bool:
        """Return the same for a text that is often the same: it is remembered if it is clean."""
        known = self.known_clean
        if text not in known:
            if not self.is_clean(text):
                return False
            if len(known) >= _KNOWN:
                known.clear()
            known.add(text)
        return True

    def scrub(self, text: str) -> str:
        """Replace every needle by ``***``; needles that overlap are replaced together.

        A text without a needle is returned unchanged.
        """
        if self.is_clean(text):
            return text
        kept, end = [], 0
        searches = self.build().searches
        for start, stop in sorted(span for _, each in searches for span in each.spans(text)):
            if start >= end:
                kept += [text[end:start], MASK]
            end = max(end, stop)
        return "".join([*kept, text[end:]])


def encoded_variants(value: str | bytes, shortest: int = 1, *, has_parts: bool = True) -> set[str]:
    """Return the value, its embedded secrets, and the forms of both that the matcher needs.

    Args:
        value: the plain value.
        shortest: the minimum length of a form, without white space at its ends. Default 1.
        has_parts: whether secrets can be embedded in the value. Default True.
    """
    from hive_boot.redaction.decoding import (  # most starts examine no text
        LONG,
        decoded_texts,
        decodings,
        encodings,
        plain_variants,
    )

    stripped = value.strip()
    if len(stripped) < shortest:
        return set()
    found = {*encodings(stripped)}
    if stripped != value and len(value) <= LONG:
        found.update(encodings(value))
    texts = decoded_texts(value)
    for text in texts if isinstance(value, str) else texts | decodings(value):
        found.update([each for each in plain_variants(text) if len(each.strip()) >= shortest])
    for text in {each.strip() for each in texts} if has_parts else ():
        if _STRUCTURE.isdisjoint(text) and "%20" not in text and text.split(maxsplit=1) == [text]:
            continue
        from hive_boot.redaction.embedded import (  # few values have any
            distinctive_lines,
            embedded_secrets,
        )

        parts = set(embedded_secrets(text))
        for part in parts.union(distinctive_lines(text)):
            found.update([each for each in plain_variants(part) if len(each.strip()) >= shortest])
        # A document of a megabyte may have ten thousand parts.
        for part in parts if len(value) <= LONG else ():
            found.update(encodings(part))
    return found


_EXAMINED = 1 << 14
"""Number of characters up to which a value is examined for short passwords."""


_lock = threading.RLock()


_owned: list[tuple[object, dict[Revealable, None]]] = []
"""Each owner with its hidden values."""


matcher: Matcher | None = None
"""The matcher of the hidden values; None while there are none."""


_values: dict[Revealable, None] = {}
"""The values that the matcher finds."""


_forms_of: Callable[[], dict[Revealable, tuple[str, ...]]] = conceal({})
"""Returns the forms of each value that the matcher finds, so that they are made once."""


PLAIN_HANDLERS: set[type[logging.Handler]] = {logging.StreamHandler, logging.FileHandler}
"""Classes of log handlers that write the formatted text and use nothing else of a record."""


OWN_HANDLERS: set[type[Any]] = set()
"""Classes of log handlers of hive_boot; ``shows_no_value(record)`` finds harmless records."""


plain_handlers: set[int] = set()
"""The ids of handlers of these classes that have no other methods, as far as they are known."""


def register(owner: object, values: Iterable[Revealable], *, at_once: bool = False) -> None:
    """Register the hidden values of ``owner``, in place of its earlier ones.

    Args:
        owner: the object that the values belong to.
        values: all hidden values of the owner.
        at_once: whether the matcher is built by this call. Default False: the next log record
            builds it, and is delayed by that.
    """
    with _lock:
        _owned[:] = [each for each in _owned if each[0] is not owner]
        _owned.append((owner, dict.fromkeys(values)))
        _replace_matcher(at_once=at_once)


def unregister(owner: object) -> None:
    """Remove the values of ``owner``. A value that has another owner stays hidden."""
    with _lock:
        _owned[:] = [each for each in _owned if each[0] is not owner]
        _replace_matcher()


def _replace_matcher(*, at_once: bool = False) -> None:
    """Replace the matcher; one that is built takes new values, and drops those that are gone."""
    global matcher, plain_handlers, _values  # noqa: PLW0603  (one for the process)
    known, before = matcher, _values
    values: dict[Revealable, None] = {}
    for _, owned in _owned:
        values |= owned
    _values = values
    # Sets of dicts: the hash of a value takes a call, and a dict has it.
    gone = set(before).difference(values)
    if values and known is not None and known.is_built:
        added = set(values).difference(before)
        known.update(added=_forms(added), removed=_forms(gone))
    else:
        new = Matcher(lambda: _forms(values)) if values else None
        if new is not None and at_once:
            new.build()
        # Without a matcher, nothing notices what is assigned to a handler.
        matcher, plain_handlers = new, set()
    for value in gone:
        _forms_of().pop(value, None)


def _forms(values: Iterable[Revealable]) -> Iterator[str]:
    cache = _forms_of()
    for value in values:
        forms = cache.get(value)
        if forms is None:
            has_parts = getattr(value, "has_parts", True)
            found = encoded_variants(value.reveal(), MIN_LENGTH, has_parts=has_parts)
            forms = cache[value] = tuple(found)
        yield from forms


def has_plain_value(text: str) -> bool:
    """Return whether a text has a hidden value as it is, without preparing the search."""
    as_kind: dict[type, Any] = {str: text, bytes: text.encode("latin-1", "replace")}
    # No variable holds the values, because a traceback can show local variables.
    return any(each.reveal().strip() in as_kind[type(each.reveal())] for each in list(_values))


def handlers_of(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    """Yield the handlers that a logger passes its records to: its own and those of its parents."""
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def is_searchable(text: str | bytes, *, has_parts: bool = True) -> bool:
    """Return whether a value, and a password in it, is long enough to be searched for.

    Args:
        text: the plain value. A long text is not examined for passwords.
        has_parts: whether secrets can be embedded in the value. Default True.
    """
    if len(text.strip()) < MIN_LENGTH:
        return False
    is_examined = has_parts and isinstance(text, str) and len(text) <= _EXAMINED
    if isinstance(text, bytes) or not is_examined or not ("=" in text or ":" in text):
        return True
    from hive_boot.redaction.embedded import has_short_password  # few values have one

    return not has_short_password(text)


def redact(value: T) -> T:
    """Return ``value`` with the secrets of the running applications replaced by ``***``.

    Log records and tracebacks are redacted automatically; this function is for other
    output: an error tracker, a logger outside ``logging``, a file.

    Args:
        value: text, bytes, a number, an exception, a URL or a path, or a mapping, sequence or set
            of them, nested to any depth. Mappings include headers and the attributes of spans.

    Returns:
        A redacted copy of the same class, or a dict, list, set or str if that class cannot be
        created with the redacted content; ``value`` itself if it contains no secret or no
        application runs.

    Raises:
        TypeError: ``value`` is, or contains, an object of another kind.
    """
    # Read once: another thread may set the global to None between two reads.
    known = matcher
    if isinstance(value, str):
        text: Any = value if known is None else known.scrub(value)
        return text  # type: ignore[no-any-return]
    from hive_boot.redaction import scrub as scrubbing  # most starts redact nothing

    if known is None:
        # An object that cannot be handled is an error in tests without a run too.
        scrubbing.collect_texts(value, others="raise")
        return value
    redacted: T = scrubbing.redact_structure(value, known, others="raise")
    return redacted


def scrub(text: str, values: Iterable[str | bytes]) -> str:
    """Return a text with the given values replaced by ``***``, short values and words too."""
    from hive_boot.redaction.decoding import Word  # most starts examine no text

    forms = {form for value in values for form in encoded_variants(value)}
    return Matcher(lambda: (str(each) if type(each) is Word else each for each in forms)).scrub(
        text
    )


class EnabledFlag:
    """Flag of a wrapper: while it is off, the wrapper only calls the original."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on: bool = True


def lock() -> threading.RLock:
    """Return the lock that is held while hidden values are registered or removed."""
    return _lock


def _replace_lock() -> None:
    """Create a new lock in a forked child: a thread of the parent may hold the inherited one."""
    global _lock  # noqa: PLW0603  (one for the process)
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_replace_lock)


REDACTION_FAILED = "hive_boot: redaction failed, so this text is omitted"


def redacted_copy(value: T, matcher: Matcher) -> T:
    """Return a redacted copy of an object; the object itself if it contains no secret.

    If redaction fails, return an exception with a fixed text instead.
    """
    try:
        from hive_boot.redaction.scrub import (  # most starts redact nothing
            redacted_exception,
            redacted_object,
        )

        make: Any = redacted_exception if isinstance(value, BaseException) else redacted_object
        redacted: T = make(value, matcher)
    except Exception:  # it must not be shown unredacted
        failed: Any = RuntimeError(REDACTION_FAILED)
        return failed  # type: ignore[no-any-return]
    return redacted


def redact_safely(text: str) -> str:
    """Return a redacted text, or a fixed sentence if redaction fails."""
    try:
        return redact(text)
    except Exception:  # it must not be shown unredacted
        return f"{REDACTION_FAILED}\n"


def format_redacted_traceback(exc: BaseException) -> str:
    """Return the traceback of a redacted copy of the exception.

    The exception is redacted before it is formatted: the traceback of a group is indented, so
    the matcher would not find a secret of several lines in the formatted text.
    """
    return "".join(redacted_report(exc).format())


def redacted_report(exc: BaseException) -> traceback.TracebackException:
    """Return the traceback of a redacted copy of the exception, for formatting."""
    redacted = exc if matcher is None else redacted_copy(exc, matcher)
    return traceback.TracebackException.from_exception(redacted)


_CALLERS = frozenset(
    {
        *("anyio", "asyncio", "contextlib", "fastapi", "hive_boot", "importlib", "outcome"),
        *("starlette", "trio"),
    }
)
"""Packages that call an application; their frames before its own explain nothing."""


def format_failure(exc: BaseException) -> str:
    """Return the redacted traceback of a failure, from the first frame of the application on."""
    report = redacted_report(exc)
    todo = [report]
    while todo:
        each = todo.pop()
        members: Iterable[traceback.TracebackException] = getattr(each, "exceptions", None) or ()
        count = _count_callers(frame.filename for frame in each.stack)
        # An error of hive_boot or of a library itself has no other frames.
        if count < len(each.stack) or members:
            del each.stack[:count]
        todo += filter(None, (each.__cause__, each.__context__, *members))
    return "".join(report.format())


def format_location(exc: BaseException) -> str:
    """Return the lines of the application that raised an exception of hive_boot; may be empty."""
    frames = _application_frames(exc)
    return "".join(["Traceback (most recent call last):\n", *frames.format()]) if frames else ""


def locate_failure(exc: BaseException) -> str:
    """Return ``app.py:42 in connect``, the innermost line of the application; may be empty."""
    frames = _application_frames(exc)
    own = [each for each in frames if not _is_library(each.filename)]
    for frame in (own or frames)[-1:]:
        return f"{frame.filename}:{frame.lineno} in {frame.name}"
    return ""


_LIBRARIES = (
    *(os.__file__.removesuffix("os.py"), "site-packages", "dist-packages"),
    *("<frozen ", " generated "),
)
"""Parts of the paths of modules that are not those of the application, or of generated code."""


def _is_library(file: str) -> bool:
    return any(path in file for path in _LIBRARIES)


def first_frame_outside(caller: FrameType) -> FrameType:
    """Return the first frame of no library, from ``caller`` outwards, or else ``caller``."""
    frames = (frame for frame, _ in traceback.walk_stack(caller))
    return next((each for each in frames if not _is_library(each.f_code.co_filename)), caller)


def drop_frames(exc: E) -> E:
    """Return an exception without its frames, whose variables may be values, but with its line."""
    if line := locate_failure(exc):
        vars(exc)[_LINE] = f" ({line})"  # not setattr(): its class may refuse it
    return exc.with_traceback(None)


def line_of(exc: BaseException) -> str:
    """Return the line of an exception without frames, in brackets after a blank; may be empty."""
    line: str = vars(exc).get(_LINE, "")
    return line


_LINE = "_hive_boot_line"


def trim_traceback(exc: BaseException) -> BaseException:
    """Return an exception, without the frames before the first one of the application."""
    trace = exc.__traceback__
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)]
    for _ in range(_count_callers(files)):
        trace = trace and trace.tb_next
    # The lines of hive_boot matter only in an error that it does not know.
    is_known = isinstance(exc, BootError | BaseExceptionGroup)
    return exc if trace is None and not is_known else exc.with_traceback(trace)


def _application_frames(exc: BaseException) -> traceback.StackSummary:
    """Return the frames of an exception without those of callers, at the beginning and the end."""
    frames = traceback.extract_tb(exc.__traceback__)
    files = [frame.filename for frame in frames]
    del frames[len(files) - _count_callers(reversed(files)) :]
    del frames[: _count_callers(files)]
    return frames


def _count_callers(files: Iterable[str]) -> int:
    """Return the number of frames, given by their files, before the first one of no caller."""
    callers = [getattr(sys.modules.get(name), "__file__", None) for name in _CALLERS]
    paths = ("<frozen importlib", *(file.removesuffix("__init__.py") for file in callers if file))
    return sum(1 for _ in takewhile(lambda file: file.startswith(paths), files))


def write_redacted(render: Callable[[Any], str], value: object) -> None:
    """Write the redacted result of ``render(value)`` to stderr, if there is one."""
    try:
        text = render(value)
    except Exception:  # it must not be shown unredacted
        text = f"{REDACTION_FAILED}\n"
    write_stderr(redact_safely(text))
