"""SecretSet: the base class of a declaration, and `secret()`, which declares one field."""

from __future__ import annotations

import math
import re
import sys
from contextlib import suppress
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Never,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
)

from hive_boot.exceptions import DeclarationError, did_you_mean
from hive_boot.secrets.fields import (
    NAME_RULE,
    PROFILES,
    Field,
    FieldIndex,
    as_list,
    constraint_violations,
    file_name_candidates,
    is_name,
    parse_profile,
)
from hive_boot.secrets.value import Secret, SecretBytes, complete_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from hive_boot.secrets.fields import Profile


class _FieldSpec(dict[str, Any]):
    """The arguments of :func:`secret`, validated when the class is created."""


def secret(
    name: str | None = None,
    *,
    aliases: str | Iterable[str] = (),
    file: str | None = None,
    used_by: str = "",
    required_in: str | Iterable[str] = (),
    dev_default: str | bytes | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    pattern: str | re.Pattern[str] | None = None,
    check: Callable[[Any], Any] | None = None,
    activate_after: float = 0.0,
    accept_old_for: float = 0.0,
    previous: str | None = None,
    description: str = "",
    allow_placeholder: bool = False,
    file_variable: bool = True,
    redact_parts: bool = True,
) -> Any:
    """Declare one secret of a :class:`SecretSet`.

    The arguments are validated when the class is created, because only then the name of
    the field is known; an invalid one is a DeclarationError of the class statement.

    Args:
        name: the environment variable. Default: the attribute in upper case, after the
            ``prefix=`` of the class.
        aliases: older names. The first one with a value is used where the name has none,
            with a warning; one with another value is only a warning. Default: none.
        file: the name of the file in a mounted directory, or a relative path below
            it; ``rds.json#password`` is the member ``password`` of a JSON file. Default: the
            name unchanged, in lower case, or in kebab-case.
        used_by: what needs the secret; shown in the report of a failed start.
        required_in: the profile or profiles in which an optional secret is required.
            ``production`` includes ``staging``. Default: none.
        dev_default: a harmless value for the development profile. Every other profile
            rejects it, even when a source provides it. Default: none.
        min_length: the minimum number of characters (bytes, for SecretBytes). Default:
            no minimum.
        max_length: the maximum number of characters (bytes, for SecretBytes). Default:
            no maximum.
        pattern: a regular expression that the whole value must match. Default: none.
        check: a function, sync or async, that is called with the plain value. It rejects
            the value by raising or by returning False, and passes by returning True or
            None. Default: none.
        activate_after: seconds for which a rotated value is accepted but not yet used, so
            that every other process has loaded it when this one begins to use it.
            Default 0.
        accept_old_for: seconds for which the old value stays accepted after that.
            Default 0.
        previous: the name of a further, optional secret that holds the previous value,
            for processes that start after a rotation. Default: none.
        description: a description of the secret, for people.
        allow_placeholder: whether a value that looks like a placeholder (``changeme``) or
            like an unresolved reference (``op://vault/item``) is accepted. Default False.
        file_variable: whether the variable ``NAME_FILE`` can contain the path of a file.
            False is for a name such as ``ssl_cert``, because other software sets
            ``SSL_CERT_FILE``. Default True.
        redact_parts: whether the secrets in a value, such as the password in a URL, are
            hidden by themselves too. False is for a value with a public part that is
            hidden because of its name. Default True.
    """
    return _FieldSpec(locals())


class _InvalidFieldError(Exception):
    """Problem of a field, as a predicate such as ``has an invalid name=``."""


def collect_fields(cls: type, prefix: str) -> dict[str, Field]:
    """Return the fields that the annotations of ``cls`` itself declare.

    The field specifications are removed from the class, so that reading an attribute
    without a value raises AttributeError instead of returning a specification.

    Args:
        cls: a class that is being created.
        prefix: the beginning of the names that are derived from attributes.

    Raises:
        DeclarationError: the declaration is invalid.
    """
    fields = {}
    # As inspect.get_annotations() for a class, without the import time of inspect.
    annotations = cls.__annotations__
    for attribute, default in list(vars(cls).items()):
        if isinstance(default, _FieldSpec) and attribute not in annotations:
            _declaration_error(
                cls, attribute, f"has no annotation: write {attribute}: Secret = secret(…)"
            )
    for attribute, annotation in annotations.items():
        try:
            kind, required = _read_annotation(cls, annotation)
            if kind is not None:
                default = vars(cls).get(attribute, _FieldSpec())
                arguments = _read_default(attribute, default, kind, required=required)
                arguments["name"] = arguments.get("name", f"{prefix}{attribute.upper()}")
                fields[attribute] = _read_field(attribute, kind, arguments, required=required)
        except _InvalidFieldError as exc:
            _declaration_error(cls, attribute, str(exc))
        if attribute in fields and attribute in vars(cls):
            delattr(cls, attribute)
    return fields


def _read_default(
    attribute: str, default: object, kind: type[Secret | SecretBytes], *, required: bool
) -> dict[str, Any]:
    """Return the arguments of a field from what the class statement assigns to it."""
    if attribute in {"current", "check"} or attribute.startswith("_"):
        _reject("is a reserved attribute name: rename the attribute and set name=")
    if isinstance(default, _FieldSpec):
        return {key: value for key, value in default.items() if value is not None}
    if default is not None:
        _reject("must not have a value in the code: use secret(dev_default=…)")
    if required:
        _reject(f"is required and cannot be None: write {attribute}: {kind.__name__} | None")
    return {"may_be_omitted": True}


def reject_secrets_in_mixin(mixin: type) -> None:
    """Raise if a base that is not a SecretSet declares secrets, which would be ignored.

    Raises:
        DeclarationError: the base declares a secret.
    """
    hinted = getattr(mixin, "__annotations__", {})  # a type implemented in C has none
    for attribute in {**vars(mixin), **hinted}:
        is_secret = isinstance(vars(mixin).get(attribute), _FieldSpec)
        with suppress(_InvalidFieldError):
            is_secret |= _read_annotation(mixin, hinted.get(attribute))[0] is not None
        if is_secret:
            fix = f"derive {mixin.__name__} from SecretSet"
            problem = f"is a secret in a class that is not a SecretSet: {fix}"
            _declaration_error(mixin, attribute, problem)


def _read_annotation(
    cls: type, annotation: object
) -> tuple[type[Secret | SecretBytes] | None, bool]:
    """Return the type of the field and whether it is required; no type for a ClassVar."""
    # Evaluated twice: under `from __future__ import annotations`, a quoted annotation is a string
    # whose value is again a string.
    for _ in range(2):
        if not isinstance(annotation, str):
            break
        names = {"Secret": Secret, "SecretBytes": SecretBytes}
        names |= vars(sys.modules.get(cls.__module__, object))
        try:
            annotation = eval(annotation, names, dict(vars(cls)))  # noqa: S307  (get_type_hints reads all or none)
        except Exception:  # noqa: BLE001  (an annotation that cannot be evaluated is invalid)
            annotation = None
    origin = get_origin(annotation)
    if (origin or annotation) is ClassVar:
        return None, False
    union = origin is Union or origin is UnionType
    kinds: tuple[object, ...] = get_args(annotation) if union else (annotation,)
    named = [kind for kind in kinds if kind is not type(None)]
    found = next((kind for kind in (Secret, SecretBytes) if named == [kind]), None)
    if found is None:
        _reject(
            "has an invalid annotation: expected Secret or SecretBytes, with | None if it is "
            "optional. A setting that is not secret belongs in config="
        )
    return found, type(None) not in kinds


def _read_field(
    attribute: str, kind: type[Secret | SecretBytes], given: dict[str, Any], *, required: bool
) -> Field:
    """Return a field from the arguments of :func:`secret` that are not None."""
    given["aliases"] = tuple(as_list(given.get("aliases", ())))
    for argument, names in (
        ("name", [given["name"]]),
        ("aliases", given["aliases"]),
        ("previous", [given["previous"]] if "previous" in given else []),
    ):
        if not all(is_name(name) for name in names):
            _reject(f"has an invalid {argument}=: expected {NAME_RULE}")
    file = given.get("file")
    if file is not None and not _is_relative(file):
        _reject("has an invalid file=: expected a relative path without '.', '..', '//' or NUL")
    for flag in ("allow_placeholder", "file_variable", "redact_parts"):
        if type(given.get(flag, True)) is not bool:
            _reject(f"has an invalid {flag}=: expected True or False")
    if "check" in given and not callable(given["check"]):
        _reject("has an invalid check=: expected a function")
    given["required_in"] = frozenset(map(_read_profile, as_list(given.get("required_in", ()))))
    if "pattern" in given:
        given["pattern"] = _read_pattern(given["pattern"], kind)
    if kind is Secret and isinstance(default := given.get("dev_default"), str):
        # A source that provides the same text is found by comparison.
        given["dev_default"] = complete_pem(lambda: default)()
    candidates = file_name_candidates(given["name"], file)
    field = Field(attribute=attribute, kind=kind, required=required, candidates=candidates, **given)
    _validate_bounds(field)
    _validate_dev_default(field)
    return field


def _is_relative(file: object) -> bool:
    return isinstance(file, str) and "\0" not in file and not {"", ".", ".."} & set(file.split("/"))


def _read_profile(text: object) -> Profile:
    profile = parse_profile(text) if isinstance(text, str) else None
    if profile is None:
        _reject(f"has an invalid profile {text!r} in required_in=: expected {', '.join(PROFILES)}")
    return profile


def _read_pattern(
    given: str | re.Pattern[str], kind: type[Secret | SecretBytes]
) -> re.Pattern[str] | re.Pattern[bytes]:
    if not isinstance(getattr(given, "pattern", given), str):
        _reject("has an invalid pattern=: expected a str, also for SecretBytes")
    try:
        pattern = re.compile(given)
        if kind is Secret:
            return pattern
        return re.compile(pattern.pattern.encode(), pattern.flags & ~re.UNICODE)
    except re.error as exc:
        _reject(f"has an invalid regular expression in pattern=: {exc}")


def _validate_bounds(field: Field) -> None:
    low, high = field.min_length, field.max_length
    for label, bound in (("min_length", low), ("max_length", high)):
        if bound is not None and (type(bound) is not int or bound < 0):
            _reject(f"has an invalid {label}=: expected 0 or a positive integer")
    if low is not None and high is not None and low > high:
        _reject(f"has min_length={low}, which exceeds max_length={high}")
    for label in ("activate_after", "accept_old_for"):
        seconds = getattr(field, label)
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            _reject(f"has an invalid {label}=: expected 0 or a positive, finite number of seconds")


def _validate_dev_default(field: Field) -> None:
    default = field.dev_default
    if default is None:
        return
    expected = str if field.kind is Secret else bytes
    if type(default) is not expected or not default:
        _reject(f"has an invalid dev_default=: expected a non-empty {expected.__name__}")
    for violation in constraint_violations(field, lambda: default):
        _reject(f"has an invalid dev_default=: it {violation.message}")


def _validate_source_names(cls: type, field_index: FieldIndex) -> None:
    """Raise if one variable or one file would provide two fields, or a field and the version."""
    owners: dict[str, str] = {}
    for field in field_index.all_fields:
        names = [field, *field_index.aliases.get(field.attribute, ())]
        pointers = [f"{each.name}_FILE" for each in names if each.file_variable]
        variables = [*(each.name for each in names), *pointers]
        if len(set(variables)) < len(variables):
            _declaration_error(
                cls, field.attribute, "has the same name twice in name= and aliases="
            )
        files = [file for name in names for file in name.candidates]
        for source_name in (*variables, *files):
            owner = owners.setdefault(source_name, field.attribute)
            if owner != field.attribute:
                problem = f"conflicts with {owner}: both would be read from {source_name!r}"
                _declaration_error(cls, field.attribute, problem)
    if not field_index.version:
        return
    owners |= dict.fromkeys(field_index.members, "a bundle")
    files_of_version = file_name_candidates(field_index.version, None)
    for source_name in (*field_index.version_variables, *files_of_version):
        if source_name in owners:
            message = f"has an invalid version=: {source_name!r} would also provide"
            message = f"{cls.__name__} {message} {owners[source_name]}"
            raise DeclarationError(f"{message}. Fix: choose a key that is not secret")


def _mismatch(name: str, fields: Mapping[str, Field], values: Mapping[str, object]) -> str:
    """Return why values are not those of the fields of a declaration; empty if they are."""
    if missing := fields.keys() - values.keys():
        return f"{name}() requires every field; missing: {', '.join(sorted(missing))}"
    if unknown := values.keys() - fields.keys():
        return f"{name}() got fields that are not declared: {', '.join(sorted(unknown))}"
    for key, field in fields.items():
        value, kind = values[key], field.kind.__name__
        if not isinstance(value, field.kind) and (value is not None or field.required):
            wanted, given = kind if field.required else f"{kind} or None", type(value).__name__
            write = f"write {kind}({field.name!r}, …)"
            return f"{name}.{key} must be {wanted}, not {given}: {write}"
    return ""


def _reject(problem: str) -> Never:
    raise _InvalidFieldError(problem)


def _declaration_error(cls: type, attribute: str, problem: str) -> Never:
    raise DeclarationError(f"{cls.__name__}.{attribute} {problem}") from None


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(secret,))
class SecretSet:
    """Base of a declaration: a class whose annotations are secrets.

    A field annotated as ``Secret`` or ``SecretBytes`` is required, ``… | None`` is
    optional, with or without ``= None``; :func:`secret` sets options of a field, and an
    annotation without it is a field too. A subclass adds fields. The optional method
    ``async def check(self)`` validates the whole set; it raises or returns False to reject
    the set.

    One object of the declared type is used for a whole run: an attribute is always the
    current value. Tests can create a set with keyword arguments, one for each field; only
    those declared with ``= None`` may be left out.

    ``class OrderSecrets(SecretSet, prefix="ORDERS_")`` puts the prefix before the names that are
    derived from the attributes of this class, not before the arguments of :func:`secret`.
    Inherited fields keep their names, and a subclass does not inherit the prefix.

    ``class OrderSecrets(SecretSet, version="secrets-version")`` names a key beside the secrets, in
    the same volume, directory, bundle or environment, that is not secret: the version of all of
    them, 1 to 64 letters, digits, ``.``, ``_``, ``:`` or ``-``. Change it with each change of a
    value. A subclass inherits it.

    Raises:
        TypeError: a field is missing, is not declared, or has another type.
        DeclarationError: a class statement declares something invalid.
    """

    # Not annotated: get_type_hints() of a declaration must return only its fields.
    _field_index = FieldIndex(())
    _own = FieldIndex(())

    def __init_subclass__(
        cls, *, prefix: str = "", version: str | None = None, **kwargs: object
    ) -> None:
        super().__init_subclass__(**kwargs)
        given: dict[str, object] = {"prefix": prefix, "version": version}
        for argument, unset in (("prefix", ""), ("version", None)):
            if given[argument] != unset and not is_name(given[argument]):
                message = f"{cls.__name__} has an invalid {argument}=: expected {NAME_RULE}"
                raise DeclarationError(message)
        inherited: dict[str, Field] = {}
        known = ""
        # Without the class itself, and object, which comes last.
        for base in reversed(cls.__mro__[1:-1]):
            if issubclass(base, SecretSet):
                inherited |= vars(base)["_own"].fields
                known = vars(base)["_field_index"].version or known
            else:
                reject_secrets_in_mixin(base)
        cls._own = FieldIndex(collect_fields(cls, prefix).values())
        cls._field_index = cls._own
        if inherited or version or known:
            cls._field_index = FieldIndex((inherited | cls._own.fields).values(), version or known)
        _validate_source_names(cls, cls._field_index)
        check = getattr(cls, "check", None)
        if check is not None:
            from inspect import iscoroutinefunction  # many have no check

            if not iscoroutinefunction(check):
                message = f"{cls.__name__}.check must be async: write async def check(self)"
                raise DeclarationError(message)

    def __init__(self, **values: Secret | SecretBytes | None) -> None:
        fields = self._field_index.fields
        values = dict.fromkeys(key for key in fields if fields[key].may_be_omitted) | values
        if message := _mismatch(type(self).__name__, fields, values):
            del values
            raise TypeError(message)
        object.__setattr__(self, "__dict__", values)

    if not TYPE_CHECKING:  # a type checker would accept every attribute

        def __getattr__(self, name: str) -> Never:
            owner, fields = type(self).__name__, self._field_index.fields
            message = f"{owner!r} object has no attribute {name!r}"
            if name in fields:
                message = f"{owner}.{name} has no value yet: the secrets are not loaded"
            elif not name.startswith("_"):
                # Only a similar name is shown: the name may be a value by mistake.
                near = did_you_mean(name, fields)
                known = f" Its fields: {', '.join(fields)}."
                message = f"{owner} has no field {repr(name) if near else 'of this name'}."
                message += near or known
            # Without name= and obj=, Python 3.12 and newer would add their own suggestion.
            raise AttributeError(message, name="", obj=None)

    @property
    def current(self) -> Self:
        """The current generation as an immutable set, whose fields belong together."""
        pinned: Self = self.__dict__.get("_pinned", self)
        return pinned

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={self.__dict__.get(key)!r}" for key in self._field_index.fields)
        return f"{type(self).__name__}({shown})"

    def __setattr__(self, name: str, value: object) -> Never:
        del value
        message = f"{type(self).__name__}.{name} cannot be assigned: a SecretSet is read-only"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> Never:
        message = f"{type(self).__name__}.{name} cannot be deleted: a SecretSet is read-only"
        raise AttributeError(message)

    def __copy__(self, memo: object = None) -> Self:
        return self

    __deepcopy__ = __copy__

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled: a pickle would contain the plain values"
        )
