"""Timing of alternatives in rounds, so that other work of the machine does not distort ratios.

The alternatives are measured in alternation, A B B A, and the result is the median of the ratios
of the rounds. Other work slows both sides of most rounds; the rounds in which it slows only one
of them do not change the median.
"""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Measure: TypeAlias = "Callable[[], float]"
"""Function that measures once and returns the seconds."""

_SMOKE_ROUNDS = 2
"""The fewest rounds for which there are quartiles."""

_smoke = False


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of the times of two alternatives.

    Attributes:
        median: the median of the rounds.
        low: the first quartile.
        high: the third quartile.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The times of one comparison.

    Attributes:
        seconds: for each alternative, the time of each round; bytes in a table of memory.
    """

    seconds: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """Return the median time of an alternative, in seconds."""
        return statistics.median(self.seconds[name])

    def tail(self, name: str) -> float:
        """Return the 99th percentile of an alternative, in seconds."""
        return statistics.quantiles(self.seconds[name], n=100, method="inclusive")[-1]

    def ratio(self, name: str, floor: str) -> Ratio:
        """Return the ratio of an alternative to its baseline, by rounds."""
        pairs = zip(self.seconds[name], self.seconds[floor], strict=True)
        low, median, high = statistics.quantiles([one / other for one, other in pairs], n=4)
        return Ratio(median, low, high)

    def and_of(self, others: Iterable[Figures]) -> Figures:
        """Return these rounds and those of other measurements of the same alternatives."""
        every = [self, *others]
        return Figures(
            {name: [*chain(*(each.seconds[name] for each in every))] for name in self.seconds}
        )

    def over(self, base: str) -> Figures:
        """Return the times minus those of ``base`` in the same round."""
        return Figures(
            {
                name: [one - other for one, other in zip(times, self.seconds[base], strict=True)]
                for name, times in self.seconds.items()
                if name != base
            }
        )


def use_few_rounds() -> None:
    """Limit all later measurements to two rounds, which show only that they run."""
    global _smoke  # noqa: PLW0603  (set once, by the command)
    _smoke = True


def limited(rounds: int, fewest: int = _SMOKE_ROUNDS) -> int:
    """Return the number of rounds, or ``fewest`` after `use_few_rounds`. Default 2."""
    return min(rounds, fewest) if _smoke else rounds


def alternate(measures: Mapping[str, Measure], rounds: int) -> Figures:
    """Measure each alternative once in each round; every second round is in reverse order.

    Args:
        measures: the measures by name.
        rounds: the number of rounds, after one that warms up and does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for measure in measures.values():
        measure()
    order, rounds = list(measures.items()), limited(rounds)
    # Existing objects are excluded from garbage collection: a fresh process has few of them.
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
    """Return a measure of one call; its result is released after the measurement."""

    def measure() -> float:
        started = time.perf_counter()
        result = call()
        elapsed = time.perf_counter() - started
        del result
        return elapsed

    return measure
