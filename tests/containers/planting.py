"""Secrets where a developer has them, which no image may hold."""

from mmap import mmap
from pathlib import Path

_PLACES = (
    *(".env", ".env.local", "examples/hive/.env", "examples/hive/.env.local"),
    *("secrets/openai_api_key", "deploy/secrets/hive_api_key", "examples/hive/secrets/jwt_secret"),
    *(".git/config", ".venv/pip.conf", "examples/hive/hive.db"),
)

_PLANTED = "fake-secret-of-the-working-copy"

KNOWN = b"fake-text-that-the-image-has"
"""It is planted in the source, so whoever searches well finds it."""


def plant(context: Path) -> None:
    """Put a secret into each place, and what has to be found into the source."""
    for number, name in enumerate(_PLACES):
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"OPENAI_API_KEY={_PLANTED}-{number}\n")
    with (context / "examples" / "hive" / "__init__.py").open("a") as file:
        file.write(f"\n# {KNOWN.decode()}\n")


def found(archive: mmap) -> list[str]:
    """Name the places whose secret is in an archive, which has to be uncompressed."""
    return [
        name
        for number, name in enumerate(_PLACES)
        if archive.find(f"{_PLANTED}-{number}\n".encode()) >= 0
    ]
