"""Load 8, 100 and 1,000 secret files, beside a bare loop over the same files."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from benchmarks.measuring import take_turns, timed
from benchmarks.peers import PEERS, show_peer
from benchmarks.tables import Table
from benchmarks.workplace import (
    HIVE,
    environment,
    fake_value,
    wait_until_settled,
    write_directory,
    write_volume,
)
from hive_boot import Secret, SecretSet
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import HostEnvironment, SourceOptions, detect
from hive_boot.secrets.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.measuring import Figures
    from benchmarks.peers import Peer
    from hive_boot.secrets.load_result import LoadResult

BOUND = 1.5
"""How much more than the loop a load may cost, at 1,000 files."""

LINEAR = 1.2
"""How much more one of 1,000 files may cost than one of 100."""

_ROUNDS = {8: 400, 100: 200, 1000: 100}
_PEER_ROUNDS = {8: 20, 100: 10, 1000: 3}


class _Layout(NamedTuple):
    """A way in which secrets are mounted.

    Attributes:
        name: what it is called.
        root: where its file system begins.
        files: where its files are, for who knows how it is made.
        environ: what the platform sets.
        source_options: what the author of the application decided.
    """

    name: str
    root: Path
    files: Path
    environ: Mapping[str, str]
    source_options: SourceOptions


def measure(base: Path) -> Table:
    """Measure, with files below ``base``, an empty directory."""
    table = Table(
        "load: secret files to values",
        (
            "floor: for each name os.open(os.path.join(directory, name)), os.read(fd, 1 << 16),",
            "os.close (the directory is ..data in a volume). load: from the surroundings to the",
            "values (detect, load). start: the same, and the store's accept. linear: one file of",
            "1,000 beside one of 100.",
        ),
    )
    layouts = {count: _lay_out(base / str(count), names) for count, names in _sizes().items()}
    tens = [_lay_out(base / f"100-{number}", _sizes()[100]) for number in range(10)]
    wait_until_settled(base)
    for count, names in _sizes().items():
        for layout in layouts[count]:
            _measure_layout(table, layout, names)
    for many, *few in zip(layouts[1000], *tens, strict=True):
        figures = _linear(few, many)
        table.add(f"{many.name}, linear", figures, "many", "few", LINEAR)
    for count, names in _sizes().items():
        for peer in PEERS:
            directory = layouts[count][0].files
            what = f"flat, {count:,}: {peer.name}"
            show_peer(table, what, peer, partial(_measure_peer, peer, directory, names))
    return table


def _sizes() -> dict[int, tuple[str, ...]]:
    sizes = {count: tuple(f"secret_{number:04}" for number in range(count)) for count in _ROUNDS}
    return sizes | {len(HIVE): HIVE}


def _lay_out(base: Path, names: Sequence[str]) -> list[_Layout]:
    """Mount the secrets where platforms do, and where a person said."""
    plain, volume = base / "plain/run/secrets", base / "kubelet/run/secrets/app"
    write_directory(plain, names)
    write_volume(volume, names)
    in_cluster = {"KUBERNETES_SERVICE_HOST": "192.0.2.1"}
    named = SourceOptions(secrets_dirs=plain)
    return [
        _Layout("flat, /run/secrets", base / "plain", plain, {}, SourceOptions()),
        _Layout("flat, secrets_dirs=", base / "plain", plain, {}, named),
        _Layout(
            "kubelet, /run/secrets/app",
            base / "kubelet",
            volume / "..data",
            in_cluster,
            SourceOptions(),
        ),
    ]


def _measure_layout(table: Table, layout: _Layout, names: Sequence[str]) -> None:
    declared = _declare(names)
    _refuse_wrong(declared, layout, names)
    directory = str(layout.files)
    figures = take_turns(
        {
            "floor": timed(lambda: _bare_loop(directory, names)),
            "load": timed(lambda: _load(declared, layout)),
            "start": timed(lambda: _start(declared, layout)),
        },
        _ROUNDS[len(names)],
    )
    bound = BOUND if len(names) == max(_ROUNDS) else None
    table.add(f"{layout.name}, {len(names):,}: load", figures, "load", "floor", bound)
    table.add(f"{layout.name}, {len(names):,}: start", figures, "start", "floor")


def _linear(few: Sequence[_Layout], many: _Layout) -> Figures:
    """Take turns with ten times 100 and with 1,000 files; the figures are for one file.

    Ten places, because the same 100 files again and again would show what the
    processor's caches hold, and no start finds its files there.
    """
    sizes = _sizes()
    few_declared, many_declared = _declare(sizes[100]), _declare(sizes[1000])
    small = [timed(partial(_load, few_declared, layout)) for layout in few]
    large = timed(partial(_load, many_declared, many))
    return take_turns(
        {"few": lambda: sum(each() for each in small) / 1000, "many": lambda: large() / 1000},
        _ROUNDS[1000],
    )


def _declare(names: Sequence[str]) -> type[SecretSet]:
    """Declare a required secret for each name."""
    space = {"__annotations__": dict.fromkeys(names, Secret), "__module__": __name__}
    return cast("type[SecretSet]", type("Many", (SecretSet,), space))


def _load(declared: type[SecretSet], layout: _Layout) -> LoadResult:
    surroundings = HostEnvironment(environ={**os.environ, **layout.environ}, root=str(layout.root))
    field_index = declared._field_index  # noqa: SLF001  (what a run reads)
    source_context = detect(surroundings, layout.source_options, field_index.first_file)
    return load(field_index, source_context, declaration=declared.__name__)


def _start(declared: type[SecretSet], layout: _Layout) -> Store[Any]:
    """Do what a start does without a loop, and put the values into use."""
    store = Store(declared)
    loaded = _load(declared, layout)
    store.accept(loaded)
    return store


def _bare_loop(directory: str, names: Sequence[str]) -> None:
    for name in names:
        fd = os.open(os.path.join(directory, name), os.O_RDONLY)  # noqa: PTH118  (the floor)
        os.read(fd, 1 << 16)
        os.close(fd)


def _refuse_wrong(declared: type[SecretSet], layout: _Layout, names: Sequence[str]) -> None:
    """Read once and look at every value: a load that fails is quick as well."""
    view = _start(declared, layout).view
    wrong = [name for name in names if getattr(view, name).reveal() != fake_value(name)]
    if wrong:
        message = f"{layout.name}: {len(wrong)} of {len(names)} values are wrong"
        raise ValueError(message)


def _measure_peer(peer: Peer, directory: Path, names: Sequence[str]) -> Figures:
    with environment(**peer.variables(directory, names)):
        read = peer.reader(directory, names)
        if [value.strip() for value in read()[1]] != [fake_value(name) for name in names]:
            message = f"{peer.name} reads something else"
            raise ValueError(message)
        return take_turns(
            {"floor": timed(lambda: _bare_loop(str(directory), names)), "peer": timed(read)},
            _PEER_ROUNDS[len(names)],
        )
