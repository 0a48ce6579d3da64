"""Variants of a value: its encoded forms, and those of the secrets that are embedded in it."""

from __future__ import annotations

import re
from binascii import b2a_base64
from reprlib import repr as cut
from typing import TYPE_CHECKING

from hive_boot.redaction.embedded import MIN_LINE, distinctive_lines, embedded_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIN_BASE64 = 4
"""Characters of base64 from which on it is hidden; shorter text occurs in ordinary words."""


_PLAIN = r"[A-Za-z0-9_.-]*"
"""Text that no escape changes."""


_ESCAPE = r"%[0-9A-F]{2}"


_SAFE = ("", "/", "~", "!'()*", "/!#$%&'()*+,:;=?@[]~", "/!$&'()*+,:;=@[\\]^|~%")
"""Characters that encoders of URLs do not escape: RFC 3986, JavaScript, clients, browsers."""


_LONG = 1 << 16
"""Characters of a text above which it is too long for a URL or a page."""


_REPRLIB = 30
"""Characters of a text that ``reprlib`` shows, without the middle."""


_PYDANTIC = 50
"""Characters of a ``repr`` that pydantic shows, without the middle."""


_IN_C = 200
"""Characters of a ``repr`` that errors of C code show: the format is ``%.200R``."""


_WRAPPED = (64, 76)
"""Line lengths of wrapped base64 (RFC 7468, RFC 2045)."""


def encoded_variants(value: str | bytes, shortest: int = 1) -> set[str]:
    """Return the value, its embedded secrets, and the encoded forms of both.

    Args:
        value: the plain value.
        shortest: the minimum length of a form, without white space at its ends. Default 1.
    """
    if len(value.strip()) < shortest:
        return set()
    found = {form for part in {value, value.strip()} for form in _encodings(part)}
    if isinstance(value, str) and re.fullmatch(_PLAIN, value):
        # A token of these characters has no embedded secret, and no escape changes it.
        found.update(_escaped_variants(value))
        return {form for form in found if len(form) >= shortest}
    for text in _decodings(value):
        found.update(_escaped_variants(text))
    for text in _texts(value):
        for part in embedded_secrets(text):
            found.update(_escaped_variants(part))
            found.update(_encodings(part))
        for line in distinctive_lines(text):
            found.update(_escaped_variants(line))
    # Bytes are often decoded as Latin-1; those of an HTTP header always are.
    found |= {_bytes(form).decode("latin-1") for form in found if not form.isascii()}
    return {form for form in found if len(form.strip()) >= shortest}


def _texts(value: str | bytes) -> set[str]:
    """Return the value as text, if it is UTF-8: unchanged, stripped, and with real line ends."""
    try:
        text = value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError:
        return set()
    # A key in a variable often has its line ends escaped, and the program unescapes them.
    return {text, text.strip(), text.replace("\\n", "\n")}


def _decodings(value: str | bytes) -> set[str]:
    """Return the texts that a program may decode the value to."""
    if isinstance(value, str):
        return _texts(value)
    # Python decodes environment variables with surrogateescape (PEP 383).
    utf_8 = {value.decode("utf-8", errors) for errors in ("replace", "surrogateescape")}
    return _texts(value) | utf_8 | {value.decode("latin-1")}


def _escaped_variants(text: str) -> Iterator[str]:
    """Return a text as it is written: plain, by ``repr``, in JSON, in HTML, in a URL."""
    yield text
    yield from _truncated_variants(text)
    if re.fullmatch(_PLAIN, text):
        return
    from json import dumps  # noqa: PLC0415  (loaded only for values that need it)
    from urllib.parse import quote, quote_plus  # noqa: PLC0415  (loaded only for values that need it)

    raw = _bytes(text)
    once = (repr(text)[1:-1], dumps(text)[1:-1], dumps(text, ensure_ascii=False)[1:-1])
    yield from once
    if len(text) > _LONG:
        return
    for written in once:
        # A program that shows an error escapes the text of the error again.
        yield repr(written)[1:-1]
        yield dumps(written)[1:-1]
    yield repr(text + '"')[1:-2]
    yield repr(raw)[2:-1]
    yield repr(raw + b'"')[2:-2]
    yield ascii(text)[1:-1]
    yield ascii(text + '"')[1:-2]
    for written in once[1:]:
        # Some encoders escape what could end a script or begin a comment.
        yield written.replace("/", "\\/")
        yield re.sub("[&<>]", lambda match: f"\\u00{ord(match[0]):02x}", written)
    html = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    yield html
    yield html.replace('"', "&quot;").replace("'", "&#x27;")
    yield html.replace('"', "&#34;").replace("'", "&#39;")
    for safe in _SAFE:
        yield from _either_case(quote(raw, safe=safe))
    yield from _either_case(quote_plus(raw))
    yield from _either_case(quote_plus(raw, safe="*").replace("~", "%7E"))


def _truncated_variants(text: str) -> Iterator[str]:
    """Return a long text as Python and pydantic shorten it."""
    if len(text) > _REPRLIB:
        # asyncio shows the arguments of a callback in this form.
        yield cut(text)[1:-1]
    written = repr(text)
    if len(written) > _PYDANTIC:
        # pydantic shows an invalid input in this form.
        yield f"{written[1:25]}...{written[-24:-1]}"
    # An error of C code, such as int(), shows it in this form.
    if len(text) >= _IN_C:
        yield written[1:_IN_C]


def _either_case(escaped: str) -> tuple[str, str]:
    """Return a text with its escapes in upper and in lower case."""
    return escaped, re.sub(_ESCAPE, lambda match: match[0].lower(), escaped)


def _encodings(value: str | bytes) -> Iterator[str]:
    """Return a value in hex, and in base64 at each of the three offsets in a longer text."""
    raw = _bytes(value)
    yield raw.hex()
    yield raw.hex().upper()
    for offset in range(3):
        encoded = b2a_base64(bytes(offset) + raw, newline=False).decode()
        # A character of base64 encodes 6 bits: those that also encode bits of a neighbour are cut.
        core = encoded[(offset * 8 + 5) // 6 : (offset + len(raw)) * 8 // 6]
        if len(core) >= _MIN_BASE64:
            yield core
            if "+" in core or "/" in core:
                yield core.replace("+", "-").replace("/", "_")
                yield from _either_case(core.replace("+", "%2B").replace("/", "%2F"))
    whole = b2a_base64(raw, newline=False).decode()
    for width in _WRAPPED if len(raw) <= _LONG else ():
        lines = [whole[start : start + width] for start in range(0, len(whole), width)]
        yield from (line.rstrip("=") for line in lines if len(line) >= MIN_LINE and len(lines) > 1)


def _bytes(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
