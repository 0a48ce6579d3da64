"""The package as tests import it."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from hive_boot import testing
from tests.support import run_child

HEAVY = ["anyio", "asyncio", "ctypes", "dotenv", "pydantic", "subprocess", "trio", "watchfiles"]


def test_the_table_of_contents_is_sorted_and_complete() -> None:
    """What can be imported by name is listed, in order, once."""
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    shown = {
        name
        for name, value in vars(testing).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert testing.__all__ == sorted(testing.__all__)
    assert set(testing.__all__) == shown
    assert len(testing.__all__) == len(shown)


@pytest.mark.parametrize("name", testing.__all__)
def test_public_objects_are_named_by_the_package(name: str) -> None:
    """A traceback and a help page say what tests import, with a docstring."""
    shown = getattr(testing, name)
    assert (shown.__module__, shown.__qualname__) == ("hive_boot.testing", name)
    assert inspect.getdoc(shown)


def loaded_after(statement: str, *names: str) -> set[str]:
    """Run a statement, and give which of the modules are loaded then."""
    child = run_child(f"import sys\n{statement}\nprint(*sorted(set({names}) & sys.modules.keys()))")
    assert child.returncode == 0, child.stderr
    return set(child.stdout.split())


def test_an_import_is_light() -> None:
    """No event loop, watcher or C library, and pytest is none of what the package needs."""
    assert loaded_after("import hive_boot.testing", "pytest", *HEAVY) == set()


def test_the_plugin_costs_a_project_that_does_not_use_it_nothing(tmp_path: Path) -> None:
    """Every run of pytest imports it: no other module of ours is loaded, and no fixture is used."""
    child = run_child(
        "import pytest, sys; before = set(sys.modules); import hive_boot.testing.plugin\n"
        "print(*sorted(sys.modules.keys() - before))"
    )
    plugin = "hive_boot.testing.plugin"
    assert child.stdout.split() == ["hive_boot", "hive_boot.secrets", "hive_boot.testing", plugin]
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass")
    fixtures = run_child(
        "import sys, pytest; sys.exit(pytest.main(['--setup-plan', '-q', sys.argv[1]]))",
        str(tmp_path),
        cwd=tmp_path,
    )
    assert "test_nothing" in fixtures.stdout
    assert not re.search("hive_boot|mounted_volume", fixtures.stdout)


def test_the_application_loads_nothing_for_tests() -> None:
    """What is for tests is not loaded by what serves."""
    assert loaded_after("import hive_boot", "hive_boot.testing", "pytest") == set()
