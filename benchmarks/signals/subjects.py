"""Subjects of the signal benchmark, and their command lines."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.peers import installed
from benchmarks.signals.apps import __name__ as _apps

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A library or a server that runs the application.

    Attributes:
        name: its name in the table.
        distributions: the required distributions.
        command: the arguments of Python that start the application; ``{port}`` is its port.
    """

    name: str
    distributions: Sequence[str]
    command: Sequence[str]

    @property
    def versions(self) -> str:
        """The installed versions of the distributions."""
        return ", ".join(f"{name} {installed(name) or 'missing'}" for name in self.distributions)

    @property
    def is_installed(self) -> bool:
        """Whether all distributions are installed."""
        return all(installed(name) for name in self.distributions)

    def arguments(self, port: int) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-u", *(part.format(port=port) for part in self.command)]


OURS = Subject(
    name="hive_boot",
    distributions=("hive_boot",),
    command=("-m", "hive_boot", "run", "-m", f"{_apps}.with_hive_boot"),
)

SUBJECTS = (
    OURS,
    Subject(
        name="asphalt",
        distributions=("asphalt", "asphalt-web"),
        command=("-m", f"{_apps}.with_asphalt"),
    ),
    Subject(
        name="aiomisc",
        distributions=("aiomisc",),
        command=("-m", f"{_apps}.with_aiomisc"),
    ),
    Subject(
        name="uvicorn",
        distributions=("uvicorn", "starlette"),
        command=(
            *("-m", "uvicorn", f"{_apps}.with_starlette:app", "--port", "{port}"),
            *("--timeout-graceful-shutdown", "5", "--no-use-colors"),
        ),
    ),
    Subject(
        name="hypercorn",
        distributions=("hypercorn", "starlette"),
        command=(
            *("-m", "hypercorn", f"{_apps}.with_starlette:app"),
            *("--config", f"python:{_apps}.hypercorn_settings"),
        ),
    ),
)
