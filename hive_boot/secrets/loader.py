"""Loader: reads the sources of a mode in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hive_boot._records import Record
from hive_boot.exceptions import Problem
from hive_boot.redaction.opaque import _OpaqueIterator
from hive_boot.secrets.fields import ValueProblem
from hive_boot.secrets.load_result import LoadNote, LoadResultBuilder
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
    read_fifo,
)
from hive_boot.secrets.validation import validate
from hive_boot.secrets.value import Secret, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hive_boot.secrets.fields import Field, FieldIndex
    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.platform import SourceContext
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
        fifo_reader: reads FIFOs; None to use only what an earlier load of this process has read.
            Default None.
    """
    policy = (policy or ReadPolicy()).replace(recheck_recent_directories=recheck_recent_directories)
    builder = LoadResultBuilder(field_index, source_context, declaration)
    loading = _Loader(builder, policy, fifo_reader)
    loading.apply_overrides(overrides or {})
    loading.run()
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
    values: Mapping[str, str | Secret | ValueProblem]


class _Loader:
    """One pass over the sources; it is used once.

    Attributes:
        answered: the attributes that a stronger source has provided.
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
        self.reported: set[str] = set()

    def apply_overrides(self, overrides: Mapping[str, Value | None]) -> None:
        """Use the values of ``override()``, for which no source is read."""
        for attribute, value in overrides.items():
            self.answered.add(attribute)
            if value is not None:
                self.builder.use(attribute, value, "override", "override()")

    def run(self) -> None:
        """Read every source of the mode."""
        variables = self.source_context.variables()
        self._read_variables(_VariableSource("environment", "the environment", variables))
        if self.source_context.mode == "development":
            self._read_env_files()
        if self.source_context.mounted:
            self._read_directories()

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
                if field.attribute not in self.answered
            }
            file = read_dotenv(
                path, wanted=wanted.keys(), scopes=scopes, fifo_reader=self.fifo_reader
            )
            exists |= file.exists
            scopes += [file.value_problems, file.values]
            if file.problem is not None:
                builder.unread_files.append(file.problem)
            builder.problems += file.problems
            self.reported.update(wanted[name] for name in file.concerned)
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

    def _read_variables(self, layer: _VariableSource) -> None:  # noqa: C901  (one rule after another)
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
            elif isinstance(problem := values[pointer], ValueProblem):
                self.builder.add(field.attribute, SourceHit(problem, layer.source, layer.place))
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
                    fix="mount the secrets there, readable by the user of this process",
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


def _reader(values: Mapping[str, str | Secret | ValueProblem], name: str) -> Callable[[], Any]:
    """Return a function that returns the text of a variable. No local variable holds the text."""
    if isinstance(values[name], Secret):
        return values[name].reveal  # type: ignore[union-attr]
    return _OpaqueIterator(values[name]).__next__
