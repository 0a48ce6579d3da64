"""Source of ``.env`` files: python-dotenv's grammar; the process environment is not changed.

python-dotenv skips a line that it cannot parse, and logs a warning. A PEM block without quotes
would then lose all lines but its first. Here each such line is a problem, which contains the
number of the line and never its text.
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
    """Content of one ``.env`` file.

    Attributes:
        path: the path of the file.
        exists: whether the file exists.
        values: its variables; the last line of a name takes precedence.
        ignored: the ``HIVE_BOOT_*`` names in it, which have no effect in a file.
        problems: the lines that cannot be parsed, or why the file cannot be read.
    """

    __slots__ = ("exists", "ignored", "path", "problems", "values")

    def __init__(self, path: str, *, exists: bool = True) -> None:
        self.path: str = path
        self.exists: bool = exists
        self.values: dict[str, Secret] = {}
        self.ignored: list[str] = []
        self.problems: list[Problem] = []


def read_dotenv(path: str) -> DotenvFile:
    """Return the content of a ``.env`` file: a regular file of UTF-8 text, at most 1 MiB."""
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
            # The hint in parentheses (SecretBytes) applies to declared fields only.
            message=hit.result.message.partition(" (")[0],
            places=(path,),
            fix="make it a readable text file in UTF-8",
        )
        for hit in hits
        if isinstance(hit.result, ValueProblem) and hit.result is not EMPTY
    ]
    return result


def read_setting(path: str, name: str) -> str:
    """Return a variable of a ``.env`` file that is not a secret; empty if it is not set.

    The file is parsed only if it contains the name, because a start parses it once more.
    """
    texts = read_files([path], {path: ("text", path, True)}).values.values()
    if not any(name in str(text.reveal()) for text in texts):
        return ""
    value = read_dotenv(path).values.get(name)
    return value.reveal() if value else ""


def _read_bindings(result: DotenvFile, text: Value) -> None:
    from dotenv.parser import parse_stream  # noqa: PLC0415  (only development needs it)

    pem = False
    # Only frames of the parser hold the text: each binding is wrapped before it is assigned.
    for opaque_binding in map(_OpaqueIterator, parse_stream(StringIO(str(text.reveal())))):
        read: Callable[[], Binding] = opaque_binding.__next__
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
    """Return the number of empty lines, which python-dotenv puts at the start of a binding."""
    total = len(read().original.string)
    leading = total - len(read().original.string.lstrip())
    return read().original.string.count("\n", 0, leading)


def _record_unreadable_line(result: DotenvFile, line: int, *, pem: bool) -> None:
    what = "begins a PEM block without quotes" if pem else "cannot be parsed"
    result.problems.append(
        Problem(
            name=f"{result.path}:{line}",
            kind="dotenv",
            message=what,
            fix=_FIX_PEM if pem else _FIX_LINE,
        )
    )
