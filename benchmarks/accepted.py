"""Accepted maxima of the rows that are over their bound, from the list in ``docs/benchmarks.md``.

A line of the list names a subject, its rows, each with its maximum, and the reason::

    - **access**: `secrets.name` (accepted up to 7). A `SecretSet` has a `__getattr__`.
    - **rotation**: `swap of 10: hive_boot` (accepted up to p99 20 ms). Values are hidden first.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.tables import UNITS

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
"""The document with the list."""

_HEADING = "## Rows over their bound\n"
_LINE = re.compile(r"^- \*\*(\w+)\*\*(.*?)(?=^- |\Z)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"`([^`]+)` \(accepted up to (?:p99 ([\d.]+) (s|ms|µs)|([\d.]+))\)")


def accepted_maxima(text: str) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the accepted maxima by subject and label, as `Table.accept` expects them.

    Args:
        text: the text of the document.
    """
    sizes = {unit: size for size, unit in UNITS["time"]}
    section = text.partition(_HEADING)[2].partition("\n## ")[0]
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for subject, line in _LINE.findall(section):
        for label, tail, unit, ratio in _ROW.findall(" ".join(line.split())):
            maximum = float(ratio or 0), float(tail or 0) * sizes[unit or "s"]
            found.setdefault(subject, {})[label] = maximum
    return found
