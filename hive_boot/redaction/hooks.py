"""Redaction hooks: which functions are patched while values are hidden, and how that is undone."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from hive_boot.redaction import registry
from hive_boot.redaction.registry import EnabledFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hive_boot.redaction.registry import Revealable

PATCHED_FUNCTIONS: tuple[tuple[Any, str, str], ...] = (
    (logging.Logger, "callHandlers", "call_handlers"),
    (logging.Handler, "filter", "handler_filter"),
    (logging.Handler, "format", "handler_format"),
    (logging.Handler, "handleError", "handle_error"),
    (sys, "excepthook", "excepthook"),
    (threading, "excepthook", "thread_excepthook"),
    (sys, "unraisablehook", "unraisablehook"),
    (traceback, "print_exception", "print_exception"),
    (warnings, "formatwarning", "format_warning"),
)
"""Owner and name of each function, and the function of `patches` that makes its wrapper."""


def load_wrapper(name: str) -> Callable[..., Any]:
    """Return the function of `patches` that makes a wrapper."""
    from hive_boot.redaction import patches  # noqa: PLC0415  (not needed until a value is hidden)

    return getattr(patches, name)  # type: ignore[no-any-return]


_MADE_BY = "__hive_boot_wrapped__"
"""The attribute by which a wrapper of ours is known."""


class _PatchedFunction:
    """One function that is wrapped.

    Others wrap the same functions. So the wrapper is taken out only while it is the
    outermost one; one that has to stay is switched off, for good. Until there is a value
    to be found a plain one stands there, which only hands on.
    """

    def __init__(self, owner: Any, name: str, made_by: str) -> None:  # noqa: ANN401  (a module or a class)
        self._owner, self._name, self._made_by = owner, name, made_by
        self._inherited = name not in vars(owner)
        self.before: Any = getattr(owner, name)
        # Whoever wrapped ours and is gone may have put it back when it was switched off.
        while (earlier := getattr(self.before, _MADE_BY, None)) and earlier.is_retired(self.before):
            self.before = earlier.before
        self.switch = EnabledFlag()
        self._real: Callable[..., Any] | None = None

        def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (of the function)
            if registry.matcher is None or not self.switch.on:
                return self.before(*args, **kwargs)
            try:
                real = self._real or self._make()
            except Exception:  # noqa: BLE001  (an import at the end of a process may fail: nothing may pass)
                return None
            return real(*args, **kwargs)

        self._install(wrapper)

    def _install(self, wrapper: Callable[..., Any]) -> None:
        self._wrapper = wrapper
        setattr(wrapper, _MADE_BY, self)
        setattr(self._owner, self._name, wrapper)

    def _make(self) -> Callable[..., Any]:
        """Make the wrapper that does something, and put it in the place of the plain one."""
        real: Callable[..., Any] = load_wrapper(self._made_by)(self.before, self.switch)
        self._real = real
        if getattr(self._owner, self._name) is self._wrapper:
            self._install(real)
        return real

    def is_retired(self, wrapper: object) -> bool:
        """Tell that ``wrapper`` is this one, not one made like it, and does nothing any more."""
        return wrapper is self._wrapper and not self.switch.on

    def undo(self) -> None:
        """Put back what was there, or let the wrapper do nothing any more."""
        self.switch.on = False
        if getattr(self._owner, self._name) is not self._wrapper:
            return
        if self._inherited:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self.before)


_open: list[Redaction] = []


_wrapped: list[_PatchedFunction] = []


class Redaction:
    """The redaction of one run: what it hides, and how long.

    While any is open, what Python shows to people is scrubbed of the values of all that
    are open.
    """

    kept_until_exit: bool = False

    def open(self) -> None:
        """Begin. An earlier run that lingers is over now."""
        with registry.lock():
            before = [each for each in _open if each.kept_until_exit]
            _open.append(self)
            if not _wrapped:
                _wrapped.extend(_PatchedFunction(*place) for place in PATCHED_FUNCTIONS)
            for each in before:
                each.close()

    def register(self, values: Iterable[Revealable], *, at_once: bool = False) -> None:
        """Hide values, in the place of those that were hidden before.

        It does nothing when this redaction is closed: a start may have been given up.

        Args:
            values: all of them.
            at_once: have everything ready before they take the place of others. Default
                False: the next line that is logged waits for it.
        """
        with registry.lock():
            if self in _open:
                registry.register(self, values, at_once=at_once)

    def close(self, *, linger: bool = False) -> None:
        """End, and leave everything as it was. It may be called again.

        Args:
            linger: go on until another one is opened, or the process ends: whoever
                called has yet to tell what went wrong. Default False.
        """
        with registry.lock():
            self.kept_until_exit = linger
            if linger or self not in _open:
                return
            _open.remove(self)
            registry.unregister(self)
            while _wrapped and not _open:
                _wrapped.pop().undo()
