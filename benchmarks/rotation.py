"""Rotation benchmarks: latency of a volume update, and the cost of watching without changes."""

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

from benchmarks.environment import fake_value, wait_until_settled, write_directory, write_volume
from benchmarks.tables import Table
from benchmarks.timing import Figures, alternate, limited
from benchmarks.watchers import NAMES
from hive_boot._timings import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.timing import Measure

BEYOND_FLOOR = {10: 0.005, 1000: 0.040}
"""Maximum difference of the 99th percentiles of a swap and its floor, by the number of secrets."""

IDLE = {8: 0.0003, 1000: 0.001}
"""Maximum processor time of an idle application, in cores, by the number of secrets."""

_ROUNDS = {1: 100, 10: 100, 100: 100, 1000: 50}
_SLOW_ROUNDS = 20
_STEP = round(DEFAULTS.event_interval * 1000)
_DEFAULT_STEP = 50
"""Milliseconds in which a watcher collects events: that of hive_boot, and that of watchfiles."""
_RESYNC, _FULL_READ = DEFAULTS.resync_interval, DEFAULTS.full_read_interval

_SLICES = 5
_ROOT = Path(__file__).parent.parent


def measure(base: Path) -> Table:
    """Return the table of the latency; files are written below ``base``, an empty directory."""
    table = Table(
        "rotation: latency of a volume update",
        (
            "swap: from before the rename of ..data until a reader in the application has the new",
            "value; another process writes the volume as the kubelet does. floor: raw inotify in",
            "the event loop and a plain read of all files; awatch uses the same read, and its",
            f"default step of {_DEFAULT_STEP} ms, or that of hive_boot. p99 of {_ROUNDS[1]} swaps,",
            f"of {_ROUNDS[1000]} with 1,000 secrets, and of {_SLOW_ROUNDS} with the default step.",
            "The bound is the p99 of the floor, plus 5 ms with 10 and 40 ms with 1,000 secrets.",
        ),
    )
    for count in _ROUNDS:
        _measure_swaps(table, base / f"swap-{count}", count)
    return table


def measure_idle(base: Path) -> Table:
    """Return the table of the cost; files are written below ``base``, an empty directory."""
    table = Table(
        "idle: processor time of an application that watches, in one second without changes",
        (
            "floor: the maximum, 0.03 % of a core with 8 secrets and 0.1 % with 1,000.",
            f"hive_boot compares signatures every {_RESYNC:g} s; its full read every",
            f"{_FULL_READ:g} s is included in proportion.",
        ),
    )
    _measure_idle(table, base)
    return table


class _Kubelet:
    """Writer of a volume, which publishes one set of values after another like the AtomicWriter.

    ``hive_boot.testing.MountedVolume`` is not used, because the time directly before the rename
    is needed.

    Args:
        directory: the directory of the volume.
        names: the keys.
    """

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self._directory, self._names = directory, names
        self._number = 0
        write_volume(directory, names)

    def prepare(self) -> str:
        """Write the next generation without publishing it, and return its last value."""
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
        """Publish the prepared generation, remove the old one, and return the time before both."""
        data = self._directory / "..data"
        old = data.readlink()
        started = time.monotonic()
        os.rename(self._directory / "..data_tmp", data)  # noqa: PTH104  (this call is measured)
        shutil.rmtree(self._directory / old)
        return started


class _Application:
    """A process of :mod:`benchmarks.watchers`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        # Not None: both are pipes.
        self._commands = cast("IO[str]", process.stdin)
        self._output = cast("IO[str]", process.stdout)

    def send(self, command: str) -> None:
        """Send a command."""
        self._commands.write(f"{command}\n")
        self._commands.flush()

    def receive(self) -> str:
        """Return the next answer.

        Raises:
            RuntimeError: the process has ended; the reason is on stderr.
        """
        line = self._output.readline()
        if not line:
            message = f"The application {self._process.args!r} has ended."
            raise RuntimeError(message)
        return line.strip()


@contextmanager
def _started(method: str, directory: Path, count: int, step: int) -> Iterator[_Application]:
    arguments = [sys.executable, "-m", "benchmarks.watchers", method, str(directory), str(count)]
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
            application.receive()
            yield application
        finally:
            process.kill()


def _measure_swaps(table: Table, base: Path, count: int) -> None:
    names = [NAMES.format(number) for number in range(count)]
    methods = {
        "floor": ("inotify", 0),
        "ours": ("hive_boot", _STEP),
        "same": ("awatch", _STEP),
        "usual": ("awatch", _DEFAULT_STEP),
    }
    with ExitStack() as stack:
        measures = {}
        for name, (method, its_step) in methods.items():
            kubelet = _Kubelet(base / name, names)
            application = stack.enter_context(_started(method, base / name, count, its_step))
            measures[name] = _swap(kubelet, application, its_step / 1000)
        slow = {name: measures[name] for name in ("floor", "usual")}
        del measures["usual"]
        figures, slow_figures = alternate(measures, _ROUNDS[count]), alternate(slow, _SLOW_ROUNDS)
    label = f"swap of {count:,}: {{}}"
    table.add(label.format("inotify"), figures, "floor", "floor", tail=True)
    beyond = BEYOND_FLOOR.get(count)
    limit = None if beyond is None else figures.tail("floor") + beyond
    table.add(label.format("hive_boot"), figures, "ours", "floor", tail=True, limit=limit)
    table.add(label.format(f"awatch, step {_STEP}"), figures, "same", "floor", tail=True)
    table.add(label.format("awatch"), slow_figures, "usual", "floor", tail=True)


def _swap(kubelet: _Kubelet, application: _Application, step: float) -> Measure:
    chance = random.Random(1)  # noqa: S311  (a delay, not a secret)

    def measure() -> float:
        application.send(f"see {kubelet.prepare()}")
        # A random delay: the swap must not always be at the same point of a step.
        time.sleep(0.005 + chance.uniform(0, step))
        started = kubelet.swap()
        return float(application.receive()) - started

    return measure


def _measure_idle(table: Table, base: Path) -> None:
    """Add the rows for idle applications, which run concurrently and measure their own time."""
    rows: list[tuple[str, str, Path, int, int]] = []
    for count in IDLE:
        volume = base / f"{count}"
        write_volume(volume, [NAMES.format(number) for number in range(count)])
        rows.append((f"{count:,} secrets: hive_boot", "hive_boot", volume, count, _STEP))
    most = max(IDLE)
    volume, plain = base / f"{most}", base / "plain"
    write_directory(plain, [NAMES.format(number) for number in range(most)])
    rows += [
        (f"{most:,} secrets, plain directory: hive_boot", "hive_boot", plain, most, _STEP),
        (f"{most:,} secrets: awatch, step {_STEP}", "awatch", volume, most, _STEP),
        (f"{most:,} secrets: awatch", "awatch", volume, most, _DEFAULT_STEP),
        (f"{most:,} secrets: inotify", "inotify", volume, most, 0),
    ]
    wait_until_settled(plain)
    with ExitStack() as stack:
        started = [stack.enter_context(_started(*row[1:])) for row in rows]
        reads = []
        for application, (_, method, *_) in zip(started, rows, strict=True):
            reads.append(0.0)
            if method == "hive_boot":
                application.send("read")
                reads[-1] = float(application.receive()) / _FULL_READ
        slices: list[list[float]] = [[] for _ in rows]
        for _ in range(limited(_SLICES)):
            for application in started:
                application.send(f"idle {_RESYNC}")
            for seconds, application in zip(slices, started, strict=True):
                seconds.append(float(application.receive()) / _RESYNC)
    for (label, method, _, count, _), read, seconds in zip(rows, reads, slices, strict=True):
        maximum = [IDLE[count]] * len(seconds)
        figures = Figures({"it": [each + read for each in seconds], "floor": maximum})
        table.add(label, figures, "it", "floor", 1.0 if method == "hive_boot" else None)
