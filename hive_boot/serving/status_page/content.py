"""Content of the status page: its static files, and the status as JSON for its script."""

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
"""The file and the media type for each path."""

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src data:",  # the icon of the tab, which has the colour of the state
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    # No text becomes markup or code, whatever the script does with it.
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)

HEADERS = (
    (b"content-security-policy", "; ".join(_POLICY).encode()),
    (b"referrer-policy", b"no-referrer"),
)
"""The headers of the HTML file: the browser loads files of the same origin and nothing else."""

_STARTING = frozenset({State.ARMED, State.LOADING, State.STARTING})

_SLOW_DOWN = 5
"""The page is refreshed this many times less often after the start."""


def read_file(path: str) -> tuple[bytes, str]:
    """Return the content and the media type of a file of the page.

    Args:
        path: one of ``FILES``.
    """
    name, media_type = FILES[path]
    return (files("hive_boot.serving.status_page") / name).read_bytes(), media_type


def status_as_json(name: str, status: Status, timings: Timings) -> str:
    """Return every field of a status as JSON, together with what the page needs besides.

    Args:
        name: the name of the application.
        status: the status at this moment.
        timings: the refresh interval during a start.
    """
    interval = timings.page_refresh_interval
    content = {
        "name": name,
        "time": time.time(),
        "refresh_interval": interval if status.state in _STARTING else _SLOW_DOWN * interval,
        **_to_json(status),
    }
    return json.dumps(content, ensure_ascii=False)


def _to_json(value: Any) -> Any:  # noqa: ANN401  (any field of a status)
    """Return a value as JSON types: texts are redacted, the names of fields stay."""
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
