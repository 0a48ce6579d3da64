"""Read again what an application uses, and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import anyio

from hive_boot.exceptions import Problem
from hive_boot.lifecycle.waking import run_in_daemon_thread
from hive_boot.secrets.rotation import find_lost_sources
from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.store import changed_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot._timings import Timings
    from hive_boot.bootstrap.intake import LoadPipeline
    from hive_boot.secrets.findings import LoadResult
    from hive_boot.secrets.sources.reading import Value
    from hive_boot.secrets.store import Store

S = TypeVar("S", bound=SecretSet)


class ReloadResult(NamedTuple):
    """What one read came to.

    Attributes:
        result: what was read; its problems keep it from being used.
        changed: the attributes whose value is another one than in the accepted set.
        same_as_rejected: whether it is the very set that a check refused last.
    """

    result: LoadResult
    changed: list[str]
    same_as_rejected: bool


class ReloadReader(Generic[S]):
    """Reads in a thread, one at a time.

    Args:
        store: the secrets in use.
        pipeline: reads.
        register_values: hides the values that were read, and goes on to hide those that are valid.
        timings: how long a read may take.

    Attributes:
        rejected: the set that a check refused last.
    """

    rejected: LoadResult | None = None

    def __init__(
        self,
        store: Store[S],
        pipeline: LoadPipeline[S],
        register_values: Callable[[LoadResult, list[Value]], None],
        timings: Timings,
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._register_values = register_values
        self._timeout = timings.read_timeout
        self._reading = False

    async def read(self) -> ReloadResult:
        """Read; a read that hangs in a file system is given up, and not joined by others."""
        if not self._reading:
            with anyio.move_on_after(self._timeout):
                return await run_in_daemon_thread(self._read, "hive_boot reload")
        return self.failed_read(f"could not be read within {self._timeout:g} s")

    def failed_read(self, why: str) -> ReloadResult:
        """Give what a read comes to that came to nothing."""
        load_result = self._pipeline.empty_result()
        name = self._store.declared.__name__
        load_result.problems = [Problem(name=name, kind="unreadable", message=why)]
        return ReloadResult(load_result, [], same_as_rejected=False)

    def _read(self) -> ReloadResult:
        self._reading = True
        try:
            load_result = self._pipeline.read(again=True)
        finally:
            self._reading = False
        before = self._store.generation.load_result
        load_result.problems += find_lost_sources(load_result, before)
        changed = changed_fields(load_result, before)
        if changed or load_result.problems:
            self._register_values(load_result, self._store.all_accepted_values())
        refused = self.rejected
        again = refused is not None and not changed_fields(load_result, refused)
        return ReloadResult(load_result, changed, again)
