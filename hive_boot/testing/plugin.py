"""pytest plugin: fixtures that make tests independent of the machine.

pytest loads it if hive_boot is installed. In a CI pod ``KUBERNETES_SERVICE_HOST`` is set, so an
application would start in another mode than on a laptop.

The ini options ``hive_boot_mode`` (default ``development``) and ``hive_boot_profile`` (default
``test``) set both; an empty option leaves the variable unchanged.

Every pytest run imports this module, so it imports as little as possible.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hive_boot.secrets import global_access
from hive_boot.testing._volume import MountedVolume

if TYPE_CHECKING:
    from pathlib import Path

_PINNED = {"HIVE_BOOT_MODE": "hive_boot_mode", "HIVE_BOOT_PROFILE": "hive_boot_profile"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the two ini options."""
    parser.addini("hive_boot_mode", "HIVE_BOOT_MODE of each test", default="development")
    parser.addini("hive_boot_profile", "HIVE_BOOT_PROFILE of each test", default="test")


@pytest.fixture(autouse=True)
def hive_boot_environment(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set mode and profile, remove the other HIVE_BOOT_* variables, reset ``get_secret``.

    A test, or a fixture that runs later, can set other values.
    """
    # The monkeypatch of the test undoes the last change first, whatever the order of fixtures.
    for name in [name for name in os.environ if name.startswith("HIVE_BOOT_")]:
        if name not in _PINNED:
            monkeypatch.delenv(name)
    for name, option in _PINNED.items():
        value: str = pytestconfig.getini(option)
        if value:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(global_access, "_default", None)


@pytest.fixture
def mounted_volume(tmp_path: Path) -> MountedVolume:
    """Return an empty volume, ``tmp_path / "volume"``."""
    return MountedVolume(tmp_path / "volume")
