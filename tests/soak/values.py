"""Values of the soak: each identifies its secret and set, and shows whether it is whole.

The first digit of a tag is its scenario: what the application does with this value.
"""

import hashlib
import re
from collections.abc import Iterable

VOLUME = (
    "api_key",
    "blob",
    "ca",
    "certificate",
    "private_key",
    "signing_key",
    "spare",
    *(f"other_{number}" for number in range(1, 7)),
)
"""The secrets in the volume: each set of them has one tag."""

PLAIN = ("password", "token", "note")
"""The secrets in the plain directory: each is written by itself."""

OPTIONAL = ("spare", "note")

LATE = "signing_key"
"""The one that comes into use after the others, and stays accepted for a while."""

FILES = {"ca": "tls/ca.pem"}
"""The files that are not called as the secret is."""

GOOD, REFUSED, UNJUDGED, HOOK_RAISES, HOOK_HANGS = range(5)
"""Moods: all is well, a check refuses, a check hangs, a hook raises, a hook hangs."""

_SCENARIO = 10_000_000
_WHOLE = re.compile(r"fake-([a-z_0-9]+)-(\d{8})-([0-9a-f]{32})")


def make_tag(number: int, scenario: int = GOOD) -> int:
    """Return the tag of one set, or of one value."""
    return scenario * _SCENARIO + number


def scenario_of(tag: int) -> int:
    """Return the scenario of a tag: how the application reacts to a value with it."""
    return tag // _SCENARIO


def make_value(field: str, tag: int) -> str:
    """Return a value that reveals if it was cut or belongs to another secret."""
    return f"fake-{field}-{tag:08}-{_digest(field, f'{tag:08}')}"


def tag_of(field: str, text: str) -> int | None:
    """Return the tag of a value; None if the value is not whole."""
    match = _WHOLE.fullmatch(text)
    if match is None or match[1] != field or match[3] != _digest(field, match[2]):
        return None
    return int(match[2])


def make_set(tag: int, fields: Iterable[str] = VOLUME) -> dict[str, str | bytes]:
    """Return the content of the volume, by file."""
    return {FILES.get(field, field): make_value(field, tag) for field in fields}


def _digest(field: str, tag: str) -> str:
    return hashlib.sha256(f"{field} {tag}".encode()).hexdigest()[:32]
