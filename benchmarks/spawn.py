"""Spawn benchmark: the whole process of an application that does nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.environment import HIVE, InterpreterTimer, wait_until_settled, write_directory
from benchmarks.peers import FRAMEWORKS, MISSING, PEERS, add_peer, installed
from benchmarks.tables import Table
from benchmarks.timing import alternate

if TYPE_CHECKING:
    from pathlib import Path

BOUND = 1.2
"""Maximum ratio of a start with eight secrets to a bare ``anyio.run``."""

_ROUNDS = {"asyncio": 40, "trio": 20}
_PEER_ROUNDS = 6

_FLOOR = """\
import anyio
async def main():
    {main}
anyio.run(main, backend={backend!r})
"""

_OURS = (
    "from hive_boot import Bootstrap, Secret, SecretSet, secret\n"
    "class HiveSecrets(SecretSet):\n"
    + "".join(f"    {name}: Secret\n" for name in HIVE)
    + "boot = Bootstrap(HiveSecrets, watch={watch})\n"
    "@boot.main\n"
    "async def main(secrets: HiveSecrets) -> None:\n"
    "    {main}\n"
    "boot.run(backend={backend!r})\n"
)

_NOTHING = "pass"
_IMPORTS = "import os, time\n"
_EXIT = "os.write(1, str(time.monotonic()).encode()); os._exit(0)"
"""Body of main that prints the time and exits, so that the stop is not measured."""


def measure(base: Path) -> Table:
    """Return the measured table; files are written below ``base``, an empty directory."""
    table = Table(
        f"spawn: a no-op application with {len(HIVE)} secrets, docker mode, spawn to exit",
        (
            "floor: the whole process of a bare anyio.run of a no-op, without secrets.",
            "to ready: until main is called; the floor is the same with watch and without.",
            "asphalt, aiomisc, uvicorn: an application without secrets. To ready: until the start",
            "of the root component, main, or the start of the lifespan is called. asphalt waits",
            "100 ms before it calls the run() of a program that ends by itself.",
        ),
    )
    directory = base / "secrets"
    write_directory(directory, HIVE)
    wait_until_settled(directory)
    start = InterpreterTimer(base, {"HIVE_BOOT_SECRETS_DIR": str(directory)})
    for backend, rounds in _ROUNDS.items():
        if backend == "trio" and installed("trio") is None:
            table.add_missing(backend, MISSING)
            continue
        bare = _FLOOR.format(backend=backend, main=_NOTHING)
        floor = start.measure(bare)
        ours = start.measure(_OURS.format(backend=backend, main=_NOTHING, watch=False))
        figures = alternate({"floor": floor, "ours": ours}, rounds)
        table.add(f"{backend}: hive_boot", figures, "ours", "floor", BOUND)
        for watch in (False, True):
            to_ready = {
                "floor": _IMPORTS + _FLOOR.format(backend=backend, main=_EXIT),
                "ours": _IMPORTS + _OURS.format(backend=backend, main=_EXIT, watch=watch),
            }
            sides = {
                side: start.measure(program, until_output=True)
                for side, program in to_ready.items()
            }
            figures = alternate(sides, rounds)
            label = f"{backend}: hive_boot, watch={watch}, to ready"
            table.add(label, figures, "ours", "floor", BOUND)
        for peer in PEERS:
            theirs = start.measure(f"{peer.imports}\n{peer.program}{bare}")
            measure_peer = partial(alternate, {"floor": floor, "peer": theirs}, _PEER_ROUNDS)
            add_peer(table, f"{backend}: {peer.name} + anyio.run", peer, measure_peer)
    _measure_frameworks(table, start)
    return table


def _measure_frameworks(table: Table, start: InterpreterTimer) -> None:
    bare = _FLOOR.format(backend="asyncio", main="{}")
    for framework in FRAMEWORKS:
        whole = {"floor": bare.format(_NOTHING), "peer": framework.program}
        measures = {side: start.measure(program) for side, program in whole.items()}
        measure_whole = partial(alternate, measures, _PEER_ROUNDS)
        add_peer(table, f"asyncio: {framework.label}", framework, measure_whole)
        ready = {"floor": bare.format(_EXIT), "peer": framework.ready.format(ready=_EXIT)}
        measures = {
            side: start.measure(_IMPORTS + program, until_output=True)
            for side, program in ready.items()
        }
        measure_ready = partial(alternate, measures, _PEER_ROUNDS)
        add_peer(table, f"asyncio: {framework.label}, to ready", framework, measure_ready)
