"""Matcher: finds all hidden values in a text at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from hive_boot.redaction.opaque import conceal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MASK = "***"
"""What stands where a value stood."""


MIN_LENGTH = 8
"""Characters from which on a value is looked for in text: a shorter one is a word."""


_BEHIND = 5
"""How many characters behind the rare one belong to an anchor."""


_LARGE = 1 << 16
"""Characters of a text from which on what is found in it is not listed."""


_RARE = ("ZQXJKVYM~^`|", "7zqxj;$@!#&*?+<>\\", "HSPWGUBF98%}{][)(kvw", "6543210LDCRTANOIE")
"""Characters that are rare in log lines, the rarest first. All others are common.

The levels of ``logging`` are words in capitals, and the year is in every time stamp.
"""


Needles: TypeAlias = "dict[tuple[int, int], set[str]]"
"""Needles by where the anchor stands in them, and their length."""


class _AnchorIndex:
    """The anchors that begin with the same character.

    Args:
        first: that character.
        needles: the needles, by what follows it.
    """

    __slots__ = ("_open",)

    def __init__(self, first: str, needles: dict[str, Needles]) -> None:
        others = "".join(map(re.escape, sorted(set().union(*needles))))
        behind = len(next(iter(needles)))
        follow = f"[{others}]{{{behind}}}" if behind else ""
        # Neither an attribute nor an item of one leads to what is looked for.
        self._open = conceal((re.compile(f"{re.escape(first)}(?=({follow}))"), needles))

    def are_absent(self, text: str) -> bool:
        """Tell that none of them is in ``text``."""
        if len(text) <= _LARGE:
            found = self._open()[0].findall(text)
            return not found or self._open()[1].keys().isdisjoint(found)
        places = self._open()[0].finditer(text)
        return self._open()[1].keys().isdisjoint(match[1] for match in places)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Give where the needles that they belong to begin and end."""
        for match in self._open()[0].finditer(text):
            for (at, length), needles in self._open()[1].get(match[1], {}).items():
                start = match.start() - at
                if text[start : start + length] in needles:
                    yield start, start + length


class Matcher:
    """Takes the needles out of texts.

    Args:
        needles: gives what to look for, when a first text is looked at; the empty text is
            not looked for. It may be called twice, by two threads.

    Attributes:
        is_clean: tells that a text holds no anchor, and so no needle; False says only that
            it may hold one. It is on the path of every log line, so it is made to measure.
    """

    __slots__ = ("_anchors", "_needles", "is_clean")

    is_clean: Callable[[str], bool]

    def __init__(self, needles: Callable[[], Iterable[str]]) -> None:
        self._needles = needles
        self._anchors: list[_AnchorIndex] = []
        self.is_clean = self._compile_and_check

    def scrub(self, text: str) -> str:
        """Replace every needle by ``***``; needles that overlap are replaced together.

        A text without one is given back as it is.
        """
        if self.is_clean(text):
            return text
        kept, end = [], 0
        for start, stop in sorted(span for each in self._anchors for span in each.spans(text)):
            if start >= end:
                kept += [text[end:start], MASK]
            end = max(end, stop)
        return "".join([*kept, text[end:]]) if kept else text

    def _compile_and_check(self, text: str) -> bool:
        """Give each needle its anchor; then do what this stands in the place of."""
        needles = {needle for needle in self._needles() if needle}
        behind = min([_BEHIND, *(len(needle) - 1 for needle in needles)])
        # An anchor can begin only where enough follows.
        heads = {needle: needle[: len(needle) - behind] for needle in needles}
        rare = _choose_anchor_chars(set(heads.values()))
        found: dict[str, dict[str, Needles]] = {first: {} for first in rare}
        for needle, head in heads.items():
            first = next(filter(head.__contains__, rare))
            at = head.index(first)
            alike = found[first].setdefault(needle[at + 1 : at + 1 + behind], {})
            alike.setdefault((at, len(needle)), set()).add(needle)
        self._anchors = [_AnchorIndex(first, anchors) for first, anchors in found.items()]
        # Written out, because a loop over the characters takes twice as long.
        looks = {f"look{number}": each.are_absent for number, each in enumerate(self._anchors)}
        terms = [
            f"({first!r} not in text or {look}(text))"
            for first, look in zip(rare, looks, strict=True)
        ]
        source = f"lambda text: {' and '.join(terms) or True}"
        self.is_clean = eval(source, looks)  # noqa: S307  (literals and names, written here)
        return self.is_clean(text)


def _choose_anchor_chars(texts: set[str]) -> list[str]:
    """Choose few and rare characters, so that each of ``texts`` has one of them."""
    left = set(texts)
    chosen = []
    for characters in (*_RARE, sorted(set().union(*texts))):
        most = True
        while left and most:
            counts = {each: sum(each in text for text in left) for each in characters}
            best = max(counts, key=counts.__getitem__)
            most = counts[best] > 0
            if most:
                chosen.append(best)
                left = {text for text in left if best not in text}
    return chosen
