"""What came out of a process, to be searched for the canaries."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from httpx2 import Response

from tests.canary.canaries import CANARIES, Canary, search

if TYPE_CHECKING:
    from subprocess import CompletedProcess


class Outputs:
    """Texts that somebody may read, each with what it is.

    Args:
        canaries: what is looked for. Default: one of every declared secret.
    """

    def __init__(self, canaries: Iterable[Canary] = CANARIES) -> None:
        self._canaries = list(canaries)
        self._texts: list[tuple[str, str]] = []

    def add(self, label: str, output: str | bytes) -> None:
        """Add any text; bytes are read as UTF-8, and those that are none as Latin-1 too."""
        if isinstance(output, bytes):
            self._texts.append((label, output.decode(errors="surrogateescape")))
            self._texts.append((label, output.decode("latin-1")))
        else:
            self._texts.append((label, output))

    def add_child(self, child: "CompletedProcess[bytes]") -> None:
        """Add what a process that has ended wrote."""
        self.add("stdout", child.stdout)
        self.add("stderr", child.stderr)

    def add_files(self, directory: Path) -> None:
        """Add every file below a directory: its name and what it holds."""
        for path in sorted(directory.rglob("*")):
            self.add("the name of a file", path.name)
            if path.is_file():
                self.add(path.name, path.read_bytes())

    def add_response(self, response: Response) -> None:
        """Add an HTTP response: headers and body."""
        where = f"{response.request.method} {response.request.url.path.split('/')[1]}"
        self.add(f"the headers of {where}", repr(response.headers.raw))
        for name, value in response.headers.raw:
            self.add(f"the headers of {where}", name + b": " + value)
        self.add(f"the body of {where}", response.content)

    @property
    def text(self) -> str:
        """Everything, to see whether something took place."""
        return "\n".join(text for _, text in self._texts)

    def assert_silent(self) -> None:
        """Fail when a canary is anywhere, and name each: which, in which form, where."""
        finds = "\n".join(search(self._texts, self._canaries))
        assert not finds, f"canaries were found:\n{finds}"
