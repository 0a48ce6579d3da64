"""The page for people: one document of HTML and CSS, which asks for nothing further.

It names secrets and never shows a value, not even a masked one.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from hive_boot._timings import DEFAULTS
from hive_boot.lifecycle.states import State
from hive_boot.redaction.hidden import redact
from hive_boot.serving.style import STYLE
from hive_boot.serving.waterfall import timeline_chart
from hive_boot.serving.words import format_duration, html_with_breaks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hive_boot._timings import Timings
    from hive_boot.bootstrap.status import Status
    from hive_boot.bootstrap.tally import RotationStatus
    from hive_boot.secrets.status import SecretStatus

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
    told = ""
    if status.failed:
        text = f"{escape(status.failed)} has failed, and the application ends."
        told += _notice("bad", "Failed", [text])
    if status.degraded:
        reasons = [html_with_breaks(redact(reason)) for reason in status.reasons[:MOST_REASONS]]
        if more := len(status.reasons) - len(reasons):
            reasons.append(f"and {more} more")
        told += _notice("warn", "Degraded", reasons)
    if status.forked:
        text = "This process was forked: it keeps the secrets it was born with."
        told += _notice("busy", "Forked", [text])
    return told


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
        told = "<p>No secrets are accepted yet.</p>"
    else:
        shown = status.secrets[:MOST_SECRETS]
        rows = "".join(_secret(each, status) for each in shown)
        heads = ("Name", "State", "Source", "In use for", "Generation", "Notes")
        present = sum(each.present for each in status.secrets)
        caption = f"{present} of {len(status.secrets)} declared secrets are present."
        told = _table("kept", caption, heads, rows) + _more(status.secrets, shown, "secrets")
    return f'<section aria-labelledby="secrets"><h2 id="secrets">Secrets</h2>{told}</section>'


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
        told = "<p>There were none.</p>"
    else:
        shown = rotations[:MOST_ROTATIONS]
        rows = "".join(_rotation(each, now) for each in shown)
        heads = ("When", "Verdict", "Secrets", "Generation", "Took")
        told = _table("turns", "The newest first.", heads, rows) + _more(
            rotations, shown, "rotations"
        )
    return f'<section aria-labelledby="rotations"><h2 id="rotations">Rotations</h2>{told}</section>'


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
    told = "".join(
        f'<td role="cell" class="{kind}" data-label="{label}">{content}</td>'
        for label, content, kind in cells
    )
    return f'<tr role="row"><th scope="row" role="rowheader">{head}</th>{told}</tr>'


def _more(everything: Sequence[object], shown: Sequence[object], what: str) -> str:
    more = len(everything) - len(shown)
    return f'<p class="soft">{more} more {what} are not shown.</p>' if more else ""


def _ago(at: float, now: float) -> tuple[str, str]:
    """Say how long ago a moment was, and which it was."""
    return (f"{format_duration(now - at)} ago", _moment(at)) if at else ("never", "")


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
