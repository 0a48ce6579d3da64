"""Rebuild benchmark: a rotation with many hooks, and resources that follow it.

``python -m benchmarks.rebuild DIRECTORY KEYS HOOKS RESOURCES`` runs an application. It prints
``ready``, and for each line on stdin the processor time of one rotation, in seconds: from the
reload until all hooks have been called, and all replaced instances have stopped.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import anyio
import anyio.to_thread

from benchmarks.applications import started
from benchmarks.environment import Kubelet
from benchmarks.tables import Table
from benchmarks.timing import alternate
from benchmarks.watchers import NAMES
from hive_boot import Bootstrap, Change, Secret, SecretSet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from benchmarks.timing import Figures, Measure

LINEAR = 1.2
"""Maximum ratio of the time per key, hook and resource to that of a tenth of each."""

_ROUNDS = 15
_TENTH = 10


class _Size(NamedTuple):
    """The number of keys, and of the hooks and resources that share them."""

    keys: int
    hooks: int
    resources: int

    def __str__(self) -> str:
        return f"{self.keys:,} keys, {self.hooks} hooks, {self.resources} resources"


_SIZES = (_Size(1000, 0, 0), _Size(1000, 100, 0), _Size(1000, 100, 50))


def measure(base: Path) -> Table:
    """Return the measured table; files are written below ``base``, an empty directory."""
    table = Table(
        "rebuild: a rotation of all keys with many hooks and resources",
        (
            "Processor time from boot.reload() until all hooks have been called, and all replaced",
            "instances have stopped. Each hook is for other keys, and each resource follows other",
            "keys. time: of each key in one rotation. floor: of each key in ten rotations of a",
            "tenth of the keys, hooks and resources.",
        ),
    )
    for number, size in enumerate(_SIZES):
        figures = _linear(base / f"{number}", size)
        table.add(f"{size}, linear", figures, "many", "few", LINEAR)
    return table


def _linear(directory: Path, size: _Size) -> Figures:
    """Return the times per key of one rotation, and of ten rotations of a tenth of everything."""
    tenth = _Size(*(count // _TENTH for count in size))
    with ExitStack() as stack:
        many = _rotation(stack, directory / "many", size)
        few = _rotation(stack, directory / "few", tenth)
        measures = {
            "few": lambda: sum(few() for _ in range(_TENTH)) / size.keys,
            "many": lambda: many() / size.keys,
        }
        return alternate(measures, _ROUNDS)


def _rotation(stack: ExitStack, directory: Path, size: _Size) -> Measure:
    """Start an application, and return a measure of one rotation of all its keys."""
    kubelet = Kubelet(directory, _names(size.keys))
    arguments = ("-m", "benchmarks.rebuild", str(directory), *map(str, size))
    application = stack.enter_context(started(*arguments))

    def rotate() -> float:
        kubelet.prepare()
        kubelet.swap()
        return float(application.ask("rotate"))

    return rotate


def _names(count: int) -> list[str]:
    return [NAMES.format(number) for number in range(count)]


class _Progress:
    """The functions that one rotation still has to call.

    Args:
        size: the number of hooks and resources, each of which is called once.
    """

    def __init__(self, size: _Size) -> None:
        self._size = size
        self.begin()

    def begin(self) -> None:
        """Begin a rotation."""
        self._missing = self._size.hooks + self._size.resources
        self.ended = anyio.Event()
        if not self._missing:
            self.ended.set()

    def record(self) -> None:
        """Record the call of a hook, or the stop of a replaced instance."""
        self._missing -= 1
        if not self._missing:
            self.ended.set()


def _application(directory: str, size: _Size, progress: _Progress) -> Bootstrap[Any]:
    names = _names(size.keys)
    namespace = {"__annotations__": dict.fromkeys(names, Secret), "__module__": __name__}
    declared = cast("type[SecretSet]", type("Many", (SecretSet,), namespace))
    boot = Bootstrap(declared, mode="kubernetes", secrets_dirs=directory)
    for number in range(size.hooks):
        _add_hook(boot, names[number :: size.hooks], progress)
    for number in range(size.resources):
        _add_resource(boot, f"pool_{number}", names[number :: size.resources], progress)
    return boot


def _add_hook(boot: Bootstrap[Any], names: Sequence[str], progress: _Progress) -> None:
    @boot.on_rotate(*names)
    async def hook(change: Change) -> None:  # noqa: ARG001  (as hooks are declared)
        progress.record()


def _add_resource(
    boot: Bootstrap[Any], name: str, names: Sequence[str], progress: _Progress
) -> None:
    async def pool() -> AsyncIterator[str]:
        yield name
        progress.record()

    pool.__name__ = name
    boot.resource(rebuild_on=names, overlap=0)(pool)


async def main(*arguments: str) -> None:
    """Run an application until stdin ends."""
    directory, *counts = arguments
    logging.basicConfig(level=logging.WARNING)
    size = _Size(*map(int, counts))
    progress = _Progress(size)
    boot = _application(directory, size, progress)
    async with boot.running():
        print("ready", flush=True)
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            progress.begin()
            began = time.process_time()
            await boot.reload()
            await progress.ended.wait()
            print(time.process_time() - began, flush=True)
        progress.begin()  # the stop calls the resources too


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
