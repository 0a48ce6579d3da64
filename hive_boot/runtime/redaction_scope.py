"""Redaction scope of a run: the hidden values, and how long they stay hidden."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hive_boot.redaction import _OpaqueIterator, conceal
from hive_boot.redaction.hooks import Redaction
from hive_boot.redaction.registry import is_searchable
from hive_boot.secrets.load_result import LoadWarning
from hive_boot.secrets.value import misuse_warnings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.sources.files import Value

_KEPT = 1000
"""Maximum number of values that stay hidden after they were rotated out or rejected."""

_KEPT_LENGTH = 1 << 16
"""Maximum number of their characters in total; of long ones there is one more."""

_LONG = 1 << 12
"""Number of characters from which on a value is long, and does not push out shorter ones."""

_LAZY_LENGTH = 1 << 14
"""The total of characters from which the search is prepared before the first log line."""


class RedactionScope:
    """The values that one run hides, from its start to its end."""

    def __init__(self) -> None:
        self._redaction = Redaction()
        self._removed = conceal(dict[str, str]())
        self._hidden: dict[Value, None] = {}

    def start(self) -> None:
        """Start redacting logs, tracebacks and warnings."""
        self._redaction.open()

    def register_values(
        self, load_result: LoadResult, accepted: Iterable[Value] = ()
    ) -> tuple[LoadWarning, ...]:
        """Hide every value that was read, used or not, and return a warning for short ones.

        A ``dev_default`` is in the code, so it is not a secret. Earlier values stay hidden,
        because a server may still accept them.

        Args:
            load_result: the values that were read.
            accepted: the values that are accepted now, whatever was read.
        """
        field_index = load_result.field_index
        public = {field.dev_default for field in field_index.constrained}
        values = [*load_result.values.values(), *load_result.unused_values]
        secret = dict.fromkeys(value for value in values if value.reveal() not in public)
        if secret.keys() - self._hidden.keys():
            secret |= dict.fromkeys(value for value in accepted if value in self._hidden)
            old = _newest([value for value in self._hidden if value not in secret])
            # A start does not wait for a search that its log lines may never need.
            at_once = bool(self._hidden) or _length(secret) > _LAZY_LENGTH
            self._hidden = dict.fromkeys([*old, *secret])
            self._redaction.register(self._hidden, at_once=at_once)
        short = [
            field.name
            for field in field_index.all_fields
            if (value := load_result.values.get(field.attribute)) is not None
            and value.reveal() not in public
            and not is_searchable(value.reveal())
        ]
        return (LoadWarning("short-value", tuple(short)),) if short else ()

    def unset_environ(self, variables: Iterable[str]) -> None:
        """Remove variables from the environment that child processes inherit."""
        names = [name for name in variables if name in os.environ]
        # No variable or argument holds the values, because another thread could see it.
        self._removed = _OpaqueIterator({name: os.environ.pop(name) for name in names}).__next__

    def stop(self, *, keep_redacting: bool) -> None:
        """Restore the variables, and stop redacting and warning of misused secrets.

        Args:
            keep_redacting: continue to redact, because a failure has not been reported yet.
        """
        for name in self._removed():
            os.environ.setdefault(name, self._removed()[name])
        self._removed = conceal(dict[str, str]())
        self._hidden = {}
        misuse_warnings.are_enabled = False
        self._redaction.close(linger=keep_redacting)


def _newest(values: list[Value]) -> list[Value]:
    """Return the newest values that stay hidden, in their order, and always the last ones.

    Long values and shorter ones are counted separately.
    """
    newest: list[Value] = []
    lengths = {True: 0, False: 0}
    for value in reversed(values[-_KEPT:]):
        is_long = (length := len(value.reveal())) > _LONG
        is_first = not lengths[is_long]
        lengths[is_long] += length
        if is_first or lengths[is_long] <= _KEPT_LENGTH:
            newest.append(value)
    return newest[::-1]


def _length(values: Iterable[Value]) -> int:
    return sum(len(value.reveal()) for value in values)
