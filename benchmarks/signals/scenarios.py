"""Scenarios of the signal benchmark, each with its question.

The questions were written before the first measurement of each scenario. Only the definition of an
error exit (``measurements.is_error``) was decided later. An answer begins with yes or no; the rest
is the observation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.comparison import Comparison, Scenario
from benchmarks.signals.measurements import (
    Measurement,
    crash_in_the_background,
    fail_in_start,
    fail_twice_in_stop,
    interrupt_twice,
    start_before_dependency,
    stop_as_pid_1,
    stop_at_thread_limit,
    stop_during_job,
    stop_during_work,
    stop_in_flight,
    stop_in_start,
    stop_when_ready,
    stop_with_children,
    stop_with_trouble,
)
from benchmarks.signals.subjects import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Sequence


SCENARIOS: Sequence[Scenario] = (
    Scenario(
        name="ready",
        title="SIGTERM while ready",
        question="Does it stop what it started, in reverse order, and end in time?",
        measure=stop_when_ready,
    ),
    Scenario(
        name="start-hangs",
        title="SIGTERM while a component hangs in its start",
        question="Does it end in time, and stop what had started?",
        measure=stop_in_start,
    ),
    Scenario(
        name="start-fails",
        title="A component fails in its start",
        question="Does it exit with an error, stop what had started, and neither serve "
        "nor report READY=1 to systemd?",
        measure=fail_in_start,
    ),
    Scenario(
        name="stop-hangs",
        title="SIGTERM, and a component hangs in its stop",
        question="Does it end in time, stop the others, and name the culprit?",
        measure=stop_with_trouble,
    ),
    Scenario(
        name="thread-hangs",
        title="SIGTERM, and a component's stop waits for a thread that hangs",
        question="Does it end in time, stop the others, and name the culprit?",
        measure=stop_with_trouble,
    ),
    Scenario(
        name="second-signal",
        title="Ctrl-C, and again while a component hangs in its stop",
        question="Does the second one end it immediately?",
        measure=interrupt_twice,
    ),
    Scenario(
        name="in-flight",
        title="SIGTERM while a request of 2 s is being answered",
        question="Is it answered, and is a new one that comes 1 s after the signal?",
        measure=stop_in_flight,
    ),
    Scenario(
        name="crash",
        title="Background work crashes while it serves",
        question="Does it stop the rest and exit with an error?",
        measure=crash_in_the_background,
    ),
    Scenario(
        name="stops-fail",
        title="SIGTERM, and two of three components fail in their stop",
        question="Does it report both, stop the third, and exit with an error?",
        measure=fail_twice_in_stop,
    ),
    Scenario(
        name="pid-1",
        title="SIGTERM to PID 1 while it imports, and while it starts",
        question="Does it end in time in both cases?",
        measure=stop_as_pid_1,
    ),
    Scenario(
        name="clean-up",
        title="SIGTERM, and background work cleans up in `finally` for 0.3 s",
        question="Is the clean-up completed before the cache, which it uses, stops?",
        measure=stop_during_work,
    ),
    Scenario(
        name="dependency-down",
        title="The database refuses connections for the first 2 s",
        question="Does the application become ready without a restart?",
        measure=start_before_dependency,
    ),
    Scenario(
        name="job",
        title="SIGTERM while a job of 1 s is being processed",
        question="Is it completed, does no other begin, and does everything stop in time?",
        measure=stop_during_job,
    ),
    Scenario(
        name="children",
        title="SIGTERM with a busy process pool, and a component hangs in its stop",
        question="Does it end in time, and does no process of the pool live on?",
        measure=stop_with_children,
    ),
    Scenario(
        name="thread-limit",
        title="SIGTERM at the limit of threads",
        question="Does it stop what it started, and end in time without an error?",
        measure=stop_at_thread_limit,
    ),
)

SIGNALS = Comparison(
    name="signals", scenarios=SCENARIOS, subjects=SUBJECTS, measurement=Measurement
)
