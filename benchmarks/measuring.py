"""Take times side by side, so that a machine with other work to do does not matter.

What is compared is taken in turns, A B A B, and what counts is the median of the
ratios of the rounds: whatever slows the machine down for a while slows both sides
of a round, and the few rounds in which it hits only one of them are no median.
"""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Measure: TypeAlias = "Callable[[], float]"
"""Takes a time once and gives it, in seconds."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How much more one thing costs than another.

    Attributes:
        median: the middle of the rounds.
        low: a quarter of the rounds are below.
        high: a quarter of the rounds are above.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The times of one comparison.

    Attributes:
        seconds: for each thing that was measured, one time from each round.
    """

    seconds: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """Give the middle time of one thing, in seconds."""
        return statistics.median(self.seconds[name])

    def tail(self, name: str) -> float:
        """Give the time that one in a hundred takes longer than, in seconds."""
        return statistics.quantiles(self.seconds[name], n=100, method="inclusive")[-1]

    def ratio(self, name: str, floor: str) -> Ratio:
        """Compare one thing with its floor, round by round."""
        pairs = zip(self.seconds[name], self.seconds[floor], strict=True)
        low, median, high = statistics.quantiles([one / other for one, other in pairs], n=4)
        return Ratio(median, low, high)

    def over(self, base: str) -> Figures:
        """Give what everything costs on top of ``base``, round by round."""
        return Figures(
            {
                name: [one - other for one, other in zip(times, self.seconds[base], strict=True)]
                for name, times in self.seconds.items()
                if name != base
            }
        )


def take_turns(measures: Mapping[str, Measure], rounds: int) -> Figures:
    """Measure everything once in each round, forwards and backwards in turn.

    Args:
        measures: what takes each time.
        rounds: how many rounds count; one more comes before them, to warm up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for measure in measures.values():
        measure()
    order = list(measures.items())
    # What lives already is not looked through again and again; a start has little to look at.
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            for name, measure in order:
                seconds[name].append(measure())
            order.reverse()
    finally:
        gc.unfreeze()
    return Figures(seconds)


def timed(call: Callable[[], object]) -> Measure:
    """Make a measure of one call; what it gives is released when the clock stands."""

    def measure() -> float:
        started = time.perf_counter()
        result = call()
        elapsed = time.perf_counter() - started
        del result
        return elapsed

    return measure
