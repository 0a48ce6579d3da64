"""Loader: reads the sources of a mode in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hive_boot._records import Record
from hive_boot.exceptions import Problem
from hive_boot.redaction.opaque import _OpaqueIterator
from hive_boot.secrets.fields import FileIndex, ValueProblem
from hive_boot.secrets.load_result import LoadNote, LoadResultBuilder, location_text
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
    read_fifo,
)
from hive_boot.secrets.validation import validate
from hive_boot.secrets.value import Secret, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hive_boot.secrets.fields import Field, FieldIndex
    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.platform import SourceContext
    from hive_boot.secrets.sources.external import CustomSource
    from hive_boot.secrets.sources.files import FifoReader


_SHOWN = 10
"""The maximum number of lines of a file that get a warning of one kind."""


def load(  # noqa: PLR0913  (all that it depends on)
    field_index: FieldIndex,
    source_context: SourceContext,
    *,
    declaration: str = "",
    policy: ReadPolicy | None = None,
    overrides: Mapping[str, Value | None] | None = None,
    recheck_recent_directories: bool = False,
    custom: Sequence[CustomSource] = (),
    fifo_reader: FifoReader | None = None,
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
        fifo_reader: reads FIFOs; None to use only what an earlier load of this process has read.
            Default None.
    """
    policy = (policy or ReadPolicy()).replace(recheck_recent_directories=recheck_recent_directories)
    builder = LoadResultBuilder(field_index, source_context, declaration)
    loading = _Loader(builder, policy, fifo_reader)
    loading.apply_overrides(overrides or {})
    loading.run()
    loading.builder.resolve_aliases(loading.reported)
    if custom:
        loading.add_answers(custom)
    validate(loading.builder, loading.reported)
    return loading.builder.build()


_EXAMPLES = (".example", ".sample", ".template", ".dist")
"""The endings of files beside ``.env`` that show which variables to set."""


_DIRECTORY_FIXES = {
    "bundle": "write a JSON object, or lines of NAME='value' with quotes around values",
    "unreadable": "permit the user of this process to enter the directory or to read the file",
    "unstable": "let the program that writes there write each file once, or replace it by a rename",
}
"""The fixes of a directory or a bundle that exists, by the kind of its problem."""


class _VariableSource(Record):
    """Variables of one origin.

    Attributes:
        source: the kind of source, as in :class:`SourceHit`.
        place: the environment or the path of the file, for messages.
        values: the variables.
    """

    source: str
    place: str
    values: Mapping[str, str | Secret | ValueProblem]


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

    def __init__(
        self, builder: LoadResultBuilder, policy: ReadPolicy, fifo_reader: FifoReader | None
    ) -> None:
        self.builder = builder
        self.field_index = builder.field_index
        self.source_context = builder.source_context
        self.policy = policy
        self.fifo_reader = fifo_reader
        self.answered: set[str] = set()
        self.pointed: set[str] = set()
        self.overridden: dict[str, list[str]] = {}
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
        variables = self.source_context.variables()
        self._read_variables(_VariableSource("environment", "the environment", variables))
        if self.source_context.mode == "development":
            self._read_env_files()
        if os.path.exists(ignored := self.source_context.ignored_env_file):
            self.builder.notes.append(LoadNote("env-file", locations=(ignored,)))
        if self.overridden:
            names = sorted(self.overridden)
            location = "; ".join(text for name in names for text in self.overridden[name])
            self.builder.warn("overridden", *names, location=location)
        if self.source_context.mounted:
            self._read_directories()
        elif self.source_context.env_files:
            self._compare_with_examples()

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

    def _read_env_files(self) -> None:
        from hive_boot.secrets.sources.dotenv import read_dotenv  # noqa: PLC0415  (only development needs it)

        builder, field_index = self.builder, self.field_index
        scopes: list[Mapping[str, str | Secret | ValueProblem]] = [self.source_context.variables()]
        exists = False
        for path in self.source_context.env_files:
            wanted = {
                name: field.attribute
                for names in (field_index.by_variable, field_index.by_file_variable)
                for name, field in names.items()
                if not self.answered & {field.attribute, field.attribute.partition(".alias.")[0]}
            }
            file = read_dotenv(
                path, wanted=wanted.keys(), scopes=scopes, fifo_reader=self.fifo_reader
            )
            exists |= file.exists
            scopes += [file.value_problems, file.values]
            if file.problem is not None:
                builder.unread_files.append(file.problem)
            builder.problems += file.problems
            self.reported.update(wanted[name].partition(".alias.")[0] for name in file.concerned)
            for name in file.ignored:
                builder.warn("dotenv-setting", name, location=path)
            for line in file.unreadable_lines[:_SHOWN]:
                builder.warn("dotenv-line", location=f"{path}:{line}")
            for line, name in list(file.repeated.items())[:_SHOWN]:
                builder.warn("dotenv-repeated", *filter(None, [name]), location=f"{path}:{line}")
            self._read_variables(
                _VariableSource(".env", path, {**file.values, **file.value_problems})
            )
        if not exists:
            paths = tuple(reversed(self.source_context.env_files))
            builder.notes.append(LoadNote("no-dotenv", locations=paths))
        if place := self.source_context.unknown_app_env:
            builder.notes.append(LoadNote("unknown-app-env", locations=(place,)))

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
        answered: set[str] = set()
        paths = list(self._named_files(layer, said, answered))
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

    def _named_files(
        self, layer: _VariableSource, said: set[str], answered: set[str]
    ) -> Iterator[tuple[str, Field]]:
        """Yield the file and the field of each ``NAME_FILE`` that no stronger layer overrides."""
        for pointer in said & self.field_index.by_file_variable.keys():
            field = self.field_index.by_file_variable[pointer]
            if field.attribute in self.answered:
                self._override(field, pointer, layer, None)
                continue
            answered.add(field.attribute)
            if isinstance(problem := layer.values[pointer], ValueProblem):
                self.builder.add(field.attribute, SourceHit(problem, layer.source, layer.place))
                continue
            if layer.source == "environment" and field.name not in said:
                self.pointed.add(field.attribute)
            yield _reader(layer.values, pointer)(), field

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
        fifos = {
            path: read_fifo(path, name, self.fifo_reader, is_text=is_text)
            for path, (_, name, is_text) in answers.items()
        }
        files = {path: answer for path, answer in answers.items() if fifos[path] is None}
        snapshot = read_paths(files, self.policy)
        batch = snapshot.batch
        for absolute, (path, field) in pointers.items():
            pointer = f"{field.name}_FILE"
            shown = printable_path(path)
            place = f"{pointer}={shown}" if shown else f"{pointer} (value not shown)"
            unresolved = batch.unresolved.get(field.attribute)
            found = (
                fifos[absolute]
                or snapshot.problem
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
        # A field is found under each of its names, also an older one.
        found = {attribute.partition(".alias.")[0] for attribute in found}
        lacking = {
            name: target
            for name, target in by_file.items()
            if target[0].partition(".alias.")[0] not in found
        }
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
            fix = _DIRECTORY_FIXES.get(snapshot.problem.kind, "mount the secrets there")
            if setting == "CREDENTIALS_DIRECTORY":
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
            builder.warn("dotenv-line", location=f"{snapshot.path}:{snapshot.skipped_line}")
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


def _reader(values: Mapping[str, str | Secret | ValueProblem], name: str) -> Callable[[], Any]:
    """Return a function that returns the text of a variable. No local variable holds the text."""
    if isinstance(values[name], Secret):
        return values[name].reveal  # type: ignore[union-attr]
    return _OpaqueIterator(values[name]).__next__
