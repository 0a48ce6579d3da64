"""Timeline of a run: each step, its duration and its outcome."""

import pytest

from hive_boot.lifecycle import states as states_module
from hive_boot.lifecycle.states import StepOutcome, Timeline, TimelineEntry


class Clock:
    """A clock that advances by a second at each call."""

    now = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        self.now += 1
        return self.now


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the clock of the timeline, so that the times do not depend on the machine."""
    monkeypatch.setattr(states_module, "time", Clock())


def test_a_step_has_a_start_an_end_and_an_outcome() -> None:
    """Times are seconds since the run began."""
    timeline = Timeline()
    number = timeline.begin("pool", "resource")
    assert timeline.steps == (TimelineEntry("pool", "resource", 1.0),)
    timeline.end(number)
    assert timeline.steps == (TimelineEntry("pool", "resource", 1.0, 2.0, "done"),)
    assert timeline.step(number) == timeline.steps[0]
    assert timeline.elapsed == 3.0


def test_it_tells_how_a_step_ended() -> None:
    """An outcome other than "done" is recorded."""
    outcomes: tuple[StepOutcome, ...] = ("failed", "overdue", "cancelled")
    timeline = Timeline()
    for outcome in outcomes:
        timeline.end(timeline.begin("pool", "resource"), outcome)
    assert tuple(step.outcome for step in timeline.steps) == outcomes


def test_the_first_end_counts() -> None:
    """A second end of a step changes neither its time nor its outcome."""
    timeline = Timeline()
    number = timeline.begin("pool", "resource")
    timeline.end(number, "overdue")
    timeline.end(number, "done")
    assert timeline.steps == (TimelineEntry("pool", "resource", 1.0, 2.0, "overdue"),)


def test_the_wait_for_others_does_not_count_as_work() -> None:
    """A step that waited for others begins when they are ready, and names them."""
    timeline = Timeline()
    number = timeline.begin("api", "resource", waits_for=("pool",))
    assert timeline.step(number) == TimelineEntry(
        "api", "resource", 1.0, None, "waiting", ("pool",)
    )
    timeline.resume(number)
    assert timeline.step(number) == TimelineEntry(
        "api", "resource", 2.0, None, "running", ("pool",)
    )
    timeline.end(number)
    assert timeline.step(number) == TimelineEntry("api", "resource", 2.0, 3.0, "done", ("pool",))


def test_steps_stand_in_the_order_of_their_beginning() -> None:
    """Steps are listed in the order of their beginning, not of their end."""
    timeline = Timeline()
    first = timeline.begin("loading", "phase")
    timeline.end(timeline.begin("stripe", "check"))
    timeline.end(first)
    assert [step.name for step in timeline.steps] == ["loading", "stripe"]


def test_a_service_that_fails_for_years_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeline contains only the last runs of services, but every other step."""
    monkeypatch.setattr(states_module, "_MAX_REPEATED_STEPS", 3)
    timeline = Timeline()
    phase = timeline.begin("ready", "phase")
    runs = [timeline.begin(f"run {number}", "service") for number in range(5)]
    timeline.begin("pool", "stop")
    assert [step.name for step in timeline.steps] == ["ready", "run 2", "run 3", "run 4", "pool"]
    # One that has lasted since before is forgotten, and may end all the same.
    for number in (phase, *runs):
        timeline.end(number)
    assert [step.end is not None for step in timeline.steps] == [True] * 4 + [False]
