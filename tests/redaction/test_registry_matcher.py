"""Matcher: search for many needles, and their replacement."""

import gc
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from itertools import chain
from threading import Barrier, Event, current_thread, main_thread

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hive_boot.redaction import MASK, conceal
from hive_boot.redaction.decoding import Hex, find_around
from hive_boot.redaction.registry import Matcher
from tests.fixtures.cases import case
from tests.support import texts_within_reach

ALPHABETS = (
    "ab",
    "Zab",
    "aA-09_ ",
    ".^$*+?{}[]()|\\-&~#",
    "'\"\\\n\r\t\x00 ",
    "\u00e4\u00e9\udcff\ud800\U0001f600e",
    "ZQX7z;es",
)
"""Few characters, so that needles overlap; special ones, so that none is taken for a pattern."""


PLAIN = set("abAZQX7e09.;-^|~z")
"""Characters of which no escape consists."""


def naive(needles: list[str], text: str) -> str:
    """Return the text without the needles, by the shortest code that does it."""
    spans = sorted(
        (start, start + len(needle))
        for needle in needles
        for start in range(len(text))
        if text.startswith(needle, start)
    )
    kept, end = "", 0
    for start, stop in spans:
        if start >= end:
            kept += text[end:start] + MASK
        end = max(end, stop)
    return kept + text[end:]


@st.composite
def needles_and_texts(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Draw needles, and texts that have needles, pieces of needles and other things in them."""
    alphabet = draw(st.sampled_from(ALPHABETS))
    words = st.text(alphabet, min_size=1, max_size=40)
    needles = draw(st.lists(words, min_size=1, max_size=10))
    whole = st.sampled_from(needles)
    cut = st.builds(
        lambda needle, start, stop: needle[start:stop],
        whole,
        st.integers(0, 5),
        st.none() | st.integers(-5, -1),
    )
    pieces = st.lists(whole | cut | st.text(alphabet, max_size=8), max_size=6)
    return needles, draw(st.lists(pieces.map("".join), min_size=1, max_size=4))


@settings(deadline=None)
@given(needles_and_texts())
@example((["xxxZabcde"], ["Zabcde", "xxxZabcde", "xxZabcdexxxZabcde"]))
@example((["aaa", "aaaa"], ["aaaaaaa", "aa", "baaab"]))
def test_a_matcher_finds_the_same_needles_as_a_simple_search(
    drawn: tuple[list[str], list[str]],
) -> None:
    """Exactly the needles are replaced, whatever the needles and the text are."""
    needles, texts = drawn
    matcher = Matcher(partial(list, needles))

    for text in texts:
        shown = matcher.scrub(text)

        # Beside the needles as they are, it finds them with escapes.
        assert not any(needle in rest for needle in needles for rest in shown.split(MASK))
        assert matcher.is_clean(text) == (shown is text)
        assert shown is not text or not any(needle in text for needle in needles)
        if set(text) <= PLAIN:
            assert shown == naive(needles, text)


@settings(deadline=None)
@given(st.text(), st.text(), st.text(min_size=1, max_size=40))
def test_a_needle_is_found_in_any_text(before: str, after: str, needle: str) -> None:
    """A needle of any characters is found between any others."""
    text = before + needle + after

    shown = Matcher(partial(list, [needle])).scrub(text)

    # A character before it may be a part of its escaped form, such as a backslash.
    assert MASK in shown
    assert not any(needle in rest for rest in shown.split(MASK))


def test_without_needles_every_text_is_returned_itself() -> None:
    """An empty text is too."""
    for needles in ([], [""], ["", ""]):
        with case(needles):
            matcher = Matcher(partial(list, needles))

            for text in ("", "a text", "***"):
                assert matcher.scrub(text) is text
                assert matcher.is_clean(text)


def test_a_text_without_a_needle_is_returned_itself() -> None:
    """A text that resembles a needle is not copied either."""
    matcher = Matcher(lambda: ["fake-Zebra-token", "fake-Quince-token"])

    for text in ("", "INFO started in 3 s", "Zebra", "fake-Zebra-toke", "ake-Zebra-token", "Z"):
        assert matcher.scrub(text) is text


def test_the_longer_of_two_needles_is_replaced_completely() -> None:
    """A value that begins with another value leaves no rest."""
    matcher = Matcher(lambda: ["fake-token", "fake-token-two"])

    assert matcher.scrub("it was fake-token-two") == f"it was {MASK}"


def test_needles_that_overlap_are_replaced_together() -> None:
    """Two values that share characters leave no part of either behind."""
    assert Matcher(lambda: ["one-two", "two-three"]).scrub("<one-two-three>") == f"<{MASK}>"


def test_overlapping_occurrences_of_a_needle_are_replaced_completely() -> None:
    """A repeated value leaves no part of itself."""
    assert Matcher(lambda: ["abcabc"]).scrub("<abcabcabc>") == f"<{MASK}>"


def test_a_needle_within_another_changes_nothing() -> None:
    """A value that is a part of another value is replaced with it."""
    assert Matcher(lambda: ["fake-inner-token", "inner"]).scrub("<fake-inner-token inner>") == (
        f"<{MASK} {MASK}>"
    )


def test_every_occurrence_is_replaced() -> None:
    """A value that occurs twice is replaced twice."""
    matcher = Matcher(lambda: ["fake-a", "fake-b"])

    assert matcher.scrub("fake-a, fake-b, fake-a") == f"{MASK}, {MASK}, {MASK}"
    assert matcher.scrub("fake-afake-b") == f"{MASK}{MASK}"


def test_special_characters_are_taken_literally() -> None:
    """A value full of punctuation, line ends or foreign letters is no pattern."""
    cases: list[str] = [
        "a.c+token*",
        "^start$ (group) [set] {2}|or",
        "back\\slash\\d\\w",
        "[a-z]-^&&||~~",
        "two\nlines\r\nof it",
        "\x00\x1f\x7f",
        "p\u00e4ssw\u00f6rd-\u65e5\u672c\u8a9e",
        "fake-\U0001f511-token",
        "fake-\udcff-\ud800-token",
        'it\'s "quoted"',
        "{braces} %s %(name)s",
        " ",
        "Z",
    ]
    for needle in cases:
        with case(needle):
            matcher = Matcher(partial(list, [needle]))
            other = "".join(chr(ord(character) ^ 1) for character in needle)

            assert matcher.scrub(f"<{needle}>") == f"<{MASK}>"
            assert matcher.scrub(f"{needle}") == MASK
            assert matcher.scrub(f"<{other}>") == f"<{other}>"


def test_a_thousand_needles_are_found() -> None:
    """Each of very many values is found, alone and all in one text."""
    needles = [
        f"fake-{number:04}-{'xyzZQ'[number % 5]}-{number * 7919:x}" for number in range(1000)
    ]
    matcher = Matcher(partial(list, needles))
    text = "nothing of note: fake-0000 fake-9999-x-0"

    assert [matcher.scrub(f"<{needle}>") for needle in needles] == [f"<{MASK}>"] * 1000
    assert matcher.scrub(" ".join(needles)) == " ".join([MASK] * 1000)
    assert matcher.scrub(text) is text


def test_needles_that_are_alike_are_searched_for_once() -> None:
    """A text is searched for an anchor once, also if thousands of values have no other one."""
    needles = [f"0000-fake-0123456789-{number:04}-0123456789" for number in range(2000)]
    matcher = Matcher(lambda: needles[:1000])
    matcher.build()
    matcher.update(added=needles[1000:], removed=())

    searched = [index.first for _, index in matcher.build().searches]
    assert len(searched) == len(set(searched))
    assert [matcher.scrub(each) for each in needles[::250]] == [MASK] * 8


def test_a_text_is_compared_with_few_of_many_similar_needles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A common part of thousands of values does not make a search slow; each value is found."""
    texts = [f"0000-fake-0123456789-{number:04}-0123456789" for number in range(3000)]
    compared: list[str] = []

    def note(text: str, place: int, needle: str, index: int) -> tuple[int, int, bool]:
        compared.append(needle)
        return find_around(text, place, needle, index)

    matcher = Matcher(lambda: texts[:1000])
    matcher.build()
    for start in (1000, 2000):
        added, removed = texts[start : start + 1000], texts[start - 1000 : start]
        matcher.update(added=added, removed=removed)
    monkeypatch.setattr("hive_boot.redaction.needles.find_around", note)

    assert matcher.is_clean("0000-fake-0123456789-9999-0123456789")
    assert len(compared) < 500
    assert {matcher.scrub(each) for each in texts[2000:]} == {MASK}
    assert {matcher.scrub(each) for each in texts[:2000]} != {MASK}


def test_new_needles_add_no_objects_for_the_garbage_collector() -> None:
    """A thousand new needles are not a thousand tracked objects."""
    texts = [sha256(b"fake %d" % number).hexdigest() for number in range(4000)]
    matcher = Matcher(lambda: [*texts[:1000], *map(Hex, texts[1000:2000])])
    matcher.build()
    gc.collect()
    before = len(gc.get_objects())

    matcher.update(
        added=[*texts[2000:3000], *map(Hex, texts[3000:])],
        removed=[*texts[:1000], *map(Hex, texts[1000:2000])],
    )

    gc.collect()
    assert len(gc.get_objects()) - before < 1000
    assert matcher.scrub(" ".join(texts[:2000])) == " ".join(texts[:2000])
    assert matcher.scrub(" ".join(texts[2000:])) == " ".join([MASK] * 2000)


def test_needles_need_have_no_character_in_common() -> None:
    """Values in many scripts, of which no two share a character, are found as well."""
    needles = [chr(0x4E00 + number) for number in range(100)]
    matcher = Matcher(partial(list, needles))

    assert matcher.scrub("".join(needles)) == MASK * 100
    assert matcher.scrub("a text") == "a text"


def test_a_very_long_text_is_searched_to_its_end() -> None:
    """A text of some hundred thousand characters is searched like a short one."""
    matcher = Matcher(lambda: ["fake-Zebra-token", "fake-Quince-token"])
    dump = "Zebra, Quince, fake-Zebra-tok and all that; " * 4000

    assert matcher.scrub(dump) is dump
    assert matcher.scrub(f"{dump}fake-Zebra-token") == f"{dump}{MASK}"
    assert matcher.scrub(f"fake-Quince-token{dump}") == f"{MASK}{dump}"


def test_needles_are_computed_at_the_first_search() -> None:
    """A program without log lines computes nothing, and others compute them once."""
    asked = []

    def needles() -> list[str]:
        asked.append("once")
        return ["fake-token"]

    matcher = Matcher(needles)
    assert asked == []

    assert [matcher.scrub("fake-token") for _ in range(3)] == [MASK] * 3
    assert asked == ["once"]


def test_two_threads_may_search_first() -> None:
    """Both threads find every needle."""
    both_ask = Barrier(2, timeout=60)

    def needles() -> list[str]:
        both_ask.wait()
        return ["fake-one-token", "fake-two-token", "Z"]

    matcher = Matcher(needles)
    text = "fake-one-token, fake-two-token, Z"

    with ThreadPoolExecutor(2) as threads:
        shown = list(threads.map(matcher.scrub, [text, text]))

    assert shown == [f"{MASK}, {MASK}, {MASK}"] * 2
    assert matcher.scrub(text) == shown[0]


@settings(deadline=None)
@given(st.lists(st.tuples(needles_and_texts(), st.booleans()), min_size=2, max_size=5))
def test_needles_are_added_and_removed(
    drawn: list[tuple[tuple[list[str], list[str]], bool]],
) -> None:
    """A matcher that was changed finds what a new one finds that has the same needles."""
    (first, _), *others = drawn
    left = [*first[0]]
    matcher = Matcher(partial(list, left))
    matcher.build()
    for (needles, _), is_kept in others:
        matcher.update(added=needles, removed=())
        if is_kept:
            left += needles
        else:
            matcher.update(added=(), removed=needles)
    texts = [text for (_, texts), _ in drawn for text in texts]

    new = Matcher(partial(list, left))
    assert [matcher.scrub(text) for text in texts] == [new.scrub(text) for text in texts]


def test_a_needle_that_was_added_twice_is_removed_twice() -> None:
    """A common part of two values is found until both values are removed."""
    matcher = Matcher(lambda: ["fake-common-part", "fake-common-part", "fake-Zebra-0123"])
    matcher.build()

    shown = [matcher.scrub("fake-common-part fake-Zebra-0123")]
    for _ in range(2):
        matcher.update(added=(), removed=["fake-common-part"])
        shown.append(matcher.scrub("fake-common-part fake-Zebra-0123"))

    assert shown == [f"{MASK} {MASK}", f"{MASK} {MASK}", f"fake-common-part {MASK}"]


def test_equal_texts_of_two_kinds_are_two_needles() -> None:
    """The digits of one value are the text of another one: either stays without the other."""
    digits = b"fake-value".hex()
    separated = b"fake-value".hex(":").upper()
    matcher = Matcher(lambda: [digits, Hex(digits)])
    matcher.build()

    assert matcher.scrub(f"{digits} {separated}") == f"{MASK} {MASK}"
    matcher.update(added=(), removed=[digits])
    assert matcher.scrub(f"{digits} {separated}") == f"{MASK} {MASK}"
    matcher.update(added=[digits], removed=[Hex(digits)])
    assert matcher.scrub(f"{digits} {separated}") == f"{MASK} {separated}"


def test_a_thread_that_builds_late_forgets_no_added_needle() -> None:
    """Of two threads that build at a time, the later one uses what the earlier one has built."""
    is_building, may_end = Event(), Event()

    def needles() -> list[str]:
        if current_thread() is not main_thread():
            is_building.set()
            assert may_end.wait(60)
        return ["fake-one-token"]

    matcher = Matcher(needles)
    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(matcher.scrub, "fake-one-token")
        assert is_building.wait(60)
        matcher.build()
        matcher.update(added=["fake-two-token"], removed=())
        may_end.set()

        assert late.result(60) == MASK
    assert matcher.scrub("fake-two-token") == MASK


def test_a_search_that_has_begun_skips_no_needle() -> None:
    """While one needle is removed, others with the same beginning are found."""
    needles = [f"fake-Zebra-{number:04}" for number in range(200)]
    matcher = Matcher(lambda: needles)
    text = " ".join(needles)
    searches = [index.spans(text) for _, index in matcher.build().searches]
    begun = [next(spans) for spans in searches]
    first, *others = needles
    matcher.update(added=(), removed=[first])

    found = {text[start:stop] for start, stop in [*begun, *chain(*searches)]}
    assert found >= {*others}
    assert [matcher.scrub(each) for each in needles] == [first, *[MASK] * 199]


def test_no_needle_is_reachable_from_a_matcher() -> None:
    """No attribute or item of a matcher leads to a part of a value, before or after a search."""
    needle = "fake-ZebraQuince-0123456789"
    matcher = Matcher(conceal([needle, needle.encode().hex()]))

    before = texts_within_reach(matcher)
    assert matcher.scrub(f"<{needle}>") == f"<{MASK}>"
    after = texts_within_reach(matcher)

    assert "Z" in after, "the walk does not come as far as what it has to judge"
    for piece in (needle[start : start + 6] for start in range(len(needle) - 5)):
        assert piece not in before
        assert piece not in after


def test_the_repr_of_a_matcher_contains_no_needle() -> None:
    """A traceback with variables or a format string shows no value."""
    cases: list[str] = ["{0}", "{0!r}", "{0._index.searches}", "{0.is_clean.__globals__}"]
    for way in cases:
        with case(way):
            needle = "fake-Zebra-Quince"
            matcher = Matcher(conceal([needle]))
            matcher.scrub("a text")

            shown = way.format(matcher)

            assert needle not in shown
            assert "Zebra-" not in shown


def test_few_clean_texts_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that logs ever different texts does not fill the memory with them."""
    monkeypatch.setattr("hive_boot.redaction.registry._KNOWN", 3)
    matcher = Matcher(lambda: ["fake-key-0123456789"])
    for number in range(10):
        assert matcher.is_known_clean(f"request {number}")
        assert len(matcher.known_clean) <= 3
    assert not matcher.is_known_clean("fake-key-0123456789")
