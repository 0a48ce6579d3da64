"""Temporary secrets of an application, which take precedence over every source."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hive_boot.exceptions import DeclarationError, LifecycleError, ProblemsError
from hive_boot.secrets.fix_hints import did_you_mean
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from typing import Self

    from hive_boot.bootstrap import Bootstrap
    from hive_boot.secrets.fields import Field


class override:  # noqa: N801  (used like a function)
    """Replace secrets of an application in a ``with`` or an ``async with`` block.

    The given values take precedence over every source, and are validated. ``with`` is for an
    application that is started in the block; ``async with`` also replaces the values of a
    running application, by a rotation, and loads those of the sources again at the end.

    Args:
        boot: the application.
        values: the values by field: a ``str`` for a Secret, ``bytes`` for SecretBytes;
            None makes a secret absent. Other fields are loaded from the sources.

    Raises:
        DeclarationError: a field is not declared, or its value has another type.
        LifecycleError: ``with`` was used while the application runs.
        InvalidSecretsError: the running application refuses the values, and uses the previous
            ones.
        UnavailableError: its checks could not reach something outside; it uses the previous ones.
    """

    def __init__(
        self, boot: Bootstrap[Any, Any], **values: str | bytes | Secret | SecretBytes | None
    ) -> None:
        declaration = boot._declaration  # noqa: SLF001  (same library)
        fields: dict[str, Field] = declaration.declared._field_index.fields  # noqa: SLF001  (same library)
        name = declaration.declared.__name__
        if unknown := values.keys() - fields.keys():
            message = f"{name} has no field {', '.join(map(repr, sorted(unknown)))}."
            del values
            raise DeclarationError(message + did_you_mean(min(unknown), fields))
        self._boot = boot
        self._declaration = declaration
        self._values: dict[str, Secret | SecretBytes | None] = {}
        for attribute, field in fields.items():
            if attribute not in values:
                continue
            value = values[attribute]
            typed = _typed(field, value)
            if typed is None and value is not None:
                expected = "str" if field.kind is Secret else "bytes"
                message = (
                    f"override({attribute}=…): expected {expected}, not {type(value).__name__}."
                )
                del value, values
                raise DeclarationError(message)
            self._values[attribute] = typed
        self._before = declaration.overrides

    def __enter__(self) -> Self:
        if self._boot.status().ready:
            message = "The application is running. Write `async with override(…)`."
            raise LifecycleError(message)
        self._install_overrides()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._declaration.overrides = self._before

    async def __aenter__(self) -> Self:
        self._install_overrides()
        try:
            await self._reload()
        except BaseException:
            self._declaration.overrides = self._before
            # Otherwise the application would stay degraded by values that no longer apply.
            with suppress(ProblemsError):
                await self._reload()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._declaration.overrides = self._before
        await self._reload()

    def _install_overrides(self) -> None:
        self._before = self._declaration.overrides
        self._declaration.overrides = {**self._before, **self._values}

    async def _reload(self) -> None:
        if self._boot.status().ready:
            await self._boot.reload(now=True)


def _typed(field: Field, value: object) -> Secret | SecretBytes | None:
    """Return the value as the field's type, or None if it has another type."""
    if isinstance(value, field.kind):
        return value
    if field.kind is Secret and type(value) is str:
        return Secret(field.name, value)
    if field.kind is SecretBytes and type(value) is bytes:
        return SecretBytes(field.name, value)
    return None
