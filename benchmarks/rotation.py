"""Swap a volume, and wait until its values are in use; and watch one that nobody swaps."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from benchmarks.measuring import Figures, take_turns
from benchmarks.tables import Table
from benchmarks.watchers import NAMES
from benchmarks.workplace import fake_value, wait_until_settled, write_directory, write_volume
from hive_boot._timings import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.measuring import Measure

IDLE = 0.005
"""How much of a core an application may take that watches and does nothing else."""

_ROUNDS = {1: 100, 10: 100, 100: 100, 1000: 50}
_SLOW_ROUNDS = 20
_USUAL_STEP = 50
_RESYNC, _FULL_READ = DEFAULTS.resync_interval, DEFAULTS.full_read_interval

_SLICES = 5
_ROOT = Path(__file__).parent.parent


def measure(base: Path) -> Table:
    """Measure, with files below ``base``, an empty directory."""
    step = round(DEFAULTS.event_interval * 1000)
    table = Table(
        "rotation: a swap of a volume until its values are in use, and what watching costs",
        (
            "swap: from before the rename of ..data to when a reader in the application has the",
            "new value; another process does what the kubelet does. floor: raw inotify in the",
            "loop and a naive read of all files; awatch has that read too, and its usual step of",
            f"{_USUAL_STEP} ms, or ours. p99 of {_ROUNDS[1]} swaps, of {_ROUNDS[1000]} with 1,000",
            f"secrets, and of {_SLOW_ROUNDS} with the usual step.",
            "idle: the processor's time in one second of nothing; floor: 0.5 % of a core.",
            f"Ours looks every {_RESYNC:g} s, and its share of a read every {_FULL_READ:g} s is in",
            "it.",
        ),
    )
    for count in _ROUNDS:
        _measure_swaps(table, base / f"swap-{count}", count, step)
    _measure_idle(table, base, step)
    return table


class _Kubelet:
    """Publishes one set of values after another, as the AtomicWriter does.

    It is not the volume of ``hive_boot.testing``, because the moment before the rename
    has to be known.

    Args:
        directory: where the volume is made.
        names: its keys.
    """

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self._directory, self._names = directory, names
        self._number = 0
        write_volume(directory, names)

    def prepare(self) -> str:
        """Write the next set beside the one in use, and give its last value."""
        self._number += 1
        fresh = self._directory / f"..2026_01_02_00_00_00.{self._number:09}"
        fresh.mkdir()
        value = ""
        for name in self._names:
            value = f"{self._number:06}-{fake_value(name)}"
            (fresh / name).write_text(value, encoding="utf-8")
        (self._directory / "..data_tmp").symlink_to(fresh.name)
        return value

    def swap(self) -> float:
        """Let it be the one in use, remove the old one, and give when that began."""
        data = self._directory / "..data"
        old = data.readlink()
        started = time.monotonic()
        os.rename(self._directory / "..data_tmp", data)  # noqa: PTH104  (it is being timed)
        shutil.rmtree(self._directory / old)
        return started


class _Application:
    """A process of :mod:`benchmarks.watchers`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        # Both are pipes.
        self._orders = cast("IO[str]", process.stdin)
        self._answers = cast("IO[str]", process.stdout)

    def tell(self, order: str) -> None:
        """Give it something to do."""
        self._orders.write(f"{order}\n")
        self._orders.flush()

    def answer(self) -> str:
        """Give what it says next.

        Raises:
            RuntimeError: it has died, and said why on stderr.
        """
        line = self._answers.readline()
        if not line:
            message = f"an application has ended: {self._process.args!r}"
            raise RuntimeError(message)
        return line.strip()


@contextmanager
def _started(way: str, directory: Path, count: int, step: int) -> Iterator[_Application]:
    arguments = [sys.executable, "-m", "benchmarks.watchers", way, str(directory), str(count)]
    process = subprocess.Popen(
        [*arguments, str(step)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            application = _Application(process)
            application.answer()
            yield application
        finally:
            process.kill()


def _measure_swaps(table: Table, base: Path, count: int, step: int) -> None:
    names = [NAMES.format(number) for number in range(count)]
    ways = {
        "floor": ("inotify", 0),
        "ours": ("hive_boot", step),
        "same": ("awatch", step),
        "usual": ("awatch", _USUAL_STEP),
    }
    with ExitStack() as stack:
        measures = {}
        for name, (way, its_step) in ways.items():
            kubelet = _Kubelet(base / name, names)
            application = stack.enter_context(_started(way, base / name, count, its_step))
            measures[name] = _swap(kubelet, application, its_step / 1000)
        slow = {name: measures[name] for name in ("floor", "usual")}
        del measures["usual"]
        figures, slow_figures = take_turns(measures, _ROUNDS[count]), take_turns(slow, _SLOW_ROUNDS)
    what = f"swap of {count:,}: {{}}"
    table.add(what.format("inotify"), figures, "floor", "floor", tail=True)
    table.add(what.format("hive_boot"), figures, "ours", "floor", tail=True)
    table.add(what.format(f"awatch, step {step}"), figures, "same", "floor", tail=True)
    table.add(what.format("awatch"), slow_figures, "usual", "floor", tail=True)


def _swap(kubelet: _Kubelet, application: _Application, step: float) -> Measure:
    chance = random.Random(1)  # noqa: S311  (a moment, no secret)

    def measure() -> float:
        application.tell(f"see {kubelet.prepare()}")
        # Steps go on meanwhile: swaps are to meet each moment of them.
        time.sleep(0.005 + chance.uniform(0, step))
        started = kubelet.swap()
        return float(application.answer()) - started

    return measure


def _measure_idle(table: Table, base: Path, step: int) -> None:
    """Watch side by side: each process counts its own time."""
    rows: list[tuple[str, str, Path, int, int]] = []
    for count in _ROUNDS:
        directory = base / f"idle-{count}"
        write_volume(directory, [NAMES.format(number) for number in range(count)])
        rows.append((f"idle, {count:,}: hive_boot", "hive_boot", directory, count, step))
    most = max(_ROUNDS)
    plain = base / "idle-plain"
    write_directory(plain, [NAMES.format(number) for number in range(most)])
    rows += [
        (f"idle, {most:,} in a plain directory: hive_boot", "hive_boot", plain, most, step),
        (f"idle: awatch, step {step}", "awatch", base / f"idle-{most}", most, step),
        ("idle: awatch", "awatch", base / f"idle-{most}", most, _USUAL_STEP),
        ("idle: inotify", "inotify", base / f"idle-{most}", most, 0),
    ]
    wait_until_settled(plain)
    with ExitStack() as stack:
        started = [stack.enter_context(_started(*row[1:])) for row in rows]
        reads = []
        for application, (_, way, *_) in zip(started, rows, strict=True):
            reads.append(0.0)
            if way == "hive_boot":
                application.tell("read")
                reads[-1] = float(application.answer()) / _FULL_READ
        slices: list[list[float]] = [[] for _ in rows]
        for _ in range(_SLICES):
            for application in started:
                application.tell(f"idle {_RESYNC}")
            for seconds, application in zip(slices, started, strict=True):
                seconds.append(float(application.answer()) / _RESYNC)
    for (what, way, *_), read, seconds in zip(rows, reads, slices, strict=True):
        figures = Figures({"it": [each + read for each in seconds], "floor": [IDLE] * _SLICES})
        table.add(what, figures, "it", "floor", 1.0 if way == "hive_boot" else None)
