"""The plugin, as runs of pytest on other machines have it."""

import re
import sys
from pathlib import Path

import pytest

from hive_boot.testing import MountedVolume
from tests.support import run_child

PYTEST = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"

SHOW = """
import os

def test_shown():
    shown = {name: value for name, value in os.environ.items() if name.startswith("HIVE_BOOT_")}
    print("shown:", sorted(shown.items()))
"""

PINNED = [("HIVE_BOOT_MODE", "development"), ("HIVE_BOOT_PROFILE", "test")]


class Machine:
    """A directory with tests in it, and pytest to run them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.write("pytest.ini", "[pytest]\nfilterwarnings = error\n")

    def write(self, name: str, text: str) -> None:
        """Have a file in the directory."""
        (self.place / name).write_text(text)

    def run(self, *arguments: str, **variables: str) -> str:
        """Run the tests, which have to pass, and give what is shown."""
        child = run_child(
            PYTEST, "-rP", "-p", "no:cacheprovider", *arguments, cwd=self.place, **variables
        )
        assert child.returncode == 0, child.stdout + child.stderr
        assert not re.search(r"\d warning", child.stdout)
        return child.stdout

    def shown(self, *arguments: str, **variables: str) -> list[tuple[str, str]]:
        """Run the tests, and give the variables that they have shown."""
        lines = self.run(*arguments, **variables).splitlines()
        (told,) = {line.removeprefix("shown: ") for line in lines if line.startswith("shown: ")}
        found: list[tuple[str, str]] = eval(told)  # noqa: S307  (what our own test printed)
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Give a machine with one test, which shows the variables of hive_boot."""
    place = tmp_path / "machine"
    place.mkdir()
    machine = Machine(place)
    machine.write("test_it.py", SHOW)
    return machine


def test_mode_and_profile_are_pinned(machine: Machine) -> None:
    """Whatever the machine says, a test is in development mode and in the test profile."""
    assert machine.shown() == PINNED
    told = {
        "HIVE_BOOT_MODE": "docker",
        "HIVE_BOOT_PROFILE": "staging",
        "HIVE_BOOT_ENV_FALLBACK": "",
    }
    assert machine.shown(KUBERNETES_SERVICE_HOST="10.0.0.1", **told) == PINNED


def test_an_application_is_judged_as_it_is_pinned(machine: Machine) -> None:
    """A start in the pod of a CI is not one of a production in Kubernetes."""
    machine.write(
        "test_it.py",
        """
from hive_boot import Bootstrap, Secret, SecretSet, secret

class AppSecrets(SecretSet):
    api_key: Secret | None = secret(required_in="production")

def test_start():
    boot = Bootstrap(AppSecrets)
    @boot.main
    async def main(secrets: AppSecrets) -> None:
        print("shown:", [(boot.status().mode, boot.status().profile)])
    try:
        boot.run()
    except SystemExit as exc:
        assert exc.code == 0
""",
    )
    assert machine.shown(KUBERNETES_SERVICE_HOST="10.0.0.1") == [("development", "test")]


def test_the_settings_say_what_is_pinned(machine: Machine) -> None:
    """Two options of the ini file, or of the command line, name mode and profile."""
    arguments = ("-o", "hive_boot_mode=environment", "-o", "hive_boot_profile=production")
    shown = machine.shown(*arguments, HIVE_BOOT_MODE="docker")

    assert shown == [("HIVE_BOOT_MODE", "environment"), ("HIVE_BOOT_PROFILE", "production")]


def test_an_empty_setting_leaves_a_variable_alone(machine: Machine) -> None:
    """What is not pinned is what the machine says, or nothing."""
    arguments = ("-o", "hive_boot_mode=", "-o", "hive_boot_profile=")

    assert machine.shown(*arguments) == []
    told = {"HIVE_BOOT_MODE": "docker", "HIVE_BOOT_SECRETS_DIR": "/nowhere"}
    assert machine.shown(*arguments, **told) == [("HIVE_BOOT_MODE", "docker")]


def test_a_test_says_otherwise(machine: Machine) -> None:
    """What a test or one of its fixtures sets is what counts."""
    machine.write(
        "conftest.py",
        """
import pytest

@pytest.fixture(autouse=True)
def in_staging(monkeypatch):
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "staging")
    monkeypatch.delenv("HIVE_BOOT_MODE")
""",
    )
    assert machine.shown(HIVE_BOOT_MODE="docker") == [("HIVE_BOOT_PROFILE", "staging")]


def test_the_variables_are_put_back(machine: Machine) -> None:
    """After each test they are what they were, whatever it set, in whatever order."""
    machine.write(
        "conftest.py",
        """
import os
import pytest

def told():
    return [(name, os.environ.get(name)) for name in ("HIVE_BOOT_MODE", "HIVE_BOOT_SECRETS_DIR")]

@pytest.fixture(scope="session", autouse=True)
def around():
    before = told()
    yield
    assert told() == before == [("HIVE_BOOT_MODE", "docker"), ("HIVE_BOOT_SECRETS_DIR", "/a")]
""",
    )
    machine.write(
        "test_it.py",
        """
import os
import pytest

@pytest.fixture(autouse=True)
def early(monkeypatch):
    monkeypatch.setenv("HIVE_BOOT_MODE", "kubernetes")

@pytest.mark.parametrize("time", [1, 2])
def test_it(time, monkeypatch):
    assert os.environ["HIVE_BOOT_MODE"] == "kubernetes"
    assert "HIVE_BOOT_SECRETS_DIR" not in os.environ
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", "/b")
""",
    )
    assert "2 passed" in machine.run(HIVE_BOOT_MODE="docker", HIVE_BOOT_SECRETS_DIR="/a")


def test_nothing_else_is_taken_away(machine: Machine) -> None:
    """Variables of other people, the secrets among them, stay."""
    machine.write(
        "test_it.py",
        """
import os

def test_it():
    assert os.environ["KUBERNETES_SERVICE_HOST"] == "10.0.0.1"
    assert os.environ["HIVE_BOOTS"] == "made for walking"
    assert os.environ["API_KEY"] == "fake"
""",
    )
    told = {"HIVE_BOOTS": "made for walking", "API_KEY": "fake"}
    machine.run(KUBERNETES_SERVICE_HOST="10.0.0.1", **told)


def test_a_volume_is_given(mounted_volume: MountedVolume, tmp_path: Path) -> None:
    """The fixture returns an empty volume in the temporary directory of the test."""
    assert mounted_volume.path == tmp_path / "volume"
    assert list(mounted_volume.path.iterdir()) == []


def test_the_fixtures_describe_themselves(machine: Machine) -> None:
    """``pytest --fixtures`` and ``pytest --help`` show the fixture and the options."""
    assert "mounted_volume" in machine.run("--fixtures")
    assert "hive_boot_profile" in machine.run("--help")


def test_our_own_tests_see_a_bare_machine() -> None:
    """The fixture of our conftest comes after the plugin's."""
    assert "hive_boot.testing.plugin" in sys.modules
    child = run_child("import os; print(*(name for name in os.environ if 'HIVE' in name))")
    assert child.stdout.split() == []
