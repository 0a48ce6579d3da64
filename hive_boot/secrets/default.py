"""What the four functions read when no application runs."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from hive_boot.exceptions import SourceError
from hive_boot.secrets.inventory import FieldIndex, undeclared_field
from hive_boot.secrets.loading import load
from hive_boot.secrets.mode import SourceContext, SourceOptions, detect
from hive_boot.secrets.surroundings import HostEnvironment
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from hive_boot.secrets.field import Field

_creation_lock = threading.RLock()
"""Held while the one default store of the process is made."""


class StandaloneStore:
    """A store without a declaration.

    A value is kept once it was found; what is absent is looked for again, because
    a script has no rotation that would bring it.
    """

    def __init__(self) -> None:
        self._renew_lock()
        os.register_at_fork(after_in_child=self._renew_lock)
        self._found: dict[str, Secret] = {}
        self._source_context: SourceContext | None = None

    def get(self, name: str) -> Secret | None:
        """Give a secret, found now or before."""
        known = self._found.get(name) if isinstance(name, str) else None
        if known is not None:
            return known
        field = undeclared_field(name)
        with self._lock:
            return self._found.get(name) or self._load(field)

    def _renew_lock(self) -> None:
        """Make a new lock: the one that a forked child inherits may be held for ever."""
        # A signal handler may ask while the thread that it interrupts is asking.
        self._lock = threading.RLock()

    def source_context(self) -> SourceContext:
        """Give the detected mode; it stays what it was at the first call."""
        self._source_context = self._source_context or detect(HostEnvironment(), SourceOptions())
        return self._source_context

    def _load(self, field: Field) -> Secret | None:
        source_context = self.source_context()._replace(variables=HostEnvironment().variables)
        loaded = load(FieldIndex([field]), source_context)
        if loaded.problems:
            raise SourceError(loaded.problems[0])
        value = loaded.values.get(field.attribute)
        if not isinstance(value, Secret):
            return None
        self._found[field.name] = value
        return value
