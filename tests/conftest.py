"""What every test stands on: a clean environment, and both backends."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakSet

import pytest

from hive_boot import secrets
from hive_boot.redaction import hooks
from hive_boot.secrets import platform
from tests.fixtures.watching import own_threads
from tests.support import TERMINAL, wait_until

HERE = Path(__file__).parent

CORE = [
    HERE / name
    for name in (
        "runtime/test_rotation_hooks.py",
        "runtime/test_resources.py",
        "runtime/test_process.py",
        "runtime/test_reload_rotations.py",
        "runtime/test_services.py",
        "runtime/test_signals.py",
        "canary/test_crashes.py",
        "canary/test_frames.py",
        "canary/test_life_frames.py",
        "canary/test_rotation_frames.py",
        "canary/test_rotations.py",
        "lifecycle/test_runner.py",
        "lifecycle/test_states.py",
        "redaction/test_fuzz.py",
        "redaction/test_patches_logging.py",
        "redaction/test_registry_matcher.py",
        "redaction/test_patches_output.py",
        "secrets/sources/test_directories.py",
        "secrets/sources/test_files.py",
        "secrets/test_secret_set.py",
        "secrets/test_loader.py",
        "secrets/test_validation.py",
        "secrets/test_value.py",
        "serving/test_asgi_lifespan.py",
        "testing/test_override.py",
    )
]
"""Files whose tests are marked `core`: the public features once each, and what depends on the
interpreter. `.ci/other-pythons` runs them on every Python version."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no other test module when only the core is wanted."""
    only_core: bool = config.getoption("markexpr") == "core"
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if only_core and is_test and collection_path not in CORE else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the core, before `-m` selects by it; begin with the type checkers.

    They take longest: at the end, the other workers would wait for one of them.
    """
    for item in items:
        if item.path in CORE:
            item.add_marker(pytest.mark.core)
    items.sort(key=lambda item: item.path.parent != HERE / "typing")


def pytest_collection_finish() -> None:
    """Leave all that was imported out of later garbage collections, each of which examines it."""
    # An import of hypothesis looks for references, and would not find those that are left out.
    if "hypothesis" in sys.modules:
        gc.collect()
        gc.freeze()


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Return the event loop of an async test: asyncio, unless the test asks for both backends."""
    backend: str = getattr(request, "param", "asyncio")
    return backend


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that are marked `both_backends` on asyncio and on trio, unless they name one."""
    both = metafunc.definition.get_closest_marker("both_backends")
    tables = metafunc.definition.iter_markers("parametrize")
    has_its_own = any(table.args[0] == "anyio_backend" for table in tables)
    if both is not None and "anyio_backend" in metafunc.fixturenames and not has_its_own:
        metafunc.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)


def terminal_of(host: platform.HostEnvironment) -> str:
    """Return the terminal that a test gives to a host, and a terminal if it gives none."""
    return TERMINAL if host._terminal is None else host._terminal  # noqa: SLF001  (the argument)


@pytest.fixture(autouse=True)
def bare_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide what this machine says about mode and profile, and start in an empty directory."""
    told = {"KUBERNETES_SERVICE_HOST", "CREDENTIALS_DIRECTORY", "APP_ENV", "NO_COLOR"}
    told.update({"container", "INVOCATION_ID", "JOURNAL_STREAM"}, platform.DEVELOPMENT_CONTAINERS)
    told.update(" ".join(platform.PLATFORM_VARIABLES.values()).split())
    for name in list(os.environ):
        if name.startswith("HIVE_BOOT_") or name in told:
            monkeypatch.delenv(name)
    monkeypatch.setattr(secrets, "pinned_settings", None)
    # A developer starts the tests in a terminal, and a CI system does not.
    monkeypatch.setattr(platform.HostEnvironment, "terminal", terminal_of)
    workplace = tmp_path / "cwd"
    workplace.mkdir()
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(secrets, "standalone_store", None)
    monkeypatch.setattr(secrets, "declared", WeakSet())
    yield
    assert secrets.running == [], "a run has not been taken out of use"
    assert secrets.loaded == [], "an application is still loaded"
    # A run that failed goes on scrubbing until the next one begins: here that is one of nothing.
    last = hooks.Redaction()
    last.open()
    last.close()
    assert hooks._open == [], "something is still being hidden"


@pytest.fixture(autouse=True)
def no_thread_is_left(bare_surroundings: None) -> Iterator[None]:
    """Fail the test that leaves a thread of hive_boot, not a later one that looks for its own."""
    del bare_surroundings
    yield
    try:
        wait_until(lambda: not own_threads())
    except AssertionError:
        pytest.fail(f"threads are left: {own_threads()}")
