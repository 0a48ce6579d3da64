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
from typing import TYPE_CHECKING, NamedTuple

from hive_boot.exceptions import Problem
from hive_boot.redaction.sealing import Endless
from hive_boot.secrets.field import Fault
from hive_boot.secrets.findings import Findings
from hive_boot.secrets.mode import FOREIGN
from hive_boot.secrets.sources.environment import as_value
from hive_boot.secrets.sources.mounted import Reading, read_directory, read_paths, subvolumes
from hive_boot.secrets.sources.patience import Patience
from hive_boot.secrets.sources.reading import A_DIRECTORY, NOT_UTF_8, Hit, Outcome, Value
from hive_boot.secrets.validation import judge
from hive_boot.secrets.value import Secret, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hive_boot.secrets.field import Field
    from hive_boot.secrets.inventory import Inventory
    from hive_boot.secrets.mode import Situation


def load(  # noqa: PLR0913  (all that it depends on)
    inventory: Inventory,
    situation: Situation,
    *,
    declaration: str = "",
    patience: Patience | None = None,
    given: Mapping[str, Value | None] | None = None,
    thorough: bool = False,
) -> Findings:
    """Load and judge every field of an inventory.

    Args:
        inventory: what is declared.
        situation: where to look, and how strictly.
        declaration: the name of the declaring class, for hints.
        patience: the clock and its limits.
        given: values that count more than any source, by attribute; None says that a
            secret is absent.
        thorough: whether there is time to see what becomes of a file that was just
            taken away. Default False.
    """
    patience = (patience or Patience())._replace(thorough=thorough)
    loading = _Loading(Findings(inventory, situation, declaration), patience)
    loading.take_given(given or {})
    loading.run()
    judge(loading.findings, loading.judged)
    return loading.findings


class _Layer(NamedTuple):
    """Variables of one origin.

    Attributes:
        source: what a :class:`Hit` calls it.
        place: where it is, for a person.
        values: the variables.
    """

    source: str
    place: str
    values: Mapping[str, str | Secret]


class _Loading:
    """One pass over the sources; it is used once.

    Attributes:
        answered: the attributes for which a variable counts more than any file.
        judged: the attributes whose problem is noted already.
    """

    def __init__(self, findings: Findings, patience: Patience) -> None:
        self.findings = findings
        self.inventory = findings.inventory
        self.situation = findings.situation
        self.patience = patience
        self.answered: set[str] = set()
        self.judged: set[str] = set()

    def take_given(self, given: Mapping[str, Value | None]) -> None:
        """Take values that no source is asked for."""
        for attribute, value in given.items():
            self.answered.add(attribute)
            if value is not None:
                self.findings.use(attribute, value, "override", "override()")

    def run(self) -> None:
        """Ask every source that the mode has."""
        for layer in self._layers():
            self._ask_variables(layer)
        if self.situation.mounted:
            self._ask_directories()

    def _layers(self) -> list[_Layer]:
        layers = [_Layer("environment", "the environment", self.situation.variables())]
        if self.situation.mode == "development":
            layers += self._dotenv_layers()
        return layers

    def _dotenv_layers(self) -> list[_Layer]:
        from hive_boot.secrets.sources.dotenv import (  # noqa: PLC0415  (only development needs it)
            nothing_found,
            read_dotenv,
        )

        findings, situation = self.findings, self.situation
        files = [read_dotenv(path) for path in situation.dotenv]
        if not any(file.exists for file in files):
            findings.remarks.append(nothing_found(files))
        for file in files:
            findings.problems += file.problems
            for name in file.ignored:
                message = f"{name} in {file.path} means nothing: set it in the environment"
                findings.warn("dotenv-setting", message, name, location=file.path)
        return [_Layer(".env", file.path, file.values) for file in files]

    def _ask_variables(self, layer: _Layer) -> None:
        """Take from one layer what no stronger one has: a variable, or its ``_FILE``."""
        # A variable that is set to nothing counts as unset.
        values = layer.values
        said = {variable for variable in values if _reader(values, variable)()}
        self.findings.names.update(said)
        paths: list[tuple[str, Field]] = []
        answered: set[str] = set()
        for pointer in said & self.inventory.by_pointer.keys():
            field = self.inventory.by_pointer[pointer]
            if field.attribute in self.answered:
                continue
            answered.add(field.attribute)
            if field.name in said:
                self.judged.add(field.attribute)
                message = f"is set twice, as {field.name} and as {pointer}"
                hint = f"unset one of the two in {layer.place}"
                self.findings.note(field, "conflict", message, (layer.place,), hint)
            else:
                paths.append((_reader(values, pointer)(), field))
        for name in said & self.inventory.by_variable.keys():
            field = self.inventory.by_variable[name]
            read = _reader(values, name)
            value = as_value(field, read)
            if value is NOT_UTF_8:
                self._pass_over(value_of(Secret, name, read))
            if field.attribute in answered | self.answered:
                self._pass_over(value)
            elif self.situation.mounted:
                self.findings.copies[field.attribute] = value
            else:
                answered.add(field.attribute)
                place = name if layer.source == "environment" else layer.place
                self.findings.add(field.attribute, Hit(value, layer.source, place))
        self.answered |= answered
        if answered and layer.source == ".env":
            self.findings.dotenv.add(layer.place)
        while paths:
            # Two fields may be read from one file: each round reads a file once.
            fields = {
                os.path.join(self.situation.cwd, path): (path, field) for path, field in paths
            }
            self._read_pointers(fields)
            done = [field for _, field in fields.values()]
            paths = [(path, field) for path, field in paths if field not in done]

    def _read_pointers(self, pointers: Mapping[str, tuple[str, Field]]) -> None:
        """Read the files that ``NAME_FILE`` variables name.

        Args:
            pointers: the text of the variable, which may be a value by mistake, and the
                field, by the path that it leads to.
        """
        from hive_boot.secrets.hints import printable_path  # noqa: PLC0415  (few are used)

        answers = {
            path: (field.attribute, field.name, field.kind is Secret)
            for path, (_, field) in pointers.items()
        }
        reading = read_paths(answers, self.patience)
        batch = reading.batch
        for path, field in pointers.values():
            pointer = f"{field.name}_FILE"
            shown = printable_path(path)
            place = f"{pointer}={shown}" if shown else f"{pointer} (its text is not shown)"
            odd = batch.odd.get(field.attribute)
            held = reading.fault or batch.values.get(field.attribute) or (odd and odd[0].held)
            if held:
                self.findings.add(field.attribute, Hit(held, "file", place))
            else:
                if shown is None:
                    # It is no path: probably it is the value.
                    self._pass_over(Secret(field.name, path))
                self.judged.add(field.attribute)
                message = f"is to be read from a file that does not exist: {pointer} names it"
                hint = f"make {pointer} the path of a file that holds the value"
                self.findings.note(field, "missing", message, (place,), hint)

    def _ask_directories(self) -> None:
        situation, readings = self.situation, self.findings.readings
        usual = not situation.named_by and situation.mode != "systemd"
        for directory in situation.directories:
            without = FOREIGN if usual else frozenset[str]()
            reading = read_directory(directory, self.inventory, self.patience, without=without)
            readings.append(reading)
            if usual and not reading.volume:
                readings += self._read_subvolumes(reading)
        for reading in readings:
            self._take(reading)
        if situation.mode == "kubernetes" and all(
            reading.is_absent or not (reading.fault or set(reading.names) - FOREIGN)
            for reading in readings
        ):
            from hive_boot.secrets.hints import NO_VOLUME  # noqa: PLC0415  (only a failure's)

            self.findings.advice.append(NO_VOLUME)

    def _read_subvolumes(self, above: Reading) -> list[Reading]:
        """Read the volumes that lie in a plain directory, also under the name of a secret."""
        odd = above.batch.odd
        taken = {
            hit.place: attribute
            for attribute, hits in odd.items()
            for hit in hits
            if hit.held is A_DIRECTORY
        }
        by_file = self.inventory.by_file
        names = {name for name in above.names if name not in by_file} - FOREIGN
        names.update(map(os.path.basename, taken))
        below = subvolumes(above.path, names)
        for path in taken.keys() & set(below):
            attribute = taken[path]
            odd[attribute] = [hit for hit in odd[attribute] if hit.place != path]
        return [read_directory(path, self.inventory, self.patience) for path in below]

    def _take(self, reading: Reading) -> None:
        """Take over what one directory held, but for what a variable answers."""
        named_by = self.situation.named_by
        if reading.fault is not None and (named_by or not reading.is_absent):
            self.findings.problems.append(
                Problem(
                    name=reading.path,
                    kind=reading.fault.kind,
                    message=reading.fault.message + (f"; {named_by} names it" if named_by else ""),
                    hint="mount the secrets there, readable by the user of this process",
                )
            )
        batch, findings = reading.batch, self.findings
        if not (self.answered or findings.odd or findings.values or batch.odd):
            findings.values = batch.values
            return
        for attribute, value in batch.values.items():
            place = os.path.join(reading.path, batch.files[attribute])
            self._add(attribute, Hit(value, "file", place))
        for attribute, hits in batch.odd.items():
            for hit in hits:
                self._add(attribute, hit)

    def _add(self, attribute: str, hit: Hit) -> None:
        if attribute in self.answered:
            self._pass_over(hit.held)
        else:
            self.findings.add(attribute, hit)

    def _pass_over(self, held: Outcome) -> None:
        """Keep what is in no use: it is to be shown no more than what is."""
        if not isinstance(held, Fault):
            self.findings.refused.append(held)


def _reader(values: Mapping[str, str | Secret], name: str) -> Callable[[], str]:
    """Return what gives the text of a variable; no variable of a frame holds the text."""
    if isinstance(values[name], Secret):
        return values[name].reveal  # type: ignore[union-attr]
    return Endless(values[name]).__next__
