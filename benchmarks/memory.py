"""Memory benchmark: the memory of an application that has started, and that has rotated often."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.applications import started
from benchmarks.environment import HIVE, Kubelet, wait_until_settled, write_directory
from benchmarks.peers import PEERS, add_peer
from benchmarks.tables import Table
from benchmarks.timing import Figures, limited
from benchmarks.watchers import NAMES
from hive_boot._timings import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.applications import Memory

BEYOND_FLOOR = 6 * 2**20
"""Maximum memory of an application with eight secrets beyond that of a bare one, in bytes."""

GROWTH = 1.05
"""Maximum ratio of the memory after all rotations to that after half of them.

Not to that after the first ones: up to 1,000 old values stay hidden in logs.
"""

_MANY = 1_000
_ROUNDS = 7
_PEER_ROUNDS = 3
_ROTATIONS = 10_000
_SAMPLES = 9
_BETWEEN_SAMPLES = 10
"""Rotations between two samples, which are taken until the number of rotations is reached."""

_FLOOR = """\
import anyio
async def main():
    await anyio.sleep(0.2)
    print("ready", flush=True)
    input()
anyio.run(main)
"""
"""Main waits until the watcher, which starts beside it, has begun."""

_PLAIN = """\
import os
from pathlib import Path
directory = Path(os.environ["HIVE_BOOT_SECRETS_DIR"])
values = {path.name: path.read_text("utf-8") for path in directory.iterdir()}
"""

_OURS = """\
import os
import anyio
from hive_boot import Bootstrap, Secret, SecretSet
fields = dict.fromkeys(os.listdir(os.environ["HIVE_BOOT_SECRETS_DIR"]), Secret)
declared = type("Many", (SecretSet,), {"__annotations__": fields, "__module__": __name__})
boot = Bootstrap(declared, watch=True)
@boot.main
async def main():
    await anyio.sleep(0.2)
    print("ready", flush=True)
    input()
boot.run()
"""


def measure(base: Path) -> Table:
    """Return the measured table; files are written below ``base``, an empty directory."""
    few, many = len(HIVE), _MANY
    table = Table(
        "memory: processes on asyncio that have started, docker mode, watch=True",
        (
            "RSS: the resident set; USS: its part that is not shared with other processes.",
            f"floor with {few} secrets: a bare anyio.run; the bound is 6 MiB more.",
            f"floor with {many:,} secrets, and for each of them: a dict of the same values.",
            f"After {_ROTATIONS:,} rotations of a secret: the floor is the same process after",
            f"{_ROTATIONS // 10:,} or {_ROTATIONS // 2:,} of them.",
        ),
        quantity="memory",
    )
    few_secrets, many_secrets = base / "few", base / "many"
    write_directory(few_secrets, HIVE)
    write_directory(many_secrets, [NAMES.format(number) for number in range(many)])
    wait_until_settled(base)
    measures = {
        "bare": _in_process(base, few_secrets, _FLOOR),
        "few": _in_process(base, few_secrets, _OURS),
        "few plain": _in_process(base, few_secrets, _PLAIN + _FLOOR),
        "many": _in_process(base, many_secrets, _OURS),
        "many plain": _in_process(base, many_secrets, _PLAIN + _FLOOR),
    }
    resident, private = _alternate(measures, _ROUNDS)
    for name, figures in {"RSS": resident, "USS": private}.items():
        floor = figures.median("bare")
        bound = (floor + BEYOND_FLOOR) / floor
        table.add(f"{few} secrets: hive_boot, {name}", figures, "few", "bare", bound)
    for peer in PEERS:
        add_peer(
            table,
            f"{few} secrets: {peer.name} + anyio.run, RSS",
            peer,
            partial(_measure_peer, f"{peer.imports}\n{peer.program}", base, few_secrets),
        )
    table.add(f"{many:,} secrets: hive_boot, RSS", resident, "many", "many plain")
    each = _per_secret(resident, many - few)
    table.add(f"each of {many:,} secrets: hive_boot, RSS", each, "ours", "floor")
    rotated = _rotate(base)
    label = f"after {_ROTATIONS:,} rotations, floor after {{:,}}: hive_boot, RSS"
    table.add(label.format(_ROTATIONS // 10), rotated, "late", "early")
    table.add(label.format(_ROTATIONS // 2), rotated, "late", "half", GROWTH)
    return table


def _in_process(base: Path, directory: Path, program: str) -> Callable[[], Memory]:
    """Return a function that runs a program until it is ready, and returns its memory."""
    variables = {
        "HIVE_BOOT_SECRETS_DIR": str(directory),
        "HIVE_BOOT_MODE": "docker",
        # Compiling modules would need memory too: a first run does it.
        "PYTHONPYCACHEPREFIX": str(base / "compiled"),
    }

    def measure() -> Memory:
        with started("-c", program, quiet=True, **variables) as application:
            return application.memory()

    return measure


def _alternate(
    measures: Mapping[str, Callable[[], Memory]], rounds: int
) -> tuple[Figures, Figures]:
    """Measure each process in each round, after one that does not count.

    Returns:
        The resident and the private memory.
    """
    for measure in measures.values():
        measure()
    found = [
        {name: measure() for name, measure in measures.items()} for _ in range(limited(rounds))
    ]
    return (
        Figures({name: [each[name].resident for each in found] for name in measures}),
        Figures({name: [each[name].private for each in found] for name in measures}),
    )


def _measure_peer(program: str, base: Path, directory: Path) -> Figures:
    programs = {"floor": _FLOOR, "peer": program + _FLOOR}
    measures = {name: _in_process(base, directory, text) for name, text in programs.items()}
    return _alternate(measures, _PEER_ROUNDS)[0]


def _per_secret(figures: Figures, count: int) -> Figures:
    """Return the memory of each secret: the difference of many and few, divided by their number."""
    sides = {"ours": ("many", "few"), "floor": ("many plain", "few plain")}
    return Figures(
        {
            name: [
                (one - other) / count
                for one, other in zip(figures.seconds[many], figures.seconds[few], strict=True)
            ]
            for name, (many, few) in sides.items()
        }
    )


def _rotate(base: Path) -> Figures:
    """Return the memory of a process after a tenth and a half of the rotations, and after all."""
    most = limited(_ROTATIONS, 10 * _SAMPLES)
    distance = min(_BETWEEN_SAMPLES, most // (10 * _SAMPLES))
    kubelet = Kubelet(base / "rotated", [NAMES.format(0)])
    step = str(round(DEFAULTS.event_interval * 1e3))
    arguments = ("hive_boot", str(base / "rotated"), "1", step, "asyncio")
    samples: dict[int, float] = {}
    ends = {"early": most // 10, "half": most // 2, "late": most}
    wanted = {end - distance * number for end in ends.values() for number in range(_SAMPLES)}
    with started("-m", "benchmarks.watchers", *arguments) as application:
        for number in range(1, most + 1):
            kubelet.prepare()
            kubelet.swap()
            application.ask("reload")
            if number in wanted:
                samples[number] = application.memory().resident
    return Figures(
        {
            name: [samples[end - distance * number] for number in range(_SAMPLES)]
            for name, end in ends.items()
        }
    )
