"""Variants of a value: its encoded forms, and the secrets that are embedded in it.

Encoded forms are for example base64, percent-encoding and escapes; embedded secrets are for
example the password in a URL and the lines of a PEM block.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from reprlib import repr as cut
from typing import TYPE_CHECKING, Any

from hive_boot.redaction.matcher import MIN_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIN_LINE = 16
"""Characters from which on one line of a value is hidden by itself."""


_PEM_BOUNDARY = r"-{4,5} ?(BEGIN|END) [^-]*-{4,5}"
"""First or last line of a PEM or SSH2 key, the same for every key (RFC 7468, RFC 4716)."""


_SENSITIVE = r"(?i)pass|pwd|secret|token|cred|bearer|signature|(?:key|auth|sig)s?$"
"""Pattern in the name of a JSON member or a parameter whose value is a secret."""


_PORT = r"\d{1,5}[/?#]"
"""Port after the host of a URL, which is not a password."""


_WORD = r"[A-Za-z][a-z]{,14}"
"""Text that may be an ordinary word."""


_PUBLIC = (
    r"(?i)(?:type|ur[il]|host|hostname|server|domain|region|engine|database|dbname|namespace"
    r"|identifier|project_?id|client_?id|user|username|email|issuer|scopes?|kid|date|version"
    r"|path|file)$"
)
"""End of the names of JSON members that are not secret: addresses, names, types.

They are from Google's credentials (https://google.aip.dev/auth/4112), of AWS Secrets
Manager's database secrets, and of JSON Web Keys (RFC 7517).
"""


_IN_ADDRESS = 20
"""Length from which on a word of letters and digits is a secret also in a public member."""


_KEY_LINE = r"[A-Za-z0-9+/=_-]+"
"""Line of a key between the first and the last one."""


_OPENSSH = "b3BlbnNzaC1rZXktdjEAAAAA"
"""Beginning of every OpenSSH private key, in base64."""


_STRING = r'"((?:[^"\\]|\\.)*)"'


def embedded_secrets(text: str) -> Iterator[str]:
    """Return the secrets inside a value, also as a server decodes them from a URL."""
    for password in passwords(text):
        from urllib.parse import unquote_plus  # noqa: PLC0415  (few values hold a password)

        # A URL parser ends the password at a delimiter that should have been escaped.
        for piece in (password, re.split("[/?#]", password, maxsplit=1)[0]):
            decoded = (piece, unquote_plus(piece), unquote_plus(piece.replace("+", "%2B")))
            # A program may strip the white space at the ends of a password.
            yield from _long_enough(*decoded, *map(str.strip, decoded))
    for leaf in _json_strings(text):
        yield from _long_enough(leaf, leaf.strip())


def _long_enough(*parts: str) -> Iterator[str]:
    return (part for part in parts if len(part.strip()) >= MIN_LENGTH)


def passwords(text: str) -> Iterator[str]:
    """Return the passwords in URLs and in ``name=value`` lists, as they are written."""
    for pair in re.split(r"[;&?\s]", text):
        name, _, word = pair.partition("=")
        # A path is not a secret, as in sslkey=/etc/ssl/client.key.
        if word and not word.startswith("/") and re.search(_SENSITIVE, name):
            yield word
    for url in {text.strip(), *re.split(r"[\s,]+", text)}:
        rest = url.partition("://")[2]
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        # A password that was not escaped may contain a delimiter: use the last `@` too.
        for userinfo in {authority.rpartition("@")[0], rest.rpartition("@")[0]}:
            name, _, password = userinfo.partition(":")
            if "/" in name:
                continue
            if password and not re.match(_PORT, password):
                yield password
            if len(name) >= _MIN_LINE:
                # A token can be the user name, as in https://TOKEN@host.
                yield name


def _json_strings(text: str) -> Iterator[str]:
    """Return the strings in a JSON document that may be secrets, and the secrets inside them."""
    todo = [("", member) for member in _members(text)]
    names = _names(todo)
    has_names = any(re.search(_SENSITIVE, name) for name in names)
    yield from (name for name in names if len(name) >= _MIN_LINE and re.search(r"\d", name))
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
    """Check whether a string in a JSON document is not a secret.

    Args:
        name: the name of its member.
        leaf: the string.
        has_names: whether a member of the document has the name of a secret; then an ordinary
            word in a member of another name is public.
    """
    if re.search(_PUBLIC, name):
        words = re.findall(r"[\w-]+", leaf)
        return not any(
            len(word) >= _IN_ADDRESS and re.search(r"\d", word) and re.search("[A-Za-z]", word)
            for word in words
        )
    return has_names and not re.search(_SENSITIVE, name) and bool(re.fullmatch(_WORD, leaf))


def _names(members: list[tuple[str, Any]]) -> set[str]:
    """Return the names of all members except the public ones."""
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
    """Return the parsed JSON document, or one for each line; nothing if the text is not JSON."""
    text = text.lstrip("\ufeff \t\r\n")
    if text[:1] not in {"{", "[", '"'}:
        return []
    from json import loads  # noqa: PLC0415  (many values are not JSON)

    try:
        return [loads(text)]
    except ValueError:
        pass
    except RecursionError:
        # The nesting exceeds the recursion limit; only the strings are needed.
        return [string.replace("\\", "") for string in re.findall(_STRING, text)]
    try:
        return [loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return []


def distinctive_lines(text: str) -> Iterator[str]:
    """Return the lines that are hidden by themselves; none of a JSON document or a single line."""
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) <= 1 or _members(text):
        return
    is_key = any(re.fullmatch(_PEM_BOUNDARY, line) for line in lines)
    for line in lines:
        if len(line) >= _MIN_LINE and not (is_key and _is_common(line)):
            yield line


def _is_common(line: str) -> bool:
    """Check whether a line of a key is not secret: a boundary, a header, OpenSSH's first line."""
    return not re.fullmatch(_KEY_LINE, line) or line.startswith(_OPENSSH)


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
        yield from (line.rstrip("=") for line in lines if len(line) >= _MIN_LINE and len(lines) > 1)


def _bytes(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
