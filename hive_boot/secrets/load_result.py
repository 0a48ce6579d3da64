"""Load result: the values and problems of one load, frozen when the load is complete."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from hive_boot._records import Record
from hive_boot.exceptions import Problem
from hive_boot.secrets.fields import ValueProblem
from hive_boot.secrets.sources.files import EMPTY, SourceHit, Value, ValueOrProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hive_boot.exceptions import ProblemKind
    from hive_boot.secrets.fields import Field, FieldIndex
    from hive_boot.secrets.fix_hints import Fix
    from hive_boot.secrets.platform import SourceContext
    from hive_boot.secrets.sources.directories import DirectorySnapshot

WarningKind = Literal[
    "short-value",
    "environment-copy",
    "overridden",
    "placeholder",
    "reference",
    "example-value",
    "dotenv-setting",
    "dotenv-line",
    "dotenv-repeated",
    "dotenv-unread",
    "development-default",
    "empty",
    "not-asked",
    "alias",
    "alias-differs",
]

NoteKind = Literal[
    "no-dotenv",
    "no-volume",
    "no-mount",
    "kubectl-stdin",
    "unknown-app-env",
    "env-file",
    "subdirectories",
    "trailing-newline",
]

_BINARY: frozenset[ProblemKind] = frozenset({"not-utf-8", "nul"})
"""The kinds of problems that a binary value has in a text field."""


class LoadWarning(Record):
    """A warning of a load, which does not stop a start.

    Attributes:
        kind: the kind of the warning.
        names: the names of the secrets, or of the setting.
        location: the file or the variable; empty without one.
    """

    kind: WarningKind
    names: tuple[str, ...]
    location: str = ""


class LoadNote(Record):
    """A note about a load as a whole.

    Attributes:
        kind: the kind of the note.
        names: the names that the note mentions.
        locations: the files that the note mentions.
    """

    kind: NoteKind
    names: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()


class LoadResult(Record):
    """The result of one load. A later step returns a copy with its own problems or warnings.

    Attributes:
        field_index: the declared fields.
        source_context: mode, profile and locations of the sources.
        declaration: the name of the declaring class.
        values: the value of each field that has one, by attribute.
        origins: source and location of each value that is not from a directory.
        used_aliases: the older name of each value that was found under one, by attribute.
        env_files: the ``.env`` files that contain a declared name.
        names: the names of all variables, to find similar ones.
        snapshots: the content of each directory.
        unresolved: what was found for each field that has no single valid value.
        unused_values: values that were read and are not used, and must be hidden too.
        problems: the problems, in the order of the declaration.
        warnings: the warnings, which do not stop a start.
        notes: the notes that are logged, and shown in a report.
        hints: the notes that are only shown in a report.
    """

    field_index: FieldIndex
    source_context: SourceContext
    declaration: str
    values: Mapping[str, Value]
    origins: Mapping[str, tuple[str, str]]
    used_aliases: Mapping[str, Field]
    env_files: frozenset[str]
    names: frozenset[str]
    snapshots: tuple[DirectorySnapshot, ...]
    unresolved: Mapping[str, Sequence[SourceHit]]
    unused_values: tuple[Value, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[LoadWarning, ...]
    notes: tuple[LoadNote, ...]
    hints: tuple[LoadNote, ...]

    def __repr__(self) -> str:
        return f"LoadResult({self.declaration!r})"

    @property
    def report_notes(self) -> tuple[LoadNote, ...]:
        """The notes that a report shows before the problems."""
        stdin: tuple[LoadNote, ...] = ()
        if any(problem.fix_kind == "kubectl" for problem in self.problems):
            from hive_boot.secrets.fix_hints import object_name  # noqa: PLC0415  (only a failure needs it)

            stdin = (LoadNote("kubectl-stdin", (object_name(self.declaration),)),)
        return (*self.hints, *stdin, *self.notes)

    def origin(self, attribute: str) -> tuple[str, str]:
        """Return source and location of a value that was found."""
        return _origin(attribute, self.origins, self.snapshots)

    def with_problems(self, problems: Iterable[Problem]) -> LoadResult:
        """Return a copy with further problems at the end."""
        return self.replace(problems=(*self.problems, *problems))

    def with_warnings(self, warnings: Iterable[LoadWarning]) -> LoadResult:
        """Return a copy with further warnings."""
        return self.replace(warnings=(*self.warnings, *warnings))

    def with_check_problems(self, problems: Iterable[Problem]) -> LoadResult:
        """Return a copy with the problems that the checks of fields found.

        Each problem gets the location of the value and a fix.
        """
        located = list(self.problems)
        for problem in problems:
            field = self.field_index.by_variable[problem.name]
            origin = self.origin(field.attribute)
            named = self.used_aliases.get(field.attribute, field)
            fix = _fix(named, problem, origin, self.source_context, self.declaration)
            places = (location_text(origin),)
            located.append(problem.replace(places=places, fix=fix.text, fix_kind=fix.kind))
        return self.replace(problems=_in_order(located, self.field_index))


class LoadResultBuilder:
    """Collects what a load finds. The loader and the validation fill it.

    Attributes:
        field_index: the declared fields.
        source_context: mode, profile and locations of the sources.
        declaration: the name of the declaring class.
        values: the value of each field that has one, by attribute.
        origins: source and location of each value that is not from a directory.
        used_aliases: the older name of each value that was found under one, by attribute.
        unresolved: what was found for each field that has no single valid value.
        env_files: the ``.env`` files that contain a declared name.
        env_duplicates: the declared variables that a mounted mode does not read, by attribute.
        names: the names of all variables.
        snapshots: the content of each directory.
        custom_sources: the names of the sources of the application.
        unused_values: values that were read and are not used.
        unread_files: the problems of the ``.env`` files that cannot be read.
        problems: the problems.
        warnings: the warnings.
        notes: the notes that are logged, and shown in a report.
        hints: the notes that are only shown in a report.
    """

    def __init__(
        self, field_index: FieldIndex, source_context: SourceContext, declaration: str
    ) -> None:
        self.field_index: FieldIndex = field_index
        self.source_context: SourceContext = source_context
        self.declaration: str = declaration
        self.values: dict[str, Value] = {}
        self.origins: dict[str, tuple[str, str]] = {}
        self.used_aliases: dict[str, Field] = {}
        self.unresolved: dict[str, list[SourceHit]] = {}
        self.env_files: set[str] = set()
        self.env_duplicates: dict[str, ValueOrProblem] = {}
        self.names: set[str] = set()
        self.snapshots: list[DirectorySnapshot] = []
        self.custom_sources: list[str] = []
        self.unused_values: list[Value] = []
        self.unread_files: list[Problem] = []
        self.problems: list[Problem] = []
        self.warnings: list[LoadWarning] = []
        self.notes: list[LoadNote] = []
        self.hints: list[LoadNote] = []

    def build(self) -> LoadResult:
        """Return the frozen result."""
        return LoadResult(
            field_index=self.field_index,
            source_context=self.source_context,
            declaration=self.declaration,
            values=MappingProxyType(self.values),
            origins=MappingProxyType(self.origins),
            used_aliases=MappingProxyType(self.used_aliases),
            env_files=frozenset(self.env_files),
            names=frozenset(self.names),
            snapshots=tuple(self.snapshots),
            unresolved=MappingProxyType(self.unresolved),
            unused_values=tuple(self.unused_values),
            problems=_in_order(self.problems, self.field_index),
            warnings=tuple(self.warnings),
            notes=tuple(self.notes),
            hints=tuple(self.hints),
        )

    def origin(self, attribute: str) -> tuple[str, str]:
        """Return source and location of a value that was found."""
        return _origin(attribute, self.origins, self.snapshots)

    def add(self, attribute: str, hit: SourceHit) -> None:
        """Add one hit. A valid one is the value of its field unless there is another hit."""
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
        """Set the value of a field."""
        self.values[attribute] = value
        self.origins[attribute] = source, place

    def resolve_aliases(self, reported: set[str]) -> None:
        """Use what was found under an older name for each field without a value under its name.

        Args:
            reported: the attributes that have a problem already. A field whose alias has one, and
                that has no value, is added.
        """
        for attribute, aliases in self.field_index.aliases.items():
            found = [(alias, *self._take_hits(alias)) for alias in aliases]
            # A file under any older name precedes a variable, which is a copy where files count.
            found.sort(key=lambda each: bool(each[2] and not each[1]))
            for alias, hits, copies in found:
                if self._is_provided(attribute, reported, in_file=bool(hits)):
                    self._ignore_alias(attribute, alias, hits + copies)
                elif alias.attribute in reported:
                    reported.add(attribute)
                elif hits or copies:
                    self.unresolved.pop(attribute, None)
                    for hit in hits:
                        self.add(attribute, hit)
                    for hit in copies:
                        self.env_duplicates.setdefault(attribute, hit.result)
                    self.used_aliases[attribute] = alias
                    self._warn_of_alias("alias", attribute, alias, (hits + copies)[0])

    def _take_hits(self, alias: Field) -> tuple[list[SourceHit], list[SourceHit]]:
        """Remove what was found under an older name; return it, and its copy in the environment."""
        hits = self.unresolved.pop(alias.attribute, [])
        if alias.attribute in self.values:
            origin = self.origin(alias.attribute)
            hits = [SourceHit(self.values.pop(alias.attribute), *origin)]
            self.origins.pop(alias.attribute, None)
        copy = self.env_duplicates.pop(alias.attribute, None)
        copies = [] if copy is None else [SourceHit(copy, "environment", alias.name)]
        return [hit for hit in hits if hit.result is not EMPTY], copies

    def _is_provided(self, attribute: str, reported: set[str], *, in_file: bool) -> bool:
        """Return whether an older name of a field is not needed.

        Args:
            attribute: the field.
            reported: the attributes that have a problem already.
            in_file: whether the older name is a file, which precedes a variable.
        """
        found = {*self.values, *self.used_aliases, *reported}
        found |= set() if in_file else self.env_duplicates.keys()
        hits = self.unresolved.get(attribute, ())
        return attribute in found or any(hit.result is not EMPTY for hit in hits)

    def _ignore_alias(self, attribute: str, alias: Field, hits: Sequence[SourceHit]) -> None:
        """Warn about another value under an older name, and drop the problems of this name."""
        self.problems = [problem for problem in self.problems if problem.name != alias.name]
        used = self.values.get(attribute, self.env_duplicates.get(attribute))
        different = None
        for hit in reversed(hits):
            if not isinstance(hit.result, ValueProblem):
                self.unused_values.append(hit.result)
                different = hit if hit.result != used else different
        if different is not None:
            self._warn_of_alias("alias-differs", attribute, alias, different)

    def _warn_of_alias(
        self, kind: WarningKind, attribute: str, alias: Field, hit: SourceHit
    ) -> None:
        name = self.field_index.by_attribute[attribute].name
        self.warn(kind, name, alias.name, location=location_text((hit.source, hit.place)))

    def warn(self, kind: WarningKind, *names: str, location: str = "") -> None:
        """Add a warning."""
        self.warnings.append(LoadWarning(kind, names, location))

    def add_problem(  # noqa: PLR0913, PLR0917  (what a problem consists of)
        self,
        field: Field,
        kind: ProblemKind,
        message: str,
        places: tuple[str, ...],
        fix: Fix,
        details: tuple[str, ...] = (),
    ) -> None:
        """Add a problem of a field.

        Args:
            field: the field.
            kind: the kind of the problem.
            message: the problem, as the end of a sentence.
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

    def add_value_problem(
        self,
        field: Field,
        problem: ValueProblem,
        origin: tuple[str, str],
        others: tuple[str, ...] = (),
    ) -> None:
        """Add a problem of a value that was found.

        Args:
            field: the field.
            problem: the problem of the value.
            origin: source and location of the value.
            others: the locations of further values of the field.
        """
        named = self.used_aliases.get(field.attribute, field)
        fix = _fix(named, problem, origin, self.source_context, self.declaration, others)
        is_binary = problem.kind in _BINARY and not problem.fix
        details = ("A binary value must be declared as SecretBytes.",) * is_binary
        places = (location_text(origin), *others)
        self.add_problem(field, problem.kind, problem.message, places, fix, details)


def location_text(origin: tuple[str, str]) -> str:
    """Return the location of a value as text."""
    source, place = origin
    if source in {"environment", "source"}:
        return f"{'environment variable' if source == 'environment' else source} {place}"
    return place


def _origin(
    attribute: str,
    origins: Mapping[str, tuple[str, str]],
    snapshots: Sequence[DirectorySnapshot],
) -> tuple[str, str]:
    known = origins.get(attribute)
    if known is None:
        reading = next(each for each in snapshots if attribute in each.batch.files)
        known = "file", reading.batch.directory + reading.batch.files[attribute]
    return known


def _in_order(problems: Sequence[Problem], field_index: FieldIndex) -> tuple[Problem, ...]:
    """Return problems in the order of the declaration, those of other subjects first."""
    if not problems:
        return ()
    order = {name: number for number, name in enumerate(field_index.by_variable)}
    return tuple(sorted(problems, key=lambda problem: order.get(problem.name, -1)))


def _fix(  # noqa: PLR0913, PLR0917  (the arguments of how_to_fix)
    field: Field,
    problem: ValueProblem | Problem,
    origin: tuple[str, str],
    source_context: SourceContext,
    declaration: str,
    others: tuple[str, ...] = (),
) -> Fix:
    from hive_boot.secrets.fix_hints import how_to_fix  # noqa: PLC0415  (only a failure needs it)

    return how_to_fix(field, problem, origin, source_context, declaration, others)
