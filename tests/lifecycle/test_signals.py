"""The signal handler: the first and the second signal, SIGHUP, and restored handlers."""

import signal
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from hive_boot.lifecycle.signals import HANDLED, SignalHandler
from tests.support import run_child

LATCHED = """
import os, signal, time
from hive_boot.lifecycle.signals import SignalHandler

with SignalHandler() as latch:
    signal.raise_signal(signal.{first})
    {between}
    signal.raise_signal(signal.{second})
    print("still here, after", latch.first_signal)
"""


EVERY = (*HANDLED, signal.SIGHUP)


class Target:
    """A target that records its calls."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def stop(self) -> None:
        """Record the call."""
        self.heard.append("stop")

    def reload(self) -> None:
        """Record the call."""
        self.heard.append("reload")

    def mark_forced(self) -> str:
        """Return a state."""
        return "draining"


def in_place() -> dict[int, object]:
    """Return the present handlers."""
    return {number: signal.getsignal(number) for number in EVERY}


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[int, object]]:
    """Yield the present handlers, and assert that a test restores them."""
    before = in_place()
    yield before
    assert in_place() == before


def test_the_first_signal_is_recorded() -> None:
    """SIGTERM and SIGINT are recorded and have no other effect."""
    for number in HANDLED:
        with SignalHandler() as latch:
            assert latch.first_signal is None
            signal.raise_signal(number)
            assert latch.first_signal == number


def test_the_first_signal_stops_the_attached_run() -> None:
    """A signal stops the attached run."""
    target = Target()
    with SignalHandler() as latch:
        latch.attach(target)
        assert target.heard == []
        signal.raise_signal(signal.SIGTERM)
        assert target.heard == ["stop"]


def test_a_signal_before_the_run_stops_it_at_once() -> None:
    """A signal that arrived before a run was attached stops it at once."""
    target = Target()
    with SignalHandler() as latch:
        signal.raise_signal(signal.SIGINT)
        latch.attach(target)
        assert target.heard == ["stop"]


def test_handlers_are_put_back() -> None:
    """The former handlers are restored, also after an error."""
    calls: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: calls.append(number))
    try:
        with suppress(ValueError), SignalHandler():
            signal.raise_signal(signal.SIGTERM)
            assert calls == []
            raise ValueError
        signal.raise_signal(signal.SIGTERM)
        assert calls == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_thread_leaves_the_signals_alone(handlers: dict[int, object]) -> None:
    """In another thread no handler is installed, because Python does not allow it."""
    seen: list[dict[int, object]] = []

    def work() -> None:
        with SignalHandler() as latch:
            seen.append(in_place())
            assert latch.first_signal is None

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [handlers]


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [("SIGTERM", "SIGINT", -2), ("SIGINT", "SIGTERM", 143)],
)
def test_another_signal_ends_the_process_at_once(first: str, second: str, code: int) -> None:
    """A second signal that differs from the first ends the process at once."""
    child = run_child(LATCHED.format(first=first, second=second, between=""))
    assert (child.returncode, child.stdout) == (code, "")


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", -2)])
def test_the_same_signal_later_ends_the_process_at_once(number: str, code: int) -> None:
    """The same signal after a moment is a second signal."""
    between = "time.sleep(0.15)"
    child = run_child(LATCHED.format(first=number, second=number, between=between))
    assert (child.returncode, child.stdout) == (code, "")


def test_a_repeated_signal_within_a_moment_is_ignored() -> None:
    """The same signal within a moment, as a parent process forwards it, is ignored."""
    source = LATCHED.format(first="SIGTERM", second="SIGTERM", between="")
    # A machine that is busy may put more than 100 ms between the two: it gets more tries.
    assert any(run_child(source).stdout == "still here, after 15\n" for _ in range(3))


# The hang-up

HUNG_UP = """
import os, signal, sys
from hive_boot.lifecycle.signals import SignalHandler

os.setsid()

def handle(*_):
    heard.append("before")

def take_terminal():
    global terminal
    terminal = os.openpty()
    # What a session without a terminal opens first becomes its controlling one.
    os.open(os.ttyname(terminal[1]), os.O_RDWR)

def hang_up():
    signal.raise_signal(signal.SIGHUP)

class Target:
    def stop(self):
        heard.append("stop")

    def reload(self):
        heard.append("reload")

def try_out(before, *steps):
    signal.signal(signal.SIGHUP, before)
    heard.clear()
    with SignalHandler() as latch:
        for step in steps:
            if step == "hang up":
                hang_up()
            elif step == "attach":
                latch.attach(Target())
            else:
                signal.raise_signal(signal.SIGTERM)
        print(*heard, latch.first_signal, latch.reload_requested)
    assert signal.getsignal(signal.SIGHUP) is before

heard = []
# Each is tried out in the order of these lines.
{body}
"""


def hung_up(*body: str) -> tuple[int, list[str]]:
    """Return the exit status and the output lines of a session leader."""
    child = run_child(HUNG_UP.format(body="\n".join(body)))
    assert child.returncode in {0, 143}, child.stderr
    return child.returncode, child.stdout.splitlines()


def test_without_a_terminal_sighup_requests_a_reload() -> None:
    """Without a terminal each SIGHUP requests a reload, and does not stop the process."""
    assert hung_up(
        "try_out(signal.SIG_DFL, 'attach', 'hang up', 'hang up')",
        # One that arrived before there was a run is remembered.
        "try_out(signal.SIG_DFL, 'hang up', 'hang up', 'attach')",
        # A process that nohup started ignores it.
        "try_out(signal.SIG_IGN, 'attach', 'hang up')",
        # The former handler is replaced.
        "try_out(handle, 'attach', 'hang up')",
    ) == (0, ["reload reload None True", "None True", "None False", "reload None True"])


def test_with_a_terminal_sighup_starts_a_stop() -> None:
    """SIGHUP from a lost terminal starts a stop; SIGTERM after it is the second signal."""
    assert hung_up(
        "take_terminal()",
        "try_out(signal.SIG_DFL, 'attach', 'hang up')",
        # A process that nohup started is not stopped.
        "try_out(signal.SIG_IGN, 'attach', 'hang up')",
        "try_out(signal.SIG_DFL, 'hang up', 'SIGTERM')",
        "print('goes on')",
    ) == (143, [f"stop {signal.SIGHUP} False", "None False"])


FORKED = """
import os, signal
from hive_boot.lifecycle.signals import SignalHandler

os.setsid()
class Target:
    def stop(self):
        print("the child's")

    reload = stop

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    with SignalHandler() as latch:
        latch.attach(Target())
        pid = os.fork()
        if not pid:
            os.kill(os.getpid(), number)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), latch.first_signal)
"""


def test_a_forked_child_has_the_former_signal_handlers() -> None:
    """In a forked child signals have their former effect, and the parent is not affected."""
    child = run_child(FORKED)
    assert child.stdout == "-15 None\n-2 None\n-1 None\n", child.stderr


# The last line

FORCED = """
import os, signal, sys, time
from hive_boot.lifecycle.signals import SignalHandler
from tests.lifecycle.test_signals import Target

with SignalHandler() as latch:
    {before}
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
"""


def last_line(before: str = "") -> str:
    """Return the stderr of a process whose exit is forced by a signal."""
    child = run_child(FORCED.format(before=before))
    assert (child.returncode, child.stdout) == (-signal.SIGINT, "")
    return child.stderr


def test_the_second_signal_prints_the_state_of_the_application() -> None:
    """The last line names the signal and the state of the application."""
    (line,) = last_line("latch.attach(Target())").splitlines()
    assert line.startswith("hive_boot: ")
    assert "SIGINT" in line
    assert "draining" in line


def test_the_second_signal_works_before_a_run_exists() -> None:
    """The second signal works before there is a run."""
    (line,) = last_line().splitlines()
    assert "SIGINT" in line
    assert "armed" in line


def test_a_third_signal_is_ignored() -> None:
    """A third signal while the last line is composed is ignored."""
    before = """class Slow(Target):
        def mark_forced(self):
            signal.raise_signal(signal.SIGINT)
            return 'stopping'
    latch.attach(Slow())"""
    (line,) = last_line(before).splitlines()
    assert "SIGINT" in line
    assert "stopping" in line


def test_a_third_signal_does_not_call_the_handler_of_a_library() -> None:
    """Signals that come faster than that handler returns would postpone the exit without end."""
    before = """class Slow(Target):
        def mark_forced(self):
            signal.raise_signal(signal.SIGINT)
            return 'stopping'
    latch.attach(Slow())
    signal.signal(signal.SIGINT, lambda *_: print('library is called'))
    latch.reinstall(signal.SIGINT, log=False)"""
    (line,) = last_line(before).splitlines()
    assert "stopping" in line


FULL = "r, w = os.pipe(); os.set_blocking(w, False)\n    "
FULL += (
    "try:\n        while True: os.write(w, bytes(65536))\n    except BlockingIOError: pass\n    "
)
FULL += "os.set_blocking(w, True); os.dup2(w, 2)"


def test_a_full_or_closed_stderr_does_not_prevent_the_exit() -> None:
    """A full or closed stderr does not prevent the exit."""
    assert last_line(FULL) == last_line("os.close(2)") == ""


# terminate_self

TOLD = """
import logging, signal, sys
from hive_boot.lifecycle.signals import terminate_self

logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
for handler in (lambda *_: print("asked"), signal.SIG_DFL, signal.SIG_IGN):
    signal.signal(signal.SIGTERM, handler)
    terminate_self()
    print("still here")
"""


def test_sigterm_is_raised_only_if_a_handler_is_installed() -> None:
    """SIGTERM is raised only if a handler is installed; otherwise an error is logged."""
    child = run_child(TOLD)
    assert (child.returncode, child.stderr) == (0, "")
    asked, *rest = child.stdout.splitlines()
    assert asked == "asked"
    assert rest[0::2] == ["still here"] * 3
    for line in rest[1::2]:
        assert line.startswith("ERROR ")
        assert "SIGTERM" in line
