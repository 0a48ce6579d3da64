"""The pytest plugin, in pytest processes with the variables of other machines."""

import re
import sys
from ast import literal_eval
from pathlib import Path

import pytest

from hive_boot.testing import MountedVolume
from tests.fixtures.forking import PYTEST, pytest_sessions
from tests.support import FEW_PLUGINS, run_child

SHOW = """
from hive_boot.secrets.platform import HostEnvironment

def test_shown():
    variables = HostEnvironment().variables().items()
    print("shown:", sorted(item for item in variables if item[0].startswith("HIVE_BOOT_")))
"""

PINNED = [("HIVE_BOOT_MODE", "development"), ("HIVE_BOOT_PROFILE", "test")]


class Machine:
    """A directory of tests, and a pytest process that runs them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("pytest.ini", "[pytest]\nfilterwarnings = error\n")

    def write(self, name: str, text: str) -> None:
        """Write a file into the directory."""
        (self.directory / name).write_text(text)

    def run(self, *arguments: str, **variables: str) -> str:
        """Run the tests, which must pass, and return the output."""
        arguments = ("-rP", *FEW_PLUGINS, *arguments)
        child = pytest_sessions().run(PYTEST, *arguments, cwd=self.directory, **variables)
        assert child.returncode == 0, child.stdout + child.stderr
        assert not re.search(r"\d warning", child.stdout)
        return child.stdout

    def shown(self, *arguments: str, **variables: str) -> list[tuple[str, str]]:
        """Run the tests, and return the variables that they printed."""
        lines = self.run(*arguments, **variables).splitlines()
        (printed,) = {line.removeprefix("shown: ") for line in lines if line.startswith("shown: ")}
        found: list[tuple[str, str]] = literal_eval(printed)
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine with one test, which prints the variables of hive_boot."""
    directory = tmp_path / "machine"
    directory.mkdir()
    machine = Machine(directory)
    machine.write("test_shown.py", SHOW)
    return machine


POD = {
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "HIVE_BOOT_MODE": "docker",
    "HIVE_BOOT_PROFILE": "staging",
    "HIVE_BOOT_SECRETS_DIR": "/a",
    "HIVE_BOOT_ENV_FALLBACK": "",
    "HIVE_BOOTS": "another prefix",
    "API_KEY": "fake",
}
"""Variables of a pod in which a CI system runs tests."""


def test_mode_and_profile_are_pinned(machine: Machine) -> None:
    """Without variables the mode is development and the profile is test."""
    assert machine.shown() == PINNED


def test_a_test_does_not_depend_on_the_machine(machine: Machine) -> None:
    """The variables of a CI pod have no effect, and are not changed.

    Mode and profile are pinned when a conftest is imported, in fixtures of each scope, and in
    tests. A test can set other values.
    """
    machine.write(
        "app.py",
        """
from hive_boot import Bootstrap, Secret, SecretSet, secret

class AppSecrets(SecretSet):
    api_key: Secret | None = secret(required_in="production")

boot = Bootstrap(AppSecrets)
""",
    )
    machine.write(
        "conftest.py",
        f"""
import os
import anyio
import pytest
from app import boot

SEEN = []

async def record():
    async with boot.running():
        SEEN.append((boot.status().mode, boot.status().profile))

anyio.run(record)

@pytest.fixture(scope="session", autouse=True)
def session_fixture():
    before = dict(os.environ)
    assert {POD}.items() <= before.items()
    anyio.run(record)
    yield
    before.pop("PYTEST_CURRENT_TEST", None)
    assert before.items() <= os.environ.items()

@pytest.fixture(scope="module", autouse=True)
def module_fixture():
    anyio.run(record)
""",
    )
    machine.write(
        "test_application.py",
        """
import os
import anyio
import pytest
from conftest import SEEN, record

def test_start():
    anyio.run(record)
    assert set(SEEN) == {("development", "test")}
    assert len(SEEN) >= 4

@pytest.mark.parametrize("time", [1, 2])
def test_other_values(time, monkeypatch, tmp_path):
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "development")
    anyio.run(record)
    assert SEEN.pop() == ("environment", "development")
    # An empty variable counts as unset, so the mode is detected.
    monkeypatch.setenv("HIVE_BOOT_MODE", "")
    (tmp_path / "api_key").write_text("fake")
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(tmp_path))
    anyio.run(record)
    assert SEEN.pop() == ("kubernetes", "development")
""",
    )
    assert machine.shown("-o", "pythonpath=.", **POD) == PINNED


def test_the_environment_is_not_changed(machine: Machine) -> None:
    """Tests, and the child processes that they start, have the variables of the machine."""
    machine.write(
        "test_environ.py",
        """
import os

def test_it():
    assert {name for name in os.environ if name.startswith("HIVE_BOOT_")} == {"HIVE_BOOT_MODE"}
    assert os.environ["HIVE_BOOT_MODE"] == "docker"
""",
    )
    machine.run("test_environ.py", HIVE_BOOT_MODE="docker")


def test_env_files_are_ignored_unless_an_option_enables_them(machine: Machine) -> None:
    """The .env file of a developer is not read; the report names override() instead."""
    for name in (".env", ".env.local"):
        machine.write(name, "API_KEY=fake-of-a-developer\nAPP_ENV=staging\n")
    machine.write(
        "test_env.py",
        """
import anyio, pytest
from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretSet, get_secret

class AppSecrets(SecretSet):
    api_key: Secret

async def start(boot):
    async with boot.running():
        pass

@pytest.mark.parametrize("options", [{}, {"env_file": ".env"}])
def test_ignored(options):
    with pytest.raises(InvalidSecretsError) as caught:
        anyio.run(start, Bootstrap(AppSecrets, **options))
    (problem,) = caught.value.problems
    assert problem.kind == "missing"
    assert "override()" in problem.fix
    assert not any(".env" in place for place in problem.places)
    assert "staging" not in str(caught.value)
    assert get_secret("API_KEY") is None

def test_read():
    boot = Bootstrap(AppSecrets)
    anyio.run(start, boot)
    assert get_secret("API_KEY") == "fake-of-a-developer"
""",
    )
    machine.run("-k", "ignored")
    machine.run("-k", "ignored", "-o", "hive_boot_profile=", APP_ENV="")
    machine.run("-k", "test_read", "-o", "hive_boot_env_file=true")


def test_get_secret_keeps_no_value_of_another_test(machine: Machine) -> None:
    """Each test has its own store."""
    machine.write(
        "test_store.py",
        """
import pytest
from hive_boot import get_secret

@pytest.mark.parametrize("value", ["fake-1", "fake-2"])
def test_it(value, monkeypatch):
    monkeypatch.setenv("API_KEY", value)
    assert get_secret("API_KEY") == value
""",
    )
    machine.run()


def test_a_nested_session_restores_the_settings(machine: Machine) -> None:
    """A session that pytester runs in this process has its own settings."""
    machine.write("conftest.py", "pytest_plugins = ['pytester']\n")
    machine.write(
        "test_nested.py",
        """
from hive_boot.secrets.platform import HostEnvironment

def test_it(pytester):
    pytester.makepyfile(
        "from hive_boot.secrets.platform import HostEnvironment\\n"
        "def test_it(): assert HostEnvironment().variable('HIVE_BOOT_MODE') == 'docker'\\n"
    )
    arguments = ("-p", "no:asyncio", "-o", "hive_boot_mode=docker")
    pytester.runpytest_inprocess(*arguments).assert_outcomes(passed=1)
    assert HostEnvironment().variable("HIVE_BOOT_MODE") == "development"
""",
    )
    machine.run()


def test_a_conftest_can_load_the_plugin(machine: Machine) -> None:
    """Mode and profile are also pinned if pytest does not load plugins automatically."""
    machine.write("conftest.py", "pytest_plugins = ['hive_boot.testing.plugin']")
    assert machine.shown(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", **POD) == PINNED


def test_options_set_mode_and_profile(machine: Machine) -> None:
    """Options of the ini file, or of the command line, set mode and profile."""
    arguments = ("-o", "hive_boot_mode=environment", "-o", "hive_boot_profile=production")
    shown = machine.shown(*arguments, HIVE_BOOT_MODE="docker")

    assert shown == [("HIVE_BOOT_MODE", "environment"), ("HIVE_BOOT_PROFILE", "production")]


def test_an_empty_option_pins_nothing(machine: Machine) -> None:
    """A variable that is not pinned has the value of the machine, or is unset."""
    arguments = ("-o", "hive_boot_mode=", "-o", "hive_boot_profile=")
    variables = {"HIVE_BOOT_MODE": "docker", "HIVE_BOOT_SECRETS_DIR": "/nowhere"}

    assert machine.shown(*arguments, **variables) == [("HIVE_BOOT_MODE", "docker")]


def test_the_fixture_is_an_empty_volume(mounted_volume: MountedVolume, tmp_path: Path) -> None:
    """The volume is in the temporary directory of the test."""
    assert mounted_volume.path == tmp_path / "volume"
    assert list(mounted_volume.path.iterdir()) == []


def test_pytest_lists_fixture_and_options(machine: Machine) -> None:
    """``pytest --fixtures`` and ``pytest --help`` show the fixture and the options."""
    assert "mounted_volume" in machine.run("--fixtures")
    assert "hive_boot_profile" in machine.run("--help")


def test_the_tests_of_this_project_have_no_variables() -> None:
    """The fixture of the conftest of this project runs after that of the plugin."""
    assert "hive_boot.testing.plugin" in sys.modules
    child = run_child("import os; print(*(name for name in os.environ if 'HIVE' in name))")
    assert child.stdout.split() == []
