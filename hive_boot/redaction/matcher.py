"""Matcher: finds all hidden values in a text at once."""

from __future__ import annotations

import re
from sys import maxsize
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hive_boot.redaction.decoding import FAR, RUN, find_around, find_escaped
from hive_boot.redaction.opaque import conceal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MASK = "***"
"""Replacement of a value."""


MIN_LENGTH = 8
"""Minimum number of characters of a hidden value: shorter values may be common words."""


_ANCHOR = 4
"""Maximum number of characters of an anchor."""


_MIN_RUN = 4
"""Minimum number of letters and digits in a row that are searched for in a text of any length."""


_SEARCHED = 1 << 14
"""Characters of a text in which needles without such a run are searched for in escaped form."""


_HEAD = 96
"""Characters of a needle in which its anchor is, if they have a run that is long enough."""


_LARGE = 1 << 16
"""Maximum number of characters of a text whose anchors are collected in a list."""


_RARE = ("ZQXJKVYM~^`|", "7zqxj;$@!#&*?+<>\\", "HSPWGUBF98%}{][)(kvw", "6543210LDCRTANOIE")
"""Characters that are rare in log lines, the rarest first. All others are common.

The levels of ``logging`` are words in capitals, and the year is in every time stamp.
"""


_SAMPLE = 1000
"""Number of needles that are examined to choose a character."""


_BEFORE = 8
"""Characters before a word in which there can be an escape."""


Needles: TypeAlias = "dict[str, list[tuple[int, str]]]"
"""Needles, with the index of their anchor, by the rest of the anchor."""


class Unescaped(str):
    """A needle that is not searched for in escaped form."""

    __slots__ = ()


class Word(str):
    """A needle that is an ordinary word: it is not searched for inside a longer word."""

    __slots__ = ()


_LETTER_BEFORE = re.compile(
    r"(?<!\\)[A-Za-z](?<!%[0-9A-Fa-f]{2})(?<!\\x[0-9A-Fa-f]{2})(?<!\\u[0-9A-Fa-f]{4})$"
)
"""A letter that is not the end of an escape, such as that of a line end."""


def _is_inside_word(text: str, start: int, stop: int) -> bool:
    before = text[max(0, start - _BEFORE) : start]
    return text[stop : stop + 1].isalpha() or bool(_LETTER_BEFORE.search(before))


class _AnchorIndex:
    """Anchors of one length that begin with the same character.

    Args:
        first: that character.
        needles: the needles, by the rest of their anchor.
        limit: the number of characters of a text that are searched.

    Attributes:
        first: that character.
    """

    __slots__ = ("_limit", "_open", "first")

    def __init__(self, first: str, needles: Needles, limit: int) -> None:
        self.first: str = first
        self._limit = limit
        others = "".join(map(re.escape, sorted(set().union(*needles))))
        behind = len(next(iter(needles)))
        follow = f"[{others}]{{{behind}}}" if behind else ""
        # No attribute, and no item of an attribute, leads to a needle.
        self._open = conceal((re.compile(f"{re.escape(first)}(?=({follow}))"), needles))

    def are_absent(self, text: str) -> bool:
        """Return whether none of the anchors is in ``text``."""
        if len(text) <= _LARGE:
            found = self._open()[0].findall(text, 0, self._limit)
            return not found or self._open()[1].keys().isdisjoint(found)
        places = self._open()[0].finditer(text, 0, self._limit)
        return self._open()[1].keys().isdisjoint(match[1] for match in places)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the start and the end of each needle in ``text`` that has one of the anchors."""
        compared: dict[str, int] = {}
        for match in self._open()[0].finditer(text, 0, self._limit):
            for index, needle in self._open()[1].get(match[1], ()):
                if isinstance(needle, Unescaped):
                    start = match.start() - index
                    if start >= 0 and text.startswith(needle, start):
                        yield start, start + len(needle)
                elif match.start() >= compared.get(needle, 0):
                    start, stop, found = find_around(text, match.start(), needle, index)
                    is_word = isinstance(needle, Word)
                    if found and not (is_word and _is_inside_word(text, start, stop)):
                        yield start, stop
                    if stop - start > FAR:
                        compared[needle] = stop


class _EscapedIndex:
    """Needles without a letter or a digit, which have no anchor in escaped form."""

    __slots__ = ("_open",)

    first = ""

    def __init__(self, needles: list[str]) -> None:
        self._open = conceal(needles)

    def are_absent(self, text: str) -> bool:
        """Return whether none of the needles is in ``text``."""
        return not any(True for _ in self.spans(text))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the start and the end of each needle at the beginning of ``text``."""
        for needle in self._open():
            yield from find_escaped(text[:_SEARCHED], needle)


class Matcher:
    """Finds needles in texts, escaped or not, and replaces them.

    Args:
        needles: returns what to find, when the first text is examined; the empty text is
            ignored. Two threads may call it at the same time.
    """

    __slots__ = ("_indexes", "_needles")

    def __init__(self, needles: Callable[[], Iterable[str]]) -> None:
        self._needles = needles
        self._indexes: tuple[_AnchorIndex | _EscapedIndex, ...] | None = None

    def is_clean(self, text: str) -> bool:
        """Return whether a text has no needle; it is called for every log line."""
        indexes = self._indexes
        if indexes is None:
            indexes = self._indexes = _build_indexes(self._needles())
        for index in indexes:
            if index.first in text and not index.are_absent(text):
                for _ in index.spans(text):
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
        return "".join([*kept, text[end:]])


class _Group(NamedTuple):
    """Needles with anchors of one length.

    Attributes:
        length: the number of characters of an anchor.
        limit: the number of characters of a text that are searched.
    """

    length: int
    limit: int = maxsize


def _build_indexes(texts: Iterable[str]) -> tuple[_AnchorIndex | _EscapedIndex, ...]:
    """Choose an anchor for each needle."""
    groups: dict[_Group, dict[str, list[tuple[int, int]]]] = {}
    for text in filter(None, texts):
        for group, needle, runs in _searches(text):
            groups.setdefault(group, {})[needle] = runs
    indexes: list[_AnchorIndex | _EscapedIndex] = []
    for group, needles in sorted(groups.items(), reverse=True):
        if group.length:
            indexes += _choose_anchors(needles, group)
        else:
            indexes.append(_EscapedIndex(list(needles)))
    return tuple(indexes)


def _searches(needle: str) -> Iterator[tuple[_Group, str, list[tuple[int, int]]]]:
    """Yield where the anchor of a needle may start and end, for each search that finds it."""
    if isinstance(needle, Unescaped):
        length = min(_ANCHOR, len(needle))
        yield _Group(length), needle, [(0, min(len(needle), _HEAD))]
        return
    for end in (_HEAD, len(needle)):
        runs = [match.span() for match in RUN.finditer(needle, 0, end)]
        longest = max((end - start for start, end in runs), default=0)
        if longest >= _MIN_RUN:
            break
    else:
        yield from _searches(Unescaped(needle))
    length = min(_ANCHOR, longest)
    limit = maxsize if longest >= _MIN_RUN else _SEARCHED
    yield _Group(length, limit), needle, [run for run in runs if run[1] - run[0] >= length]


def _choose_anchors(
    needles: dict[str, list[tuple[int, int]]], group: _Group
) -> Iterator[_AnchorIndex]:
    behind = group.length - 1
    heads = {
        needle: "".join([needle[start : end - behind] for start, end in runs])
        for needle, runs in needles.items()
    }
    rare = _choose_anchor_chars(set(heads.values()))
    found: dict[str, Needles] = {first: {} for first in rare}
    for needle, head in heads.items():
        first = next(filter(head.__contains__, rare))
        places = (needle.find(first, start, end - behind) for start, end in needles[needle])
        at = next(place for place in places if place >= 0)
        found[first].setdefault(needle[at + 1 : at + group.length], []).append((at, needle))
    return (_AnchorIndex(first, anchors, group.limit) for first, anchors in found.items())


def _choose_anchor_chars(texts: set[str]) -> list[str]:
    """Choose few and rare characters, so that each of ``texts`` has one of them."""
    left = list(texts)
    chosen = []
    for characters in (*_RARE, sorted(set().union(*texts))):
        most = True
        while left and most:
            sample = left[:_SAMPLE]
            counts = {each: sum([each in text for text in sample]) for each in characters}
            best = max(counts, key=counts.__getitem__)
            most = counts[best] > 0
            if most:
                chosen.append(best)
                left = [text for text in left if best not in text]
    return chosen
