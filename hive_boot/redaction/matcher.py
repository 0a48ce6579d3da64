"""Matcher: finds all hidden values in a text at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.redaction.needles import NeedleIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MASK = "***"
"""Replacement of a value."""


MIN_LENGTH = 8
"""Minimum number of characters of a hidden value: shorter values may be common words."""


_KNOWN = 1000
"""Maximum number of texts without a needle that are remembered."""


class Matcher:
    """Finds needles in texts, escaped or not, and replaces them.

    Args:
        needles: returns what to find, when the first text is examined; the empty text is
            ignored. Two threads may call it at the same time.

    Attributes:
        known_clean: texts without a needle that are often the same.
    """

    __slots__ = ("_built", "_index", "_needles", "known_clean")

    def __init__(self, needles: Callable[[], Iterable[str]]) -> None:
        self._needles = needles
        self._built: dict[str, NeedleIndex] = {}
        self._index: NeedleIndex | None = None
        self.known_clean: set[str] = set()

    @property
    def is_built(self) -> bool:
        """Whether a text was examined."""
        return self._index is not None

    def build(self) -> NeedleIndex:
        """Return the index of the needles, which the first call creates."""
        if self._index is None:
            # Of two threads that create one, both use the one that is added to later.
            self._index = self._built.setdefault("index", NeedleIndex([*self._needles()]))
        return self._index

    def update(self, *, added: Iterable[str], removed: Iterable[str]) -> None:
        """Add and remove needles of a matcher that is built; the added ones are found at once."""
        index = self.build()
        index.add(added)
        # Another thread may still add a text to the old set, which was examined before.
        self.known_clean = set()
        index.remove(removed)

    def is_clean(self, text: str) -> bool:
        """Return whether a text has no needle; it is called for every log line."""
        for first, index in (self._index or self.build()).searches:
            if first in text and not index.are_absent(text):
                for _ in index.spans(text):
                    return False
        return True

    def is_known_clean(self, text: str) -> bool:
        """Return the same for a text that is often the same: it is remembered if it is clean."""
        known = self.known_clean
        if text not in known:
            if not self.is_clean(text):
                return False
            if len(known) >= _KNOWN:
                known.clear()
            known.add(text)
        return True

    def scrub(self, text: str) -> str:
        """Replace every needle by ``***``; needles that overlap are replaced together.

        A text without a needle is returned unchanged.
        """
        if self.is_clean(text):
            return text
        kept, end = [], 0
        searches = self.build().searches
        for start, stop in sorted(span for _, each in searches for span in each.spans(text)):
            if start >= end:
                kept += [text[end:start], MASK]
            end = max(end, stop)
        return "".join([*kept, text[end:]])
