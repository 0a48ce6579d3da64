"""Values are taken out of what holds them, and what holds none stays as it is."""

import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from hive_boot.redaction.matcher import MASK, Matcher
from hive_boot.redaction.scrub import collect_texts, redact_structure
from tests.fixtures.cases import case

VALUE = "fake-token-0123"
MATCHER = Matcher(lambda: [VALUE])


class Pair(NamedTuple):
    """Two of something."""

    left: object
    right: object


@dataclass
class Payload:
    """Something that only its owner looks into."""

    body: str


class Name(str):
    """A text of a kind of its own."""

    __slots__ = ()


class Tokens(list[str]):
    """A list of a kind of its own."""


class Fields(dict[str, object]):
    """A dict that knows what to say of what is not in it, as those that servers log with."""

    def __missing__(self, name: str) -> str:
        """Return what stands for a field that is not there."""
        return "-"


class Uncopied(dict[str, object]):
    """A dict that nobody may copy."""

    def __copy__(self) -> object:
        """Refuse."""
        raise RuntimeError(VALUE)


CLEAN: dict[str, object] = {
    "text": "a text",
    "bytes": b"a text",
    "bytearray": bytearray(b"a text"),
    "dict": {"key": ["a text", {"other": b"\xff"}]},
    "list": ["a text", 1, None],
    "empty list": [],
    "tuple": ("a text",),
    "namedtuple": Pair("a", "b"),
    "set": {"a text"},
    "frozenset": frozenset({"a text"}),
    "number": 20260101,
    "nothing": None,
    "object": Payload(VALUE),
    "object inside": [Payload(VALUE)],
}

HELD: dict[str, tuple[object, object]] = {
    "text": (f"a {VALUE}", f"a {MASK}"),
    "text of a kind": (Name(VALUE), MASK),
    "bytes": (f"a {VALUE}".encode(), f"a {MASK}".encode()),
    "bytearray": (bytearray(VALUE.encode()), bytearray(MASK.encode())),
    "list": ([VALUE, 1, None], [MASK, 1, None]),
    "list of a kind": (Tokens([VALUE]), [MASK]),
    "tuple": ((VALUE, 1.5), (MASK, 1.5)),
    "namedtuple": (Pair(VALUE, "b"), Pair(MASK, "b")),
    "set": ({VALUE, "a"}, {MASK, "a"}),
    "frozenset": (frozenset({VALUE, "a"}), frozenset({MASK, "a"})),
    "dict": ({"key": VALUE, "other": 1}, {"key": MASK, "other": 1}),
    "a dict of a kind": (Fields(key=VALUE), Fields(key=MASK)),
    "an ordered dict": (OrderedDict(b=VALUE, a=1), OrderedDict(b=MASK, a=1)),
    "a dict that cannot be copied": (Uncopied(key=VALUE), {"key": MASK}),
    "a dict's key": ({VALUE: 1}, {MASK: 1}),
    "a dict's key of bytes": ({VALUE.encode(): 1}, {MASK.encode(): 1}),
    "a tuple that is a key": ({(1, VALUE): 1}, {(1, MASK): 1}),
    "a namedtuple that is a key": ({Pair(1, VALUE): 1}, {Pair(1, MASK): 1}),
    "a frozenset that is a key": ({frozenset({VALUE}): 1}, {frozenset({MASK}): 1}),
    "nested": (
        {"headers": [("Authorization", f"Bearer {VALUE}".encode())], "body": {"a": [[VALUE]]}},
        {"headers": [("Authorization", f"Bearer {MASK}".encode())], "body": {"a": [[MASK]]}},
    ),
}


def test_what_holds_no_value_is_given_back_itself() -> None:
    """Nothing is copied when there is nothing to hide."""
    for name, it in CLEAN.items():
        with case(name):
            assert redact_structure(it, MATCHER) is it


def test_an_object_of_another_text_class_is_replaced_only_with_a_value() -> None:
    """A path that contains no value stays the same object beside one that contains a value."""
    clean = PurePosixPath("/etc/hosts")
    first, second = redact_structure([clean, PurePosixPath("/run", VALUE)], MATCHER, others="raise")
    assert first is clean
    assert second == PurePosixPath("/run", MASK)


def test_what_holds_a_value_is_made_anew_without_it() -> None:
    """The same comes out, of the same type, with stars where the value stood."""
    for label, (it, shown) in HELD.items():
        with case(label):
            before = repr(it)

            anew = redact_structure(it, MATCHER)

            assert anew == shown
            assert type(anew) is type(shown)
            assert repr(it) == before, "what the caller holds was changed"


def test_other_objects_are_the_same_in_what_is_made_anew() -> None:
    """An object that is no container goes over to the new one as it is."""
    payload, there = Payload(VALUE), object()

    anew = redact_structure(
        {"payload": payload, "key": VALUE, "others": (there, range(3))}, MATCHER
    )

    assert anew["payload"] is payload
    assert payload.body == VALUE
    assert anew["others"][0] is there
    assert anew["others"][1] == range(3)


def test_a_dict_of_a_kind_goes_on_to_behave_as_such() -> None:
    """What a dict says of what is not in it, it says after it was scrubbed."""
    known = defaultdict(list, {"key": [VALUE]})

    assert redact_structure(Fields(key=VALUE), MATCHER)["absent"] == "-"
    assert redact_structure(known, MATCHER)["absent"] == []
    assert "absent" not in known


def test_an_object_that_tells_a_value_is_replaced_where_that_is_asked_for() -> None:
    """What a log record holds is printed; an object that would print a value is not it."""
    told, clean, there = Payload(VALUE), Payload("a text"), object()
    it = {"told": told, "clean": [clean, there, 7, None, 1.5, True, int]}

    anew = redact_structure(it, MATCHER, others="convert")

    assert repr(anew["told"]) == f"Payload(body={MASK!r})"
    assert anew["clean"] == [clean, there, 7, None, 1.5, True, int]
    assert anew["clean"][0] is clean
    assert it["told"] is told
    assert redact_structure([clean, there, 7, None], MATCHER, others="convert") == [
        clean,
        there,
        7,
        None,
    ]


def test_what_objects_say_is_given_where_that_is_asked_for() -> None:
    """Who judges what is printed sees what objects say, too."""
    it = [Payload("six"), LookupError("two", 2), 7, None, "one"]

    said = {"one", "six", "Payload(body='six')", "LookupError('two', 2)", "('two', 2)"}
    assert set(collect_texts(it, others="convert")) == said
    assert set(collect_texts(it)) == {"one", "LookupError('two', 2)", "('two', 2)"}


def test_nothing_is_copied_though_objects_are_looked_at() -> None:
    """Without a value everything is given back, the same object."""
    cases: list[object] = [CLEAN["list"], CLEAN["dict"], Payload("a text"), 5, None]
    for it in cases:
        with case(it):
            assert redact_structure(it, MATCHER, others="convert") is it


def test_a_clean_structure_that_contains_itself_is_given_back() -> None:
    """A circle is no reason to go on for ever."""
    circle: list[object] = ["a text"]
    circle.append({"again": circle})

    assert redact_structure(circle, MATCHER) is circle


def test_a_structure_that_contains_itself_is_cut_there() -> None:
    """A circle with a value in it comes out finite, and without the value."""
    circle: dict[str, Any] = {"key": VALUE}
    circle["again"] = [circle, "a text"]

    assert redact_structure(circle, MATCHER) == {"key": MASK, "again": [MASK, "a text"]}
    assert circle["again"][0] is circle
    assert circle["key"] == VALUE


def test_a_part_that_stands_in_two_places_is_shown_in_both() -> None:
    """What is shared is no circle."""
    shared = [VALUE]

    assert redact_structure([shared, {"again": shared}], MATCHER) == [[MASK], {"again": [MASK]}]


@settings(deadline=None)
@given(st.binary(), st.binary())
def test_the_bytes_around_a_value_stay(before: bytes, after: bytes) -> None:
    """Bytes that are no text in any encoding come out as they went in."""
    it = before + VALUE.encode() + after

    assert redact_structure(it, MATCHER) == before + MASK.encode() + after
    assert redact_structure([bytearray(it)], MATCHER) == [bytearray(before + MASK.encode() + after)]


words = st.sampled_from([VALUE, f"a {VALUE} b", f"{VALUE}, {VALUE}", "a text", "fake-token"])
leaves = st.none() | st.integers() | words | words.map(str.encode)
keys: st.SearchStrategy[Hashable] = words | st.integers() | st.tuples(words, words)
structures = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(structures)
def test_any_structure_prints_as_before_but_for_the_values(it: object) -> None:
    """Values are gone at any depth, and everything else is there, in its order."""
    before = repr(it)

    anew = redact_structure(it, MATCHER)

    assert repr(anew) == before.replace(VALUE, MASK)
    assert (anew is it) == (VALUE not in before)
    assert repr(it) == before


def test_every_text_of_a_structure_is_given() -> None:
    """Who judges a structure sees all that it says, once for each container."""
    inner = ["one", b"two\xff"]
    it = {"key": inner, ("three", 4): {"five"}, "again": inner, "object": Payload("six")}

    assert sorted(collect_texts(it)) == sorted(
        ["key", "one", "two\xff", "three", "five", "again", "object"]
    )


def test_objects_that_lead_to_all_loggers_and_threads_are_left_out() -> None:
    """An object of an application often has a logger, which leads to every logger."""
    service = SimpleNamespace(
        name="one", log=logging.getLogger("fake.logger"), worker=threading.current_thread()
    )

    found = collect_texts(service, others="convert")

    assert "one" in found
    assert not {"fake.logger", threading.current_thread().name} & {*found}


def nested(deep: int) -> list[Any]:
    """Nest a value deeper than Python's own stack goes."""
    it: list[Any] = [VALUE]
    for _ in range(deep):
        it = [it]
    return it


def test_what_is_nested_too_deep_is_hidden_whole() -> None:
    """A structure that cannot be made anew is shown as stars, not as it is."""
    assert redact_structure(nested(100_000), MATCHER) == MASK


def test_what_is_shared_is_made_anew_once() -> None:
    """A structure that refers to itself over and over takes no time for it."""
    it: list[Any] = [VALUE]
    for _ in range(60):
        it = [it, it]

    shown = redact_structure(it, MATCHER)

    for _ in range(60):
        assert shown[0] is shown[1]
        shown = shown[0]
    assert shown == [MASK]


def test_the_order_of_a_dict_is_kept() -> None:
    """An OrderedDict is one afterwards, in its order, and holds no value in any part of it."""
    it = OrderedDict([(VALUE, 1), ("b", VALUE), ("a", 2)])

    shown = redact_structure(it, MATCHER)

    assert type(shown) is OrderedDict
    assert list(shown.items()) == [(MASK, 1), ("b", MASK), ("a", 2)]
    assert list(it) == [VALUE, "b", "a"]


class Frozen(dict[str, str]):
    """A dict that is its own copy."""

    def __copy__(self) -> "Frozen":
        return self


class Single(dict[str, str]):
    """A dict that there is one of."""

    def __copy__(self) -> "Single":
        raise TypeError


def test_a_dict_that_cannot_be_copied_is_shown_as_a_plain_one() -> None:
    """Somebody else's dict is not changed, whatever it makes of a copy."""
    for kind in (Frozen, Single):
        with case(kind):
            it = kind(a=VALUE, b="fine")

            assert redact_structure(it, MATCHER) == {"a": MASK, "b": "fine"}
            assert dict(it) == {"a": VALUE, "b": "fine"}
