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


EVERY = (*HANDLED, signal.SIGHUP)


def in_place() -> dict[int, object]:
    """Give the handlers that are in place."""
    return {number: signal.getsignal(number) for number in EVERY}


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[int, object]]:
    """Give the handlers that are in place, and see that a test leaves them so."""
    before = in_place()
    yield before
    assert in_place() == before


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
            seen.append(in_place())
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


# The hang-up

HUNG_UP = """
import os, signal, sys
from hive_boot.lifecycle.signals import Latch

os.setsid()
{before}
heard = []
with Latch() as latch:
    {body}
    print(heard, latch.pulled)
print(signal.getsignal(signal.SIGHUP) is {after})
"""

HANG_UP = "signal.raise_signal(signal.SIGHUP)"
LISTEN = "latch.notify_reload(lambda: heard.append('reload'))"
WAIT = "latch.notify(lambda: heard.append('stop'))"

TERMINAL = """
master, slave = os.openpty()
# What a session without a terminal opens first becomes its controlling one.
os.open(os.ttyname(slave), os.O_RDWR)
"""


def hung_up(*body: str, before: str = "", after: str = "signal.SIG_DFL") -> str:
    """Give what a process prints that is the first one of a session, so that it has no terminal."""
    source = HUNG_UP.format(before=before, body="; ".join(body), after=after)
    child = run_child(source)
    assert child.returncode == 0, child.stderr
    told, _, as_before = child.stdout.rstrip().rpartition("\n")
    assert as_before == "True"
    return told


def test_a_hang_up_asks_for_a_reload() -> None:
    """A daemon is told to read its secrets again by each SIGHUP, and does not stop."""
    assert hung_up(WAIT, LISTEN, HANG_UP, HANG_UP) == "['reload', 'reload'] None"


def test_a_hang_up_from_before_is_not_lost() -> None:
    """One that came before anybody could reload is told as soon as somebody can."""
    assert hung_up(HANG_UP, HANG_UP, LISTEN) == "['reload'] None"


def test_who_reloads_no_more_is_not_told_of_a_hang_up() -> None:
    """A loop that has ended is not called by a late SIGHUP, which ends nothing either."""
    assert hung_up(WAIT, LISTEN, "latch.forget()", HANG_UP) == "[] None"


def test_a_hang_up_of_the_terminal_is_a_stop() -> None:
    """With a controlling terminal SIGHUP says that it is gone: an orderly stop."""
    told = hung_up(WAIT, LISTEN, HANG_UP, before=TERMINAL)
    assert told == f"['stop'] {signal.SIGHUP}"


def test_a_stop_after_the_hang_up_of_the_terminal_is_the_second_signal() -> None:
    """Who stops because the terminal is gone can be hurried like anybody else."""
    raised = "signal.raise_signal(signal.SIGTERM)"
    child = run_child(HUNG_UP.format(before=TERMINAL, body=f"{HANG_UP}; {raised}", after=None))
    assert (child.returncode, child.stdout) == (143, "")


def test_who_was_told_to_ignore_a_hang_up_goes_on_to_ignore_it() -> None:
    """What nohup started is not reloaded, nor stopped, by the end of its terminal."""
    ignored = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    for terminal in ("", TERMINAL):
        before = f"{ignored}\n{terminal}"
        told = hung_up(WAIT, LISTEN, HANG_UP, before=before, after="signal.SIG_IGN")
        assert told == "[] None"


def test_the_handler_of_a_hang_up_is_put_back() -> None:
    """Whoever handled it before handles it again."""
    before = "def handle(*_): heard.append('before')\nsignal.signal(signal.SIGHUP, handle)"
    assert hung_up(LISTEN, HANG_UP, before=before, after="handle") == "['reload'] None"


FORKED = """
import os, signal
from hive_boot.lifecycle.signals import Latch

os.setsid()
with Latch() as latch:
    latch.notify_reload(lambda: print("the child's"))
    pid = os.fork()
    if not pid:
        os.kill(os.getpid(), signal.{number})
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), latch.pulled)
"""


@pytest.mark.parametrize("number", EVERY)
def test_a_forked_child_is_not_ours(number: signal.Signals) -> None:
    """A signal does to a child what it did before, and says nothing to its parent."""
    child = run_child(FORKED.format(number=number.name))
    assert child.stdout == f"{-number} None\n", child.stderr


# The last word

FORCED = """
import os, signal, sys, time
from hive_boot.lifecycle.signals import Latch

with Latch() as latch:
    {before}
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
"""


def last_word(before: str = "") -> str:
    """Give what a process writes to stderr that is forced to end."""
    child = run_child(FORCED.format(before=before))
    assert (child.returncode, child.stdout) == (130, "")
    return child.stderr


def test_the_second_signal_says_what_it_has_broken_off() -> None:
    """Whoever reads the log sees which signal it was, and where the application stood."""
    told = last_word("latch.notify_force(lambda: 'draining')")
    assert told == "hive_boot: a second signal, SIGINT, while draining: forced\n"


def test_the_second_signal_has_a_word_before_there_is_a_run() -> None:
    """From the first line on it is armed, also when nobody can be asked yet."""
    assert last_word() == "hive_boot: a second signal, SIGINT, while armed: forced\n"


def test_a_third_signal_changes_nothing() -> None:
    """Whoever presses once more while the last word is found gets that word, and once."""
    before = """def find():
        signal.raise_signal(signal.SIGINT)
        return 'stopping'
    latch.notify_force(find)"""
    told = last_word(before)
    assert told == "hive_boot: a second signal, SIGINT, while stopping: forced\n"


FULL = "r, w = os.pipe(); os.set_blocking(w, False)\n    "
FULL += (
    "try:\n        while True: os.write(w, bytes(65536))\n    except BlockingIOError: pass\n    "
)
FULL += "os.set_blocking(w, True); os.dup2(w, 2)"


@pytest.mark.parametrize("stderr", [FULL, "os.close(2)"], ids=["full", "closed"])
def test_a_stderr_that_takes_nothing_holds_up_nobody(stderr: str) -> None:
    """A full pipe that nobody reads, or none at all: the process is gone with its status."""
    assert last_word(stderr) == ""


# The signal to oneself

TOLD = """
import logging, signal
from hive_boot.lifecycle.signals import terminate

logging.basicConfig(format="%(levelname)s %(message)s")
{before}
terminate()
print("still here", flush=True)
"""


def test_a_server_around_us_is_asked_to_end() -> None:
    """It gets the signal that it would get from outside."""
    before = "signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))"
    child = run_child(TOLD.format(before=before))
    assert (child.returncode, child.stdout, child.stderr) == (0, "asked\nstill here\n", "")


@pytest.mark.parametrize("handler", ["SIG_DFL", "SIG_IGN"])
def test_where_nobody_listens_nobody_is_killed(handler: str) -> None:
    """In a test's client, which handles no signal, the process lives, and the log says why."""
    child = run_child(TOLD.format(before=f"signal.signal(signal.SIGTERM, signal.{handler})"))
    assert (child.returncode, child.stdout) == (0, "still here\n")
    assert child.stderr == (
        "ERROR Nobody here handles SIGTERM: the server goes on, and is not ready\n"
    )
