"""Status page: its static files, and the status that its script loads as JSON."""

from __future__ import annotations

import json
import time
from dataclasses import fields, is_dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from hive_boot._records import Record
from hive_boot.lifecycle.states import State
from hive_boot.redaction.registry import redact

if TYPE_CHECKING:
    from hive_boot._timings import Timings
    from hive_boot.runtime.status import Status

FILES = {
    "/boot": ("page.html", "text/html; charset=utf-8"),
    "/boot.css": ("page.css", "text/css; charset=utf-8"),
    "/boot.js": ("page.js", "text/javascript; charset=utf-8"),
}
"""File name and media type of each URL path."""

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src data:",  # the tab icon, which the script draws in the colour of the state
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    # The browser raises an error if the script assigns text to innerHTML or to another property
    # that parses it. https://developer.mozilla.org/docs/Web/API/Trusted_Types_API
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)

HEADERS = (
    (b"content-security-policy", "; ".join(_POLICY).encode()),
    (b"referrer-policy", b"no-referrer"),
)
"""Headers of the HTML file: the page can load files from the same origin, and `data:` images."""

_STARTING = frozenset({State.ARMED, State.LOADING, State.STARTING})

_IDLE_FACTOR = 5
"""Factor by which the refresh interval is longer when the application is not starting."""


def read_file(path: str) -> tuple[bytes, str]:
    """Return the content and the media type of a file of the page.

    Args:
        path: one of ``FILES``.
    """
    name, media_type = FILES[path]
    return (files(__name__) / name).read_bytes(), media_type


def status_as_json(name: str, status: Status, timings: Timings) -> str:
    """Return the name, the current time, the refresh interval and every field of a status as JSON.

    Args:
        name: the name of the application.
        status: the current status.
        timings: contains the refresh interval during a start.
    """
    interval = timings.page_refresh_interval
    content = {
        "name": name,
        "time": time.time(),
        "refresh_interval": interval if status.state in _STARTING else _IDLE_FACTOR * interval,
        **_to_json(status),
    }
    return json.dumps(content, ensure_ascii=False)


def _to_json(value: Any) -> Any:
    """Return a value as JSON types. Strings are redacted, except field names and mapping keys."""
    if value is None or isinstance(value, int | float | State):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    if isinstance(value, Record):
        value = value.as_dict()
    elif is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    return {key: _to_json(each) for key, each in value.items()}
