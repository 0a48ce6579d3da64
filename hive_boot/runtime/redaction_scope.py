"""Redaction scope of a run: which values are hidden, and for how long."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hive_boot.redaction.hooks import Redaction
from hive_boot.redaction.matcher import MIN_LENGTH
from hive_boot.redaction.opaque import _OpaqueIterator, conceal
from hive_boot.secrets.value import SecretBytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hive_boot.secrets.fields import Field
    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.sources.files import Value

_KEPT = 1000
"""Maximum number of values that stay hidden after they were rotated out or refused."""


_KEPT_LENGTH = 1 << 16
"""Maximum number of characters of all these values."""


_LAZY_LENGTH = 1 << 14
"""Above this number of characters the matcher is built before the first log line needs it."""


class RedactionScope:
    """Hidden values of one run, from its start to its stop."""

    def __init__(self) -> None:
        self._redaction = Redaction()
        self._removed = conceal(dict[str, str]())
        self._hidden: dict[Value, None] = {}

    def start(self) -> None:
        """Start redaction of logs, tracebacks and warnings."""
        self._redaction.open()

    def register_values(self, load_result: LoadResult, accepted: Iterable[Value] = ()) -> None:
        """Register every value of a load for redaction, and warn of values that are too short.

        Values of unused locations are hidden too. A ``dev_default`` is not: it is public in the
        declaration. Values of earlier loads stay hidden, because a server may still accept them.

        Args:
            load_result: the result of the load.
            accepted: the values that are accepted at this moment; they are never dropped.
        """
        field_index = load_result.field_index
        public = {field.dev_default for field in field_index.constrained}
        values = [*load_result.values.values(), *load_result.unused_values]
        secret = dict.fromkeys(value for value in values if value.reveal() not in public)
        if secret.keys() - self._hidden.keys():
            secret |= dict.fromkeys(value for value in accepted if value in self._hidden)
            old = _newest([value for value in self._hidden if value not in secret])
            # At a start, small sets are prepared only when the first log line is written.
            at_once = bool(self._hidden) or _length(secret) > _LAZY_LENGTH
            self._hidden = dict.fromkeys([*old, *secret])
            self._redaction.register(self._hidden, at_once=at_once)
        short = [
            field.name
            for field in field_index.all_fields
            if (value := load_result.values.get(field.attribute)) is not None
            and value.reveal() not in public
            and not _is_redactable(value)
        ]
        if short:
            names = ", ".join(short)
            problem = f"Too short for redaction (under {MIN_LENGTH} characters)"
            load_result.warn("short-value", f"{problem}, so logs can show them: {names}", *short)

    def unset_environ(self, fields: Iterable[Field]) -> None:
        """Remove the variables of ``fields`` from the environment that child processes inherit."""
        names = [field.name for field in fields if field.name in os.environ]
        # No local variable holds the values: a traceback with locals would show them.
        self._removed = _OpaqueIterator({name: os.environ.pop(name) for name in names}).__next__

    def stop(self, *, keep_redacting: bool) -> None:
        """Restore the removed variables, and stop redaction.

        Args:
            keep_redacting: whether redaction continues, because a failure is still to be printed.
        """
        for name in self._removed():
            os.environ.setdefault(name, self._removed()[name])
        self._removed = conceal(dict[str, str]())
        self._hidden = {}
        self._redaction.close(linger=keep_redacting)


def _newest(values: list[Value]) -> list[Value]:
    """Return the newest values within the limits, in their order; the last one in any case."""
    newest: list[Value] = []
    length = 0
    for value in reversed(values[-_KEPT:]):
        length += _length([value])
        if newest and length > _KEPT_LENGTH:
            break
        newest.append(value)
    return newest[::-1]


def _length(values: Iterable[Value]) -> int:
    return sum(len(value.reveal()) for value in values)


def _is_redactable(value: Value) -> bool:
    """Check whether a value, and the password in it if it is a URL, is long enough to hide."""
    if len(value.reveal().strip()) < MIN_LENGTH:
        return False
    if isinstance(value, SecretBytes) or "://" not in value.reveal():
        return True
    from hive_boot.redaction.variants import passwords  # noqa: PLC0415  (few values are a URL)

    return min(map(len, passwords(value.reveal())), default=MIN_LENGTH) >= MIN_LENGTH
