"""Registry of hidden values: owners, registration, and the redaction of reports."""

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
    """Yield two owners, and unregister them."""
    both = object(), object()
    yield both
    for each in both:
        registry.unregister(each)


def test_redact_returns_its_argument_while_no_value_is_registered() -> None:
    """Without a running application every object is returned itself."""
    cases: list[object] = [TEXT, TEXT.encode(), {"key": [TEXT]}, (TEXT,), None, 5]
    for it in cases:
        with case(it):
            assert redact(it) is it


def test_a_value_is_hidden_until_its_owner_unregisters_it(owners: tuple[object, object]) -> None:
    """Redaction begins at once, and ends at once."""
    owner, _ = owners
    text = f"it was {TEXT}"

    registry.register(owner, [Secret("JWT_SECRET", TEXT)])
    assert redact(text) == f"it was {MASK}"
    registry.unregister(owner)
    assert redact(text) is text


def test_at_once_prepares_new_values_before_they_replace_the_old(
    owners: tuple[object, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text that is redacted meanwhile does not wait, and the old values are still hidden."""
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


def test_only_new_values_are_encoded(
    owners: tuple[object, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of a rotation does not depend on the number of old values that stay hidden."""
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


def test_the_encoded_forms_of_an_unregistered_value_are_removed(
    owners: tuple[object, object],
) -> None:
    """A value that is registered again is encoded again."""
    registry.register(owners[0], [Secret("A", TEXT), Secret("B", OTHER)], at_once=True)
    registry.register(owners[0], [Secret("B", OTHER)], at_once=True)
    assert Secret("A", TEXT) not in registry._forms_of()  # noqa: SLF001  (what is kept)
    assert Secret("B", OTHER) in registry._forms_of()  # noqa: SLF001  (what is kept)
    registry.register(owners[0], [Secret("A", TEXT)], at_once=True)
    assert redact([TEXT, OTHER]) == [MASK, OTHER]
    registry.unregister(owners[0])
    assert Secret("A", TEXT) not in registry._forms_of()  # noqa: SLF001  (what is kept)


def test_at_once_without_values_is_allowed(owners: tuple[object, object]) -> None:
    """Without a value nothing is prepared."""
    owner, _ = owners
    registry.register(owner, [], at_once=True)
    assert redact(TEXT) is TEXT


def test_a_value_of_two_owners_stays_hidden_until_both_unregister_it(
    owners: tuple[object, object],
) -> None:
    """The end of one application does not show a value of another."""
    one, two = owners
    registry.register(one, [Secret("A", TEXT)])
    registry.register(two, [Secret("B", TEXT), Secret("C", OTHER)])

    registry.unregister(one)
    assert redact([TEXT, OTHER]) == [MASK, MASK]
    registry.unregister(two)
    assert redact([TEXT, OTHER]) == [TEXT, OTHER]


def test_an_owner_unregisters_only_its_own_values(owners: tuple[object, object]) -> None:
    """The values of other applications stay hidden."""
    one, two = owners
    registry.register(one, [Secret("A", TEXT)])
    registry.register(two, [Secret("B", OTHER)])

    registry.unregister(one)

    assert redact([TEXT, OTHER]) == [TEXT, MASK]


def test_a_second_registration_replaces_the_values_of_an_owner(
    owners: tuple[object, object],
) -> None:
    """An owner registers all of its values each time."""
    owner, _ = owners
    registry.register(owner, [Secret("A", TEXT)])
    registry.register(owner, [Secret("A", OTHER)])
    assert redact(f"{TEXT}, {OTHER}") == f"{TEXT}, {MASK}"
    registry.register(owner, [Secret("A", TEXT), Secret("A", OTHER)])
    assert redact(f"{TEXT}, {OTHER}") == f"{MASK}, {MASK}"
    registry.unregister(owner)
    assert redact(f"{TEXT}, {OTHER}") == f"{TEXT}, {OTHER}"


def test_equal_owners_are_different_owners() -> None:
    """Owners are compared by identity."""
    one, two = [0], [0]
    registry.register(one, [Secret("A", TEXT)])
    registry.register(two, [Secret("A", TEXT)])

    registry.unregister(one)
    after_one = redact(TEXT)
    registry.unregister(two)

    assert (after_one, redact(TEXT)) == (MASK, TEXT)


def test_an_unknown_owner_and_an_owner_without_values_are_allowed(
    owners: tuple[object, object],
) -> None:
    """Neither raises, and nothing is hidden."""
    one, two = owners
    registry.unregister(one)
    registry.register(two, [])

    assert redact(TEXT) is TEXT


def test_values_may_come_from_a_generator(owners: tuple[object, object]) -> None:
    """The generator is read once, and its values are hidden in every text."""
    registry.register(owners[0], (Secret("A", value) for value in (TEXT, OTHER)))

    for _ in range(2):
        assert redact(f"{TEXT} {OTHER}") == f"{MASK} {MASK}"


def test_an_event_of_an_error_tracker_is_redacted(owners: tuple[object, object]) -> None:
    """Only values change in dicts, lists, tuples, sets, text and bytes."""
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
def test_any_bytes_are_hidden_in_bytes(value: bytes) -> None:
    """Neither the value nor the text around it has to be text in any encoding."""
    owner = object()
    registry.register(owner, [SecretBytes("KEYSTORE", value)])
    try:
        told = redact({"body": b"\x00\xff<" + value + b">\xff"})
    finally:
        registry.unregister(owner)

    assert value not in told["body"]
    assert MASK.encode() in told["body"]


def test_a_short_value_is_not_hidden_in_logs(owners: tuple[object, object]) -> None:
    """A value that is a common word would make every line unreadable."""
    for value in ("fake-16", "true", "  fake-16  \n", ""):
        with case(value):
            registry.register(owners[0], [Secret("A", value)])
            text = "is it true that fake-16 is only a word?"

            assert redact(text) is text


def test_redact_takes_no_lock(owners: tuple[object, object]) -> None:
    """A log line does not wait for a registration in another thread."""
    registry.register(owners[0], [Secret("A", TEXT)])

    with ThreadPoolExecutor(1) as thread, registry.lock():
        assert thread.submit(redact, TEXT).result(timeout=60) == MASK


def test_no_value_is_reachable_from_the_module(owners: tuple[object, object]) -> None:
    """No attribute or item of the matcher and the module leads to a value."""
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


def test_a_child_forked_during_a_registration_can_register_values() -> None:
    """The child does not hang at the lock of its parent, and hides the inherited values."""
    child = run_child(FORKED)

    assert child.stdout.splitlines() == [
        f"{MASK} {MASK} fake-jwt-secret-0123456789 fake-inherited-0123",
        f"{MASK} 0",
    ], child.stderr


def test_a_report_hides_values_of_any_length() -> None:
    """A message about a value hides it, even if it has one character."""
    assert scrub("expected a number, got abc: 'abc'", ["abc"]) == (
        f"expected a number, got {MASK}: '{MASK}'"
    )
    assert scrub("7 is odd", ["7"]) == f"{MASK} is odd"
    assert scrub("7 is odd", [b"7"]) == f"{MASK} is odd"


def test_a_report_hides_a_word_inside_a_longer_one() -> None:
    """A log does not hide a value inside a longer word; the report about this value does."""
    assert scrub("invalid postgres: 'postgresql'", ["postgres"]) == f"invalid {MASK}: '{MASK}ql'"


def test_a_report_without_a_value_is_returned_itself() -> None:
    """A message that contains no value is not changed."""
    text = "expected 32 characters, got 7"

    assert scrub(text, [TEXT]) is text
    assert scrub(text, [""]) is text
    assert scrub(text, []) is text


def test_a_report_hides_each_of_several_values() -> None:
    """Every value is hidden at every place, of text and of bytes."""
    values: list[str | bytes] = [TEXT, OTHER.encode()]

    assert scrub(f"{TEXT}, {OTHER}, {TEXT}", iter(values)) == (f"{MASK}, {MASK}, {MASK}")


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_characters="*"), min_size=1).filter(str.strip),
    st.text(),
    st.text(),
)
def test_no_report_contains_its_value(value: str, before: str, after: str) -> None:
    """The value is hidden whatever text is around it."""
    shown = scrub(before + value + after, [value])

    assert MASK in shown
    assert value not in shown


def test_a_report_is_redacted_without_a_registration() -> None:
    """The values are hidden only in this report."""
    assert registry.matcher is None
    assert scrub(TEXT, [TEXT]) == MASK
    assert registry.matcher is None
    assert redact(TEXT) is TEXT
