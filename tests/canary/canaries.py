"""Canaries of this run, and their encoded forms.

The forms are implemented with the standard library alone, and not with the package's code,
which would miss the same ones.

"""

import json
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from secrets import token_hex
from urllib.parse import quote, quote_plus, unquote, urlsplit

from tests.canary.programs.declared import Canaries

_SHORTEST = 8
"""A shorter form may be an ordinary word, and is not guaranteed to be hidden."""

_LONG_LINE = 16


def _words(name: str) -> str:
    """Return a value that is visibly fake, and is in no text by chance."""
    return f"canary-{name.lower().replace('_', '-')}-{token_hex(10)}"


def _pem(name: str) -> str:
    lines = "\n".join(_words(f"{name}-line-{number}") for number in range(3))
    return f"-----BEGIN FAKE KEY-----\n{lines}\n-----END FAKE KEY-----\n"


def _document(name: str) -> str:
    members = {
        "type": "service_account",
        "private_key": _pem(name),
        "client_secret": f'{_words(name)} "quoted" \\ ä',
        "more": [{"refresh_token": _words(name)}],
    }
    return json.dumps(members)


_SPECIAL: dict[str, Callable[[str], str | bytes]] = {
    "KEYSTORE": lambda name: _words(name).encode() + b"\xff\xfe" + _words(name).encode(),
    "SIGNING_KEY": _pem,
    "DATABASE_URL": lambda name: f"postgresql://canary:{_words(name)}%40%2F@db.invalid:5432/x",
    "SERVICE_ACCOUNT": _document,
    "PASSPHRASE": lambda name: f" {_words(name)} 'it' \"is\" \\ + ä/ö ",
}


@dataclass(frozen=True, slots=True)
class Canary:
    """A value that must not appear in any output.

    Attributes:
        name: the environment variable of its secret.
        value: the value.
        forms: the texts to look for, each with its description.
    """

    name: str
    value: str | bytes = field(repr=False)
    forms: dict[str, str] = field(repr=False)

    @property
    def variable(self) -> str:
        """The value as an environment variable."""
        return self.value if isinstance(self.value, str) else os.fsdecode(self.value)


def make(name: str, value: str | bytes | None = None) -> Canary:
    """Create a canary; without a value, one of the kind that suits its name."""
    if value is None:
        value = _SPECIAL.get(name, _words)(name)
    return Canary(name, value, dict(_forms(value)))


def _forms(value: str | bytes) -> Iterator[tuple[str, str]]:
    """Yield each text to look for, with its description; no text twice."""
    known = set()
    for what, part in _parts(value):
        for how, text in _spellings(part):
            if text not in known and len(text.strip()) >= _SHORTEST:
                known.add(text)
                yield text, f"{what} {how}"


def _parts(value: str | bytes) -> Iterator[tuple[str, str | bytes]]:
    """Yield a value, and its parts that must be hidden on their own."""
    yield "the value", value
    text = value if isinstance(value, str) else value.decode("latin-1")
    for run in re.findall("[0-9a-f]{20}", text):
        # No encoding changes these digits, so they reveal a form that is not listed here.
        yield "its random part", run
    if isinstance(value, bytes):
        return
    if password := urlsplit(value).password if "://" in value else None:
        yield "its password", password
        yield "its password", unquote(password)
    leaves = list(_leaves(value))
    for leaf in leaves:
        yield "a member", leaf
    for text in leaves or [value]:
        lines = text.splitlines()
        for line in lines if len(lines) > 1 else []:
            if len(line) >= _LONG_LINE and not line.startswith("-----"):
                yield "a line", line


def _leaves(text: str) -> Iterator[str]:
    """Yield the secret strings of a JSON document."""
    if not text.startswith("{"):
        return

    def visit(node: object) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict | list):
            for member in node.values() if isinstance(node, dict) else node:
                yield from visit(member)

    yield from (leaf for leaf in visit(json.loads(text)) if "canary-" in leaf)


def _spellings(part: str | bytes) -> Iterator[tuple[str, str]]:
    raw = part if isinstance(part, bytes) else part.encode()
    if isinstance(part, str):
        yield "plainly", part
        yield "without the space around it", part.strip()
        yield "as a repr", repr(part)[1:-1]
        yield "as a repr in double quotes", repr(f"{part}'")[1:-2]
        yield "as a repr in single quotes", repr(f'{part}"')[1:-2]
        yield "as an ASCII repr", ascii(part)[1:-1]
        yield "in JSON", json.dumps(part)[1:-1]
        yield "in JSON", json.dumps(part, ensure_ascii=False)[1:-1]
    yield "as the repr of bytes", repr(raw)[2:-1]
    yield "as Latin-1", raw.decode("latin-1")
    yield "as the system's text", os.fsdecode(raw)
    yield "as the system's text", os.fsdecode(raw).encode(errors="backslashreplace").decode()
    yield "with replacements", raw.decode(errors="replace")
    yield "with backslashes", raw.decode(errors="backslashreplace")
    yield "in hex", raw.hex()
    yield "in capital hex", raw.hex().upper()
    for escape in (quote, quote_plus, partial(quote, safe=""), partial(quote, safe="!'()*")):
        yield "in a URL", escape(raw)
        yield "in a URL", re.sub("%..", lambda found: found[0].lower(), escape(raw))
    for number in range(3):
        text = _base64(raw, number)
        yield "in base64", text
        yield "in base64", text.translate(str.maketrans("+/", "-_"))


def _base64(raw: bytes, before: int) -> str:
    """Return the base64 of ``raw`` that does not depend on the bytes around it."""
    one, other = (
        b64encode(neighbour * before + raw + neighbour * 3).decode()
        for neighbour in (b"\0", b"\xff")
    )
    common = "".join(a if a == b else " " for a, b in zip(one, other, strict=True))
    return max(common.split(), key=len)


CANARIES = [make(each.name) for each in Canaries._field_index.all_fields]
"""One for each declared secret."""

ENVIRONMENT = {canary.name: canary.variable for canary in CANARIES}
"""The environment variables of all canaries."""


def search(outputs: Iterable[tuple[str, str]], canaries: Iterable[Canary]) -> list[str]:
    """Return a description of every canary that was found: its name, the output, the forms.

    Args:
        outputs: texts, each with its origin.
        canaries: the canaries to look for.
    """
    listed = list(canaries)
    found: dict[tuple[str, str], dict[str, None]] = {}
    for label, output in outputs:
        for canary in listed:
            forms = [how for text, how in canary.forms.items() if text in output]
            if forms:
                found.setdefault((canary.name, label), {}).update(dict.fromkeys(forms))
    return sorted(f"{name} in {label}: {', '.join(how)}" for (name, label), how in found.items())
