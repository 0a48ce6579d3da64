"""Take values out of what programs hand to loggers and trackers: dicts, lists, text, bytes.

What holds no value is given back as it is, the same object. What holds one is made
anew; the original, which is somebody's, is not changed.
"""

from __future__ import annotations

from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hive_boot.redaction.matching import MASK
from hive_boot.redaction.standins import as_text, redacted_object

if TYPE_CHECKING:
    from hive_boot.redaction.matching import Matcher

_CONTAINERS = (dict, list, tuple, set, frozenset)

_SILENT = (bool, int, float, complex, type(None), type, TracebackType)
"""What says nothing of its own accord that could hold a value; a number does in a message."""


def collect_texts(value: object, *, objects: bool = False) -> list[str]:
    """Give every text in ``value``, at any depth; of bytes the text that Latin-1 makes of them.

    Args:
        value: what to look through.
        objects: whether what an object says of itself is a text, too. Default False.
    """
    found: list[str] = []
    todo = [value]
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


def redact_structure(value: Any, matcher: Matcher, *, objects: bool = False) -> Any:  # noqa: ANN401  (a text gives a text, a dict a dict)
    """Give ``value`` without the values in it; ``value`` itself when there are none.

    Args:
        value: what to look through.
        matcher: what finds the values.
        objects: whether an object that tells a value is replaced. Default False.
    """
    if isinstance(value, str):
        return matcher.scrub(value)
    if all(matcher.scrub(text) is text for text in collect_texts(value, objects=objects)):
        return value
    try:
        return _StructureCopier(matcher, objects=objects).rebuilt(value)
    except RecursionError:
        # It is nested deeper than Python goes.
        return MASK


class _StructureCopier:
    """Makes one structure anew; what contains itself is cut there.

    Args:
        matcher: what finds the values.
        objects: whether an object that tells a value is replaced.
    """

    def __init__(self, matcher: Matcher, *, objects: bool) -> None:
        self._matcher = matcher
        self._objects = objects
        self._made: dict[int, tuple[object, Any]] = {}

    def rebuilt(self, value: Any) -> Any:  # noqa: ANN401  (as above)
        """Give ``value`` without the values in it."""
        if isinstance(value, str):
            return self._matcher.scrub(value)
        if isinstance(value, bytes | bytearray):
            return type(value)(self._matcher.scrub(value.decode("latin-1")).encode("latin-1"))
        if isinstance(value, _CONTAINERS):
            if id(value) not in self._made:
                # What it contains may be itself. It is kept, so that its identity is.
                self._made[id(value)] = (value, MASK)
                members = list(value.items() if isinstance(value, dict) else value)
                anew = _rebuild_container(value, [self.rebuilt(each) for each in members])
                self._made[id(value)] = (value, anew)
            return self._made[id(value)][1]
        said = self._objects and not isinstance(value, _SILENT)
        return redacted_object(value, self._matcher) if said else value


def _rebuild_container(value: Any, members: list[Any]) -> Any:  # noqa: ANN401  (as above)
    """Make a container such as ``value`` is of other members."""
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(members)
    kind = next(kind for kind in _CONTAINERS if isinstance(value, kind))
    if kind is dict and type(value) is not dict:
        return _rebuild_mapping(value, dict(members))
    return kind(members)


def _rebuild_mapping(value: dict[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    """Give a dict of the same class: one that servers log with has a look-up of its own."""
    try:
        anew = copy(value)
        if anew is not value:
            anew.clear()
            anew.update(items)
            return anew
    except Exception:  # noqa: BLE001  (it is somebody else's class)
        return items
    return items
