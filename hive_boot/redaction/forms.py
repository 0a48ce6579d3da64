"""The texts in which a value can stand in somebody else's message.

A value has parts that give it away by themselves: the password of a URL, the
strings of a JSON document, a line of a key. And a part has spellings: what
``repr``, JSON, a URL, base64 and hex make of it.

Modules are imported and expressions compiled where they are used: many starts use none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hive_boot.redaction.matching import SHORTEST

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = 16
"""Characters from which on one line of a value gives it away."""

_BASE64 = 4
"""Characters of base64 below which they are an everyday syllable."""

_ARMOUR = r"-{4,5} ?(BEGIN|END) [^-]*-{4,5}"
"""What stands around a key, the same for everybody's (RFC 7468, RFC 4716)."""

_SENSITIVE = r"(?i)pass|pwd|secret|token|cred|bearer|signature|(?:key|auth|sig)s?$"
"""What the name of a JSON member or of a URL's parameter has in it when it names a secret."""

_PORT = r"\d+[/?#]"
"""What stands behind the colon of a host."""

_WORDS = r"[A-Za-z]+(?:[ _.-][A-Za-z]+)*"
"""What reads like words: ``service_account``, ``us-east``, ``example.com``."""

_PUBLIC_MEMBERS = frozenset(
    {
        "auth_provider_x509_cert_url",
        "auth_uri",
        "client_email",
        "client_id",
        "client_x509_cert_url",
        "project_id",
        "quota_project_id",
        "token_uri",
        "token_url",
        "type",
        "universe_domain",
    }
)
"""Members of a credentials document that are no secret: addresses, names, what it is.

https://google.aip.dev/auth/4112 and https://google.aip.dev/auth/4117
"""

_PLAIN = r"[A-Za-z0-9_.~-]*"
"""Text that every spelling leaves as it is."""

_ESCAPE = r"%[0-9A-F]{2}"


def forms(value: str | bytes, shortest: int = 1) -> set[str]:
    """Give every text in which ``value``, or a part that gives it away, can stand.

    Args:
        value: the plain value.
        shortest: characters below which a text is left out, white space at its
            ends not counted. Default 1.
    """
    text = value if isinstance(value, str) else value.decode("utf-8", "replace")
    found = set(_encodings(value)) | set(_spellings(text))
    if isinstance(value, bytes):
        found.add(repr(value)[2:-1])
    for part in _parts(text):
        found.update(_spellings(part))
        found.update(_encodings(part))
    for line in _lines(text):
        found.update(_spellings(line))
    # Bytes are often read as Latin-1, those of a header always.
    found |= {_bytes(form).decode("latin-1") for form in found if not form.isascii()}
    return {form for form in found if len(form.strip()) >= shortest}


def _spellings(text: str) -> Iterator[str]:
    """Give what a text is written as: plainly, by ``repr``, in JSON, in a URL."""
    yield text
    yield text.strip()
    if re.fullmatch(_PLAIN, text):
        return
    from json import dumps  # noqa: PLC0415  (see above)
    from urllib.parse import quote, quote_plus  # noqa: PLC0415  (see above)

    raw = _bytes(text)
    yield repr(text)[1:-1]
    yield repr(text + '"')[1:-2]
    yield repr(raw)[2:-1]
    yield dumps(text)[1:-1]
    yield dumps(text, ensure_ascii=False)[1:-1]
    for escaped in (quote(raw), quote(raw, safe=""), quote(raw, safe="!'()*"), quote_plus(raw)):
        yield escaped
        yield re.sub(_ESCAPE, lambda match: match[0].lower(), escaped)


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


def _parts(text: str) -> Iterator[str]:
    """Give what is a secret by itself inside a value."""
    for part in (*passwords(text), *_leaves(text)):
        # What parses a URL ends a password at a character that should have been escaped.
        for piece in (part, re.split("[/?#]", part, maxsplit=1)[0]):
            if len(piece) >= SHORTEST:
                yield piece


def passwords(text: str) -> Iterator[str]:
    """Give the passwords in a URL, as they stand there and as a server receives them."""
    _, is_url, rest = text.strip().partition("://")
    if not is_url:
        return
    from urllib.parse import parse_qsl, unquote  # noqa: PLC0415  (see above)

    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    # Without an `@` in its place, one further on may end a password that was not escaped.
    userinfo = authority.rpartition("@")[0] or rest.rpartition("@")[0]
    password = userinfo.partition(":")[2]
    if password and not re.match(_PORT, password):
        yield password
        yield unquote(password)
    query = rest.partition("?")[2].partition("#")[0]
    for name, word in parse_qsl(query):
        if re.search(_SENSITIVE, name):
            yield word


def _leaves(text: str) -> Iterator[str]:
    """Give the strings in a JSON document that may be secrets, and the secrets in those."""
    todo = [("", member) for member in _members(text)]
    while todo:
        name, it = todo.pop()
        if isinstance(it, dict):
            todo += it.items()
        elif isinstance(it, list):
            todo += [(name, each) for each in it]
        elif isinstance(it, str) and name not in _PUBLIC_MEMBERS:
            if re.search(_SENSITIVE, name) or not re.fullmatch(_WORDS, it):
                yield it
            yield from passwords(it)
            yield from _lines(it)


def _members(text: str) -> list[Any]:
    """Give what a JSON document holds; nothing when it is none, or only a number or a string."""
    if text.lstrip()[:1] not in {"{", "["}:
        return []
    try:
        from json import loads  # noqa: PLC0415  (see above)

        return [loads(text)]
    except (ValueError, RecursionError):
        return []


def _lines(text: str) -> Iterator[str]:
    """Give the lines that give a value away; a JSON document is known by its strings."""
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) > 1 and not _members(text):
        for line in lines:
            if len(line) >= _LINE and not re.fullmatch(_ARMOUR, line):
                yield line


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
