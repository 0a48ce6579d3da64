"""Where something that is waited for stands: a line of its author's, in a file of theirs.

A coroutine that is suspended knows what it awaits, and so on down to what the loop holds.
The last frame of that chain is a loop's or a library's; the author knows the one before.
Nothing but source lines and names is shown, because a variable may hold a secret.
"""

from __future__ import annotations

import gc
import linecache
import sys
from contextlib import suppress
from pathlib import Path
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator
    from types import FrameType

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
    """Name a file as its author does: from the working directory, or by its directory."""
    with suppress(OSError, ValueError):  # the directory may be gone; it is not below it
        return str(Path(path).relative_to(Path.cwd()))
    return str(Path(*Path(path).parts[-2:]))
