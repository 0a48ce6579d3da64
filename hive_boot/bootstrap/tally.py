"""What became of the rotations of a run: the last ones, and how many there were."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

RotationOutcome = Literal["accepted", "refused", "in-use"]

_LAST = 20
"""How many rotations are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationStatus:
    """What may be known about one rotation; never a value.

    Attributes:
        at: when it ended, in seconds of the wall clock.
        generation: the number of the set.
        verdict: ``accepted``, ``refused``, or ``in-use`` when a value with ``lead`` came
            into use.
        names: the secrets that changed, or that are to blame.
        duration: seconds from the first read to the verdict.
    """

    at: float
    generation: int
    verdict: RotationOutcome
    names: tuple[str, ...]
    duration: float


class RotationLog:
    """Counts the rotations of one run.

    Attributes:
        totals: how many there were, by verdict.
    """

    def __init__(self) -> None:
        self.totals: dict[str, int] = {"accepted": 0, "refused": 0}
        self._last: deque[RotationStatus] = deque(maxlen=_LAST)

    @property
    def latest(self) -> tuple[RotationStatus, ...]:
        """The last rotations, the newest first."""
        return tuple(reversed(self._last))

    def record(
        self, verdict: RotationOutcome, generation: int, names: Iterable[str], seconds: float = 0.0
    ) -> None:
        """Count one."""
        if verdict in self.totals:
            self.totals[verdict] += 1
        self._last.append(
            RotationStatus(
                at=time.time(),
                generation=generation,
                verdict=verdict,
                names=tuple(names),
                duration=seconds,
            )
        )
