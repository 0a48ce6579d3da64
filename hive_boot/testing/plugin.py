"""pytest plugin: makes tests independent of the machine that they run on.

pytest loads it if hive_boot is installed. Without it, an application would start in kubernetes mode
in a CI pod, where ``KUBERNETES_SERVICE_HOST`` is set, and would read real secrets from the ``.env``
file of a laptop.

The ini options ``hive_boot_mode`` (default ``development``) and ``hive_boot_profile`` (default
``test``) select mode and profile; if an option is empty, the environment variable is used.
``hive_boot_env_file`` (default false) selects whether ``.env`` files are read. ``os.environ`` is
not changed.

Every pytest run imports this module, and calls its hook for each test, so both do as little as
possible.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from hive_boot import secrets, testing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_VARIABLES = {"HIVE_BOOT_MODE": "hive_boot_mode", "HIVE_BOOT_PROFILE": "hive_boot_profile"}

_IS_PINNED = pytest.StashKey[bool]()


class PinnedSettings:
    """Settings of all applications in a test session.

    Args:
        values: the value of each pinned variable; empty if the environment variable is used.
        reads_env_files: whether ``.env`` files are read.

    Attributes:
        reads_env_files: the argument.
    """

    def __init__(self, values: Mapping[str, str], *, reads_env_files: bool) -> None:
        self.reads_env_files: bool = reads_env_files
        self._values = {name: value for name, value in values.items() if value}
        # Without those of the empty options: variables() returns them as if a test had set them.
        self._before_tests = {
            name: value
            for name, value in os.environ.items()
            if name.startswith("HIVE_BOOT_") and values.get(name) != ""
        }

    def variables(self) -> dict[str, str]:
        """Return the environment variables, with pinned settings instead of ``HIVE_BOOT_*``.

        A ``HIVE_BOOT_*`` variable that has changed since the session began was set by a test: it
        replaces the pinned setting.
        """
        # No local variable may hold a value: it may be secret.
        names = [name for name in os.environ if self._before_tests.get(name) != os.environ[name]]
        return self._values | {name: os.environ[name] for name in names}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the ini options."""
    parser.addini("hive_boot_mode", "mode of applications in tests", default="development")
    parser.addini("hive_boot_profile", "profile of applications in tests", default="test")
    parser.addini("hive_boot_env_file", "read .env files in tests", type="bool", default=False)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Pin the settings for the session, before any code of the project is imported."""
    pytest_configure(early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Pin the settings if a conftest loads the plugin: pytest does not call the hook above then."""
    if _IS_PINNED in config.stash:
        return
    config.stash[_IS_PINNED] = True
    config.add_cleanup(partial(setattr, secrets, "pinned_settings", secrets.pinned_settings))
    values = {name: config.getini(option) for name, option in _VARIABLES.items()}
    reads_env_files = config.getini("hive_boot_env_file")
    secrets.pinned_settings = PinnedSettings(values, reads_env_files=reads_env_files)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Drop the store of ``get_secret`` that an earlier test has filled."""
    secrets.standalone_store = None


@pytest.fixture
def mounted_volume(tmp_path: Path) -> testing.MountedVolume:
    """Return an empty volume, ``tmp_path / "volume"``."""
    return testing.MountedVolume(tmp_path / "volume")
