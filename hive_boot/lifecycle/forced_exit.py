"""Forced exit of a process whose tasks or threads do not end, and the lines where they hang."""

from __future__ import annotations

import gc
import linecache
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING

# Imported here and not where they are used: a process that exits may be unable to open a file.
from hive_boot._output import write_stderr
from hive_boot._timings import DEFAULTS
from hive_boot.redaction.registry import redact_safely

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from types import FrameType
    from typing import NoReturn

    from hive_boot._timings import Timings

_LIBRARY_PACKAGES = frozenset({"anyio", "asyncio", "contextlib", "hive_boot", "trio"})
"""Packages whose frames are skipped: the frame that called them is shown."""


_SKIPPED_IN_THREADS = _LIBRARY_PACKAGES | {"concurrent", "queue", "threading"}


_HIDING = frozenset(
    {"anext_awaitable", "async_generator_asend", "async_generator_athrow", "coroutine_wrapper"}
)
"""Types of the interpreter that wait for an object which no attribute of them shows."""


_LONGEST = 120
"""Maximum number of characters of a source line."""


def locate_coroutine(awaitable: object) -> str:
    """Return the line at which a coroutine or async generator is suspended.

    Called from another task of the same loop; never raises.

    Args:
        awaitable: a coroutine or an async generator; for a context manager made by
            ``asynccontextmanager`` pass its ``gen``.

    Returns:
        ``app.py:42 in connect: await pool.open()``, for the innermost frame outside anyio,
        asyncio, trio, contextlib and hive_boot. Empty without such a frame, and for an
        awaitable that is running or has ended.
    """
    with suppress(Exception):
        frames = list(_frames(awaitable))
        # Only the frame of a running coroutine has a caller.
        if not any(frame.f_back for frame in frames):
            frame = _last(frames, _LIBRARY_PACKAGES)
            return "" if frame is None else _described(frame)
    return ""


def locate_thread(thread: threading.Thread) -> str:
    """Return the line that a thread executes now; never raises.

    Args:
        thread: any thread.

    Returns:
        The line of the innermost frame outside the libraries, as :func:`locate_coroutine`
        formats it; of the innermost frame at all without one. Empty for a thread that has ended.
    """
    with suppress(Exception):
        frames: list[FrameType] = []
        frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  (documented)
        while frame is not None:
            frames.insert(0, frame)
            frame = frame.f_back
        return _described(_last(frames, _SKIPPED_IN_THREADS) or frames[-1])
    return ""


def _frames(awaitable: object) -> Iterator[FrameType]:
    """Yield the frames of an awaitable and of what it awaits, down to a Future or the like."""
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
    """Return the object that one of the ``_HIDING`` types waits for: its first referent."""
    kind = type(awaitable)
    if kind.__module__ == "builtins" and kind.__name__ in _HIDING:
        return gc.get_referents(awaitable)[0]
    return None


def _last(frames: Iterable[FrameType], skipped: frozenset[str]) -> FrameType | None:
    """Return the innermost frame that is in none of the skipped packages."""
    found = None
    for frame in frames:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in skipped:
            found = frame
    return found


def _described(frame: FrameType) -> str:
    """Return the line, the function and the source of a frame."""
    code, line = frame.f_code, frame.f_lineno
    place = f"{_short(code.co_filename)}:{line} in {code.co_name}"
    source = ""
    with suppress(Exception):  # the loader of the module may raise anything
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
"""Seconds between two checks of threads that are joined."""


_NO_DESCRIPTION = (
    "hive_boot: shutdown timeout exceeded; the list of what has not stopped is not available"
)


class ExitWatchdog:
    """Watchdog thread that ends the process after a time, even if the main thread is blocked.

    Code that holds the GIL (a C extension, a slow regular expression) delays the exit until it
    releases the GIL.

    Args:
        seconds: the time from ``start`` on.
        pending: returns the text for stderr: what has not stopped. Called in a separate
            thread; it may fail or hang.
        status: the exit status of the process.
        timings: the limit of each step of the exit.
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
        """Start the time; called once.

        Raises:
            RuntimeError: no thread can be started.
        """
        # Python 3.12 starts no thread while it joins threads at its exit. Then the first of
        # these two threads writes the message itself, and the second ends the process if the
        # first hangs.
        _daemon(self._wait, "hive_boot: deadline")
        _daemon(self._hard_exit, "hive_boot: last deadline")

    def cancel(self) -> None:
        """Cancel the exit, if the time is not over yet."""
        self._cancelled.set()
        self._decided.set()

    def only_while_exiting(self) -> None:
        """From now on end the process only while Python joins its threads at the exit."""
        self._only_at_exit = True

    def _wait(self) -> None:
        if self._cancelled.wait(min(self._seconds, threading.TIMEOUT_MAX)):
            return
        self._is_over = _is_exiting() or not self._only_at_exit
        self._decided.set()
        if self._is_over:
            self._end()

    def _hard_exit(self) -> None:
        # The time counts from here: code that held the GIL may have delayed this thread.
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
    """End the process now: no ``finally`` runs, and no thread is joined.

    The text is written and the streams and log handlers are flushed before, with a time limit.

    Args:
        status: the exit status.
        text: the text for stderr; secrets in it are redacted.
        timings: the limit of each step.
    """
    _run_with_timeout(timings, lambda: _say(text))
    _run_with_timeout(timings, *map(_flush, ("stdout", "stderr")), logging.shutdown)
    os._exit(status)


def _is_exiting() -> bool:
    """Return whether the main thread has ended, so that Python joins the others."""
    # Threads of an executor are joined while the main thread still counts as alive.
    is_shutting_down: bool = getattr(threading, "_SHUTTING_DOWN", False)
    return is_shutting_down or not threading.main_thread().is_alive()


def threads_started_since(before: Collection[threading.Thread]) -> list[threading.Thread]:
    """Return the threads that were started since then, and that Python joins at its exit.

    Args:
        before: the result of ``threading.enumerate`` at that moment.

    Returns:
        The living threads without daemon threads, the current and the main thread.
    """
    but = {threading.current_thread(), threading.main_thread(), *before}
    return [each for each in threading.enumerate() if not each.daemon and each not in but]


def join_threads(threads: Sequence[threading.Thread], seconds: float) -> list[str]:
    """Join threads, except idle threads of an executor: Python ends those itself.

    Args:
        threads: the threads to join.
        seconds: the time for all of them.

    Returns:
        The names of the threads that have not ended, each with the line that it executes.
    """
    end = time.monotonic() + seconds
    while (holding := [each for each in threads if _blocks_exit(each)]) and time.monotonic() < end:
        holding[0].join(min(_SLICE, max(0.0, end - time.monotonic())))
    return [_named(each) for each in holding]


def _blocks_exit(thread: threading.Thread) -> bool:
    """Return whether a thread would hold up the exit of Python.

    Python ends the idle threads of both kinds of executors itself.
    """
    if not thread.is_alive() or not getattr(thread, "pending_work_items", True):
        return False  # only the manager thread of a ProcessPoolExecutor has pending_work_items
    pools = sys.modules.get("concurrent.futures.thread")
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  (documented)
    if pools is None or frame is None:
        return True
    # The innermost Python frame of an idle worker is the worker function: SimpleQueue.get is C.
    return frame.f_code is not pools._worker.__code__  # noqa: SLF001


def _named(thread: threading.Thread) -> str:
    place = locate_thread(thread)
    return f"{thread.name} stands at {place}" if place else thread.name


def _say(text: str) -> None:
    """Write a text to stderr, with a final line break."""
    if text:
        shown = redact_safely(text)
        write_stderr(shown if shown.endswith("\n") else f"{shown}\n")


def _flush(name: str) -> Callable[[], None]:
    """Return a function that flushes a stream; without the stream it raises."""
    return lambda: getattr(sys, name).flush()


def _run_with_timeout(timings: Timings, *calls: Callable[[], object]) -> None:
    """Call functions that may fail or hang, in parallel, and leave behind those that hang."""
    threads = []
    for call in calls:
        try:
            threads.append(_daemon(call, "hive_boot: last output"))
        except RuntimeError:
            # The thread limit is reached, or Python is exiting.
            with suppress(BaseException):
                call()
    end = time.monotonic() + timings.last_output_timeout
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _daemon(call: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread that ignores every exception."""

    def work() -> None:
        with suppress(BaseException):
            call()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread
