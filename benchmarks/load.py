"""Load benchmark: up to 10,000 secret files, compared with a loop over the same files."""

from __future__ import annotations

import json
import os
import random
import string
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
from hive_boot import Secret, SecretSet, redact
from hive_boot.redaction.hooks import Redaction
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
"""Maximum ratio of the time per file of ten times as many files to that of the others."""

DOCUMENT = 50.0
"""Maximum ratio of a start with a document of a megabyte to reading it."""

_ROUNDS = {8: 400, 100: 200, 1000: 100}
_LINEAR_ROUNDS = 20
_MISSING_ROUNDS = 5
_DOCUMENT_ROUNDS = 30
_DOCUMENT_SIZE = 1_000_000
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
            "file of 10,000 files, compared with 1,000. missing: the time per missing secret of",
            "1,000 that are missing beside 1,000 other files, compared with 100 beside 100.",
            "a JSON document: a list of 9,289 URLs with passwords; floor: os.open, os.read,",
            "os.close, json.loads; start: after it every password in the document is hidden.",
        ),
    )
    layouts = {
        count: _create_layouts(base / str(count), names) for count, names in _sizes().items()
    }
    tenth = [_create_layouts(base / f"1000-{number}", _secrets(1000)) for number in range(10)]
    whole = _create_layouts(base / "10000", _secrets(10_000))
    others = [f"other_{number:04}" for number in range(1000)]
    beside_few = [_create_layouts(base / f"o-{number}", others[:100])[0] for number in range(10)]
    beside_many = _create_layouts(base / "other", others)[0]
    document = _create_document(base / "document")
    wait_until_settled(base)
    for count, names in _sizes().items():
        for layout in layouts[count]:
            _measure_layout(table, layout, names)
    for many, *few in zip(whole, *tenth, strict=True):
        _check_values(_declare(_secrets(10_000)), many, _secrets(10_000))
        figures = _linear(few, many, 1000, _LINEAR_ROUNDS)
        table.add(f"{many.name}, linear", figures, "many", "few", LINEAR)
    _check_missing(beside_many)
    figures = _linear(beside_few, beside_many, 100, _MISSING_ROUNDS)
    table.add("flat, missing, linear", figures, "many", "few", LINEAR)
    _measure_document(table, document)
    for count, names in _sizes().items():
        for peer in PEERS:
            directory = layouts[count][0].files
            label = f"flat, {count:,}: {peer.name}"
            add_peer(table, label, peer, partial(_measure_peer, peer, directory, names))
    return table


def _sizes() -> dict[int, tuple[str, ...]]:
    return {count: _secrets(count) for count in _ROUNDS} | {len(HIVE): HIVE}


def _secrets(count: int) -> tuple[str, ...]:
    return tuple(f"secret_{number:04}" for number in range(count))


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


def _linear(few: Sequence[_Layout], many: _Layout, count: int, rounds: int) -> Figures:
    """Return the times per secret of ten loads, and of one load of ten times as many secrets.

    The ten directories are different: reading the same files repeatedly would measure the caches
    of the processor, which do not contain the files at a start.

    Args:
        few: the ten layouts.
        many: the other layout.
        count: the number of secrets in each of ``few``.
        rounds: the number of rounds.
    """
    few_declared, many_declared = _declare(_secrets(count)), _declare(_secrets(10 * count))
    small = [timed(partial(_load, few_declared, layout)) for layout in few]
    large = timed(partial(_load, many_declared, many))
    total = 10 * count
    return alternate(
        {"few": lambda: sum(each() for each in small) / total, "many": lambda: large() / total},
        rounds,
    )


def _check_missing(layout: _Layout) -> None:
    """Raise if not every secret is reported as missing.

    Raises:
        ValueError: a secret has another problem, or none.
    """
    names = _secrets(1000)
    missing = [each for each in _load(_declare(names), layout).problems if each.kind == "missing"]
    if len(missing) != len(names):
        message = f"{len(missing)} of {len(names)} secrets are reported as missing"
        raise ValueError(message)


def _create_document(base: Path) -> _Layout:
    """Create a file with a JSON list of different URLs, each with a generated password."""
    generated = random.Random(0)  # noqa: S311  (fake passwords, the same in each run)
    characters = string.ascii_letters + string.digits
    urls: list[str] = []
    size = 2
    while size < _DOCUMENT_SIZE:
        number, password = len(urls), "".join(generated.choices(characters, k=24))
        host = f"db-{number % 100}.internal.example.com:5432"
        urls.append(f"postgresql://user_{number}:{password}@{host}/app_{number}?sslmode=require")
        size += len(urls[-1]) + 4
    directory = base / "run/secrets"
    directory.mkdir(parents=True)
    (directory / "database_urls").write_text(json.dumps(urls), encoding="utf-8")
    options = SourceOptions(secrets_dirs=directory)
    return _Layout("a JSON document of 1 MB", base, directory, {}, options)


def _measure_document(table: Table, layout: _Layout) -> None:
    """Measure a start with a document, from the environment to the hidden passwords."""
    declared, path = _declare(["database_urls"]), str(layout.files / "database_urls")
    password = json.loads(_start(declared, layout).view.database_urls.reveal())[-1].split(":")[2]
    _check_hidden(declared, layout, password.partition("@")[0])
    figures = alternate(
        {
            "floor": timed(lambda: _read_document(path)),
            "start": timed(lambda: _start_hidden(declared, layout).close()),
        },
        _DOCUMENT_ROUNDS,
    )
    table.add(f"{layout.name}: start", figures, "start", "floor", DOCUMENT)


def _start_hidden(declared: type[SecretSet], layout: _Layout) -> Redaction:
    """Load, hide and accept the values, as a start does, and return the open redaction."""
    store, redaction = Store(declared), Redaction()
    redaction.open()
    loaded = _load(declared, layout)
    redaction.hide(loaded.secret_values)
    store.accept(loaded.with_short_values())
    return redaction


def _read_document(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    content = os.read(fd, 1 << 20)
    os.close(fd)
    json.loads(content)


def _check_hidden(declared: type[SecretSet], layout: _Layout, password: str) -> None:
    """Raise if a password in the document is not hidden: a start without that would be fast.

    Raises:
        ValueError: the password is shown.
    """
    redaction = _start_hidden(declared, layout)
    shown = redact(f"cannot log in with {password}")
    redaction.close()
    if password in shown:
        message = f"{layout.name}: a password is not hidden"
        raise ValueError(message)


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
