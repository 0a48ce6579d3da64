"""Read ``.env`` files, by python-dotenv's grammar, and write to no environment.

python-dotenv skips a line that it cannot parse and says so in a log. For secrets
that is too quiet: a key block without quotes would lose all lines but its first.
So each binding is looked at, and what cannot be read is a problem that names the
line by its number, never by its content.
"""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from hive_boot.exceptions import Problem
from hive_boot.redaction.opaque import _OpaqueIterator
from hive_boot.secrets.fields import NAME, ValueProblem
from hive_boot.secrets.sources.files import EMPTY, Value, read_files
from hive_boot.secrets.value import Secret, value_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotenv.parser import Binding

_PEM_BEGIN = "-----BEGIN "
_PEM_END = "-----END "

_FIX_LINE = 'write NAME=value, with quotes around a value that contains quotes, "#" or line breaks'
_FIX_PEM = 'put the whole block, with its line breaks, in double quotes: NAME="-----BEGIN ..."'


class DotenvFile:
    """What one ``.env`` file says.

    Attributes:
        path: the file.
        exists: whether there is such a file.
        values: its variables; the last one of a name counts.
        ignored: the ``HIVE_BOOT_*`` names in it, which mean nothing there.
        problems: the lines that cannot be read, or why none can.
    """

    __slots__ = ("exists", "ignored", "path", "problems", "values")

    def __init__(self, path: str, *, exists: bool = True) -> None:
        self.path: str = path
        self.exists: bool = exists
        self.values: dict[str, Secret] = {}
        self.ignored: list[str] = []
        self.problems: list[Problem] = []


def read_dotenv(path: str) -> DotenvFile:
    """Read the file at ``path``: regular, at most 1 MiB, UTF-8."""
    result = DotenvFile(path)
    batch = read_files([path], {path: ("text", path, True)})
    hits = batch.unresolved.get("text", [])
    result.exists = bool(batch.values or hits)
    for text in batch.values.values():
        _read_bindings(result, text)
    result.problems += [
        Problem(
            name=path,
            kind=hit.result.kind,
            message=hit.result.message,
            places=(path,),
            fix="make it a readable text file in UTF-8",
        )
        for hit in hits
        if isinstance(hit.result, ValueProblem) and hit.result is not EMPTY
    ]
    return result


def _read_bindings(result: DotenvFile, text: Value) -> None:
    from dotenv.parser import parse_stream  # noqa: PLC0415  (only development needs it)

    pem = False
    # What parses the text is alone with it: the bindings are taken over one by one, sealed.
    for sealed_binding in map(_OpaqueIterator, parse_stream(StringIO(str(text.reveal())))):
        read: Callable[[], Binding] = sealed_binding.__next__
        line = read().original.line + _blank_lines_before(read)
        if pem:
            pem = _PEM_END not in read().original.string
        elif read().error:
            pem = _begins_pem(_OpaqueIterator(read().original.string).__next__)
            _record_unreadable_line(result, line, pem=pem)
        elif read().key is not None and read().value is not None:
            pem = _begins_pem(_OpaqueIterator(read().value).__next__)
            key = str(read().key)
            if pem:
                _record_unreadable_line(result, line, pem=True)
            elif key.startswith("HIVE_BOOT_") and NAME.fullmatch(key):
                result.ignored.append(key)
            else:
                result.values[key] = value_of(Secret, key, _OpaqueIterator(read().value).__next__)


def _begins_pem(read: Callable[[], str]) -> bool:
    return _PEM_BEGIN in read() and _PEM_END not in read()


def _blank_lines_before(read: Callable[[], Binding]) -> int:
    """Count the empty lines that python-dotenv reads as the beginning of a binding."""
    total = len(read().original.string)
    leading = total - len(read().original.string.lstrip())
    return read().original.string.count("\n", 0, leading)


def _record_unreadable_line(result: DotenvFile, line: int, *, pem: bool) -> None:
    what = "begins a PEM block without quotes" if pem else "cannot be read"
    result.problems.append(
        Problem(
            name=f"{result.path}:{line}",
            kind="dotenv",
            message=what,
            fix=_FIX_PEM if pem else _FIX_LINE,
        )
    )
