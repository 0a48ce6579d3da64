"""Load benchmark: 8, 100 and 1,000 secret files, compared with a loop over the same files."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from benchmarks.environment import (
    HIVE,
    environment,
    fake_value,
    wait_until_settled,
    write_directory,
    write_volume,
)
from benchmarks.peers import PEERS, add_peer
from benchmarks.tables import Table
from benchmarks.timing import alternate, timed
from hive_boot import Secret, SecretSet
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import HostEnvironment, SourceOptions, detect
from hive_boot.secrets.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.peers import Peer
    from benchmarks.timing import Figures
    from hive_boot.secrets.load_result import LoadResult

BOUND = 1.5
"""Maximum ratio of a load to the loop, for 1,000 files."""

LINEAR = 1.2
"""Maximum ratio of the time per file of 1,000 files to that of 100 files."""

_ROUNDS = {8: 400, 100: 200, 1000: 100}
_PEER_ROUNDS = {8: 20, 100: 10, 1000: 3}


class _Layout(NamedTuple):
    """A layout of mounted secrets.

    Attributes:
        name: the name in the table.
        root: the root directory of the simulated machine.
        files: the directory of the files, which the baseline reads.
        environ: the variables that the platform sets.
        source_options: the arguments of the application.
    """

    name: str
    root: Path
    files: Path
    environ: Mapping[str, str]
    source_options: SourceOptions


def measure(base: Path) -> Table:
    """Return the measured table; files are written below ``base``, an empty directory."""
    table = Table(
        "load: secret files to values",
        (
            "floor: for each name os.open(os.path.join(directory, name)), os.read(fd, 1 << 16),",
            "os.close (the directory is ..data in a volume). load: from the environment to the",
            "values (detect, load). start: the same, and the store's accept. linear: the time per",
            "file of 1,000 files, compared with 100.",
        ),
    )
    layouts = {
        count: _create_layouts(base / str(count), names) for count, names in _sizes().items()
    }
    small = [_create_layouts(base / f"100-{number}", _sizes()[100]) for number in range(10)]
    wait_until_settled(base)
    for count, names in _sizes().items():
        for layout in layouts[count]:
            _measure_layout(table, layout, names)
    for many, *few in zip(layouts[1000], *small, strict=True):
        figures = _linear(few, many)
        table.add(f"{many.name}, linear", figures, "many", "few", LINEAR)
    for count, names in _sizes().items():
        for peer in PEERS:
            directory = layouts[count][0].files
            label = f"flat, {count:,}: {peer.name}"
            add_peer(table, label, peer, partial(_measure_peer, peer, directory, names))
    return table


def _sizes() -> dict[int, tuple[str, ...]]:
    sizes = {count: tuple(f"secret_{number:04}" for number in range(count)) for count in _ROUNDS}
    return sizes | {len(HIVE): HIVE}


def _create_layouts(base: Path, names: Sequence[str]) -> list[_Layout]:
    """Create the secrets at default paths of platforms, and at one that is configured."""
    plain, volume = base / "plain/run/secrets", base / "kubelet/run/secrets/app"
    write_directory(plain, names)
    write_volume(volume, names)
    in_cluster = {"KUBERNETES_SERVICE_HOST": "192.0.2.1"}
    configured = SourceOptions(secrets_dirs=plain)
    return [
        _Layout("flat, /run/secrets", base / "plain", plain, {}, SourceOptions()),
        _Layout("flat, secrets_dirs=", base / "plain", plain, {}, configured),
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
    _check_values(declared, layout, names)
    directory = str(layout.files)
    figures = alternate(
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
    """Return the times per file for ten times 100 files, and for 1,000 files.

    The ten directories are different: reading the same 100 files repeatedly would measure the
    caches of the processor, which do not contain the files at a start.
    """
    sizes = _sizes()
    few_declared, many_declared = _declare(sizes[100]), _declare(sizes[1000])
    small = [timed(partial(_load, few_declared, layout)) for layout in few]
    large = timed(partial(_load, many_declared, many))
    return alternate(
        {"few": lambda: sum(each() for each in small) / 1000, "many": lambda: large() / 1000},
        _ROUNDS[1000],
    )


def _declare(names: Sequence[str]) -> type[SecretSet]:
    """Return a declaration with a required secret for each name."""
    namespace = {"__annotations__": dict.fromkeys(names, Secret), "__module__": __name__}
    return cast("type[SecretSet]", type("Many", (SecretSet,), namespace))


def _load(declared: type[SecretSet], layout: _Layout) -> LoadResult:
    host = HostEnvironment(environ={**os.environ, **layout.environ}, root=str(layout.root))
    field_index = declared._field_index
    source_context = detect(host, layout.source_options, field_index)
    return load(field_index, source_context, declaration=declared.__name__)


def _start(declared: type[SecretSet], layout: _Layout) -> Store[Any]:
    """Load and accept the values, as a start does, without an event loop."""
    store = Store(declared)
    loaded = _load(declared, layout)
    store.accept(loaded)
    return store


def _bare_loop(directory: str, names: Sequence[str]) -> None:
    for name in names:
        fd = os.open(os.path.join(directory, name), os.O_RDONLY)  # noqa: PTH118  (the floor)
        os.read(fd, 1 << 16)
        os.close(fd)


def _check_values(declared: type[SecretSet], layout: _Layout, names: Sequence[str]) -> None:
    """Raise if a value is wrong: a failed load would be fast.

    Raises:
        ValueError: a value is wrong.
    """
    view = _start(declared, layout).view
    wrong = [name for name in names if getattr(view, name).reveal() != fake_value(name)]
    if wrong:
        message = f"{layout.name}: {len(wrong)} of {len(names)} values are wrong"
        raise ValueError(message)


def _measure_peer(peer: Peer, directory: Path, names: Sequence[str]) -> Figures:
    with environment(**peer.variables(directory, names)):
        read = peer.reader(directory, names)
        if [value.strip() for value in read()[1]] != [fake_value(name) for name in names]:
            message = f"{peer.name} returned wrong values"
            raise ValueError(message)
        return alternate(
            {"floor": timed(lambda: _bare_loop(str(directory), names)), "peer": timed(read)},
            _PEER_ROUNDS[len(names)],
        )
