"""Random values, and the encoders that a text can have been through."""

import json
import random
import string
from base64 import b64encode
from collections.abc import Callable, Iterator
from html import escape
from urllib.parse import quote

import yaml
from markupsafe import escape as markup

PRINTABLE = string.ascii_letters + string.digits + string.punctuation
PUNCTUATION = string.punctuation + " "
RDS = "".join(sorted(set(PRINTABLE) - set("/@\"' ")))
WORDS = ("it's", "Grün", "l'été", "straße", "naïve", "O'Brien", "fenêtre", "señor", "d'Or", "año")


def base64(rng: random.Random) -> str:
    """Return what ``openssl rand -base64`` prints."""
    return b64encode(rng.randbytes(rng.choice((12, 18, 24, 32)))).decode()


def rds(rng: random.Random) -> str:
    """Return a password as a cloud provider creates it."""
    return "".join(rng.choices(RDS, k=rng.choice((16, 24, 32))))


def words(rng: random.Random) -> str:
    """Return words with apostrophes and umlauts."""
    return rng.choice(" -_&").join(rng.choices(WORDS, k=rng.randint(3, 6)))


def dsn(rng: random.Random) -> str:
    """Return the address of a database."""
    return f"postgresql://app:{quote(rds(rng), safe='')}@db.internal:5432/app?sslmode=require"


def printable(rng: random.Random) -> str:
    """Return any printable characters."""
    return "".join(rng.choices(PRINTABLE, k=rng.randint(10, 40)))


GENERATORS: tuple[Callable[[random.Random], str], ...] = (base64, rds, words, dsn, printable)


def leaving(write: Callable[[str], str], alone: str) -> Callable[[str], str]:
    """Return an encoder of single characters that leaves some of them as they are."""
    return lambda text: "".join(
        char if char in alone or (char.isascii() and char.isalnum()) else write(char)
        for char in text
    )


def percent(char: str) -> str:
    """Return a character with its bytes escaped as in a URL."""
    return "".join(f"%{byte:02X}" for byte in char.encode())


SINGLE: dict[str, Callable[[str], str]] = {
    "URL": percent,
    "URL in lower case": lambda char: percent(char).lower(),
    "form": lambda char: "+" if char == " " else percent(char),
    "quoted-printable": lambda char: percent(char).replace("%", "="),
    "JavaScript": lambda char: f"\\u{ord(char):04x}",
    "JavaScript in capitals": lambda char: f"\\u{ord(char):04X}",
    "bytes": lambda char: percent(char).replace("%", "\\x").lower(),
    "bytes in capitals": lambda char: percent(char).replace("%", "\\x"),
    "Latin-1": lambda char: f"\\x{ord(char):02X}",
    "octal": lambda char: "".join(f"\\{byte:03o}" for byte in char.encode()),
    "entity": lambda char: f"&#{ord(char)};",
    "entity in hex": lambda char: f"&#x{ord(char):x};",
    "shell": lambda char: f"\\{char}",
}
"""Encoders of one character."""

WHOLE: dict[str, Callable[[str], str]] = {
    "repr": lambda text: repr(text)[1:-1],
    "ascii": lambda text: ascii(text)[1:-1],
    "repr of bytes": lambda text: repr(text.encode())[2:-1],
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, not ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "HTML": escape,
    "Jinja": lambda text: str(markup(text)),
    "SQL": lambda text: text.replace("'", "''"),
    "CSV": lambda text: text.replace('"', '""'),
    "shell quoting": lambda text: text.replace("'", "'\"'\"'"),
    "shell quoting with a backslash": lambda text: text.replace("'", "'\\''"),
    "format": lambda text: text.replace("{", "{{").replace("}", "}}"),
    "percent doubled": lambda text: text.replace("%", "%%"),
    "YAML": lambda text: yaml.dump(text, default_style='"', width=10**6).strip()[1:-1],
}
"""Encoders of a text."""


def encoders(rng: random.Random) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Yield the encoders; those of characters leave any set of them as they are."""
    for name, write in SINGLE.items():
        alone = "".join(rng.sample(PUNCTUATION, rng.randint(0, len(PUNCTUATION))))
        yield f"{name}, but not {alone}", leaving(write, alone + rng.choice(("", "äöüßéêïñ")))
    yield from WHOLE.items()
