"""Take values out of what programs hand to loggers and trackers: dicts, lists, text, bytes.

What holds no value is given back as it is, the same object. What holds one is made
anew; the original, which is somebody's, is not changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hive_boot.redaction.matching import MASK

if TYPE_CHECKING:
    from hive_boot.redaction.matching import Matcher

_CONTAINERS = (dict, list, tuple, set, frozenset)


def texts(it: object) -> list[str]:
    """Give every text in ``it``, at any depth; of bytes the text that Latin-1 makes of them."""
    found: list[str] = []
    todo = [it]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, bytes | bytearray):
            found.append(each.decode("latin-1"))
        elif isinstance(each, _CONTAINERS) and id(each) not in seen:
            seen.add(id(each))
            todo += [*each, *each.values()] if isinstance(each, dict) else each
    return found


def scrubbed(it: Any, matcher: Matcher) -> Any:  # noqa: ANN401  (a text gives a text, a dict a dict)
    """Give ``it`` without the values in it; ``it`` itself when there are none."""
    if isinstance(it, str):
        return matcher.scrub(it)
    if all(matcher.scrub(text) is text for text in texts(it)):
        return it
    return _rebuilt(it, matcher, ())


def _rebuilt(it: Any, matcher: Matcher, above: tuple[int, ...]) -> Any:  # noqa: ANN401  (as above)
    """Make ``it`` anew; what contains itself is cut there.

    Args:
        it: what to make anew.
        matcher: what finds the values.
        above: the identities of what it lies in.
    """
    if isinstance(it, str):
        return matcher.scrub(it)
    if isinstance(it, bytes | bytearray):
        return type(it)(matcher.scrub(it.decode("latin-1")).encode("latin-1"))
    kind = next((kind for kind in _CONTAINERS if isinstance(it, kind)), None)
    if kind is None:
        return it
    if id(it) in above:
        return MASK
    above = (*above, id(it))
    members = it.items() if kind is dict else it
    anew = (_rebuilt(member, matcher, above) for member in members)
    return it._make(anew) if hasattr(it, "_make") else kind(anew)
