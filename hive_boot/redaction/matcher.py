"""Matcher: finds all hidden values, in all of their forms, in a text at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hive_boot.redaction.needles import NeedleIndex

MASK = "***"
"""Replacement of a value."""

_KNOWN = 1000
"""Maximum number of texts without a needle that are remembered."""

_STRUCTURE = frozenset('=>:@"{[,;|')
"""Characters, beside blanks, of which every value with a secret inside has one; few keys have."""


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
            from hive_boot.redaction.needles import NeedleIndex  # most starts examine no text

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


def encoded_variants(value: str | bytes, shortest: int = 1, *, has_parts: bool = True) -> set[str]:
    """Return the value, its embedded secrets, and the forms of both that the matcher needs.

    Args:
        value: the plain value.
        shortest: the minimum length of a form, without white space at its ends. Default 1.
        has_parts: whether secrets can be embedded in the value. Default True.
    """
    from hive_boot.redaction.decoding import (  # most starts examine no text
        LONG,
        decoded_texts,
        decodings,
        encodings,
        plain_variants,
    )

    stripped = value.strip()
    if len(stripped) < shortest:
        return set()
    found = {*encodings(stripped)}
    if stripped != value and len(value) <= LONG:
        found.update(encodings(value))
    texts = decoded_texts(value)
    for text in texts if isinstance(value, str) else texts | decodings(value):
        found.update([each for each in plain_variants(text) if len(each.strip()) >= shortest])
    for text in {each.strip() for each in texts} if has_parts else ():
        if _STRUCTURE.isdisjoint(text) and "%20" not in text and text.split(maxsplit=1) == [text]:
            continue
        from hive_boot.redaction.embedded import (  # few values have any
            distinctive_lines,
            embedded_secrets,
        )

        parts = set(embedded_secrets(text))
        for part in parts.union(distinctive_lines(text)):
            found.update([each for each in plain_variants(part) if len(each.strip()) >= shortest])
        # A document of a megabyte may have ten thousand parts.
        for part in parts if len(value) <= LONG else ():
            found.update(encodings(part))
    return found
