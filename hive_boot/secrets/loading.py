"""Ask the sources in order, and give what they hold or every reason why not.

1. ``NAME_FILE=/path``, in every mode.
2. The mounted modes: the directories, and nothing else, unless a fallback to the
   environment was allowed.
3. ``environment``: the process's variables.
4. ``development``: the process's variables over ``.env.local`` over ``.env``.

Everything here is plain functions without an event loop.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot.exceptions import Problem
from hive_boot.secrets import hints
from hive_boot.secrets.mode import FOREIGN
from hive_boot.secrets.sources.environment import as_value
from hive_boot.secrets.sources.mounted import Reading, read_directory, read_paths, subvolumes
from hive_boot.secrets.sources.patience import Patience
from hive_boot.secrets.sources.reading import Fault, Found, Hit, Outcome
from hive_boot.secrets.validation import judge_shape, problem
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hive_boot.exceptions import ProblemKind
    from hive_boot.secrets.declaration import Field, Inventory
    from hive_boot.secrets.mode import Situation


@dataclass(slots=True)
class Loaded:
    """What the sources hold for a set of fields.

    Attributes:
        found: the values, by attribute.
        problems: what is wrong.
        warnings: what is not wrong, and worth a line in the log.
        remarks: what is worth a quiet line.
        advice: what a report says before its problems.
        readings: what was seen in each directory.
    """

    found: dict[str, Found] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)


class _Layer(NamedTuple):
    """Variables of one origin.

    Attributes:
        source: what a :class:`Found` calls it.
        place: where it is, for a person.
        values: the variables that are not empty.
    """

    source: str
    place: str
    values: Mapping[str, str | Secret]


def load(
    inventory: Inventory,
    situation: Situation,
    *,
    declaration: str = "",
    patience: Patience | None = None,
) -> Loaded:
    """Load every field of an inventory.

    Args:
        inventory: what is declared.
        situation: where to look, and how strictly.
        declaration: the name of the declaring class, for hints.
        patience: the clock and its limits.
    """
    return _Load(inventory, situation, declaration, patience or Patience()).run()


class _Load:
    """One pass over the sources; it is used once.

    Attributes:
        hits: what was found for each field, by attribute.
        answered: the attributes for which a variable counts more than any file.
        judged: the attributes whose problem is noted already.
        copies: the texts of variables that a mounted mode does not read.
        names: the variables there are, for near misses.
    """

    def __init__(
        self, inventory: Inventory, situation: Situation, declaration: str, patience: Patience
    ) -> None:
        self.inventory = inventory
        self.situation = situation
        self.declaration = declaration
        self.patience = patience
        self.loaded = Loaded()
        self.hits: dict[str, list[Hit[Outcome]]] = {}
        self.answered: set[str] = set()
        self.judged: set[str] = set()
        self.copies: dict[str, str] = {}
        self.names: set[str] = set()

    def run(self) -> Loaded:
        """Ask, then decide."""
        for layer in self._layers():
            self._ask_variables(layer)
        if self.situation.mounted:
            self._ask_directories()
        defaults = [field.name for field in self.inventory.every if self._decide(field)]
        if defaults:
            self.loaded.warnings.append(f"Development defaults are in use: {', '.join(defaults)}")
        if len(self.loaded.problems) > 1:
            order = {name: number for number, name in enumerate(self.inventory.by_variable)}
            self.loaded.problems.sort(key=lambda problem: order.get(problem.name, -1))
        return self.loaded

    def _layers(self) -> list[_Layer]:
        layers = [_Layer("environment", "the environment", self.situation.environ)]
        if self.situation.mode == "development":
            layers += self._dotenv_layers()
        return layers

    def _dotenv_layers(self) -> list[_Layer]:
        from hive_boot.secrets.sources.dotenv import (  # noqa: PLC0415  (only development needs it)
            nothing_found,
            read_dotenv,
        )

        files = [read_dotenv(path) for path in self.situation.dotenv]
        if not any(file.exists for file in files):
            self.loaded.remarks.append(nothing_found(files))
            self.loaded.advice.append(f"{nothing_found(files)}.")
        for file in files:
            self.loaded.problems += file.problems
            self.loaded.warnings += [
                f"{name} in {file.path} means nothing: set it in the environment"
                for name in file.ignored
            ]
        return [_Layer(".env", file.path, file.values) for file in files]

    def _ask_variables(self, layer: _Layer) -> None:
        """Take from one layer what no stronger one has: a variable, or its ``_FILE``."""
        said = {variable: text for variable, text in layer.values.items() if text}
        self.names.update(said)
        paths: dict[str, Field] = {}
        answered: set[str] = set()
        for pointer in said.keys() & self.inventory.by_pointer.keys():
            field = self.inventory.by_pointer[pointer]
            if field.attribute in self.answered:
                continue
            answered.add(field.attribute)
            if field.name in said:
                message = f"is set twice, as {field.name} and as {pointer}"
                hint = f"unset one of the two in {layer.place}"
                self._note(field, "conflict", message, (layer.place,), hint)
            else:
                paths[_plain(said[pointer])] = field
        for name in said.keys() & self.inventory.by_variable.keys():
            field = self.inventory.by_variable[name]
            if field.attribute in answered | self.answered:
                continue
            if self.situation.mounted:
                self.copies[field.attribute] = _plain(said[name])
            else:
                answered.add(field.attribute)
                place = name if layer.source == "environment" else layer.place
                value = as_value(field, _plain(said[name]))
                self.hits[field.attribute] = [Hit(value, layer.source, place)]
        self.answered |= answered
        if paths:
            self._read_pointers(paths)

    def _read_pointers(self, pointers: Mapping[str, Field]) -> None:
        """Read the files that ``NAME_FILE`` variables name."""
        reading = read_paths(pointers, self.patience)
        for path, field in pointers.items():
            pointer = f"{field.name}_FILE"
            shown = hints.printable_path(path)
            place = f"{pointer}={shown}" if shown else f"{pointer} (its text is not shown)"
            found = reading.batch.hits.get(field.attribute)
            held = reading.fault or (found[0].held if found else None)
            if held is None:
                message = f"is to be read from a file that does not exist: {pointer} names it"
                hint = f"make {pointer} the path of a file that holds the value"
                self._note(field, "missing", message, (place,), hint)
            else:
                self.hits[field.attribute] = [Hit(held, "file", place)]

    def _ask_directories(self) -> None:
        situation, readings = self.situation, self.loaded.readings
        usual = not situation.named_by and situation.mode != "systemd"
        for directory in situation.directories:
            below = subvolumes(directory, FOREIGN) if usual else []
            without = {*FOREIGN, *map(os.path.basename, below)} if usual else ()
            readings.append(
                read_directory(directory, self.inventory, self.patience, without=without)
            )
            readings += [read_directory(path, self.inventory, self.patience) for path in below]
        for reading in readings:
            self._take(reading)
        if situation.mode == "kubernetes" and all(
            reading.is_absent or not set(reading.names) - FOREIGN for reading in readings
        ):
            self.loaded.advice.append(hints.NO_VOLUME)

    def _take(self, reading: Reading) -> None:
        """Take over what one directory held."""
        named_by = self.situation.named_by
        if reading.fault is not None and (named_by or not reading.is_absent):
            self.loaded.problems.append(
                Problem(
                    name=reading.path,
                    kind=reading.fault.kind,
                    message=reading.fault.message + (f"; {named_by} names it" if named_by else ""),
                    hint="mount the secrets there, readable by the user of this process",
                )
            )
        hits = reading.batch.hits
        if self.answered or self.hits:
            hits = {key: hit for key, hit in hits.items() if key not in self.answered}
            for attribute in hits.keys() & self.hits.keys():
                hits[attribute] = self.hits[attribute] + hits[attribute]
        self.hits |= hits

    def _decide(self, field: Field) -> bool:
        """Make the hits of one field a value, a problem, or an absence.

        Returns:
            Whether its development default is in use.
        """
        hits = self.hits.get(field.attribute, ())
        copy = self.copies.get(field.attribute) if self.copies else None
        if field.attribute in self.judged:
            return False
        if len(hits) == 1 and type(hits[0].held) is not Fault:
            self._accept(field, hits[0], copy)
            return False
        faults = [hit for hit in hits if isinstance(hit.held, Fault) and hit.held.kind != "empty"]
        values = [hit for hit in hits if not isinstance(hit.held, Fault)]
        if faults:
            for hit in faults:
                self._accept(field, hit)
        elif any(hit.held != values[0].held for hit in values[1:]):
            places = tuple(hit.place for hit in values)
            hint = "keep one of them, or make them the same"
            self._note(field, "conflict", "has different values in different places", places, hint)
        elif values:
            self._accept(field, values[0], copy)
        elif copy is None:
            return self._decide_absent(field, tuple(hit.place for hit in hits))
        elif self.situation.env_fallback:
            self._accept(field, Hit(as_value(field, copy), "environment", field.name))
        else:
            message = "is set in the environment only, which this mode does not read"
            hint = hints.only_in_environment(field)
            self._note(field, "environment-only", message, self._places(field), hint)
        return False

    def _decide_absent(self, field: Field, empty: tuple[str, ...]) -> bool:
        """Decide about a field without a value; its empty files are at ``empty``."""
        profile = self.situation.profile
        if field.dev_default is not None and profile == "development":
            value: Any = field.kind(field.name, field.dev_default)  # type: ignore[arg-type]
            self.loaded.found[field.attribute] = Hit(value, "dev_default", "the declaration")
            return True
        if field.required_for(profile):
            hint = hints.mend(field, self.situation, self.declaration)
            if empty:
                self._note(field, "empty", "is empty", empty, hint)
            else:
                refused = f"; its development default is refused in the profile {profile}"
                message = "is missing" + (refused if field.dev_default is not None else "")
                self._note(field, "missing", message, self._places(field), hint)
        elif empty:
            self.loaded.warnings.append(f"{field.name} is empty in {empty[0]}, so it is absent")
        return False

    def _accept(self, field: Field, hit: Hit[Outcome], copy: str | None = None) -> None:
        """Put a hit among what was found, unless something is wrong with it."""
        held = hit.held
        if isinstance(held, Fault):
            self._note(field, held.kind, held.message, (hit.place,))
            return
        if field.has_rules and (fault := judge_shape(field, held, self.situation.profile)):
            self.loaded.problems.append(replace(fault, places=(hit.place,)))
            return
        if copy is not None:
            self.loaded.warnings.append(
                f"{field.name} is a file and also a variable of the environment: "
                "the file counts, and the variable is a copy that leaks more easily"
            )
        self.loaded.found[field.attribute] = hit  # type: ignore[assignment]

    def _places(self, field: Field) -> tuple[str, ...]:
        """Say where was looked, with what may have been meant."""
        places = []
        tried = field.candidates[0] if field.file else field.name.lower()
        others = [name for name in field.candidates if name != tried and name != f"{tried}.txt"]
        stems = [name for name in others if not name.endswith(".txt")]
        also = f"; also {', '.join(stems)}; each with .txt too" if stems else "; with .txt too"
        for reading in self.loaded.readings:
            places.append(f"{os.path.join(reading.path, tried)}{also}")
            for near in hints.near_misses(field, reading.names):
                wanted = os.path.join(reading.path, hints.nearest(near, field.candidates))
                places.append(f"{wanted} was tried, a file {near} stands there")
        if not self.situation.mounted:
            places += [f"the variable {field.name}", *self.situation.dotenv]
            places += [
                f"{field.name} was tried, a variable {near} is set"
                for near in hints.near_misses(field, self.names)
            ]
        return tuple(places)

    def _note(
        self,
        field: Field,
        kind: ProblemKind,
        message: str,
        places: tuple[str, ...],
        hint: str = "",
    ) -> None:
        self.judged.add(field.attribute)
        self.loaded.problems.append(problem(field, kind, message, places=places, hint=hint))


def _plain(text: str | Secret) -> str:
    return text.reveal() if isinstance(text, Secret) else text
