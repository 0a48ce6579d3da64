"""Evaluation of what an application has held during a moment, as the answer to a question."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.comparison import Answer
from benchmarks.environment import fake_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Values: TypeAlias = "dict[str, str]"

WITHIN = 10.0
"""Seconds after which values that are not in use count as never used."""


@dataclass(frozen=True, slots=True)
class Held:
    """Values that an application held from one moment to the next.

    Attributes:
        at: the begin, as monotonic time.
        values: the values; None if they could not be read.
        problem: the reason why not, or empty.
    """

    at: float
    values: Values | None
    problem: str = ""

    @property
    def updates(self) -> set[str]:
        """The numbers of the updates that the values are from."""
        return {value.partition("-")[0] for value in (self.values or {}).values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Values that an application should hold.

    Attributes:
        wanted: the values that must be in use at the end.
        published: the time since which they were available.
        is_allowed: checks values that the application held.
        wrong: the description of values that are not allowed.
    """

    wanted: Values
    published: float
    is_allowed: Callable[[Held], bool]
    wrong: str


@dataclass(frozen=True, slots=True)
class Handshake:
    """A TLS handshake.

    Attributes:
        at: its begin, as monotonic time.
        certificate: that of the server in DER form; None if the handshake failed.
    """

    at: float
    certificate: bytes | None


def values_of(update: int, names: Iterable[str]) -> Values:
    """Return the values of an update."""
    return {name: f"{update:06}-{fake_value(name)}" for name in names}


def parse(mark: str) -> Held:
    """Return what an application has reported in a line."""
    at, held = json.loads(mark)
    if isinstance(held, str):
        return Held(at, None, f"reading raises {held}")
    return Held(at, held)


def in_force_since(at: float, held: Sequence[Held]) -> list[Held]:
    """Return what the application held from a time on; the first begins then, or later."""
    before = [each for each in held if each.at <= at]
    now = [replace(before[-1], at=at)] if before else []
    return now + [each for each in held if each.at > at]


def evaluate(held: Sequence[Held], ended: float, expectation: Expectation) -> Answer:
    """Return the answer to: were only allowed values in use, and the wanted ones in time?

    Args:
        held: what the application held, in order.
        ended: the end of the observation.
        expectation: the values that are allowed, and those that are wanted.
    """
    ends = [each.at for each in held[1:]] + [ended]
    failures: dict[str, float] = {}
    for each, end in zip(held, ends, strict=True):
        if not expectation.is_allowed(each):
            kind = each.problem or f"{expectation.wrong} in use"
            failures[kind] = failures.get(kind, 0.0) + end - each.at
    seen = [f"{kind} for {seconds:.2f} s" for kind, seconds in failures.items()]
    used = _used_after(held[-1], expectation.wanted, expectation.published)
    within = f"within {WITHIN:.0f} s"
    seen.append(f"no new values {within}" if used is None else f"new values after {used:.2f} s")
    return Answer(used is not None and not failures, ", ".join(seen))


def evaluate_stream(held: Sequence[Held], *, wanted: Values, published: float) -> Answer:
    """Return the answer to: was each set of values from one update, and is the last in use?

    Args:
        held: what the application held, in order.
        wanted: the values of the last update.
        published: the time of the last update.
    """
    mixed = sum(len(each.updates) > 1 for each in held)
    problems = sorted({each.problem for each in held if each.problem})
    seen = [f"{mixed} of {len(held)} sets mixed", *problems]
    used = _used_after(held[-1], wanted, published)
    within = f"within {WITHIN:.0f} s"
    seen.append(f"not the last {within}" if used is None else f"the last after {used:.2f} s")
    return Answer(used is not None and not mixed and not problems, ", ".join(seen))


def evaluate_handshakes(
    answer: Answer, handshakes: Sequence[Handshake], *, new: bytes, published: float
) -> Answer:
    """Return the answer to: did each handshake succeed, and is the new certificate served?

    Args:
        answer: the answer about the values that the application held.
        handshakes: the handshakes, in order.
        new: the new certificate in DER form.
        published: the time since which its key was available.
    """
    failed = [each.at for each in handshakes if each.certificate is None]
    served = min((each.at for each in handshakes if each.certificate == new), default=None)
    is_served = served is not None and handshakes[-1].certificate == new
    seen = f"{len(failed)} of {len(handshakes)} handshakes failed"
    if served is None:
        seen += ", the new certificate is not served"
    else:
        seen += f", the new certificate served after {max(served - published, 0.0):.2f} s"
    return Answer(answer.good and is_served and not failed, f"{seen}; {answer.seen}")


def _used_after(last: Held, wanted: Values, published: float) -> float | None:
    """Return the time after which values were used, or None if that was too late or never."""
    seconds = max(last.at - published, 0.0)
    return seconds if last.values == wanted and seconds < WITHIN else None
