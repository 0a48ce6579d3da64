"""Outputs of a process, to be searched for canaries."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from httpx2 import Response

from tests.canary.canaries import CANARIES, Canary, search

if TYPE_CHECKING:
    from subprocess import CompletedProcess


class Outputs:
    """Texts, each with its origin.

    Args:
        canaries: the canaries to look for. Default: one of every declared secret.
    """

    def __init__(self, canaries: Iterable[Canary] = CANARIES) -> None:
        self._canaries = list(canaries)
        self._texts: list[tuple[str, str]] = []

    def add(self, label: str, output: str | bytes) -> None:
        """Add text or bytes; bytes are decoded as UTF-8, and as Latin-1."""
        if isinstance(output, bytes):
            self._texts.append((label, output.decode(errors="surrogateescape")))
            self._texts.append((label, output.decode("latin-1")))
        else:
            self._texts.append((label, output))

    def add_child(self, child: "CompletedProcess[bytes]") -> None:
        """Add the output of a finished process."""
        self.add("stdout", child.stdout)
        self.add("stderr", child.stderr)

    def add_files(self, directory: Path) -> None:
        """Add every file below a directory: its name and its content."""
        for path in sorted(directory.rglob("*")):
            self.add("the name of a file", path.name)
            if path.is_file():
                self.add(path.name, path.read_bytes())

    def add_response(self, response: Response) -> None:
        """Add the headers and the body of an HTTP response."""
        where = f"{response.request.method} {response.request.url.path.split('/')[1]}"
        self.add(f"the headers of {where}", repr(response.headers.raw))
        for name, value in response.headers.raw:
            self.add(f"the headers of {where}", name + b": " + value)
        self.add(f"the body of {where}", response.content)

    @property
    def text(self) -> str:
        """All texts, to assert that a scenario took place."""
        return "\n".join(text for _, text in self._texts)

    def assert_silent(self) -> None:
        """Fail if a canary is in a text, and name it, its form and the origin."""
        finds = "\n".join(search(self._texts, self._canaries))
        assert not finds, f"canaries were found:\n{finds}"
