"""Loader: reads the sources of a mode in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hive_boot._records import Record
from hive_boot.exceptions import Problem
from hive_boot.redaction.opaque import _OpaqueIterator
from hive_boot.secrets.fields import ValueProblem
from hive_boot.secrets.load_result import LoadNote, LoadResultBuilder, location_text
from hive_boot.secrets.platform import PLATFORM_ENTRIES
from hive_boot.secrets.sources.directories import (
    DirectorySnapshot,
    ReadPolicy,
    find_kubelet_volumes,
    read_directory,
    read_paths,
)
from hive_boot.secrets.sources.files import (
    A_DIRECTORY,
    NOT_UTF_8,
    SourceHit,
    Value,
    ValueOrProblem,
    as_value,
)
from hive_boot.secrets.validation import validate
from hive_boot.secrets.value import Secret, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hive_boot.secrets.fields import Field, FieldIndex
    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.platform import SourceContext


def load(  # noqa: PLR0913  (all that it depends on)
    field_index: FieldIndex,
    source_context: SourceContext,
    *,
    declaration: str = "",
    policy: ReadPolicy | None = None,
    overrides: Mapping[str, Value | None] | None = None,
    recheck_recent_directories: bool = False,
) -> LoadResult:
    """Load and validate every field of a declaration.

    Args:
        field_index: the declared fields.
        source_context: mode, profile and locations of the sources.
        declaration: the name of the declaring class, for fixes.
        policy: the clock and its limits.
        overrides: values that take precedence over every source, by attribute; None makes a
            secret absent.
        recheck_recent_directories: whether to wait for a file that was just removed. Default
            False.
    """
    policy = (policy or ReadPolicy()).replace(recheck_recent_directories=recheck_recent_directories)
    loading = _Loader(LoadResultBuilder(field_index, source_context, declaration), policy)
    loading.apply_overrides(overrides or {})
    loading.run()
    validate(loading.builder, loading.reported)
    return loading.builder.build()


_EXAMPLES = (".example", ".sample", ".template", ".dist")
"""The endings of files beside ``.env`` that show which variables to set."""


_DIRECTORY_FIXES = {
    "unreadable": "permit the user of this process to list and to enter the directory",
    "unstable": "let the program that writes there write each file once, or replace it by a rename",
}
"""The fixes of a directory that exists, by the kind of its problem."""


class _VariableSource(Record):
    """Variables of one origin.

    Attributes:
        source: the kind of source, as in :class:`SourceHit`.
        place: the environment or the path of the file, for messages.
        values: the variables.
    """

    source: str
    place: str
    values: Mapping[str, str | Secret]


class _Loader:
    """One pass over the sources; it is used once.

    Attributes:
        answered: the attributes that a stronger source has provided.
        pointed: the attributes of ``answered`` that only a ``NAME_FILE`` of the environment has
            provided. Such a variable may belong to other software (``SSL_CERT_FILE``), so a
            variable of a ``.env`` file with a different value is a conflict.
        overridden: for each name, the values that a stronger variable has overridden.
        reported: the attributes that have a problem already.
    """

    def __init__(self, builder: LoadResultBuilder, policy: ReadPolicy) -> None:
        self.builder = builder
        self.field_index = builder.field_index
        self.source_context = builder.source_context
        self.policy = policy
        self.answered: set[str] = set()
        self.pointed: set[str] = set()
        self.overridden: dict[str, list[str]] = {}
        self.reported: set[str] = set()

    def apply_overrides(self, overrides: Mapping[str, Value | None]) -> None:
        """Use the values of ``override()``, for which no source is read."""
        for attribute, value in overrides.items():
            self.answered.add(attribute)
            if value is not None:
                self.builder.use(attribute, value, "override", "override()")

    def run(self) -> None:
        """Read every source of the mode."""
        for layer in self._layers():
            self._read_variables(layer)
        if self.overridden:
            names = sorted(self.overridden)
            location = "; ".join(text for name in names for text in self.overridden[name])
            self.builder.warn("overridden", *names, location=location)
        if self.source_context.mounted:
            self._read_directories()
        elif self.source_context.env_files:
            self._compare_with_examples()

    def _layers(self) -> list[_VariableSource]:
        layers = [
            _VariableSource("environment", "the environment", self.source_context.variables())
        ]
        if self.source_context.mode == "development":
            layers += self._dotenv_layers()
        return layers

    def _dotenv_layers(self) -> list[_VariableSource]:
        from hive_boot.secrets.sources.dotenv import read_dotenv  # noqa: PLC0415  (only development needs it)

        builder, source_context = self.builder, self.source_context
        files = [read_dotenv(path) for path in source_context.env_files]
        if not any(file.exists for file in files):
            paths = tuple(reversed(source_context.env_files))
            builder.notes.append(LoadNote("no-dotenv", locations=paths))
        for file in files:
            builder.problems += file.problems
            for name in file.ignored:
                builder.warn("dotenv-setting", name, location=file.path)
        return [_VariableSource(".env", file.path, file.values) for file in files]

    def _compare_with_examples(self) -> None:
        """Warn about values that are those of an example beside ``.env``, which git contains."""
        from hive_boot.secrets.sources.dotenv import read_dotenv  # noqa: PLC0415  (only development needs it)

        builder = self.builder
        for ending in _EXAMPLES:
            path = self.source_context.env_files[-1] + ending
            example = read_dotenv(path).values if os.path.isfile(path) else {}
            names = [
                name
                for name in example.keys() & self.field_index.by_variable.keys()
                if builder.values.get(self.field_index.by_variable[name].attribute) == example[name]
            ]
            if names:
                builder.warn("example-value", *sorted(names), location=path)

    def _read_variables(self, layer: _VariableSource) -> None:
        """Read the declared variables and their ``_FILE``.

        In a mounted mode the files that ``_FILE`` names are as strong as those in directories. In
        the other modes a variable overrides those of weaker layers.
        """
        # An empty variable counts as unset.
        values = layer.values
        said = {variable for variable in values if _reader(values, variable)()}
        self.builder.names.update(said)
        paths: list[tuple[str, Field]] = []
        answered: set[str] = set()
        for pointer in said & self.field_index.by_file_variable.keys():
            field = self.field_index.by_file_variable[pointer]
            if field.attribute in self.answered:
                self._override(field, pointer, layer, None)
                continue
            answered.add(field.attribute)
            paths.append((_reader(values, pointer)(), field))
            if layer.source == "environment" and field.name not in said:
                self.pointed.add(field.attribute)
        stronger = self.answered - self.pointed
        for name in said & self.field_index.by_variable.keys():
            field = self.field_index.by_variable[name]
            read = _reader(values, name)
            value = as_value(field, read)
            if value is NOT_UTF_8:
                self._discard(value_of(Secret, name, read))
            if field.attribute in stronger:
                self._override(field, name, layer, value)
                self._discard(value)
            elif self.source_context.mounted:
                self.builder.env_duplicates[field.attribute] = value
            else:
                answered.add(field.attribute)
                place = name if layer.source == "environment" else layer.place
                self.builder.add(field.attribute, SourceHit(value, layer.source, place))
        if not self.source_context.mounted:
            self.answered |= answered
        if answered and layer.source == ".env":
            self.pointed -= answered
            self.builder.env_files.add(layer.place)
        self._read_files(paths)

    def _read_files(self, paths: list[tuple[str, Field]]) -> None:
        """Read the files of fields, of which two may have the same file."""
        while paths:
            # Each round reads a file once.
            fields = {
                os.path.join(self.source_context.cwd, path): (path, field) for path, field in paths
            }
            self._read_pointers(fields)
            done = [field for _, field in fields.values()]
            paths = [(path, field) for path, field in paths if field not in done]

    def _read_pointers(self, pointers: Mapping[str, tuple[str, Field]]) -> None:
        """Read the files that ``NAME_FILE`` variables name.

        Args:
            pointers: the text of the variable, which may be a value by mistake, and the
                field, by the absolute path.
        """
        from hive_boot.secrets.fix_hints import printable_path  # noqa: PLC0415  (few are used)

        answers = {
            path: (field.attribute, field.name, field.kind is Secret)
            for path, (_, field) in pointers.items()
        }
        snapshot = read_paths(answers, self.policy)
        batch = snapshot.batch
        for path, field in pointers.values():
            pointer = f"{field.name}_FILE"
            shown = printable_path(path)
            place = f"{pointer}={shown}" if shown else f"{pointer} (value not shown)"
            unresolved = batch.unresolved.get(field.attribute)
            found = (
                snapshot.problem
                or batch.values.get(field.attribute)
                or (unresolved and unresolved[0].result)
            )
            if not found:
                if shown is None:
                    # The text is not a path: it may be the value itself, so hide it.
                    self._discard(Secret(field.name, path))
                message = f"cannot be read: the file named by {pointer} does not exist"
                fix = f"set {pointer} to the path of a file that contains the value, or unset it"
                found = ValueProblem("missing", message, fix)
            self.builder.add(field.attribute, SourceHit(found, "file", place))

    def _override(
        self, field: Field, variable: str, layer: _VariableSource, value: ValueOrProblem | None
    ) -> None:
        """Record that a stronger variable overrides one with a different value.

        Args:
            field: the field.
            variable: the overridden variable.
            layer: where it is set.
            value: its value; None for a ``NAME_FILE``, whose file is not read.
        """
        builder, attribute = self.builder, field.attribute
        hits = builder.unresolved.get(attribute, [])
        if attribute in builder.values:
            hits = [SourceHit(builder.values[attribute], *builder.origin(attribute))]
        for hit in hits[:1]:
            is_used = not isinstance(hit.result, ValueProblem) and hit.source != "override"
            if is_used and hit.result != value:
                text = f"{variable} in {layer.place} by {location_text((hit.source, hit.place))}"
                self.overridden.setdefault(field.name, []).append(text)

    def _read_directories(self) -> None:
        source_context, snapshots = self.source_context, self.builder.snapshots
        usual = not source_context.directories_setting and source_context.mode != "systemd"
        for directory in source_context.directories:
            without = PLATFORM_ENTRIES if usual else frozenset[str]()
            snapshot = read_directory(directory, self.field_index, self.policy, without=without)
            snapshots.append(snapshot)
            if usual and not snapshot.volume:
                snapshots += self._read_subvolumes(snapshot)
        for snapshot in snapshots:
            self._take(snapshot)
        if source_context.mode == "kubernetes" and all(
            snapshot.is_absent or not (snapshot.problem or set(snapshot.names) - PLATFORM_ENTRIES)
            for snapshot in snapshots
        ):
            self.builder.hints.append(LoadNote("no-volume"))

    def _read_subvolumes(self, above: DirectorySnapshot) -> list[DirectorySnapshot]:
        """Read the volumes in a plain directory, also those named like a secret."""
        if len(above.batch.files) == len(above.names):
            return []  # each name is the file of a secret
        unresolved = above.batch.unresolved
        taken = {
            hit.place: attribute
            for attribute, hits in unresolved.items()
            for hit in hits
            if hit.result is A_DIRECTORY
        }
        by_file = self.field_index.by_file
        names = {name for name in above.names if name not in by_file} - PLATFORM_ENTRIES
        names.update(map(os.path.basename, taken))
        below = find_kubelet_volumes(above.path, names)
        for path in taken.keys() & set(below):
            attribute = taken[path]
            unresolved[attribute] = [hit for hit in unresolved[attribute] if hit.place != path]
        return [read_directory(path, self.field_index, self.policy) for path in below]

    def _take(self, snapshot: DirectorySnapshot) -> None:
        """Add the content of one directory, except for what a stronger source has provided."""
        directories_setting = self.source_context.directories_setting
        if snapshot.problem is not None and (directories_setting or not snapshot.is_absent):
            self.builder.problems.append(
                Problem(
                    name=snapshot.path,
                    kind=snapshot.problem.kind,
                    message=snapshot.problem.message
                    + (f"; it is named by {directories_setting}" if directories_setting else ""),
                    fix=_DIRECTORY_FIXES.get(snapshot.problem.kind, "mount the secrets there"),
                )
            )
        batch, builder = snapshot.batch, self.builder
        if not (self.answered or builder.unresolved or builder.values or batch.unresolved):
            builder.values = batch.values
            return
        for attribute, value in batch.values.items():
            place = os.path.join(snapshot.path, batch.files[attribute])
            self._add(attribute, SourceHit(value, "file", place))
        for attribute, hits in batch.unresolved.items():
            for hit in hits:
                self._add(attribute, hit)

    def _add(self, attribute: str, hit: SourceHit) -> None:
        if attribute in self.answered:
            self._discard(hit.result)
        else:
            self.builder.add(attribute, hit)

    def _discard(self, result: ValueOrProblem) -> None:
        """Keep a value that is not used, because it must be hidden too."""
        if not isinstance(result, ValueProblem):
            self.builder.unused_values.append(result)


def _reader(values: Mapping[str, str | Secret], name: str) -> Callable[[], str]:
    """Return a function that returns the text of a variable. No local variable holds the text."""
    if isinstance(values[name], Secret):
        return values[name].reveal  # type: ignore[union-attr]
    return _OpaqueIterator(values[name]).__next__
