"""What is hidden for the whole process, until whoever hid it drops it."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretBytes, redact
from hive_boot.redaction import MASK, registry
from hive_boot.redaction.registry import encoded_variants, scrub
from tests.fixtures.cases import case
from tests.support import run_child, texts_within_reach

TEXT = "fake-jwt-secret-0123456789"
OTHER = "fake-api-key-9876543210"


@pytest.fixture
def owners() -> Iterator[tuple[object, object]]:
    """Return two that may hide something, and drop what they hid."""
    both = object(), object()
    yield both
    for each in both:
        registry.unregister(each)


def test_nothing_is_changed_while_nothing_is_hidden() -> None:
    """Without a running application everything is given back, the same object."""
    cases: list[object] = [TEXT, TEXT.encode(), {"key": [TEXT]}, (TEXT,), None, 5]
    for it in cases:
        with case(it):
            assert redact(it) is it


def test_a_value_is_hidden_until_its_owner_drops_it(owners: tuple[object, object]) -> None:
    """A value is not shown from the moment that it is hidden to the one that it is dropped."""
    owner, _ = owners
    text = f"it was {TEXT}"

    registry.register(owner, [Secret("JWT_SECRET", TEXT)])
    assert redact(text) == f"it was {MASK}"
    registry.unregister(owner)
    assert redact(text) is text


def test_what_is_hidden_at_once_is_ready_before_it_counts(
    owners: tuple[object, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that are logged meanwhile wait for nothing: what was hidden before is found still."""
    seen: list[object] = []
    forms = registry._forms  # noqa: SLF001  (what takes long)

    def look(values: Iterable[Any]) -> Iterator[str]:
        if not seen:
            seen.append(redact([TEXT, OTHER]))
        return forms(values)

    owner, _ = owners
    registry.register(owner, [Secret("A", TEXT)])
    redact("the first line")
    monkeypatch.setattr(registry, "_forms", look)
    registry.register(owner, [Secret("A", TEXT), Secret("B", OTHER)], at_once=True)
    monkeypatch.undo()
    assert seen == [[MASK, OTHER]]
    assert redact([TEXT, OTHER]) == [MASK, MASK]


def test_only_new_values_are_examined(
    owners: tuple[object, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many old values stay hidden, a rotation costs what its new values cost."""
    examined: list[str | bytes] = []

    def note(value: str | bytes, shortest: int, *, has_parts: bool) -> set[str]:
        examined.append(value)
        return encoded_variants(value, shortest, has_parts=has_parts)

    one, two = owners
    old = [Secret("A", f"fake-old-value-{number:04}") for number in range(20)]
    registry.register(one, old)
    redact("the first line")
    matcher = registry.matcher
    monkeypatch.setattr(registry, "encoded_variants", note)
    registry.register(two, [Secret("B", TEXT), *old[:5]])
    registry.register(one, [*old, Secret("C", OTHER)])
    registry.unregister(two)
    registry.register(one, [*old[1:], Secret("C", OTHER)])

    assert examined == [TEXT, OTHER]
    assert registry.matcher is matcher
    shown = redact([TEXT, OTHER, old[0].reveal(), old[1].reveal(), old[19].reveal()])
    assert shown == [TEXT, MASK, old[0].reveal(), MASK, MASK]


def test_nothing_is_kept_of_a_value_that_is_dropped(owners: tuple[object, object]) -> None:
    """Its forms go with it, and it is examined again when it comes back."""
    registry.register(owners[0], [Secret("A", TEXT), Secret("B", OTHER)], at_once=True)
    registry.register(owners[0], [Secret("B", OTHER)], at_once=True)
    assert Secret("A", TEXT) not in registry._forms_of()  # noqa: SLF001  (what is kept)
    assert Secret("B", OTHER) in registry._forms_of()  # noqa: SLF001  (what is kept)
    registry.register(owners[0], [Secret("A", TEXT)], at_once=True)
    assert redact([TEXT, OTHER]) == [MASK, OTHER]
    registry.unregister(owners[0])
    assert Secret("A", TEXT) not in registry._forms_of()  # noqa: SLF001  (what is kept)


def test_nothing_at_all_can_be_hidden_at_once(owners: tuple[object, object]) -> None:
    """Who has no value has nothing to prepare."""
    owner, _ = owners
    registry.register(owner, [], at_once=True)
    assert redact(TEXT) is TEXT


def test_a_value_stays_hidden_while_another_owner_hides_it(owners: tuple[object, object]) -> None:
    """Two applications with one secret: the first that ends does not show the other's."""
    one, two = owners
    registry.register(one, [Secret("A", TEXT)])
    registry.register(two, [Secret("B", TEXT), Secret("C", OTHER)])

    registry.unregister(one)
    assert redact([TEXT, OTHER]) == [MASK, MASK]
    registry.unregister(two)
    assert redact([TEXT, OTHER]) == [TEXT, OTHER]


def test_an_owner_drops_only_what_is_its_own(owners: tuple[object, object]) -> None:
    """The end of one application shows its values, and no other's."""
    one, two = owners
    registry.register(one, [Secret("A", TEXT)])
    registry.register(two, [Secret("B", OTHER)])

    registry.unregister(one)

    assert redact([TEXT, OTHER]) == [TEXT, MASK]


def test_what_an_owner_hides_is_what_it_said_last(owners: tuple[object, object]) -> None:
    """An owner says the whole of what it hides each time, and all of it is dropped at once."""
    owner, _ = owners
    registry.register(owner, [Secret("A", TEXT)])
    registry.register(owner, [Secret("A", OTHER)])
    assert redact(f"{TEXT}, {OTHER}") == f"{TEXT}, {MASK}"
    registry.register(owner, [Secret("A", TEXT), Secret("A", OTHER)])
    assert redact(f"{TEXT}, {OTHER}") == f"{MASK}, {MASK}"
    registry.unregister(owner)
    assert redact(f"{TEXT}, {OTHER}") == f"{TEXT}, {OTHER}"


def test_owners_are_told_apart_though_they_are_equal() -> None:
    """It counts who hid a value, not whom that one resembles."""
    one, two = [0], [0]
    registry.register(one, [Secret("A", TEXT)])
    registry.register(two, [Secret("A", TEXT)])

    registry.unregister(one)
    after_one = redact(TEXT)
    registry.unregister(two)

    assert (after_one, redact(TEXT)) == (MASK, TEXT)


def test_to_drop_nothing_and_to_hide_nothing_changes_nothing(
    owners: tuple[object, object],
) -> None:
    """An owner without secrets, or one that is unknown, is no error and hides nothing."""
    one, two = owners
    registry.unregister(one)
    registry.register(two, [])

    assert redact(TEXT) is TEXT


def test_values_may_come_one_by_one(owners: tuple[object, object]) -> None:
    """Values are taken from a generator once, and are there for every text."""
    registry.register(owners[0], (Secret("A", value) for value in (TEXT, OTHER)))

    for _ in range(2):
        assert redact(f"{TEXT} {OTHER}") == f"{MASK} {MASK}"


def test_everything_that_a_tracker_is_sent_is_redacted(owners: tuple[object, object]) -> None:
    """Dicts, lists, tuples, sets, text and bytes come out without the value, not else changed."""
    registry.register(owners[0], [Secret("A", TEXT), SecretBytes("B", OTHER.encode())])
    event: dict[str, Any] = {
        "message": f"refused: {TEXT}",
        "request": {"headers": [("Authorization", f"Bearer {OTHER}")], "data": TEXT.encode()},
        "tags": {TEXT, "web"},
        "level": 40,
    }

    assert redact(event) == {
        "message": f"refused: {MASK}",
        "request": {"headers": [("Authorization", f"Bearer {MASK}")], "data": MASK.encode()},
        "tags": {MASK, "web"},
        "level": 40,
    }
    assert event["request"]["data"] == TEXT.encode()


@settings(deadline=None)
@given(st.binary(max_size=30).filter(lambda value: len(value.decode("latin-1").strip()) >= 8))
def test_any_bytes_are_taken_out_of_bytes(value: bytes) -> None:
    """A key that is no text in any encoding is hidden in a body that is none either."""
    owner = object()
    registry.register(owner, [SecretBytes("KEYSTORE", value)])
    try:
        told = redact({"body": b"\x00\xff<" + value + b">\xff"})
    finally:
        registry.unregister(owner)

    assert value not in told["body"]
    assert MASK.encode() in told["body"]


def test_a_short_value_is_not_looked_for_in_logs(owners: tuple[object, object]) -> None:
    """A value that is a word does not make every line unreadable."""
    for value in ("fake-16", "true", "  fake-16  \n", ""):
        with case(value):
            registry.register(owners[0], [Secret("A", value)])
            text = "is it true that fake-16 is only a word?"

            assert redact(text) is text


def test_looking_takes_no_lock(owners: tuple[object, object]) -> None:
    """A log line does not wait for somebody who begins or ends to hide something."""
    registry.register(owners[0], [Secret("A", TEXT)])

    with ThreadPoolExecutor(1) as thread, registry.lock():
        assert thread.submit(redact, TEXT).result(timeout=60) == MASK


def test_nothing_in_the_module_leads_to_a_value(owners: tuple[object, object]) -> None:
    """Who follows attributes and items from the matcher, or the module, finds no value."""
    value = "fake-Zebra-Quince-0123456789"
    registry.register(owners[0], [Secret("A", value)])
    assert redact(value) == MASK

    ours = [it for name, it in vars(registry).items() if not name.startswith("__")]
    within_reach = texts_within_reach(ours)

    assert "Z" in within_reach.splitlines()
    assert value not in within_reach
    assert value.encode().hex() not in within_reach


FORKED = """
import os
import sys
from threading import Event, Thread
from hive_boot import Secret, redact
from hive_boot.redaction import registry as hidden

held, done = Event(), Event()

def hold():
    with hidden.lock():
        held.set()
        done.wait()

owner, text = object(), "fake-jwt-secret-0123456789"
hidden.register(owner, [Secret("A", "fake-inherited-0123")])
holder = Thread(target=hold)
holder.start()
held.wait()
child = os.fork()
if child == 0:
    told = [redact("fake-inherited-0123")]
    hidden.register(text, [Secret("B", text)])
    told.append(redact(text))
    hidden.unregister(text)
    told.append(redact(text))
    hidden.unregister(owner)
    told.append(redact("fake-inherited-0123"))
    print(*told, flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
done.set()
holder.join()
print(redact("fake-inherited-0123"), os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_can_hide_though_its_parent_was_about_to() -> None:
    """A worker that is forked at a bad moment does not hang, and hides what it inherited."""
    child = run_child(FORKED)

    assert child.stdout.splitlines() == [
        f"{MASK} {MASK} fake-jwt-secret-0123456789 fake-inherited-0123",
        f"{MASK} 0",
    ], child.stderr


def test_a_report_hides_values_of_any_length() -> None:
    """A message about a value hides it, however short it is."""
    assert scrub("expected a number, got abc: 'abc'", ["abc"]) == (
        f"expected a number, got {MASK}: '{MASK}'"
    )
    assert scrub("7 is odd", ["7"]) == f"{MASK} is odd"
    assert scrub("7 is odd", [b"7"]) == f"{MASK} is odd"


def test_a_report_hides_a_word_inside_a_longer_one() -> None:
    """A log shows a word that begins like a value; the report about this value does not."""
    assert scrub("invalid postgres: 'postgresql'", ["postgres"]) == f"invalid {MASK}: '{MASK}ql'"


def test_a_report_without_a_value_stays_as_it_is() -> None:
    """A message that tells nothing is not changed."""
    text = "expected 32 characters, got 7"

    assert scrub(text, [TEXT]) is text
    assert scrub(text, [""]) is text
    assert scrub(text, []) is text


def test_a_report_hides_each_of_several_values() -> None:
    """Every value is hidden at every place; values of text and of bytes alike."""
    values: list[str | bytes] = [TEXT, OTHER.encode()]

    assert scrub(f"{TEXT}, {OTHER}, {TEXT}", iter(values)) == (f"{MASK}, {MASK}, {MASK}")


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_characters="*"), min_size=1).filter(str.strip),
    st.text(),
    st.text(),
)
def test_no_value_is_left(value: str, before: str, after: str) -> None:
    """Whatever stands around a value, it is gone from the report afterwards."""
    shown = scrub(before + value + after, [value])

    assert MASK in shown
    assert value not in shown


def test_a_report_needs_nothing_to_be_hidden() -> None:
    """Values in a report are hidden before anything runs, and only in that report."""
    assert registry.matcher is None
    assert scrub(TEXT, [TEXT]) == MASK
    assert registry.matcher is None
    assert redact(TEXT) is TEXT
