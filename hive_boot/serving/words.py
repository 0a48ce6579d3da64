"""Words for the page: spans of time, and names that may be broken between lines."""

from __future__ import annotations

from html import escape

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
