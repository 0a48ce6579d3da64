"""Read again what an application uses, and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import anyio

from hive_boot.exceptions import Problem
from hive_boot.lifecycle.waking import in_daemon_thread
from hive_boot.secrets.rotation import losses
from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.store import changed_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot._timings import Timings
    from hive_boot.bootstrap.intake import Intake
    from hive_boot.secrets.findings import Findings
    from hive_boot.secrets.sources.reading import Value
    from hive_boot.secrets.store import Store

S = TypeVar("S", bound=SecretSet)


class Reread(NamedTuple):
    """What one read came to.

    Attributes:
        findings: what was read; its problems keep it from being used.
        changed: the attributes whose value is another one than in the accepted set.
        again: whether it is the very set that a check refused last.
    """

    findings: Findings
    changed: list[str]
    again: bool


class Rereading(Generic[S]):
    """Reads in a thread, one at a time.

    Args:
        store: the secrets in use.
        intake: reads.
        cover: hides the values that were read, and goes on to hide those that are valid.
        timings: how long a read may take.

    Attributes:
        refused: the set that a check refused last.
    """

    refused: Findings | None = None

    def __init__(
        self,
        store: Store[S],
        intake: Intake[S],
        cover: Callable[[Findings, list[Value]], None],
        timings: Timings,
    ) -> None:
        self._store = store
        self._intake = intake
        self._cover = cover
        self._timeout = timings.read_timeout
        self._reading = False

    async def read(self) -> Reread:
        """Read; a read that hangs in a file system is given up, and not joined by others."""
        if not self._reading:
            with anyio.move_on_after(self._timeout):
                return await in_daemon_thread(self._read, "hive_boot reload")
        return self.nothing(f"could not be read within {self._timeout:g} s")

    def nothing(self, why: str) -> Reread:
        """Give what a read comes to that came to nothing."""
        findings = self._intake.none()
        name = self._store.declared.__name__
        findings.problems = [Problem(name=name, kind="unreadable", message=why)]
        return Reread(findings, [], again=False)

    def _read(self) -> Reread:
        self._reading = True
        try:
            findings = self._intake.read(again=True)
        finally:
            self._reading = False
        before = self._store.generation.findings
        findings.problems += losses(findings, before)
        changed = changed_fields(findings, before)
        if changed or findings.problems:
            self._cover(findings, self._store.valid())
        refused = self.refused
        again = refused is not None and not changed_fields(findings, refused)
        return Reread(findings, changed, again)
