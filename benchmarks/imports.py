"""Import benchmark: hive_boot in a fresh interpreter, compared with its dependencies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.environment import InterpreterTimer
from benchmarks.peers import PEERS, add_peer
from benchmarks.tables import Table
from benchmarks.timing import alternate

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.timing import Figures

BOUND = 0.6
"""Maximum ratio of an import of hive_boot to an import of its dependencies."""

_OURS = "from hive_boot import Bootstrap, Secret, SecretSet, secret"
_FLOOR = "import anyio, watchfiles, dotenv"

_ROUNDS = 40
_PEER_ROUNDS = 8


def measure(base: Path) -> Table:
    """Return the measured table; compiled modules are written below ``base``."""
    table = Table(
        "import: in a fresh interpreter, without the time of a bare one",
        (
            f"floor: {_FLOOR}",
            "Each time is that of a process minus that of a bare interpreter in the same round.",
        ),
    )
    start = InterpreterTimer(base, {})

    def figures(name: str, program: str, rounds: int) -> Figures:
        programs = {"bare": "pass", "floor": _FLOOR, name: program}
        sides = {side: start.measure(text) for side, text in programs.items()}
        return alternate(sides, rounds).over("bare")

    table.add(_OURS, figures("ours", _OURS, _ROUNDS), "ours", "floor", BOUND)
    for peer in PEERS:
        measure_peer = partial(figures, "peer", peer.imports, _PEER_ROUNDS)
        add_peer(table, peer.imports, peer, measure_peer)
    return table
