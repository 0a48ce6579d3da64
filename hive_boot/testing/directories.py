"""A plain directory, whose files are written one at a time."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING

from hive_boot.testing.content import encoded

if TYPE_CHECKING:
    from collections.abc import Iterator


class PlainDirectory:
    """A directory without generations, as a shell, Vault Agent or a sidecar writes it.

    Nothing is cleaned up: it belongs into pytest's ``tmp_path``.

    Args:
        path: the directory; it is made when there is none.

    Attributes:
        path: the directory, as a Path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def write_in_place(self, name: str, value: str | bytes, *, pause: float = 0.0) -> None:
        """Truncate a file, write the first half of a value, and then the second.

        Args:
            name: the file's relative path; directories are made.
            value: the value; a text is written as UTF-8.
            pause: seconds between the halves. Default 0.
        """
        with self.half_written(name, value):
            if pause:
                time.sleep(pause)

    @contextmanager
    def half_written(self, name: str, value: str | bytes) -> Iterator[None]:
        """Write a value in place, whose second half comes when the block ends.

        Args:
            name: the file's relative path; directories are made.
            value: the value; a text is written as UTF-8.
        """
        content = encoded(value)
        half = len(content) // 2
        with self._ready(name).open("wb", buffering=0) as file:
            file.write(content[:half])
            try:
                yield
            finally:
                file.write(content[half:])

    def replace(self, name: str, value: str | bytes, *, mode: int = 0o644) -> None:
        """Write a file beside the old one and rename it, as Vault Agent does.

        Args:
            name: the file's relative path; directories are made.
            value: the value; a text is written as UTF-8.
            mode: the permissions of the file. Default 0644.
        """
        path = self._ready(name)
        descriptor, temporary = mkstemp(dir=path.parent, prefix="")
        with os.fdopen(descriptor, "wb") as file:
            file.write(encoded(value))
        fresh = Path(temporary)
        fresh.chmod(mode)
        fresh.rename(path)

    def remove(self, name: str) -> None:
        """Remove a file.

        Args:
            name: the file's relative path.

        Raises:
            FileNotFoundError: there is no such file.
        """
        (self.path / name).unlink()

    def _ready(self, name: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
