"""The timeline of a run, drawn: a bar for each step, and the same in words beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.lifecycle.states import State
from hive_boot.serving.words import format_duration, html_with_breaks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hive_boot.bootstrap.status import Status
    from hive_boot.lifecycle.timeline import TimelineEntry

SHOWN = 200
"""How many steps are drawn; what goes on or went wrong comes first."""

NAMED = 5
"""How many of the parts that a step waits for are named."""

_KINDS = {"done": "good", "running": "busy", "failed": "bad", "overdue": "bad"}

_LAST = frozenset({State.DRAINING, State.STOPPING})


def timeline_chart(status: Status) -> str:
    """Draw every step of a run, the start and the stop each by a scale of its own.

    After a start that took a second a service runs for weeks: by one scale the second
    would not be seen.

    Args:
        status: the application.
    """
    steps = status.timeline
    now = max([status.uptime, *(step.end or step.start for step in steps)])
    last = [step for step in steps if _is_last(step)]
    first = [step for step in steps if not _is_last(step)]
    over = _start_over(first) if status.started else now
    since = [step for step in reversed(first) if step.start > over]
    return (
        _chart("start", "Start", [step for step in first if step.start <= over], 0.0, over, now)
        + _chart("since", "Since then, the newest first", since, over, now, now)
        + _chart("stop", "Stop", last, min((step.start for step in last), default=0.0), now, now)
    )


def _is_last(step: TimelineEntry) -> bool:
    return step.kind == "stop" or step.name in _LAST


def _start_over(steps: Iterable[TimelineEntry]) -> float:
    """Tell when the start was over."""
    ends = [step for step in steps if step.end is not None]
    phases = [step.end for step in ends if step.name in {State.LOADING, State.STARTING}]
    # Without a phase the last thing that was started.
    parts = [step.end for step in ends if step.kind == "part"]
    return max((end for end in phases or parts if end is not None), default=0.0)


def _chart(  # noqa: PLR0913, PLR0917  (a heading, and the ends of its scale)
    key: str, title: str, steps: Sequence[TimelineEntry], begin: float, end: float, now: float
) -> str:
    """Draw steps by a scale from ``begin`` to ``end``."""
    if not steps:
        return ""
    length = end - begin
    shown = _chosen(steps)
    rows = "".join(_chart_row(step, begin, length, now) for step in shown)
    ends = "".join(f"<span>{format_duration(length * part / 2)}</span>" for part in range(3))
    return (
        f'<section aria-labelledby="{key}">'
        f'<h2 id="{key}">{title} <small>{format_duration(length)}</small></h2>'
        f'<div class="axis" aria-hidden="true"><span class="scale">{ends}</span></div>'
        f'<ol class="steps" role="list">{rows}</ol>{_left_out(steps, shown)}</section>'
    )


def _chosen(steps: Sequence[TimelineEntry]) -> Sequence[TimelineEntry]:
    """Choose the steps to draw: all, or what goes on and went wrong before what is done."""
    if len(steps) <= SHOWN:
        return steps
    return sorted(steps, key=lambda step: step.outcome == "done")[:SHOWN]


def _left_out(steps: Sequence[TimelineEntry], shown: Sequence[TimelineEntry]) -> str:
    more = len(steps) - len(shown)
    if not more:
        return ""
    done = sum(step.outcome == "done" for step in steps)
    done -= sum(step.outcome == "done" for step in shown)
    return f'<p class="soft">{more} more steps are not shown; {done} of them are done.</p>'


def _chart_row(step: TimelineEntry, begin: float, length: float, now: float) -> str:
    end = now if step.end is None else step.end
    left, right = (_share(moment - begin, length) for moment in (step.start, end))
    going = " open" if step.end is None else ""
    return (
        f'<li class="{step.outcome}{going}">'
        f'<span class="what"><b>{html_with_breaks(step.name)}</b> <small>{step.kind}</small></span>'
        f'<span class="bar" aria-hidden="true">'
        f'<i style="left:{min(left, 99.0):.2f}%;width:{right - left:.2f}%"></i></span>'
        f'<span class="state"><span class="badge {_KINDS.get(step.outcome, "")}">'
        f"{step.outcome}</span></span>"
        f'<span class="when">{_when(step, begin, end)}</span></li>'
    )


def _share(moment: float, length: float) -> float:
    """Give a moment as a percentage of the scale, never beyond its ends."""
    return min(max(moment / length * 100, 0.0), 100.0) if length > 0 else 0.0


def _when(step: TimelineEntry, begin: float, end: float) -> str:
    told = f"at {format_duration(step.start - begin)}, "
    told += "for " if step.end is None else "took "
    told += format_duration(end - step.start)
    if step.waits_for and step.outcome == "waiting":
        more = len(step.waits_for) - NAMED
        rest = f" and {more} more" if more > 0 else ""
        told += f", waits for {html_with_breaks(', '.join(step.waits_for[:NAMED]))}{rest}"
    return told
