"""The functions by which Python itself writes to stderr, each with a wrapper.

What is Python's own is done here instead, as text that is scrubbed before it is written;
what is somebody else's gets a stand-in, because nobody knows where it writes to.
"""

from __future__ import annotations

import sys
import threading
from io import StringIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hive_boot.redaction import hidden
from hive_boot.redaction.showing import (
    format_redacted_traceback,
    redact_safely,
    redacted_copy,
    write_redacted,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot.redaction.hidden import EnabledFlag


def excepthook(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Scrub the traceback of what ends the process."""

    def excepthook(kind: type[BaseException], exc: BaseException | None, tb: Any) -> None:  # noqa: ANN401  (Python's)
        matcher = hidden.matcher if switch.on else None
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
        matcher = hidden.matcher if switch.on else None
        exc = args.exc_value
        if matcher is None or exc is None:
            before(args)
        elif before is threading.__excepthook__:
            if not isinstance(exc, SystemExit):
                name = args.thread.name if args.thread else threading.get_ident()
                write_redacted(
                    lambda it: f"Exception in thread {name}:\n{format_redacted_traceback(it)}", exc
                )
        else:
            shown = redacted_copy(exc, matcher)
            told = (type(shown), shown, args.exc_traceback, args.thread)
            _call(before, shown, threading.ExceptHookArgs(told))

    return excepthook


def unraisablehook(before: Callable[..., Any], switch: EnabledFlag) -> Callable[..., Any]:
    """Scrub the traceback of what nobody can catch: an error in ``__del__``, in an exit."""

    def unraisablehook(args: sys.UnraisableHookArgs) -> None:
        matcher = hidden.matcher if switch.on else None
        exc = args.exc_value
        if matcher is None or exc is None:
            before(args)
        elif before is sys.__unraisablehook__:
            what = args.err_msg or "Exception ignored in"
            write_redacted(
                lambda it: f"{what}: {args.object!r}\n{format_redacted_traceback(it)}", exc
            )
        else:
            shown = redacted_copy(exc, matcher)
            told = SimpleNamespace(
                exc_type=type(shown),
                exc_value=shown,
                exc_traceback=args.exc_traceback,
                err_msg=args.err_msg and redact_safely(args.err_msg),
                object=redacted_copy(args.object, matcher),
            )
            _call(before, shown, told)

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
        matcher = hidden.matcher if switch.on else None
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
