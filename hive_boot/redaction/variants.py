"""Variants of a value: its encoded forms, and the secrets that are embedded in it.

Encoded forms are base64, percent-encoding, escapes and the like; embedded secrets are the
password in a URL, the lines of a PEM block and the like.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hive_boot.redaction.matcher import MIN_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = 16
"""Characters from which on one line of a value gives it away."""


_MANY = 2
"""Lines from which on a text has lines."""


_PEM_BOUNDARY = r"-{4,5} ?(BEGIN|END) [^-]*-{4,5}"
"""What stands around a key, the same for everybody's (RFC 7468, RFC 4716)."""


_SENSITIVE = r"(?i)pass|pwd|secret|token|cred|bearer|signature|(?:key|auth|sig)s?$"
"""What the name of a JSON member or of a parameter has in it when it names a secret."""


_PORT = r"\d{1,5}[/?#]"
"""What stands behind the colon of a host."""


_WORD = r"[A-Za-z][a-z]{,14}"
"""What may be an everyday word."""


_PUBLIC = (
    r"(?i)(?:type|ur[il]|host|hostname|server|domain|region|engine|database|dbname|namespace"
    r"|identifier|project_?id|client_?id|user|username|email|issuer|scopes?|kid|date|version"
    r"|path|file)$"
)
"""How the names of members end that are no secret: addresses, names, what it is.

They are those of Google's credentials (https://google.aip.dev/auth/4112), of AWS Secrets
Manager's for databases, and of JSON Web Keys (RFC 7517).
"""


_IN_ADDRESS = 20
"""Letters and digits in a row from which on they are a secret although they are in an address."""


_KEY_LINE = r"[A-Za-z0-9+/=_-]+"
"""A line of a key between its armour."""


_OPENSSH = "b3BlbnNzaC1rZXktdjEAAAAA"
"""What the first line of every key of OpenSSH begins with."""


_STRING = r'"((?:[^"\\]|\\.)*)"'


def embedded_secrets(text: str) -> Iterator[str]:
    """Give what is a secret by itself inside a value, also as a server receives it."""
    for password in passwords(text):
        from urllib.parse import unquote_plus  # noqa: PLC0415  (few values hold a password)

        # What parses a URL ends a password at a character that should have been escaped.
        for piece in (password, re.split("[/?#]", password, maxsplit=1)[0]):
            read = (piece, unquote_plus(piece), unquote_plus(piece.replace("+", "%2B")))
            # A program may strip the white space that ends a password.
            yield from _long_enough(*read, *map(str.strip, read))
    for leaf in _json_strings(text):
        yield from _long_enough(leaf, leaf.strip())


def _long_enough(*parts: str) -> Iterator[str]:
    return (part for part in parts if len(part.strip()) >= MIN_LENGTH)


def passwords(text: str) -> Iterator[str]:
    """Give the passwords in URLs and in a list of settings, as they stand there."""
    for pair in re.split(r"[;&?\s]", text):
        name, _, word = pair.partition("=")
        # A path, as in sslkey=/etc/ssl/client.key, leads to a secret and is none.
        if word and not word.startswith("/") and re.search(_SENSITIVE, name):
            yield word
    for url in {text.strip(), *re.split(r"[\s,]+", text)}:
        rest = url.partition("://")[2]
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        # The `@` may be further on, behind a password that was not escaped.
        for userinfo in {authority.rpartition("@")[0], rest.rpartition("@")[0]}:
            name, _, password = userinfo.partition(":")
            if "/" in name:
                continue
            if password and not re.match(_PORT, password):
                yield password
            if len(name) >= _LINE:
                # A token may stand there.
                yield name


def _json_strings(text: str) -> Iterator[str]:
    """Give the strings in a JSON document that may be secrets, and the secrets in those."""
    todo = [("", member) for member in _members(text)]
    names = _names(todo)
    has_names = any(re.search(_SENSITIVE, name) for name in names)
    yield from (name for name in names if len(name) >= _LINE and re.search(r"\d", name))
    while todo:
        name, member = todo.pop()
        if isinstance(member, dict):
            todo += member.items()
        elif isinstance(member, list):
            todo += [(name, each) for each in member]
        elif isinstance(member, str):
            yield from passwords(member)
            yield from distinctive_lines(member)
            todo += [(name, nested) for nested in _members(member)]
            if not _is_public(name, member, has_names=has_names):
                yield member


def _is_public(name: str, leaf: str, *, has_names: bool) -> bool:
    """Tell that a string in a JSON document is no secret.

    Args:
        name: the name of the member that it is.
        leaf: the string.
        has_names: whether secrets have names in this document: then a word under another
            name is only a word.
    """
    if re.search(_PUBLIC, name):
        words = re.findall(r"[\w-]+", leaf)
        return not any(
            len(word) >= _IN_ADDRESS and re.search(r"\d", word) and re.search("[A-Za-z]", word)
            for word in words
        )
    return has_names and not re.search(_SENSITIVE, name) and bool(re.fullmatch(_WORD, leaf))


def _names(members: list[tuple[str, Any]]) -> set[str]:
    """Give the names of all members but the public ones."""
    found: set[str] = set()
    todo = [member for _, member in members]
    while todo:
        member = todo.pop()
        if isinstance(member, dict):
            found.update(member)
            todo += member.values()
        elif isinstance(member, list):
            todo += member
    return {name for name in found if not re.search(_PUBLIC, name)}


def _members(text: str) -> list[Any]:
    """Give what one JSON document holds, or several in lines; nothing when it is none."""
    text = text.lstrip("\ufeff \t\r\n")
    if text[:1] not in {"{", "[", '"'}:
        return []
    from json import loads  # noqa: PLC0415  (many values are not JSON)

    try:
        return [loads(text)]
    except ValueError:
        pass
    except RecursionError:
        # It is nested deeper than Python goes: its strings are all that is needed.
        return [string.replace("\\", "") for string in re.findall(_STRING, text)]
    try:
        return [loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return []


def distinctive_lines(text: str) -> Iterator[str]:
    """Give the lines that give a value away; a JSON document is known by its strings."""
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) < _MANY or _members(text):
        return
    is_key = any(re.fullmatch(_PEM_BOUNDARY, line) for line in lines)
    for line in lines:
        if len(line) >= _LINE and not (is_key and _is_common(line)):
            yield line


def _is_common(line: str) -> bool:
    """Tell that a line of a key is armour, a header, or begins as those of everybody do."""
    return not re.fullmatch(_KEY_LINE, line) or line.startswith(_OPENSSH)


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
    found = {form for part in {value, value.strip()} for form in _encodings(part)}
    if isinstance(value, str) and re.fullmatch(_PLAIN, value):
        # Nothing is embedded in a token, and nothing in it is ever escaped.
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
    from json import dumps  # noqa: PLC0415  (a declaration needs none)
    from urllib.parse import quote, quote_plus  # noqa: PLC0415  (a declaration needs none)

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
        from reprlib import repr as cut  # noqa: PLC0415  (few values are that long)

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
    from binascii import b2a_base64  # noqa: PLC0415  (a declaration needs none)

    raw = _bytes(value)
    yield raw.hex()
    yield raw.hex().upper()
    for offset in range(3):
        encoded = b2a_base64(bytes(offset) + raw, newline=False).decode()
        # A character of base64 holds 6 bits: those that mix in a neighbour's bits are cut.
        core = encoded[(offset * 8 + 5) // 6 : (offset + len(raw)) * 8 // 6]
        if len(core) >= _BASE64:
            yield core
            if "+" in core or "/" in core:
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
