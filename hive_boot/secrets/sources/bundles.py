"""Bundle source: several secrets in one file, a JSON object or lines of ``NAME=value``.

A bundle may be a file with a single secret that was named by mistake. A parser then takes parts of
the secret for names, so no local variable holds a name that is not declared, and no message
contains a line.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from hive_boot.redaction.opaque import _OpaqueIterator
from hive_boot.secrets.fields import ValueProblem
from hive_boot.secrets.sources.files import EMPTY, NOT_UTF_8, NUL
from hive_boot.secrets.value import Secret, SecretBytes, complete_pem, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hive_boot.secrets.fields import FieldTarget
    from hive_boot.secrets.sources.files import FileBatch, Value, ValueOrProblem

_SHOWN_NAME = re.compile("[A-Z][A-Z0-9_]*")


_WORD = re.compile(r"""["']|-----BEGIN|[^\s"':=]+""")


_MARKS = frozenset({'"', "'", "-----BEGIN"})


_FIX = "write a JSON object into {location}, or lines of NAME='value' with quotes around values"


_NOT_JSON = ValueProblem("bundle", "begins with { but is not a valid JSON object", _FIX)


_NOT_A_VALUE = ValueProblem("bundle", "is null or a nested value, not text, a number or a boolean")


_TWICE = ValueProblem("conflict", "is set more than once in one file, with different values")


_OPEN_PEM = ValueProblem("bundle", "begins a PEM block without quotes, which has several lines")


class BundleContent:
    """Content of a bundle, except for the values of declared secrets.

    Attributes:
        problem: why the bundle cannot be used; None if it can.
        names: the names that a message may contain, if they are similar to a declared name.
        skipped_line: the number of the first line that cannot be parsed and concerns no declared
            secret; 0 without one.
    """

    def __init__(self) -> None:
        self.problem: ValueProblem | None = None
        self.names: list[str] = []
        self.skipped_line: int = 0


def add_members(
    batch: FileBatch, text: Value, targets: Mapping[str, FieldTarget], prefix: str = ""
) -> BundleContent:
    """Add the declared members of a bundle to ``batch``, and return the rest of its content.

    Args:
        batch: the results.
        text: the content of the file.
        targets: the field of each declared name.
        prefix: the text before the name of a member in ``batch``. Default: empty.
    """
    content = BundleContent()
    is_json = str(text.reveal()).lstrip().startswith("{")
    members = _json_members(content, text) if is_json else _line_members(content, text, targets)
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
                batch.add(prefix + name, attribute, _TWICE)
        # A single secret in base32 may end in equals signs, and is not a name.
        elif _SHOWN_NAME.fullmatch(read()[0]) and str(read()[1]).strip("="):
            content.names.append(read()[0])
    return content


def _json_members(
    content: BundleContent, text: Value
) -> Iterator[Callable[[], tuple[str, object]]]:
    """Yield name and value of each member; a number is its text, and a nested object a tuple."""
    try:
        members = _OpaqueIterator(
            json.loads(text.reveal(), object_pairs_hook=tuple, parse_int=str, parse_float=str)
        ).__next__
    except (ValueError, RecursionError):
        content.problem = _NOT_JSON
        return
    for member in map(_OpaqueIterator, members()):
        yield member.__next__


def _line_members(
    content: BundleContent, text: Value, targets: Mapping[str, FieldTarget]
) -> Iterator[Callable[[], tuple[str, object]]]:
    """Yield name and value of each line; a line that cannot be parsed may be a problem."""
    from hive_boot.secrets.sources.dotenv import begins_pem, bindings  # noqa: PLC0415  (JSON does not need it)

    for line, read in bindings(lambda: str(text.reveal())):
        # The parser takes quotes and colons of YAML or a shell for a part of the name.
        if read().error or {'"', "'", ":"}.intersection(str(read().key)):
            words = _OpaqueIterator(_WORD.findall(read().original.string)).__next__
            # An open quote or a PEM block may contain the lines of other secrets.
            is_open = read().error and not _MARKS.isdisjoint(words())
            if is_open or not targets.keys().isdisjoint(words()):
                content.problem = ValueProblem("bundle", f"cannot be parsed in line {line}", _FIX)
                return
            content.skipped_line = content.skipped_line or line
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
    try:
        raw = _OpaqueIterator(str(read()).encode()).__next__
    except UnicodeEncodeError:
        return NOT_UTF_8
    if not raw():
        return EMPTY
    if not is_text:
        return value_of(SecretBytes, label, raw)
    return NUL if b"\0" in raw() else value_of(Secret, label, complete_pem(read))  # type: ignore[arg-type]
