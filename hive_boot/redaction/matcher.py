"""Matcher: finds all hidden values in a text at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from hive_boot.redaction.opaque import conceal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MASK = "***"
"""Replacement of a value."""


MIN_LENGTH = 8
"""Minimum number of characters of a hidden value: shorter values may be common words."""


_BEHIND = 5
"""Number of characters of an anchor after its first one."""


_LARGE = 1 << 16
"""Maximum number of characters of a text whose anchors are collected in a list."""


_RARE = ("ZQXJKVYM~^`|", "7zqxj;$@!#&*?+<>\\", "HSPWGUBF98%}{][)(kvw", "6543210LDCRTANOIE")
"""Characters that are rare in log lines, the rarest first. All others are common.

The levels of ``logging`` are words in capitals, and the year is in every time stamp.
"""


Needles: TypeAlias = "dict[tuple[int, int], set[str]]"
"""Needles by where the anchor stands in them, and their length."""


class _AnchorIndex:
    """Anchors that begin with the same character.

    Args:
        first: that character.
        needles: the needles, by the rest of their anchor.

    Attributes:
        first: that character.
    """

    __slots__ = ("_open", "first")

    def __init__(self, first: str, needles: dict[str, Needles]) -> None:
        self.first: str = first
        others = "".join(map(re.escape, sorted(set().union(*needles))))
        behind = len(next(iter(needles)))
        follow = f"[{others}]{{{behind}}}" if behind else ""
        # No attribute, and no item of an attribute, leads to a needle.
        self._open = conceal((re.compile(f"{re.escape(first)}(?=({follow}))"), needles))

    def are_absent(self, text: str) -> bool:
        """Return whether none of the anchors is in ``text``."""
        if len(text) <= _LARGE:
            found = self._open()[0].findall(text)
            return not found or self._open()[1].keys().isdisjoint(found)
        places = self._open()[0].finditer(text)
        return self._open()[1].keys().isdisjoint(match[1] for match in places)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the start and the end of each needle in ``text`` that has one of the anchors."""
        for match in self._open()[0].finditer(text):
            for (at, length), needles in self._open()[1].get(match[1], {}).items():
                start = match.start() - at
                if text[start : start + length] in needles:
                    yield start, start + length


class Matcher:
    """Finds needles in texts, and replaces them.

    Args:
        needles: returns what to find, when the first text is examined; the empty text is
            ignored. Two threads may call it at the same time.
    """

    __slots__ = ("_indexes", "_needles")

    def __init__(self, needles: Callable[[], Iterable[str]]) -> None:
        self._needles = needles
        self._indexes: tuple[_AnchorIndex, ...] | None = None

    def is_clean(self, text: str) -> bool:
        """Return whether a text has no anchor, and so no needle; it is called for every log line.

        False only means that the text may have a needle.
        """
        indexes = self._indexes
        if indexes is None:
            indexes = self._indexes = _build_indexes(self._needles())
        for index in indexes:  # noqa: SIM110  (a generator would double the time)
            if index.first in text and not index.are_absent(text):
                return False
        return True

    def scrub(self, text: str) -> str:
        """Replace every needle by ``***``; needles that overlap are replaced together.

        A text without a needle is returned unchanged.
        """
        if self.is_clean(text):
            return text
        kept, end = [], 0
        indexes = self._indexes or ()
        for start, stop in sorted(span for each in indexes for span in each.spans(text)):
            if start >= end:
                kept += [text[end:start], MASK]
            end = max(end, stop)
        return "".join([*kept, text[end:]]) if kept else text


def _build_indexes(texts: Iterable[str]) -> tuple[_AnchorIndex, ...]:
    """Choose an anchor for each needle."""
    needles = {needle for needle in texts if needle}
    behind = min([_BEHIND, *(len(needle) - 1 for needle in needles)])
    # An anchor can begin only where enough characters follow.
    heads = {needle: needle[: len(needle) - behind] for needle in needles}
    rare = _choose_anchor_chars(set(heads.values()))
    found: dict[str, dict[str, Needles]] = {first: {} for first in rare}
    for needle, head in heads.items():
        first = next(filter(head.__contains__, rare))
        at = head.index(first)
        alike = found[first].setdefault(needle[at + 1 : at + 1 + behind], {})
        alike.setdefault((at, len(needle)), set()).add(needle)
    return tuple(_AnchorIndex(first, anchors) for first, anchors in found.items())


def _choose_anchor_chars(texts: set[str]) -> list[str]:
    """Choose few and rare characters, so that each of ``texts`` has one of them."""
    left = set(texts)
    chosen = []
    for characters in (*_RARE, sorted(set().union(*texts))):
        most = True
        while left and most:
            counts = {each: sum([each in text for text in left]) for each in characters}
            best = max(counts, key=counts.__getitem__)
            most = counts[best] > 0
            if most:
                chosen.append(best)
                left = {text for text in left if best not in text}
    return chosen
