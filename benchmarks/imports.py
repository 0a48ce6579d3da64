"""Import hive_boot in a fresh interpreter, beside the libraries that it stands on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measuring import take_turns
from benchmarks.peers import PEERS, show_peer
from benchmarks.tables import Table
from benchmarks.workplace import Interpreters

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measuring import Figures

BOUND = 0.6
"""How much of the time of its dependencies an import of hive_boot may take."""

_OURS = "from hive_boot import Bootstrap, Secret, SecretSet, secret"
_FLOOR = "import anyio, watchfiles, dotenv"

_ROUNDS = 40
_PEER_ROUNDS = 8


def measure(base: Path) -> Table:
    """Measure, with compiled modules below ``base``, an empty directory."""
    table = Table(
        "import: in a fresh interpreter, over a bare one",
        (f"floor: {_FLOOR}", "All times are whole processes less a bare interpreter of the round."),
    )
    start = Interpreters(base, {})

    def figures(name: str, program: str, rounds: int) -> Figures:
        programs = {"bare": "pass", "floor": _FLOOR, name: program}
        sides = {side: start.measure(text) for side, text in programs.items()}
        return take_turns(sides, rounds).over("bare")

    table.add(_OURS, figures("ours", _OURS, _ROUNDS), "ours", "floor", BOUND)
    for peer in PEERS:
        measure_peer = partial(figures, "peer", peer.imports, _PEER_ROUNDS)
        show_peer(table, peer.imports, peer, measure_peer)
    return table
