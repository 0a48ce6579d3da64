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
from typing import TYPE_CHECKING, Any

from hive_boot.redaction import hidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot.redaction.matching import Matcher

REPLACED = "hive_boot could not scrub what belongs here, so it is not shown"


_LOGGERS = frozenset({logging.Logger, logging.RootLogger})
"""Loggers that do nothing with a record but hand it to handlers."""

_PLAIN = frozenset({logging.StreamHandler, logging.FileHandler, type(logging.lastResort)})
"""Handlers that use nothing of a record but what they format."""


_FILE = 4
"""Where ``traceback.print_exception`` takes the file to write to, if it is not named."""


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
    alone = before.__module__ == "logging"
    handlers = _Handlers()

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        if switch.on and not (
            alone
            and logging.Logger.callHandlers is callHandlers
            and type(self) in _LOGGERS
            and handlers.are_served()
        ):
            _clean(record)
        before(self, record)

    return callHandlers


class _Handlers:
    """All handlers of the process, as far as our other wrappers serve them."""

    __slots__ = ("newest", "served")

    def __init__(self) -> None:
        self.newest: object = None
        self.served = True

    def are_served(self) -> bool:
        """Tell that no handler has a ``handle`` or a ``filter`` of its own.

        They are looked at again when there is one more: a new one is the last of a list.
        """
        everyone = logging._handlerList  # type: ignore[attr-defined]  # noqa: SLF001  (there is no other)
        newest = everyone[-1] if everyone else None
        if newest is not self.newest:
            kinds = {type(handler) for known in list(everyone) if (handler := known()) is not None}
            self.served = self.served and all(
                kind.handle is logging.Handler.handle and kind.filter is logging.Handler.filter
                for kind in kinds
            )
            # Last, because another thread may ask meanwhile.
            self.newest = newest
        return self.served


def handler_filter(before: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """Scrub a record for a handler that does more with it than write what Python formats.

    This is what a handler does last before it emits: filters may have added to the record.
    """

    def filter(self: logging.Handler, record: logging.LogRecord) -> Any:  # noqa: A001, ANN401  (logging's)
        passed = before(self, record)
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
        if not tells and before.__module__ != "logging":
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
            before(type(shown), shown, tb)

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
            before(threading.ExceptHookArgs((type(shown), shown, args.exc_traceback, args.thread)))

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
            before(
                SimpleNamespace(
                    exc_type=type(shown),
                    exc_value=shown,
                    exc_traceback=args.exc_traceback,
                    err_msg=args.err_msg,
                    object=args.object,
                )
            )

    return unraisablehook


def print_exception(before: Callable[..., None], switch: Switch) -> Callable[..., None]:
    """Scrub what is printed without any hook, as ``multiprocessing`` does, and servers do."""

    def print_exception(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (what traceback takes)
        if not switch.on or hidden.matcher is None:
            before(*args, **kwargs)
            return
        # The file is the fifth argument, or has its name.
        file = kwargs.pop("file", None) if len(args) <= _FILE else args[_FILE]
        written = StringIO()
        chain = {"chain": args[_FILE + 1]} if len(args) > _FILE + 1 else {}
        before(*args[:_FILE], file=written, **chain, **kwargs)
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
        and (formatter is None or type(formatter) is logging.Formatter)
        and "emit" not in own
        and "format" not in own
    )


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


def _stand_in(exc: BaseException, matcher: Matcher) -> BaseException:
    """Give what is shown in the place of an exception."""
    try:
        from hive_boot.redaction.standins import stand_in  # noqa: PLC0415  (as above)

        return stand_in(exc, matcher)
    except Exception:  # noqa: BLE001  (whatever it is, the exception must not pass)
        return RuntimeError(REPLACED)


def _redacted(text: str) -> str:
    try:
        return hidden.redact(text)
    except Exception:  # noqa: BLE001  (whatever it is, the text must not pass)
        return f"{REPLACED}\n"


def _trace(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc))


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
