"""Files with several secrets: ``.env`` files, with references to other variables, and bundles.

A bundle is a JSON object, or a mounted file of lines that python-dotenv also parses. The process
environment is not changed. python-dotenv skips a line that it cannot parse, and logs a
warning. A PEM block without quotes would then lose all lines but its first. Here such a line is a
problem if a declared secret may be affected. A problem contains the number of the line and never
its text.
"""

from __future__ import annotations

import re
from codecs import decode
from io import StringIO
from typing import TYPE_CHECKING

from hive_boot.exceptions import Problem
from hive_boot.redaction import _OpaqueIterator
from hive_boot.secrets.fields import ValueProblem, is_name
from hive_boot.secrets.sources.files import (
    EMPTY,
    LIMIT,
    as_declared_type,
    fix_of_file,
    read_fifo,
    read_files,
    value_of_text,
)
from hive_boot.secrets.value import Secret, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dotenv.parser import Binding

    from hive_boot.secrets.fields import FieldTarget
    from hive_boot.secrets.sources.files import FifoReader, FileBatch, Value, ValueOrProblem

    Scope = Mapping[str, str | Secret | ValueProblem]

_PEM_BEGIN = "-----BEGIN "
_PEM_END = "-----END "

_HEAD = re.compile(r"\A\s*(?:export[^\S\n]+)?(?:'[^']+'|[^=#\s]+)[^\S\n]*=[^\S\n]*")
"""The part of a binding before its value, as python-dotenv parses it."""

_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)

_OPEN_QUOTE = re.compile(r"""(?:'(?:\\.|[^'\\\n])*|"(?:\\.|[^"\\\n])*)\\?(?:\n|\Z)""")
"""A value with a quote that is not closed in its line."""

_FIRST_WORDS = re.compile(
    r"""(?m)^[ \t]*(?:[{,][ \t]*)?(?:(?:export|set|setenv|declare|typeset|ENV|-x|-)[ \t]+)*['"]?"""
    r"([A-Za-z_][A-Za-z0-9_.-]*)"
)
"""The name that a line begins with, also in a shell script, a Dockerfile, YAML or JSON."""

_ASSIGNED = re.compile(_FIRST_WORDS.pattern + r"(?=[ \t]*=)")
"""The name that a line sets."""

_TOKEN = re.compile(r"""\\[\\$'"abfnrtv]|\$\{(?:([A-Za-z_][A-Za-z0-9_.-]*)(?::-([^}]*))?\})?""")
"""An escape, or a reference with its name and its default; any other form has no name."""

_FIX_LINE = 'write NAME=value, with quotes around a value that contains quotes, "#" or line breaks'
_FIX_PEM = 'put the whole block, with its line breaks, in double quotes: NAME="-----BEGIN ..."'
_FIX_QUOTE = "close the quote, or put the whole value in quotes and escape those inside it"
_OPENED = "has a quote that is not closed in the same line"

_UNREADABLE_LINES = {
    "pem": ("begins a PEM block without quotes", _FIX_PEM),
    "quote": (_OPENED, _FIX_QUOTE),
    "inside": (_OPENED, _FIX_QUOTE),
    "line": ("cannot be parsed", _FIX_LINE),
}

_FIXES: dict[str, str] = {
    "broken-link": "correct the link, or remove it",
    "not-a-file": "put a file there, or name another one with env_file=",
}

_NAME_SHOWN = re.compile("[A-Z][A-Z0-9_]*")
_WORD = re.compile(r"""["']|-----BEGIN|[^\s"':=]+""")
_OPENING_MARKS = frozenset({'"', "'", "-----BEGIN"})
_REWRITE = "write a JSON object into {location}, or lines of NAME='value' with quotes around values"
_NOT_JSON = ValueProblem("bundle", "begins with { but is not a valid JSON object", _REWRITE)
_NOT_A_VALUE = ValueProblem("bundle", "is null or a nested value, not text, a number or a boolean")
_SET_TWICE = ValueProblem("conflict", "is set more than once in one file, with different values")
_OPEN_PEM = ValueProblem("bundle", "begins a PEM block without quotes, which has several lines")


class DotenvFile:
    """Content of one ``.env`` file.

    Attributes:
        path: the path of the file.
        exists: whether the file exists.
        values: its variables; the last line of a name takes precedence.
        value_problems: the variables whose references cannot be replaced.
        ignored: the ``HIVE_BOOT_*`` names in it, which have no effect in a file.
        problem: why the file cannot be read.
        problems: the lines that cannot be parsed and may concern a wanted name.
        affected: the wanted names that these lines may concern.
        unreadable_lines: the numbers of the other lines that cannot be parsed.
        repeated: the variable that each repeating line sets again, by the number of the line;
            empty for a name that is not wanted, because it may be a part of a value.
    """

    def __init__(self, path: str) -> None:
        self.path: str = path
        self.exists: bool = True
        self.values: dict[str, Secret] = {}
        self.value_problems: dict[str, ValueProblem] = {}
        self.ignored: list[str] = []
        self.problem: Problem | None = None
        self.problems: list[Problem] = []
        self.affected: set[str] = set()
        self.unreadable_lines: list[int] = []
        self.repeated: dict[int, str] = {}


def read_dotenv(
    path: str,
    *,
    wanted: Collection[str] = (),
    scopes: Sequence[Scope] = (),
    fifo_reader: FifoReader | None = None,
) -> DotenvFile:
    """Return the content of a ``.env`` file: UTF-8 text of at most 1 MiB, or a FIFO of it.

    Args:
        path: the path of the file.
        wanted: the names that no stronger source has provided.
        scopes: the variables of the stronger sources, to which the file may refer.
        fifo_reader: reads FIFOs; None to use only what this process has read before.
    """
    result = DotenvFile(path)
    found = read_fifo(path, fifo_reader) or read_files([path], {path: ("", path, True)}).result("")
    found = as_declared_type(found, path, is_text=True)
    result.exists = found is not None
    if isinstance(found, Secret):
        parse_dotenv(result, found.reveal, wanted=wanted, scopes=scopes)
    elif isinstance(found, ValueProblem) and found is not EMPTY:
        fix = _FIXES.get(found.kind) or fix_of_file(found, path)
        result.problem = Problem(path, found.kind, found.message, places=(path,), fix=fix)
    return result


def parse_dotenv(
    result: DotenvFile,
    text: Callable[[], str],
    *,
    wanted: Collection[str] = (),
    scopes: Sequence[Scope] = (),
) -> None:
    """Add the variables and the unreadable lines of a text to ``result``.

    Args:
        result: the file that contains the text.
        text: returns the text, which no local variable holds.
        wanted: the names whose unreadable lines are problems.
        scopes: the variables to which the text may refer, besides its own.
    """
    parser = _Parser(result, wanted, scopes)
    for line, read in bindings(text):
        parser.add(line, read)
    parser.report()


def bindings(text: Callable[[], str]) -> Iterator[tuple[int, Callable[[], Binding]]]:
    """Yield the number of the line of each binding, and a function that returns the binding.

    Only frames of the parser hold the text: each binding is wrapped before it is assigned. Line
    ends are converted to those of Unix, as in a file that is opened as text.
    """
    from dotenv.parser import parse_stream  # only development needs it

    for opaque_binding in map(_OpaqueIterator, parse_stream(StringIO(text(), newline=None))):
        read: Callable[[], Binding] = opaque_binding.__next__
        # A binding begins with the empty lines before it.
        blank = len(read().original.string) - len(read().original.string.lstrip())
        yield read().original.line + read().original.string.count("\n", 0, blank), read


class _Parser:
    """One pass over the bindings of a text; it is used once."""

    def __init__(
        self, result: DotenvFile, wanted: Collection[str], scopes: Sequence[Scope]
    ) -> None:
        self._result = result
        self._wanted = frozenset(wanted)
        self._expander = _Expander([*scopes, result.value_problems, result.values])
        self._unreadable: list[tuple[str, int, AbstractSet[str]]] = []
        # The names that a PEM block or a quote may concern, until it ends.
        self._pem: set[str] | None = None
        self._quote: set[str] = set()
        self._name_without_value = ""

    def add(self, line: int, read: Callable[[], Binding]) -> None:
        """Add one binding."""
        original = _OpaqueIterator(read().original.string).__next__
        value = _OpaqueIterator(_HEAD.sub("", original(), count=1)).__next__
        words = self._wanted.intersection(_FIRST_WORDS.findall(original()))
        self._quote |= words
        if self._pem is not None:
            self._pem |= words
            self._pem = None if _PEM_END in original() else self._pem
        elif (
            read().error
            or (read().value is None and words - {read().key})
            or (read().value and begins_pem(value) and value()[0] not in "'\"")
        ):
            self._add_unreadable(line, original, value, {*words})
        elif read().key is not None and read().value is not None:
            self._set(read, line, value)
            if inside := self._wanted.intersection(_ASSIGNED.findall(original())) - {read().key}:
                self._unreadable.append(("inside", line, inside))
        self._name_without_value = str(read().key) if read().value == "" else ""

    def _add_unreadable(
        self, line: int, original: Callable[[], str], value: Callable[[], str], names: set[str]
    ) -> None:
        kind = "quote" if _OPEN_QUOTE.match(value()) else "line"
        if begins_pem(original):
            # A block without quotes may begin in the line after its name.
            names |= self._wanted & {self._name_without_value}
            kind, self._pem = "pem" if kind == "line" else kind, names
        elif kind == "quote":
            self._quote = names
        self._unreadable.append((kind, line, names))

    def _set(self, read: Callable[[], Binding], line: int, value: Callable[[], str]) -> None:
        result, key = self._result, str(read().key)
        if key in result.values or key in result.value_problems:
            result.repeated[line] = key if key in self._wanted else ""
        if key.startswith("HIVE_BOOT_") and is_name(key):
            result.ignored.append(key)
        reveal = _OpaqueIterator(read().value).__next__
        try:
            if "$" in reveal():
                reveal = self._expander.expand(reveal, value)
            result.values[key] = value_of(Secret, key, reveal)
            result.value_problems.pop(key, None)
        except _ReferenceError as exc:
            result.values.pop(key, None)
            result.value_problems[key] = ValueProblem("dotenv", f"{exc} (line {line})")

    def report(self) -> None:
        """Add a problem for each unreadable line that may concern a wanted name."""
        result = self._result
        for name in result.ignored:
            result.values.pop(name, None)
            result.value_problems.pop(name, None)
        others = result.values.keys() | result.value_problems.keys()
        for kind, line, may_concern in self._unreadable:
            names = may_concern - others if kind in {"line", "inside"} else may_concern
            if names:
                message, fix = _UNREADABLE_LINES[kind]
                result.affected |= names
                name = f"{result.path}:{line}"
                details = (f"It may concern {', '.join(sorted(names))}.",)
                result.problems.append(Problem(name, "dotenv", message, fix=fix, details=details))
            elif kind != "inside":
                result.unreadable_lines.append(line)


class _ReferenceError(Exception):
    """Why a reference cannot be replaced, without any part of the value."""


_FORM = "has a reference that is neither ${NAME} nor ${NAME:-default}"

_UNSET = "refers to a variable that is not set"

_INDIRECT = "refers to a variable whose own references cannot be replaced"

_TOO_LARGE = f"is larger than {LIMIT} characters with its references"


class _Expander:
    """Replaces the references in the values of one text.

    Args:
        scopes: the variables, the strongest first.
    """

    def __init__(self, scopes: Sequence[Scope]) -> None:
        self._scopes = scopes
        self._left = LIMIT

    def expand(self, parsed: Callable[[], str], written: Callable[[], str]) -> Callable[[], str]:
        """Return a value with its references replaced.

        Args:
            parsed: returns the value as python-dotenv has parsed it, without its quotes.
            written: returns the value as it is written, and the rest of its line.

        Raises:
            _ReferenceError: a reference has no value or an unknown form.
        """
        if written().startswith("'"):
            return parsed
        quoted = _OpaqueIterator(_QUOTED.match(written())).__next__
        if quoted() is None:
            return self._replace(parsed, is_quoted=False)
        return self._replace(_OpaqueIterator(quoted()[1]).__next__, is_quoted=True)

    def _replace(
        self, text: Callable[[], str], *, is_quoted: bool, is_default: bool = False
    ) -> Callable[[], str]:
        parts: list[Callable[[], str]] = []
        end = 0
        for token in map(_OpaqueIterator, _TOKEN.finditer(text())):
            match: Callable[[], re.Match[str]] = token.__next__
            parts.append(_OpaqueIterator(text()[end : match().start()]).__next__)
            end = match().end()
            if match()[0].startswith("${"):
                if is_default or match()[1] is None:
                    raise _ReferenceError(_FORM)
                parts.append(self._value(match, is_quoted=is_quoted))
            elif match()[0] == "\\$":
                parts.append(lambda: "$")
            elif is_quoted:
                parts.append(_OpaqueIterator(decode(match()[0], "unicode-escape")).__next__)
            else:
                # Only double quotes have other escapes.
                parts.append(match().group)
        parts.append(_OpaqueIterator(text()[end:]).__next__)
        return _OpaqueIterator("".join([part() for part in parts])).__next__

    def _value(self, match: Callable[[], re.Match[str]], *, is_quoted: bool) -> Callable[[], str]:
        """Return the variable that a reference names, or its default."""
        found: Callable[[], str] | None = None
        for scope in self._scopes:
            value = _OpaqueIterator(scope.get(match()[1])).__next__
            # An empty variable counts as unset if a weaker source has another value.
            if value() is None or (found and found()):
                continue
            if isinstance(value(), ValueProblem):
                raise _ReferenceError(_INDIRECT)
            found = value().reveal if isinstance(value(), Secret) else value
        if match()[2] is not None:
            default = _OpaqueIterator(match()[2]).__next__
            default = self._replace(default, is_quoted=is_quoted, is_default=True)
            found = found if found and found() else default
        if found is None:
            # `-` is also an operator of the shell, and a name that contains it is rare.
            raise _ReferenceError(_FORM if "-" in match()[1] else _UNSET)
        self._left -= len(found())
        if self._left < 0:
            raise _ReferenceError(_TOO_LARGE)
        return found


def begins_pem(read: Callable[[], str]) -> bool:
    """Return whether a text contains the first line of a PEM block, and not its last line."""
    return _PEM_BEGIN in read() and _PEM_END not in read()


def add_members(
    batch: FileBatch, text: Value, targets: Mapping[str, FieldTarget], prefix: str = ""
) -> None:
    """Add the declared members of a bundle to the results, and its problem, if any.

    A bundle may be a file with a single secret that was named by mistake. A parser then takes
    parts of the secret for names, so no local variable holds a name that is not declared, and no
    message contains a line.

    Args:
        batch: the results.
        text: the content of the file: a JSON object, or lines of ``NAME=value``.
        targets: the field of each declared name.
        prefix: the text before the name of a member in the results. Default: empty.
    """
    is_json = str(text.reveal()).lstrip().startswith("{")
    members = _json_members(batch, text) if is_json else _line_members(batch, text, targets)
    seen: dict[str, ValueOrProblem] = {}
    twice: set[str] = set()
    for read in members:
        target = targets.get(read()[0])
        if target is not None:
            name, (attribute, label, is_text) = read()[0], target
            outcome = _outcome(_OpaqueIterator(read()[1]).__next__, label, is_text=is_text)
            batch.add(prefix + name, attribute, outcome)
            if seen.setdefault(name, outcome) != outcome and name not in twice:
                twice.add(name)
                batch.add(prefix + name, attribute, _SET_TWICE)
        # A single secret in base32 may end in equals signs, and is not a name.
        elif _NAME_SHOWN.fullmatch(read()[0]) and str(read()[1]).strip("="):
            batch.shown_names.append(read()[0])


def _json_members(batch: FileBatch, text: Value) -> Iterator[Callable[[], tuple[str, object]]]:
    """Yield name and value of each member; a number is its text, and a nested object a tuple."""
    from json import loads  # few have a bundle

    try:
        members = _OpaqueIterator(
            loads(text.reveal(), object_pairs_hook=tuple, parse_int=str, parse_float=str)
        ).__next__
    except (ValueError, RecursionError):
        batch.bundle_problem = _NOT_JSON
        return
    for member in map(_OpaqueIterator, members()):
        yield member.__next__


def _line_members(
    batch: FileBatch, text: Value, targets: Mapping[str, FieldTarget]
) -> Iterator[Callable[[], tuple[str, object]]]:
    """Yield name and value of each line; a line that cannot be parsed may be a problem."""
    for line, read in bindings(lambda: str(text.reveal())):
        # The parser takes quotes and colons of YAML or a shell for a part of the name.
        if read().error or {'"', "'", ":"}.intersection(str(read().key)):
            words = _OpaqueIterator(_WORD.findall(read().original.string)).__next__
            # An open quote or a PEM block may contain the lines of other secrets.
            is_open = read().error and not _OPENING_MARKS.isdisjoint(words())
            if is_open or not targets.keys().isdisjoint(words()):
                batch.bundle_problem = ValueProblem(
                    "bundle", f"cannot be parsed in line {line}", _REWRITE
                )
                return
            batch.skipped_line = batch.skipped_line or line
        elif read().key is not None and read().value is not None:
            value = _OpaqueIterator(read().value).__next__
            value = _OpaqueIterator(_OPEN_PEM if begins_pem(value) else value()).__next__
            yield _OpaqueIterator((str(read().key), value())).__next__


def _outcome(read: Callable[[], object], label: str, *, is_text: bool) -> ValueOrProblem:
    """Return a member as a value of the declared type, or its problem."""
    if isinstance(read(), ValueProblem):
        return _OPEN_PEM
    if isinstance(read(), bool):
        read = _OpaqueIterator(str(read()).lower()).__next__
    if not isinstance(read(), str):
        return _NOT_A_VALUE
    return value_of_text(read, label, is_text=is_text)  # type: ignore[arg-type]
