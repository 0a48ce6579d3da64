"""Loader: reads the sources of a mode in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hive_boot._records import Record
from hive_boot.exceptions import Problem
from hive_boot.redaction.opaque import _OpaqueIterator
from hive_boot.secrets.fields import FileIndex, ValueProblem
from hive_boot.secrets.load_result import LoadNote, LoadResultBuilder
from hive_boot.secrets.platform import PLATFORM_ENTRIES
from hive_boot.secrets.sources.directories import (
    DirectorySnapshot,
    ReadPolicy,
    read_directory,
    read_paths,
    read_subdirectories,
)
from hive_boot.secrets.sources.files import (
    A_DIRECTORY,
    EMPTY,
    NOT_UTF_8,
    SourceHit,
    Value,
    ValueOrProblem,
    as_value,
)
from hive_boot.secrets.validation import validate
from hive_boot.secrets.value import Secret, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hive_boot.secrets.fields import Field, FieldIndex
    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.platform import SourceContext
    from hive_boot.secrets.sources.external import CustomSource


def load(  # noqa: PLR0913  (all that it depends on)
    field_index: FieldIndex,
    source_context: SourceContext,
    *,
    declaration: str = "",
    policy: ReadPolicy | None = None,
    overrides: Mapping[str, Value | None] | None = None,
    recheck_recent_directories: bool = False,
    custom: Sequence[CustomSource] = (),
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
        custom: the sources of the application. They are not asked: their last good answers are
            used for what nothing else provides. Default: none.
    """
    policy = (policy or ReadPolicy()).replace(recheck_recent_directories=recheck_recent_directories)
    loading = _Loader(LoadResultBuilder(field_index, source_context, declaration), policy)
    loading.apply_overrides(overrides or {})
    loading.run()
    loading.builder.resolve_aliases(loading.reported)
    if custom:
        loading.add_answers(custom)
    validate(loading.builder, loading.reported)
    return loading.builder.build()


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
        reported: the attributes that have a problem already.
    """

    def __init__(self, builder: LoadResultBuilder, policy: ReadPolicy) -> None:
        self.builder = builder
        self.field_index = builder.field_index
        self.source_context = builder.source_context
        self.policy = policy
        self.answered: set[str] = set()
        self.reported: set[str] = set()

    def apply_overrides(self, overrides: Mapping[str, Value | None]) -> None:
        """Use the values of ``override()``, for which no source is read."""
        for attribute, value in overrides.items():
            aliases = self.field_index.aliases.get(attribute, ())
            self.answered |= {attribute, *(alias.attribute for alias in aliases)}
            if value is not None:
                self.builder.use(attribute, value, "override", "override()")

    def run(self) -> None:
        """Read every source of the mode."""
        for layer in self._layers():
            self._read_variables(layer)
        if os.path.exists(ignored := self.source_context.ignored_env_file):
            self.builder.notes.append(LoadNote("env-file", locations=(ignored,)))
        if self.source_context.mounted:
            self._read_directories()

    def add_answers(self, custom: Sequence[CustomSource]) -> None:
        """Add the last good answers of the sources, for the fields that nothing else provides."""
        builder, profile = self.builder, self.source_context.profile
        hits = [(each, hit) for each, several in builder.unresolved.items() for hit in several]
        invalid = [attribute for attribute, hit in hits if hit.result is not EMPTY]
        found = {*builder.values, *invalid, *self.answered, *self.reported}
        if self.source_context.env_fallback:
            found |= builder.env_duplicates.keys()
        left = [each for each in self.field_index.all_fields if each.attribute not in found]
        for source in custom:
            source.want(left)
            builder.custom_sources.append(source.name)
            for field in left:
                if (result := source.results.get(field.name)) is not None:
                    builder.add(field.attribute, SourceHit(result, "source", source.name))
            if unknown := [each for each in left if each.name not in source.answered]:
                self.reported.update(field.attribute for field in unknown)
                required = [each for each in unknown if each.required_for(profile)]
                if source.problem is not None:
                    builder.problems.append(source.problem)
                elif required:
                    builder.problems.append(source.describe(required, "it was not asked"))
                if source.problem is None:
                    builder.warn("not-asked", *[field.name for field in unknown])
            left = [each for each in left if source.results.get(each.name, EMPTY) is EMPTY]

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
        if place := source_context.unknown_app_env:
            builder.notes.append(LoadNote("unknown-app-env", locations=(place,)))
        for file in files:
            builder.problems += file.problems
            for name in file.ignored:
                builder.warn("dotenv-setting", name, location=file.path)
        return [_VariableSource(".env", file.path, file.values) for file in files]

    def _read_variables(self, layer: _VariableSource) -> None:
        """Read the declared variables, or their ``_FILE``, that no stronger source has provided."""
        # An empty variable counts as unset.
        values = layer.values
        said = {variable for variable in values if _reader(values, variable)()}
        self.builder.names.update(said)
        paths: list[tuple[str, Field]] = []
        answered: set[str] = set()
        for pointer in said & self.field_index.by_file_variable.keys():
            field = self.field_index.by_file_variable[pointer]
            if field.attribute in self.answered:
                continue
            answered.add(field.attribute)
            if field.name in said:
                from hive_boot.secrets.fix_hints import Fix  # noqa: PLC0415  (only a failure needs it)

                self.reported.add(field.attribute)
                message = f"is set twice, as {field.name} and as {pointer}"
                fix = Fix(f"remove one of the two from {layer.place}")
                self.builder.add_problem(field, "conflict", message, (layer.place,), fix)
            else:
                paths.append((_reader(values, pointer)(), field))
        for name in said & self.field_index.by_variable.keys():
            field = self.field_index.by_variable[name]
            read = _reader(values, name)
            value = as_value(field, read)
            if value is NOT_UTF_8:
                self._discard(value_of(Secret, name, read))
            if field.attribute in answered | self.answered:
                self._discard(value)
            elif self.source_context.mounted:
                self.builder.env_duplicates[field.attribute] = value
            else:
                answered.add(field.attribute)
                place = name if layer.source == "environment" else layer.place
                self.builder.add(field.attribute, SourceHit(value, layer.source, place))
        self.answered |= answered
        if answered and layer.source == ".env":
            self.builder.env_files.add(layer.place)
        while paths:
            # Two fields may be read from one file: each round reads a file once.
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
        from hive_boot.secrets.fix_hints import Fix, printable_path  # noqa: PLC0415  (few are used)

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
            if found:
                self.builder.add(field.attribute, SourceHit(found, "file", place))
            else:
                if shown is None:
                    # The text is not a path: it may be the value itself, so hide it.
                    self._discard(Secret(field.name, path))
                self.reported.add(field.attribute)
                message = f"cannot be read: the file named by {pointer} does not exist"
                fix = Fix(f"set {pointer} to the path of a file that contains the value")
                self.builder.add_problem(field, "missing", message, (place,), fix)

    def _read_directories(self) -> None:
        source_context, snapshots = self.source_context, self.builder.snapshots
        for directory in source_context.directories:
            snapshot = read_directory(directory, self.field_index, self.policy)
            snapshots.append(snapshot)
            if not (snapshot.volume or snapshot.is_bundle or snapshot.problem):
                snapshots += self._read_subdirectories(snapshot)
        for snapshot in snapshots:
            self._take(snapshot)
        if source_context.mode == "kubernetes" and all(
            snapshot.is_absent or not (snapshot.problem or set(snapshot.names) - PLATFORM_ENTRIES)
            for snapshot in snapshots
        ):
            self.builder.hints.append(LoadNote("no-volume"))

    def _read_subdirectories(self, above: DirectorySnapshot) -> list[DirectorySnapshot]:
        """Read the names that a directory lacks from its subdirectories."""
        by_file, batch = self.field_index.by_file, above.batch
        if len(batch.files) == len(above.names):
            return []  # each name is the file of a secret
        found = batch.values.keys() | {
            attribute
            for attribute, hits in batch.unresolved.items()
            if any(hit.result not in {A_DIRECTORY, EMPTY} for hit in hits)
        }
        lacking = {name: target for name, target in by_file.items() if target[0] not in found}
        if not lacking:
            return []
        below = read_subdirectories(above, FileIndex(lacking), self.policy)
        searched = {each.path for each in below if each.volume or each.problem or each.has_results}
        if not self.source_context.directories_setting:
            foreign = {os.path.join(above.path, name) for name in PLATFORM_ENTRIES}
            below = [each for each in below if each.path not in foreign or each.has_results]
            searched |= foreign
        for attribute, hits in batch.unresolved.items():
            batch.unresolved[attribute] = [
                hit for hit in hits if hit.result is not A_DIRECTORY or hit.place not in searched
            ]
        return below

    def _take(self, snapshot: DirectorySnapshot) -> None:
        """Add the content of one directory, except for what a stronger source has provided."""
        setting = "" if snapshot.parent else self.source_context.directories_setting
        batch, builder = snapshot.batch, self.builder
        is_reported = bool(setting) or not (snapshot.is_absent or snapshot.is_skipped)
        if snapshot.problem is not None and is_reported:
            fix = "mount the secrets there, readable by the user of this process"
            if snapshot.problem.kind == "bundle":
                fix = "write a JSON object, or lines of NAME='value' with quotes around values"
            elif setting == "CREDENTIALS_DIRECTORY":
                fix = "add LoadCredential= to the unit, and start the unit again"
            named = f"; it is named by {setting}" if setting else ""
            builder.problems.append(
                Problem(
                    name=snapshot.path,
                    kind=snapshot.problem.kind,
                    message=f"{snapshot.problem.message}{named}",
                    fix=fix,
                )
            )
        if snapshot.skipped_line:
            location = f"{snapshot.path}:{snapshot.skipped_line}"
            builder.warn("bundle-line", snapshot.path, location=location)
        if not (self.answered or builder.unresolved or builder.values or batch.unresolved):
            builder.values = batch.values
            return
        for attribute, value in batch.values.items():
            self._add(attribute, SourceHit(value, "file", batch.directory + batch.files[attribute]))
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
