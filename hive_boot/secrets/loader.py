"""Loader: reads the sources of a mode in order."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from hive_boot.exceptions import Problem
from hive_boot.redaction import MIN_LENGTH, _OpaqueIterator
from hive_boot.secrets.fields import (
    VERSION,
    VERSION_RULE,
    Field,
    FieldIndex,
    ValueProblem,
    is_version,
)
from hive_boot.secrets.load_result import LoadNote, LoadResultBuilder, location_text
from hive_boot.secrets.platform import PLATFORM_ENTRIES
from hive_boot.secrets.sources.directories import (
    MOVING,
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
    as_declared_type,
    as_value,
    fix_of_file,
    read_fifo,
)
from hive_boot.secrets.validation import validate
from hive_boot.secrets.value import Secret, SecretBytes, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.platform import SourceContext
    from hive_boot.secrets.sources.external import CustomSource
    from hive_boot.secrets.sources.files import FifoReader, Value, ValueOrProblem


_SHOWN = 10
"""The maximum number of lines of a file that get a warning of one kind."""


def load(
    field_index: FieldIndex,
    source_context: SourceContext,
    *,
    declaration: str = "",
    policy: ReadPolicy | None = None,
    overrides: Mapping[str, Value | None] | None = None,
    is_reread: bool = False,
    quiet_contents: dict[object, object] | None = None,
    is_being_written: Callable[[Iterable[str]], bool] | None = None,
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
        is_reread: whether the application already runs. Default False.
        quiet_contents: what the loads of one run remember of its plain directories; None to forget
            it. Default None.
        is_being_written: returns whether a program has one of these files open, and may write
            more. Default: nothing is known.
        custom: the sources of the application. They are not asked: their last good answers are
            used for what nothing else provides. Default: none.
        fifo_reader: reads FIFOs; None to use only what an earlier load of this process has read.
            Default None.
    """
    policy = (policy or ReadPolicy()).replace(is_reread=is_reread, quiet_contents=quiet_contents)
    if is_being_written is not None:
        policy = policy.replace(is_being_written=is_being_written)
    for _ in range(policy.tries):
        parents = _real_parents(field_index, source_context)
        builder = LoadResultBuilder(field_index, source_context, declaration)
        loading = _Loader(builder, policy, fifo_reader)
        loading.run(overrides or {})
        now = _real_parents(field_index, source_context)
        if now == parents:
            break
    else:
        changed = next(path for path, before in zip(now, parents, strict=True) if path != before)
        builder.problems.append(Problem(changed, MOVING.kind, MOVING.message, fix=MOVING.fix))
    versions = builder.hits.pop(VERSION, ())
    builder.resolve_aliases()
    if custom:
        loading.add_answers(custom)
    validate(builder)
    if field_index.version:
        _find_version(builder, versions)
    return builder.build()


def _real_parents(field_index: FieldIndex, source_context: SourceContext) -> list[str]:
    """Return the real directories of the files and directories that are named one by one.

    If a link in a path is replaced during a load, everything is read again: what was read before
    and after belongs to different sets, which no time stamp shows if both sets are old.
    """
    variables = source_context.variables()
    names = [name for name in variables if name in field_index.by_file_variable]
    named = filter(None, map(variables.get, names))
    parents = dict.fromkeys(map(os.path.dirname, [*named, *source_context.directories]))
    return [os.path.realpath(os.path.join(source_context.cwd, each)) for each in parents]


def _find_version(builder: LoadResultBuilder, found: Sequence[SourceHit]) -> None:
    """Set the version of the set, or warn why it is unknown.

    A version vouches for the values that were read in the same step from the same directory,
    bundle, ``.env`` file or environment. It is the version of the set if these are all values.

    Args:
        builder: the validated values.
        found: where the version was found.
    """
    outside = [_values_outside(builder, hit) for hit in found]
    covering = [hit for hit, names in zip(found, outside, strict=True) if not names]
    reason = ""
    if covering:
        hit, *others = covering
        reason = _version_problem(builder, hit.result)
        if any(each.result != hit.result for each in others):
            places = dict.fromkeys(location_text(each.origin) for each in covering)
            reason = f"it has different values in {', '.join(places)}"
    elif found:
        names, place = min(zip(outside, [location_text(hit.origin) for hit in found], strict=True))
        shared = "one volume, directory, bundle or environment"
        reason = f"{place} is not in {shared} with {', '.join(names[:_SHOWN])}"
    elif builder.source_context.profile in {"production", "staging"}:
        reason = "it is missing; write it beside the values, after them"
    if reason:
        builder.warn("version", builder.field_index.version, location=reason)
    elif covering:
        builder.version = covering[0].result.reveal()  # type: ignore[union-attr, assignment]


def _values_outside(builder: LoadResultBuilder, version: SourceHit) -> list[str]:
    """Return the names of the values that were not read in one step with a version."""
    places: set[str] = set()
    for snapshot in builder.snapshots:
        of_snapshot = {hit.place for hits in snapshot.batch.hits.values() for hit in hits}
        # Files of several file systems, such as those of two volumes, do not change together.
        if version.place in of_snapshot and len(snapshot.batch.devices) <= 1:
            places = of_snapshot
    places_of = {"file": places, ".env": {version.place}}
    names = []
    for attribute in builder.values:
        source, place = builder.hits[attribute][0].origin
        if source != version.source or place not in places_of.get(source, {place}):
            names.append(builder.field_index.by_attribute[attribute].name)
    return names


def _version_problem(builder: LoadResultBuilder, found: ValueOrProblem) -> str:
    """Return why a text is not a version; empty if it is. The text may be a secret by mistake."""
    if isinstance(found, ValueProblem):
        return f"it {found.message}"
    text = str(found.reveal())
    if not is_version(text):
        return f"it must be {VERSION_RULE}"
    plain: dict[type, Any] = {SecretBytes: text.encode(), Secret: text}
    for value in (*builder.values.values(), *builder.unused_values):
        version = plain[type(value)]
        # A short value may be a part of any text.
        if value.reveal() == version or (
            len(value.reveal()) >= MIN_LENGTH and value.reveal() in version
        ):
            return "it contains a secret"
    return ""


_EXAMPLES = (".example", ".sample", ".template", ".dist")
"""The endings of files beside ``.env`` that show which variables to set."""


class _Loader:
    """One pass over the sources; it is used once.

    Attributes:
        answered: the attributes that a stronger source has provided.
        pointed: the attributes of ``answered`` that only a ``NAME_FILE`` of the environment has
            provided. Such a variable may belong to other software (``SSL_CERT_FILE``), so a
            variable of a ``.env`` file with a different value is a conflict.
        overridden: the names with a value that a stronger variable has overridden, each with a
            sentence about it.
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
        self.overridden: list[tuple[str, str]] = []

    def run(self, overrides: Mapping[str, Value | None]) -> None:
        """Read every source of the mode, for what ``overrides`` does not contain."""
        for attribute, value in overrides.items():
            aliases = self.field_index.aliases.get(attribute, ())
            self.answered |= {attribute, *(alias.attribute for alias in aliases)}
            if value is not None:
                self.builder.add(attribute, SourceHit(value, "override", "override()"))
        variables = self.source_context.variables()
        self._read_variables("environment", "the environment", variables)
        if self.source_context.env_files:
            self._wait_for_env_files()
            self._read_env_files()
        if os.path.exists(ignored := self.source_context.ignored_env_file):
            self.builder.notes.append(LoadNote("env-file", locations=(ignored,)))
        if self.overridden:
            names, texts = zip(*sorted(self.overridden), strict=True)
            self.builder.warn("overridden", *dict.fromkeys(names), location="; ".join(texts))
        if self.source_context.mounted:
            self._read_directories()
        elif self.source_context.env_files:
            self._compare_with_examples()

    def add_answers(self, custom: Sequence[CustomSource]) -> None:
        """Add the last good answers of the sources, for the fields that nothing else provides."""
        builder, profile = self.builder, self.source_context.profile
        known = {*self.answered, *builder.reported}
        if self.source_context.env_fallback:
            known |= builder.env_duplicates.keys()
        left = [
            field
            for field in self.field_index.all_fields
            if field.attribute not in known
            and all(hit.result is EMPTY for hit in builder.hits.get(field.attribute, ()))
        ]
        for source in custom:
            source.set_fields(left)
            builder.custom_sources.append(source.name)
            for field in left:
                if (result := source.results.get(field.name)) is not None:
                    builder.add(field.attribute, SourceHit(result, "source", source.name))
            if unknown := [each for each in left if each.name not in source.answered]:
                builder.reported.update(field.attribute for field in unknown)
                required = [each for each in unknown if each.required_for(profile)]
                if source.problem is not None:
                    builder.problems.append(source.problem)
                else:
                    builder.warn("not-asked", *[field.name for field in unknown])
                    if required:
                        builder.problems.append(source.describe(required, "it was not asked"))
            left = [each for each in left if source.results.get(each.name, EMPTY) is EMPTY]

    def _wait_for_env_files(self) -> None:
        """Wait until no ``.env`` file is being written; a start does not wait for an editor."""
        if self.policy.is_reread:
            # A FIFO must not be opened twice.
            files = list(filter(os.path.isfile, self.source_context.env_files))
            if why := read_paths(files, self.policy).problem:
                problem = Problem(", ".join(files), why.kind, why.message, fix=why.fix)
                self.builder.problems.append(problem)

    def _read_env_files(self) -> None:
        from hive_boot.secrets.sources.dotenv import read_dotenv  # only development needs it

        builder, field_index = self.builder, self.field_index
        scopes: list[Mapping[str, str | Secret | ValueProblem]] = [self.source_context.variables()]
        named = {**field_index.by_variable, **field_index.by_file_variable}
        exists = False
        for path in self.source_context.env_files:
            wanted = {
                name
                for name, field in named.items()
                if not self.answered & {field.attribute, field.attribute.partition(".alias.")[0]}
            }
            file = read_dotenv(path, wanted=wanted, scopes=scopes, fifo_reader=self.fifo_reader)
            exists |= file.exists
            scopes += [file.value_problems, file.values]
            if file.problem is not None:
                builder.unread_files.append(file.problem)
            builder.problems += file.problems
            for name in file.affected:
                builder.reported.add(named[name].attribute.partition(".alias.")[0])
            for name in file.ignored:
                builder.warn("dotenv-setting", name, location=path)
            for line in file.unreadable_lines[:_SHOWN]:
                builder.warn("dotenv-line", location=f"{path}:{line}")
            for line, name in list(file.repeated.items())[:_SHOWN]:
                builder.warn("dotenv-repeated", *filter(None, [name]), location=f"{path}:{line}")
            self._read_variables(".env", path, {**file.values, **file.value_problems})
        if not exists:
            paths = tuple(reversed(self.source_context.env_files))
            builder.notes.append(LoadNote("no-dotenv", locations=paths))
        if place := self.source_context.unknown_app_env:
            builder.notes.append(LoadNote("unknown-app-env", locations=(place,)))

    def _compare_with_examples(self) -> None:
        """Warn about values that are those of an example beside ``.env``, which git contains."""
        from hive_boot.secrets.sources.dotenv import read_dotenv  # only development needs it

        for ending in _EXAMPLES:
            path = self.source_context.env_files[-1] + ending
            names = [
                name
                for name, value in read_dotenv(path).values.items()
                if (field := self.field_index.by_variable.get(name))
                and as_value(field, value.reveal)
                in [hit.result for hit in self.builder.hits.get(field.attribute, ())]
            ]
            if names:
                self.builder.warn("example-value", *sorted(names), location=path)

    def _read_variables(
        self, source: str, place: str, values: Mapping[str, str | Secret | ValueProblem]
    ) -> None:
        """Read the declared variables of one origin and their ``_FILE``.

        In a mounted mode the files that ``_FILE`` names are as strong as those in directories. In
        the other modes a variable overrides those of weaker origins.

        Args:
            source: the kind of source, as in :class:`SourceHit`.
            place: the environment or the path of the file, for messages.
            values: the variables.
        """
        builder, by_variable = self.builder, self.field_index.by_variable
        # An empty variable counts as unset.
        texts = {name: read for name in values if (read := _reader(values, name))()}
        builder.names.update(texts)
        for name in self.field_index.version_variables:
            if name in texts:
                found = as_value(Field(name=name), texts[name])
                builder.add(
                    VERSION, SourceHit(found, source, name if source == "environment" else place)
                )
        stronger = self.answered - self.pointed
        paths = self._named_files(source, place, texts)
        answered = {field.attribute for _, field in paths}
        # The bytes of a file are UTF-8 in every locale.
        encoding = "utf-8" if source == ".env" else sys.getfilesystemencoding()
        for name in texts.keys() & by_variable.keys():
            field = by_variable[name]
            value = as_value(field, texts[name], encoding)
            hit = SourceHit(value, source, name if source == "environment" else place)
            if value is NOT_UTF_8:
                builder.discard(value_of(Secret, name, texts[name]))
            if field.attribute in stronger:
                self._override(field, f"{name} in {place}", value)
                builder.discard(value)
            elif self.source_context.mounted:
                builder.env_duplicates[field.attribute] = hit
            else:
                answered.add(field.attribute)
                builder.add(field.attribute, hit)
        if not self.source_context.mounted:
            self.answered |= answered
        if answered and source == ".env":
            self.pointed -= answered
            builder.env_files.add(place)
        if pointers := [(read(), field) for read, field in paths if isinstance(read(), str)]:
            self._read_pointers(pointers)

    def _named_files(
        self, source: str, place: str, texts: Mapping[str, Callable[[], Any]]
    ) -> list[tuple[Callable[[], Any], Field]]:
        """Return the path and the field of each ``NAME_FILE`` that no stronger one overrides."""
        paths = []
        for pointer in texts.keys() & self.field_index.by_file_variable.keys():
            field, read = self.field_index.by_file_variable[pointer], texts[pointer]
            if field.attribute in self.answered:
                self._override(field, f"{pointer} in {place}", None)
                continue
            paths.append((read, field))
            if isinstance(read(), ValueProblem):
                self.builder.add(field.attribute, SourceHit(read(), source, place))
            if source == "environment" and field.name not in texts:
                self.pointed.add(field.attribute)
        return paths

    def _read_pointers(self, pointers: list[tuple[str, Field]]) -> None:
        """Read the files that ``NAME_FILE`` variables name, of which two may be the same.

        Args:
            pointers: the text of each variable, which may be a value by mistake, and its field.
        """
        absolute = [os.path.join(self.source_context.cwd, path) for path, _ in pointers]
        fifos = {path: read_fifo(path, self.fifo_reader) for path in absolute}
        snapshot = read_paths([path for path in fifos if not fifos[path]], self.policy)
        for real, (path, field) in zip(absolute, pointers, strict=True):
            pointer = f"{field.name}_FILE"
            shown = printable_path(path)
            place = f"{pointer}={shown}" if shown else f"{pointer} (value not shown)"
            found = fifos[real] or snapshot.problem or snapshot.batch.result(real)
            found = as_declared_type(found, field.name, is_text=field.kind is Secret)
            if not found:
                if shown is None:
                    # The text is not a path: it may be the value itself, so hide it.
                    self.builder.discard(Secret(field.name, path))
                message = f"cannot be read: the file named by {pointer} does not exist"
                fix = f"set {pointer} to the path of a file that contains the value, or unset it"
                found = ValueProblem("missing", message, fix)
            self.builder.add(field.attribute, SourceHit(found, "file", place))

    def _override(self, field: Field, overridden: str, value: ValueOrProblem | None) -> None:
        """Record that a stronger variable overrides one with a different value.

        Args:
            field: the field.
            overridden: the overridden variable, and where it is set.
            value: its value; None for a ``NAME_FILE``, whose file is not read.
        """
        for hit in self.builder.hits.get(field.attribute, [])[:1]:
            is_used = not isinstance(hit.result, ValueProblem) and hit.source != "override"
            if is_used and hit.result != value:
                text = f"{overridden} by {location_text(hit.origin)}"
                self.overridden.append((field.name, text))

    def _read_directories(self) -> None:
        source_context, snapshots = self.source_context, self.builder.snapshots
        if source_context.directories_setting == "CREDENTIALS_DIRECTORY":
            # systemd writes all files before it starts the process.
            self.policy = self.policy.replace(waits_for_writers=False)
        for directory in source_context.directories:
            snapshot = read_directory(directory, self.field_index, self.policy)
            snapshots.append(snapshot)
            if not snapshot.volume:
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
        all_hits, fields = above.batch.hits, self.field_index.by_attribute
        found = all_hits.keys() - {
            attribute
            for attribute in above.batch.without_value
            if all(hit.result is A_DIRECTORY or hit.result is EMPTY for hit in all_hits[attribute])
        }
        if found >= fields.keys():
            return []
        # A field is found under each of its names, also an older one.
        found = {attribute.partition(".alias.")[0] for attribute in found}
        lacking = [fields[each] for each in fields if each not in found]
        if not lacking:
            return []
        index = self.field_index
        if found:
            fields_left = [each.replace(previous=None) for each in lacking]
            index = FieldIndex(fields_left, self.field_index.version)
        below = read_subdirectories(above, index, self.policy)
        searched = {each.path for each in below if each.volume or each.problem or each.has_results}
        if not self.source_context.directories_setting:
            foreign = {os.path.join(above.path, name) for name in PLATFORM_ENTRIES}
            below = [each for each in below if each.path not in foreign or each.has_results]
            searched |= foreign
        for attribute, hits in all_hits.items():
            all_hits[attribute] = tuple(
                hit
                for hit in hits
                if hit.result is not A_DIRECTORY
                or searched.isdisjoint({hit.place, hit.place.rpartition("#")[0]})
            )
        return below

    def _take(self, snapshot: DirectorySnapshot) -> None:
        """Add the content of one directory, except for what a stronger source has provided."""
        setting = "" if snapshot.parent else self.source_context.directories_setting
        batch, builder = snapshot.batch, self.builder
        is_reported = bool(setting) or not (snapshot.is_absent or snapshot.is_skipped)
        if snapshot.problem is not None and is_reported:
            fix = fix_of_file(snapshot.problem, snapshot.path)
            if setting == "CREDENTIALS_DIRECTORY":
                fix = "add LoadCredential= to the unit, and start the unit again"
            elif setting == "HIVE_BOOT_SECRETS_DIR" and snapshot.is_absent:
                fix += f", or unset {setting}"
            kind, message = snapshot.problem.kind, snapshot.problem.message
            message += f"; it is named by {setting}" if setting else ""
            problems = builder.unread_files if snapshot.is_bundle else builder.problems
            problems.append(Problem(snapshot.path, kind, message, fix=fix))
        if batch.skipped_line and snapshot.is_bundle:
            builder.warn("dotenv-line", location=f"{snapshot.path}:{batch.skipped_line}")
        if not builder.hits and self.answered.isdisjoint(batch.hits):
            builder.hits = {**batch.hits}
            return
        for attribute, hits in batch.hits.items():
            if attribute not in self.answered:
                builder.add(attribute, *hits)
                continue
            for hit in hits:
                builder.discard(hit.result)


def _reader(values: Mapping[str, str | Secret | ValueProblem], name: str) -> Callable[[], Any]:
    """Return a function that returns the text of a variable. No local variable holds the text."""
    if isinstance(values[name], Secret):
        return values[name].reveal  # type: ignore[union-attr]
    return _OpaqueIterator(values[name]).__next__


def printable_path(path: str) -> str | None:
    """Return ``path`` if it may be shown, which is when its directory exists.

    A value that was set instead of a path is not below an existing directory. The root and the
    working directory do not count, because every value would be below them.
    """
    parent = os.path.dirname(path)
    is_usual = parent.strip("./") and path.isprintable()
    fits = len(path) <= os.pathconf("/", "PC_PATH_MAX")
    return path if is_usual and fits and os.path.isdir(parent) else None
