"""The ten moments, and what one would wish of each.

The questions were written down before anything was measured; only what counts as an
exit with an error (``plays.is_error``) was settled later. An answer begins with yes or
no; the rest is what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.signals.plays import (
    Scene,
    crash_in_the_background,
    fail_in_start,
    fail_twice_in_stop,
    interrupt_twice,
    stop_as_pid_1,
    stop_in_flight,
    stop_in_start,
    stop_when_ready,
    stop_with_trouble,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.signals.plays import Answer
    from benchmarks.signals.subjects import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A moment.

    Attributes:
        name: what it is asked for by, and what the applications know it by.
        title: what happens.
        question: what one would wish.
        play: lets it happen.
    """

    name: str
    title: str
    question: str
    play: Callable[[Scene], Answer]

    def run(self, subject: Subject) -> Answer:
        """Let it happen to a subject."""
        return self.play(Scene(subject, self.name))


SCENARIOS: Sequence[Scenario] = (
    Scenario(
        name="ready",
        title="SIGTERM while ready",
        question="Does it stop what it started, the last first, and end in time?",
        play=stop_when_ready,
    ),
    Scenario(
        name="start-hangs",
        title="SIGTERM while a component hangs in its start",
        question="Does it end in time, and stop what had started?",
        play=stop_in_start,
    ),
    Scenario(
        name="start-fails",
        title="A component fails in its start",
        question="Does it exit with an error, stop what had started, and neither serve "
        "nor tell systemd that it is ready?",
        play=fail_in_start,
    ),
    Scenario(
        name="stop-hangs",
        title="SIGTERM, and a component hangs in its stop",
        question="Does it end in time, stop the others, and name the culprit?",
        play=stop_with_trouble,
    ),
    Scenario(
        name="thread-hangs",
        title="SIGTERM, and a component's stop waits for a thread that hangs",
        question="Does it end in time, stop the others, and name the culprit?",
        play=stop_with_trouble,
    ),
    Scenario(
        name="second-signal",
        title="Ctrl-C, and again while a component hangs in its stop",
        question="Does the second one end it at once?",
        play=interrupt_twice,
    ),
    Scenario(
        name="in-flight",
        title="SIGTERM while a request of 2 s is being answered",
        question="Is it answered, and is a new one that comes 1 s after the signal?",
        play=stop_in_flight,
    ),
    Scenario(
        name="crash",
        title="Background work crashes while it serves",
        question="Does it stop the rest and exit with an error?",
        play=crash_in_the_background,
    ),
    Scenario(
        name="stops-fail",
        title="SIGTERM, and two of three components fail in their stop",
        question="Does it report both, stop the third, and exit with an error?",
        play=fail_twice_in_stop,
    ),
    Scenario(
        name="pid-1",
        title="SIGTERM to PID 1 while it imports, and while it starts",
        question="Does it end in time, both times?",
        play=stop_as_pid_1,
    ),
)
