"""Text without the secrets in it.

A person's error message is not ours to trust: a check, a configuration class or
a parser may put a value into it, as it is or in another form. This room knows
the forms and takes them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MASK = "***"
"""What stands where a value stood."""


_LINE = 16
"""Characters from which on one line of a value gives it away; PEM armour gives nothing."""


def forms(value: str | bytes) -> set[str]:
    """Give every text in which a value could stand in a message.

    The value itself and each of its long lines, what ``repr`` and JSON make of it,
    URL-encoded, hex, and base64 in the three ways in which it can begin inside a
    longer text.
    """
    # Only a failure needs them, and every start would wait for them.
    from json import dumps  # noqa: PLC0415
    from urllib.parse import quote, quote_plus  # noqa: PLC0415

    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    text = value if isinstance(value, str) else raw.decode("utf-8", "replace")
    found = {
        text,
        text.strip(),
        repr(text)[1:-1],
        repr(text + '"')[1:-2],
        repr(raw)[2:-1],
        dumps(text)[1:-1],
        dumps(text, ensure_ascii=False)[1:-1],
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
        raw.hex(),
        raw.hex().upper(),
    }
    lines = (line.strip() for line in text.splitlines())
    found |= {line for line in lines if len(line) >= _LINE and not line.startswith("-----")}
    found |= _base64_cores(raw)
    return {form for form in found if form}


def _base64_cores(raw: bytes) -> set[str]:
    """Give the characters of the base64 of ``raw`` that its neighbours cannot change."""
    from binascii import b2a_base64  # noqa: PLC0415  (as above)

    cores = set()
    for offset in range(3):
        encoded = b2a_base64(bytes(offset) + raw, newline=False).decode()
        # A character of base64 holds 6 bits: those that mix in a neighbour's bits are cut.
        first = (offset * 8 + 5) // 6
        last = (offset + len(raw)) * 8 // 6
        core = encoded[first:last]
        if len(core) >= 4:  # noqa: PLR2004  (shorter ones are everyday syllables)
            cores |= {core, core.replace("+", "-").replace("/", "_")}
    return cores


def scrub(text: str, values: Iterable[str | bytes]) -> str:
    """Replace every form of every value in ``text`` by ``***``."""
    spans = sorted(span for value in values for form in forms(value) for span in _spans(text, form))
    kept, end = [], 0
    # Hits that overlap are one: replacing the first alone would leave a part of the next.
    for start, stop in spans:
        if start >= end:
            kept += [text[end:start], MASK]
        end = max(end, stop)
    return "".join(kept) + text[end:]


def _spans(text: str, form: str) -> Iterator[tuple[int, int]]:
    """Give the places that ``form`` covers; hits of a form that overlap itself are one."""
    at = text.find(form)
    while at >= 0:
        start = at
        while (further := text.rfind(form, at + 1, at + 2 * len(form) - 1)) > at:
            at = further
        yield start, at + len(form)
        at = text.find(form, at + len(form))
