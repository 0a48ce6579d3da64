"""Store of accepted sets: live object, generations, pending and accepted values, versions."""

import math
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot import Change, Secret, SecretBytes, SecretSet, secret
from hive_boot.runtime.status import describe
from hive_boot.secrets.load_result import LoadResult
from hive_boot.secrets.store import Store
from tests.fixtures.cases import case, empty_machines
from tests.fixtures.threads import readers
from tests.support import look

if TYPE_CHECKING:
    from hive_boot.secrets.fields import Profile

PROFILES: "tuple[Profile, ...]" = ("development", "test", "staging", "production")


class Pair(SecretSet):
    """A key and a certificate that belong together, and an optional secret."""

    key: Secret = secret(used_by="TLS", previous="KEY_BEFORE")
    certificate: SecretBytes = secret(name="CRT")
    sentry_dsn: Secret | None


def loaded_pair(root: Path, number: int, **more: str) -> LoadResult:
    """Load a pair whose values contain a number."""
    environ = {"HIVE_BOOT_MODE": "environment", "KEY": f"fake-{number}", "CRT": f"fake-{number}"}
    return look(Pair, root, environ | more)


def test_the_live_object_has_the_newest_values(tmp_path: Path) -> None:
    """The store has one live object, whose attributes are always the current values."""
    store = Store(Pair)
    view = store.view
    store.accept(loaded_pair(tmp_path, 1))
    assert (view.key.reveal(), view.certificate.reveal()) == ("fake-1", b"fake-1")
    assert view.sentry_dsn is None
    store.accept(loaded_pair(tmp_path, 2, SENTRY_DSN="fake-dsn"))
    assert store.view is view
    assert (view.key.reveal(), view.certificate.reveal()) == ("fake-2", b"fake-2")
    dsn: Secret | None = store.view.sentry_dsn
    assert dsn == Secret("SENTRY_DSN", "fake-dsn")
    assert isinstance(view, Pair)


def test_current_pins_one_generation(tmp_path: Path) -> None:
    """The object of `.current` keeps its values when other sets are accepted."""
    store = Store(Pair)
    store.accept(loaded_pair(tmp_path, 1, SENTRY_DSN="fake-dsn"))
    pinned = store.view.current
    assert isinstance(pinned, Pair)
    assert store.view.current is pinned
    store.accept(loaded_pair(tmp_path, 2))
    assert (pinned.key.reveal(), pinned.certificate.reveal()) == ("fake-1", b"fake-1")
    assert pinned.sentry_dsn is not None
    assert pinned.current is pinned
    assert store.view.current is not pinned
    assert store.view.current.key.reveal() == "fake-2"


def test_generations_are_counted(tmp_path: Path) -> None:
    """The first accepted set has number 1, and each further set the next number."""
    store = Store(Pair)
    numbers = []
    for number in range(3):
        store.accept(loaded_pair(tmp_path, number))
        numbers.append(store.generation.number)
    assert numbers == [1, 2, 3]


def test_the_accepted_values_are_the_current_and_the_previous_one(tmp_path: Path) -> None:
    """The current value comes first, then that of `previous=` if it exists."""
    store = Store(Pair)
    store.accept(loaded_pair(tmp_path, 2))
    assert [each.reveal() for each in store.accepted("key")] == ["fake-2"]
    store.accept(loaded_pair(tmp_path, 2, KEY_BEFORE="fake-1"))
    assert [each.reveal() for each in store.accepted("key")] == ["fake-2", "fake-1"]
    assert [each.reveal() for each in store.accepted("certificate")] == [b"fake-2"]
    assert store.accepted("sentry_dsn") == ()


def test_the_status_describes_each_secret_without_its_value(tmp_path: Path) -> None:
    """The status has the name, the source and the age of each declared secret, in order."""
    store = Store(Pair)
    store.accept(loaded_pair(tmp_path, 1))
    store.accept(loaded_pair(tmp_path, 2, KEY_BEFORE="fake-1"))
    before = time.monotonic() - store.generation.since
    key, certificate, dsn = describe(store, "production")
    assert (key.name, key.attribute, key.used_by) == ("KEY", "key", "TLS")
    assert (key.present, key.required, key.source, key.place) == (True, True, "environment", "KEY")
    assert (certificate.name, certificate.attribute) == ("CRT", "certificate")
    assert (dsn.present, dsn.required, dsn.source, dsn.place) == (False, False, "", "")
    assert [each.generation for each in (key, certificate, dsn)] == [2, 2, 1]
    assert before <= key.age <= time.monotonic() - store.generation.since
    assert "fake-" not in repr((key, certificate, dsn))


def test_the_repr_of_a_store_shows_no_value(tmp_path: Path) -> None:
    """No `repr` of the store, a generation or the live object contains a value."""
    store = Store(Pair)
    store.accept(loaded_pair(tmp_path, 1))
    shown = repr((store, store.generation, store.view, vars(store.view), store.view.current))
    assert "fake-" not in shown
    assert "Secret('KEY', '***')" in shown


def test_the_status_shows_whether_the_profile_requires_a_secret(tmp_path: Path) -> None:
    """A secret with `required_in="production"` is required in staging too."""

    class Strict(SecretSet):
        """A secret that only production needs."""

        jwt_secret: Secret | None = secret(required_in="production")

    store = Store(Strict)
    store.accept(look(Strict, tmp_path, {"JWT_SECRET": "fake-secret"}))
    required = {profile: describe(store, profile)[0].required for profile in PROFILES}
    assert required == {"development": False, "test": False, "staging": True, "production": True}


def test_a_thread_never_reads_values_of_two_sets(tmp_path: Path) -> None:
    """While sets are accepted, a reader gets the values of one set only."""
    sets = [loaded_pair(tmp_path, number) for number in range(2)]
    store = Store(Pair)
    store.accept(sets[0])
    mixtures: list[tuple[object, object]] = []
    reads: list[int] = []

    def read(stop: threading.Event) -> None:
        count = 0
        while not stop.is_set():
            pinned = store.view.current
            live = dict(vars(store.view))
            for key, certificate in (
                (pinned.key, pinned.certificate),
                (live["key"], live["certificate"]),
            ):
                if key.reveal().encode() != certificate.reveal():
                    mixtures.append((key, certificate))
            count += 1
        reads.append(count)

    with readers(read):
        for number in range(3000):
            store.accept(sets[number % 2])
    assert min(reads) > 0
    assert mixtures == []


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Fleet(SecretSet):
    """Secrets with and without `activate_after` and `accept_old_for`."""

    key: Secret = secret(activate_after=10, accept_old_for=100, previous="KEY_BEFORE")
    api_key: Secret | None
    slow: Secret | None = secret(activate_after=20, accept_old_for=5)


ENDS = math.inf
"""`next_due` if nothing is pending and nothing expires."""


class Process:
    """A store with a clock that a test sets. A value is identified by its last letter."""

    def __init__(self, root: Path, **values: str) -> None:
        self.root = root
        self.clock = Clock()
        self.store = Store(Fleet, self.clock)
        self.store.accept(self.loaded(**values))
        self.clock.now += 1

    def loaded(self, **values: str) -> LoadResult:
        """Load a set of the given values."""
        fakes = {name.upper(): f"fake-value-{value}" for name, value in values.items()}
        return look(Fleet, self.root, {"HIVE_BOOT_MODE": "environment", **fakes})

    def rotate(self, *, now: bool = False, **values: str) -> Change | None:
        """Accept a set of the given values."""
        return self.store.accept(self.loaded(**values), now=now)

    def at(self, seconds: float) -> Change | None:
        """Set the clock, in seconds from the start, and activate what is due."""
        self.clock.now = 1001 + seconds
        return self.store.advance()

    def used(self, attribute: str = "key") -> str:
        """Return the value in use; a dash without one."""
        value = getattr(self.store.view, attribute)
        return "-" if value is None else str(value.reveal()[-1])

    def accepted(self, attribute: str = "key") -> str:
        """Return the values that are accepted, in order."""
        return "".join(str(value.reveal())[-1] for value in self.store.accepted(attribute))

    @property
    def due(self) -> float:
        """Time of the next activation or expiry, in seconds from the start."""
        return self.store.next_due - 1001


def as_text(change: Change | None) -> dict[str, str]:
    """Return each field of a change, as ``old>new``."""
    assert change is not None
    assert tuple(change.old) == tuple(change.new) == change.names

    def last(value: Secret | SecretBytes | None) -> str:
        return "-" if value is None else str(value.reveal())[-1]

    return {name: f"{last(change.old[name])}>{last(change.new[name])}" for name in change.names}


def test_a_value_without_activate_after_is_used_at_once(tmp_path: Path) -> None:
    """Without `accept_old_for` the old value is not accepted any more."""
    process = Process(tmp_path, key="a", api_key="a")
    change = process.rotate(key="a", api_key="b")
    assert as_text(change) == {"api_key": "a>b"}
    assert change is not None
    assert change.generation == 2
    assert (process.used("api_key"), process.accepted("api_key")) == ("b", "b")
    assert process.due == ENDS


def test_the_first_value_is_used_at_once(tmp_path: Path) -> None:
    """At the start a value with `activate_after` is in use, and nothing is pending."""
    process = Process(tmp_path, key="a")
    assert (process.used(), process.accepted(), process.due) == ("a", "a", ENDS)
    assert process.store.due("key") is None
    assert process.at(1_000_000) is None
    assert (process.used(), process.accepted()) == ("a", "a")


def test_a_rotation_follows_activate_after_and_accept_old_for(tmp_path: Path) -> None:
    """A new value is accepted at once and used later; the old value expires after that."""
    process = Process(tmp_path, key="a")
    assert process.rotate(key="b") is None
    assert (process.used(), process.accepted(), process.due) == ("a", "ab", 10)
    assert process.at(9.9) is None
    assert (process.used(), process.accepted()) == ("a", "ab")
    assert as_text(process.at(10)) == {"key": "a>b"}
    assert (process.used(), process.accepted(), process.due) == ("b", "ba", 110)
    assert process.at(109.9) is None
    assert process.accepted() == "ba"
    assert process.at(110) is None
    assert (process.accepted(), process.due) == ("b", ENDS)


def test_an_old_value_expires_without_a_call_of_advance(tmp_path: Path) -> None:
    """`accepted()` compares with the clock, so no code has to run when a value expires."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(10)
    process.clock.now += 100
    assert process.accepted() == "b"


def test_a_value_is_due_until_it_was_activated(tmp_path: Path) -> None:
    """A value whose time has passed stays due, until `advance()` activates it."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.clock.now += 10
    assert process.due == 10
    process.clock.now += 1
    assert process.due <= 11
    assert as_text(process.store.advance()) == {"key": "a>b"}
    assert process.due == 110


def test_the_value_in_use_is_accepted_while_its_successor_is_overdue(tmp_path: Path) -> None:
    """If `advance()` is late, the old value is in use, and therefore still accepted."""
    process = Process(tmp_path, key="a", slow="a")
    process.rotate(key="a", slow="b")
    process.clock.now += 26
    assert (process.used("slow"), process.accepted("slow")) == ("a", "ab")
    assert as_text(process.store.advance()) == {"slow": "a>b"}
    assert process.accepted("slow") == "b"


def test_several_pending_values_are_activated_one_after_another(tmp_path: Path) -> None:
    """Each of several quick rotations has its own `activate_after`; all values are accepted."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(4)
    process.rotate(key="c")
    process.at(8)
    process.rotate(key="d")
    assert (process.used(), process.accepted(), process.due) == ("a", "adcb", 10)
    seen = []
    for moment in (10, 14, 18):
        change = process.at(moment)
        seen.append((moment, as_text(change)["key"], process.accepted(), process.due))
    assert seen == [(10, "a>b", "bdca", 14), (14, "b>c", "cdba", 18), (18, "c>d", "dcba", 110)]
    ends = []
    for moment in (110, 114, 118):
        assert process.at(moment) is None
        ends.append((process.accepted(), process.due))
    assert ends == [("dcb", 114), ("dc", 118), ("d", ENDS)]


def test_a_late_advance_activates_only_the_newest_due_value(tmp_path: Path) -> None:
    """After a long pause there is one change, to the newest value that is due."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(4)
    process.rotate(key="c")
    assert as_text(process.at(50)) == {"key": "a>c"}
    assert process.accepted() == "cba"


def test_a_rotation_that_is_undone_while_it_is_pending_ends_with_the_old_value(
    tmp_path: Path,
) -> None:
    """Both values take effect in turn, and the old value is accepted throughout."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(4)
    assert process.rotate(key="a") is None
    assert (process.used(), process.accepted()) == ("a", "ab")
    assert as_text(process.at(10)) == {"key": "a>b"}
    assert process.accepted() == "ba"
    assert as_text(process.at(14)) == {"key": "b>a"}
    assert process.accepted() == "ab"
    process.at(114)
    assert (process.used(), process.accepted(), process.due) == ("a", "a", ENDS)


def test_an_expired_value_that_returns_is_pending_like_a_new_one(tmp_path: Path) -> None:
    """The first value may come back later, and `activate_after` applies to it again."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(10)
    process.at(200)
    assert process.accepted() == "b"
    process.rotate(key="a")
    assert (process.used(), process.accepted()) == ("b", "ba")
    assert as_text(process.at(210)) == {"key": "b>a"}
    assert process.accepted() == "ab"


def test_two_values_that_alternate_are_stored_once_each(tmp_path: Path) -> None:
    """Many switches between two values within `accept_old_for` do not make a growing list."""
    process = Process(tmp_path, key="a")
    for number in range(1, 40):
        new, old = ("ba", "ab")[number % 2 == 0]
        process.rotate(key=new)
        assert as_text(process.at(10 * number)) == {"key": f"{old}>{new}"}
        assert process.accepted() == new + old
        assert len(process.store.all_accepted_values()) == 3
    process.at(490)
    assert (process.used(), process.accepted(), process.due) == ("b", "b", ENDS)


def test_now_activates_a_new_value_at_once(tmp_path: Path) -> None:
    """With `now=True` a new value is used at once, and `accept_old_for` starts then."""
    process = Process(tmp_path, key="a", slow="a")
    change = process.rotate(now=True, key="b", slow="b")
    assert as_text(change) == {"key": "a>b", "slow": "a>b"}
    assert (process.used(), process.accepted(), process.due) == ("b", "ba", 5)
    process.at(5)
    assert (process.accepted("slow"), process.accepted(), process.due) == ("b", "ba", 100)
    process.at(100)
    assert (process.accepted(), process.due) == ("b", ENDS)


def test_now_activates_pending_values(tmp_path: Path) -> None:
    """`advance(now=True)` activates a pending value without a new set."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(4)
    assert as_text(process.store.advance(now=True)) == {"key": "a>b"}
    assert (process.used(), process.accepted(), process.due) == ("b", "ba", 104)
    assert process.store.advance(now=True) is None
    process.at(104)
    assert (process.accepted(), process.due) == ("b", ENDS)


def test_now_does_not_change_when_an_earlier_value_expires(tmp_path: Path) -> None:
    """A value that was replaced before expires at its time, whatever is activated now."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(10)
    process.at(60)
    process.rotate(key="c", now=True)
    assert (process.accepted(), process.due) == ("cba", 110)
    process.at(110)
    assert (process.accepted(), process.due) == ("cb", 160)


def test_now_activates_only_the_newest_of_several_pending_values(tmp_path: Path) -> None:
    """The newest value is used at once, and the other pending ones never are."""
    machines = empty_machines(tmp_path)
    for has_new_set in (True, False):
        with case(has_new_set):
            root = next(machines)
            process = Process(root, key="a")
            process.rotate(key="b")
            process.at(4)
            if has_new_set:
                change = process.rotate(now=True, key="c")
            else:
                process.rotate(key="c")
                change = process.store.advance(now=True)
            assert as_text(change) == {"key": "a>c"}
            assert (process.used(), process.accepted(), process.due) == ("c", "cba", 104)
            process.at(104)
            assert (process.used(), process.accepted(), process.due) == ("c", "c", ENDS)


def test_an_added_secret_is_used_after_activate_after(tmp_path: Path) -> None:
    """An optional secret that was absent is accepted at once, and present later."""
    process = Process(tmp_path, key="a")
    assert process.rotate(key="a", slow="b") is None
    assert (process.used("slow"), process.accepted("slow"), process.due) == ("-", "b", 20)
    assert as_text(process.at(20)) == {"slow": "->b"}
    assert (process.used("slow"), process.accepted("slow")) == ("b", "b")
    process.at(25)
    assert process.due == ENDS


def test_a_removed_secret_follows_activate_after_and_accept_old_for(tmp_path: Path) -> None:
    """A removed optional secret is used and accepted for a while, like an old value."""
    process = Process(tmp_path, key="a", slow="a")
    assert process.rotate(key="a") is None
    assert (process.used("slow"), process.accepted("slow")) == ("a", "a")
    assert as_text(process.at(20)) == {"slow": "a>-"}
    assert (process.used("slow"), process.accepted("slow")) == ("-", "a")
    process.at(25)
    assert (process.accepted("slow"), process.due) == ("", ENDS)


def test_a_secret_that_is_removed_and_restored_is_accepted_throughout(tmp_path: Path) -> None:
    """With `activate_after` a secret that was absent for a moment stays accepted."""
    process = Process(tmp_path, key="a", slow="a", api_key="a")
    assert as_text(process.rotate(key="a")) == {"api_key": "a>-"}
    process.at(1)
    assert as_text(process.rotate(key="a", slow="a", api_key="a")) == {"api_key": "->a"}
    seen = []
    for moment in (1, 20, 21, 25, 26):
        process.at(moment)
        seen.append(process.used("slow") + process.accepted("slow"))
    assert seen == ["aa", "-a", "aa", "aa", "aa"]
    assert process.due == ENDS


def test_each_field_of_a_rotation_is_activated_at_its_own_time(tmp_path: Path) -> None:
    """A rotation of three fields with different `activate_after` makes three changes."""
    process = Process(tmp_path, key="a", api_key="a", slow="a")
    assert as_text(process.rotate(key="b", api_key="b", slow="b")) == {"api_key": "a>b"}
    assert as_text(process.at(10)) == {"key": "a>b"}
    assert as_text(process.at(20)) == {"slow": "a>b"}
    numbers = [each.generation for each in describe(process.store, "production")]
    assert numbers == [2, 2, 2]


def test_a_change_has_the_generation_of_its_set(tmp_path: Path) -> None:
    """A value that is activated late has the number of its own set, not of a later one."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    other = process.rotate(key="b", api_key="b")
    late = process.at(10)
    assert other is not None
    assert late is not None
    assert (other.generation, late.generation) == (3, 2)


def test_the_status_shows_when_a_value_is_due(tmp_path: Path) -> None:
    """The status has the seconds until the newest value of each secret is activated."""
    process = Process(tmp_path, key="a", slow="a")
    process.rotate(key="b", slow="b")
    process.at(4)
    process.rotate(key="c", slow="b")
    dues = [each.due for each in describe(process.store, "production")]
    assert dues == [10, None, 16]
    process.at(14)
    assert [each.due for each in describe(process.store, "production")] == [None, None, 6]
    process.at(20)
    assert [each.due for each in describe(process.store, "production")] == [None, None, None]


def test_the_status_has_a_removed_secret_until_it_is_out_of_use(tmp_path: Path) -> None:
    """A removed secret is present until `activate_after` is over, and absent then."""
    process = Process(tmp_path, key="a", slow="a")
    process.rotate(key="a")
    *_, slow = describe(process.store, "production")
    assert (slow.present, slow.place, slow.due) == (True, "", 20)
    process.at(20)
    *_, slow = describe(process.store, "production")
    assert (slow.present, slow.generation, slow.due) == (False, 2, None)


def test_the_value_of_previous_is_accepted_last_and_listed_once(tmp_path: Path) -> None:
    """The secret that `previous=` names is always accepted, and no value is listed twice."""
    process = Process(tmp_path, key="a", key_before="z")
    assert process.accepted() == "az"
    assert process.rotate(key="b", key_before="a") is None
    assert process.accepted() == "ab"
    process.at(10)
    assert process.accepted() == "ba"
    process.at(1000)
    assert process.accepted() == "ba"
    assert process.rotate(key="b") is None
    assert (process.accepted(), process.due) == ("b", ENDS)


def test_a_set_of_the_same_values_is_not_a_change(tmp_path: Path) -> None:
    """The pending values and their times stay as they are."""
    process = Process(tmp_path, key="a", slow="a")
    process.rotate(key="b", slow="a")
    process.at(4)
    assert process.rotate(key="b", slow="a") is None
    assert (process.used(), process.accepted(), process.due) == ("a", "ab", 10)


class Numbered(SecretSet):
    """A secret with both options, one with `accept_old_for` only, and one without options."""

    slow: Secret = secret(activate_after=3, accept_old_for=5)
    quick: Secret = secret(accept_old_for=2)
    bare: Secret


def inconsistency(store: Store[Numbered], name: str) -> str:
    """Read one field, and return what is inconsistent; an empty text if it is consistent."""
    before = getattr(store.view, name)
    accepted = store.accepted(name)
    after = getattr(store.view, name)
    # No value is used twice, so a value that was read twice was in use between the reads.
    if before is after and accepted[0] is not before:
        return f"{name}: what is used is not the first of what is accepted"
    if len(accepted) != len(set(accepted)):
        return f"{name}: a value is accepted twice"
    if store.current_period(name).value is None or store.due(name) == 0:
        return f"{name}: its turns are a mixture"
    return ""


def test_the_value_in_use_is_accepted_in_every_thread(tmp_path: Path) -> None:
    """While sets are accepted, the value that a thread reads is an accepted one, listed once."""
    clock = Clock()
    store = Store(Numbered, clock)
    fields = ("slow", "quick", "bare")

    def loaded(number: int) -> LoadResult:
        environ = {name.upper(): f"fake-value-{number:06}" for name in fields}
        return look(Numbered, tmp_path, {"HIVE_BOOT_MODE": "environment", **environ})

    store.accept(loaded(0))
    seen: list[set[str]] = []

    def read(stop: threading.Event) -> None:
        found: set[str] = set()
        while not stop.is_set():
            found.update(inconsistency(store, name) for name in fields)
        seen.append(found)

    with readers(read):
        for number in range(1, 400):
            store.accept(loaded(number), now=number % 7 == 0)
            clock.now += 1
            store.advance(now=number % 11 == 0)
    assert seen == [{""}, {""}]


class Slow(SecretSet):
    """A key with `activate_after`, `accept_old_for` and `previous`."""

    key: Secret = secret(activate_after=10, accept_old_for=100, previous="KEY_BEFORE")


def test_a_use_is_counted_as_current_pending_or_old(tmp_path: Path) -> None:
    """A value that is due counts as pending until it was activated, whatever the clock shows."""
    now = [0.0]
    store = Store(Slow, clock=lambda: now[0])

    def accept(key: str, **more: str) -> None:
        environ = {"HIVE_BOOT_MODE": "environment", "KEY": key, **more}
        store.accept(look(Slow, tmp_path, environ))

    def uses() -> tuple[int, ...]:
        return tuple(store.use_counter.counts["key"].values())

    accept("fake-a")
    first = store.view.key
    now[0] = 5
    accept("fake-b")
    second = store.accepted("key")[1]
    for moment, expected in ((5, (1, 1, 0)), (16, (2, 2, 0))):
        now[0] = moment
        assert first.matches("fake-a")
        assert second.matches("fake-b")
        assert uses() == expected
    store.advance()
    assert second.matches("fake-b")
    assert uses() == (3, 2, 0)
    assert store.use_counter.last_old == {"key": 16}
    now[0] = 50
    assert first.matches("fake-a")
    assert (uses(), store.use_counter.last_old) == ((3, 2, 1), {"key": 50})
    accept("fake-c", KEY_BEFORE="fake-b")
    accept("fake-b", KEY_BEFORE="fake-c")
    assert second.matches("fake-b")
    assert uses() == (4, 2, 1)
    now[0] = 1000
    for value in store.accepted("key"):
        assert value.matches(value.reveal())
    assert (uses(), store.use_counter.last_old) == ((5, 2, 2), {"key": 1000})


class Versioned(SecretSet, version="v"):
    """A key with `activate_after`, and a secret without it."""

    key: Secret = secret(activate_after=10)
    other: Secret


def test_the_version_in_use_is_that_of_the_values_in_use(tmp_path: Path) -> None:
    """Several sets may be pending; a mixture of the values of two sets has no version."""
    now = [0.0]
    store = Store(Versioned, clock=lambda: now[0])

    def accept(key: str, other: str, version: str) -> None:
        environ = {"HIVE_BOOT_MODE": "environment", "KEY": key, "OTHER": other, "V": version}
        store.accept(store.identify(look(Versioned, tmp_path, environ)))

    assert store.versions == ("", "")
    accept("fake-a", "fake-other", "v1")
    assert store.versions == ("v1", "v1")
    now[0] = 5
    accept("fake-b", "fake-other", "v2")
    now[0] = 8
    accept("fake-c", "fake-other", "v3")
    assert store.versions == ("v3", "v1")
    for moment, version in ((14, "v1"), (16, "v2"), (17, "v2"), (19, "v3")):
        now[0] = moment
        store.advance()
        assert store.versions == ("v3", version)
    now[0] = 20
    accept("fake-d", "fake-another", "v4")
    assert store.versions == ("v4", "")
    for number in range(40):
        accept("fake-d", f"fake-{number}", f"v4.{number}")
        assert store.versions == (f"v4.{number}", "")
    now[0] = 31
    store.advance()
    assert store.versions == ("v4.39", "v4.39")
    accept("fake-e", f"fake-{39}", "v4.39")
    assert store.versions == ("", "v4.39")
    now[0] = 42
    store.advance()
    assert store.versions == ("", "")
