"""Status page: its static files, and the status that its script loads as JSON."""

from __future__ import annotations

import json
import os
import time
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
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
    """Return every field of a status, the process, the time and the refresh interval as JSON.

    Args:
        name: the name of the application.
        status: the current status.
        timings: contains the refresh interval during a start.
    """
    interval = timings.page_refresh_interval
    content = {
        "name": name,
        "version": _version_of(status.package),
        "process": _to_json(_describe_process()),
        "time": time.time(),
        "refresh_interval": interval if status.state in _STARTING else _IDLE_FACTOR * interval,
        **_to_json(status),
    }
    return json.dumps(content, ensure_ascii=False)


@cache
def _version_of(package: str) -> str:
    """Return the version of the distribution with the name of a package; empty if not installed."""
    try:
        return version(package)
    except (PackageNotFoundError, ValueError):
        return ""


_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""File in each pod that has a service account token."""


def _describe_process() -> dict[str, str | int]:
    """Return what identifies this process; the pod is empty outside Kubernetes.

    The host name of a pod without ``hostNetwork`` is its name:
    https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
    """
    host = os.uname().nodename
    try:
        pod = f"{_NAMESPACE.read_text('utf-8').strip()}/{host}"
    except OSError:
        pod = host if "KUBERNETES_SERVICE_HOST" in os.environ else ""
    return {"host": host, "pod": pod, "pid": os.getpid(), "hive_boot": version("hive_boot")}


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
