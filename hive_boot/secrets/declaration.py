"""What a service says that it needs: one field for each secret.

A declaration is read once, when its class is made, and everything about it that
can be wrong is found there: a DeclarationError names the class, the field and
the mend.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from dataclasses import dataclass, replace
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Union, get_args, get_origin

from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.profile import PROFILES, Profile, parse_profile
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
"""What a secret may be called: a variable's name, or a Kubernetes key."""

RESERVED = frozenset({"current", "check"})
"""Attributes of a SecretSet that cannot be fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
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
    lead: float = 0.0
    grace: float = 0.0
    previous: str | None = None
    description: str = ""
    candidates: tuple[str, ...] = ()

    @property
    def has_rules(self) -> bool:
        """Whether a value can be refused for what it is, before any check."""
        rules = (self.dev_default, self.min_length, self.max_length, self.pattern)
        return rules != (None, None, None, None)

    def required_for(self, profile: Profile) -> bool:
        """Tell whether a start under ``profile`` needs this secret."""
        bound = profile in self.required_in
        return self.required or bound or (profile == "staging" and "production" in self.required_in)


@dataclass(frozen=True, slots=True)
class _Unread:
    """The arguments of :func:`secret`, to be judged when the class is known."""

    arguments: dict[str, Any]


def secret(  # noqa: PLR0913  (each is a promised name, and none has to be given)
    name: str | None = None,
    *,
    file: str | None = None,
    used_by: str = "",
    required_in: str | Iterable[str] = (),
    dev_default: str | bytes | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    pattern: str | re.Pattern[str] | None = None,
    check: Callable[[Any], Any] | None = None,
    lead: float = 0.0,
    grace: float = 0.0,
    previous: str | None = None,
    description: str = "",
) -> Any:  # noqa: ANN401  (a field specifier: the annotation beside it is the type)
    """Declare one secret of a :class:`SecretSet`.

    Nothing is judged here: what is wrong with the arguments is raised as a
    DeclarationError when the class is made, which then knows the field's name.

    Args:
        name: the environment variable. Default: the attribute in upper case.
        file: the file's name in a mounted directory, or a relative path below
            it. Default: the name as it is, in lower case, in kebab-case.
        used_by: what needs the secret; shown to whoever has to provide it.
        required_in: the profile, or the profiles, in which an optional secret
            is required all the same. ``staging`` is held to ``production``.
        dev_default: a harmless value for the development profile. It is refused
            in every other, even when a source provides it.
        min_length: the fewest characters (bytes, for SecretBytes) allowed.
        max_length: the most characters (bytes, for SecretBytes) allowed.
        pattern: a regular expression that the whole value has to match.
        check: called with the plain value; it may be async. It refuses by
            raising or by returning False, and passes by True or None.
        lead: seconds for which a rotated value is accepted but not yet used.
            Default 0.
        grace: seconds for which the old value stays accepted. Default 0.
        previous: the name of a further, optional secret that holds the value
            before this one, for processes that start after a rotation.
        description: what a person should know about it.
    """
    return _Unread(dict(locals()))


def read_fields(cls: type, parents: Mapping[str, Field]) -> Inventory:
    """Read the annotations that ``cls`` itself has, on top of its parents' fields.

    The field specifications are removed from the class, so that an attribute
    which holds no value is missing instead of being something else.

    Args:
        cls: a class that is being made.
        parents: the fields that it inherits, by attribute.

    Raises:
        DeclarationError: something about the declaration is wrong.
    """
    fields = dict(parents)
    annotations = inspect.get_annotations(cls)
    for attribute, default in list(vars(cls).items()):
        if isinstance(default, _Unread) and attribute not in annotations:
            _refuse(cls, attribute, f"has no annotation: write {attribute}: Secret = secret(…)")
    for attribute, annotation in annotations.items():
        kind, required = _read_annotation(cls, attribute, annotation)
        if kind is None:
            continue
        if attribute in RESERVED or attribute.startswith("_"):
            _refuse(cls, attribute, "is a reserved name: call the field otherwise and give name=")
        default = cls.__dict__.get(attribute, _Unread({}))
        if not isinstance(default, _Unread):
            _refuse(cls, attribute, "has its value in the code: use secret(dev_default=…)")
        if attribute in cls.__dict__:
            delattr(cls, attribute)
        fields[attribute] = _read_field(cls, attribute, kind, default.arguments, required=required)
    inventory = Inventory(fields.values())
    _refuse_collisions(cls, inventory.every)
    return inventory


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
    hidden = replace(
        field,
        attribute=f"{field.attribute}.previous",
        name=field.previous,
        required=False,
        required_in=frozenset(),
        file=None,
        dev_default=None,
        previous=None,
        candidates=_candidates(field.previous, None),
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
    return Field(attribute=name, name=name, candidates=_candidates(name, None))


def _read_annotation(
    cls: type, attribute: str, annotation: object
) -> tuple[type[Secret | SecretBytes] | None, bool]:
    """Give the field's type and whether it is required; no type for a ClassVar."""
    if isinstance(annotation, str):
        names = {"Secret": Secret, "SecretBytes": SecretBytes}
        names |= vars(sys.modules.get(cls.__module__, object))
        try:
            annotation = eval(annotation, names, dict(vars(cls)))  # noqa: S307  (the author's code)
        except Exception:  # noqa: BLE001  (any failure means that it cannot be read)
            annotation = None
    origin = get_origin(annotation)
    if (origin or annotation) is ClassVar:
        return None, False
    union = origin is Union or origin is UnionType
    kinds: tuple[object, ...] = get_args(annotation) if union else (annotation,)
    required = type(None) not in kinds
    named = [kind for kind in kinds if kind is not type(None)]
    found = next((kind for kind in (Secret, SecretBytes) if named == [kind]), None)
    if found is None:
        why = "is not annotated as Secret, SecretBytes, or one of them | None"
        _refuse(cls, attribute, f"{why}: a setting that is not secret belongs into config=")
    return found, required


def _read_field(
    cls: type,
    attribute: str,
    kind: type[Secret | SecretBytes],
    arguments: dict[str, Any],
    *,
    required: bool,
) -> Field:
    given = {key: value for key, value in arguments.items() if value is not None}
    name = given.pop("name", attribute.upper())
    if not isinstance(name, str) or not NAME.fullmatch(name):
        _refuse(cls, attribute, "has a name= that is no variable's name (A-Z, 0-9, '_', '.', '-')")
    file = given.get("file")
    if file is not None and not _is_relative(file):
        _refuse(cls, attribute, "has a file= that is absolute, or holds '.', '..' or NUL")
    given["required_in"] = _read_profiles(cls, attribute, given.get("required_in", ()))
    given["pattern"] = _read_pattern(cls, attribute, given.get("pattern"), kind)
    field = Field(
        attribute=attribute,
        name=name,
        kind=kind,
        required=required,
        candidates=_candidates(name, file),
        **given,
    )
    _refuse_bounds(cls, field)
    _refuse_default(cls, field)
    if field.check is not None and not callable(field.check):
        _refuse(cls, attribute, "has a check= that cannot be called")
    if field.previous is not None and not NAME.fullmatch(field.previous):
        _refuse(cls, attribute, "has a previous= that is no variable's name")
    return field


def _read_profiles(cls: type, attribute: str, given: str | Iterable[str]) -> frozenset[Profile]:
    profiles: set[Profile] = set()
    for text in [given] if isinstance(given, str) else given:
        profile = parse_profile(text)
        if profile is None:
            known = ", ".join(PROFILES)
            _refuse(cls, attribute, f"is required in {text!r}, which is no profile ({known})")
        profiles.add(profile)
    return frozenset(profiles)


def _read_pattern(
    cls: type,
    attribute: str,
    given: str | re.Pattern[str] | None,
    kind: type[Secret | SecretBytes],
) -> re.Pattern[str] | re.Pattern[bytes] | None:
    if given is None:
        return None
    try:
        pattern = re.compile(given)
        return pattern if kind is Secret else re.compile(pattern.pattern.encode())
    except (re.error, TypeError) as exc:
        _refuse(cls, attribute, f"has a pattern= that is no regular expression: {exc}")


def _refuse_bounds(cls: type, field: Field) -> None:
    low, high = field.min_length, field.max_length
    for label, bound in (("min_length", low), ("max_length", high)):
        if bound is not None and (type(bound) is not int or bound < 0):
            _refuse(cls, field.attribute, f"has a {label}= that is no whole number from 0 on")
    if low is not None and high is not None and low > high:
        _refuse(cls, field.attribute, f"has a min_length= of {low} over a max_length= of {high}")
    for label, seconds in (("lead", field.lead), ("grace", field.grace)):
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            _refuse(cls, field.attribute, f"has a {label}= that is no number of seconds from 0 on")


def _refuse_default(cls: type, field: Field) -> None:
    default = field.dev_default
    if default is None:
        return
    expected = str if field.kind is Secret else bytes
    if type(default) is not expected or not default:
        _refuse(cls, field.attribute, f"has a dev_default= that is no {expected.__name__} or empty")
    fault = shape_fault(field, default)
    if fault:
        _refuse(cls, field.attribute, f"has a dev_default= that it would refuse: it {fault[1]}")


def shape_fault(field: Field, value: str | bytes) -> tuple[str, str] | None:
    """Tell what ``value`` breaks of the field's length and pattern, if anything.

    Returns:
        The kind of the problem and the end of a sentence, or None.
    """
    unit = "characters" if field.kind is Secret else "bytes"
    if field.min_length is not None and len(value) < field.min_length:
        return "length", f"has {len(value)} {unit}, and {field.min_length} are the fewest allowed"
    if field.max_length is not None and len(value) > field.max_length:
        return "length", f"has {len(value)} {unit}, and {field.max_length} are the most allowed"
    if field.pattern is not None and not field.pattern.fullmatch(value):  # type: ignore[arg-type]
        return "pattern", "does not match the pattern that was declared for it"
    return None


def _refuse_collisions(cls: type, fields: Iterable[Field]) -> None:
    """Refuse two fields that one variable or one file would answer."""
    owners: dict[str, str] = {}
    for field in fields:
        for answer in (field.name, f"{field.name}_FILE", *field.candidates):
            owner = owners.setdefault(answer, field.attribute)
            if owner != field.attribute:
                _refuse(cls, field.attribute, f"and {owner} would both be read from {answer!r}")


def _candidates(name: str, file: str | None) -> tuple[str, ...]:
    lower = name.lower()
    stems = [file] if file is not None else [name, lower, lower.replace("_", "-")]
    return tuple(dict.fromkeys([*stems, *(f"{stem}.txt" for stem in stems)]))


def _is_relative(file: object) -> bool:
    if not isinstance(file, str) or not file or "\0" in file:
        return False
    return not set(file.split("/")) & {"", ".", ".."}


def _refuse(cls: type, attribute: str, why: str) -> NoReturn:
    message = f"{cls.__name__}.{attribute} {why}"
    raise DeclarationError(message)
