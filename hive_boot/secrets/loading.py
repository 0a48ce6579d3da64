"""Ask the sources in order, and give what they hold or every reason why not.

1. ``NAME_FILE=/path``, in every mode.
2. The mounted modes: the directories, and nothing else, unless a fallback to the
   environment was allowed.
3. ``environment``: the process's variables.
4. ``development``: the process's variables over ``.env.local`` over ``.env``.

Everything here is plain functions without an event loop.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, NamedTuple

from hive_boot.exceptions import Problem
from hive_boot.secrets import hints
from hive_boot.secrets.mode import FOREIGN
from hive_boot.secrets.sources.environment import as_value
from hive_boot.secrets.sources.mounted import Reading, read_directory, read_paths, subvolumes
from hive_boot.secrets.sources.patience import Patience
from hive_boot.secrets.sources.reading import EMPTY, Fault, Hit
from hive_boot.secrets.validation import judge_shape, problem
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hive_boot.exceptions import ProblemKind
    from hive_boot.secrets.declaration import Field, Inventory
    from hive_boot.secrets.mode import Situation
    from hive_boot.secrets.sources.reading import Value


@dataclasses.dataclass(slots=True)
class Loaded:
    """What the sources hold for a set of fields.

    Attributes:
        values: what was found, by attribute.
        problems: what is wrong, in the order of the declaration.
        warnings: what is not wrong, and worth a line in the log.
        remarks: what is worth a quiet line.
        advice: what a report says before its problems.
        readings: what was seen in each directory.
        elsewhere: source and place of each value that is from no directory.
    """

    values: dict[str, Value] = dataclasses.field(default_factory=dict)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)
    advice: list[str] = dataclasses.field(default_factory=list)
    readings: list[Reading] = dataclasses.field(default_factory=list)
    elsewhere: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    def origin(self, attribute: str) -> tuple[str, str]:
        """Give source and place of a value that was found."""
        known = self.elsewhere.get(attribute)
        if known is None:
            reading = next(each for each in self.readings if attribute in each.batch.files)
            known = "file", os.path.join(reading.path, reading.batch.files[attribute])
        return known


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
        hits: what was found for each field that has no single good answer.
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
        self.hits: dict[str, list[Hit]] = {}
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
        self._settle_odd()
        self._settle_copies()
        self._judge_values()
        if len(self.loaded.values) < len(self.inventory.every):
            self._judge_absent()
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
                self._add(field.attribute, Hit(value, layer.source, place))
        self.answered |= answered
        if paths:
            self._read_pointers(paths)

    def _read_pointers(self, pointers: Mapping[str, Field]) -> None:
        """Read the files that ``NAME_FILE`` variables name."""
        answers = {
            path: (field.attribute, field.name, field.kind is Secret)
            for path, field in pointers.items()
        }
        reading = read_paths(answers, self.patience)
        for path, field in pointers.items():
            pointer = f"{field.name}_FILE"
            shown = hints.printable_path(path)
            place = f"{pointer}={shown}" if shown else f"{pointer} (its text is not shown)"
            batch = reading.batch
            odd = batch.odd.get(field.attribute)
            held = reading.fault or batch.values.get(field.attribute) or (odd and odd[0].held)
            if not held:
                message = f"is to be read from a file that does not exist: {pointer} names it"
                hint = f"make {pointer} the path of a file that holds the value"
                self._note(field, "missing", message, (place,), hint)
            else:
                self._add(field.attribute, Hit(held, "file", place))

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
        batch, values = reading.batch, self.loaded.values
        if not (self.answered or self.hits or values):
            values.update(batch.values)
            self.hits.update(batch.odd)
            return
        for attribute, value in batch.values.items():
            place = os.path.join(reading.path, batch.files[attribute])
            self._add_file(attribute, Hit(value, "file", place))
        for attribute, hits in batch.odd.items():
            for hit in hits:
                self._add_file(attribute, hit)

    def _add_file(self, attribute: str, hit: Hit) -> None:
        """Take over what a directory holds, unless a variable counts more."""
        if attribute not in self.answered:
            self._add(attribute, hit)

    def _add(self, attribute: str, hit: Hit) -> None:
        """Take over one hit: the only good one of its field is a value at once."""
        values = self.loaded.values
        if attribute in values:
            source, place = self.loaded.origin(attribute)
            self.hits[attribute] = [Hit(values.pop(attribute), source, place), hit]
        elif attribute in self.hits:
            self.hits[attribute].append(hit)
        elif isinstance(hit.held, Fault):
            self.hits[attribute] = [hit]
        else:
            self._use(attribute, hit.held, hit.source, hit.place)

    def _settle_odd(self) -> None:
        """Decide about the fields that several places answer, or that one answers badly."""
        for attribute, hits in self.hits.items():
            field = self.inventory.by_attribute[attribute]
            good = []
            for hit in hits:
                if not isinstance(hit.held, Fault):
                    good.append((hit.held, hit.source, hit.place))
                elif hit.held is not EMPTY:
                    self._note(field, hit.held.kind, hit.held.message, (hit.place,))
            if attribute in self.judged or not good:
                continue
            if all(value == good[0][0] for value, _, _ in good):
                self._use(attribute, *good[0])
            else:
                places = tuple(place for _, _, place in good)
                hint = "keep one of them, or make them the same"
                message = "has different values in different places"
                self._note(field, "conflict", message, places, hint)

    def _settle_copies(self) -> None:
        """Decide about the variables of a mounted mode: they are copies, or a fallback."""
        for attribute, text in self.copies.items():
            field = self.inventory.by_attribute[attribute]
            if attribute in self.loaded.values:
                self.loaded.warnings.append(
                    f"{field.name} is a file and also a variable of the environment: "
                    "the file counts, and the variable is a copy that leaks more easily"
                )
            elif attribute in self.judged:
                continue
            elif not self.situation.env_fallback:
                message = "is set in the environment only, which this mode does not read"
                hint = hints.only_in_environment(field)
                self._note(field, "environment-only", message, self._places(field), hint)
            else:
                value = as_value(field, text)
                if isinstance(value, Fault):
                    self._note(field, value.kind, value.message, (field.name,))
                else:
                    self._use(attribute, value, "environment", field.name)

    def _judge_values(self) -> None:
        """Take out what breaks the rules of its declaration."""
        for field in self.inventory.ruled:
            value = self.loaded.values.get(field.attribute)
            fault = value and judge_shape(field, value, self.situation.profile)
            if fault:
                del self.loaded.values[field.attribute]
                self.judged.add(field.attribute)
                _, place = self.loaded.origin(field.attribute)
                self.loaded.problems.append(dataclasses.replace(fault, places=(place,)))

    def _judge_absent(self) -> None:
        """Make a default, a problem, or nothing of each field without a value."""
        defaults = []
        for field in self.inventory.every:
            if field.attribute in self.loaded.values or field.attribute in self.judged:
                continue
            empty = tuple(hit.place for hit in self.hits.get(field.attribute, ()))
            if field.dev_default is not None and self.situation.profile == "development":
                value = field.kind(field.name, field.dev_default)  # type: ignore[arg-type]
                self._use(field.attribute, value, "dev_default", "the declaration")
                defaults.append(field.name)
            elif field.required_for(self.situation.profile):
                self._note_missing(field, empty)
            elif empty:
                self.loaded.warnings.append(f"{field.name} is empty in {empty[0]}, so it is absent")
        if defaults:
            self.loaded.warnings.append(f"Development defaults are in use: {', '.join(defaults)}")

    def _use(self, attribute: str, value: Value, source: str, place: str) -> None:
        """Make a value the one of its field."""
        self.loaded.values[attribute] = value
        self.loaded.elsewhere[attribute] = source, place

    def _note_missing(self, field: Field, empty: tuple[str, ...]) -> None:
        """Report a required field that has no value; its empty files are at ``empty``."""
        hint = hints.mend(field, self.situation, self.declaration)
        if empty:
            self._note(field, "empty", "is empty", empty, hint)
            return
        refused = f"; its development default is refused in the profile {self.situation.profile}"
        message = "is missing" + (refused if field.dev_default is not None else "")
        self._note(field, "missing", message, self._places(field), hint)

    def _places(self, field: Field) -> tuple[str, ...]:
        """Say where was looked, with what may have been meant."""
        places = []
        tried = field.candidates[0] if field.file else field.name.lower()
        others = set(field.candidates) - {tried, f"{tried}.txt"}
        stems = [name for name in field.candidates if name in others and not name.endswith(".txt")]
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
