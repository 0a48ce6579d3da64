"""The fields of a declaration, and what a load looks up about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.field import NAME, Field, file_name_candidates
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable


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
        nested_paths: the file names among these that lie in a subdirectory.
        by_variable: the field that a variable answers.
        by_file_variable: the field that a variable points to a file for.
    """

    __slots__ = (
        "nested_paths",
        "by_attribute",
        "by_file",
        "by_file_variable",
        "by_variable",
        "all_fields",
        "fields",
        "constrained",
    )

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields = {field.attribute: field for field in fields}
        self.all_fields = [each for field in self.fields.values() for each in _with_previous(field)]
        self.by_attribute = {field.attribute: field for field in self.all_fields}
        self.constrained = [field for field in self.all_fields if field.has_rules]
        self.by_file = {
            name: (field.attribute, field.name, field.kind is Secret)
            for field in self.all_fields
            for name in field.candidates
        }
        self.nested_paths = [name for name in self.by_file if "/" in name]
        self.by_variable = {field.name: field for field in self.all_fields}
        self.by_file_variable = {f"{field.name}_FILE": field for field in self.all_fields}


def _with_previous(field: Field) -> list[Field]:
    if field.previous is None:
        return [field]
    hidden = field._replace(
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
