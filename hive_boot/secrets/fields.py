"""Declared fields: requirements, constraints, and the names under which each is looked up."""

from __future__ import annotations

import os
import re
from itertools import chain
from typing import TYPE_CHECKING, Any

from hive_boot._records import Record
from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Literal

    from hive_boot.exceptions import ProblemKind

    Profile = Literal["development", "test", "staging", "production"]


_SPELLINGS: dict[Profile, str] = {
    "development": "development develop dev local",
    "test": "test testing",
    "staging": "staging stage",
    "production": "production prod",
}
PROFILES = {each: profile for profile, names in _SPELLINGS.items() for each in names.split()}
"""Profile for each accepted spelling."""


def parse_profile(text: str) -> Profile | None:
    """Return the profile that ``text`` names; None if unknown. Case and blanks are ignored."""
    return PROFILES.get(text.strip().lower())


def as_list(given: object) -> list[Any]:
    """Return the items of a collection; a text, a path or another object as the only item."""
    if isinstance(given, tuple | list):
        return [*given]
    if isinstance(given, str | os.PathLike) or not hasattr(given, "__iter__"):
        return [given]
    return list(given)


FieldTarget = tuple[str, str, bool]
"""Field that a file or member provides: its attribute, its name, and whether it is text."""


NAME_RULE = "letters, digits, '_', '.' and '-', beginning with a letter or '_'"
"""Text for messages about names that :func:`is_name` rejects."""


def is_name(name: object) -> bool:
    """Return whether ``name`` is valid for a secret and for a key of a Kubernetes Secret."""
    return (
        isinstance(name, str)
        and name.isascii()
        and name[:1] not in {".", "-"}
        and name.replace(".", "_").replace("-", "_").isidentifier()
    )


VERSION_RULE = "1 to 64 letters, digits, '.', '_', ':' or '-'"
"""Text for messages about versions that :func:`is_version` rejects."""


def is_version(text: str) -> bool:
    """Return whether ``text`` is valid as the version of a set."""
    return re.fullmatch("[A-Za-z0-9._:-]{1,64}", text) is not None


class ValueProblem(Record):
    """Problem of a value that was found.

    Attributes:
        kind: the kind of the problem. A value with the kind ``empty`` counts as absent.
        message: the problem, as a predicate such as ``is empty``.
        fix: the fix if the value is in a file; ``{location}`` stands for the path of the file.
            Empty if the fix depends on the source.
    """

    kind: ProblemKind
    message: str
    fix: str = ""


class Field(Record):
    """One declared secret.

    The attributes that are not listed are arguments of :func:`secret`.

    Attributes:
        attribute: the attribute of the class.
        kind: ``Secret`` or ``SecretBytes``.
        required: whether the annotation does not contain ``| None``.
        may_be_omitted: whether ``= None`` is in the code, so that a test may leave the field out.
        candidates: the file names under which the secret is looked up.
    """

    attribute: str = ""
    name: str = ""
    kind: type[Secret | SecretBytes] = Secret
    required: bool = False
    file: str | None = None
    used_by: str = ""
    required_in: frozenset[Profile] = frozenset()
    dev_default: str | bytes | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: re.Pattern[str] | re.Pattern[bytes] | None = None
    check: Callable[[Any], Any] | None = None
    activate_after: float = 0.0
    accept_old_for: float = 0.0
    previous: str | None = None
    description: str = ""
    aliases: tuple[str, ...] = ()
    may_be_omitted: bool = False
    allow_placeholder: bool = False
    file_variable: bool = True
    redact_parts: bool = True
    candidates: tuple[str, ...] = ()

    @property
    def target(self) -> FieldTarget:
        """The field as an entry of ``FieldIndex.by_file``."""
        return self.attribute, self.name, self.kind is Secret

    @property
    def file_name(self) -> str:
        """The main file name: ``file`` if it is declared, otherwise the name in lower case."""
        return self.file or self.name.lower()

    @property
    def bundle(self) -> str:
        """The file that contains the member ``file``; empty if ``file`` is a whole file."""
        return split_member(self.file_name)[0]

    def required_for(self, profile: Profile) -> bool:
        """Return whether the secret is required in ``profile``.

        A secret that is required in production is also required in staging.
        """
        profiles = {profile, "production"} if profile == "staging" else {profile}
        return self.required or bool(self.required_in & profiles)


def constraint_violations(field: Field, reveal: Callable[[], str | bytes]) -> list[ValueProblem]:
    """Return every violation of the length and pattern constraints of a field.

    Args:
        field: the field.
        reveal: returns the plain value. It is not assigned to a local variable, because a
            traceback can show local variables.
    """
    length = len(reveal())
    unit = "character" if field.kind is Secret else "byte"
    has = f"has {length} {unit}{'' if length == 1 else 's'}"
    low, high = field.min_length, field.max_length
    violations = []
    if low is not None and length < low:
        violations.append(ValueProblem("length", f"{has}, but at least {low} are required"))
    if high is not None and length > high:
        violations.append(ValueProblem("length", f"{has}, but at most {high} are allowed"))
    if field.pattern is not None and not field.pattern.fullmatch(reveal()):  # type: ignore[arg-type]
        violations.append(ValueProblem("pattern", "does not match its declared pattern"))
    return violations


def split_member(file: str) -> tuple[str, str]:
    """Split ``rds.json#password`` into file and member; both are empty for a whole file."""
    path, _, member = file.partition("#")
    return (path, member) if path and member else ("", "")


def file_name_candidates(name: str, file: str | None) -> tuple[str, ...]:
    """Return the file names under which a secret is looked up."""
    if file is not None and split_member(file)[0]:
        return (file,)
    lower = name.lower()
    stems = [name, lower, lower.replace("_", "-")] if file is None else [file]
    return tuple(dict.fromkeys([*stems, *(f"{stem}.txt" for stem in stems)]))


VERSION = "<version>"
"""Key of the version among the hits of a load, where other keys are attributes of fields."""


class FieldIndex:
    """Fields of a declaration, with the lookup tables of a load.

    Args:
        fields: the declared fields.
        version: the key of the version of the set. Default: empty, for none.

    Attributes:
        version: the key of the version of the set; empty for none.
        version_variables: the variables, and the members of a bundle, that may contain the version.
        fields: the declared fields, by attribute.
        all_fields: the declared fields, and one more optional field for each ``previous=``, whose
            attribute ends in ``.previous``.
        aliases: the fields of the older names, by the attribute of the field with ``aliases=``. The
            attribute of each ends in ``.alias.`` and the older name.
        by_attribute: ``all_fields``, by attribute.
        constrained: the fields of ``all_fields`` whose values validation compares with a length, a
            pattern or a development default.
        replaceable: the declared fields that may have several accepted values, by attribute.
        by_variable: the fields and aliases, by the environment variable that contains the value.
        by_file_variable: the same, by the ``NAME_FILE`` variable that contains the path, except
            those with ``file_variable=False``.
        by_file: the field, or the version, that each file name provides.
        nested_paths: the file names that contain a subdirectory.
        members: for each file with members, such as ``rds.json`` of ``rds.json#password``, the
            fields by the names of their members, as in ``by_file``.
        redacted_whole: the names of the fields and aliases with ``redact_parts=False``.
    """

    def __init__(self, fields: Iterable[Field], version: str = "") -> None:
        self.version: str = version
        self.version_variables: tuple[str, ...] = ()
        self.fields: dict[str, Field] = {field.attribute: field for field in fields}
        self.all_fields: list[Field] = list(chain(*map(_with_previous, self.fields.values())))
        self.aliases: dict[str, list[Field]] = {
            field.attribute: [_renamed(field, f"alias.{name}", name) for name in field.aliases]
            for field in self.all_fields
            if field.aliases
        }
        aliases = self.aliases.get
        named = [each for one in self.all_fields for each in (one, *aliases(one.attribute, ()))]
        self.by_attribute: dict[str, Field] = {field.attribute: field for field in self.all_fields}
        self.constrained: list[Field] = [
            each
            for each in self.all_fields
            if (each.dev_default, each.min_length, each.max_length, each.pattern) != (None,) * 4
        ]
        self.replaceable: dict[str, Field] = {
            each.attribute: each
            for each in self.fields.values()
            if each.activate_after or each.accept_old_for or each.previous
        }
        # A file name of both a name and an alias provides the name.
        self.by_file: dict[str, FieldTarget] = {
            name: each.target for each in reversed(named) for name in each.candidates
        }
        if version:
            # The name of a variable cannot contain a hyphen: SECRETS_VERSION for secrets-version.
            variable = version.upper().replace("-", "_").replace(".", "_")
            self.version_variables = tuple(dict.fromkeys((version, variable)))
            files = file_name_candidates(version, None)
            self.by_file |= dict.fromkeys(files, (VERSION, version, True))
        self.nested_paths: list[str] = [name for name in self.by_file if "/" in name]
        self.members: dict[str, dict[str, FieldTarget]] = {}
        for name, target in self.by_file.items():
            file, member = split_member(name)
            if file:
                self.members.setdefault(file, {})[member] = target
        self.by_variable: dict[str, Field] = {field.name: field for field in named}
        self.by_file_variable: dict[str, Field] = {
            f"{field.name}_FILE": field for field in named if field.file_variable
        }
        self.redacted_whole: frozenset[str] = frozenset(
            [field.name for field in named if not field.redact_parts]
        )

    @property
    def version_field(self) -> Field:
        """The version as a field, for commands that write its file."""
        name = self.version_variables[-1]
        files = file_name_candidates(self.version, None)
        return Field(
            "version",
            name,
            required=True,
            description="the version of all secrets, not secret itself; change it with each value",
            file=files[0],
            candidates=files,
        )

    @property
    def file_names(self) -> list[str]:
        """The names of all files that may contain one or more secrets."""
        return [*self.by_file, *self.members]


def _renamed(field: Field, suffix: str, name: str) -> Field:
    """Return an optional field with the constraints of ``field`` and another name."""
    return field.replace(
        attribute=f"{field.attribute}.{suffix}",
        name=name,
        required=False,
        required_in=frozenset(),
        file=None,
        previous=None,
        aliases=(),
        candidates=file_name_candidates(name, None),
    )


def _with_previous(field: Field) -> list[Field]:
    """Return a field, and the optional field that its ``previous=`` names."""
    if field.previous is None:
        return [field]
    previous = _renamed(field, "previous", field.previous)
    return [field, previous.replace(dev_default=None, activate_after=0.0, accept_old_for=0.0)]


def undeclared_field(name: str) -> Field:
    """Return a field for a secret that no class declares.

    Raises:
        DeclarationError: ``name`` is not a valid name. The message does not contain it,
            because the caller may have passed a value by mistake.
    """
    if not is_name(name):
        raise DeclarationError(f"Invalid secret name: expected {NAME_RULE}")
    return Field(attribute=name, name=name, candidates=file_name_candidates(name, None))
