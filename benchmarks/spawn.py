"""Start an application that does nothing: the whole life of its process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measuring import take_turns
from benchmarks.peers import MISSING, PEERS, installed, show_peer
from benchmarks.tables import Table
from benchmarks.workplace import HIVE, Interpreters, wait_until_settled, write_directory

if TYPE_CHECKING:
    from pathlib import Path

BOUND = 1.2
"""How much more than a bare ``anyio.run`` a start with eight secrets may take, on asyncio."""

_ROUNDS = 40
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
_LEAVE = "os.write(1, str(time.monotonic()).encode()); os._exit(0)"
"""What main does when being ready is the end: the stop is no part of it, nor what the kernel
does for a process that ends."""


def measure(base: Path) -> Table:
    """Measure, with files below ``base``, an empty directory."""
    table = Table(
        f"spawn: a no-op application with {len(HIVE)} secrets, docker mode, spawn to exit",
        (
            "floor: the whole process of a bare anyio.run of a no-op, without secrets.",
            "to ready: until main is called; with watch, the floor imports watchfiles too.",
        ),
    )
    directory = base / "secrets"
    write_directory(directory, HIVE)
    wait_until_settled(directory)
    start = Interpreters(base, {"HIVE_BOOT_SECRETS_DIR": str(directory)})
    for backend, bound in (("asyncio", BOUND), ("trio", None)):
        if backend == "trio" and installed("trio") is None:
            table.lack(backend, MISSING)
            continue
        rounds = _ROUNDS if bound else _ROUNDS // 3
        bare = _FLOOR.format(backend=backend, main=_NOTHING)
        floor = start.measure(bare)
        ours = start.measure(_OURS.format(backend=backend, main=_NOTHING, watch=False))
        figures = take_turns({"floor": floor, "ours": ours}, rounds)
        table.add(f"{backend}: hive_boot", figures, "ours", "floor", bound)
        for watch, imports in ((False, _IMPORTS), (True, f"{_IMPORTS}import watchfiles\n")):
            to_ready = {
                "floor": imports + _FLOOR.format(backend=backend, main=_LEAVE),
                "ours": _IMPORTS + _OURS.format(backend=backend, main=_LEAVE, watch=watch),
            }
            sides = {
                side: start.measure(program, until_said=True) for side, program in to_ready.items()
            }
            figures = take_turns(sides, rounds)
            what = f"{backend}: hive_boot, watch={watch}, to ready"
            table.add(what, figures, "ours", "floor", bound)
        for peer in PEERS:
            theirs = start.measure(f"{peer.imports}\n{peer.program}{bare}")
            measure_peer = partial(take_turns, {"floor": floor, "peer": theirs}, _PEER_ROUNDS)
            show_peer(table, f"{backend}: {peer.name} + anyio.run", peer, measure_peer)
    return table
