"""Peers: other libraries that are measured for comparison, if they are installed."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.environment import HIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.tables import Table
    from benchmarks.timing import Figures

MISSING = "not installed"

_PREFIX = "BENCH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A library that reads secrets from files.

    Attributes:
        name: the name of its distribution.
        imports: the import statement of a program.
        variables: returns the environment variables for a directory and names of secrets.
        reader: returns a function that reads all secrets again at each call.
        attribute: whether a value is an attribute; otherwise it is looked up by name.
        expression: the source that reads ``{attribute}``, or ``{name}``, of the settings ``it``.
        program: the source that reads the eight secrets in ``HIVE_BOOT_SECRETS_DIR``.
    """

    name: str
    imports: str
    variables: Callable[[Path, Sequence[str]], dict[str, str]]
    reader: Callable[[Path, Sequence[str]], Callable[[], tuple[Any, list[str]]]]
    attribute: bool
    expression: str
    program: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """A library that runs an application on asyncio.

    Attributes:
        name: the name of its distribution.
        label: its name in the table.
        program: the source of an application without secrets that ends as soon as it has started.
        ready: the source of the same application; ``{ready}`` is run when the start of the
            application is called.
    """

    name: str
    label: str
    program: str
    ready: str


def add_peer(
    table: Table, label: str, peer: Peer | Framework, measure: Callable[[], Figures]
) -> None:
    """Add the row of a peer, with its times or with the reason why there are none.

    Args:
        table: the table.
        label: the label of the row.
        peer: the peer.
        measure: measures the alternatives ``peer`` and ``floor``.
    """
    if installed(peer.name) is None:
        table.add_missing(label, MISSING)
        return
    try:
        figures = measure()
    except Exception as exc:  # noqa: BLE001  (a failing peer does not stop the benchmark)
        table.add_missing(label, f"fails: {type(exc).__name__}")
    else:
        table.add(label, figures, "peer", "floor")


def installed(distribution: str) -> str | None:
    """Return the installed version of a distribution, or None."""
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
    keys = [name.upper() for name in names]

    def read() -> tuple[Any, list[str]]:
        env = make()
        return env, [env.str(name) for name in keys]

    return read


def _read_file_variables(directory: Path, names: Sequence[str]) -> dict[str, str]:
    return {f"{_PREFIX}_{name.upper()}": f"@read_file {directory / name}" for name in names}


def _dynaconf(directory: Path, names: Sequence[str]) -> Callable[[], tuple[Any, list[str]]]:
    del directory
    make: Any = import_module("dynaconf").Dynaconf
    keys = [name.upper() for name in names]

    def read() -> tuple[Any, list[str]]:
        settings = make(envvar_prefix=_PREFIX)
        return settings, [settings[name] for name in keys]

    return read


def _file_urls(directory: Path, names: Sequence[str]) -> dict[str, str]:
    return {f"{_PREFIX}_{name.upper()}": f"file://{directory / name}" for name in names}


def _typed_settings(directory: Path, names: Sequence[str]) -> Callable[[], tuple[Any, list[str]]]:
    del directory
    library: Any = import_module("typed_settings")
    processors: Any = import_module("typed_settings.processors")
    model = _dataclass(names)

    def read_file(value: str, scheme: str) -> str:
        del scheme
        return Path(value).read_text("utf-8")

    def read() -> tuple[Any, list[str]]:
        settings = library.load_settings(
            model,
            loaders=[library.EnvLoader(f"{_PREFIX}_")],
            processors=[processors.UrlProcessor({"file://": read_file})],
        )
        return settings, [getattr(settings, name) for name in names]

    return read


def _dynamic_config(directory: Path, names: Sequence[str]) -> Callable[[], tuple[Any, list[str]]]:
    make: Any = import_module("dynamic_config").DynamicConfig
    model = _dataclass(names)

    def read() -> tuple[Any, list[str]]:
        config = make(model, key="").whole_document().secrets_dir(str(directory))
        current = config.init_and_current()
        return config, [getattr(current, name) for name in names]

    return read


def _dataclass(names: Sequence[str]) -> type:
    """Return a dataclass with a text for each name."""
    return make_dataclass("Many", [(name, str) for name in names])


_DATACLASS = "@dataclass\nclass Settings:\n" + "".join(f"    {name}: str\n" for name in HIVE)

_PREAMBLE = f"""\
import os
directory, names = os.environ["HIVE_BOOT_SECRETS_DIR"], {HIVE!r}
"""

PEERS = (
    Peer(
        name="pydantic-settings",
        imports="from pydantic_settings import BaseSettings",
        variables=_no_variables,
        reader=_pydantic,
        attribute=True,
        expression="it.{attribute}",
        program=_PREAMBLE
        + "class Settings(BaseSettings):\n"
        + "".join(f"    {name}: str\n" for name in HIVE)
        + "settings = Settings(_secrets_dir=directory)\n",
    ),
    Peer(
        name="environs",
        imports="from environs import FileAwareEnv",
        variables=_file_variables,
        reader=_environs,
        attribute=False,
        expression="it.str('{name}')",
        program=_PREAMBLE
        + "os.environ |= {f'{name.upper()}_FILE': f'{directory}/{name}' for name in names}\n"
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
        program=_PREAMBLE
        + "for name in names:\n"
        + "    os.environ[f'BENCH_{name.upper()}'] = f'@read_file {directory}/{name}'\n"
        + "settings = Dynaconf(envvar_prefix='BENCH')\n"
        + "values = [settings[name.upper()] for name in names]\n",
    ),
    Peer(
        name="typed-settings",
        imports="from typed_settings import EnvLoader, load_settings",
        variables=_file_urls,
        reader=_typed_settings,
        attribute=True,
        expression="it.{attribute}",
        program=_PREAMBLE
        + "from dataclasses import dataclass\n"
        + "from pathlib import Path\n"
        + "from typed_settings.processors import UrlProcessor\n"
        + "for name in names:\n"
        + "    os.environ[f'BENCH_{name.upper()}'] = f'file://{directory}/{name}'\n"
        + _DATACLASS
        + "read = UrlProcessor({'file://': lambda value, scheme: Path(value).read_text('utf-8')})\n"
        + "settings = load_settings(Settings, loaders=[EnvLoader('BENCH_')], processors=[read])\n",
    ),
    Peer(
        name="dynamic-config-py",
        imports="from dynamic_config import DynamicConfig",
        variables=_no_variables,
        reader=_dynamic_config,
        attribute=True,
        expression="it.current().{attribute}",
        program=_PREAMBLE
        + "from dataclasses import dataclass\n"
        + _DATACLASS
        + "config = DynamicConfig(Settings, key='').whole_document().secrets_dir(directory)\n"
        + "settings = config.init_and_current()\n",
    ),
)

_ASPHALT = """\
from asphalt.core import {component}, Context, run_application
class Application({component}):
    async def {method}(self, ctx: Context) -> None:
        {body}
run_application(Application())
"""

_AIOMISC = """\
from aiomisc import entrypoint
async def main():
    {body}
with entrypoint() as loop:
    loop.run_until_complete(main())
"""

_UVICORN = """\
from contextlib import asynccontextmanager
import uvicorn
from starlette.applications import Starlette
@asynccontextmanager
async def lifespan(app):
    {body}
    yield
app = Starlette(lifespan=lifespan)
server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0))
server.run()
"""

FRAMEWORKS = (
    Framework(
        name="asphalt",
        label="asphalt",
        program=_ASPHALT.format(component="CLIApplicationComponent", method="run", body="pass"),
        ready=_ASPHALT.format(component="Component", method="start", body="{ready}"),
    ),
    Framework(
        name="aiomisc",
        label="aiomisc",
        program=_AIOMISC.format(body="pass"),
        ready=_AIOMISC.format(body="{ready}"),
    ),
    Framework(
        name="uvicorn",
        label="uvicorn + Starlette",
        program=_UVICORN.format(body="server.should_exit = True"),
        ready=_UVICORN.format(body="{ready}"),
    ),
)
