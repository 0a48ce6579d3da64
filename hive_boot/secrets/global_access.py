"""Global access: `get_secret`, `require_secret` and `has_secret`, in or outside a run."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from hive_boot import secrets as applications
from hive_boot._output import log_safely
from hive_boot._timings import DEFAULTS, Timings
from hive_boot.exceptions import (
    DeclarationError,
    LifecycleError,
    MissingSecretError,
    Problem,
    SourceError,
)
from hive_boot.redaction import _OpaqueIterator
from hive_boot.secrets.fields import Field, FieldIndex, undeclared_field
from hive_boot.secrets.platform import HostEnvironment, SourceContext, SourceOptions, detect
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_log = logging.getLogger("hive_boot")


_MISSING: Any = object()


class _Known:
    """Latest outcome of one name, and its refreshes.

    Attributes:
        field: the field that is read.
        outcome: the value; None while the secret is absent; a problem that was found before
            the first value.
        candidate: the different outcome of the latest refresh, which the next one must confirm.
        due: the time of the next refresh, on the monotonic clock.
        warned: whether it was logged that the value can no longer be read.
        lock: held during a refresh; no caller waits for it.
    """

    candidate: Any = _MISSING
    warned: bool = False

    def __init__(self, field: Field, outcome: Secret | Problem | None, due: float) -> None:
        self.field, self.outcome, self.due = field, outcome, due
        self.lock = threading.Lock()

    def observe(self, seen: Secret | Problem | None) -> None:
        """Record the outcome of a refresh; a new one is used when two refreshes in a row agree."""
        if isinstance(seen, Problem) and seen.kind == "unstable":
            return
        if seen == self.outcome:
            self.candidate, self.warned = _MISSING, False
        elif seen != self.candidate:
            self.candidate = seen
        elif isinstance(seen, Secret) or not isinstance(self.outcome, Secret):
            self.outcome, self.candidate, self.warned = seen, _MISSING, False
        elif not self.warned:
            self.warned = True
            reason = "it is absent now" if seen is None else f"{seen.name} {seen.message}"
            text = "The last good value of %s stays in use: %s"
            log_safely(logging.WARNING, text, self.field.name, reason, logger=_log)


class StandaloneStore:
    """Store for code without a running or loaded application.

    The first read of a name may wait for a file that is being written. From then on the files
    are read again at most once per ``Timings.refresh_interval`` and name, by a caller. A refresh
    does not wait for a writer or a lock: the known value is served until two refreshes agree on
    another one. Absence and a problem replace no value. Custom sources are not asked.

    Args:
        declaration: the only declared application, whose options and fields are used; None
            without one, or with several.
        timings: has the interval.
        clock: the monotonic clock, in seconds.
    """

    def __init__(
        self,
        declaration: Any = None,
        timings: Timings = DEFAULTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from hive_boot.secrets.sources import directories, files  # a declaration reads nothing

        self._options, self._index = SourceOptions(), FieldIndex(())
        if declaration is not None:
            self._options = declaration.source_options
            self._index = declaration.field_index
        self._interval = timings.refresh_interval
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._source_context: SourceContext | None = None
        self.renew_locks()
        self._fifo_reader = files.FifoReader(timings.fifo_timeout)
        # A refresh never waits: two refreshes that agree replace the waiting.
        self._refresh_policy = directories.ReadPolicy(
            sleep=lambda _: None, waits_for_writers=False, missing_timeout=0.0, unstable_timeout=0.1
        )

    def get(self, name: str) -> Secret | None:
        """Return a secret as it is known; None when it is absent.

        Raises:
            DeclarationError: ``name`` is not a valid name, or is declared as SecretBytes.
            SourceError: the secret exists, and no valid value was ever read.
        """
        known = self._known.get(name) if isinstance(name, str) else None
        # A variable that this program has just set is read at once, in a mode that reads variables.
        if known is None or (
            known.outcome is None and os.environ.get(name) and not self.source_context().mounted
        ):
            known = self._read_now(self.field(name), known)
        elif self._clock() >= known.due:
            self._refresh(known)
        outcome = known.outcome
        if isinstance(outcome, Problem):
            raise SourceError(outcome)
        return outcome

    def field(self, name: str) -> Field:
        """Return the field of a name: the declared one, optional here, or a new one.

        Raises:
            DeclarationError: as :meth:`get`.
        """
        declared = self._index.by_variable.get(name) if isinstance(name, str) else None
        if declared is None or declared.name != name:
            return undeclared_field(name)
        if declared.kind is not Secret:
            raise _is_bytes(declared)
        return declared.replace(required=False, required_in=frozenset(), previous=None)

    def renew_locks(self) -> None:
        """Create new locks: those that a forked child inherits may be held forever."""
        # Reentrant: a signal handler may call get() while the interrupted thread holds the lock.
        self._lock = threading.RLock()
        for known in self._known.values():
            known.lock = threading.Lock()

    def source_context(self, field: Field | None = None) -> SourceContext:
        """Return the source context, detected until a mode with mounted directories is found.

        A directory that cannot be listed may contain this field and not the ones before.
        """
        if self._source_context is None or (field and not self._source_context.mounted):
            declared = FieldIndex([*self._index.fields.values(), *([field] if field else [])])
            self._source_context = detect(
                HostEnvironment(), self._options, declared, self._fifo_reader
            )
        return self._source_context

    def _read_now(self, field: Field, known: _Known | None) -> _Known:
        """Read a name for the first time, unless another thread has done so."""
        with self._lock:
            latest = self._known.get(field.name)
            if latest is None or latest is known:
                self.source_context(field)
                outcome = self._read(field, fifo_reader=self._fifo_reader)
                latest = _Known(field, outcome, self._clock() + self._interval)
                self._known[field.name] = latest
            return latest

    def _refresh(self, known: _Known) -> None:
        """Read the sources of a name again, unless another caller does so at this moment."""
        lock = known.lock
        if not lock.acquire(blocking=False):
            return
        try:
            # Another thread may have refreshed since the caller compared the clock.
            if self._clock() >= known.due:
                with suppress(Exception):  # whatever fails, the known value is served
                    known.observe(self._read(known.field, policy=self._refresh_policy))
                known.due = self._clock() + self._interval
        finally:
            lock.release()

    def _read(self, field: Field, **options: Any) -> Secret | Problem | None:
        from hive_boot.secrets import loader  # a declaration reads nothing

        source_context = self.source_context()
        variables = HostEnvironment(cwd=source_context.cwd).variables
        source_context = source_context.replace(variables=variables)
        loaded = loader.load(FieldIndex([field]), source_context, **options)
        value: Any = loaded.values.get(field.attribute)
        return loaded.problems[0] if loaded.problems else value


@contextmanager
def views_in_context() -> Iterator[None]:
    """Set ``get_secret`` to use the live secrets of the calling task, which takes longer."""
    applications.rebuilds += 1
    applications.update_view()
    try:
        yield
    finally:
        applications.rebuilds -= 1
        applications.update_view()


def get_secret(name: str) -> str | None:
    """Return the value of a secret, or None when it is absent.

    With an application that runs, or is loaded by :meth:`Bootstrap.load`, this is its value.
    Otherwise the sources are read, with the options of the Bootstrap if exactly one is declared,
    and again at most once a second. A new value is used when two reads agree on it. A value that
    can no longer be read stays in use.

    Args:
        name: the declared name, which is that of the environment variable.

    Raises:
        DeclarationError: the application that runs or is loaded declares no such secret; or
            none does, and ``name`` is not a valid name; or it is declared as SecretBytes.
        SourceError: the secret exists, and no valid value was ever read.
        LifecycleError: several applications run or are loaded; use ``boot.secrets`` of one of
            them.
    """
    view = applications.view
    if view is not None:
        try:
            secret = view.__dict__["_by_name"][name]
        except (KeyError, TypeError):
            pass
        else:
            # The same as reveal(), without a second call: request handlers call this function.
            return None if secret is None else secret._open()
        # Created and raised outside the `except` block, and without the name, which may be a value
        # by mistake: the KeyError and its frames contain it.
        error = _undeclared(name)
    else:
        try:
            secret = _standalone_get(name)
        except DeclarationError as exc:
            error = exc.with_traceback(None)
        else:
            return None if secret is None else secret._open()
    del name
    raise error


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


def _declared_set() -> type[Any]:
    declared: type[Any] = (applications.running or applications.loaded)[0].declared
    return declared


def _undeclared(name: str) -> DeclarationError:
    from hive_boot.secrets import fix_hints  # only a failure needs it

    try:
        wanted = undeclared_field(name)
    except DeclarationError as exc:
        return exc.with_traceback(None)
    declared = _declared_set()
    fields = {field.name: field for field in declared._field_index.fields.values()}
    if name in fields:
        return _is_bytes(fields[name])
    near = fix_hints.near_misses(wanted, fields)
    suggestion = f"; did you mean {near[0]}?" if near else ""
    return DeclarationError(
        f"{declared.__name__} does not declare a secret of this name{suggestion}"
    )


def _is_bytes(field: Field) -> DeclarationError:
    message = f"{field.name} is SecretBytes: read it as boot.secrets.{field.attribute}"
    return DeclarationError(message)


def _hint(name: str) -> str:
    from hive_boot.secrets import fix_hints  # only a failure needs it

    if applications.view is None:
        store = _default_store()
        field, source_context, declaration = store.field(name), store.source_context(), ""
    else:
        load_result = applications.view.__dict__["_generation"].load_result
        source_context, declaration = load_result.source_context, _declared_set().__name__
        field = load_result.field_index.by_variable[name]
    fix = fix_hints.how_to_provide(field, source_context, declaration).fix
    file = fix_hints.first_file(field, source_context)
    return fix if not file or file in fix else f"looked for {file}; {fix}"


def _standalone_get(name: str) -> Secret | None:
    if applications.running or applications.loaded:
        message = "Several applications run or are loaded: use boot.secrets of one of them"
        raise LifecycleError(message)
    return (applications.standalone_store or _default_store()).get(name)


def _default_store() -> StandaloneStore:
    """Return the store of a process without an application, created at the first call."""
    with applications.creation_lock:
        declarations = list(applications.declared)
        only = declarations[0] if len(declarations) == 1 else None
        store = applications.standalone_store or StandaloneStore(only)
        applications.standalone_store = store
    return store
