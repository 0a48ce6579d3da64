"""What gives a value away by itself: a password in it, a string of it, a line of it.

Modules are imported and expressions compiled where they are used: many starts use none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hive_boot.redaction.matching import MIN_LENGTH

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
    from urllib.parse import unquote_plus  # noqa: PLC0415  (see above)

    for password in passwords(text):
        # What parses a URL ends a password at a character that should have been escaped.
        for piece in (password, re.split("[/?#]", password, maxsplit=1)[0]):
            yield from _long_enough(
                piece, unquote_plus(piece), unquote_plus(piece.replace("+", "%2B"))
            )
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
        name, it = todo.pop()
        if isinstance(it, dict):
            todo += it.items()
        elif isinstance(it, list):
            todo += [(name, each) for each in it]
        elif isinstance(it, str):
            yield from passwords(it)
            yield from distinctive_lines(it)
            todo += [(name, member) for member in _members(it)]
            if not _is_public(name, it, has_names=has_names):
                yield it


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
    todo = [it for _, it in members]
    while todo:
        it = todo.pop()
        if isinstance(it, dict):
            found.update(it)
            todo += it.values()
        elif isinstance(it, list):
            todo += it
    return {name for name in found if not re.search(_PUBLIC, name)}


def _members(text: str) -> list[Any]:
    """Give what one JSON document holds, or several in lines; nothing when it is none."""
    text = text.lstrip("\ufeff \t\r\n")
    if text[:1] not in {"{", "[", '"'}:
        return []
    from json import loads  # noqa: PLC0415  (see above)

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
