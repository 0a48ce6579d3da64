"""Single changes of a file system, each done by one call, and each can be undone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from hive_boot.cli.usage import Refusal

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY_MODE = 0o700
"""Of a directory of secrets: nobody else on this machine gets as far as the files."""


class Step(Protocol):
    """One change.

    Attributes:
        path: what is changed.
    """

    path: Path

    def do(self) -> None: ...  # noqa: D102  (as it says)
    def undo(self) -> None: ...  # noqa: D102  (as it says)


class Addition:
    """A file, or a directory with files, that was not there."""

    def __init__(self, staged: Path, path: Path) -> None:
        self.staged = staged
        self.path = path

    def do(self) -> None:
        """Put it in place, over nothing that has come meanwhile."""
        if self.staged.is_dir():
            self.staged.rename(self.path)
            return
        try:
            # A second name, unlike a rename, never takes the place of another file.
            self.path.hardlink_to(self.staged)
        except OSError:
            if os.path.lexists(self.path):
                raise
            # Not every file system has second names.
            self.staged.rename(self.path)

    def undo(self) -> None:
        """Take it away again."""
        if self.path.is_dir():
            self.path.rename(self.staged)
        else:
            self.path.unlink()


class Replacement:
    """A file that holds something else from now on."""

    def __init__(self, new: Path, old: Path, path: Path, before: bytes) -> None:
        self.new = new
        self.old = old
        self.path = path
        self._before = before

    def do(self) -> None:
        """Put the new file in the old one's place, unless that has changed meanwhile."""
        if self.path.read_bytes() != self._before:
            message = f"{self.path} was changed by somebody else meanwhile: try again"
            raise Refusal(message)
        self.new.replace(self.path)

    def undo(self) -> None:
        """Put a copy of the old file there again."""
        self.old.replace(self.path)


class Tightening:
    """A directory that nobody else gets into from now on."""

    def __init__(self, path: Path, mode: int) -> None:
        self.path = path
        self._mode = mode

    def do(self) -> None:
        """Take every permission of others away."""
        self.path.chmod(self._mode & DIRECTORY_MODE)

    def undo(self) -> None:
        """Give them back."""
        self.path.chmod(self._mode)
