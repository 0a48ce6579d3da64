"""Embedded secrets: the parts of a value that are secrets by themselves.

Examples are the password in a URL, the members of a JSON document and the lines of a PEM block.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hive_boot.redaction.matcher import MIN_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_LINE = 16
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
            if len(name) >= MIN_LINE:
                # A token can be the user name, as in https://TOKEN@host.
                yield name


def _json_strings(text: str) -> Iterator[str]:
    """Return the strings in a JSON document that may be secrets, and the secrets inside them."""
    todo = [("", member) for member in _members(text)]
    names = _names(todo)
    has_names = any(re.search(_SENSITIVE, name) for name in names)
    yield from (name for name in names if len(name) >= MIN_LINE and re.search(r"\d", name))
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
        if len(line) >= MIN_LINE and not (is_key and _is_common(line)):
            yield line


def _is_common(line: str) -> bool:
    """Check whether a line of a key is not secret: a boundary, a header, OpenSSH's first line."""
    return not re.fullmatch(_KEY_LINE, line) or line.startswith(_OPENSSH)
