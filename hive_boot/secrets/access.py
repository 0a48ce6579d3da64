"""The four plain functions, for code that was written without a declaration.

They read the one application that runs. With none running they read a store of
their own, made at the first call with the detected mode: a script, a notebook or
a test uses them as they are.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot.exceptions import DeclarationError, LifecycleError, MissingSecret, SourceError
from hive_boot.secrets import hints
from hive_boot.secrets.declaration import Inventory, plain_field
from hive_boot.secrets.loading import load
from hive_boot.secrets.mode import Situation, Surroundings, Wishes, detect
from hive_boot.secrets.value import Secret, mask_secret

if TYPE_CHECKING:
    from hive_boot.secrets.declaration import Field
    from hive_boot.secrets.store import Store

__all__ = ["get_secret", "has_secret", "mask_secret", "register", "require_secret", "unregister"]


class _Running(NamedTuple):
    store: Store[Any]
    situation: Situation


_running: list[_Running] = []

_view: Any = None
"""The live secrets of the one application that runs; None with no one or with several."""


def register(store: Store[Any], situation: Situation) -> None:
    """Make ``store`` what the four functions read."""
    _running.append(_Running(store, situation))
    _choose()


def unregister(store: Store[Any]) -> None:
    """Undo :func:`register`."""
    _running[:] = [entry for entry in _running if entry.store is not store]
    _choose()


def _choose() -> None:
    global _view  # noqa: PLW0603  (one lookup of a global is what a call may cost)
    _view = _running[0].store.view if len(_running) == 1 else None


def get_secret(name: str) -> str | None:
    """Give the value of a secret, or None when it is absent.

    Args:
        name: the declared (environment) name.

    Raises:
        DeclarationError: the running application declares no such secret, or
            declares it as SecretBytes; without one, ``name`` cannot be a name.
        SourceError: the secret is there and cannot be read.
        LifecycleError: two applications run; ``boot.secrets`` is unambiguous.
    """
    if _view is None:
        secret = _without_application(name)
    else:
        try:
            secret = _view.__dict__["_generation"].by_name[name]
        except KeyError:
            raise _undeclared(name) from None
    return None if secret is None else secret.reveal()


def require_secret(name: str) -> str:
    """Give the value of a secret that has to be there.

    Args:
        name: the declared (environment) name.

    Raises:
        MissingSecret: it is absent; the text names the file or variable to set.
        DeclarationError: as :func:`get_secret`.
        SourceError: as :func:`get_secret`.
        LifecycleError: as :func:`get_secret`.
    """
    value = get_secret(name)
    if value is None:
        raise MissingSecret(name, _hint(name))
    return value


def has_secret(name: str) -> bool:
    """Tell whether a secret has a value.

    Args:
        name: the declared (environment) name.

    Raises:
        DeclarationError: as :func:`get_secret`.
        SourceError: as :func:`get_secret`.
        LifecycleError: as :func:`get_secret`.
    """
    return get_secret(name) is not None


def _undeclared(name: str) -> DeclarationError:
    declared = _running[0].store.declared
    fields = {field.name: field for field in declared._inventory.fields.values()}  # noqa: SLF001  (ours)
    if name in fields:
        attribute = fields[name].attribute
        return DeclarationError(f"{name} is SecretBytes: read it as boot.secrets.{attribute}")
    near = hints.near_misses(plain_field(name), fields)
    meant = f"; did you mean {near[0]}?" if near else ""
    return DeclarationError(f"{declared.__name__} declares no secret of this name{meant}")


def _hint(name: str) -> str:
    if _view is None:
        return hints.mend(plain_field(name), _default.situation(), "")
    store, situation = _running[0]
    fields = store.declared._inventory.fields.values()  # noqa: SLF001  (ours)
    field = next(field for field in fields if field.name == name)
    return hints.mend(field, situation, store.declared.__name__)


def _without_application(name: str) -> Secret | None:
    if len(_running) > 1:
        message = "several applications run here: read boot.secrets of the one that you mean"
        raise LifecycleError(message)
    return _default.get(name)


class _DefaultStore:
    """What the four functions read when no application runs.

    A value is kept once it was found; what is absent is looked for again, because
    a script has no rotation that would bring it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, Secret] = {}
        self._situation: Situation | None = None

    def get(self, name: str) -> Secret | None:
        """Give a secret, found now or before."""
        with self._lock:
            known = self._found.get(name) if isinstance(name, str) else None
            if known is None:
                known = self._load(plain_field(name))
            return known

    def situation(self) -> Situation:
        """Give the detected mode; it stays what it was at the first call."""
        self._situation = self._situation or detect(Surroundings(), Wishes())
        return self._situation

    def _load(self, field: Field) -> Secret | None:
        situation = replace(self.situation(), environ=Surroundings().environ)
        loaded = load(Inventory([field]), situation)
        for problem in loaded.problems:
            if problem.name == field.name or problem.kind in {"directory", "dotenv"}:
                raise SourceError(problem)
        value = loaded.values.get(field.attribute)
        if not isinstance(value, Secret):
            return None
        self._found[field.name] = value
        return value


_default = _DefaultStore()
