"""Rotation benchmark: latency of a volume update, and the cost of watching an unchanged volume."""

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
from benchmarks.timing import Figures, alternate
from benchmarks.watchers import NAMES
from hive_boot._timings import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.timing import Measure

IDLE = 0.005
"""Maximum processor time of an idle application that watches, in cores."""

_ROUNDS = {1: 100, 10: 100, 100: 100, 1000: 50}
_SLOW_ROUNDS = 20
_DEFAULT_STEP = 50
_RESYNC, _FULL_READ = DEFAULTS.resync_interval, DEFAULTS.full_read_interval

_SLICES = 5
_ROOT = Path(__file__).parent.parent


def measure(base: Path) -> Table:
    """Measure, with files below ``base``, an empty directory."""
    step = round(DEFAULTS.event_interval * 1000)
    table = Table(
        "rotation: latency of a volume update, and the cost of watching",
        (
            "swap: from before the rename of ..data until a reader in the application has the new",
            "value; another process writes the volume as the kubelet does. floor: raw inotify in",
            "the event loop and a plain read of all files; awatch uses the same read, and its",
            f"default step of {_DEFAULT_STEP} ms, or that of hive_boot. p99 of {_ROUNDS[1]} swaps,",
            f"of {_ROUNDS[1000]} with 1,000 secrets, and of {_SLOW_ROUNDS} with the default step.",
            "idle: processor time in one second without changes; floor: 0.5 % of a core.",
            f"hive_boot compares signatures every {_RESYNC:g} s; its full read every",
            f"{_FULL_READ:g} s is included in proportion.",
        ),
    )
    for count in _ROUNDS:
        _measure_swaps(table, base / f"swap-{count}", count, step)
    _measure_idle(table, base, step)
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


def _measure_swaps(table: Table, base: Path, count: int, step: int) -> None:
    names = [NAMES.format(number) for number in range(count)]
    methods = {
        "floor": ("inotify", 0),
        "ours": ("hive_boot", step),
        "same": ("awatch", step),
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
    table.add(label.format("hive_boot"), figures, "ours", "floor", tail=True)
    table.add(label.format(f"awatch, step {step}"), figures, "same", "floor", tail=True)
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


def _measure_idle(table: Table, base: Path, step: int) -> None:
    """Add the rows for idle applications, which run concurrently and measure their own time."""
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
        ("idle: awatch", "awatch", base / f"idle-{most}", most, _DEFAULT_STEP),
        ("idle: inotify", "inotify", base / f"idle-{most}", most, 0),
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
        for _ in range(_SLICES):
            for application in started:
                application.send(f"idle {_RESYNC}")
            for seconds, application in zip(slices, started, strict=True):
                seconds.append(float(application.receive()) / _RESYNC)
    for (label, method, *_), read, seconds in zip(rows, reads, slices, strict=True):
        figures = Figures({"it": [each + read for each in seconds], "floor": [IDLE] * _SLICES})
        table.add(label, figures, "it", "floor", 1.0 if method == "hive_boot" else None)
