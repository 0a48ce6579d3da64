"""Tracebacks of failures, without the frames of libraries that call the application."""

from __future__ import annotations

import sys
from itertools import takewhile
from typing import TYPE_CHECKING

from hive_boot.exceptions import BootError
from hive_boot.redaction.registry import redacted_report

if TYPE_CHECKING:
    import traceback
    from collections.abc import Iterable

_CALLERS = frozenset(
    {"anyio", "asyncio", "contextlib", "fastapi", "hive_boot", "outcome", "starlette", "trio"}
)
"""Packages that call an application; their frames before its own explain nothing."""


def format_failure(exc: BaseException) -> str:
    """Return the redacted traceback of a failure, from the first frame of the application on."""
    report = redacted_report(exc)
    callers = _paths(_CALLERS)
    todo = [report]
    while todo:
        each = todo.pop()
        members: Iterable[traceback.TracebackException] = getattr(each, "exceptions", None) or ()
        count = sum(1 for _ in takewhile(lambda one: one.filename.startswith(callers), each.stack))
        # An error of hive_boot or of a library itself has no other frames.
        if count < len(each.stack) or members:
            del each.stack[:count]
        todo += filter(None, (each.__cause__, each.__context__, *members))
    return "".join(report.format())


def format_location(exc: BaseException) -> str:
    """Return the lines of the application that raised an exception of hive_boot; may be empty."""
    stack = _application_frames(exc)
    return "".join(["Traceback (most recent call last):\n", *stack.format()]) if stack else ""


def locate_failure(exc: BaseException) -> str:
    """Return ``app.py:42 in connect``, where the application raised an exception; may be empty."""
    return "".join(
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in _application_frames(exc)[-1:]
    )


def trim_traceback(exc: BaseException) -> BaseException:
    """Return an exception, without the frames before the first one of the application."""
    callers = _paths(_CALLERS)
    trace = exc.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(callers):
        trace = trace.tb_next
    # The lines of hive_boot matter only in an error that it does not know.
    is_known = isinstance(exc, BootError | BaseExceptionGroup)
    return exc if trace is None and not is_known else exc.with_traceback(trace)


def _application_frames(exc: BaseException) -> traceback.StackSummary:
    """Return the frames of the application, and of what it calls besides hive_boot."""
    stack = redacted_report(exc).stack
    own, callers = _paths({"hive_boot"}), _paths(_CALLERS)
    while stack and stack[-1].filename.startswith(own):
        stack.pop()
    del stack[: sum(1 for _ in takewhile(lambda one: one.filename.startswith(callers), stack))]
    return stack


def _paths(names: Iterable[str]) -> tuple[str, ...]:
    """Return the directories of imported packages, and the files of imported modules."""
    files = [getattr(sys.modules.get(name), "__file__", None) for name in names]
    return tuple(file.removesuffix("__init__.py") for file in files if file)
