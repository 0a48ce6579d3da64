"""What the sources hold for a declaration, and what is wrong with it so far."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple

from hive_boot.exceptions import Problem
from hive_boot.secrets.field import Fault
from hive_boot.secrets.sources.reading import Hit, Outcome, Value

if TYPE_CHECKING:
    from hive_boot.exceptions import ProblemKind
    from hive_boot.secrets.field import Field
    from hive_boot.secrets.inventory import Inventory
    from hive_boot.secrets.mode import Situation
    from hive_boot.secrets.sources.mounted import Reading


WarningKind = Literal[
    "short-value", "environment-copy", "dotenv-setting", "development-default", "empty"
]


class LoadWarning(NamedTuple):
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


class Findings:
    """What one load found; loading fills it, validation judges it.

    Attributes:
        inventory: what is declared.
        situation: where was looked, and how strictly.
        declaration: the name of the declaring class, for hints.
        values: the value of each field that has one, by attribute.
        elsewhere: source and place of each value that is from no directory.
        odd: what was found for each field that has no single good answer.
        dotenv: the ``.env`` files that answered anything.
        copies: what the variables hold that a mounted mode does not read.
        names: the variables there are, for near misses.
        readings: what was seen in each directory.
        refused: the values that are in no use, and must be shown no more than others.
        problems: what is wrong; after validation in the order of the declaration.
        load_warnings: what is not wrong, and worth a line in the log.
        remarks: what is worth a quiet line.
        advice: what a report says before its problems.
    """

    __slots__ = (
        "advice",
        "copies",
        "declaration",
        "dotenv",
        "elsewhere",
        "inventory",
        "load_warnings",
        "names",
        "odd",
        "problems",
        "readings",
        "refused",
        "remarks",
        "situation",
        "values",
    )

    def __init__(self, inventory: Inventory, situation: Situation, declaration: str) -> None:
        self.inventory = inventory
        self.situation = situation
        self.declaration = declaration
        self.values: dict[str, Value] = {}
        self.elsewhere: dict[str, tuple[str, str]] = {}
        self.odd: dict[str, list[Hit]] = {}
        self.dotenv: set[str] = set()
        self.copies: dict[str, Outcome] = {}
        self.names: set[str] = set()
        self.readings: list[Reading] = []
        self.refused: list[Value] = []
        self.problems: list[Problem] = []
        self.load_warnings: list[LoadWarning] = []
        self.remarks: list[str] = []
        self.advice: list[str] = []

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
        known = self.elsewhere.get(attribute)
        if known is None:
            reading = next(each for each in self.readings if attribute in each.batch.files)
            known = "file", os.path.join(reading.path, reading.batch.files[attribute])
        return known

    def add(self, attribute: str, hit: Hit) -> None:
        """Take over one hit: the only good one of its field is its value at once."""
        if attribute in self.values:
            source, place = self.origin(attribute)
            self.odd[attribute] = [Hit(self.values.pop(attribute), source, place), hit]
        elif attribute in self.odd:
            self.odd[attribute].append(hit)
        elif isinstance(hit.held, Fault):
            self.odd[attribute] = [hit]
        else:
            self.use(attribute, hit.held, hit.source, hit.place)

    def use(self, attribute: str, value: Value, source: str, place: str) -> None:
        """Make a value the one of its field."""
        self.values[attribute] = value
        self.elsewhere[attribute] = source, place

    def note(
        self,
        field: Field,
        kind: ProblemKind,
        message: str,
        places: tuple[str, ...],
        hint: str,
    ) -> None:
        """Note what is wrong with a field.

        Args:
            field: the field.
            kind: what is wrong, as one word.
            message: what is wrong, as the end of a sentence.
            places: where was looked.
            hint: what mends it.
        """
        self.problems.append(
            Problem(
                name=field.name,
                kind=kind,
                message=message,
                places=places,
                used_by=field.used_by,
                hint=hint,
            )
        )

    def note_fault(self, field: Field, fault: Fault, origin: tuple[str, str]) -> None:
        """Note what is wrong with a value that was found.

        Args:
            field: the field.
            fault: what is wrong.
            origin: source and place of the value.
        """
        hint = self._amend(field, origin)
        self.note(field, fault.kind, fault.message, (_shown(origin),), hint)

    def note_refusals(self, problems: list[Problem]) -> None:
        """Note what the checks of fields refused, with its place and its mend, in order."""
        for problem in problems:
            field = self.inventory.by_variable[problem.name]
            origin = self.origin(field.attribute)
            hint = self._amend(field, origin)
            self.problems.append(problem._replace(places=(_shown(origin),), hint=hint))
        order = {name: number for number, name in enumerate(self.inventory.by_variable)}
        self.problems.sort(key=lambda problem: order.get(problem.name, -1))

    def _amend(self, field: Field, origin: tuple[str, str]) -> str:
        from hive_boot.secrets.hints import amend  # noqa: PLC0415  (only a failure needs it)

        return amend(field, origin, self.situation, self.declaration)


def _shown(origin: tuple[str, str]) -> str:
    source, place = origin
    return f"the variable {place}" if source == "environment" else place
