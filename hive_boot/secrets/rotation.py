"""What a load means for an application that runs: what it lost, what is tried again.

The set in use is given up for a better one only. So here is judged what a start need
not ask: whether something that was there is gone.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from hive_boot.exceptions import Problem
from hive_boot.secrets.mode import PLATFORM_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hive_boot.exceptions import ProblemKind
    from hive_boot.secrets.findings import LoadResult
    from hive_boot.secrets.sources.mounted import DirectorySnapshot

RETRYABLE_KINDS: frozenset[ProblemKind] = frozenset(
    {"broken-link", "check", "directory", "not-a-file", "unreadable", "unstable"}
)
"""What may be right a moment later, although nobody writes. All else is what was written."""


class Rejection(NamedTuple):
    """A set that was refused; the one before it stays in use.

    Attributes:
        generation: the number that it would have had.
        names: what is to blame: secrets, directories, a check.
        kinds: what is wrong with each of them, as one word.
        since: when it was refused first, in seconds of the wall clock.
    """

    generation: int
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    since: float

    def __str__(self) -> str:
        """Name what is to blame, and why."""
        parts = dict.fromkeys(map(" ".join, zip(self.names, self.kinds, strict=True)))
        return f"generation {self.generation} was refused: {', '.join(parts)}"


def reject(problems: Iterable[Problem], generation: int) -> Rejection:
    """Describe the refusal of a set by its problems."""
    listed = list(problems)
    names = tuple(problem.name for problem in listed)
    return Rejection(generation, names, tuple(problem.kind for problem in listed), time.time())


def find_lost_sources(load_result: LoadResult, before: LoadResult) -> list[Problem]:
    """Tell which places of the accepted set are gone, or hold nothing any more.

    An absent directory and an empty one are failures of whoever mounts them, never the
    news that there are no secrets: what is meant to be removed is removed one by one.
    """
    problems = [_loss(known, load_result) for known in before.snapshots]
    noted = {problem.name for problem in load_result.problems}
    lost = [problem for problem in problems if problem is not None and problem.name not in noted]
    return lost + _lost_files(load_result, before)


def _loss(known: DirectorySnapshot, load_result: LoadResult) -> Problem | None:
    """Tell what became of a directory that held secrets."""
    if all(_is_a_file(load_result, attribute) for attribute in known.batch.files):
        return None
    now = next((each for each in load_result.snapshots if each.path == known.path), None)
    if now is None:
        return _lost(known.path, "directory", "is gone")
    if now.problem is not None:
        return _lost(known.path, now.problem.kind, now.problem.message)
    if any(name not in PLATFORM_ENTRIES and not name.startswith("..") for name in now.names):
        return None
    return _lost(known.path, "empty", "is empty")


def _is_a_file(load_result: LoadResult, attribute: str) -> bool:
    """Tell whether a secret was read from a file, here or in another directory by now."""
    return attribute in load_result.values and load_result.origin(attribute)[0] == "file"


def _lost_files(load_result: LoadResult, before: LoadResult) -> list[Problem]:
    """Tell which ``.env`` files that gave values are gone."""
    return [
        _lost(path, "missing", "is gone")
        for path in load_result.source_context.env_files
        if path in before.env_files and not os.path.exists(path)
    ]


def _lost(name: str, kind: ProblemKind, message: str) -> Problem:
    return Problem(name=name, kind=kind, message=f"{message}, and it held secrets in use")
