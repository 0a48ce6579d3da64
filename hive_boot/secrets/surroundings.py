"""The machine that a process finds itself on, as far as a decision depends on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hive_boot.redaction.sealing import conceal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Variables(dict[str, str]):
    """The variables of an environment; a frame that holds them shows none."""

    def __repr__(self) -> str:
        return f"Variables({len(self)})"


class HostEnvironment:
    """The machine, as far as a decision depends on it.

    Args:
        environ: the environment. Default: that of the process.
        root: where the file system begins.
        cwd: where ``.env`` is looked for. Default: the working directory.
        pid: the process's own number; 1 in most containers. Default: what it is.

    Attributes:
        variables: gives the environment of this moment, and shows it to nobody.
        root: as given.
        cwd: as given.
        pid: as given.
    """

    __slots__ = ("cwd", "pid", "root", "variables")

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        root: str = "/",
        cwd: str | None = None,
        pid: int | None = None,
    ) -> None:
        self.variables: Callable[[], Mapping[str, str]] = conceal(
            Variables(os.environ if environ is None else environ)
        )
        self.root = root
        self.cwd = os.getcwd() if cwd is None else cwd
        self.pid = os.getpid() if pid is None else pid

    def variable(self, name: str) -> str:
        """Give the text of a variable; empty when it is not set."""
        return self.variables().get(name, "")

    def path(self, absolute: str) -> str:
        """Give the path below ``root`` that ``absolute`` means."""
        return os.path.join(self.root, absolute.lstrip("/"))

    def exists(self, absolute: str) -> bool:
        """Tell whether something is at ``absolute``, below ``root``."""
        return os.path.exists(self.path(absolute))
