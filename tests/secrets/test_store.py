"""The live object: always the current value, one generation at a time."""

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
    """A key and a certificate that belong together, and a third that may be absent."""

    key: Secret = secret(used_by="TLS", previous="KEY_BEFORE")
    certificate: SecretBytes = secret(name="CRT")
    sentry_dsn: Secret | None


def loaded_pair(root: Path, number: int, **more: str) -> LoadResult:
    """Load the pair of one number."""
    environ = {"HIVE_BOOT_MODE": "environment", "KEY": f"fake-{number}", "CRT": f"fake-{number}"}
    return look(Pair, root, environ | more)


def test_the_live_object_shows_the_newest(tmp_path: Path) -> None:
    """One object is handed out once, and each of its attributes is always the current value."""
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
    """What ``.current`` gave stays as it was, whatever is accepted later."""
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
    """The first accepted set is number 1, and each that follows is one more."""
    store = Store(Pair)
    numbers = []
    for number in range(3):
        store.accept(loaded_pair(tmp_path, number))
        numbers.append(store.generation.number)
    assert numbers == [1, 2, 3]


def test_accepted_values(tmp_path: Path) -> None:
    """What is valid now is the current value, then the one before it where there is one."""
    store = Store(Pair)
    store.accept(loaded_pair(tmp_path, 2))
    assert [each.reveal() for each in store.accepted("key")] == ["fake-2"]
    store.accept(loaded_pair(tmp_path, 2, KEY_BEFORE="fake-1"))
    assert [each.reveal() for each in store.accepted("key")] == ["fake-2", "fake-1"]
    assert [each.reveal() for each in store.accepted("certificate")] == [b"fake-2"]
    assert store.accepted("sentry_dsn") == ()


def test_status_tells_all_but_the_values(tmp_path: Path) -> None:
    """The status names each declared secret in order, its source and age, and no value."""
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


def test_a_generation_shows_no_value(tmp_path: Path) -> None:
    """What a debugger prints of a store has no value in it."""
    store = Store(Pair)
    store.accept(loaded_pair(tmp_path, 1))
    shown = repr((store, store.generation, store.view, vars(store.view), store.view.current))
    assert "fake-" not in shown
    assert "Secret('KEY', '***')" in shown


def test_status_of_an_optional_one_that_is_required(tmp_path: Path) -> None:
    """The status shows whether a secret is required in the current profile."""

    class Strict(SecretSet):
        """A secret that only production needs."""

        jwt_secret: Secret | None = secret(required_in="production")

    store = Store(Strict)
    store.accept(look(Strict, tmp_path, {"JWT_SECRET": "fake-secret"}))
    required = {profile: describe(store, profile)[0].required for profile in PROFILES}
    assert required == {"development": False, "test": False, "staging": True, "production": True}


def test_a_reader_never_sees_a_mixture(tmp_path: Path) -> None:
    """While sets are accepted, a reader sees one set or the next, never parts of two."""
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
    """What the processes of a fleet sign with, and what they need beside it."""

    key: Secret = secret(activate_after=10, accept_old_for=100, previous="KEY_BEFORE")
    api_key: Secret | None
    slow: Secret | None = secret(activate_after=20, accept_old_for=5)


ENDS = math.inf
"""When nothing is to come."""


class Process:
    """One process of the fleet, and what a test asks it.

    Its sets are accepted by :meth:`rotate`; a value is known by its last letter.
    """

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
        """Go to a moment, in seconds from the start, and put into use what is due."""
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
        """When something is to be done next, in seconds from the start."""
        return self.store.next_due - 1001


def told(change: Change | None) -> dict[str, str]:
    """Return each field of a change, as ``old>new``."""
    assert change is not None
    assert tuple(change.old) == tuple(change.new) == change.names

    def last(value: Secret | SecretBytes | None) -> str:
        return "-" if value is None else str(value.reveal())[-1]

    return {name: f"{last(change.old[name])}>{last(change.new[name])}" for name in change.names}


def test_a_value_without_lead_is_used_at_once(tmp_path: Path) -> None:
    """A plain secret that was rotated is in use when it is accepted, and the old one is gone."""
    process = Process(tmp_path, key="a", api_key="a")
    change = process.rotate(key="a", api_key="b")
    assert told(change) == {"api_key": "a>b"}
    assert change is not None
    assert change.generation == 2
    assert (process.used("api_key"), process.accepted("api_key")) == ("b", "b")
    assert process.due == ENDS


def test_a_first_value_has_no_lead(tmp_path: Path) -> None:
    """A process that starts signs with what is there, and has nothing to wait for."""
    process = Process(tmp_path, key="a")
    assert (process.used(), process.accepted(), process.due) == ("a", "a", ENDS)
    assert process.store.due("key") is None
    assert process.at(1_000_000) is None
    assert (process.used(), process.accepted()) == ("a", "a")


def test_a_rotation_takes_its_lead_and_its_grace(tmp_path: Path) -> None:
    """A new value is accepted at once, in use after its lead; the old one ends after its grace."""
    process = Process(tmp_path, key="a")
    assert process.rotate(key="b") is None
    assert (process.used(), process.accepted(), process.due) == ("a", "ab", 10)
    assert process.at(9.9) is None
    assert (process.used(), process.accepted()) == ("a", "ab")
    assert told(process.at(10)) == {"key": "a>b"}
    assert (process.used(), process.accepted(), process.due) == ("b", "ba", 110)
    assert process.at(109.9) is None
    assert process.accepted() == "ba"
    assert process.at(110) is None
    assert (process.accepted(), process.due) == ("b", ENDS)


def test_a_grace_ends_also_when_nobody_looks(tmp_path: Path) -> None:
    """An old value is refused from its last moment on, whether anything runs then or not."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(10)
    process.clock.now += 100
    assert process.accepted() == "b"


def test_a_value_is_due_until_it_is_used(tmp_path: Path) -> None:
    """A value whose lead ended a moment ago is not slept over: it is still to be put into use."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.clock.now += 10
    assert process.due == 10
    process.clock.now += 1
    assert process.due <= 11
    assert told(process.store.advance()) == {"key": "a>b"}
    assert process.due == 110


def test_the_value_in_use_is_accepted_although_it_is_overdue(tmp_path: Path) -> None:
    """A loop that is late goes on signing with the old value, and accepts its own tokens."""
    process = Process(tmp_path, key="a", slow="a")
    process.rotate(key="a", slow="b")
    process.clock.now += 26
    assert (process.used("slow"), process.accepted("slow")) == ("a", "ab")
    assert told(process.store.advance()) == {"slow": "a>b"}
    assert process.accepted("slow") == "b"


def test_rotations_within_one_lead_follow_one_another(tmp_path: Path) -> None:
    """Each value of a quick series has its own lead and its turn, and all of them are accepted."""
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
        seen.append((moment, told(change)["key"], process.accepted(), process.due))
    assert seen == [(10, "a>b", "bdca", 14), (14, "b>c", "cdba", 18), (18, "c>d", "dcba", 110)]
    ends = []
    for moment in (110, 114, 118):
        assert process.at(moment) is None
        ends.append((process.accepted(), process.due))
    assert ends == [("dcb", 114), ("dc", 118), ("d", ENDS)]


def test_a_process_that_slept_skips_expired_values(tmp_path: Path) -> None:
    """After a long pause the newest value that is due comes into use, in one change."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(4)
    process.rotate(key="c")
    assert told(process.at(50)) == {"key": "a>c"}
    assert process.accepted() == "cba"


def test_a_value_that_is_taken_back_in_time(tmp_path: Path) -> None:
    """A rotation that was undone during its lead ends with the old value, accepted throughout."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(4)
    assert process.rotate(key="a") is None
    assert (process.used(), process.accepted()) == ("a", "ab")
    assert told(process.at(10)) == {"key": "a>b"}
    assert process.accepted() == "ba"
    assert told(process.at(14)) == {"key": "b>a"}
    assert process.accepted() == "ab"
    process.at(114)
    assert (process.used(), process.accepted(), process.due) == ("a", "a", ENDS)


def test_a_return_to_the_old_value_after_its_grace(tmp_path: Path) -> None:
    """The first value may come back long after: it has its lead again."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(10)
    process.at(200)
    assert process.accepted() == "b"
    process.rotate(key="a")
    assert (process.used(), process.accepted()) == ("b", "ba")
    assert told(process.at(210)) == {"key": "b>a"}
    assert process.accepted() == "ab"


def test_two_values_that_alternate_are_kept_once_each(tmp_path: Path) -> None:
    """Who switches there and back for days, within one grace, makes no list that grows."""
    process = Process(tmp_path, key="a")
    for number in range(1, 40):
        new, old = ("ba", "ab")[number % 2 == 0]
        process.rotate(key=new)
        assert told(process.at(10 * number)) == {"key": f"{old}>{new}"}
        assert process.accepted() == new + old
        assert len(process.store.all_accepted_values()) == 3
    process.at(490)
    assert (process.used(), process.accepted(), process.due) == ("b", "b", ENDS)


def test_now_skips_the_lead_of_the_new_value(tmp_path: Path) -> None:
    """When a key has leaked the new one is in use at once, and the grace begins at once."""
    process = Process(tmp_path, key="a", slow="a")
    change = process.rotate(now=True, key="b", slow="b")
    assert told(change) == {"key": "a>b", "slow": "a>b"}
    assert (process.used(), process.accepted(), process.due) == ("b", "ba", 5)
    process.at(5)
    assert (process.accepted("slow"), process.accepted(), process.due) == ("b", "ba", 100)
    process.at(100)
    assert (process.accepted(), process.due) == ("b", ENDS)


def test_now_activates_pending_values(tmp_path: Path) -> None:
    """What waits for its turn comes into use at once, with nothing new to read."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(4)
    assert told(process.store.advance(now=True)) == {"key": "a>b"}
    assert (process.used(), process.accepted(), process.due) == ("b", "ba", 104)
    assert process.store.advance(now=True) is None
    process.at(104)
    assert (process.accepted(), process.due) == ("b", ENDS)


def test_now_leaves_an_old_grace_alone(tmp_path: Path) -> None:
    """What was over before is accepted no longer because something else is hurried."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    process.at(10)
    process.at(60)
    process.rotate(key="c", now=True)
    assert (process.accepted(), process.due) == ("cba", 110)
    process.at(110)
    assert (process.accepted(), process.due) == ("cb", 160)


def test_now_skips_everything_that_waits(tmp_path: Path) -> None:
    """With several values on their way the newest is used at once, and the rest is forgotten."""
    machines = empty_machines(tmp_path)
    for brings in (True, False):
        with case(brings):
            root = next(machines)
            process = Process(root, key="a")
            process.rotate(key="b")
            process.at(4)
            if brings:
                change = process.rotate(now=True, key="c")
            else:
                process.rotate(key="c")
                change = process.store.advance(now=True)
            assert told(change) == {"key": "a>c"}
            assert (process.used(), process.accepted(), process.due) == ("c", "cba", 104)
            process.at(104)
            assert (process.used(), process.accepted(), process.due) == ("c", "c", ENDS)


def test_an_added_secret_takes_its_lead(tmp_path: Path) -> None:
    """An optional secret that was absent is accepted at once, and there after its lead."""
    process = Process(tmp_path, key="a")
    assert process.rotate(key="a", slow="b") is None
    assert (process.used("slow"), process.accepted("slow"), process.due) == ("-", "b", 20)
    assert told(process.at(20)) == {"slow": "->b"}
    assert (process.used("slow"), process.accepted("slow")) == ("b", "b")
    process.at(25)
    assert process.due == ENDS


def test_a_removed_secret_takes_its_lead_and_its_grace(tmp_path: Path) -> None:
    """An optional secret that was removed is used and accepted a while longer, like an old one."""
    process = Process(tmp_path, key="a", slow="a")
    assert process.rotate(key="a") is None
    assert (process.used("slow"), process.accepted("slow")) == ("a", "a")
    assert told(process.at(20)) == {"slow": "a>-"}
    assert (process.used("slow"), process.accepted("slow")) == ("-", "a")
    process.at(25)
    assert (process.accepted("slow"), process.due) == ("", ENDS)


def test_a_removed_secret_that_returns(tmp_path: Path) -> None:
    """A secret that was away for a moment is accepted all the while, where it has a lead."""
    process = Process(tmp_path, key="a", slow="a", api_key="a")
    assert told(process.rotate(key="a")) == {"api_key": "a>-"}
    process.at(1)
    assert told(process.rotate(key="a", slow="a", api_key="a")) == {"api_key": "->a"}
    seen = []
    for moment in (1, 20, 21, 25, 26):
        process.at(moment)
        seen.append(process.used("slow") + process.accepted("slow"))
    assert seen == ["aa", "-a", "aa", "aa", "aa"]
    assert process.due == ENDS


def test_fields_come_into_use_each_by_its_own_lead(tmp_path: Path) -> None:
    """One rotation of three fields is used at three moments; each change has its own names."""
    process = Process(tmp_path, key="a", api_key="a", slow="a")
    assert told(process.rotate(key="b", api_key="b", slow="b")) == {"api_key": "a>b"}
    assert told(process.at(10)) == {"key": "a>b"}
    assert told(process.at(20)) == {"slow": "a>b"}
    numbers = [each.generation for each in describe(process.store, "production")]
    assert numbers == [2, 2, 2]


def test_a_change_names_the_set_that_brought_it(tmp_path: Path) -> None:
    """A value that comes into use late has the number of its own set, not of a later one."""
    process = Process(tmp_path, key="a")
    process.rotate(key="b")
    other = process.rotate(key="b", api_key="b")
    late = process.at(10)
    assert other is not None
    assert late is not None
    assert (other.generation, late.generation) == (3, 2)


def test_the_status_shows_when_a_value_is_due(tmp_path: Path) -> None:
    """The status has the seconds until the newest value of each secret is used."""
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


def test_a_removed_secret_is_present_while_it_is_used(tmp_path: Path) -> None:
    """The status goes on to name a removed secret until its lead is over, then it is absent."""
    process = Process(tmp_path, key="a", slow="a")
    process.rotate(key="a")
    *_, slow = describe(process.store, "production")
    assert (slow.present, slow.place, slow.due) == (True, "", 20)
    process.at(20)
    *_, slow = describe(process.store, "production")
    assert (slow.present, slow.generation, slow.due) == (False, 2, None)


def test_the_previous_value_comes_last_and_once(tmp_path: Path) -> None:
    """What ``previous=`` names is accepted at once and always, and no value is listed twice."""
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


def test_a_set_with_nothing_new_changes_nothing(tmp_path: Path) -> None:
    """A set of the same values is not a change, and moves no deadline."""
    process = Process(tmp_path, key="a", slow="a")
    process.rotate(key="b", slow="a")
    process.at(4)
    assert process.rotate(key="b", slow="a") is None
    assert (process.used(), process.accepted(), process.due) == ("a", "ab", 10)


class Numbered(SecretSet):
    """A secret with a lead, one with a grace alone, and a plain one."""

    slow: Secret = secret(activate_after=3, accept_old_for=5)
    quick: Secret = secret(accept_old_for=2)
    bare: Secret


def misbehaviour(store: Store[Numbered], name: str) -> str:
    """Look at one field as a reader does, and tell what is wrong; nothing when all is well."""
    before = getattr(store.view, name)
    accepted = store.accepted(name)
    after = getattr(store.view, name)
    # No value comes back, so one that is the same at both ends was it all the while.
    if before is after and accepted[0] is not before:
        return f"{name}: what is used is not the first of what is accepted"
    if len(accepted) != len(set(accepted)):
        return f"{name}: a value is accepted twice"
    if store.current_period(name).value is None or store.due(name) == 0:
        return f"{name}: its turns are a mixture"
    return ""


def test_the_value_in_use_is_accepted_in_every_thread(tmp_path: Path) -> None:
    """While sets come and go, a reader's own value is among the accepted, which hold no double."""
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
            found.update(misbehaviour(store, name) for name in fields)
        seen.append(found)

    with readers(read):
        for number in range(1, 400):
            store.accept(loaded(number), now=number % 7 == 0)
            clock.now += 1
            store.advance(now=number % 11 == 0)
    assert seen == [{""}, {""}]


class Slow(SecretSet):
    """A key whose new value waits, and whose old one stays accepted."""

    key: Secret = secret(activate_after=10, accept_old_for=100, previous="KEY_BEFORE")


def test_uses_are_counted_by_what_is_in_use(tmp_path: Path) -> None:
    """Not by the clock: a value that is due stays pending until it was activated."""
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
    assert store.use_counter.last_old == {}
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
    """A key whose new value waits, and one that does not."""

    key: Secret = secret(activate_after=10)
    other: Secret


def test_the_version_in_use_is_that_of_the_set_whose_values_are(tmp_path: Path) -> None:
    """Several sets may wait; values of two sets have no version."""
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
