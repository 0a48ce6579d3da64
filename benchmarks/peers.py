"""The libraries that are measured beside hive_boot, where they are installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from benchmarks.workplace import HIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.measuring import Figures
    from benchmarks.tables import Table

MISSING = "not installed"

_PREFIX = "BENCH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A library that reads secrets from files.

    Attributes:
        name: its distribution.
        imports: the line that a program begins with.
        variables: what the environment has to hold, for a directory and its names.
        reader: gives what reads all of them, anew at each call.
        attribute: whether a value is an attribute; else it is asked for by name.
        expression: how ``it``, what was read, gives ``{attribute}``, which is ``{name}``.
        program: reads the eight secrets in the directory ``HIVE_BOOT_SECRETS_DIR``.
    """

    name: str
    imports: str
    variables: Callable[[Path, Sequence[str]], dict[str, str]]
    reader: Callable[[Path, Sequence[str]], Callable[[], tuple[Any, list[str]]]]
    attribute: bool
    expression: str
    program: str


def show_peer(table: Table, what: str, peer: Peer, measure: Callable[[], Figures]) -> None:
    """Add the line of a peer, with figures when it is there and works.

    Args:
        table: where to.
        what: what is measured.
        peer: whose line it is.
        measure: measures ``peer`` and its ``floor``.
    """
    if installed(peer.name) is None:
        table.lack(what, MISSING)
        return
    try:
        figures = measure()
    except Exception as exc:  # noqa: BLE001  (what a peer raises is no fault of ours)
        table.lack(what, f"fails: {type(exc).__name__}")
    else:
        table.add(what, figures, "peer", "floor")


def installed(distribution: str) -> str | None:
    """Give the installed version of a distribution, if there is one."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _no_variables(directory: Path, names: Sequence[str]) -> dict[str, str]:
    del directory, names
    return {}


def _pydantic(directory: Path, names: Sequence[str]) -> Callable[[], tuple[Any, list[str]]]:
    base: Any = import_module("pydantic_settings").BaseSettings
    annotations = dict.fromkeys(names, str)
    model: Any = type("Many", (base,), {"__annotations__": annotations, "__module__": __name__})

    def read() -> tuple[Any, list[str]]:
        settings = model(_secrets_dir=directory)
        return settings, [getattr(settings, name) for name in names]

    return read


def _file_variables(directory: Path, names: Sequence[str]) -> dict[str, str]:
    return {f"{name.upper()}_FILE": str(directory / name) for name in names}


def _environs(directory: Path, names: Sequence[str]) -> Callable[[], tuple[Any, list[str]]]:
    del directory
    make: Any = import_module("environs").FileAwareEnv
    wanted = [name.upper() for name in names]

    def read() -> tuple[Any, list[str]]:
        env = make()
        return env, [env.str(name) for name in wanted]

    return read


def _read_file_variables(directory: Path, names: Sequence[str]) -> dict[str, str]:
    return {f"{_PREFIX}_{name.upper()}": f"@read_file {directory / name}" for name in names}


def _dynaconf(directory: Path, names: Sequence[str]) -> Callable[[], tuple[Any, list[str]]]:
    del directory
    make: Any = import_module("dynaconf").Dynaconf
    wanted = [name.upper() for name in names]

    def read() -> tuple[Any, list[str]]:
        settings = make(envvar_prefix=_PREFIX)
        return settings, [settings[name] for name in wanted]

    return read


_WHERE = f"""\
import os
at, names = os.environ["HIVE_BOOT_SECRETS_DIR"], {HIVE!r}
"""

PEERS = (
    Peer(
        name="pydantic-settings",
        imports="from pydantic_settings import BaseSettings",
        variables=_no_variables,
        reader=_pydantic,
        attribute=True,
        expression="it.{attribute}",
        program=_WHERE
        + "class Settings(BaseSettings):\n"
        + "".join(f"    {name}: str\n" for name in HIVE)
        + "settings = Settings(_secrets_dir=at)\n",
    ),
    Peer(
        name="environs",
        imports="from environs import FileAwareEnv",
        variables=_file_variables,
        reader=_environs,
        attribute=False,
        expression="it.str('{name}')",
        program=_WHERE
        + "os.environ |= {f'{name.upper()}_FILE': f'{at}/{name}' for name in names}\n"
        + "env = FileAwareEnv()\n"
        + "values = [env.str(name.upper()) for name in names]\n",
    ),
    Peer(
        name="dynaconf",
        imports="from dynaconf import Dynaconf",
        variables=_read_file_variables,
        reader=_dynaconf,
        attribute=True,
        expression="it.{name}",
        program=_WHERE
        + "os.environ |= {f'BENCH_{name.upper()}': f'@read_file {at}/{name}' for name in names}\n"
        + "settings = Dynaconf(envvar_prefix='BENCH')\n"
        + "values = [settings[name.upper()] for name in names]\n",
    ),
)
