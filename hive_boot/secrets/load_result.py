"""Load result: the values and problems of one load, frozen when the load is complete."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from hive_boot._records import Record
from hive_boot.exceptions import Problem
from hive_boot.redaction.registry import is_searchable
from hive_boot.secrets.fields import VERSION, Field, FieldIndex, ValueProblem
from hive_boot.secrets.platform import PLATFORM_ENTRIES, SourceContext
from hive_boot.secrets.sources.files import EMPTY, SourceHit, Value, ValueOrProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hive_boot.exceptions import ProblemKind
    from hive_boot.secrets.sources.directories import DirectorySnapshot

    _OfPlatform = Literal["no-dotenv", "no-volume", "no-mount", "unknown-app-env", "env-file"]
    NoteKind = Literal[_OfPlatform, "kubectl-stdin", "subdirectories", "trailing-newline"]

    _OfValue = Literal["short-value", "placeholder", "reference", "example-value", "empty"]
    _OfDotenv = Literal["dotenv-setting", "dotenv-line", "dotenv-repeated", "dotenv-unread"]
    _OfOrigin = Literal["environment-copy", "overridden", "development-default", "not-asked"]
    _OfAlias = Literal["alias", "alias-differs"]
    WarningKind = Literal[_OfValue, _OfDotenv, _OfOrigin, _OfAlias, "version"]

Origin = tuple[str, str]
"""Source of a value, as in :class:`SourceHit`, and its location."""


_BINARY: frozenset[ProblemKind] = frozenset({"not-utf-8", "nul"})
"""The kinds of problems that a binary value has in a text field."""


_FROZEN: dict[type, Any] = {dict: MappingProxyType, list: tuple, set: frozenset}
"""The frozen type of each collection that a load fills."""


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
    """The result of one load. Later steps return copies with further problems or warnings.

    Attributes:
        field_index: the declared fields.
        source_context: mode, profile and locations of the sources.
        declaration: the name of the declaring class.
        values: the value of each field that has one, by attribute.
        version: the version of the set; empty if it is unknown or none is declared.
        used_aliases: the alias of each field whose value was found under an older name, by
            attribute.
        env_files: the ``.env`` files that contain a declared name.
        names: the names of all variables, to find similar ones.
        snapshots: the content of each directory.
        hits: what was found for each field, by attribute: the value that is used, or problems.
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
    version: str
    used_aliases: Mapping[str, Field]
    env_files: frozenset[str]
    names: frozenset[str]
    snapshots: tuple[DirectorySnapshot, ...]
    hits: Mapping[str, tuple[SourceHit, ...]]
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
            from hive_boot.secrets.fix_hints import object_name  # only a failure needs it

            stdin = (LoadNote("kubectl-stdin", (object_name(self.declaration),)),)
        return (*self.hints, *stdin, *self.notes)

    def origin(self, attribute: str) -> Origin:
        """Return source and location of a value that was found."""
        return self.hits[attribute][0].origin

    @property
    def secret_values(self) -> list[Value]:
        """Every value that was read, used or not, without the ``dev_default`` of any field."""
        public = self.public_values
        values = [*self.values.values(), *self.unused_values]
        return [value for value in values if value.reveal() not in public]

    @property
    def fingerprint(self) -> int:
        """A hash of all values, which does not reveal them: Python adds a random text to each."""
        return hash(frozenset((name, value.reveal()) for name, value in self.values.items()))

    @property
    def public_values(self) -> set[object]:
        """The development defaults, which are in the code and therefore not secret."""
        return {field.dev_default for field in self.field_index.constrained}

    def with_short_values(self) -> LoadResult:
        """Return a copy with a warning about the secret values that are too short to be hidden."""
        public = self.public_values
        short = [
            field.name
            for field in self.field_index.all_fields
            if (value := self.values.get(field.attribute)) is not None
            and value.reveal() not in public
            and not is_searchable(value.reveal(), has_parts=field.redact_parts)
        ]
        return self.with_warnings((LoadWarning("short-value", tuple(short)),) if short else ())

    def with_unknown_version(self, reason: str) -> LoadResult:
        """Return a copy without a version, with a warning that contains the reason."""
        warning = LoadWarning("version", (self.field_index.version,), reason)
        return self.replace(version="").with_warnings([warning])

    def with_problems(self, problems: Iterable[Problem]) -> LoadResult:
        """Return a copy with further problems at the end."""
        return self.replace(problems=(*self.problems, *problems))

    def with_warnings(self, warnings: Iterable[LoadWarning]) -> LoadResult:
        """Return a copy with further warnings."""
        return self.replace(warnings=(*self.warnings, *warnings))

    def with_check_problems(self, problems: Iterable[Problem]) -> LoadResult:
        """Return a copy with the problems that the checks of fields found.

        Each problem of a value gets the location of the value and a fix.
        """
        located = list(self.problems)
        for problem in problems:
            field = self.field_index.by_variable[problem.name]
            origin, is_of_value = self.origin(field.attribute), problem.kind != "unavailable"
            located.append(_located(self, field, problem, origin) if is_of_value else problem)
        return self.replace(problems=_in_order(located, self.field_index))


class LoadResultBuilder:
    """Collects what a load finds. The loader and the validation fill it.

    Attributes:
        field_index: the declared fields.
        source_context: mode, profile and locations of the sources.
        declaration: the name of the declaring class.
        values: the value of each field that has one, by attribute.
        version: the version of the set; empty if it is unknown.
        used_aliases: the alias of each field whose value was found under an older name, by
            attribute.
        hits: what was found for each field, by attribute: the value that is used, or problems.
        env_files: the ``.env`` files that contain a declared name.
        env_duplicates: the declared variables that a mounted mode does not read, by attribute.
        names: the names of all variables.
        snapshots: the content of each directory.
        custom_sources: the names of the sources of the application.
        unused_values: values that were read and are not used.
        unread_files: the problems of the ``.env`` files and bundles that cannot be read.
        problems: the problems.
        reported: the attributes that have a problem already.
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
        self.version: str = ""
        self.used_aliases: dict[str, Field] = {}
        self.hits: dict[str, tuple[SourceHit, ...]] = {}
        self.env_files: set[str] = set()
        self.env_duplicates: dict[str, SourceHit] = {}
        self.names: set[str] = set()
        self.snapshots: list[DirectorySnapshot] = []
        self.custom_sources: list[str] = []
        self.unused_values: list[Value] = []
        self.unread_files: list[Problem] = []
        self.problems: list[Problem] = []
        self.reported: set[str] = set()
        self.warnings: list[LoadWarning] = []
        self.notes: list[LoadNote] = []
        self.hints: list[LoadNote] = []

    def build(self) -> LoadResult:
        """Return the frozen result."""
        if self.problems:
            self.problems = list(_in_order(self.problems, self.field_index))
        return LoadResult(**{name: _frozen(getattr(self, name)) for name in LoadResult.field_names})

    def add(self, attribute: str, *hits: SourceHit) -> None:
        """Add what was found for a field. Validation decides which hit has the value in use."""
        self.hits[attribute] = (*self.hits.get(attribute, ()), *hits)

    def use(self, attribute: str, hit: SourceHit) -> None:
        """Set the value of a field. The value must be valid."""
        self.values[attribute] = hit.result  # type: ignore[assignment]
        self.hits[attribute] = (hit,)

    def discard(self, result: ValueOrProblem) -> None:
        """Record a value that is not used, because redaction must hide it too."""
        if not isinstance(result, ValueProblem):
            self.unused_values.append(result)

    def reject(self, field: Field, problems: Sequence[ValueProblem]) -> None:
        """Replace the value of a field by its problems."""
        (hit,) = self.hits[field.attribute]
        self.discard(self.values.pop(field.attribute))
        self.hits[field.attribute] = tuple(SourceHit(each, *hit.origin) for each in problems)
        for problem in problems:
            self.add_value_problem(field, problem, hit.origin)

    def resolve_aliases(self) -> None:
        """Use the value found under an older name for each field that has none under its own."""
        for attribute, aliases in self.field_index.aliases.items():
            # A file under any older name precedes a variable: in modes that read files, a variable
            # is only a copy.
            for alias in sorted(aliases, key=self._is_only_copied):
                self._resolve_alias(attribute, alias)

    def _is_only_copied(self, alias: Field) -> bool:
        has_file = any(hit.result is not EMPTY for hit in self.hits.get(alias.attribute, ()))
        return not has_file and alias.attribute in self.env_duplicates

    def _resolve_alias(self, attribute: str, alias: Field) -> None:
        hits = self.hits.pop(alias.attribute, ())
        files = tuple(hit for hit in hits if hit.result is not EMPTY)
        copy = self.env_duplicates.pop(alias.attribute, None)
        found = [*files, copy] if copy else [*files]
        kind: WarningKind = "alias"
        # A file precedes a variable, even if the variable has the newer name.
        named_copy = self.env_duplicates.get(attribute)
        named = [hit for hit in self.hits.get(attribute, ()) if hit.result is not EMPTY]
        if attribute in {*self.used_aliases, *self.reported} or named or (named_copy and not files):
            self.problems = [problem for problem in self.problems if problem.name != alias.name]
            used = next((hit.result for hit in (*named, named_copy) if hit), None)
            for hit in found:
                self.discard(hit.result)
            kind = "alias-differs"
            found = [hit for hit in found if hit.result != used]
            found = [hit for hit in found if not isinstance(hit.result, ValueProblem)]
        elif found:
            self.used_aliases[attribute] = alias
            self.hits[attribute] = files
            if copy:
                self.env_duplicates.setdefault(attribute, copy)
        name = self.field_index.by_attribute[attribute].name
        for hit in found[:1]:
            self.warn(kind, name, alias.name, location=location_text(hit.origin))

    def warn(self, kind: WarningKind, *names: str, location: str = "") -> None:
        """Add a warning."""
        self.warnings.append(LoadWarning(kind, names, location))

    def add_problem(self, field: Field, kind: ProblemKind, message: str, **more: Any) -> None:
        """Add a problem of a field.

        Args:
            field: the field.
            kind: the kind of the problem.
            message: the problem, as the end of a sentence.
            more: the locations, the fix and further sentences, as in :class:`Problem`.
        """
        self.reported.add(field.attribute)
        self.problems.append(Problem(field.name, kind, message, used_by=field.used_by, **more))

    def add_value_problem(self, field: Field, problem: ValueProblem, *origins: Origin) -> None:
        """Add a problem of a value that was found.

        Args:
            field: the field.
            problem: the problem of the value.
            origins: source and location of the value, then those of further values of the field.
        """
        self.reported.add(field.attribute)
        self.problems.append(_located(self, field, problem, *origins))


def _frozen(value: Any) -> Any:
    freeze = _FROZEN.get(type(value))
    return value if freeze is None else freeze(value)


def location_text(origin: Origin) -> str:
    """Return the location of a value as text."""
    source, place = origin
    return {"environment": "environment variable ", "source": "source "}.get(source, "") + place


def _in_order(problems: Sequence[Problem], field_index: FieldIndex) -> tuple[Problem, ...]:
    """Return problems in the order of the declaration, after those that concern no field."""
    order = {name: number for number, name in enumerate(field_index.by_variable)}
    return tuple(sorted(problems, key=lambda problem: order.get(problem.name, -1)))


def _located(
    found: LoadResult | LoadResultBuilder,
    field: Field,
    problem: ValueProblem | Problem,
    *origins: Origin,
) -> Problem:
    """Return a problem of a value with the location of the value and a fix.

    Args:
        found: the content of the sources.
        field: the field.
        problem: the problem of the value.
        origins: source and location of the value, then those of further values of the field.
    """
    from hive_boot.secrets.fix_hints import how_to_fix  # only a failure needs it

    named = found.used_aliases.get(field.attribute, field)
    fix = how_to_fix(named, problem, origins, found.source_context, found.declaration)
    is_binary = problem.kind in _BINARY and not problem.fix
    return Problem(
        name=field.name,
        kind=problem.kind,
        message=problem.message,
        used_by=field.used_by,
        places=tuple(map(location_text, origins)),
        details=("A binary value must be declared as SecretBytes.",) * is_binary,
        **fix.as_dict(),
    )


def find_lost_sources(load_result: LoadResult, before: LoadResult) -> list[Problem]:
    """Return a problem for each source of the accepted set that no longer exists or is empty.

    A directory that disappears or becomes empty is a failure of the mount, not the removal of
    all secrets: secrets are removed one by one.
    """
    directories = [_lost_directory(known, load_result) for known in before.snapshots]
    lost = [*filter(None, directories), *_lost_files(load_result, before)]
    lost = lost or _replaced_files(load_result, before)
    reported = {problem.name for problem in load_result.problems}
    return [problem for problem in lost if problem.name not in reported]


def _lost_directory(known: DirectorySnapshot, load_result: LoadResult) -> Problem | None:
    """Return the problem of a directory that contained secrets; None if it still has them."""
    if all(
        _is_a_file(load_result, attribute)
        for attribute, hits in known.batch.hits.items()
        if attribute != VERSION and not all(isinstance(hit.result, ValueProblem) for hit in hits)
    ):
        return None
    now = next((each for each in load_result.snapshots if each.path == known.path), None)
    if now is None:
        return _lost(known.path, "directory", "no longer exists")
    if now.problem is not None:
        return _lost(known.path, now.problem.kind, now.problem.message)
    if any(name not in PLATFORM_ENTRIES and not name.startswith("..") for name in now.names):
        return None
    return _lost(known.path, "empty", "is empty")


def _is_a_file(load_result: LoadResult, attribute: str) -> bool:
    """Return whether a secret was read from a file, in this or in another directory."""
    attribute = attribute.partition(".alias.")[0]
    return attribute in load_result.values and load_result.origin(attribute)[0] == "file"


def _lost_files(load_result: LoadResult, before: LoadResult) -> list[Problem]:
    """Return a problem for each ``.env`` file that contained values and cannot be read any more."""
    unread = {each.location for each in load_result.warnings if each.kind == "dotenv-unread"}
    lost = before.env_files - load_result.env_files
    return [
        _lost(path, "missing", "cannot be read any more" if path in unread else "no longer exists")
        for path in load_result.source_context.env_files
        if path in lost and (path in unread or not os.path.exists(path))
    ]


def _replaced_files(load_result: LoadResult, before: LoadResult) -> list[Problem]:
    """Return a problem for each secret whose file is gone, and whose variable would replace it.

    The variable has its value since the start of this process. A rotation may have replaced this
    value.
    """
    return [
        Problem(
            name=field.name,
            kind="missing",
            message="no longer has a file, and its variable may contain a value that was replaced",
            fix="write the file again, or restart the application to use the variable",
        )
        for field in load_result.field_index.all_fields
        if field.attribute in load_result.values
        and load_result.origin(field.attribute)[0] == "environment"
        and field.attribute in before.values
        and before.origin(field.attribute)[0] == "file"
    ]


def _lost(name: str, kind: ProblemKind, message: str) -> Problem:
    return Problem(
        name=name, kind=kind, message=f"{message}, but contained secrets that are in use"
    )
