"""Redaction of structures: containers with a value are copied, all others are unchanged."""

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

from hive_boot.redaction import MASK
from hive_boot.redaction.registry import Matcher
from hive_boot.redaction.scrub import collect_texts, redact_structure
from tests.fixtures.cases import case

VALUE = "fake-token-0123"
MATCHER = Matcher(lambda: [VALUE])


class Pair(NamedTuple):
    """A named tuple of two objects."""

    left: object
    right: object


@dataclass
class Payload:
    """An object that is not a container."""

    body: str


class Name(str):
    """A subclass of str."""

    __slots__ = ()


class Tokens(list[str]):
    """A subclass of list."""


class Fields(dict[str, object]):
    """A dict with `__missing__`, like those that servers use for access logs."""

    def __missing__(self, name: str) -> str:
        """Return the text for an absent field."""
        return "-"


class Uncopied(dict[str, object]):
    """A dict whose copy raises."""

    def __copy__(self) -> object:
        """Raise an exception that contains the value."""
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


def test_a_structure_without_a_value_is_returned_itself() -> None:
    """Nothing is copied if there is nothing to hide."""
    for name, it in CLEAN.items():
        with case(name):
            assert redact_structure(it, MATCHER) is it


def test_an_object_of_another_text_class_is_replaced_only_with_a_value() -> None:
    """A path that contains no value stays the same object beside one that contains a value."""
    clean = PurePosixPath("/etc/hosts")
    first, second = redact_structure([clean, PurePosixPath("/run", VALUE)], MATCHER, others="raise")
    assert first is clean
    assert second == PurePosixPath("/run", MASK)


def test_a_structure_with_a_value_is_copied_without_it() -> None:
    """The copy has the same type and the mask in place of the value."""
    for label, (it, shown) in HELD.items():
        with case(label):
            before = repr(it)

            result = redact_structure(it, MATCHER)

            assert result == shown
            assert type(result) is type(shown)
            assert repr(it) == before, "what the caller holds was changed"


def test_objects_that_are_not_containers_are_not_copied() -> None:
    """The copy of a structure contains the same objects."""
    payload, there = Payload(VALUE), object()

    result = redact_structure(
        {"payload": payload, "key": VALUE, "others": (there, range(3))}, MATCHER
    )

    assert result["payload"] is payload
    assert payload.body == VALUE
    assert result["others"][0] is there
    assert result["others"][1] == range(3)


def test_the_copy_of_a_dict_subclass_behaves_like_the_original() -> None:
    """`__missing__` and the default factory work in the copy."""
    known = defaultdict(list, {"key": [VALUE]})

    assert redact_structure(Fields(key=VALUE), MATCHER)["absent"] == "-"
    assert redact_structure(known, MATCHER)["absent"] == []
    assert "absent" not in known


def test_convert_replaces_objects_whose_repr_contains_a_value() -> None:
    """With `others="convert"` such an object becomes a redacted repr; others stay."""
    with_value, clean, there = Payload(VALUE), Payload("a text"), object()
    it = {"with_value": with_value, "clean": [clean, there, 7, None, 1.5, True, int]}

    result = redact_structure(it, MATCHER, others="convert")

    assert repr(result["with_value"]) == f"Payload(body={MASK!r})"
    assert result["clean"] == [clean, there, 7, None, 1.5, True, int]
    assert result["clean"][0] is clean
    assert it["with_value"] is with_value
    assert redact_structure([clean, there, 7, None], MATCHER, others="convert") == [
        clean,
        there,
        7,
        None,
    ]


def test_convert_collects_the_texts_of_objects() -> None:
    """With `others="convert"` the repr of each object is a text."""
    it = [Payload("six"), LookupError("two", 2), 7, None, "one"]

    expected = {"one", "six", "Payload(body='six')", "LookupError('two', 2)", "('two', 2)"}
    assert set(collect_texts(it, others="convert")) == expected
    assert set(collect_texts(it)) == {"one", "LookupError('two', 2)", "('two', 2)"}


def test_convert_returns_a_structure_without_a_value_itself() -> None:
    """Without a value nothing is copied, although the repr of objects is searched."""
    cases: list[object] = [CLEAN["list"], CLEAN["dict"], Payload("a text"), 5, None]
    for it in cases:
        with case(it):
            assert redact_structure(it, MATCHER, others="convert") is it


def test_a_circular_structure_without_a_value_is_returned_itself() -> None:
    """The search ends although the structure contains itself."""
    circle: list[object] = ["a text"]
    circle.append({"again": circle})

    assert redact_structure(circle, MATCHER) is circle


def test_a_circular_structure_with_a_value_becomes_finite() -> None:
    """The reference to itself is masked, and so is the value."""
    circle: dict[str, Any] = {"key": VALUE}
    circle["again"] = [circle, "a text"]

    assert redact_structure(circle, MATCHER) == {"key": MASK, "again": [MASK, "a text"]}
    assert circle["again"][0] is circle
    assert circle["key"] == VALUE


def test_a_shared_part_is_shown_at_each_place() -> None:
    """A part that occurs twice is not a circle."""
    shared = [VALUE]

    assert redact_structure([shared, {"again": shared}], MATCHER) == [[MASK], {"again": [MASK]}]


@settings(deadline=None)
@given(st.binary(), st.binary())
def test_the_bytes_around_a_value_stay(before: bytes, after: bytes) -> None:
    """Bytes that are not text in any encoding are unchanged."""
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
def test_only_values_change_in_the_repr_of_any_structure(it: object) -> None:
    """Values are masked at any depth; everything else is unchanged and in its order."""
    before = repr(it)

    result = redact_structure(it, MATCHER)

    assert repr(result) == before.replace(VALUE, MASK)
    assert (result is it) == (VALUE not in before)
    assert repr(it) == before


def test_every_text_of_a_structure_is_collected() -> None:
    """Each container is searched once."""
    inner = ["one", b"two\xff"]
    it = {"key": inner, ("three", 4): {"five"}, "again": inner, "object": Payload("six")}

    assert sorted(collect_texts(it)) == sorted(
        ["key", "one", "two\xff", "three", "five", "again", "object"]
    )


def test_loggers_and_threads_are_not_searched() -> None:
    """An object of an application often has a logger, which leads to all other loggers."""
    service = SimpleNamespace(
        name="one", log=logging.getLogger("fake.logger"), worker=threading.current_thread()
    )

    found = collect_texts(service, others="convert")

    assert "one" in found
    assert not {"fake.logger", threading.current_thread().name} & {*found}


def nested(deep: int) -> list[Any]:
    """Return a value nested in this many lists."""
    it: list[Any] = [VALUE]
    for _ in range(deep):
        it = [it]
    return it


def test_a_structure_that_is_nested_too_deep_is_masked_as_a_whole() -> None:
    """A structure that exceeds the recursion limit is replaced by the mask."""
    assert redact_structure(nested(100_000), MATCHER) == MASK


def test_a_shared_part_is_copied_once() -> None:
    """A structure with 2⁶⁰ references to one list is copied at once."""
    it: list[Any] = [VALUE]
    for _ in range(60):
        it = [it, it]

    shown = redact_structure(it, MATCHER)

    for _ in range(60):
        assert shown[0] is shown[1]
        shown = shown[0]
    assert shown == [MASK]


def test_the_order_of_a_dict_stays() -> None:
    """The copy of an OrderedDict has the same type and order."""
    it = OrderedDict([(VALUE, 1), ("b", VALUE), ("a", 2)])

    shown = redact_structure(it, MATCHER)

    assert type(shown) is OrderedDict
    assert list(shown.items()) == [(MASK, 1), ("b", MASK), ("a", 2)]
    assert list(it) == [VALUE, "b", "a"]


class Frozen(dict[str, str]):
    """A dict whose copy is the dict itself."""

    def __copy__(self) -> "Frozen":
        return self


class Single(dict[str, str]):
    """A dict whose copy raises TypeError."""

    def __copy__(self) -> "Single":
        raise TypeError


def test_a_dict_that_cannot_be_copied_becomes_a_plain_dict() -> None:
    """The original is unchanged, whatever its `__copy__` returns or raises."""
    for kind in (Frozen, Single):
        with case(kind):
            it = kind(a=VALUE, b="fine")

            assert redact_structure(it, MATCHER) == {"a": MASK, "b": "fine"}
            assert dict(it) == {"a": VALUE, "b": "fine"}
