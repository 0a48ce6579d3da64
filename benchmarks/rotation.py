"""Rotation benchmarks: latency of a volume update, and the cost of watching without changes."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.applications import started
from benchmarks.environment import Kubelet, wait_until_settled, write_directory, write_volume
from benchmarks.tables import Table
from benchmarks.timing import Figures, alternate, limited
from benchmarks.watchers import NAMES
from hive_boot._timings import DEFAULTS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.applications import Application
    from benchmarks.timing import Measure

BEYOND_FLOOR = {10: 0.005, 1000: 0.040}
"""Maximum difference of the 99th percentiles of a swap and its floor, by the number of secrets."""

IDLE = {1: 0.0003, 8: 0.0003, 1000: 0.001}
"""Maximum processor time of an idle application, in cores, by the number of secrets."""

_ROUNDS = {1: 100, 10: 100, 100: 100, 1000: 50}
_SLOW_ROUNDS = 20
_STEP = round(DEFAULTS.event_interval * 1000)
_DEFAULT_STEP = 50
"""Milliseconds in which a watcher collects events: that of hive_boot, and that of watchfiles."""
_QUIET = 2 * DEFAULTS.event_interval
"""Seconds without events before an update. An application that gets events without a pause reads
them at longer intervals, up to a step; the updates of a volume are rare."""
_RESYNC, _FULL_READ = DEFAULTS.resync_interval, DEFAULTS.full_read_interval

_SLICES = 5

_OTHER_LOOPS = ("trio", "uvloop")
_LOOP_SECRETS = 10


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
            "On asyncio; the floor of a row on another event loop is inotify on the same one.",
            f"hive_boot is quiet for {_QUIET * 1000:g} ms before each update, as updates are rare.",
        ),
    )
    for count in _ROUNDS:
        _measure_swaps(table, base / f"swap-{count}", count)
    for loop in _OTHER_LOOPS:
        _measure_swaps_on(table, base / f"swap-{loop}", loop)
    return table


def measure_idle(base: Path) -> Table:
    """Return the table of the cost; files are written below ``base``, an empty directory."""
    table = Table(
        "idle: processor time of an application that watches, in one second without changes",
        (
            "floor: the maximum, 0.03 % of a core with 1 or 8 secrets and 0.1 % with 1,000.",
            f"hive_boot compares signatures every {_RESYNC:g} s; its full read every",
            f"{_FULL_READ:g} s is included in proportion. On asyncio, if no other loop is named.",
        ),
    )
    _measure_idle(table, base)
    return table


class _Watching(NamedTuple):
    """The arguments of a process of :mod:`benchmarks.watchers`."""

    method: str
    directory: Path
    secrets: int
    step: int
    loop: str = "asyncio"

    def start(self) -> AbstractContextManager[Application]:
        """Start the process for a block."""
        return started("-m", "benchmarks.watchers", *map(str, self))


def _measure_swaps(table: Table, base: Path, count: int) -> None:
    methods = {
        "floor": ("inotify", 0),
        "ours": ("hive_boot", _STEP),
        "same": ("awatch", _STEP),
        "usual": ("awatch", _DEFAULT_STEP),
    }
    with ExitStack() as stack:
        measures = {
            name: _swaps(stack, _Watching(method, base / name, count, step))
            for name, (method, step) in methods.items()
        }
        slow = {name: measures[name] for name in ("floor", "usual")}
        del measures["usual"]
        figures, slow_figures = alternate(measures, _ROUNDS[count]), alternate(slow, _SLOW_ROUNDS)
    label = f"swap of {count:,}: {{}}"
    _add_swaps(table, label, figures, count)
    table.add(label.format(f"awatch, step {_STEP}"), figures, "same", "floor", tail=True)
    table.add(label.format("awatch"), slow_figures, "usual", "floor", tail=True)


def _measure_swaps_on(table: Table, base: Path, loop: str) -> None:
    """Add the rows for another event loop."""
    methods = {"floor": ("inotify", 0), "ours": ("hive_boot", _STEP)}
    with ExitStack() as stack:
        measures = {
            name: _swaps(stack, _Watching(method, base / name, _LOOP_SECRETS, step, loop))
            for name, (method, step) in methods.items()
        }
        figures = alternate(measures, _ROUNDS[_LOOP_SECRETS])
    _add_swaps(table, f"swap of {_LOOP_SECRETS}, {loop}: {{}}", figures, _LOOP_SECRETS)


def _add_swaps(table: Table, label: str, figures: Figures, count: int) -> None:
    table.add(label.format("inotify"), figures, "floor", "floor", tail=True)
    beyond = BEYOND_FLOOR.get(count)
    limit = None if beyond is None else figures.tail("floor") + beyond
    table.add(label.format("hive_boot"), figures, "ours", "floor", tail=True, limit=limit)


def _swaps(stack: ExitStack, watching: _Watching) -> Measure:
    """Start an application, and return a measure of one update of its volume."""
    names = [NAMES.format(number) for number in range(watching.secrets)]
    kubelet = Kubelet(watching.directory, names)
    application = stack.enter_context(watching.start())
    quiet = _QUIET if watching.method == "hive_boot" else 0.0
    chance = random.Random(1)  # noqa: S311  (a delay, not a secret)

    def measure() -> float:
        time.sleep(quiet)
        application.send(f"see {kubelet.prepare()}")
        # A random delay: the swap must not always be at the same point of a step.
        time.sleep(0.005 + chance.uniform(0, watching.step / 1000))
        swapped = kubelet.swap()
        return float(application.receive()) - swapped

    return measure


def _measure_idle(table: Table, base: Path) -> None:
    """Add the rows for idle applications, which run concurrently and measure their own time."""
    for count in IDLE:
        write_volume(base / f"{count}", [NAMES.format(number) for number in range(count)])
    most = max(IDLE)
    volume, plain = base / f"{most}", base / "plain"
    write_directory(plain, [NAMES.format(number) for number in range(most)])
    wait_until_settled(plain)
    rows = {
        f"{_secrets(count)}: hive_boot": _Watching("hive_boot", base / f"{count}", count, _STEP)
        for count in IDLE
    }
    rows |= {
        f"{_secrets(count)}, trio: hive_boot": _Watching(*watching[:-1], "trio")
        for count, watching in zip(IDLE, rows.values(), strict=True)
    }
    rows |= {
        f"{_secrets(most)}, plain directory: hive_boot": _Watching("hive_boot", plain, most, _STEP),
        f"{_secrets(most)}: awatch, step {_STEP}": _Watching("awatch", volume, most, _STEP),
        f"{_secrets(most)}: awatch": _Watching("awatch", volume, most, _DEFAULT_STEP),
        f"{_secrets(most)}: inotify": _Watching("inotify", volume, most, 0),
    }
    with ExitStack() as stack:
        running = {label: stack.enter_context(watching.start()) for label, watching in rows.items()}
        reads = {
            label: float(application.ask("read")) / _FULL_READ
            for label, application in running.items()
            if rows[label].method == "hive_boot"
        }
        slices: dict[str, list[float]] = {label: [] for label in rows}
        for _ in range(limited(_SLICES)):
            for application in running.values():
                application.send(f"idle {_RESYNC}")
            for label, application in running.items():
                slices[label].append(float(application.receive()) / _RESYNC)
    for label, watching in rows.items():
        read = reads.get(label)
        maximum = [IDLE[watching.secrets]] * len(slices[label])
        it = [each + (read or 0.0) for each in slices[label]]
        figures = Figures({"it": it, "floor": maximum})
        table.add(label, figures, "it", "floor", None if read is None else 1.0)


def _secrets(count: int) -> str:
    return "1 secret" if count == 1 else f"{count:,} secrets"
