"""Fixtures of the tests of the example; no variable of this machine reaches HIVE."""

from pathlib import Path

import pytest

from examples.hive.inventory import HiveSecrets
from examples.hive.settings import Settings
from tests.examples.service import FAKES, copy_example


@pytest.fixture(autouse=True)
def bare_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables that a developer's shell may set for the real service."""
    for field in (*HiveSecrets.__annotations__, *Settings.model_fields, "jwt_secret_previous"):
        for suffix in ("", "_FILE"):
            monkeypatch.delenv(field.upper() + suffix, raising=False)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Set harmless secrets and settings as variables, as a platform does that injects them."""
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
    """Return a directory with a copy of the example, in which it can be started."""
    place = tmp_path / "home"
    place.mkdir()
    copy_example(place)
    return place
