"""The latch: what one signal does, what the second one does, and what is left behind."""

import signal
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from hive_boot.lifecycle.signals import HANDLED, Latch
from tests.support import run_child

LATCHED = """
import os, signal, time
from hive_boot.lifecycle.signals import Latch

with Latch() as latch:
    signal.raise_signal(signal.{first})
    {between}
    signal.raise_signal(signal.{second})
    print("still here, after", latch.pulled)
"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[int, object]]:
    """Give the handlers that are in place, and see that a test leaves them so."""
    before: dict[int, object] = {number: signal.getsignal(number) for number in HANDLED}
    yield before
    assert {number: signal.getsignal(number) for number in HANDLED} == before


@pytest.mark.parametrize("number", HANDLED)
def test_the_first_signal_is_caught_and_remembered(number: signal.Signals) -> None:
    """SIGTERM and SIGINT do nothing by themselves but to be known."""
    with Latch() as latch:
        assert latch.pulled is None
        signal.raise_signal(number)
        assert latch.pulled == number


def test_the_first_signal_wakes_who_asked_for_it() -> None:
    """Whoever waits for the signal hears of it when it comes."""
    heard: list[str] = []
    with Latch() as latch:
        latch.notify(lambda: heard.append("woken"))
        assert heard == []
        signal.raise_signal(signal.SIGTERM)
        assert heard == ["woken"]


def test_a_signal_from_before_is_not_lost() -> None:
    """A signal that came before anybody waited for it is told at once."""
    heard: list[str] = []
    with Latch() as latch:
        signal.raise_signal(signal.SIGINT)
        latch.notify(lambda: heard.append("woken"))
        assert heard == ["woken"]


def test_who_waits_no_more_is_not_woken() -> None:
    """A loop that has ended is not called by a late signal; the signal is known all the same."""
    heard: list[str] = []
    with Latch() as latch:
        latch.notify(lambda: heard.append("woken"))
        latch.forget()
        signal.raise_signal(signal.SIGTERM)
        assert latch.pulled == signal.SIGTERM
    assert heard == []


def test_handlers_are_put_back() -> None:
    """What handled the signals before handles them afterwards, also after an error."""
    calls: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: calls.append(number))
    try:
        with suppress(ValueError), Latch():
            signal.raise_signal(signal.SIGTERM)
            assert calls == []
            raise ValueError
        signal.raise_signal(signal.SIGTERM)
        assert calls == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_thread_leaves_the_signals_alone(handlers: dict[int, object]) -> None:
    """Outside the main thread no handler is set, because Python would refuse it there."""
    seen: list[dict[int, object]] = []

    def work() -> None:
        with Latch() as latch:
            seen.append({number: signal.getsignal(number) for number in HANDLED})
            assert latch.pulled is None

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [handlers]


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [("SIGTERM", "SIGINT", 130), ("SIGINT", "SIGTERM", 143)],
)
def test_another_signal_ends_the_process_at_once(first: str, second: str, code: int) -> None:
    """The second signal is obeyed without a word when it is not the first one again."""
    child = run_child(LATCHED.format(first=first, second=second, between=""))
    assert (child.returncode, child.stdout) == (code, "")


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_the_same_signal_later_ends_the_process_at_once(number: str, code: int) -> None:
    """A person who presses Ctrl-C again after a moment means it."""
    between = "time.sleep(0.15)"
    child = run_child(LATCHED.format(first=number, second=number, between=between))
    assert (child.returncode, child.stdout) == (code, "")


def test_a_repeat_at_once_is_the_same_signal() -> None:
    """A signal that a parent forwards in the same moment does not force the end."""
    source = LATCHED.format(first="SIGTERM", second="SIGTERM", between="")
    # A machine that is busy may put more than 100 ms between the two: it gets more tries.
    assert any(run_child(source).stdout == "still here, after 15\n" for _ in range(3))
