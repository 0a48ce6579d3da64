"""Secrets: declaration, sources, validation, store and watcher. It does not import `lifecycle`."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # the pytest plugin imports this package in every pytest run
if TYPE_CHECKING:
    from collections.abc import Mapping


class PinnedSettings:
    """Settings of all applications in a test session.

    Args:
        values: the value of each pinned variable; empty for the value of the machine.
        reads_env_files: whether ``.env`` files are read.

    Attributes:
        reads_env_files: the argument.
    """

    def __init__(self, values: Mapping[str, str], *, reads_env_files: bool) -> None:
        self.reads_env_files = reads_env_files
        self._values = {name: value for name, value in values.items() if value}
        self._machine = {
            name: value
            for name, value in os.environ.items()
            if name.startswith("HIVE_BOOT_") and values.get(name) != ""
        }

    def variables(self) -> dict[str, str]:
        """Return the environment variables, with the pinned settings instead of the machine's.

        A ``HIVE_BOOT_*`` variable that has changed since the session began was set by a test.
        """
        # No local variable may hold a value: it may be secret.
        names = [name for name in os.environ if self._machine.get(name) != os.environ[name]]
        return {**self._values, **dict(zip(names, map(os.environ.get, names), strict=True))}  # type: ignore[arg-type]


pinned_settings: PinnedSettings | None = None
"""Set by the pytest plugin for a test session, in which HostEnvironment uses it."""
