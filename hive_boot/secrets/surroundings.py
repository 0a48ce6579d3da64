"""The machine that a process finds itself on, as far as a decision depends on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hive_boot.redaction.sealing import sealed

if TYPE_CHECKING:
    from collections.abc import Iterator


class Variables(Mapping[str, str]):
    """The variables of an environment, as they were; they show themselves to nobody."""

    __slots__ = ("_open",)

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._open = sealed(dict(environ))

    def __getitem__(self, name: str) -> str:
        return self._open()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open())

    def __len__(self) -> int:
        return len(self._open())

    def __repr__(self) -> str:
        return f"Variables({len(self)})"


class Surroundings:
    """The machine, as far as a decision depends on it.

    Attributes:
        environ: the environment of the process, at this moment.
        root: where the file system begins.
        cwd: where ``.env`` is looked for.
        pid: the process's own number; 1 in most containers.
    """

    __slots__ = ("cwd", "environ", "pid", "root")

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        root: str = "/",
        cwd: str | None = None,
        pid: int | None = None,
    ) -> None:
        self.environ = Variables(os.environ if environ is None else environ)
        self.root = root
        self.cwd = os.getcwd() if cwd is None else cwd
        self.pid = os.getpid() if pid is None else pid

    def path(self, absolute: str) -> str:
        """Give the path below ``root`` that ``absolute`` means."""
        return os.path.join(self.root, absolute.lstrip("/"))

    def exists(self, absolute: str) -> bool:
        """Tell whether something is at ``absolute``, below ``root``."""
        return os.path.exists(self.path(absolute))
