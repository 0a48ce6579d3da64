"""Load result: the values and problems of one load."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from hive_boot._records import Record
from hive_boot.exceptions import Problem
from hive_boot.secrets.fields import ValueProblem
from hive_boot.secrets.sources.files import SourceHit, Value, ValueOrProblem

if TYPE_CHECKING:
    from hive_boot.exceptions import ProblemKind
    from hive_boot.secrets.fields import Field, FieldIndex
    from hive_boot.secrets.fix_hints import Fix
    from hive_boot.secrets.platform import SourceContext
    from hive_boot.secrets.sources.directories import DirectorySnapshot

WarningKind = Literal[
    "short-value", "environment-copy", "dotenv-setting", "development-default", "empty"
]


_BINARY: frozenset[ProblemKind] = frozenset({"not-utf-8", "nul"})
"""The kinds of problems that a binary value has in a text field."""


class LoadWarning(Record):
    """A warning of a load, which does not stop a start.

    Attributes:
        kind: the type of the warning.
        message: the line for the log.
        names: the secrets, or the setting, concerned.
        location: the file or the variable; empty when there is none.
    """

    kind: WarningKind
    message: str
    names: tuple[str, ...]
    location: str


class LoadResult:
    """What one load found; loading fills it, validation judges it.

    Attributes:
        field_index: what is declared.
        source_context: where was looked, and how strictly.
        declaration: the name of the declaring class, for hints.
        values: the value of each field that has one, by attribute.
        origins: source and place of each value that is from no directory.
        unresolved: what was found for each field that has no single good answer.
        env_files: the ``.env`` files that answered anything.
        env_duplicates: what the variables hold that a mounted mode does not read.
        names: the variables there are, for near misses.
        snapshots: what was seen in each directory.
        unused_values: the values that are in no use, and must be shown no more than others.
        problems: what is wrong; after validation in the order of the declaration.
        load_warnings: what is not wrong, and worth a line in the log.
        notes: what is worth a quiet line.
        general_hints: what a report says before its problems.
    """

    __slots__ = (
        "declaration",
        "env_duplicates",
        "env_files",
        "field_index",
        "general_hints",
        "load_warnings",
        "names",
        "notes",
        "origins",
        "problems",
        "snapshots",
        "source_context",
        "unresolved",
        "unused_values",
        "values",
    )

    def __init__(
        self, field_index: FieldIndex, source_context: SourceContext, declaration: str
    ) -> None:
        self.field_index: FieldIndex = field_index
        self.source_context: SourceContext = source_context
        self.declaration: str = declaration
        self.values: dict[str, Value] = {}
        self.origins: dict[str, tuple[str, str]] = {}
        self.unresolved: dict[str, list[SourceHit]] = {}
        self.env_files: set[str] = set()
        self.env_duplicates: dict[str, ValueOrProblem] = {}
        self.names: set[str] = set()
        self.snapshots: list[DirectorySnapshot] = []
        self.unused_values: list[Value] = []
        self.problems: list[Problem] = []
        self.load_warnings: list[LoadWarning] = []
        self.notes: list[str] = []
        self.general_hints: list[str] = []

    @property
    def warnings(self) -> list[str]:
        """The messages of the warnings."""
        return [warning.message for warning in self.load_warnings]

    def warn(self, kind: WarningKind, message: str, *names: str, location: str = "") -> None:
        """Add a warning.

        Args:
            kind: the type of the warning.
            message: the line for the log.
            names: the secrets, or the setting, concerned.
            location: the file or the variable, if there is one.
        """
        self.load_warnings.append(LoadWarning(kind, message, names, location))

    def origin(self, attribute: str) -> tuple[str, str]:
        """Give source and place of a value that was found."""
        known = self.origins.get(attribute)
        if known is None:
            reading = next(each for each in self.snapshots if attribute in each.batch.files)
            known = "file", os.path.join(reading.path, reading.batch.files[attribute])
        return known

    def add(self, attribute: str, hit: SourceHit) -> None:
        """Take over one hit: the only good one of its field is its value at once."""
        if attribute in self.values:
            source, place = self.origin(attribute)
            self.unresolved[attribute] = [SourceHit(self.values.pop(attribute), source, place), hit]
        elif attribute in self.unresolved:
            self.unresolved[attribute].append(hit)
        elif isinstance(hit.result, ValueProblem):
            self.unresolved[attribute] = [hit]
        else:
            self.use(attribute, hit.result, hit.source, hit.place)

    def use(self, attribute: str, value: Value, source: str, place: str) -> None:
        """Make a value the one of its field."""
        self.values[attribute] = value
        self.origins[attribute] = source, place

    def add_problem(  # noqa: PLR0913, PLR0917  (what a problem consists of)
        self,
        field: Field,
        kind: ProblemKind,
        message: str,
        places: tuple[str, ...],
        fix: Fix,
        details: tuple[str, ...] = (),
    ) -> None:
        """Note what is wrong with a field.

        Args:
            field: the field.
            kind: what is wrong, as one word.
            message: what is wrong, as the end of a sentence.
            places: the locations where the value was looked for.
            fix: how to fix it.
            details: further sentences.
        """
        self.problems.append(
            Problem(
                name=field.name,
                kind=kind,
                message=message,
                places=places,
                used_by=field.used_by,
                fix=fix.text,
                fix_kind=fix.kind,
                details=details,
            )
        )

    def add_value_problem(self, field: Field, fault: ValueProblem, origin: tuple[str, str]) -> None:
        """Note what is wrong with a value that was found.

        Args:
            field: the field.
            fault: what is wrong.
            origin: source and place of the value.
        """
        fix = self._how_to_fix(field, fault.kind, origin)
        details = ("A binary value must be declared as SecretBytes.",) * (fault.kind in _BINARY)
        places = (_location_text(origin),)
        self.add_problem(field, fault.kind, fault.message, places, fix, details)

    def add_check_problems(self, problems: list[Problem]) -> None:
        """Note what the checks of fields refused, with its place and its mend, in order."""
        for problem in problems:
            field = self.field_index.by_variable[problem.name]
            origin = self.origin(field.attribute)
            fix = self._how_to_fix(field, problem.kind, origin)
            self.problems.append(
                problem.replace(places=(_location_text(origin),), fix=fix.text, fix_kind=fix.kind)
            )
        if self.problems:
            order = {name: number for number, name in enumerate(self.field_index.by_variable)}
            self.problems.sort(key=lambda problem: order.get(problem.name, -1))

    def _how_to_fix(self, field: Field, kind: ProblemKind, origin: tuple[str, str]) -> Fix:
        from hive_boot.secrets.fix_hints import how_to_fix  # noqa: PLC0415  (only a failure needs it)

        return how_to_fix(field, kind, origin, self.source_context, self.declaration)


def _location_text(origin: tuple[str, str]) -> str:
    source, place = origin
    return f"environment variable {place}" if source == "environment" else place
