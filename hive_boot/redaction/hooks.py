"""Redaction of a run: the values that it hides, and the patched functions that redact meanwhile.

The patched functions of the standard library redact while at least one redaction is open.
"""

from __future__ import annotations

import builtins
import logging
import os
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from hive_boot.redaction import _OpaqueIterator, conceal, registry
from hive_boot.redaction.registry import EnabledFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from hive_boot.redaction.registry import Revealable

PATCHED_FUNCTIONS: tuple[tuple[Any, str, str], ...] = (
    (logging.Logger, "callHandlers", "call_handlers"),
    (logging.Handler, "__setattr__", "handler_setattr"),
    (logging.Handler, "filter", "handler_filter"),
    (logging.Handler, "format", "handler_format"),
    (logging.Handler, "handleError", "handle_error"),
    (sys, "excepthook", "excepthook"),
    (threading, "excepthook", "thread_excepthook"),
    (sys, "unraisablehook", "unraisablehook"),
    (traceback, "print_exception", "print_exception"),
    (traceback.TracebackException, "print", "print_report"),
    ("asyncio.base_tasks", "print", "print_of_task"),
    (warnings, "formatwarning", "format_warning"),
)
"""Owner and name of each patched function; name of the function in `patches` that wraps it.

An owner that is a text is a module: the first redaction that is opened after its import patches it.
"""


def load_wrapper(name: str) -> Callable[..., Any]:
    """Return the function of this name in `patches`, which creates a redacting wrapper."""
    from hive_boot.redaction import patches  # not needed until a value is hidden

    return getattr(patches, name)  # type: ignore[no-any-return]


_OWNER_ATTRIBUTE = "__hive_boot_wrapped__"
"""Attribute of each wrapper: the `_PatchedFunction` that installed it."""


class _PatchedFunction:
    """One function that is wrapped until :meth:`undo`.

    The first wrapper calls the original as long as nothing can be shown that is hidden. Its first
    other call imports `patches`, and installs the redacting wrapper in its place.

    Another library may have wrapped our wrapper. Then :meth:`undo` cannot remove it: it stays
    installed, and only calls the original.
    """

    def __init__(self, owner: Any, name: str, factory: str) -> None:
        self._owner, self._name, self._factory = owner, name, factory
        self._inherited = name not in vars(owner)
        # A module may call a builtin function, which its attribute hides.
        self.before: Any = getattr(owner, name, None) or getattr(builtins, name)
        # A library that wrapped our wrapper may have reinstalled it after undo(): wrap the
        # original instead.
        while (earlier := getattr(self.before, _OWNER_ATTRIBUTE, None)) and earlier.is_retired(
            self.before
        ):
            self.before = earlier.before
        self.switch = EnabledFlag()
        self._redacting: Callable[..., Any] | None = None

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if registry.matcher is None or not self.switch.on:
                return self.before(*args, **kwargs)
            if self._redacting is None and _shows_no_value(factory, args):
                return self.before(*args, **kwargs)
            try:
                redacting = self._redacting or self._create_redacting_wrapper()
            except Exception:  # imports fail at interpreter exit: drop the output
                return None
            return redacting(*args, **kwargs)

        self._install(wrapper)

    def _install(self, wrapper: Callable[..., Any]) -> None:
        self._wrapper = wrapper
        setattr(wrapper, _OWNER_ATTRIBUTE, self)
        setattr(self._owner, self._name, wrapper)

    def _create_redacting_wrapper(self) -> Callable[..., Any]:
        """Create the redacting wrapper, and install it instead of the first one."""
        redacting: Callable[..., Any] = load_wrapper(self._factory)(self.before, self.switch)
        self._redacting = redacting
        if getattr(self._owner, self._name) is self._wrapper:
            self._install(redacting)
        return redacting

    def is_retired(self, wrapper: object) -> bool:
        """Check whether ``wrapper`` is the current wrapper of this object, and is disabled."""
        return wrapper is self._wrapper and not self.switch.on

    def undo(self) -> None:
        """Disable the wrapper, and restore the original if the wrapper is the outermost one."""
        self.switch.on = False
        if getattr(self._owner, self._name, None) is not self._wrapper:
            return
        if self._inherited:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self.before)


def _shows_no_value(function: str, args: tuple[Any, ...]) -> bool:
    """Return whether a call of a patched function shows no value, so that nothing is searched.

    Most starts log only lines of hive_boot with a number after the values were read.

    Args:
        function: the name of its wrapper in `patches`.
        args: the arguments of the call.
    """
    if function == "handler_setattr":
        return not registry.plain_handlers
    if function not in {"call_handlers", "handler_filter", "handler_format"}:
        return False
    receiver, record = args
    is_logger = isinstance(receiver, logging.Logger)
    handlers: list[Any] = [*registry.handlers_of(receiver)] if is_logger else [receiver]
    return all(
        type(each) in registry.OWN_HANDLERS and each.shows_no_value(record) for each in handlers
    )


_KEPT = 1000
"""Maximum number of values that stay hidden after they were rotated out or rejected."""

_KEPT_LENGTH = 1 << 16
"""Maximum number of their characters in total; of long ones there is one more."""

_LONG = 1 << 12
"""Number of characters from which on a value is long, and does not push out shorter ones."""

_LAZY_LENGTH = 1 << 14
"""The total of characters from which the search is prepared before the first log line."""


_open: list[Redaction] = []
"""The open redactions."""


_wrapped: dict[tuple[Any, str, str], _PatchedFunction] = {}
"""The patched functions, by their entries; empty while no redaction is open."""


class WholeValue:
    """A value whose parts are not hidden by themselves.

    Args:
        value: the value.
    """

    __slots__ = ("_value",)

    has_parts = False

    def __init__(self, value: Revealable) -> None:
        self._value = value

    def reveal(self) -> str | bytes:
        """Return the plain value."""
        return self._value.reveal()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WholeValue) and self._value == other._value

    def __hash__(self) -> int:
        return hash((WholeValue, self._value))


class Redaction:
    """The redaction of one run, and the values that it hides.

    While at least one redaction is open, the values of all open ones are removed from logs,
    tracebacks and warnings.

    Args:
        whole: the names of the secrets whose parts are not hidden by themselves. Default: none.

    Attributes:
        surplus: the oldest values, of which more are hidden than have to stay hidden.
    """

    kept_until_exit: bool = False
    """Whether ``close(linger=True)`` was called, so that redaction continues."""

    def __init__(self, whole: Collection[str] = ()) -> None:
        self._whole = whole
        self._removed = conceal(dict[str, str]())
        self._hidden: dict[Revealable, None] = {}
        self.surplus: Collection[Revealable] = ()

    def open(self) -> None:
        """Start redaction, and close the redactions that ``close(linger=True)`` left open."""
        with registry.lock():
            lingering = [each for each in _open if each.kept_until_exit]
            _open.append(self)
            for entry in PATCHED_FUNCTIONS:
                owner = sys.modules.get(entry[0]) if isinstance(entry[0], str) else entry[0]
                if owner is not None and entry not in _wrapped:
                    _wrapped[entry] = _PatchedFunction(owner, *entry[1:])
            for each in lingering:
                each.close()

    def hide(self, values: Iterable[Revealable], accepted: Iterable[Revealable] = ()) -> None:
        """Hide ``values`` too. Earlier values stay hidden, because a server may still accept them.

        Those that need not stay hidden are in ``surplus`` afterwards.

        Args:
            values: the values that were read.
            accepted: the values that are accepted now, whatever was read.
        """
        added = dict.fromkeys(self._without_parts(values))
        with registry.lock():
            if added.keys() <= self._hidden.keys() and added.keys().isdisjoint(self.surplus):
                return
            accepted = self._without_parts(accepted)
            added |= dict.fromkeys(value for value in accepted if value in self._hidden)
            # To hash a value takes a call, which a copy of the dict does not need.
            old = self._hidden.copy()
            for value in added:
                old.pop(value, None)
            # A start does not wait for a search that its log lines may never need.
            at_once = bool(self._hidden) or _length(added) > _LAZY_LENGTH
            self._hidden, self.surplus = old | added, _oldest(old)
            self.register(self._hidden, at_once=at_once)

    def drop_surplus(self) -> None:
        """Hide the values of ``surplus`` no longer, which takes a part of the time to hide them."""
        with registry.lock():
            for value in self.surplus:
                self._hidden.pop(value, None)
            self.surplus = ()
            self.register(self._hidden)

    def _without_parts(self, values: Iterable[Revealable]) -> Iterable[Revealable]:
        """Return values, of which those of some names have no parts that are hidden."""
        if not self._whole:
            return values
        names = ((getattr(value, "_name", ""), value) for value in values)
        return [WholeValue(value) if name in self._whole else value for name, value in names]

    def register(self, values: Iterable[Revealable], *, at_once: bool = False) -> None:
        """Hide ``values``, in place of those registered before.

        No effect on a closed redaction: the thread that loads the values may call this method
        after its start was cancelled.

        Args:
            values: all hidden values of this run.
            at_once: whether the matcher is built by this call. Default False: the next log
                record builds it, and is delayed by that.
        """
        with registry.lock():
            if self in _open:
                registry.register(self, values, at_once=at_once)

    def unset_environ(self, variables: Iterable[str]) -> None:
        """Remove variables from the environment that child processes inherit."""
        names = [name for name in variables if name in os.environ]
        # No variable or argument holds the values, because another thread could see it.
        self._removed = _OpaqueIterator({name: os.environ.pop(name) for name in names}).__next__

    def close(self, *, linger: bool = False) -> None:
        """Restore the variables, and stop hiding the values.

        Closing the last open redaction restores the functions. No effect on a closed redaction.

        Args:
            linger: whether redaction continues until another redaction is opened or the process
                ends, because the caller still has to report a failure. Default False.
        """
        for name in self._removed():
            os.environ.setdefault(name, self._removed()[name])
        self._removed = conceal(dict[str, str]())
        self._hidden, self.surplus = {}, ()
        with registry.lock():
            self.kept_until_exit = linger
            if linger or self not in _open:
                return
            _open.remove(self)
            registry.unregister(self)
            while _wrapped and not _open:
                _wrapped.popitem()[1].undo()


def _oldest(values: Collection[Revealable]) -> list[Revealable]:
    """Return the oldest of the old values, which do not stay hidden; never the last ones.

    Long values and shorter ones are counted separately.
    """
    every = [*values]
    oldest = every[:-_KEPT]
    lengths = {True: 0, False: 0}
    for value in reversed(every[-_KEPT:]):
        is_long = (length := len(value.reveal())) > _LONG
        is_first = not lengths[is_long]
        lengths[is_long] += length
        if not is_first and lengths[is_long] > _KEPT_LENGTH:
            oldest.append(value)
    return oldest


def _length(values: Iterable[Revealable]) -> int:
    return sum(len(value.reveal()) for value in values)
