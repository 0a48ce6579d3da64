"""The fields of a declaration, and what a load looks up about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.field import NAME, Field, candidates_of
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable


class Inventory:
    """The fields of a declaration, with what a load looks up again and again.

    Args:
        fields: the declared fields.

    Attributes:
        fields: them, by attribute.
        every: them, and the hidden optional field of each ``previous=``, whose
            attribute is the field's own and ``.previous``.
        by_attribute: the same, by attribute.
        ruled: those of them that have rules of length, pattern or default.
        by_file: attribute, name and whether it is text, of the field that a file
            name answers.
        below: the file names among these that lie in a subdirectory.
        by_variable: the field that a variable answers.
        by_pointer: the field that a variable points to a file for.
    """

    __slots__ = (
        "below",
        "by_attribute",
        "by_file",
        "by_pointer",
        "by_variable",
        "every",
        "fields",
        "ruled",
    )

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields = {field.attribute: field for field in fields}
        self.every = [each for field in self.fields.values() for each in _with_previous(field)]
        self.by_attribute = {field.attribute: field for field in self.every}
        self.ruled = [field for field in self.every if field.has_rules]
        self.by_file = {
            name: (field.attribute, field.name, field.kind is Secret)
            for field in self.every
            for name in field.candidates
        }
        self.below = [name for name in self.by_file if "/" in name]
        self.by_variable = {field.name: field for field in self.every}
        self.by_pointer = {f"{field.name}_FILE": field for field in self.every}


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
        lead=0.0,
        grace=0.0,
        previous=None,
        candidates=candidates_of(field.previous, None),
    )
    return [field, hidden]


def plain_field(name: str) -> Field:
    """Make the field of a secret that no class declares.

    Raises:
        DeclarationError: ``name`` cannot be the name of a secret. It is not
            repeated, because it may be a value in the wrong place.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        message = "a secret's name is made of letters, digits, '_', '.' and '-'; this one is not"
        raise DeclarationError(message)
    return Field(attribute=name, name=name, candidates=candidates_of(name, None))
