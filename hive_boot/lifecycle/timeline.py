"""The timeline of a run: every step with its start, its end, and what became of it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["phase", "check", "part", "service", "stop"]
"""What a step is: a phase of the run, a check, the start of a part, a service, a stop."""

Outcome = Literal["waiting", "running", "done", "failed", "overdue", "cancelled"]
"""What has become of a step; the last four are final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a run.

    Attributes:
        name: what people call it: a state, the name of a part, the label of a check.
        kind: what it is.
        start: when it began, in seconds since the run began; while it waits, when it was to.
        end: when it ended, in the same seconds; None while it goes on.
        outcome: what has become of it.
        waits_for: the parts that it waits, or has waited, for.
    """

    name: str
    kind: Kind
    start: float
    end: float | None = None
    outcome: Outcome = "running"
    waits_for: tuple[str, ...] = ()


class Timeline:
    """The steps of one run, in the order in which they began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._steps: list[Step] = []

    @property
    def age(self) -> float:
        """The seconds since the run began."""
        return time.monotonic() - self._began

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps until now."""
        return tuple(self._steps)

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        waits_for: tuple[str, ...] = (),
        outcome: Outcome = "running",
    ) -> int:
        """Note that something begins.

        Returns:
            The number by which the step is told of later.
        """
        self._steps.append(
            Step(name=name, kind=kind, start=self.age, outcome=outcome, waits_for=waits_for)
        )
        return len(self._steps) - 1

    def resume(self, number: int) -> None:
        """Note that a step which was waiting begins in earnest."""
        self._steps[number] = replace(self._steps[number], outcome="running", start=self.age)

    def end(self, number: int, outcome: Outcome = "done") -> None:
        """Note that something has ended; a second end changes nothing."""
        step = self._steps[number]
        if step.end is None:
            self._steps[number] = replace(step, end=self.age, outcome=outcome)

    @contextmanager
    def step(self, name: str, kind: Kind) -> Iterator[None]:
        """Note the start and the end of what the block does."""
        number = self.begin(name, kind)
        try:
            yield
        except Exception:
            self.end(number, "failed")
            raise
        except BaseException:
            self.end(number, "cancelled")
            raise
        self.end(number)
