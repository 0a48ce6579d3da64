"""What a probe is told: by the state of the run alone, in one word, and never a name."""

from __future__ import annotations

from typing import NamedTuple

from hive_boot.lifecycle.states import SERVING, State


class ProbeResult(NamedTuple):
    """What a probe is told.

    Attributes:
        status: the status of HTTP: 200 or 503.
        text: why, in a word.
    """

    status: int
    text: str


def liveness(state: State) -> ProbeResult:
    """Say whether the process has to be replaced: never, while it can still answer.

    Args:
        state: where the run stands.
    """
    return ProbeResult(200, state)


def readiness(state: State) -> ProbeResult:
    """Say whether requests may come.

    Args:
        state: where the run stands.
    """
    return ProbeResult(200 if state in SERVING else 503, state)


def startup(state: State, *, started: bool) -> ProbeResult:
    """Say whether the start is over; it stays so.

    Args:
        state: where the run stands.
        started: whether the run has been ready.
    """
    return ProbeResult(200 if started else 503, state)
