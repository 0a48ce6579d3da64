"""What pytest loads by itself where hive_boot is installed.

Tests behave alike on a laptop and in a pod of a CI, where ``KUBERNETES_SERVICE_HOST``
is set. The ini options ``hive_boot_mode`` (default ``development``) and
``hive_boot_profile`` (default ``test``) say how; an empty one leaves the variable alone.

Every run of pytest imports this, so it imports next to nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hive_boot.secrets import access
from hive_boot.testing.directories import PlainDirectory
from hive_boot.testing.volumes import MountedVolume

if TYPE_CHECKING:
    from pathlib import Path

_PINNED = {"HIVE_BOOT_MODE": "hive_boot_mode", "HIVE_BOOT_PROFILE": "hive_boot_profile"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the two ini options known."""
    parser.addini("hive_boot_mode", "HIVE_BOOT_MODE of each test", default="development")
    parser.addini("hive_boot_profile", "HIVE_BOOT_PROFILE of each test", default="test")


@pytest.fixture(autouse=True)
def hive_boot_surroundings(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pin mode and profile, and hide the other HIVE_BOOT_* variables of this machine.

    What ``get_secret`` has found in an earlier test is forgotten.

    A test, or a fixture that is made later, sets what it wants instead.
    """
    # The test's own monkeypatch: whatever order fixtures come in, it undoes the last change first.
    for name in [name for name in os.environ if name.startswith("HIVE_BOOT_")]:
        if name not in _PINNED:
            monkeypatch.delenv(name)
    for name, option in _PINNED.items():
        value: str = pytestconfig.getini(option)
        if value:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(access, "_default", None)


@pytest.fixture
def mounted_volume(tmp_path: Path) -> MountedVolume:
    """Give a volume, ``tmp_path / "volume"``, in which nothing is published yet."""
    return MountedVolume(tmp_path / "volume")


@pytest.fixture
def plain_directory(tmp_path: Path) -> PlainDirectory:
    """Give an empty directory, ``tmp_path / "directory"``, for files written one by one."""
    return PlainDirectory(tmp_path / "directory")
