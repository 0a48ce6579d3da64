"""Applications that see a volume change, each in its own way; ``rotation`` starts them.

``python -m benchmarks.watchers WAY DIRECTORY COUNT STEP`` says ``ready``, and then does
what stands in each line that it is given:

- ``see TEXT``: say when the last secret is TEXT, on the monotonic clock.
- ``idle SECONDS``: say how much of the processor's time the next ones took.
- ``read``: say how much of it a read of everything takes that finds nothing new.

WAY is ``hive_boot``, ``awatch`` or ``inotify``. STEP is that of the first two, in ms.
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

Look: TypeAlias = "Callable[[], str]"
"""Gives the last secret, as it is in use."""

NAMES = "secret_{:04}"
"""How the secrets are called."""

_NEVER = 20.0
_PAUSE = 20e-6
"""Seconds between two looks. A reader that never pauses would keep the interpreter from
the threads that it waits for, 5 ms at a time."""

_READS = 5


@asynccontextmanager
async def hive_boot(directory: Path, names: Sequence[str], step: int) -> AsyncIterator[Look]:
    """Be an application of ours."""
    from hive_boot._timings import Timings  # noqa: PLC0415  (the others do without)

    space = {"__annotations__": dict.fromkeys(names, Secret), "__module__": __name__}
    declared = cast("type[SecretSet]", type("Many", (SecretSet,), space))
    boot = Bootstrap(declared, watch=True, mode="kubernetes", secrets_dirs=directory)
    boot._declaration.timings = Timings(event_interval=step / 1000)  # noqa: SLF001  (not public)
    _state["reload"] = boot.reload
    async with boot.running() as secrets:
        if boot.status().watcher != "inotify":
            message = "the kernel tells of no changes here"
            raise RuntimeError(message)
        last = names[-1]
        yield lambda: cast("str", getattr(secrets, last).reveal())


@asynccontextmanager
async def awatch(directory: Path, names: Sequence[str], step: int) -> AsyncIterator[Look]:
    """Be what somebody writes by hand, with watchfiles."""
    from watchfiles import awatch as changes  # noqa: PLC0415  (the others do without)

    values = _read(directory, names)
    stop = anyio.Event()

    async def take_up() -> None:
        nonlocal values
        watch = changes(directory, watch_filter=None, recursive=False, stop_event=stop, step=step)
        async for _ in watch:
            values = _read(directory, names)

    async with anyio.create_task_group() as group:
        group.start_soon(take_up)
        yield lambda: values[names[-1]]
        stop.set()


@asynccontextmanager
async def inotify(directory: Path, names: Sequence[str], step: int) -> AsyncIterator[Look]:
    """Be the least that there can be: the kernel's events, in the loop."""
    del step
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    moved_to = 0x80
    if descriptor < 0 or libc.inotify_add_watch(descriptor, bytes(directory), moved_to) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    values = _read(directory, names)

    async def take_up() -> None:
        nonlocal values
        while True:
            await anyio.wait_readable(descriptor)
            if "..data" in _moved(os.read(descriptor, 1 << 16)):
                values = _read(directory, names)

    async with anyio.create_task_group() as group:
        group.start_soon(take_up)
        yield lambda: values[names[-1]]
        group.cancel_scope.cancel()
    os.close(descriptor)


def _moved(events: bytes) -> list[str]:
    """Give the names in what the kernel wrote (``man 7 inotify``)."""
    header = struct.Struct("iIII")
    found, at = [], 0
    while at < len(events):
        *_, length = header.unpack_from(events, at)
        at += header.size
        found.append(events[at : at + length].rstrip(b"\0").decode())
        at += length
    return found


def _read(directory: Path, names: Sequence[str]) -> dict[str, str]:
    """Read as somebody does who knows of no trap."""
    data = directory / "..data"
    return {name: (data / name).read_text(encoding="utf-8") for name in names}


WAYS: dict[str, Callable[[Path, Sequence[str], int], AbstractAsyncContextManager[Look]]] = {
    "hive_boot": hive_boot,
    "awatch": awatch,
    "inotify": inotify,
}

_state: dict[str, Callable[[], Any]] = {}


async def main(*arguments: str) -> None:
    """Be the application until there are no more lines."""
    way, directory, count, step = arguments
    logging.basicConfig(level=logging.WARNING)
    names = [NAMES.format(number) for number in range(int(count))]
    over = anyio.Event()
    async with WAYS[way](Path(directory), names, int(step)) as look:
        token = anyio.lowlevel.current_token()
        answer = threading.Thread(target=_answer, args=(look, token, over), daemon=True)
        answer.start()
        await over.wait()


def _answer(look: Look, token: anyio.lowlevel.EventLoopToken, over: anyio.Event) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        order, _, text = line.rstrip("\n").partition(" ")
        if order == "see":
            found = _see(look, text)
        elif order == "idle":
            before = time.process_time()
            time.sleep(float(text))
            found = time.process_time() - before
        else:
            before = time.process_time()
            for _ in range(_READS):
                anyio.from_thread.run(_state["reload"], token=token)
            found = (time.process_time() - before) / _READS
        print(found, flush=True)
    anyio.from_thread.run_sync(over.set, token=token)


def _see(look: Look, text: str) -> float:
    never = time.monotonic() + _NEVER
    while look() != text:
        if time.monotonic() > never:
            message = f"the new value was not in use after {_NEVER:g} s"
            raise TimeoutError(message)
        time.sleep(_PAUSE)
    return time.monotonic()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
