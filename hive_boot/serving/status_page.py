"""Status page: the state of an application for people, as HTML."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from hive_boot._timings import DEFAULTS
from hive_boot.lifecycle.states import State
from hive_boot.redaction.registry import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hive_boot._timings import Timings
    from hive_boot.lifecycle.states import TimelineEntry
    from hive_boot.runtime.status import RotationStatus, SecretStatus, Status

MINUTE = 60


HOUR = 60 * MINUTE


DAY = 24 * HOUR


_STEPS = ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", 1, "s"))


def format_duration(seconds: float) -> str:
    """Say how long something is: ``85 ms``, ``1.2 s``, ``4 min 10 s``, ``3 d 2 h``.

    Args:
        seconds: the length; less than nothing counts as nothing.
    """
    seconds = max(seconds, 0.0)
    # What would be rounded to the next unit is said in it.
    if seconds < 0.9995:  # noqa: PLR2004  (1000 ms)
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:  # noqa: PLR2004  (10.0 s)
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, part, smaller in _STEPS:
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def html_with_breaks(text: str) -> str:
    """Write a text as HTML in which long names may go on in the next line.

    Args:
        text: the text, of which nothing is markup.
    """
    return escape(text).replace("_", "_<wbr>").replace("/", "/<wbr>")


STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f5f6f8; --card: #ffffff; --ink: #1b1f24; --soft: #555d66; --line: #e1e5e9;
  --track: #edf0f3; --hatch: #9aa3ad;
  --good: #0f6630; --good-paper: #dcf3e3; --good-bar: #2e9c5b;
  --busy: #0a559f; --busy-paper: #deecfb; --busy-bar: #3b86d1;
  --warn: #744700; --warn-paper: #fdeecb;
  --bad: #9c1526; --bad-paper: #fde4e6; --bad-bar: #cf3346;
  --calm: #4a525b; --calm-paper: #e9ecef; --calm-bar: #8d97a1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0f1216; --card: #171b20; --ink: #e6e9ed; --soft: #a3acb6; --line: #2a3037;
    --track: #22282f; --hatch: #6c7681;
    --good: #85dba4; --good-paper: #12321f; --good-bar: #3fae6c;
    --busy: #92c4ff; --busy-paper: #12304e; --busy-bar: #4b97e3;
    --warn: #f2c970; --warn-paper: #392a0a;
    --bad: #ffa5ad; --bad-paper: #421b20; --bad-bar: #e25a6a;
    --calm: #b4bcc5; --calm-paper: #262c33; --calm-bar: #6f7985;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; padding: 1.25rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
main, header, footer { max-width: 70rem; margin: 0 auto; }
code, .number { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
code { font-size: .8125rem; }
.number, .when, td { font-variant-numeric: tabular-nums; }
h1, h2 { line-height: 1.25; margin: 0; text-wrap: balance; }
h1 { font-size: 1.5rem; letter-spacing: -.01em; }
h2 { font-size: 1.0625rem; }
h2 small, .soft, small { color: var(--soft); font-weight: 400; font-size: .875rem; }
a { color: var(--busy); text-underline-offset: .2em; }
header .title { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .75rem; }
nav { margin-top: .5rem; }
nav a { display: inline-block; padding: .375rem 1rem .375rem 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  padding: 1rem; margin-top: 1rem; }
.badge { display: inline-block; padding: .0625rem .5rem; border-radius: 1rem; font-size: .8125rem;
  font-weight: 600; white-space: nowrap; color: var(--calm); background: var(--calm-paper); }
h1 + .badge { font-size: .9375rem; padding: .1875rem .75rem; }
.good { color: var(--good); background: var(--good-paper); }
.busy { color: var(--busy); background: var(--busy-paper); }
.warn { color: var(--warn); background: var(--warn-paper); }
.bad { color: var(--bad); background: var(--bad-paper); }
.notice { border-color: transparent; }
.notice ul { margin: .5rem 0 0; padding-left: 1.25rem; }
.notice li + li { margin-top: .25rem; }

dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr));
  gap: 1rem 1.25rem; margin: 0; }
dt { color: var(--soft); font-size: .8125rem; }
dd { margin: 0; font-weight: 600; }
dd small { display: block; line-height: 1.4; }

.steps { list-style: none; margin: .75rem 0 0; padding: 0; }
.steps li, .axis { display: grid; grid-template: "what state" "bar bar" "when when" / 1fr auto;
  gap: .125rem .75rem; padding: .5rem 0; border-top: 1px solid var(--line); }
.axis { border: 0; padding: .75rem 0 0; color: var(--soft); font-size: .8125rem; }
.axis + .steps { margin-top: .25rem; }
.axis .scale { grid-area: bar; display: flex; justify-content: space-between; }
.what { grid-area: what; min-width: 0; }
.what b { font-weight: 600; }
.state { grid-area: state; }
.when { grid-area: when; color: var(--soft); font-size: .875rem; }
.bar { grid-area: bar; align-self: center; position: relative; height: .625rem;
  border-radius: .3125rem; background: var(--track); overflow: hidden; }
.bar i { position: absolute; top: 0; bottom: 0; min-width: 3px; border-radius: .3125rem;
  background: var(--calm-bar); }
.done .bar i { background: var(--good-bar); }
.running .bar i { background: var(--busy-bar); }
.failed .bar i, .overdue .bar i { background: var(--bad-bar); }
.waiting .bar i { background: repeating-linear-gradient(
  135deg, var(--hatch) 0 3px, transparent 3px 7px); }
.open .bar i { border-top-right-radius: 0; border-bottom-right-radius: 0; }

table { width: 100%; margin-top: .25rem; border-collapse: collapse; text-align: left; }
caption { text-align: left; color: var(--soft); font-size: .875rem; padding-bottom: .5rem; }
th, td { padding: .5rem .75rem .5rem 0; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-size: .8125rem; font-weight: 400; }
tbody th { font-weight: 600; }
td .badge { white-space: normal; border-radius: .625rem; }
td .badge + .badge { margin-top: .25rem; }
td small, th small { display: block; line-height: 1.4; }
footer { margin-top: 1.25rem; color: var(--soft); font-size: .875rem; }
footer a { display: inline-block; padding: .375rem .75rem .375rem 0; }

@media (max-width: 63.99rem) {
  table, tbody, caption { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody tr { display: grid; grid-template-columns: 1fr 1fr; gap: .25rem .75rem;
    padding: .75rem 0; border-top: 1px solid var(--line); }
  tbody th, tbody td { display: block; border: 0; padding: 0; }
  tbody th, tbody .wide { grid-column: 1 / -1; }
  tbody td { font-size: .875rem; }
  tbody td::before { content: attr(data-label) " "; color: var(--soft); }
  tbody td.plain::before { content: none; }
  tbody td:empty { display: none; }
}
@media (min-width: 48rem) {
  body { padding: 2rem 2rem 4rem; }
  section { padding: 1.25rem 1.5rem; }
  .steps li, .axis { grid-template: "what bar state when" / minmax(10rem, 1fr) 2fr 6rem 11rem;
    align-items: center; padding: .375rem 0; gap: 1rem; }
  .axis { padding-top: .75rem; }
  .when { text-align: right; }
  dl { grid-template-columns: repeat(4, 1fr); }
}
@media (min-width: 64rem) {
  table { table-layout: fixed; }
  .kept th:nth-child(1) { width: 24%; } .kept th:nth-child(2) { width: 11%; }
  .kept th:nth-child(3) { width: 27%; } .kept th:nth-child(4) { width: 11%; }
  .kept th:nth-child(5) { width: 9%; }
  .turns th:nth-child(1) { width: 25%; } .turns th:nth-child(2) { width: 13%; }
  .turns th:nth-child(4) { width: 11%; } .turns th:nth-child(5) { width: 12%; }
}
@media print { body { background: none; } section { break-inside: avoid-page; } }
"""


SHOWN = 200
"""How many steps are drawn; what goes on or went wrong comes first."""


NAMED = 5
"""How many of the resources that a step waits for are named."""


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
    resources = [step.end for step in ends if step.kind == "resource"]
    return max((end for end in phases or resources if end is not None), default=0.0)


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
    html = f"at {format_duration(step.start - begin)}, "
    html += "for " if step.end is None else "took "
    html += format_duration(end - step.start)
    if step.waits_for and step.outcome == "waiting":
        more = len(step.waits_for) - NAMED
        rest = f" and {more} more" if more > 0 else ""
        html += f", waits for {html_with_breaks(', '.join(step.waits_for[:NAMED]))}{rest}"
    return html


MOST_SECRETS = 500


MOST_ROTATIONS = 50


MOST_REASONS = 50


MOST_NAMES = 10
"""How much of each is shown; of the rest only the number."""


_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
)
"""No script, no request: also when a name has brought markup of its own."""


_STARTING = frozenset({State.ARMED, State.LOADING, State.STARTING})


_WATCHERS = {
    "inotify": "by the kernel's events",
    "poll": "by reading every other second",
    "down": "changes are not noticed",
    "off": "nobody looks for changes",
}


_VERDICTS = {"accepted": "good", "refused": "bad", "in-use": "busy"}


_COLORS = {"good": "#2e9c5b", "busy": "#3b86d1", "warn": "#d99a1c", "bad": "#cf3346"}


def page(name: str, status: Status, timings: Timings = DEFAULTS) -> str:
    """Write the page.

    Args:
        name: what people call the application.
        status: the application at this moment.
        timings: how often a browser loads it again during a start.
    """
    now = time.time()
    kind, word = _overall_status(status)
    starting = status.state in _STARTING
    seconds = timings.page_refresh_interval
    refresh = f'<meta http-equiv="refresh" content="{seconds:g}">' if starting else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{refresh}<title>{word}: {escape(name)}</title>"
        f'<link rel="icon" href="{_icon(kind)}"><style>{STYLE}</style></head><body>'
        f'<header><div class="title"><h1>{escape(name)}</h1>'
        f'<span class="badge {kind}">{word}</span></div>'
        '<nav aria-label="On this page"><a href="#timeline">Timeline</a>'
        '<a href="#secrets">Secrets</a><a href="#rotations">Rotations</a></nav></header><main>'
        f"{_notices(status)}{_facts(status, now)}"
        f'<div id="timeline">{timeline_chart(status)}</div>'
        f"{_secrets(status)}{_rotations(status.rotations, now)}</main>"
        f"<footer><p>Written {_moment(now)} by hive_boot. The same for programs: "
        '<a href="health">health</a><a href="metrics">metrics</a></p></footer></body></html>\n'
    )


def _overall_status(status: Status) -> tuple[str, str]:
    """Say how it is, as a colour and in words."""
    if status.failed:
        return "bad", f"{status.state}, failed"
    if status.state in _STARTING:
        return "busy", str(status.state)
    if not status.ready:
        return "", str(status.state)
    if status.degraded:
        return "warn", f"{status.state}, degraded"
    return "good", str(status.state)


def _icon(kind: str) -> str:
    """Draw a dot, so that a browser asks for no icon and a tab shows how it is."""
    color = _COLORS.get(kind, "#8d97a1")
    dot = f'<circle cx="8" cy="8" r="7" fill="{color}"/>'
    drawn = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">{dot}</svg>'
    return f"data:image/svg+xml,{quote(drawn)}"


def _notices(status: Status) -> str:
    html = ""
    if status.failed:
        text = f"{escape(status.failed)} has failed, and the application ends."
        html += _notice("bad", "Failed", [text])
    if status.degraded:
        reasons = [html_with_breaks(redact(reason)) for reason in status.reasons[:MOST_REASONS]]
        if more := len(status.reasons) - len(reasons):
            reasons.append(f"and {more} more")
        html += _notice("warn", "Degraded", reasons)
    if status.forked:
        text = "This process was forked: it keeps the secrets it was born with."
        html += _notice("busy", "Forked", [text])
    return html


def _notice(kind: str, title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f'<section class="notice {kind}"><h2>{title}</h2><ul>{items}</ul></section>'


def _facts(status: Status, now: float) -> str:
    facts = [
        ("Ready", "yes" if status.ready else "no", ""),
        ("Up for", format_duration(status.uptime), ""),
        ("Generation", str(status.generation or "none yet"), ""),
        ("Last change", *_ago(status.last_change, now)),
        ("Last good read", *_ago(status.last_read, now)),
        ("Watcher", status.watcher, _WATCHERS[status.watcher]),
        ("Mode", status.mode or "not decided", status.mode_reason),
        ("Profile", status.profile or "not decided", status.profile_reason),
    ]
    items = "".join(
        f"<div><dt>{label}</dt><dd>{escape(value)}"
        + (f"<small>{html_with_breaks(why)}</small>" if why else "")
        + "</dd></div>"
        for label, value, why in facts
    )
    return f'<section aria-label="At a glance"><dl>{items}</dl></section>'


def _secrets(status: Status) -> str:
    if not status.secrets:
        html = "<p>No secrets are accepted yet.</p>"
    else:
        shown = status.secrets[:MOST_SECRETS]
        rows = "".join(_secret(each, status) for each in shown)
        heads = ("Name", "State", "Source", "In use for", "Generation", "Notes")
        present = sum(each.present for each in status.secrets)
        caption = f"{present} of {len(status.secrets)} declared secrets are present."
        html = _table("kept", caption, heads, rows) + _more(status.secrets, shown, "secrets")
    return f'<section aria-labelledby="secrets"><h2 id="secrets">Secrets</h2>{html}</section>'


def _secret(each: SecretStatus, status: Status) -> str:
    used_by = f"<small>{escape(each.used_by)}</small>" if each.used_by else ""
    need = "required" if each.required else "optional"
    if each.present:
        kind, word = "good", "present"
    else:
        kind, word = ("bad" if each.required else ""), "absent"
    place = f"<small><code>{html_with_breaks(each.place)}</code></small>" if each.place else ""
    return _table_row(
        f"<code>{html_with_breaks(each.name)}</code>{used_by}",
        ("State", f'<span class="badge {kind}">{word}</span> {need}', "wide plain"),
        ("Source", f"{escape(each.source)}{place}", "wide"),
        ("In use for", format_duration(each.age) if each.present else "", ""),
        ("Generation", str(each.generation) if each.present else "", ""),
        ("Notes", " ".join(_notes(each, status)), "wide plain"),
    )


def _notes(each: SecretStatus, status: Status) -> Iterable[str]:
    if each.due is not None:
        yield f'<span class="badge busy">newer in {format_duration(each.due)}</span>'
    if each.place and each.place in status.stale:
        yield '<span class="badge bad">stale mount: restart</span>'
    elif each.place and each.place in status.pinned:
        yield '<span class="badge">pinned</span>'
    if each.name in status.rejected_names or each.attribute in status.rejected_names:
        yield '<span class="badge bad">newest refused</span>'


def _rotations(rotations: Sequence[RotationStatus], now: float) -> str:
    if not rotations:
        html = "<p>There were none.</p>"
    else:
        shown = rotations[:MOST_ROTATIONS]
        rows = "".join(_rotation(each, now) for each in shown)
        heads = ("When", "Verdict", "Secrets", "Generation", "Took")
        html = _table("turns", "The newest first.", heads, rows) + _more(
            rotations, shown, "rotations"
        )
    return f'<section aria-labelledby="rotations"><h2 id="rotations">Rotations</h2>{html}</section>'


def _rotation(each: RotationStatus, now: float) -> str:
    names = " ".join(f"<code>{html_with_breaks(name)}</code>" for name in each.names[:MOST_NAMES])
    if (more := len(each.names) - MOST_NAMES) > 0:
        names += f" and {more} more"
    ago, moment = _ago(each.at, now)
    kind = _VERDICTS[each.verdict]
    return _table_row(
        f"{ago}<small>{moment}</small>",
        ("Verdict", f'<span class="badge {kind}">{each.verdict}</span>', "wide plain"),
        ("Secrets", names, "wide plain"),
        ("Generation", str(each.generation), ""),
        ("Took", format_duration(each.duration), ""),
    )


def _table(kind: str, caption: str, heads: Iterable[str], rows: str) -> str:
    # The roles are said again, because a table that is laid out as cards loses them.
    cells = "".join(f'<th scope="col" role="columnheader">{head}</th>' for head in heads)
    return (
        f'<table role="table" class="{kind}"><caption>{caption}</caption>'
        f'<thead role="rowgroup"><tr role="row">{cells}</tr></thead>'
        f'<tbody role="rowgroup">{rows}</tbody></table>'
    )


def _table_row(head: str, *cells: tuple[str, str, str]) -> str:
    html = "".join(
        f'<td role="cell" class="{kind}" data-label="{label}">{content}</td>'
        for label, content, kind in cells
    )
    return f'<tr role="row"><th scope="row" role="rowheader">{head}</th>{html}</tr>'


def _more(everything: Sequence[object], shown: Sequence[object], what: str) -> str:
    more = len(everything) - len(shown)
    return f'<p class="soft">{more} more {what} are not shown.</p>' if more else ""


def _ago(at: float, now: float) -> tuple[str, str]:
    """Say how long ago a moment was, and which it was."""
    return (f"{format_duration(now - at)} ago", _moment(at)) if at else ("never", "")


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
