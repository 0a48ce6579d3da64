"""Redacting wrappers for functions of logging, threading, traceback, warnings and sys.

Each function of this module takes the original function and returns its wrapper. The module is
imported when a patched function is called for the first time while there are hidden values.
"""

from __future__ import annotations

import builtins
import logging
import sys
import threading
import traceback
from contextlib import suppress
from io import StringIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hive_boot.redaction import MIN_LENGTH, registry
from hive_boot.redaction.registry import (
    REDACTION_FAILED,
    format_redacted_traceback,
    redact_safely,
    redacted_copy,
    write_redacted,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from hive_boot.redaction.registry import EnabledFlag, Matcher
    from hive_boot.redaction.scrub import Others


def call_handlers(before: Callable[..., None], switch: EnabledFlag) -> Callable[..., None]:
    """Redact a record for code that the other wrappers do not cover, when that code reads it.

    This is a logger of another class, a handler with its own ``handle`` or ``filter``, and
    another library's wrapper of this function.
    """
    handlers = _Handlers(are_covered=_is_stdlib_logging(before))
    references, usual = handlers.references, logging.Logger

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:
        if (
            not (references and references[-1] is handlers.newest_covered)
            or type(self) is not usual
            or usual.callHandlers is not callHandlers
        ) and switch.on:
            covered = handlers.check_covered() and _uses_handlers_only(type(self))
            if not covered or logging.Logger.callHandlers is not callHandlers:
                _defer_redaction(record)
        try:
            before(self, record)
        except BaseException:
            # The traceback of the application includes these frames, and they hold the record.
            _redact_record_in_place(record)
            raise

    return callHandlers


def _uses_handlers_only(kind: type[logging.Logger]) -> bool:
    """Check whether loggers of a class pass a record to handlers, and do nothing else with it."""
    usual = logging.Logger
    return kind.handle is usual.handle and kind.callHandlers is usual.callHandlers


class _Handlers:
    """Check of all handlers of the process: whether the other wrappers cover them.

    Args:
        are_covered: False if another library has wrapped ``callHandlers``, so that records
            must be redacted whatever the handlers are.

    Attributes:
        references: logging's own list of weak references; a new handler is the last.
        newest_covered: the last reference at the latest check, if no handler has its own
            ``handle`` or ``filter``.
    """

    __slots__ = ("_are_covered", "_newest", "newest_covered", "references")

    def __init__(self, *, are_covered: bool) -> None:
        self.references: list[Any] = logging._handlerList  # type: ignore[attr-defined]  # noqa: SLF001  (no public API)
        # Not a reference, so the first call checks.
        self._newest: object = self
        self.newest_covered: object = self
        self._are_covered = are_covered

    def check_covered(self) -> bool:
        """Check whether all handlers are covered, again only after a handler was added."""
        newest = self.references[-1] if self.references else None
        if newest is not self._newest:
            self._are_covered = self._are_covered and all(
                map(_is_covered, _all_handlers(self.references))
            )
            # Assigned last: another thread that compares them must find the result of the check.
            self.newest_covered = newest if self._are_covered else self
            self._newest = newest
        return self._are_covered


def _all_handlers(references: list[Any]) -> set[logging.Handler]:
    """Return the handlers that logging lists, and those that only a logger refers to.

    ``logging.config`` clears the list, while a logger can keep a handler of before.
    """
    known = {reference() for reference in list(references)}
    loggers = [logging.root, *list(logging.root.manager.loggerDict.values())]
    used = {handler for logger in loggers for handler in getattr(logger, "handlers", ())}
    return (known | used) - {None}


def _is_covered(handler: logging.Handler) -> bool:
    kind = type(handler)
    return (
        kind.handle in {logging.Handler.handle, logging.NullHandler.handle}
        and kind.filter is logging.Handler.filter
        and _is_method(handler.handle, kind.handle)
        and _is_method(handler.filter, kind.filter)
    )


def _is_method(bound: Any, function: object) -> bool:
    """Check whether an attribute of an object is the method of its class.

    vars() of the object would show it too, but Python (since 3.11) then reads all of its attributes
    more slowly.
    """
    return getattr(bound, "__func__", None) is function


def _is_stdlib_logging(function: Callable[..., Any]) -> bool:
    """Check whether a function is defined in ``logging``: a wrapper can only copy its name."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename == logging.Logger.handle.__code__.co_filename


def handler_setattr(before: Callable[..., None], switch: EnabledFlag) -> Callable[..., None]:
    """Notice that a handler may have other methods than its class; new handlers set attributes."""
    del switch

    def __setattr__(self: logging.Handler, name: str, value: object) -> None:
        before(self, name, value)
        registry.plain_handlers.discard(id(self))

    return __setattr__


def _is_plain_handler(handler: logging.Handler) -> bool:
    """Check whether a handler writes the formatted text and uses nothing else of a record.

    The result is remembered until an attribute of the handler is set.
    """
    kind = type(handler)
    known = registry.plain_handlers
    # Before the check: another thread may assign a method meanwhile.
    known.add(id(handler))
    is_usual = _is_method(handler.emit, kind.emit) and _is_method(handler.format, kind.format)
    if not (is_usual and kind in registry.PLAIN_HANDLERS):
        known.discard(id(handler))
    return id(handler) in known


def handler_filter(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Redact a record for a handler that uses more of it than the text of `format`.

    A handler calls its filter directly before ``emit``, and filters may have added secrets to
    the record. This runs for every log record.
    """
    is_stdlib = _is_stdlib_logging(before)

    def filter(self: logging.Handler, record: logging.LogRecord) -> Any:
        is_plain = id(self) in registry.plain_handlers or _is_plain_handler(self)
        if is_plain and is_stdlib and not self.filters:
            return True
        try:
            passed = before(self, record)
        except BaseException:
            _redact_record_in_place(record)
            raise
        if passed and not is_plain and switch.on:
            # Since Python 3.12 a filter may return another record.
            _defer_redaction(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    return filter


def handler_format(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Redact the formatted text of a record. This runs for every log record.

    The objects in a record are converted to text by the formatter only: a conversion may be
    expensive, such as a query of an object of a database.
    """
    # The formatters last found to be plain and not to be; None, no formatter, is plain too.
    plain: logging.Formatter | None = None
    custom: object = object()
    usual, is_stdlib = logging.LogRecord, _is_stdlib_logging(before)
    default: logging.Formatter = logging._defaultFormatter  # type: ignore[attr-defined]  # noqa: SLF001  (no public API)

    def format(self: logging.Handler, record: logging.LogRecord) -> Any:
        nonlocal plain, custom
        formatter = self.formatter
        # The function of logging only calls this.
        direct = (formatter or default) if is_stdlib else None
        if formatter is not plain or type(record) is not usual:
            if is_plain := formatter is not custom and _is_plain(formatter):
                plain = formatter
            else:
                custom = formatter
                matcher = registry.matcher if switch.on and type(record) is usual else None
                texts = None if matcher is None else _long_texts(record, matcher)
                if matcher is not None and texts is not None:
                    written = direct.format(record) if direct else before(self, record)
                    try:
                        is_clean = type(written) is str and matcher.is_clean(written)
                        if is_clean and not (texts and _hides_secret(written, texts, matcher)):
                            return written
                    except Exception:  # then it is redacted and formatted again
                        pass
            record = _formatted_record(record, is_plain=is_plain) if switch.on else record
        written = direct.format(record) if direct else before(self, record)
        matcher = registry.matcher
        if matcher is None or not switch.on:
            return written
        try:
            if type(written) is str and matcher.is_clean(written):
                return written
            from hive_boot.redaction.scrub import redact_structure  # most starts redact nothing

            return redact_structure(written, matcher, others="convert")
        except Exception:  # the text must not be written unredacted
            return REDACTION_FAILED

    return format


def _long_texts(record: logging.LogRecord, matcher: Matcher) -> list[str] | None:
    """Return the texts of a record that can have a secret; None if it has other objects."""
    message: Any = record.msg
    values: Any = record.args or ()
    if record.exc_info or record.exc_text or record.stack_info:
        return None
    if type(message) is not str or type(values) is not tuple:
        return None
    if len(record.__dict__) > _ATTRIBUTE_COUNT:
        for item in record.__dict__.items():
            if item[0] not in _ATTRIBUTES:
                values += item
    # Most messages are constants of a program, with places for their arguments.
    texts = [] if message in matcher.known_clean else [message]
    for value in values:
        kind = type(value)
        if kind is str:
            if len(value) >= MIN_LENGTH:
                texts.append(value)
        elif kind is not int and kind not in _SIMPLE:
            return None
    return texts


def _hides_secret(written: str, texts: list[str], matcher: Matcher) -> bool:
    """Return whether a text has only a part of one of the texts, and that has a secret."""
    return any(text not in written and not matcher.is_known_clean(text) for text in texts)


_SIMPLE = frozenset({float, bool, type(None)})


_ATTRIBUTES = logging.makeLogRecord({}).__dict__.keys()


_ATTRIBUTE_COUNT = len(_ATTRIBUTES)


def handle_error(before: Callable[..., None], switch: EnabledFlag) -> Callable[..., None]:
    """Redact the report about a record that a handler could not write."""

    def handleError(self: logging.Handler, record: logging.LogRecord) -> None:
        matcher = registry.matcher if switch.on else None
        if matcher is None:
            before(self, record)
            return
        _redact_record_in_place(record)
        exc = sys.exc_info()[1]
        has_secret = exc is not None and redacted_copy(exc, matcher) is not exc
        if not has_secret and not _is_stdlib_logging(before):
            before(self, record)
        elif logging.raiseExceptions:
            write_redacted(_logging_error_text, record)

    return handleError


def _logging_error_text(record: logging.LogRecord) -> str:
    caller = sys._getframe(1)
    while caller.f_back is not None and caller.f_globals.get("__name__") in _INTERNAL_MODULES:
        caller = caller.f_back
    return (
        f"--- Logging error ---\n{traceback.format_exc()}"
        f"Call stack:\n{''.join(traceback.format_stack(caller))}"
        f"Message: {record.msg!r}\nArguments: {record.args}\n"
    )


_INTERNAL_MODULES = frozenset({__name__, write_redacted.__module__, "logging", "logging.handlers"})


def _is_plain(formatter: logging.Formatter | None) -> bool:
    """Check whether a formatter is ``logging.Formatter``, without a precision in its format.

    Its output is redacted as a whole. A precision such as ``%(message).20s`` could cut a secret,
    and another formatter could escape it again, so that the matcher would not find it.
    """
    if formatter is None:
        return True
    if type(formatter) is not logging.Formatter:
        return False
    written = formatter._fmt or ""  # noqa: SLF001  (no public API)
    return ")." not in written and ":." not in written


def _get_message(record: Any) -> str:
    """Return the redacted message of a record: its `getMessage`."""
    try:
        text: str = type(record).matcher.scrub(_original(record).getMessage())
    except Exception:  # code of the application runs here
        _redact_record_in_place(record)
        return record.getMessage()  # type: ignore[no-any-return]
    return text


def _get_attribute(record: Any, name: str) -> Any:
    """Redact a record before its content is read: its `__getattribute__`."""
    if name not in _WITHOUT_VALUES:
        _redact_record_in_place(record)
        return getattr(record, name)
    return object.__getattribute__(record, name)


def _reduce(record: Any, protocol: Any) -> Any:
    """Redact a record before it is copied or pickled: its `__reduce_ex__`."""
    _redact_record_in_place(record)
    return record.__reduce_ex__(protocol)


_WITHOUT_VALUES = frozenset(
    {
        *("__class__", "getMessage", "name"),
        *("created", "filename", "funcName", "levelname", "levelno", "lineno", "module", "msecs"),
        *("pathname", "process", "processName", "relativeCreated", "thread", "threadName"),
    }
)
"""Attributes that are read without redaction: logging itself sets them."""


_MESSAGE = {"getMessage": _get_message}
"""Methods of a record whose message is redacted when it is made."""


_DEFERRED = {**_MESSAGE, "__getattribute__": _get_attribute, "__reduce_ex__": _reduce}
"""Methods of a record that is redacted when a handler reads its content.

Most handlers ignore most records, by their level, and the texts of the objects in a record may be
expensive.
"""


_set = object.__setattr__
"""Assigns an attribute of a record, whatever its class does with an assignment."""


_classes: dict[tuple[type, bool], Any] = {}
"""The classes with these methods, by the original class and by whether it is deferred."""


def _class_with(methods: dict[str, Any], record: logging.LogRecord, matcher: Matcher) -> type:
    """Return the class of a record with other methods; this may fail for unusual classes."""
    kind = _original_class(record)
    key = (kind, methods is _DEFERRED)
    created: Any = _classes.get(key)
    if created is None or created.matcher is not matcher:
        names = {"__module__": kind.__module__, "__slots__": (), "original": kind}
        created = type(kind.__name__, (kind,), {**names, **methods, "matcher": matcher})
        _classes[key] = created
    return created  # type: ignore[no-any-return]


def _original_class(record: logging.LogRecord) -> type[logging.LogRecord]:
    kind = type(record)
    return vars(kind).get("original", kind) if "matcher" in vars(kind) else kind


def _original(record: logging.LogRecord) -> logging.LogRecord:
    """Return a record of the original class that shares the attributes of ``record``."""
    same = object.__new__(_original_class(record))
    _set(same, "__dict__", object.__getattribute__(record, "__dict__"))
    return same


def _defer_redaction(record: logging.LogRecord) -> None:
    """Redact a record when its content is read; at once if its class does not allow that."""
    matcher = registry.matcher
    if matcher is None:
        return
    try:
        if matcher.is_clean(record.name):
            _set(record, "__class__", _class_with(_DEFERRED, record, matcher))
            return
    except Exception:  # code of the application runs here
        pass
    _redact_record_in_place(record)


def _formatted_record(record: logging.LogRecord, *, is_plain: bool) -> logging.LogRecord:
    """Return the record for a formatter, whose text is redacted afterwards.

    A formatter that is not plain may shorten or escape the texts, so they are redacted before.
    """
    matcher = registry.matcher
    original = record if type(record) is logging.LogRecord else _original(record)
    if matcher is None or is_plain:
        return original
    redacted = _redacted(original, matcher, others="keep")
    with suppress(Exception):  # then the message is made of redacted texts
        _set(redacted, "__class__", _class_with(_MESSAGE, redacted, matcher))
    return redacted


def _redact_record_in_place(record: logging.LogRecord) -> None:
    """Remove the hidden values from a record; if that fails, replace its whole content."""
    matcher = vars(type(record)).get("matcher", registry.matcher)
    if matcher is not None:
        # Another thread that reads the record finds all of its content as it was, or redacted.
        redacted = _redacted(_original(record), matcher)
        _set(record, "__dict__", redacted.__dict__)
        if type(record) is not type(redacted):
            _set(record, "__class__", type(redacted))


def _redacted(
    record: logging.LogRecord, matcher: Matcher, *, others: Others = "convert"
) -> logging.LogRecord:
    """Return a copy of a record without the hidden values."""
    redacted = object.__new__(type(record))
    _set(redacted, "__dict__", dict(record.__dict__))
    try:
        from hive_boot.redaction.scrub import redact_record  # most starts redact nothing

        redact_record(redacted, matcher, others=others)
    except Exception:  # the record must not be written unredacted
        for name in redacted.__dict__.keys() - logging.makeLogRecord({}).__dict__.keys():
            del redacted.__dict__[name]
        redacted.msg, redacted.args = REDACTION_FAILED, ()
        redacted.exc_info = redacted.exc_text = redacted.stack_info = None
    return redacted


def excepthook(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Redact the traceback of an exception that ends the process."""

    def excepthook(kind: type[BaseException], exc: BaseException | None, tb: Any) -> None:
        matcher = registry.matcher if switch.on else None
        if matcher is None or exc is None:
            before(kind, exc, tb)
        elif before is sys.__excepthook__:
            write_redacted(format_redacted_traceback, exc.with_traceback(tb))
        else:
            redacted = redacted_copy(exc.with_traceback(tb), matcher)
            _call(before, redacted, type(redacted), redacted, tb)

    return excepthook


def thread_excepthook(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Redact the traceback of an exception that ends a thread."""

    def excepthook(args: threading.ExceptHookArgs) -> None:
        matcher = registry.matcher if switch.on else None
        exc = args.exc_value
        if matcher is None or exc is None:
            before(args)
        elif before is threading.__excepthook__:
            if not isinstance(exc, SystemExit):
                name = args.thread.name if args.thread else threading.get_ident()
                write_redacted(
                    lambda value: (
                        f"Exception in thread {name}:\n{format_redacted_traceback(value)}"
                    ),
                    exc,
                )
        else:
            redacted = redacted_copy(exc, matcher)
            redacted_args = (type(redacted), redacted, args.exc_traceback, args.thread)
            _call(before, redacted, threading.ExceptHookArgs(redacted_args))

    return excepthook


def unraisablehook(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Redact the traceback of an exception that cannot be caught, such as one in ``__del__``."""

    def unraisablehook(args: sys.UnraisableHookArgs) -> None:
        matcher = registry.matcher if switch.on else None
        exc = args.exc_value
        if matcher is None or exc is None:
            before(args)
        elif before is sys.__unraisablehook__:
            prefix = args.err_msg or "Exception ignored in"
            write_redacted(
                lambda value: f"{prefix}: {args.object!r}\n{format_redacted_traceback(value)}", exc
            )
        else:
            redacted = redacted_copy(exc, matcher)
            redacted_args = SimpleNamespace(
                exc_type=type(redacted),
                exc_value=redacted,
                exc_traceback=args.exc_traceback,
                err_msg=args.err_msg and redact_safely(args.err_msg),
                object=redacted_copy(args.object, matcher),
            )
            _call(before, redacted, redacted_args)

    return unraisablehook


def _call(hook: Callable[..., Any], exc: BaseException, *arguments: Any) -> None:
    """Call a hook of another library; if it raises, write both exceptions, redacted."""
    try:
        hook(*arguments)
    except Exception as failure:  # Python would write both, unredacted
        write_redacted(format_redacted_traceback, failure)
        write_redacted(format_redacted_traceback, exc)


def print_exception(before: Callable[..., None], switch: EnabledFlag) -> Callable[..., None]:
    """Redact tracebacks that are printed without a hook, as ``multiprocessing`` and servers do."""

    def print_exception(*args: Any, **kwargs: Any) -> None:
        matcher = registry.matcher if switch.on else None
        if matcher is None:
            before(*args, **kwargs)
            return
        # The exception is the first argument, or the second; the file is the fifth.
        given = dict(zip(("exc", "value", "tb", "limit", "file", "chain"), args, strict=False))
        given.update(kwargs)
        exc = given.pop("exc")
        if isinstance(given.get("value"), BaseException):
            exc = given["value"] = redacted_copy(given["value"], matcher)
        elif isinstance(exc, BaseException):
            exc = redacted_copy(exc, matcher)
        file = given.pop("file", None)
        written = StringIO()
        before(exc, file=written, **given)
        print(redact_safely(written.getvalue()), file=sys.stderr if file is None else file, end="")

    return print_exception


def print_report(before: Callable[..., None], switch: EnabledFlag) -> Callable[..., None]:
    """Redact a traceback that a program has made itself: `TracebackException.print`."""

    def print(
        self: traceback.TracebackException,
        *,
        file: TextIO | None = None,
        **more: Any,
    ) -> None:
        written = StringIO()
        before(self, file=written, **more)
        text = written.getvalue()
        file = sys.stderr if file is None else file
        builtins.print(redact_safely(text) if switch.on else text, file=file, end="")

    return print


def print_of_task(before: Callable[..., None], switch: EnabledFlag) -> Callable[..., None]:
    """Redact the lines of `asyncio.Task.print_stack`: its stack, or the failure of the task."""

    def print(*values: object, **kwargs: Any) -> None:
        before(*(redact_safely(str(each)) if switch.on else each for each in values), **kwargs)

    return print


def format_warning(before: Callable[..., str], switch: EnabledFlag) -> Callable[..., str]:
    """Redact the text of a warning, also when ``logging`` captures it."""

    def formatwarning(*args: Any, **kwargs: Any) -> str:
        text = before(*args, **kwargs)
        return redact_safely(text) if switch.on else text

    return formatwarning
