"""The typed set of secrets: one live object, and the generations behind it.

An attribute is read from the instance's ``__dict__`` and from nothing else, so
that it costs what a plain attribute costs. A new generation replaces that dict
in one assignment: a reader sees all of the old one or all of the new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Never, dataclass_transform

from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.declaration import (
    collect_fields,
    make_inventory,
    reject_secrets_in_mixin,
    secret,
)
from hive_boot.secrets.inventory import FieldIndex

if TYPE_CHECKING:
    from typing import Self

    from hive_boot.secrets.field import Field
    from hive_boot.secrets.value import Secret, SecretBytes


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(secret,))
class SecretSet:
    """The base of a declaration: a class whose annotations are secrets.

    An annotation ``Secret`` or ``SecretBytes`` is required, ``… | None`` is
    optional; :func:`secret` says more about a field, and a bare annotation is a
    field too. Subclassing adds fields. Judge the whole set in
    ``async def check(self) -> None``, which raises or returns False to refuse it.

    One object of the declared type is handed out for a whole run: an attribute
    is always the current value. Constructible with keywords, all fields given,
    for tests.

    Raises:
        TypeError: a field is not given, is not declared, or has another type.
    """

    # Not annotated: whoever asks for the type hints of a declaration finds its fields.
    _field_index = FieldIndex(())
    _own = FieldIndex(())

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        inherited: dict[str, Field] = {}
        for base in reversed(cls.__mro__[1:]):
            if issubclass(base, SecretSet):
                inherited |= base.__dict__["_own"].fields
            else:
                reject_secrets_in_mixin(base)
        cls._own = FieldIndex(collect_fields(cls).values())
        cls._field_index = make_inventory(cls, inherited | cls._own.fields)
        check = getattr(cls, "check", None)
        if check is not None:
            from inspect import iscoroutinefunction  # noqa: PLC0415  (many have no check)

            if not iscoroutinefunction(check):
                message = f"{cls.__name__}.check has to be an async def"
                raise DeclarationError(message)

    def __init__(self, **values: Secret | SecretBytes | None) -> None:
        name = type(self).__name__
        if missing := self._field_index.fields.keys() - values.keys():
            message = f"{name}() needs every field; not given: {', '.join(sorted(missing))}"
            del values
            raise TypeError(message)
        if unknown := values.keys() - self._field_index.fields.keys():
            message = f"{name} declares no {', '.join(sorted(unknown))}"
            del values
            raise TypeError(message)
        for key, field in self._field_index.fields.items():
            value = values[key]
            if not isinstance(value, field.kind) and (value is not None or field.required):
                wanted = field.kind.__name__ + ("" if field.required else " or None")
                message = (
                    f"{name}.{key} has to be {wanted}, not {type(value).__name__}: "
                    f"write {field.kind.__name__}({field.name!r}, …)"
                )
                del value, values
                raise TypeError(message)
        object.__setattr__(self, "__dict__", values)

    @property
    def current(self) -> Self:
        """The generation of this moment, which never changes: its fields belong together."""
        pinned: Self = self.__dict__.get("_pinned", self)
        return pinned

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={self.__dict__.get(key)!r}" for key in self._field_index.fields)
        return f"{type(self).__name__}({shown})"

    def __format__(self, spec: str, /) -> str:
        return repr(self)

    def __setattr__(self, name: str, value: object) -> Never:
        del value
        message = f"{type(self).__name__}.{name} cannot be assigned: secrets come from their source"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> Never:
        message = f"{type(self).__name__}.{name} cannot be deleted"
        raise AttributeError(message)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> Never:
        message = f"{type(self).__name__} cannot be pickled: secrets are not written down"
        raise TypeError(message)
