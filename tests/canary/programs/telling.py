"""Encoded forms of values, as applications write them by accident."""

import json
import logging
import os
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from hive_boot import Secret, SecretBytes, SecretSet

KINDS = ("jwt_secret", "keystore", "signing_key", "database_url", "service_account", "passphrase")
"""One field of each kind."""


def spellings(value: str | bytes) -> dict[str, None]:
    """Return every encoded form of a value, without duplicates, because each takes time."""
    return dict.fromkeys(_written(value))


def _written(value: str | bytes) -> Iterator[str]:
    raw = value.encode() if isinstance(value, str) else value
    yield f"{value!r}"
    yield f"{raw!r}"
    yield raw.hex()
    yield raw.hex().upper()
    for before in (b"", b"u:", b"user:"):
        yield f"Authorization: Basic {b64encode(before + raw).decode()}"
        yield urlsafe_b64encode(before + raw + b":more").decode()
    yield f"https://api.invalid/{quote(raw)}"
    yield f"https://api.invalid/{quote(raw, safe='')}"
    yield f"https://api.invalid/?{urlencode({'key': raw})}"
    yield f"a header: {raw.decode('latin-1')}"
    if isinstance(value, bytes):
        yield os.fsdecode(value)
        yield value.decode(errors="replace")
        return
    yield value
    yield value.strip()
    yield f"{value!a}"
    yield json.dumps({"password": value})
    yield json.dumps({"password": value}, ensure_ascii=False)
    yield from _parts(value)


def _parts(value: str) -> Iterator[str]:
    if "://" in value and (password := urlsplit(value).password):
        yield f"cannot log in with {password}"
        yield f"cannot log in with {unquote(password)}"
        yield f"cannot log in with {b64encode(unquote(password).encode()).decode()}"
    if value.startswith("{"):
        document = json.loads(value)
        yield json.dumps(document, indent=2)
        for member in (document["private_key"], document["more"][0]["refresh_token"]):
            yield repr(member)
            yield member
    if value.startswith("-----BEGIN"):
        for line in value.splitlines()[1:-1]:
            yield f"cannot decode {line}"


def everything(value: str | bytes) -> str:
    """Return every encoded form of a value in one text."""
    return " | ".join(spellings(value))


def revealed(secrets: SecretSet) -> Iterator[str | bytes]:
    """Yield the plain values of all secrets."""
    values: dict[str, Any] = vars(secrets)
    for value in values.values():
        if isinstance(value, Secret | SecretBytes):
            yield value.reveal()


def all_of(secrets: SecretSet) -> str:
    """Return every encoded form of all secrets in one text."""
    return " | ".join(map(everything, revealed(secrets)))


def plainly(secrets: SecretSet) -> str:
    """Return all secrets unencoded in one text, for what is encoded again."""
    return " | ".join(os.fsdecode(value) for value in revealed(secrets))


def log_to_files() -> None:
    """Log everything to stderr, and to a file in ``LOG_DIR``."""
    root = logging.getLogger()
    root.setLevel("DEBUG")
    root.addHandler(logging.StreamHandler())
    file = logging.FileHandler(Path(os.environ["LOG_DIR"]) / "log.txt", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(file)
