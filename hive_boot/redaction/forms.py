"""The texts in which a value can stand in somebody else's message.

A value has parts that give it away by themselves. And a part has spellings: what
``repr``, JSON, a URL, base64 and hex make of it.

Modules are imported and expressions compiled where they are used: many starts use none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hive_boot.redaction.parts import distinctive_lines, embedded_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = 16
"""Characters from which on a line of base64 gives a value away."""

_BASE64 = 4
"""Characters of base64 below which they are an everyday syllable."""

_PLAIN = r"[A-Za-z0-9_.-]*"
"""Text that every spelling leaves as it is."""

_ESCAPE = r"%[0-9A-F]{2}"

_SAFE = ("", "/", "~", "!'()*", "/!#$%&'()*+,:;=?@[]~", "/!$&'()*+,:;=@[\\]^|~%")
"""What is left alone by those who write a URL: RFC 3986, JavaScript, clients, browsers."""

_LONG = 1 << 16
"""Characters of a text from which on nobody puts it into a URL or a page."""

_REPRLIB = 30
"""Characters of a text that ``reprlib`` shows, the middle left out."""

_PYDANTIC = 50
"""Characters of a ``repr`` that pydantic shows, the middle left out."""

_IN_C = 200
"""Characters of a ``repr`` that errors raised in C show: the format is ``%.200R``."""

_WRAPPED = (64, 76)
"""The lengths of the lines that base64 is broken into (RFC 7468, RFC 2045)."""


def encoded_variants(value: str | bytes, shortest: int = 1) -> set[str]:
    """Give every text in which ``value``, or a part that gives it away, can stand.

    Args:
        value: the plain value.
        shortest: characters below which a text is left out, white space at its
            ends not counted. Default 1.
    """
    if len(value.strip()) < shortest:
        return set()
    found = {*_encodings(value), *_encodings(value.strip())}
    for text in _decodings(value):
        found.update(_escaped_variants(text))
    for text in _texts(value):
        for part in embedded_secrets(text):
            found.update(_escaped_variants(part))
            found.update(_encodings(part))
        for line in distinctive_lines(text):
            found.update(_escaped_variants(line))
    # Bytes are often read as Latin-1, those of a header always.
    found |= {_bytes(form).decode("latin-1") for form in found if not form.isascii()}
    return {form for form in found if len(form.strip()) >= shortest}


def _texts(value: str | bytes) -> set[str]:
    """Give the text that a value is, if it is one."""
    try:
        text = value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError:
        return set()
    # A key in a variable often has its line ends written out, and is used with real ones.
    return {text, text.strip(), text.replace("\\n", "\n")}


def _decodings(value: str | bytes) -> set[str]:
    """Give the texts that a value is taken for."""
    if isinstance(value, str):
        return _texts(value)
    # The second is what Python makes of the bytes of a variable (PEP 383).
    utf_8 = {value.decode("utf-8", errors) for errors in ("replace", "surrogateescape")}
    return _texts(value) | utf_8 | {value.decode("latin-1")}


def _escaped_variants(text: str) -> Iterator[str]:
    """Give what a text is written as: plainly, by ``repr``, in JSON, in HTML, in a URL."""
    yield text
    yield from _truncated_variants(text)
    if re.fullmatch(_PLAIN, text):
        return
    from json import dumps  # noqa: PLC0415  (see above)
    from urllib.parse import quote, quote_plus  # noqa: PLC0415  (see above)

    raw = _bytes(text)
    once = (repr(text)[1:-1], dumps(text)[1:-1], dumps(text, ensure_ascii=False)[1:-1])
    yield from once
    if len(text) > _LONG:
        return
    for written in once:
        # An error's text is written once more by who shows the error.
        yield repr(written)[1:-1]
        yield dumps(written)[1:-1]
    yield repr(text + '"')[1:-2]
    yield repr(raw)[2:-1]
    yield repr(raw + b'"')[2:-2]
    yield ascii(text)[1:-1]
    yield ascii(text + '"')[1:-2]
    for written in once[1:]:
        # Some escape what could end a script, or begin a comment.
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
    """Give what is left of a long text where Python itself cuts it."""
    if len(text) > _REPRLIB:
        from reprlib import repr as cut  # noqa: PLC0415  (see above)

        # asyncio shows the arguments of a call so.
        yield cut(text)[1:-1]
    written = repr(text)
    if len(written) > _PYDANTIC:
        # What pydantic shows of an input.
        yield f"{written[1:25]}...{written[-24:-1]}"
    # The text of an error that is raised in C, as by int().
    if len(text) >= _IN_C:
        yield written[1:_IN_C]


def _either_case(escaped: str) -> tuple[str, str]:
    """Give a text with its escapes in upper and in lower case."""
    return escaped, re.sub(_ESCAPE, lambda match: match[0].lower(), escaped)


def _encodings(value: str | bytes) -> Iterator[str]:
    """Give what a value is encoded as: hex, and base64 wherever it may begin in a longer text."""
    from binascii import b2a_base64  # noqa: PLC0415  (see above)

    raw = _bytes(value)
    yield raw.hex()
    yield raw.hex().upper()
    for offset in range(3):
        encoded = b2a_base64(bytes(offset) + raw, newline=False).decode()
        # A character of base64 holds 6 bits: those that mix in a neighbour's bits are cut.
        core = encoded[(offset * 8 + 5) // 6 : (offset + len(raw)) * 8 // 6]
        if len(core) >= _BASE64:
            yield core
            yield core.replace("+", "-").replace("/", "_")
            yield from _either_case(core.replace("+", "%2B").replace("/", "%2F"))
    whole = b2a_base64(raw, newline=False).decode()
    for width in _WRAPPED if len(raw) <= _LONG else ():
        lines = [whole[start : start + width] for start in range(0, len(whole), width)]
        yield from (line.rstrip("=") for line in lines if len(line) >= _LINE and len(lines) > 1)


def _bytes(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
