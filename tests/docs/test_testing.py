"""Examples of docs/testing.md, run by pytest."""

import inspect
import re
from pathlib import Path

import pytest

from hive_boot import testing
from hive_boot.testing import MountedVolume, plugin
from tests.docs.reading import python_files, write_files
from tests.fixtures.forking import PYTEST, pytest_sessions
from tests.support import FEW_PLUGINS, ROOT

TEXT = (ROOT / "docs" / "testing.md").read_text("utf-8")

PYTHON = python_files(TEXT)
ASYNCIO_INI, INI = re.findall(r"^```ini\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)

APPLICATIONS = ["app.py", "orders.py"]

TESTS = ["test_override.py", "test_volume.py", "test_without_database.py"]
"""Those of one session; those of another one are run by themselves."""

SHOW_STATUS = """
import pytest
from app import boot

@pytest.mark.anyio
async def test_status(monkeypatch):
    monkeypatch.setenv("API_KEY", "fake-key-0123456789")
    async with boot.running():
        assert (boot.status().mode, boot.status().profile) == ("environment", "production")

@pytest.mark.anyio
async def test_env_file(monkeypatch, tmp_path):
    monkeypatch.setenv("HIVE_BOOT_MODE", "development")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("API_KEY=fake-key-0123456789")
    async with boot.running():
        assert boot.status().secrets[0].source == ".env"
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """Return a directory that contains the Python blocks of the page."""
    place = write_files(tmp_path, PYTHON)
    (place / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return place


def run(*arguments: str, cwd: Path, plugin: str = "") -> str:
    """Run pytest as in a pod of a CI system, assert that it passes, and return its output."""
    unused = [text for text in FEW_PLUGINS if text.startswith("no:") and text != f"no:{plugin}"]
    child = pytest_sessions().run(
        PYTEST,
        *[text for name in unused for text in ("-p", name)],
        "-o",
        "pythonpath=.",
        *arguments,
        cwd=cwd,
        KUBERNETES_SERVICE_HOST="10.0.0.1",
    )
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout


def passed(output: str) -> set[str]:
    """Return the files whose tests have passed."""
    return set(re.findall(r"^(?:\[gw\d\] .*)?PASSED (\w+\.py)::", output, re.MULTILINE))


def test_every_block_is_tried() -> None:
    """Every block is covered by a test of this module."""
    assert PYTHON.keys() == {*APPLICATIONS, *TESTS, "test_session.py", "test_asyncio.py"}
    assert 2 * (2 + len(PYTHON)) == len(re.findall(r"^```", TEXT, re.MULTILINE))


def test_the_tests_of_the_page_pass(workplace: Path) -> None:
    """Every block is a test file that passes."""
    assert passed(run("-rA", *TESTS, cwd=workplace)) == set(TESTS)


def test_the_session_passes_in_one_process_and_in_several_workers(workplace: Path) -> None:
    """Also with pytest-xdist, where each worker starts the application once."""
    for needed, workers in (("", ()), ("xdist", ("-n", "2"))):
        output = run("-rA", *workers, "test_session.py", cwd=workplace, plugin=needed)
        assert passed(output) == {"test_session.py"}
        assert ("2 workers" in output) == (needed == "xdist")


def test_a_session_passes_with_pytest_asyncio(workplace: Path) -> None:
    """With the options of the page, all tests and fixtures share one event loop."""
    (workplace / "pytest.ini").write_text(f"{ASYNCIO_INI}filterwarnings = error\n")
    output = run("-rA", "test_asyncio.py", cwd=workplace, plugin="asyncio")
    assert passed(output) == {"test_asyncio.py"}


def test_the_settings_are_those_of_the_plugin(workplace: Path) -> None:
    """The ini options of the page set mode and profile of an application."""
    (workplace / "pytest.ini").write_text(f"{INI}filterwarnings = error\n")
    (workplace / "test_status.py").write_text(SHOW_STATUS)

    assert "passed" in run("test_status.py", cwd=workplace)


def test_the_plugin_can_be_switched_off(workplace: Path) -> None:
    """The plugin can be disabled by the name on the page."""
    (workplace / "test_nothing.py").write_text(
        "import os\ndef test_nothing(): assert 'HIVE_BOOT_MODE' not in os.environ\n"
    )
    assert "1 passed" in run("-p", "no:hive_boot", "test_nothing.py", cwd=workplace)


def test_every_public_name_is_explained() -> None:
    """The page names every export of the package."""
    assert [name for name in testing.__all__ if f"`{name}" not in TEXT] == []


def test_every_method_is_mentioned() -> None:
    """The page names every method of a volume."""
    members = inspect.getmembers(MountedVolume, callable)
    methods = [name for name, _ in members if not name.startswith("_")]
    assert methods
    assert [name for name in methods if not re.search(rf"\b{name}\b", TEXT)] == []


def test_the_fixture_is_mentioned() -> None:
    """The page names the fixture `mounted_volume`."""
    assert hasattr(plugin, "mounted_volume")
    assert "fixture `mounted_volume`" in TEXT
