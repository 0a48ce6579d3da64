"""Global access: `get_secret`, `require_secret` and `has_secret`, in or outside a run."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from hive_boot._records import Record
from hive_boot.exceptions import DeclarationError, LifecycleError, MissingSecretError, SourceError
from hive_boot.redaction.opaque import _OpaqueIterator
from hive_boot.secrets.fields import FieldIndex, undeclared_field
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import HostEnvironment, SourceContext, SourceOptions, detect
from hive_boot.secrets.sources.files import FifoReader
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from hive_boot.secrets.fields import Field
    from hive_boot.secrets.store import Store

_creation_lock = threading.RLock()
"""Held while the default store of the process is created."""


class StandaloneStore:
    """Store for code without a declaration.

    A value is cached once it is found. An absent secret is looked up again at every call,
    because without an application no reload would find it later.
    """

    def __init__(self) -> None:
        self._renew_lock()
        os.register_at_fork(after_in_child=self._renew_lock)
        self._found: dict[str, Secret] = {}
        self._source_context: SourceContext | None = None
        self._fifo_reader = FifoReader()

    def get(self, name: str) -> Secret | None:
        """Return a secret, loaded now or earlier; None when it is absent."""
        known = self._found.get(name) if isinstance(name, str) else None
        if known is not None:
            return known
        field = undeclared_field(name)
        with self._lock:
            return self._found.get(name) or self._load(field)

    def _renew_lock(self) -> None:
        """Create a new lock: the one that a forked child inherits may be held forever."""
        # Reentrant: a signal handler may call get() while the interrupted thread holds the lock.
        self._lock = threading.RLock()

    def source_context(self) -> SourceContext:
        """Return the source context, detected at the first call."""
        self._source_context = self._source_context or detect(HostEnvironment(), SourceOptions())
        return self._source_context

    def _load(self, field: Field) -> Secret | None:
        source_context = self.source_context().replace(variables=HostEnvironment().variables)
        loaded = load(FieldIndex([field]), source_context, fifo_reader=self._fifo_reader)
        if loaded.problems:
            raise SourceError(loaded.problems[0])
        value = loaded.values.get(field.attribute)
        if not isinstance(value, Secret):
            return None
        self._found[field.name] = value
        return value


class _Running(Record):
    store: Store[Any]
    source_context: SourceContext


_running: list[_Running] = []


_default: StandaloneStore | None = None


_MISSING: Any = object()


_view: Any = None
"""The live secrets of the running application; None when none or several run."""


def register(store: Store[Any], source_context: SourceContext) -> None:
    """Register ``store`` as the store of a running application."""
    _running.append(_Running(store, source_context))
    _update_view()


def unregister(store: Store[Any]) -> None:
    """Remove a store that was registered by :func:`register`."""
    _running[:] = [entry for entry in _running if entry.store is not store]
    _update_view()


def _update_view() -> None:
    global _view  # noqa: PLW0603  (keeps get_secret() fast)
    _view = _running[0].store.view if len(_running) == 1 else None


def get_secret(name: str) -> str | None:
    """Return the value of a secret, or None when it is absent.

    Args:
        name: the declared name, which is that of the environment variable.

    Raises:
        DeclarationError: the running application declares no such secret, or
            declares it as SecretBytes; or no application runs, and ``name`` is not a
            valid name.
        SourceError: the secret exists and cannot be used.
        LifecycleError: several applications run; use ``boot.secrets`` of one of them.
    """
    error: DeclarationError | None = None
    if _view is None:
        try:
            secret = _standalone_get(name)
        except DeclarationError as exc:
            error = exc.with_traceback(None)
    else:
        try:
            secret = _view.__dict__["_by_name"][name]
        except (KeyError, TypeError):
            secret = _MISSING
        # Created and raised outside the `except` block, and without the name, which may be a value
        # by mistake: the KeyError and its frames contain it.
        if secret is _MISSING:
            error = _undeclared(name)
    if error is not None:
        del name
        raise error
    # The same as reveal(), without a second call: request handlers call this function.
    return None if secret is None else secret._open()  # noqa: SLF001


def require_secret(name: str) -> str:
    """Return the value of a secret that must be present.

    Args:
        name: the declared name, which is that of the environment variable.

    Raises:
        MissingSecretError: the secret is absent; the message names the file or variable to set.
        DeclarationError: as :func:`get_secret`.
        SourceError: as :func:`get_secret`.
        LifecycleError: as :func:`get_secret`.
    """
    try:
        # No local variable of this frame holds the value.
        read = _OpaqueIterator(get_secret(name)).__next__
    except DeclarationError:
        del name
        raise
    if read() is None:
        raise MissingSecretError(name, _hint(name))
    return read()  # type: ignore[no-any-return]


def has_secret(name: str) -> bool:
    """Return whether a secret has a value.

    Args:
        name: the declared name, which is that of the environment variable.

    Raises:
        DeclarationError: as :func:`get_secret`.
        SourceError: as :func:`get_secret`.
        LifecycleError: as :func:`get_secret`.
    """
    try:
        return get_secret(name) is not None
    except DeclarationError:
        del name
        raise


def _undeclared(name: str) -> DeclarationError:
    from hive_boot.secrets import fix_hints  # noqa: PLC0415  (only a failure needs it)

    try:
        wanted = undeclared_field(name)
    except DeclarationError as exc:
        return exc.with_traceback(None)
    declared = _running[0].store.declared
    fields = {field.name: field for field in declared._field_index.fields.values()}  # noqa: SLF001  (internal to the package)
    if name in fields:
        attribute = fields[name].attribute
        return DeclarationError(f"{name} is SecretBytes: read it as boot.secrets.{attribute}")
    near = fix_hints.near_misses(wanted, fields)
    suggestion = f"; did you mean {near[0]}?" if near else ""
    return DeclarationError(
        f"{declared.__name__} does not declare a secret of this name{suggestion}"
    )


def _hint(name: str) -> str:
    from hive_boot.secrets import fix_hints  # noqa: PLC0415  (only a failure needs it)

    if _view is None:
        field, source_context, declaration = (
            undeclared_field(name),
            _default_store().source_context(),
            "",
        )
    else:
        running = _running[0]
        source_context = running.source_context
        declared = running.store.declared
        field = declared._field_index.by_variable[name]  # noqa: SLF001  (internal to the package)
        declaration = declared.__name__
    fix = fix_hints.how_to_provide(field, source_context, declaration).text
    file = fix_hints.first_file(field, source_context)
    return fix if not file or file in fix else f"looked for {file}; {fix}"


def _standalone_get(name: str) -> Secret | None:
    if len(_running) > 1:
        message = "Several applications run in this process: use boot.secrets of one of them"
        raise LifecycleError(message)
    return _default_store().get(name)


def _default_store() -> StandaloneStore:
    """Return the store of a process without an application, created at the first call."""
    global _default  # noqa: PLW0603  (one per process)
    with _creation_lock:
        _default = _default or StandaloneStore()
    return _default
