"""What the tests of the example stand on: nothing of this machine's reaches HIVE."""

from pathlib import Path

import pytest

from examples.hive.inventory import HiveSecrets
from examples.hive.settings import Settings
from tests.examples.service import FAKES, copy_example


@pytest.fixture(autouse=True)
def bare_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the variables that a person's shell may have for the real service."""
    for field in (*HiveSecrets.__annotations__, *Settings.model_fields, "jwt_secret_previous"):
        for suffix in ("", "_FILE"):
            monkeypatch.delenv(field.upper() + suffix, raising=False)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Be a platform that injects harmless secrets and settings as variables."""
    monkeypatch.setattr(
        "examples.hive.settings.Settings.model_config",
        {**Settings.model_config, "env_file": None},
    )
    variables = {
        "HIVE_BOOT_MODE": "environment",
        "DATABASE_PATH": str(tmp_path / "hive.db"),
        "DEMO_USER": "true",
        **FAKES,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Have a directory that holds the example, from which it can be started."""
    place = tmp_path / "home"
    place.mkdir()
    copy_example(place)
    return place
