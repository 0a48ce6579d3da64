"""Switches with a rebuild between the plan and the commit, which takes some time."""

from pathlib import Path

import pytest

from hive_boot import Secret, SecretSet, secret
from hive_boot.secrets.store import Store
from tests.support import look


class Delayed(SecretSet):
    """A key with an activation delay and one without; the old ones are accepted for a minute."""

    at_once: Secret = secret(accept_old_for=60)
    later: Secret = secret(activate_after=10, accept_old_for=60)


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


@pytest.fixture
def store(clock: Clock, tmp_path: Path) -> Store[Delayed]:
    """Return a store with the first generation."""
    store = Store(Delayed, clock)
    store.accept(look(Delayed, tmp_path, values(1)))
    return store


def values(number: int) -> dict[str, str]:
    """Return the environment of a generation."""
    names = dict.fromkeys(("AT_ONCE", "LATER"), f"fake-{number}")
    return {"HIVE_BOOT_MODE": "environment", **names}


def accepted(store: Store[Delayed], attribute: str) -> list[str]:
    """Return the numbers of the accepted values."""
    return [str(each.reveal())[-1] for each in store.accepted(attribute)]


def test_an_old_value_is_accepted_from_the_switch_on(
    store: Store[Delayed], clock: Clock, tmp_path: Path
) -> None:
    """Not from the plan: during the rebuild it is the value in use."""
    clock.now += 1
    switch = store.plan_acceptance(look(Delayed, tmp_path, values(2)))
    clock.now += 50
    with store.candidate(switch) as view:
        assert accepted(store, "at_once") == ["2", "1"]
    store.commit(switch, view)
    clock.now += 59
    store.advance()
    assert accepted(store, "at_once") == ["2", "1"]
    clock.now += 2
    store.advance()
    assert accepted(store, "at_once") == ["2"]


def test_an_old_value_is_accepted_from_the_activation_on(
    store: Store[Delayed], clock: Clock, tmp_path: Path
) -> None:
    """Neither a rebuild that has failed nor one that takes long shortens the time."""
    store.accept(look(Delayed, tmp_path, values(2)))
    clock.now += 10
    store.plan_activation()
    clock.now += 30
    store.postpone(100)
    assert accepted(store, "later") == ["1", "2"]
    clock.now += 100
    switch = store.plan_activation()
    assert switch.change is not None
    clock.now += 20
    with store.candidate(switch) as view:
        pass
    assert accepted(store, "later") == ["1", "2"]
    store.commit(switch, view)
    clock.now += 59
    store.advance()
    assert accepted(store, "later") == ["2", "1"]
    clock.now += 2
    store.advance()
    assert accepted(store, "later") == ["2"]
