"""Applications that watch a volume with different methods, as child processes of ``rotation``.

``python -m benchmarks.watchers METHOD DIRECTORY COUNT STEP LOOP`` prints ``ready``, and then reads
commands from stdin and prints one number for each:

- ``see TEXT``: the monotonic time at which the last secret has the value TEXT.
- ``idle SECONDS``: the processor time that the process uses in this time.
- ``read``: the processor time of a read of all files without changes.
- ``reload``: 0, after a reload.

METHOD is ``hive_boot``, ``awatch`` or ``inotify``. STEP, in ms, is for the first two. LOOP is
``asyncio``, ``uvloop`` or ``trio``.
"""

from __future__ import annotations

import ctypes
import logging
import os
import struct
import sys
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import anyio
import anyio.from_thread

from hive_boot import Bootstrap, Secret, SecretSet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

CurrentValue: TypeAlias = "Callable[[], str]"
"""Function that returns the current value of the last secret."""

NAMES = "secret_{:04}"
"""Format of the names of the secrets."""

_TIMEOUT = 20.0
_PAUSE = 20e-6
"""Seconds between two reads. A reader without a pause would keep the interpreter lock for 5 ms
at a time, and delay the threads that it waits for."""

_READS = 5


@asynccontextmanager
async def hive_boot(
    directory: Path, names: Sequence[str], step: int
) -> AsyncIterator[CurrentValue]:
    """Run a hive_boot application."""
    from hive_boot._timings import Timings  # noqa: PLC0415  (only for this method)

    namespace = {"__annotations__": dict.fromkeys(names, Secret), "__module__": __name__}
    declared = cast("type[SecretSet]", type("Many", (SecretSet,), namespace))
    boot = Bootstrap(declared, watch=True, mode="kubernetes", secrets_dirs=directory)
    boot._declaration.timings = Timings(event_interval=step / 1000)
    _state["reload"] = boot.reload
    async with boot.running() as secrets:
        with anyio.fail_after(_TIMEOUT):
            # The watcher starts when the application is ready.
            while boot.status().watcher == "off":  # noqa: ASYNC110  (it sets no event)
                await anyio.sleep(0.01)
        if boot.status().watcher != "inotify":
            message = "The kernel reports no changes on this machine."
            raise RuntimeError(message)
        last = names[-1]
        yield lambda: cast("str", getattr(secrets, last).reveal())


@asynccontextmanager
async def awatch(directory: Path, names: Sequence[str], step: int) -> AsyncIterator[CurrentValue]:
    """Run an application that uses ``watchfiles.awatch`` directly."""
    from watchfiles import awatch as changes  # noqa: PLC0415  (only for this method)

    values = _read(directory, names)
    stop = anyio.Event()

    async def read_changes() -> None:
        nonlocal values
        watch = changes(directory, watch_filter=None, recursive=False, stop_event=stop, step=step)
        async for _ in watch:
            values = _read(directory, names)

    async with anyio.create_task_group() as group:
        group.start_soon(read_changes)
        yield lambda: values[names[-1]]
        stop.set()


@asynccontextmanager
async def inotify(directory: Path, names: Sequence[str], step: int) -> AsyncIterator[CurrentValue]:
    """Run the baseline: inotify events in the event loop."""
    del step
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    moved_to = 0x80
    if descriptor < 0 or libc.inotify_add_watch(descriptor, bytes(directory), moved_to) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    values = _read(directory, names)

    async def read_changes() -> None:
        nonlocal values
        while True:
            await anyio.wait_readable(descriptor)
            if "..data" in _moved(os.read(descriptor, 1 << 16)):
                values = _read(directory, names)

    async with anyio.create_task_group() as group:
        group.start_soon(read_changes)
        yield lambda: values[names[-1]]
        group.cancel_scope.cancel()
    os.close(descriptor)


def _moved(events: bytes) -> list[str]:
    """Return the file names in a buffer of inotify events (``man 7 inotify``)."""
    header = struct.Struct("iIII")
    found, at = [], 0
    while at < len(events):
        *_, length = header.unpack_from(events, at)
        at += header.size
        found.append(events[at : at + length].rstrip(b"\0").decode())
        at += length
    return found


def _read(directory: Path, names: Sequence[str]) -> dict[str, str]:
    """Return all values, read without any check for consistency."""
    data = directory / "..data"
    return {name: (data / name).read_text(encoding="utf-8") for name in names}


METHODS: dict[
    str, Callable[[Path, Sequence[str], int], AbstractAsyncContextManager[CurrentValue]]
] = {
    "hive_boot": hive_boot,
    "awatch": awatch,
    "inotify": inotify,
}

_state: dict[str, Callable[[], Any]] = {}


async def main(*arguments: str) -> None:
    """Run an application until stdin ends."""
    method, directory, count, step = arguments
    logging.basicConfig(level=logging.WARNING)
    names = [NAMES.format(number) for number in range(int(count))]
    stdin_closed = anyio.Event()
    async with METHODS[method](Path(directory), names, int(step)) as current_value:
        token = anyio.lowlevel.current_token()
        answer = threading.Thread(
            target=_answer, args=(current_value, token, stdin_closed), daemon=True
        )
        answer.start()
        await stdin_closed.wait()


def _answer(
    current_value: CurrentValue, token: anyio.lowlevel.EventLoopToken, stdin_closed: anyio.Event
) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, text = line.rstrip("\n").partition(" ")
        if command == "see":
            found = _wait_for_value(current_value, text)
        elif command == "idle":
            before = time.process_time()
            time.sleep(float(text))
            found = time.process_time() - before
        elif command == "reload":
            anyio.from_thread.run(_state["reload"], token=token)
            found = 0.0
        else:
            before = time.process_time()
            for _ in range(_READS):
                anyio.from_thread.run(_state["reload"], token=token)
            found = (time.process_time() - before) / _READS
        print(found, flush=True)
    anyio.from_thread.run_sync(stdin_closed.set, token=token)


def _wait_for_value(current_value: CurrentValue, text: str) -> float:
    deadline = time.monotonic() + _TIMEOUT
    while current_value() != text:
        if time.monotonic() > deadline:
            message = f"The new value was not in use after {_TIMEOUT:g} s."
            raise TimeoutError(message)
        time.sleep(_PAUSE)
    return time.monotonic()


if __name__ == "__main__":
    *_arguments, _loop = sys.argv[1:]
    anyio.run(
        main,
        *_arguments,
        backend="trio" if _loop == "trio" else "asyncio",
        backend_options={"use_uvloop": True} if _loop == "uvloop" else {},
    )
