"""The plugin, as runs of pytest on other machines have it."""

import re
import sys
from pathlib import Path

import pytest

from hive_boot.testing import MountedVolume
from tests.support import FEW_PLUGINS, run_child

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
        child = run_child(PYTEST, "-rP", *FEW_PLUGINS, *arguments, cwd=self.place, **variables)
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
    """Return a machine with one test, which shows the variables of hive_boot."""
    place = tmp_path / "machine"
    place.mkdir()
    machine = Machine(place)
    machine.write("test_shown.py", SHOW)
    return machine


POD = {
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "HIVE_BOOT_MODE": "docker",
    "HIVE_BOOT_PROFILE": "staging",
    "HIVE_BOOT_SECRETS_DIR": "/a",
    "HIVE_BOOT_ENV_FALLBACK": "",
    "HIVE_BOOTS": "made for walking",
    "API_KEY": "fake",
}
"""Variables of the pod of a CI system."""


def test_mode_and_profile_are_pinned(machine: Machine) -> None:
    """A test is in development mode and in the test profile where no variable is set."""
    assert machine.shown() == PINNED


def test_a_test_does_not_depend_on_the_machine(machine: Machine) -> None:
    """In the pod of a CI system too mode and profile are pinned, and applications start in them.

    A test and its fixtures set other values. After each test all variables are restored, in
    whatever order they were set. Variables of others stay, the secrets among them.
    """
    machine.write(
        "conftest.py",
        f"""
import os
import pytest

POD = {POD}

@pytest.fixture(scope="session", autouse=True)
def around():
    assert POD.items() <= os.environ.items()
    yield
    assert POD.items() <= os.environ.items()
""",
    )
    machine.write(
        "test_application.py",
        """
import os
from hive_boot import Bootstrap, Secret, SecretSet, secret

class AppSecrets(SecretSet):
    api_key: Secret | None = secret(required_in="production")

def test_start():
    boot = Bootstrap(AppSecrets)
    seen = []
    @boot.main
    async def main(secrets: AppSecrets) -> None:
        seen.append((boot.status().mode, boot.status().profile))
    try:
        boot.run()
    except SystemExit as exc:
        assert exc.code == 0
    assert seen == [("development", "test")]

def test_variables_of_others():
    assert os.environ["KUBERNETES_SERVICE_HOST"] == "10.0.0.1"
    assert os.environ["HIVE_BOOTS"] == "made for walking"
    assert os.environ["API_KEY"] == "fake"
""",
    )
    machine.write(
        "test_other_values.py",
        """
import os
import pytest

@pytest.fixture(autouse=True)
def early(monkeypatch):
    monkeypatch.setenv("HIVE_BOOT_MODE", "kubernetes")
    monkeypatch.delenv("HIVE_BOOT_PROFILE")

@pytest.mark.parametrize("time", [1, 2])
def test_it(time, monkeypatch):
    assert os.environ["HIVE_BOOT_MODE"] == "kubernetes"
    assert "HIVE_BOOT_PROFILE" not in os.environ
    assert "HIVE_BOOT_SECRETS_DIR" not in os.environ
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", "/b")
""",
    )
    assert machine.shown(**POD) == PINNED


def test_the_settings_say_what_is_pinned(machine: Machine) -> None:
    """Two options of the ini file, or of the command line, name mode and profile."""
    arguments = ("-o", "hive_boot_mode=environment", "-o", "hive_boot_profile=production")
    shown = machine.shown(*arguments, HIVE_BOOT_MODE="docker")

    assert shown == [("HIVE_BOOT_MODE", "environment"), ("HIVE_BOOT_PROFILE", "production")]


def test_an_empty_setting_leaves_a_variable_alone(machine: Machine) -> None:
    """A variable that is not pinned has the value of the machine, or none."""
    arguments = ("-o", "hive_boot_mode=", "-o", "hive_boot_profile=")
    told = {"HIVE_BOOT_MODE": "docker", "HIVE_BOOT_SECRETS_DIR": "/nowhere"}

    assert machine.shown(*arguments, **told) == [("HIVE_BOOT_MODE", "docker")]


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
