"""The package as it is imported: what it shows, and what it leaves unloaded."""

import inspect
import os
import pickle
import re
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import hive_boot
from hive_boot import (
    BootError,
    InvalidSecretsError,
    LifecycleError,
    MissingSecretError,
    Problem,
    ShutdownTimeoutError,
    StartupError,
)
from tests.support import run_child

HEAVY = [
    "anyio",
    "asyncio",
    "dotenv",
    "h11",
    "hypercorn",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "starlette",
    "trio",
    "uvicorn",
    "uvloop",
    "watchfiles",
]

VALUE = "fake-jwt-secret-0123456789-0123456789"


def test_the_table_of_contents_is_sorted_and_complete() -> None:
    """What can be imported by name is listed, in order, once."""
    for name in hive_boot.__all__:
        assert getattr(hive_boot, name) is not None
    shown = {
        name
        for name, value in vars(hive_boot).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert hive_boot.__all__ == sorted(hive_boot.__all__)
    assert set(hive_boot.__all__) == shown
    assert len(hive_boot.__all__) == len(shown)


PROMISED = """
    Bootstrap Change ResourceHandle Secret SecretBytes SecretSet secret redact
    RotationStatus SecretStatus State Status
    get_secret has_secret mask_secret require_secret
    BootError DeclarationError
    SecretsError InvalidSecretsError MissingSecretError Source SourceError Problem
    LifecycleError IllegalTransitionError ShutdownTimeoutError StartupError UnavailableError
"""


def test_the_public_names_can_be_imported() -> None:
    """`__all__` has every promised name, and no other."""
    assert set(hive_boot.__all__) == set(PROMISED.split())
    assert repr(hive_boot.Bootstrap) == "<class 'hive_boot.Bootstrap'>"


def test_the_version_is_that_of_the_distribution() -> None:
    """A report of a problem can name the version."""
    assert hive_boot.__version__ == version("hive_boot")


def test_an_error_of_a_run_is_not_an_error_of_the_deployment() -> None:
    """A service manager sees the exit status 70 of software, not 78 of the configuration."""
    for error in (StartupError, ShutdownTimeoutError):
        assert issubclass(error, LifecycleError)
        assert error.exit_code == 70


def test_public_objects_are_named_by_the_package() -> None:
    """A traceback and a help page say what users import: ``hive_boot.X``, with a docstring."""
    for name in hive_boot.__all__:
        shown = getattr(hive_boot, name)
        assert (shown.__module__, shown.__qualname__) == ("hive_boot", name)
        assert inspect.getdoc(shown), name


def test_a_star_import_has_only_the_public_names() -> None:
    """Importing everything gives the public names, and no submodule."""
    names: dict[str, object] = {}
    exec("from hive_boot import *", names)  # noqa: S102  (it is what a user may write)
    assert names.keys() - {"__builtins__"} == set(hive_boot.__all__)


def test_an_error_survives_the_way_to_another_process() -> None:
    """A pool of processes hands errors over by the names that the package shows."""
    errors: tuple[BootError, ...] = (
        MissingSecretError("JWT_SECRET", "set the variable JWT_SECRET"),
        InvalidSecretsError([Problem(name="JWT_SECRET", kind="missing", message="is missing")]),
        LifecycleError("it is not running"),
        StartupError("agents", "it takes more than 30 s", ["running   agents, 30.0 s"]),
        ShutdownTimeoutError(["agents", "pool"]),
    )
    for error in errors:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
        assert type(again) is type(error)
        assert again.args == error.args
        assert str(again) == str(error)


def loaded_after(source: str, *more: str, **variables: str) -> set[str]:
    """Run ``source``, and give what of the heavy modules, and of ``more``, is loaded then."""
    child = run_child(
        f"import sys\n{source}\nprint(*sorted(set({[*HEAVY, *more]}) & sys.modules.keys()))",
        cwd=None,
        **variables,
    )
    assert child.returncode == 0, child.stderr
    return set(child.stdout.split())


LIFE = [
    "hive_boot.secrets.sources.external",
    "hive_boot.runtime.checks",
    "hive_boot.runtime.process",
    "hive_boot.runtime.run",
    "hive_boot.lifecycle.forced_exit",
    "hive_boot.lifecycle.instances",
    "hive_boot.lifecycle.resources",
    "hive_boot.lifecycle.runner",
    "hive_boot.lifecycle.services",
    "hive_boot.lifecycle.signals",
    "hive_boot.serving.endpoints",
    "hive_boot.serving.servers",
    "hive_boot.serving.metrics",
    "hive_boot.serving.asgi",
    "hive_boot.serving.status_page",
    "hive_boot.serving.probe_server",
    "hive_boot.serving.servers",
]
"""What only an application that lives needs, or one that answers from outside."""


def test_an_import_is_light() -> None:
    """A tool that only looks at a declaration loads no loop, watcher, parser or server."""
    assert loaded_after("import hive_boot", *LIFE) == set()


def test_a_declaration_is_light() -> None:
    """Declaring an application loads nothing either."""
    source = """
from hive_boot import Bootstrap, Change, Secret, SecretSet, secret

class HiveSecrets(SecretSet):
    jwt_secret: Secret = secret(
        min_length=32, pattern=".*", required_in="production", activate_after=120
    )

boot = Bootstrap(
    HiveSecrets,
    watch=True,
    wait_for_files=30,
    probe_port=8081,
    shutdown_delay=5,
    shutdown_timeout=20,
)

@boot.check
async def check(secrets: HiveSecrets) -> None: ...

@boot.check("jwt_secret", timeout=3)
async def signatures_hold(secrets: HiveSecrets) -> None: ...

@boot.resource
async def pool(secrets: HiveSecrets):
    yield "pool"

@boot.resource(timeout=3)
async def agents(pool: str) -> str: ...

@boot.service(max_restarts=3)
async def poll(agents: str) -> None: ...

@boot.on_rotate("jwt_secret", timeout=5)
async def reconnect(change: Change, secrets: HiveSecrets) -> None: ...

@boot.main
async def main(secrets: HiveSecrets) -> None: ...

boot.status()
boot.lifespan
boot.asgi
"""
    assert loaded_after(source, *LIFE) == set()


STARTED = """
from hive_boot import Bootstrap, Secret, SecretSet

class HiveSecrets(SecretSet):
    jwt_secret: Secret

boot = Bootstrap(HiveSecrets, watch={watch})

@boot.main
async def main(secrets: HiveSecrets) -> None:
    secrets.jwt_secret.reveal()
    assert boot.status().ready

try:
    boot.run()
except SystemExit as exit:
    assert exit.code == 0, exit.code
"""


ROTATION = [
    "hive_boot.runtime.rotation",
    "hive_boot.runtime.reload",
    "hive_boot.runtime.reload",
    "hive_boot.runtime.reload",
    "hive_boot.secrets.watch_targets",
    "hive_boot.runtime.watcher",
]
"""What only an application that rotates needs."""


@pytest.fixture
def mounted(tmp_path: Path) -> str:
    """Return a directory with the secret in it."""
    (tmp_path / "jwt_secret").write_text(VALUE)
    os.utime(tmp_path / "jwt_secret", (1, 1))
    return str(tmp_path)


UNUSED = [
    name
    for name in LIFE
    if name.startswith(("hive_boot.serving.", "hive_boot.secrets.sources.external"))
    or name.endswith((".assembly", ".checking", ".parts", ".services"))
]
"""What an application without parts, services, checks and doors never asks for."""


def test_a_start_of_secrets_alone_in_a_container_loads_only_the_loop(mounted: str) -> None:
    """An application without parts, services, checks, servers and watch imports none of their code.

    In docker mode neither a watcher nor a parser of ``.env`` is loaded, nor another loop.
    """
    source = STARTED.format(watch=False)
    loaded = loaded_after(source, *UNUSED, *ROTATION, HIVE_BOOT_SECRETS_DIR=mounted)
    assert loaded == {"anyio", "asyncio"}


def test_a_start_that_watches_loads_the_watcher_as_well(mounted: str) -> None:
    """Where changes are taken up, what sees them is loaded: the test above would notice it."""
    source = STARTED.format(watch=True)
    loaded = loaded_after(source, *ROTATION, HIVE_BOOT_SECRETS_DIR=mounted)
    assert loaded == {"anyio", "asyncio", *ROTATION}


def test_a_start_in_development_loads_the_parser_as_well(tmp_path: Path) -> None:
    """Where ``.env`` is read, what reads it is loaded: the test above would notice it."""
    (tmp_path / "cwd" / ".env").write_text(f"JWT_SECRET={VALUE}\n")
    source = STARTED.format(watch=False)
    loaded = loaded_after(source, HIVE_BOOT_MODE="development", HIVE_BOOT_PROFILE="development")
    assert loaded == {"anyio", "asyncio", "dotenv"}


def test_a_replaced_public_name_is_not_overwritten() -> None:
    """Names are imported at their first use, and a test may have replaced one before."""
    child = run_child(
        # What there is, is listed before anything was asked for.
        "import hive_boot; print(set(hive_boot.__all__) <= set(dir(hive_boot)))\n"
        "hive_boot.redact = 1; hive_boot.Secret; print(hive_boot.redact)"
    )
    assert child.stdout == "True\n1\n"


def test_an_unknown_name_is_an_attribute_error_as_in_any_module() -> None:
    """The exception and its text are those of Python."""
    with pytest.raises(AttributeError, match=r"\bhive_boot\b.*\bBootstrapp\b"):
        _ = hive_boot.Bootstrapp  # type: ignore[attr-defined]


def test_windows_is_refused_in_one_sentence() -> None:
    """The last line of the traceback is the reason, before any module of ours could fail."""
    for statement in (
        "import hive_boot",
        "from hive_boot import Secret",
        "import hive_boot.cli.main",
    ):
        child = run_child(f"import sys; sys.platform = 'win32'; {statement}")
        last = child.stderr.splitlines()[-1]
        assert re.fullmatch(r"ImportError: hive_boot requires a POSIX system[^.]*Windows\.", last)


BROKEN = """
import importlib.abc, importlib.util, signal, sys

class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name in ("hive_boot.exceptions", "hive_boot.testing._override"):
            return importlib.util.spec_from_loader(name, self)

    def exec_module(self, module):
        signal.SIGBROKEN

sys.meta_path.insert(0, Broken())
try:
    {use}
except BaseException as exc:
    print(type(exc).__name__, "|", exc, "|", type(exc.__cause__).__name__)
"""


def test_an_error_in_a_module_is_not_a_missing_name() -> None:
    """An AttributeError in a module of ours is the cause of an ImportError that names it."""
    for use in (
        "from hive_boot import LifecycleError",
        "import hive_boot; hasattr(hive_boot, 'Bootstrap')",
        "import hive_boot; getattr(hive_boot, 'BootError', None)",
        "from hive_boot.testing import override",
    ):
        kind, message, cause = run_child(BROKEN.format(use=use)).stdout.strip().split(" | ")
        assert (kind, cause) == ("ImportError", "AttributeError"), use
        assert "SIGBROKEN" in message
        assert re.match(r"hive_boot\.[\w.]+ cannot be imported", message)
