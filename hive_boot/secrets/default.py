"""What the four functions read when no application runs."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from hive_boot.exceptions import SourceError
from hive_boot.secrets.inventory import Inventory, plain_field
from hive_boot.secrets.loading import load
from hive_boot.secrets.mode import Situation, Wishes, detect
from hive_boot.secrets.surroundings import Surroundings
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from hive_boot.secrets.field import Field

MAKING = threading.RLock()
"""Held while the one default store of the process is made."""


class DefaultStore:
    """A store without a declaration.

    A value is kept once it was found; what is absent is looked for again, because
    a script has no rotation that would bring it.
    """

    def __init__(self) -> None:
        self._renew_lock()
        os.register_at_fork(after_in_child=self._renew_lock)
        self._found: dict[str, Secret] = {}
        self._situation: Situation | None = None

    def get(self, name: str) -> Secret | None:
        """Give a secret, found now or before."""
        known = self._found.get(name) if isinstance(name, str) else None
        if known is not None:
            return known
        field = plain_field(name)
        with self._lock:
            return self._found.get(name) or self._load(field)

    def _renew_lock(self) -> None:
        """Make a new lock: the one that a forked child inherits may be held for ever."""
        # A signal handler may ask while the thread that it interrupts is asking.
        self._lock = threading.RLock()

    def situation(self) -> Situation:
        """Give the detected mode; it stays what it was at the first call."""
        self._situation = self._situation or detect(Surroundings(), Wishes())
        return self._situation

    def _load(self, field: Field) -> Secret | None:
        situation = self.situation()._replace(variables=Surroundings().variables)
        loaded = load(Inventory([field]), situation)
        if loaded.problems:
            raise SourceError(loaded.problems[0])
        value = loaded.values.get(field.attribute)
        if not isinstance(value, Secret):
            return None
        self._found[field.name] = value
        return value
