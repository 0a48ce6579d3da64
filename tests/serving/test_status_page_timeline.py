"""How a timeline is drawn."""

import re
from dataclasses import replace

from hive_boot.lifecycle.states import State, TimelineEntry
from hive_boot.runtime.status import Status
from hive_boot.serving.status_page import timeline_chart
from tests.serving.statuses import STARTED, crowded, ready, starting, stopping


def bars(drawn: str) -> dict[str, tuple[float, float]]:
    """Read where each bar begins, and how long it is, in percent."""
    found = re.findall(r"<b>(.*?)</b> <small>(\w+)</small>.*?left:([\d.]+)%;width:([\d.]+)%", drawn)
    return {
        f"{name.replace('<wbr>', '')} {kind}": (float(left), float(width))
        for name, kind, left, width in found
    }


def whens(drawn: str) -> list[list[str]]:
    """Read when each step began, and how long it took."""
    span = r"\d+(?:\.\d)? (?:ms|s|min)(?: \d+ s)?"
    return [re.findall(span, text) for text in re.findall(r'"when">(.*?)</span>', drawn)]


def left_out(drawn: str) -> list[str]:
    """Read how many steps are not shown, and how many of them are done."""
    return re.findall(r"\b\d+\b", drawn.rpartition('<p class="soft">')[2])


def test_without_steps_nothing_is_drawn() -> None:
    """An application that was never started has no timeline."""
    assert timeline_chart(Status()) == ""


def test_bars_stand_where_the_steps_were() -> None:
    """A step that took half of the start has half of the width."""
    steps = (
        TimelineEntry(name="starting", kind="phase", start=0.0, end=2.0, outcome="done"),
        TimelineEntry(name="half", kind="resource", start=1.0, end=2.0, outcome="done"),
        TimelineEntry(name="later", kind="service", start=2.0),
    )
    drawn = timeline_chart(Status(state=State.READY, started=True, uptime=500.0, timeline=steps))
    assert bars(drawn) == {
        "starting phase": (0, 100),
        "half resource": (50, 50),
        "later service": (99, 0),
    }
    assert whens(drawn) == [["0 ms", "2.0 s"], ["1.0 s", "1.0 s"], ["2.0 s", "8 min 18 s"]]


def test_what_goes_on_reaches_to_now() -> None:
    """While it starts, what is not done is drawn to the right edge, and says so in words."""
    drawn = timeline_chart(starting())
    assert bars(drawn)["database resource"] == (2.14, 97.86)
    assert 'class="waiting open"' in drawn
    assert re.search(r'"when">at 90 ms, .*4\.1 s, .* database<', drawn)
    for outcome in ("done", "running", "waiting", "overdue"):
        assert f">{outcome}</span>" in drawn


def test_start_and_stop_have_scales_of_their_own() -> None:
    """After weeks of service one still sees what took how long in the start, and in the stop."""
    assert re.findall(r'<h2 id="(\w+)"', timeline_chart(ready())) == ["start"]
    drawn = timeline_chart(stopping())
    assert re.findall(r'<h2 id="(\w+)"', drawn) == ["start", "since", "stop"]
    assert bars(drawn)["stopping phase"] == (0, 100)
    assert bars(drawn)["database stop"][0] > 30


def test_of_what_came_since_the_last_is_drawn_first() -> None:
    """Of a service that fails for weeks one sees how it fails now."""
    crashes = tuple(
        TimelineEntry(
            name=f"try{number}", kind="service", start=number, end=number + 0.5, outcome="failed"
        )
        for number in range(2, 1_002)
    )
    drawn = timeline_chart(replace(ready(), timeline=(*STARTED[:-1], *crashes)))
    assert "try1001 service" in bars(drawn)
    assert "try2 service" not in bars(drawn)
    assert left_out(drawn) == ["800", "0"]


def test_without_a_phase_the_parts_tell_when_the_start_was_over() -> None:
    """The scale is right also when only parts are told of."""
    parts = tuple(step for step in STARTED if step.kind == "resource")
    drawn = timeline_chart(replace(ready(), timeline=parts))
    assert bars(drawn)["agents resource"] == (52.5, 47.5)
    lone = TimelineEntry(name="lone", kind="service", start=0.0)
    assert bars(timeline_chart(replace(ready(), timeline=(lone,)))) == {"lone service": (0, 0)}


def test_of_many_steps_those_that_matter_are_drawn() -> None:
    """Of a thousand parts the one that hangs comes first."""
    drawn = timeline_chart(crowded())
    assert len(bars(drawn)) == 200
    assert next(iter(bars(drawn))) == "part_900 resource"
    assert left_out(drawn) == ["800", "800"]


def test_who_waits_for_many_names_a_few() -> None:
    """A part that waits for a hundred others does not fill the page."""
    names = tuple(f"part{number}" for number in range(100))
    step = TimelineEntry(
        name="last", kind="resource", start=0.0, outcome="waiting", waits_for=names
    )
    drawn = timeline_chart(Status(state=State.STARTING, uptime=1.0, timeline=(step,)))
    assert re.search(r" part0, part1, part2, part3, part4 \w+ 95 ", drawn)
