"""Variants of a value: its forms that are not found by decoding a text, such as base64.

The secrets that are embedded in the value have the same forms.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from string import hexdigits
from typing import TYPE_CHECKING

from hive_boot.redaction import MIN_LINE
from hive_boot.redaction.decoding import base64_decoded
from hive_boot.redaction.needles import Hex, Unescaped, Word

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIN_BASE64 = 4
"""Characters of base64 from which on it is hidden; shorter text occurs in ordinary words."""


_LONG = 1 << 16
"""Characters of a value above which it is searched for in fewer forms."""


_HEX = frozenset(hexdigits) | {"-"}
"""Characters of hex digits and of UUIDs: programs write them in either case."""


_STRUCTURE = frozenset('=>:@"{[,;|')
"""Characters, beside blanks, of which every value with a secret inside has one; few keys have."""


_REPRLIB = 30
"""Characters of a text that ``reprlib`` shows, without the middle."""


_PYDANTIC = 50
"""Characters of a ``repr`` that pydantic shows, without the middle."""


_IN_C = 200
"""Characters of a ``repr`` that errors of C code show: the format is ``%.200R``."""


_WRAPPED = (64, 76)
"""Line lengths of wrapped base64 (RFC 7468, RFC 2045)."""


_OFFSETS = ((0, 0), (1, 2), (2, 3))
"""Bytes before a value in a group of three, and the characters of base64 that depend on them."""


def encoded_variants(value: str | bytes, shortest: int = 1, *, has_parts: bool = True) -> set[str]:
    """Return the value, its embedded secrets, and the forms of both that the matcher needs.

    Args:
        value: the plain value.
        shortest: the minimum length of a form, without white space at its ends. Default 1.
        has_parts: whether secrets can be embedded in the value. Default True.
    """
    stripped = value.strip()
    if len(stripped) < shortest:
        return set()
    found = {*_encodings(stripped)}
    if stripped != value and len(value) <= _LONG:
        found.update(_encodings(value))
    texts = _texts(value)
    for text in texts if isinstance(value, str) else texts | _decodings(value):
        found.update([each for each in _plain_variants(text) if len(each.strip()) >= shortest])
    for text in {each.strip() for each in texts} if has_parts else ():
        if _STRUCTURE.isdisjoint(text) and "%20" not in text and text.split(maxsplit=1) == [text]:
            continue
        from hive_boot.redaction.embedded import (  # few values have any
            distinctive_lines,
            embedded_secrets,
        )

        parts = set(embedded_secrets(text))
        for part in parts.union(distinctive_lines(text)):
            found.update([each for each in _plain_variants(part) if len(each.strip()) >= shortest])
        # A document of a megabyte may have ten thousand parts.
        for part in parts if len(value) <= _LONG else ():
            found.update(_encodings(part))
    return found


def _texts(value: str | bytes) -> set[str]:
    """Return the value as text, if it is UTF-8: unchanged, stripped, and decoded."""
    try:
        text = value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError:
        return set()
    # A key in a variable often has its line ends escaped, and the program unescapes them.
    found = {text, text.strip(), text.replace("\\n", "\n")}
    if len(text) <= _LONG:
        found |= {base64_decoded(text)} - {""}
        if "%" in text and any(each in text.upper() for each in ("%22", "%3A", "%3D")):
            from urllib.parse import unquote_plus  # loaded only for values that need it

            # A parameter of a URL may be a connection string.
            found.add(unquote_plus(text))
    return found


def _decodings(value: bytes) -> set[str]:
    """Return the texts that a program may decode bytes to, beside UTF-8."""
    # Python decodes environment variables with surrogateescape (PEP 383).
    utf_8 = {value.decode("utf-8", errors) for errors in ("replace", "surrogateescape")}
    return utf_8 | {value.decode("latin-1")}


def _plain_variants(text: str) -> Iterator[str]:
    """Return a text, and what a program may make of it before it is escaped."""
    yield Word(text) if is_word(text) else text
    yield from _truncated_variants(text)
    if "%" in text:
        from urllib.parse import unquote, unquote_plus  # loaded only for values that need it

        yield from (unquote(text), unquote_plus(text))
    if not text.isascii():
        from unicodedata import normalize  # loaded only for values that need it

        yield from (normalize("NFC", text), normalize("NFD", text))
    if len(text) >= MIN_LINE and _HEX.issuperset(text) and "-" not in text[:8]:
        for written in (text, text.replace("-", "")):
            yield from (written.lower(), written.upper())


def is_word(text: str) -> bool:
    """Return whether a text may be an ordinary word, which longer words contain."""
    return len(text) < MIN_LINE and bool(re.fullmatch(r"[A-Z]?[a-z]{7,14}", text))


def _truncated_variants(text: str) -> Iterator[str]:
    """Return a long text as Python and pydantic shorten it."""
    if len(text) > _REPRLIB:
        # asyncio shows the arguments of a callback in this form.
        written = repr(text[:13] + text[-14:])
        yield f"{written[1:13]}...{written[-14:-1]}"
    written = repr(text)
    if len(written) > _PYDANTIC:
        # pydantic shows an invalid input in this form.
        yield f"{written[1:25]}...{written[-24:-1]}"
    # An error of C code, such as int(), shows it in this form.
    if len(text) >= _IN_C:
        yield written[1:_IN_C]


def _encodings(value: str | bytes) -> list[str]:
    """Return a value in hex, and in base64 at each of the three offsets in a longer text."""
    raw = _bytes(value)
    size, digits = len(raw), raw.hex()
    found: list[str] = [Hex(digits)] if size > 1 else [Unescaped(digits), Unescaped(digits.upper())]
    whole = ""
    for offset, cut in _OFFSETS:
        encoded = b2a_base64(bytes(offset) + raw, newline=False).decode("ascii")
        whole = whole or encoded
        # A character of base64 encodes 6 bits: those that also encode bits of a neighbour are cut.
        core = encoded[cut : (offset + size) * 8 // 6]
        if len(core) >= _MIN_BASE64:
            found += (core, core.replace("+", "-").replace("/", "_"))
    for width in _WRAPPED if _WRAPPED[0] < len(whole) and size <= _LONG else ():
        lines = [whole[start : start + width] for start in range(0, len(whole), width)]
        found += [line.rstrip("=") for line in lines if len(line) >= MIN_LINE and len(lines) > 1]
    return found


def _bytes(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
