"""Temporary secrets and resources of an application, which take precedence over the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

from hive_boot.bootstrap import Bootstrap
from hive_boot.exceptions import DeclarationError, LifecycleError, ProblemsError, did_you_mean
from hive_boot.lifecycle.states import SERVING
from hive_boot.runtime.injection import ResourceHandle
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from hive_boot.secrets.fields import Field


class override:  # noqa: N801  (used like a function)
    """Replace secrets and resources of an application in a ``with`` or ``async with`` block.

    The given secrets take precedence over every source, and are validated. ``with`` is for an
    application that is started in the block, or that ``boot.load()`` has loaded; ``async with``
    also replaces the values of a running application, by a rotation. The end of the block restores
    the values before it: those of a running application are loaded from the sources again.

    Args:
        boot: the application.
        resources: the values of resources in a run that begins in the block, by handle or by
            name. These resources are not started, and need nothing; None is a value too.
            Default: no resource is replaced.
        values: the values by field: a ``str`` for a Secret, ``bytes`` for SecretBytes;
            None makes a secret absent. Other fields are loaded from the sources.

    Raises:
        DeclarationError: ``boot`` is not a Bootstrap, a field or a resource is not declared, or a
            value or ``resources`` has another type.
        LifecycleError: the application is running, and ``with`` was used or a resource is given.
        InvalidSecretsError: the running or loaded application refuses the values, and uses the
            previous ones.
        UnavailableError: its checks could not reach something outside; it uses the previous ones.
    """

    def __init__(
        self,
        boot: Bootstrap[Any, Any],
        *,
        resources: Mapping[ResourceHandle[Any] | str, object] | None = None,
        **values: str | bytes | Secret | SecretBytes | None,
    ) -> None:
        given: Any = boot, resources or {}
        if not isinstance(given[0], Bootstrap) or not isinstance(given[1], Mapping):
            del values
            raise DeclarationError(
                "Write override(boot, resources={pool: fake}, field=value): boot is a Bootstrap."
            )
        declaration = self._declaration = boot._declaration
        fields: dict[str, Field] = declaration.declared._field_index.fields
        if unknown := values.keys() - fields.keys():
            name = declaration.declared.__name__
            message = f"{name} has no field {', '.join(map(repr, sorted(unknown)))}."
            del values
            raise DeclarationError(message + did_you_mean(min(unknown), [*fields, "resources"]))
        self._boot = boot
        self._stacks: list[ExitStack] = []
        self._resources: dict[str, object] = {}
        known = declaration.resources
        for key, stand_in in given[1].items():
            is_of_other = isinstance(key, ResourceHandle) and key._boot is not boot
            resource = key.name if isinstance(key, ResourceHandle) else key
            if is_of_other or resource not in known:
                message = f"{boot!r} has no resource {resource!r}."
                raise DeclarationError(message + did_you_mean(str(resource), known))
            self._resources[resource] = stand_in
        self._values: dict[str, Secret | SecretBytes | None] = {}
        for attribute, value in values.items():
            kind: Any = fields[attribute].kind
            plain = str if kind is Secret else bytes
            if type(value) is plain:
                self._values[attribute] = kind(fields[attribute].name, value)
            elif value is None or isinstance(value, kind):
                self._values[attribute] = value
            else:
                wrong = f"expected {plain.__name__}, not {type(value).__name__}"
                message = f"override({attribute}=…): {wrong}."
                del value, values
                raise DeclarationError(message)

    def __enter__(self) -> Self:
        if self._is_ready:
            self._forbid_resources()
            raise LifecycleError("The application is running. Write `async with override(…)`.")
        with self._install_overrides() as stack:
            if (loaded := self._boot._loaded) is not None:
                stack.enter_context(loaded.read_again())
            self._stacks.append(stack.pop_all())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stacks.pop().close()

    async def __aenter__(self) -> Self:
        if not self._is_ready:
            return self.__enter__()
        self._forbid_resources()
        self._stacks.append(self._install_overrides())
        try:
            await self._boot.reload(now=True)
        except BaseException:
            # Otherwise the application would stay degraded by values that no longer apply.
            with suppress(ProblemsError):
                await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__()
        if self._is_ready:
            await self._boot.reload(now=True)

    def _forbid_resources(self) -> None:
        """Raise if a resource of a running application is given."""
        if self._resources:
            raise LifecycleError(
                "The application is running, so its resources have started. Enter "
                "override(…, resources=…) before it starts."
            )

    @property
    def _is_ready(self) -> bool:
        return self._boot._current_state() in SERVING

    def _install_overrides(self) -> ExitStack:
        """Add the values to the overrides, and return how to remove them."""
        declaration, stack = self._declaration, ExitStack()
        stack.callback(setattr, declaration, "overrides", declaration.overrides)
        stack.callback(setattr, declaration, "stand_ins", declaration.stand_ins)
        declaration.overrides = {**declaration.overrides, **self._values}
        declaration.stand_ins = {**declaration.stand_ins, **self._resources}
        return stack
