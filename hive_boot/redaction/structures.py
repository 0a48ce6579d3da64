"""Take values out of what programs hand to loggers and trackers: dicts, lists, text, bytes.

What holds no value is given back as it is, the same object. What holds one is made
anew; the original, which is somebody's, is not changed.
"""

from __future__ import annotations

from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hive_boot.redaction.matching import MASK
from hive_boot.redaction.standins import as_text, in_its_place

if TYPE_CHECKING:
    from hive_boot.redaction.matching import Matcher

_CONTAINERS = (dict, list, tuple, set, frozenset)

_SILENT = (bool, int, float, complex, type(None), type, TracebackType)
"""What says nothing of its own accord that could hold a value; a number does in a message."""


def texts(it: object, *, objects: bool = False) -> list[str]:
    """Give every text in ``it``, at any depth; of bytes the text that Latin-1 makes of them.

    Args:
        it: what to look through.
        objects: whether what an object says of itself is a text, too. Default False.
    """
    found: list[str] = []
    todo = [it]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, bytes | bytearray):
            found.append(each.decode("latin-1"))
        elif isinstance(each, _CONTAINERS):
            if id(each) not in seen:
                seen.add(id(each))
                todo += [*each, *each.values()] if isinstance(each, dict) else each
        elif objects and not isinstance(each, _SILENT):
            found.append(as_text(each, repr))
            if type(each).__str__ is not object.__str__:
                found.append(as_text(each, str))
    return found


def scrubbed(it: Any, matcher: Matcher, *, objects: bool = False) -> Any:  # noqa: ANN401  (a text gives a text, a dict a dict)
    """Give ``it`` without the values in it; ``it`` itself when there are none.

    Args:
        it: what to look through.
        matcher: what finds the values.
        objects: whether an object that tells a value is replaced. Default False.
    """
    if isinstance(it, str):
        return matcher.scrub(it)
    if all(matcher.scrub(text) is text for text in texts(it, objects=objects)):
        return it
    try:
        return _Rebuilding(matcher, objects=objects).rebuilt(it)
    except RecursionError:
        # It is nested deeper than Python goes.
        return MASK


class _Rebuilding:
    """Makes one structure anew; what contains itself is cut there.

    Args:
        matcher: what finds the values.
        objects: whether an object that tells a value is replaced.
    """

    def __init__(self, matcher: Matcher, *, objects: bool) -> None:
        self._matcher = matcher
        self._objects = objects
        self._made: dict[int, tuple[object, Any]] = {}

    def rebuilt(self, it: Any) -> Any:  # noqa: ANN401  (as above)
        """Give ``it`` without the values in it."""
        if isinstance(it, str):
            return self._matcher.scrub(it)
        if isinstance(it, bytes | bytearray):
            return type(it)(self._matcher.scrub(it.decode("latin-1")).encode("latin-1"))
        if isinstance(it, _CONTAINERS):
            if id(it) not in self._made:
                # What it contains may be itself. It is kept, so that its identity is.
                self._made[id(it)] = (it, MASK)
                members = list(it.items() if isinstance(it, dict) else it)
                anew = _of_its_kind(it, [self.rebuilt(each) for each in members])
                self._made[id(it)] = (it, anew)
            return self._made[id(it)][1]
        said = self._objects and not isinstance(it, _SILENT)
        return in_its_place(it, self._matcher) if said else it


def _of_its_kind(it: Any, members: list[Any]) -> Any:  # noqa: ANN401  (as above)
    """Make a container such as ``it`` is of other members."""
    if isinstance(it, tuple) and hasattr(it, "_make"):
        return it._make(members)
    kind = next(kind for kind in _CONTAINERS if isinstance(it, kind))
    if kind is dict and type(it) is not dict:
        return _like(it, dict(members))
    return kind(members)


def _like(it: dict[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    """Give a dict of the same class: one that servers log with has a look-up of its own."""
    try:
        anew = copy(it)
        if anew is not it:
            anew.clear()
            anew.update(items)
            return anew
    except Exception:  # noqa: BLE001  (it is somebody else's class)
        return items
    return items
