"""Output files: comparison of rendered files with existing ones."""

from __future__ import annotations

import base64
import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hive_boot.manifests.rendering import RENDERED
from hive_boot.secrets.placeholders import MARK
from hive_boot.secrets.sources.files import read_regular_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECRET_FILES = frozenset({"deploy/k8s/secret.yaml", ".env.example"})
"""Files in which a user may have written values, although they are not meant for values."""

State = Literal["new", "changed", "unchanged"]

_SHOWN = 12
"""Lines of a difference that are shown."""

_MARKS = (MARK, base64.b64encode(MARK.encode())[:-4].decode())

_VALUE = re.compile(r"(\s*[^#\s].*?(?::\s|=)\s*)(\S.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A rendered file and the existing one.

    Attributes:
        path: relative to the directory.
        text: what was rendered.
        there: the text of the existing file; None if it does not exist.
    """

    path: str
    text: str
    there: str | None

    @property
    def state(self) -> State:
        """Return the effect that writing would have."""
        if self.there is None:
            return "new"
        return "unchanged" if self.there == self.text else "changed"

    @property
    def overwrite_blocker(self) -> str:
        """Return why the existing file must not be overwritten; empty if it may."""
        if self.there is None or self.there == self.text:
            return ""
        if RENDERED not in self.there[:400]:
            return "was not rendered by this command"
        if self.path in SECRET_FILES and _holds_values(self.there, self.text):
            return "holds what may be a value"
        return ""

    @property
    def difference(self) -> list[str]:
        """Return the first lines of a unified difference; an empty list without one.

        Existing lines are shown up to ``:`` or ``=`` only, because they may contain values.
        """
        there, text = (self.there or "").splitlines(), self.text.splitlines()
        # The time of difflib grows with the product of the lengths.
        end = len(text) + 1000
        lines = list(difflib.unified_diff(there[:end], text, "there", "rendered", n=0, lineterm=""))
        if not lines and self.there != self.text:
            return ["the same lines, but other line ends: \\n is rendered, also after the last"]
        lines = lines[:3] + [_masked(line) if line[:1] == "-" else line for line in lines[3:]]
        more = len(lines) - _SHOWN + len(there[end:])
        return [*lines[:_SHOWN], *([f"… and {more} lines more"] if more > 0 else [])]


def compare(directory: Path, rendered: Mapping[str, str]) -> list[File]:
    """Return the rendered files, each with the existing one.

    Raises:
        OSError: a file cannot be read.
    """
    return [
        File(path=path, text=text, there=_read(directory / path)) for path, text in rendered.items()
    ]


def _read(path: Path) -> str | None:
    try:
        return read_regular_file(path).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def _holds_values(there: str, text: str) -> bool:
    known = set(text.splitlines())
    begun = "stringData" not in there
    for line in there.splitlines():
        begun = begun or line in {"stringData:", "data:"}
        odd = begun and line not in known and _VALUE.fullmatch(line)
        if odd and not any(mark in line for mark in _MARKS):
            return True
    return False


def _masked(line: str) -> str:
    match = re.match(r"-\s*[\w.-]+(: |=)", line)
    return f"{match[0] if match else '-'}***"
