"""The functions through which Python shows things to people, each with a wrapper.

A wrapper gets what stood there before and a switch; with the switch off it only hands on.
What is Python's own is done here instead, as text that is scrubbed before it is written;
what is somebody else's gets a stand-in, because nobody knows where it writes to.

What cannot be scrubbed is replaced: that a line is missing is told, and that a value got
out could not be taken back. The scrubbing itself is imported when there is something to
show, which at the end of a process may be too late: that, too, must not let a value pass.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from io import StringIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from hive_boot.redaction import hidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot.redaction.matching import Matcher

T = TypeVar("T")

REPLACED = "hive_boot could not scrub what belongs here, so it is not shown"


_LOGGERS = frozenset({logging.Logger, logging.RootLogger})
"""Loggers that do nothing with a record but hand it to handlers."""

_PLAIN = frozenset({logging.StreamHandler, logging.FileHandler, type(logging.lastResort)})
"""Handlers that use nothing of a record but what they format."""


class Switch:
    """Whether a wrapper does anything."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = True


def call_handlers(before: Callable[..., None], switch: Switch) -> Callable[..., None]:
    """Scrub a record for those whom no other wrapper serves.

    They are loggers of another class, handlers with a ``handle`` or a ``filter`` of their
    own, and others who wrap this function.
    """
    alone = _is_logging_s(before)
    handlers = _Handlers()

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        if switch.on and not (
            alone
            and logging.Logger.callHandlers is callHandlers
            and type(self) in _LOGGERS
            and handlers.are_served()
        ):
            _clean(record)
        try:
            before(self, record)
        except BaseException:
            # What fails is the program's; but these frames hold the record.
            _clean(record)
            raise

    return callHandlers


class _Handlers:
    """All handlers of the process, as far as our other wrappers serve them."""

    __slots__ = ("_newest", "_served")

    def __init__(self) -> None:
        self._newest: object = self  # which is no handler
        self._served = True

    def are_served(self) -> bool:
        """Tell that no handler has a ``handle`` or a ``filter`` of its own.

        They are looked at again when there is one more: a new one is the last of a list.
        """
        everyone = logging._handlerList  # type: ignore[attr-defined]  # noqa: SLF001  (there is no other)
        newest = everyone[-1] if everyone else None
        if newest is not self._newest:
            self._served = self._served and all(map(_is_served, _all_handlers()))
            # Last, because another thread may ask meanwhile.
            self._newest = newest
        return self._served


def _all_handlers() -> set[logging.Handler]:
    """Give the handlers that logging knows, and those that a new configuration left in use."""
    known = {reference() for reference in list(logging._handlerList)}  # type: ignore[attr-defined]  # noqa: SLF001  (as above)
    loggers = [logging.root, *list(logging.root.manager.loggerDict.values())]
    used = {handler for logger in loggers for handler in getattr(logger, "handlers", ())}
    return (known | used) - {None}


def _is_served(handler: logging.Handler) -> bool:
    kind = type(handler)
    return (
        kind.handle in {logging.Handler.handle, logging.NullHandler.handle}
        and kind.filter is logging.Handler.filter
        and vars(handler).keys().isdisjoint({"handle", "filter"})
    )


def _is_logging_s(function: Callable[..., Any]) -> bool:
    """Tell that a function is Python's own, whatever it says of itself."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename == logging.Logger.handle.__code__.co_filename


def handler_filter(before: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """Scrub a record for a handler that does more with it than write what Python formats.

    This is what a handler does last before it emits: filters may have added to the record.
    """

    def filter(self: logging.Handler, record: logging.LogRecord) -> Any:  # noqa: A001, ANN401  (logging's)
        try:
            passed = before(self, record)
        except BaseException:
            _clean(record)
            raise
        if passed and switch.on and not _is_plain(self):
            # From Python 3.12 on a filter may give another record.
            _clean(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    return filter


def handler_format(before: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """Scrub what a handler is about to write. This is on the path of every log line."""

    def format(self: logging.Handler, record: logging.LogRecord) -> Any:  # noqa: A001, ANN401  (logging's)
        written = before(self, record)
        matcher = hidden.matcher
        if matcher is None or not switch.on:
            return written
        try:
            if type(written) is str and matcher.is_clean(written):
                return written
            return hidden.redact(written)
        except Exception:  # noqa: BLE001  (whatever it is, the text must not pass)
            return REPLACED

    return format


def handle_error(before: Callable[..., None], switch: Switch) -> Callable[..., None]:
    """Scrub the complaint about a record that a handler could not write."""

    def handleError(self: logging.Handler, record: logging.LogRecord) -> None:  # noqa: N802  (as above)
        matcher = hidden.matcher if switch.on else None
        if matcher is None:
            before(self, record)
            return
        _clean(record)
        exc = sys.exc_info()[1]
        tells = exc is not None and _stand_in(exc, matcher) is not exc
        if not tells and not _is_logging_s(before):
            before(self, record)
        elif logging.raiseExceptions:
            _say(_complaint, record)

    return handleError


def _complaint(record: logging.LogRecord) -> str:
    caller = sys._getframe(1)  # noqa: SLF001  (the way to a frame)
    while caller.f_back is not None and caller.f_globals.get("__name__") in _ON_THE_WAY:
        caller = caller.f_back
    return (
        f"--- Logging error ---\n{traceback.format_exc()}"
        f"Call stack:\n{''.join(traceback.format_stack(caller))}"
        f"Message: {record.msg!r}\nArguments: {record.args}\n"
    )


_ON_THE_WAY = frozenset({__name__, "logging", "logging.handlers"})


def excepthook(before: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """Scrub the traceback of what ends the process."""

    def excepthook(kind: type[BaseException], exc: BaseException | None, tb: Any) -> None:  # noqa: ANN401  (Python's)
        matcher = hidden.matcher if switch.on else None
        if matcher is None or exc is None:
            before(kind, exc, tb)
        elif before is sys.__excepthook__:
            _say(_trace, exc.with_traceback(tb))
        else:
            shown = _stand_in(exc.with_traceback(tb), matcher)
            _call(before, shown, type(shown), shown, tb)

    return excepthook


def thread_excepthook(before: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """Scrub the traceback of what ends a thread."""

    def excepthook(args: threading.ExceptHookArgs) -> None:
        matcher = hidden.matcher if switch.on else None
        exc = args.exc_value
        if matcher is None or exc is None:
            before(args)
        elif before is threading.__excepthook__:
            if not isinstance(exc, SystemExit):
                name = args.thread.name if args.thread else threading.get_ident()
                _say(lambda it: f"Exception in thread {name}:\n{_trace(it)}", exc)
        else:
            shown = _stand_in(exc, matcher)
            told = (type(shown), shown, args.exc_traceback, args.thread)
            _call(before, shown, threading.ExceptHookArgs(told))

    return excepthook


def unraisablehook(before: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """Scrub the traceback of what nobody can catch: an error in ``__del__``, in an exit."""

    def unraisablehook(args: sys.UnraisableHookArgs) -> None:
        matcher = hidden.matcher if switch.on else None
        exc = args.exc_value
        if matcher is None or exc is None:
            before(args)
        elif before is sys.__unraisablehook__:
            what = args.err_msg or "Exception ignored in"
            _say(lambda it: f"{what}: {args.object!r}\n{_trace(it)}", exc)
        else:
            shown = _stand_in(exc, matcher)
            told = SimpleNamespace(
                exc_type=type(shown),
                exc_value=shown,
                exc_traceback=args.exc_traceback,
                err_msg=args.err_msg and _redacted(args.err_msg),
                object=_stand_in(args.object, matcher),
            )
            _call(before, shown, told)

    return unraisablehook


def _call(hook: Callable[..., Any], exc: BaseException, *arguments: Any) -> None:  # noqa: ANN401  (the hook's)
    """Call a hook of somebody else's; what it fails with is told without the value, too."""
    try:
        hook(*arguments)
    except Exception as failure:  # noqa: BLE001  (Python would tell both, and ask nobody)
        _say(_trace, failure)
        _say(_trace, exc)


def print_exception(before: Callable[..., None], switch: Switch) -> Callable[..., None]:
    """Scrub what is printed without any hook, as ``multiprocessing`` does, and servers do."""

    def print_exception(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (what traceback takes)
        matcher = hidden.matcher if switch.on else None
        if matcher is None:
            before(*args, **kwargs)
            return
        # The exception is the first argument, or the second; the file is the fifth.
        given = dict(zip(("exc", "value", "tb", "limit", "file", "chain"), args, strict=False))
        given.update(kwargs)
        exc = given.pop("exc")
        if isinstance(given.get("value"), BaseException):
            exc = given["value"] = _stand_in(given["value"], matcher)
        elif isinstance(exc, BaseException):
            exc = _stand_in(exc, matcher)
        file = given.pop("file", None)
        written = StringIO()
        before(exc, file=written, **given)
        print(_redacted(written.getvalue()), file=sys.stderr if file is None else file, end="")

    return print_exception


def format_warning(before: Callable[..., str], switch: Switch) -> Callable[..., str]:
    """Scrub the text of a warning, also when ``logging`` captures it."""

    def formatwarning(*args: Any, **kwargs: Any) -> str:  # noqa: ANN401  (what warnings hands over)
        text = before(*args, **kwargs)
        return _redacted(text) if switch.on else text

    return formatwarning


PLACES = (
    (logging.Logger, "callHandlers", call_handlers),
    (logging.Handler, "filter", handler_filter),
    (logging.Handler, "format", handler_format),
    (logging.Handler, "handleError", handle_error),
    (sys, "excepthook", excepthook),
    (threading, "excepthook", thread_excepthook),
    (sys, "unraisablehook", unraisablehook),
    (traceback, "print_exception", print_exception),
    (warnings, "formatwarning", format_warning),
)
"""Owner, name and wrapper of each."""


def _is_plain(handler: logging.Handler) -> bool:
    """Tell that a handler only writes what Python's formatter makes of a record.

    That is looked at as a whole. Another formatter may escape what was escaped already.
    """
    formatter = handler.formatter
    own = handler.__dict__
    return (
        type(handler) in _PLAIN
        and (formatter is None or _writes_all(formatter))
        and "emit" not in own
        and "format" not in own
    )


def _writes_all(formatter: logging.Formatter) -> bool:
    """Tell that a formatter is Python's, and cuts nothing as ``%(message).20s`` does."""
    format_ = formatter._fmt or ""  # noqa: SLF001  (there is no other way)
    return type(formatter) is logging.Formatter and ")." not in format_ and ":." not in format_


def _clean(record: logging.LogRecord) -> None:
    """Take the values out of a record, or make it say only that it is not shown."""
    matcher = hidden.matcher
    if matcher is None:
        return
    try:
        from hive_boot.redaction.records import clean  # noqa: PLC0415  (many show nothing)

        clean(record, matcher)
    except Exception:  # noqa: BLE001  (whatever it is, the record must not pass)
        for name in record.__dict__.keys() - logging.makeLogRecord({}).__dict__.keys():
            del record.__dict__[name]
        record.msg, record.args = REPLACED, ()
        record.exc_info = record.exc_text = record.stack_info = None


def _stand_in(it: T, matcher: Matcher) -> T:
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


def _redacted(text: str) -> str:
    try:
        return hidden.redact(text)
    except Exception:  # noqa: BLE001  (whatever it is, the text must not pass)
        return f"{REPLACED}\n"


def _trace(exc: BaseException) -> str:
    """Give a traceback. A stand-in is shown, because a group's lines are written indented."""
    matcher = hidden.matcher
    shown = exc if matcher is None else _stand_in(exc, matcher)
    return "".join(traceback.format_exception(shown))


def _say(write: Callable[[Any], str], it: object) -> None:
    """Write to stderr what ``write`` makes of ``it``, scrubbed, if there is a stderr."""
    try:
        text = write(it)
    except Exception:  # noqa: BLE001  (it is somebody else's code that speaks)
        text = f"{REPLACED}\n"
    text = _redacted(text)
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
