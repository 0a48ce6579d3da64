"""Forced exit: what ends a process whose tasks or threads do not end, and where they hang."""

from __future__ import annotations

import linecache
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING

# These are imported before they are needed: a process that ends may be unable to open a file.
from hive_boot._output import write_stderr
from hive_boot._timings import DEFAULTS
from hive_boot.redaction.registry import redact_safely

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from types import FrameType
    from typing import NoReturn

    from hive_boot._timings import Timings

_LIBRARY_PACKAGES = frozenset({"anyio", "asyncio", "contextlib", "hive_boot", "trio"})
"""Packages that wait for others: what they are called with is worth knowing."""


_PASSED_OVER_IN_THREADS = _LIBRARY_PACKAGES | {"concurrent", "queue", "threading"}


_HIDING = frozenset(
    {"anext_awaitable", "async_generator_asend", "async_generator_athrow", "coroutine_wrapper"}
)
"""Types of the interpreter's that hold what they wait for, and have no attribute for it."""


_LONGEST = 120
"""Characters of a source line."""


def locate_coroutine(awaitable: object) -> str:
    """Say where a suspended coroutine or async generator stands.

    It is called from another task of the same loop, and never raises.

    Args:
        awaitable: a coroutine or an async generator; the one of a context manager made by
            ``asynccontextmanager`` is its ``gen``.

    Returns:
        ``app.py:42 in connect: await pool.open()``, for the deepest frame that is not one
        of anyio, asyncio, trio, contextlib or hive_boot. Nothing when there is none, and
        for what is running or over.
    """
    with suppress(Exception):
        frames = list(_frames(awaitable))
        # Only what runs has been called by something.
        if not any(frame.f_back for frame in frames):
            frame = _last(frames, _LIBRARY_PACKAGES)
            return "" if frame is None else _described(frame)
    return ""


def locate_thread(thread: threading.Thread) -> str:
    """Say where a thread stands now; never raises.

    Args:
        thread: any thread.

    Returns:
        What ``stands_at`` gives, or the thread's innermost frame when none of them is its
        author's. Nothing for one that is not alive.
    """
    with suppress(Exception):
        frames: list[FrameType] = []
        frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  (documented)
        while frame is not None:
            frames.insert(0, frame)
            frame = frame.f_back
        return _described(_last(frames, _PASSED_OVER_IN_THREADS) or frames[-1])
    return ""


def _frames(awaitable: object) -> Iterator[FrameType]:
    """Go from an awaitable to what it awaits, and so on; Futures and the like are the end."""
    while awaitable is not None:
        frame: FrameType | None = None
        if isinstance(awaitable, CoroutineType):
            frame, awaitable = awaitable.cr_frame, awaitable.cr_await
        elif isinstance(awaitable, AsyncGeneratorType):
            frame, awaitable = awaitable.ag_frame, awaitable.ag_await
        elif isinstance(awaitable, GeneratorType):
            frame, awaitable = awaitable.gi_frame, awaitable.gi_yieldfrom
        else:
            awaitable = _inner_awaitable(awaitable)
        if frame is not None:
            yield frame


def _inner_awaitable(awaitable: object) -> object:
    """Give what a type without attributes waits for; it holds that first, then any values."""
    kind = type(awaitable)
    if kind.__module__ == "builtins" and kind.__name__ in _HIDING:
        import gc  # noqa: PLC0415  (only a hang needs it)

        return gc.get_referents(awaitable)[0]
    return None


def _last(frames: Iterable[FrameType], passed_over: frozenset[str]) -> FrameType | None:
    """Find the innermost frame that is in none of some packages."""
    found = None
    for frame in frames:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in passed_over:
            found = frame
    return found


def _described(frame: FrameType) -> str:
    """Name a frame's line, function and source."""
    code, line = frame.f_code, frame.f_lineno
    place = f"{_short(code.co_filename)}:{line} in {code.co_name}"
    source = ""
    with suppress(Exception):  # it may come from a loader, which is anybody's
        source = linecache.getline(code.co_filename, line, frame.f_globals).strip()
    if len(source) > _LONGEST:
        source = f"{source[:_LONGEST]}..."
    return f"{place}: {source}" if source else place


def _short(path: str) -> str:
    """Return a path below the working directory without it, any other with one directory."""
    with suppress(OSError):  # the working directory may have been removed
        directory = os.getcwd() + os.sep  # noqa: PTH109  (pathlib takes 2 ms of every start)
        if path.startswith(directory):
            return path[len(directory) :]
    return "/".join(path.split("/")[-2:])


_SLICE = 0.05
"""Seconds between two looks at threads that are waited for."""


_NO_DESCRIPTION = "hive_boot: the time is over, and what has not ended cannot be told"


class ExitWatchdog:
    """Ends the process when the time is over, whatever the main thread does.

    Only code that keeps the interpreter to itself (an extension in C, a regular expression
    that runs wild) holds it up, and that only until it lets go.

    Args:
        seconds: the time from ``start`` on.
        pending: gives the text that is written to stderr then: what has not ended. It is
            called in a thread of its own, and may fail or hang.
        status: the exit status of the process.
        timings: how long each step of the end may take.
    """

    def __init__(
        self,
        seconds: float,
        pending: Callable[[], str],
        status: int,
        timings: Timings = DEFAULTS,
    ) -> None:
        self._seconds = seconds
        self._pending = pending
        self._status = status
        self._timings = timings
        self._cancelled = threading.Event()
        self._decided = threading.Event()
        self._is_over = False
        self._only_at_exit = False

    def start(self) -> None:
        """Let the time run, once.

        Raises:
            RuntimeError: no thread can be started.
        """
        # While it waits for threads at its end, Python 3.12 starts none: then the last words
        # are said in the first of these two, and the second sees that it does not hang.
        _daemon(self._wait, "hive_boot: deadline")
        _daemon(self._hard_exit, "hive_boot: last deadline")

    def cancel(self) -> None:
        """Let the process go on, if the time is not over yet."""
        self._cancelled.set()
        self._decided.set()

    def only_while_exiting(self) -> None:
        """End from now on only a process that waits for its threads, and does nothing else."""
        self._only_at_exit = True

    def _wait(self) -> None:
        if self._cancelled.wait(min(self._seconds, threading.TIMEOUT_MAX)):
            return
        self._is_over = _is_exiting() or not self._only_at_exit
        self._decided.set()
        if self._is_over:
            self._end()

    def _hard_exit(self) -> None:
        # Counted from here: what kept the interpreter to itself may have taken any time.
        self._decided.wait()
        if self._is_over:
            time.sleep(4 * self._timings.last_output_timeout)
            os._exit(self._status)

    def _end(self) -> None:
        message = [_NO_DESCRIPTION]

        def ask() -> None:
            message[0] = self._pending()

        _run_with_timeout(self._timings, ask)
        exit_now(self._status, message[0], self._timings)


def exit_now(status: int, text: str, timings: Timings = DEFAULTS) -> NoReturn:
    """End the process now: nothing is unwound, and no thread is waited for.

    What has been printed and logged is written first, if that takes no more than a moment.

    Args:
        status: the exit status.
        text: what is written to stderr before, without the secrets in it.
        timings: how long each step may take.
    """
    _run_with_timeout(timings, lambda: _say(text))
    _run_with_timeout(timings, *map(_flush, ("stdout", "stderr")), logging.shutdown)
    os._exit(status)


def _is_exiting() -> bool:
    """Tell whether the main thread is over, and Python waits for the others."""
    # Those of a pool are waited for before the main thread is said to be over.
    is_shutting_down: bool = getattr(threading, "_SHUTTING_DOWN", False)
    return is_shutting_down or not threading.main_thread().is_alive()


def threads_started_since(before: Collection[threading.Thread]) -> list[threading.Thread]:
    """Find the threads that were started since, and that hold the process.

    Args:
        before: what ``threading.enumerate`` gave then.

    Returns:
        Those that are alive, but for daemon threads, the current and the main one.
    """
    but = {threading.current_thread(), threading.main_thread(), *before}
    return [each for each in threading.enumerate() if not each.daemon and each not in but]


def join_threads(threads: Sequence[threading.Thread], seconds: float) -> list[str]:
    """Wait for threads to end. Idle ones of a pool are not waited for: Python ends them.

    Args:
        threads: those to wait for.
        seconds: the time for all of them.

    Returns:
        The names of those that have not ended, each with the line where it stands.
    """
    end = time.monotonic() + seconds
    while (holding := [each for each in threads if _blocks_exit(each)]) and time.monotonic() < end:
        holding[0].join(min(_SLICE, max(0.0, end - time.monotonic())))
    return [_named(each) for each in holding]


def _blocks_exit(thread: threading.Thread) -> bool:
    """Tell whether Python would wait for a thread at its end.

    It tells the threads of both kinds of pools to end when there is no work for them left.
    """
    if not thread.is_alive() or not getattr(thread, "pending_work_items", True):
        return False  # the latter is what the one thread of a ProcessPoolExecutor has to do
    pools = sys.modules.get("concurrent.futures.thread")
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  (documented)
    if pools is None or frame is None:
        return True
    # A worker without work is in the loop that takes some; the queue it waits at has no frame.
    return frame.f_code is not pools._worker.__code__  # noqa: SLF001


def _named(thread: threading.Thread) -> str:
    place = locate_thread(thread)
    return f"{thread.name} stands at {place}" if place else thread.name


def _say(text: str) -> None:
    """Write a text to stderr, as lines."""
    if text:
        shown = redact_safely(text)
        write_stderr(shown if shown.endswith("\n") else f"{shown}\n")


def _flush(name: str) -> Callable[[], None]:
    """Give what writes out a stream, if there is one then."""
    return lambda: getattr(sys, name).flush()


def _run_with_timeout(timings: Timings, *calls: Callable[[], object]) -> None:
    """Do what may fail or hang, side by side; what hangs is left behind."""
    threads = []
    for call in calls:
        try:
            threads.append(_daemon(call, "hive_boot: last words"))
        except RuntimeError:
            # There are too many threads, or Python is at its end.
            with suppress(BaseException):
                call()
    end = time.monotonic() + timings.last_output_timeout
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _daemon(call: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread, in which nothing is said about a failure."""

    def work() -> None:
        with suppress(BaseException):
            call()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread
