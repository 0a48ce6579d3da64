"""The live object: always the current value, one generation at a time."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hive_boot import Secret, SecretBytes, SecretSet, secret
from hive_boot.secrets.findings import Findings
from hive_boot.secrets.profile import Profile
from hive_boot.secrets.status import describe
from hive_boot.secrets.store import Store
from tests.support import look

PROFILES: tuple[Profile, ...] = ("development", "test", "staging", "production")


class Pair(SecretSet):
    """A key and a certificate that belong together, and a third that may be absent."""

    key: Secret = secret(used_by="TLS", previous="KEY_BEFORE")
    certificate: SecretBytes = secret(name="CRT")
    sentry_dsn: Secret | None


def loaded_pair(root: Path, number: int, **more: str) -> Findings:
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
    """Whether a secret is required is told for the profile that is asked for."""

    class Strict(SecretSet):
        """A secret that only production needs."""

        jwt_secret: Secret | None = secret(required_in="production")

    store = Store(Strict)
    store.accept(look(Strict, tmp_path, {"JWT_SECRET": "fake-secret"}))
    required = {profile: describe(store, profile)[0].required for profile in PROFILES}
    assert required == {"development": False, "test": False, "staging": True, "production": True}


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_threads")
def test_a_reader_never_sees_a_mixture(tmp_path: Path) -> None:
    """While sets are accepted, a reader sees one set or the next, never parts of two."""
    sets = [loaded_pair(tmp_path, number) for number in range(2)]
    store = Store(Pair)
    store.accept(sets[0])
    stop = threading.Event()
    mixtures: list[tuple[object, object]] = []
    reads: list[int] = []

    def read() -> None:
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

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(3000):
        store.accept(sets[number % 2])
    stop.set()
    for reader in readers:
        reader.join()
    assert min(reads) > 0
    assert mixtures == []
