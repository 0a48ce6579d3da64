"""Fields of a declaration: what is required, its constraints, and the names it is looked up by."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from hive_boot._records import Record
from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hive_boot.exceptions import ProblemKind

Profile = Literal["development", "test", "staging", "production"]


PROFILES: dict[str, Profile] = {
    "development": "development",
    "develop": "development",
    "dev": "development",
    "local": "development",
    "test": "test",
    "testing": "test",
    "staging": "staging",
    "stage": "staging",
    "production": "production",
    "prod": "production",
}
"""Every accepted spelling, and the profile that it means."""


def parse_profile(text: str) -> Profile | None:
    """Give the profile that ``text`` means, or None when nothing is called so."""
    return PROFILES.get(text.strip().lower())


NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
"""What a secret may be called: a variable's name, or a Kubernetes key."""


class ValueProblem(Record):
    """Something is there and cannot be a value.

    Attributes:
        kind: what is wrong, as one word; ``empty`` is judged by who asked.
        message: what is wrong, as the end of a sentence.
    """

    kind: ProblemKind
    message: str


class Field(Record):
    """One declared secret. Made by :func:`secret` and completed by its class."""

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
    candidates: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """The usual name of its file: what is declared, or its name in small letters."""
        return self.file or self.name.lower()

    @property
    def has_rules(self) -> bool:
        """Whether a value can be refused for what it is, before any check."""
        rules = (self.dev_default, self.min_length, self.max_length, self.pattern)
        return rules != (None, None, None, None)

    def required_for(self, profile: Profile) -> bool:
        """Tell whether a start under ``profile`` needs this secret."""
        bound = profile in self.required_in
        return self.required or bound or (profile == "staging" and "production" in self.required_in)


def constraint_violations(field: Field, reveal: Callable[[], str | bytes]) -> list[ValueProblem]:
    """Tell everything that a value breaks of the field's length and pattern.

    Args:
        field: the field.
        reveal: gives the plain value; no variable holds it here.
    """
    length = len(reveal())
    unit = "character" if field.kind is Secret else "byte"
    has = f"has {length} {unit}{'' if length == 1 else 's'}"
    faults = []
    if field.min_length is not None and length < field.min_length:
        faults.append(
            ValueProblem("length", f"{has}, but at least {field.min_length} are required")
        )
    if field.max_length is not None and length > field.max_length:
        faults.append(ValueProblem("length", f"{has}, but at most {field.max_length} are allowed"))
    if field.pattern is not None and not field.pattern.fullmatch(reveal()):  # type: ignore[arg-type]
        faults.append(ValueProblem("pattern", "does not match its declared pattern"))
    return faults


def file_name_candidates(name: str, file: str | None) -> tuple[str, ...]:
    """Give the names of the files that may hold a secret, the likeliest first."""
    lower = name.lower()
    stems = [file] if file is not None else [name, lower, lower.replace("_", "-")]
    return tuple(dict.fromkeys([*stems, *(f"{stem}.txt" for stem in stems)]))


class FieldIndex:
    """The fields of a declaration, with what a load looks up again and again.

    Args:
        fields: the declared fields.

    Attributes:
        fields: them, by attribute.
        all_fields: them, and the hidden optional field of each ``previous=``, whose
            attribute is the field's own and ``.previous``.
        by_attribute: the same, by attribute.
        constrained: those of them that have rules of length, pattern or default.
        by_file: attribute, name and whether it is text, of the field that a file
            name answers.
        first_file: the usual file of the first field; empty when nothing is declared.
        nested_paths: the file names among these that lie in a subdirectory.
        by_variable: the field that a variable answers.
        by_file_variable: the field that a variable points to a file for.
    """

    __slots__ = (
        "all_fields",
        "by_attribute",
        "by_file",
        "by_file_variable",
        "by_variable",
        "constrained",
        "fields",
        "first_file",
        "nested_paths",
    )

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields: dict[str, Field] = {field.attribute: field for field in fields}
        self.all_fields: list[Field] = [
            each for field in self.fields.values() for each in _with_previous(field)
        ]
        self.by_attribute: dict[str, Field] = {field.attribute: field for field in self.all_fields}
        self.constrained: list[Field] = [field for field in self.all_fields if field.has_rules]
        self.by_file: dict[str, tuple[str, str, bool]] = {
            name: (field.attribute, field.name, field.kind is Secret)
            for field in self.all_fields
            for name in field.candidates
        }
        self.first_file: str = self.all_fields[0].file_name if self.all_fields else ""
        self.nested_paths: list[str] = [name for name in self.by_file if "/" in name]
        self.by_variable: dict[str, Field] = {field.name: field for field in self.all_fields}
        self.by_file_variable: dict[str, Field] = {
            f"{field.name}_FILE": field for field in self.all_fields
        }


def _with_previous(field: Field) -> list[Field]:
    if field.previous is None:
        return [field]
    hidden = field.replace(
        attribute=f"{field.attribute}.previous",
        name=field.previous,
        required=False,
        required_in=frozenset(),
        file=None,
        dev_default=None,
        activate_after=0.0,
        accept_old_for=0.0,
        previous=None,
        candidates=file_name_candidates(field.previous, None),
    )
    return [field, hidden]


def undeclared_field(name: str) -> Field:
    """Make the field of a secret that no class declares.

    Raises:
        DeclarationError: ``name`` cannot be the name of a secret. It is not
            repeated, because it may be a value in the wrong place.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        message = "a secret's name is made of letters, digits, '_', '.' and '-'; this one is not"
        raise DeclarationError(message)
    return Field(attribute=name, name=name, candidates=file_name_candidates(name, None))
