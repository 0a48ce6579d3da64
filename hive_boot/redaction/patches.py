"""Patches: replacements for functions of logging, traceback, warnings and sys.

They remove hidden values. They are loaded when the first of them is called.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from io import StringIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hive_boot.redaction import registry
from hive_boot.redaction.registry import (
    REDACTION_FAILED,
    format_redacted_traceback,
    redact_safely,
    redacted_copy,
    write_redacted,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot.redaction.registry import EnabledFlag

_LOGGERS = frozenset({logging.Logger, logging.RootLogger})
"""Loggers that do nothing with a record but hand it to handlers."""


_PLAIN = frozenset({logging.StreamHandler, logging.FileHandler, type(logging.lastResort)})
"""Handlers that use nothing of a record but what they format."""


def call_handlers(before: Callable[..., None], switch: EnabledFlag) -> Callable[..., None]:
    """Scrub a record for those whom no other wrapper serves.

    They are loggers of another class, handlers with a ``handle`` or a ``filter`` of their
    own, and others who wrap this function.
    """
    handlers = _Handlers(served=_is_stdlib_logging(before))
    everyone = handlers.everyone

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        if (
            not (everyone and everyone[-1] is handlers.newest and handlers.served)
            or type(self) is not logging.Logger
            or logging.Logger.callHandlers is not callHandlers
        ) and switch.on:
            served = handlers.are_served() and type(self) in _LOGGERS
            if not served or logging.Logger.callHandlers is not callHandlers:
                _redact_record_in_place(record)
        try:
            before(self, record)
        except BaseException:
            # What fails is the program's; but these frames hold the record.
            _redact_record_in_place(record)
            raise

    return callHandlers


class _Handlers:
    """All handlers of the process, as far as our other wrappers serve them.

    Args:
        served: False when it does not matter, because somebody else sees each record.

    Attributes:
        everyone: what logging knows of them; a new one is the last.
        newest: the last one when they were looked at.
        served: whether none of them has a ``handle`` or a ``filter`` of its own.
    """

    __slots__ = ("everyone", "newest", "served")

    def __init__(self, *, served: bool) -> None:
        self.everyone: list[Any] = logging._handlerList  # type: ignore[attr-defined]  # noqa: SLF001  (there is no other)
        self.newest: object = self  # which is no handler
        self.served = served

    def are_served(self) -> bool:
        """Tell whether all are served; they are looked at again when there is one more."""
        newest = self.everyone[-1] if self.everyone else None
        if newest is not self.newest:
            self.served = self.served and all(map(_is_covered, _all_handlers(self.everyone)))
            # Last, because another thread may ask meanwhile.
            self.newest = newest
        return self.served


def _all_handlers(everyone: list[Any]) -> set[logging.Handler]:
    """Give the handlers that logging knows, and those that a new configuration left in use."""
    known = {reference() for reference in list(everyone)}
    loggers = [logging.root, *list(logging.root.manager.loggerDict.values())]
    used = {handler for logger in loggers for handler in getattr(logger, "handlers", ())}
    return (known | used) - {None}


def _is_covered(handler: logging.Handler) -> bool:
    kind = type(handler)
    return (
        kind.handle in {logging.Handler.handle, logging.NullHandler.handle}
        and kind.filter is logging.Handler.filter
        and vars(handler).keys().isdisjoint({"handle", "filter"})
    )


def _is_stdlib_logging(function: Callable[..., Any]) -> bool:
    """Tell that a function is Python's own, whatever it says of itself."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename == logging.Logger.handle.__code__.co_filename


def handler_filter(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Scrub a record for a handler that does more with it than write what Python formats.

    This is what a handler does last before it emits: filters may have added to the record.
    It is on the path of every log line.
    """
    # The formatter that was last found to be plain: none is, too.
    plain: logging.Formatter | None = None

    def filter(self: logging.Handler, record: logging.LogRecord) -> Any:  # noqa: A001, ANN401  (logging's)
        nonlocal plain
        try:
            passed = before(self, record)
        except BaseException:
            _redact_record_in_place(record)
            raise
        if passed and switch.on:
            formatter = self.formatter
            if formatter is not plain and _is_plain(formatter):
                plain = formatter
            own = self.__dict__
            if (
                formatter is not plain
                or type(self) not in _PLAIN
                or "emit" in own
                or "format" in own
            ):
                # From Python 3.12 on a filter may give another record.
                _redact_record_in_place(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    return filter


def handler_format(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Scrub what a handler is about to write. This is on the path of every log line."""

    def format(self: logging.Handler, record: logging.LogRecord) -> Any:  # noqa: A001, ANN401  (logging's)
        written = before(self, record)
        matcher = registry.matcher
        if matcher is None or not switch.on:
            return written
        try:
            if type(written) is str and matcher.is_clean(written):
                return written
            return registry.redact(written)
        except Exception:  # noqa: BLE001  (whatever it is, the text must not pass)
            return REDACTION_FAILED

    return format


def handle_error(before: Callable[..., None], switch: EnabledFlag) -> Callable[..., None]:
    """Scrub the complaint about a record that a handler could not write."""

    def handleError(self: logging.Handler, record: logging.LogRecord) -> None:  # noqa: N802  (as above)
        matcher = registry.matcher if switch.on else None
        if matcher is None:
            before(self, record)
            return
        _redact_record_in_place(record)
        exc = sys.exc_info()[1]
        tells = exc is not None and redacted_copy(exc, matcher) is not exc
        if not tells and not _is_stdlib_logging(before):
            before(self, record)
        elif logging.raiseExceptions:
            write_redacted(_logging_error_text, record)

    return handleError


def _logging_error_text(record: logging.LogRecord) -> str:
    caller = sys._getframe(1)  # noqa: SLF001  (the way to a frame)
    while caller.f_back is not None and caller.f_globals.get("__name__") in _ON_THE_WAY:
        caller = caller.f_back
    return (
        f"--- Logging error ---\n{traceback.format_exc()}"
        f"Call stack:\n{''.join(traceback.format_stack(caller))}"
        f"Message: {record.msg!r}\nArguments: {record.args}\n"
    )


_ON_THE_WAY = frozenset({__name__, write_redacted.__module__, "logging", "logging.handlers"})


def _is_plain(formatter: logging.Formatter | None) -> bool:
    """Tell that a formatter is Python's, and cuts nothing as ``%(message).20s`` does.

    What it makes is looked at as a whole. Another one may escape what was escaped already.
    """
    if formatter is None:
        return True
    if type(formatter) is not logging.Formatter:
        return False
    written = formatter._fmt or ""  # noqa: SLF001  (there is no other way)
    return ")." not in written and ":." not in written


def _redact_record_in_place(record: logging.LogRecord) -> None:
    """Take the values out of a record, or make it say only that it is not shown."""
    matcher = registry.matcher
    if matcher is None:
        return
    try:
        from hive_boot.redaction.scrub import redact_record  # noqa: PLC0415  (many show nothing)

        redact_record(record, matcher)
    except Exception:  # noqa: BLE001  (whatever it is, the record must not pass)
        for name in record.__dict__.keys() - logging.makeLogRecord({}).__dict__.keys():
            del record.__dict__[name]
        record.msg, record.args = REDACTION_FAILED, ()
        record.exc_info = record.exc_text = record.stack_info = None


def excepthook(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Scrub the traceback of what ends the process."""

    def excepthook(kind: type[BaseException], exc: BaseException | None, tb: Any) -> None:  # noqa: ANN401  (Python's)
        matcher = registry.matcher if switch.on else None
        if matcher is None or exc is None:
            before(kind, exc, tb)
        elif before is sys.__excepthook__:
            write_redacted(format_redacted_traceback, exc.with_traceback(tb))
        else:
            shown = redacted_copy(exc.with_traceback(tb), matcher)
            _call(before, shown, type(shown), shown, tb)

    return excepthook


def thread_excepthook(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Scrub the traceback of what ends a thread."""

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
            shown = redacted_copy(exc, matcher)
            redacted_args = (type(shown), shown, args.exc_traceback, args.thread)
            _call(before, shown, threading.ExceptHookArgs(redacted_args))

    return excepthook


def unraisablehook(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Scrub the traceback of what nobody can catch: an error in ``__del__``, in an exit."""

    def unraisablehook(args: sys.UnraisableHookArgs) -> None:
        matcher = registry.matcher if switch.on else None
        exc = args.exc_value
        if matcher is None or exc is None:
            before(args)
        elif before is sys.__unraisablehook__:
            what = args.err_msg or "Exception ignored in"
            write_redacted(
                lambda value: f"{what}: {args.object!r}\n{format_redacted_traceback(value)}", exc
            )
        else:
            shown = redacted_copy(exc, matcher)
            redacted_args = SimpleNamespace(
                exc_type=type(shown),
                exc_value=shown,
                exc_traceback=args.exc_traceback,
                err_msg=args.err_msg and redact_safely(args.err_msg),
                object=redacted_copy(args.object, matcher),
            )
            _call(before, shown, redacted_args)

    return unraisablehook


def _call(hook: Callable[..., Any], exc: BaseException, *arguments: Any) -> None:  # noqa: ANN401  (the hook's)
    """Call a hook of somebody else's; what it fails with is told without the value, too."""
    try:
        hook(*arguments)
    except Exception as failure:  # noqa: BLE001  (Python would tell both, and ask nobody)
        write_redacted(format_redacted_traceback, failure)
        write_redacted(format_redacted_traceback, exc)


def print_exception(before: Callable[..., None], switch: EnabledFlag) -> Callable[..., None]:
    """Scrub what is printed without any hook, as ``multiprocessing`` does, and servers do."""

    def print_exception(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (what traceback takes)
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


def format_warning(before: Callable[..., str], switch: EnabledFlag) -> Callable[..., str]:
    """Scrub the text of a warning, also when ``logging`` captures it."""

    def formatwarning(*args: Any, **kwargs: Any) -> str:  # noqa: ANN401  (what warnings hands over)
        text = before(*args, **kwargs)
        return redact_safely(text) if switch.on else text

    return formatwarning
