"""Forced exit of a process whose tasks or threads do not end; the lines at which they hang."""

from __future__ import annotations

import gc
import linecache
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, NoReturn

# Imported here and not where they are used: a process that exits may be unable to open a file.
from hive_boot._output import escape_controls, write_stderr
from hive_boot._timings import DEFAULTS, Timings
from hive_boot.lifecycle.tasks import start_daemon_thread
from hive_boot.redaction.registry import redact_safely

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.process import BaseProcess
    from types import FrameType


_LIBRARY_PACKAGES = frozenset({"anyio", "asyncio", "contextlib", "hive_boot", "trio"})
"""Packages whose frames are skipped: the line of the application that called them is shown."""


_SKIPPED_IN_THREADS = _LIBRARY_PACKAGES | {"concurrent", "queue", "selectors", "threading"}


_OPAQUE_AWAITABLES = frozenset(
    {"anext_awaitable", "async_generator_asend", "async_generator_athrow", "coroutine_wrapper"}
)
"""Built-in awaitables without an attribute for the object that they wait for."""


_MAX_SOURCE_LENGTH = 120
"""Maximum number of characters of a source line."""


def locate_coroutine(awaitable: object) -> str:
    """Return the line at which a coroutine or async generator is suspended.

    May be called in any thread; never raises.

    Args:
        awaitable: a coroutine or an async generator, such as the ``gen`` attribute of a context
            manager that ``asynccontextmanager`` made.

    Returns:
        ``app.py:42 in connect: await pool.open()``, for the innermost frame outside anyio,
        asyncio, trio, contextlib and hive_boot. Empty if there is no such frame, or if the
        awaitable is running or has ended.
    """
    with suppress(Exception):
        frames = list(_frames(awaitable))
        # Only the frame of a running coroutine has a caller.
        if not any(frame.f_back for frame in frames):
            frame = _innermost(frames, _LIBRARY_PACKAGES)
            return "" if frame is None else _describe_frame(frame)
    return ""


def describe_work(name: str, work: object) -> str:
    """Return the line of a report for what runs, with the line at which it waits.

    Args:
        name: what runs.
        work: its coroutine.
    """
    return f"running   {name}  {locate_coroutine(work)}".rstrip()


def locate_thread(thread: threading.Thread, *, below: str = "") -> str:
    """Return the line that a thread executes now; never raises.

    Args:
        thread: any thread.
        below: the file that runs the event loop in this thread. Then only what the loop calls is
            examined, and an idle loop has no line. Default: any other thread.

    Returns:
        The line of the innermost frame outside the libraries, in the format of
        :func:`locate_coroutine`. If all frames are in libraries, the line of the innermost one.
        Empty for a thread that has ended.
    """
    with suppress(Exception):
        frames: list[FrameType] = []
        frame = sys._current_frames().get(thread.ident or 0)
        while frame is not None and frame.f_code.co_filename != below:
            frames.insert(0, frame)
            frame = frame.f_back
        found = _innermost(frames, _SKIPPED_IN_THREADS)
        if below and (frame is None or found is None):
            return ""
        return _describe_frame(found or frames[-1])
    return ""


def _frames(awaitable: object) -> Iterator[FrameType]:
    """Yield the frames of an awaitable and of everything that it awaits, outermost first."""
    while awaitable is not None:
        frame: FrameType | None = None
        if isinstance(awaitable, CoroutineType):
            frame, awaitable = awaitable.cr_frame, awaitable.cr_await
        elif isinstance(awaitable, AsyncGeneratorType):
            frame, awaitable = awaitable.ag_frame, awaitable.ag_await
        elif isinstance(awaitable, GeneratorType):
            frame, awaitable = awaitable.gi_frame, awaitable.gi_yieldfrom
        elif type(awaitable).__name__ in _OPAQUE_AWAITABLES:
            awaitable = gc.get_referents(awaitable)[0]
        else:
            return
        if frame is not None:
            yield frame


def _innermost(frames: Iterable[FrameType], skipped: frozenset[str]) -> FrameType | None:
    """Return the innermost frame outside the skipped packages; None without one."""
    names = ((frame, str(frame.f_globals.get("__name__", ""))) for frame in frames)
    found = [frame for frame, name in names if name.partition(".")[0] not in skipped]
    return found[-1] if found else None


def _describe_frame(frame: FrameType) -> str:
    """Return the file, the line number, the function and the source line of a frame."""
    code, line = frame.f_code, frame.f_lineno
    location = f"{_short_path(code.co_filename)}:{line} in {code.co_name}"
    source = ""
    with suppress(Exception):  # the loader of the module may raise anything
        source = linecache.getline(code.co_filename, line, frame.f_globals).strip()
    if len(source) > _MAX_SOURCE_LENGTH:
        source = f"{source[:_MAX_SOURCE_LENGTH]}..."
    return f"{location}: {source}" if source else location


def _short_path(path: str) -> str:
    """Return a path relative to the working directory; of any other path the last two parts."""
    with suppress(OSError):  # the working directory may have been removed
        directory = os.getcwd() + os.sep  # pathlib takes 2 ms of every start
        if path.startswith(directory):
            return path[len(directory) :]
    return "/".join(path.split("/")[-2:])


_CHECK_INTERVAL = 0.05
"""Seconds between two checks whether child processes have ended."""


_NO_DESCRIPTION = (
    "hive_boot: shutdown timeout exceeded; the list of what has not stopped is not available"
)
"""Message of a forced exit if the description fails or hangs."""


def force_exit(status: int, pending: Callable[[], str], timings: Timings = DEFAULTS) -> NoReturn:
    """End the process now: no ``finally`` runs, and no thread is joined.

    Before that, end the child processes, write what has not stopped, and flush the streams and log
    handlers, each with a time limit.

    Args:
        status: the exit status.
        pending: returns the text for stderr; secrets in it are redacted. It may fail or hang.
        timings: contains the limit of each step.
    """
    message = [_NO_DESCRIPTION]

    def describe() -> None:
        message[0] = pending()

    def write() -> None:
        text = redact_safely(message[0].rstrip("\n") + "\n" + children)
        write_stderr(escape_controls(text, keep_lines=True))

    _run_with_timeout(timings, describe)
    children = end_children(timings)
    _run_with_timeout(timings, write)
    # Lambdas: a stream may be None, and the exception of that is ignored.
    flush = (lambda: sys.stdout.flush(), lambda: sys.stderr.flush())
    _run_with_timeout(timings, *flush, logging.shutdown)
    os._exit(status)


def end_children(timings: Timings = DEFAULTS) -> str:
    """End the child processes of :mod:`multiprocessing`: SIGTERM, then SIGKILL.

    The workers of process pools are among them; children of :mod:`subprocess`, and children of
    children, are not. May be called in a signal handler; never raises.

    Args:
        timings: contains the time for the end after each signal.

    Returns:
        A line for each child, such as ``  killed    the child process ForkProcess-1, PID 42``.
        Empty without children.
    """
    if (module := sys.modules.get("multiprocessing.process")) is None:
        return ""
    # A Pool would start new workers in place of those that have ended.
    module.BaseProcess.start = lambda _: threading.Event().wait()
    found = left = own_children()
    outcomes = dict.fromkeys(found, "running")
    for number, outcome in ((signal.SIGTERM, "ended"), (signal.SIGKILL, "killed")):
        before = left
        for child in before:
            # It may have ended, belong to another user now, or be closed by another thread.
            with suppress(OSError, ValueError):
                if pid := child.pid:  # 0 would be the whole process group
                    os.kill(pid, number)
        end = time.monotonic() + timings.child_exit_timeout
        while (left := own_children()) and time.monotonic() < end:
            time.sleep(_CHECK_INTERVAL)
        outcomes |= {child: outcome for child in before if child not in left}
    return "".join(
        f"  {outcomes[child]:<9} the child process "
        f"{escape_controls(redact_safely(str(child.name)))}, PID {child.pid}\n"
        for child in found
    )


def own_children() -> list[BaseProcess]:
    """Return the living children that this process has started with :mod:`multiprocessing`."""
    module = sys.modules.get("multiprocessing.process")
    # Not active_children(): after os.fork() it also has the children of the parent process, and
    # takes the exit statuses that a fork server reports to the parent.
    started = list(getattr(module, "_children", ()))
    alive = []
    for child in started:
        with suppress(Exception):  # another thread may close it
            # is_alive() asserts the first half, but not under `python -O`.
            if child._parent_pid == os.getpid() and child.is_alive():  # noqa: SLF001
                alive.append(child)
    return alive


def describe_threads(threads: Iterable[threading.Thread]) -> list[str]:
    """Return the names of the threads that block the exit, each with the line that it executes."""
    blocking = filter(_blocks_exit, threads)
    return [f"{each.name} is at {locate_thread(each)}".removesuffix(" is at ") for each in blocking]


def _blocks_exit(thread: threading.Thread) -> bool:
    """Return whether Python would wait for a thread at its exit.

    Python ends the idle threads of ThreadPoolExecutor and ProcessPoolExecutor itself.
    """
    if not thread.is_alive() or not getattr(thread, "pending_work_items", True):
        return False  # only the manager thread of a ProcessPoolExecutor has pending_work_items
    pools = sys.modules.get("concurrent.futures.thread")
    frame = sys._current_frames().get(thread.ident or 0)
    if pools is None or frame is None:
        return True
    # The innermost Python frame of an idle worker is the worker function: SimpleQueue.get is C.
    return frame.f_code is not pools._worker.__code__  # noqa: SLF001


def _run_with_timeout(timings: Timings, *calls: Callable[[], object]) -> None:
    """Call functions in parallel threads, and wait for them up to ``last_output_timeout``.

    An exception is ignored. A function that hangs is not waited for any longer.
    """
    threads = []
    for call in calls:
        try:
            threads.append(start_daemon_thread(call, "hive_boot: last output"))
        except RuntimeError:
            # No thread can be started: the thread limit is reached, or Python is exiting.
            with suppress(BaseException):
                call()
    end = time.monotonic() + timings.last_output_timeout
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
