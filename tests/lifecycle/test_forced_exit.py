"""Forced exit: a process exits although something blocks it, and names the cause."""

import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hive_boot.lifecycle.forced_exit import describe_threads, locate_thread
from hive_boot.lifecycle.shutdown import ExitWatchdog
from hive_boot.lifecycle.tasks import threads_started_since
from tests.support import run_child, started_child, until

LINES = Path(__file__).read_text(encoding="utf-8").splitlines()

HOLDS = {
    "a sleep": "time.sleep(60)",
    "a lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "a busy loop": "while True: pass",
    "a hung thread at the end": "threading.Thread(target=time.sleep, args=(60,)).start()",
    "what is done at the exit": "atexit.register(time.sleep, 60)",
    "a loop that swallows": """
async def swallow():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            time.sleep(0.01)
asyncio.run(swallow())
""",
}
"""Statements that block a process."""

HELD = """
import asyncio, atexit, ctypes, logging, os, sys, threading, time
from hive_boot._timings import Timings
from hive_boot.lifecycle import forced_exit, shutdown

{before}
watchdog = shutdown.ExitWatchdog({pending}, 70, Timings(last_output_timeout={moment}))
watchdog.start()
watchdog.set_deadline(time.monotonic() + {seconds})
{hold}
"""


def held_by(
    hold: str,
    *,
    pending: str = "lambda: 'what is pending'",
    before: str = "",
    seconds: float = 0.1,
    moment: float = 20,
) -> str:
    """Return a program that something blocks, and that an exit watchdog ends.

    ``moment`` is long unless a test reaches it, because the machine may be busy.

    """
    return HELD.format(hold=hold, pending=pending, before=before, seconds=seconds, moment=moment)


@pytest.mark.parametrize("hold", HOLDS)
def test_a_process_exits_at_the_deadline_whatever_its_main_thread_does(hold: str) -> None:
    """At the deadline the process exits with its status, and prints what is pending."""
    child = run_child(held_by(HOLDS[hold]))
    assert (child.returncode, child.stderr) == (70, "what is pending\n")


def test_a_deadline_does_not_delay_the_exit_of_a_process() -> None:
    """A distant deadline does not delay the exit of a process."""
    child = run_child(held_by("print('done')", seconds=1e100))
    assert (child.returncode, child.stdout, child.stderr) == (0, "done\n", "")


def test_code_that_lets_no_thread_run_delays_the_end_alone() -> None:
    """Code that holds the interpreter lock delays the exit, which then prints what is pending."""
    # A call through PyDLL keeps the interpreter, as a regular expression does that runs wild.
    child = run_child(held_by("ctypes.PyDLL(None).sleep(1); time.sleep(60)", moment=0.4))
    assert (child.returncode, child.stderr) == (70, "what is pending\n")


CANCELLED = """
import time
from hive_boot.lifecycle.shutdown import ExitWatchdog

deadline = ExitWatchdog(lambda: "the time is over", 70)
deadline.start()
deadline.set_deadline(time.monotonic() + 1)
deadline.cancel()
other = ExitWatchdog(lambda: "the time of the other is over", 71)
other.start()
other.set_deadline(time.monotonic() + 1.1)
time.sleep(60)
"""


def test_a_cancelled_deadline_has_no_effect() -> None:
    """A cancelled watchdog does not interrupt the process."""
    child = run_child(CANCELLED)
    assert (child.returncode, child.stderr) == (71, "the time of the other is over\n")


def is_blocked(thread: threading.Thread, number: signal.Signals) -> bool:
    """Return whether a thread has begun, and blocks a signal."""
    if thread.native_id is None:
        return False
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")]
    return bool(int(mask, 16) & 1 << number - 1)


@pytest.mark.anyio
async def test_a_cancelled_deadline_leaves_no_thread() -> None:
    """A cancelled watchdog leaves no thread behind."""
    before = threading.enumerate()
    deadline = ExitWatchdog(lambda: "", 70)
    deadline.start()
    deadline.set_deadline(time.monotonic() + 3600)

    def started() -> list[threading.Thread]:
        new = [each for each in threading.enumerate() if each not in before]
        return [each for each in new if each.name.startswith("hive_boot")]

    await until(lambda: len(started()) == 2)
    assert all(thread.daemon for thread in started())
    if sys.platform == "linux":
        # Neither receives a signal, which would not interrupt what the main thread waits for.
        await until(lambda: all(is_blocked(each, signal.SIGTERM) for each in started()))
    deadline.cancel()
    await until(lambda: not started())


@pytest.mark.parametrize(
    "pending",
    [
        "lambda: 1 / 0",
        "lambda: sys.exit(3)",
        "lambda: time.sleep(60)",
        "lambda: threading.Event().wait()",
    ],
)
def test_a_failing_description_does_not_prevent_the_exit(pending: str) -> None:
    """A description that fails or hangs is left out, and the process exits."""
    child = run_child(held_by("time.sleep(60)", pending=pending, moment=1))
    assert child.returncode == 70
    (line,) = child.stderr.splitlines()
    assert line.startswith("hive_boot: ")


def test_the_last_words_are_lines() -> None:
    """The output ends with a line feed."""
    for text, written in (
        ("a line", "a line\n"),
        ("two\nlines\n", "two\nlines\n"),
    ):
        source = "from hive_boot.lifecycle.forced_exit import force_exit"
        child = run_child(f"{source}; force_exit(3, lambda: {text!r})")
        assert (child.returncode, child.stdout, child.stderr) == (3, "", written), text


FILLED = """
import os, sys
for stream in ({streams}):
    os.set_blocking(stream.fileno(), False)
    try:
        while True:
            os.write(stream.fileno(), b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(stream.fileno(), True)
"""
"""Statements that fill pipes without a reader."""


@pytest.mark.parametrize("streams", ["sys.stdout,", "sys.stderr,", "sys.stdout, sys.stderr"])
def test_full_pipes_do_not_prevent_the_exit(streams: str) -> None:
    """Full pipes of stdout and stderr do not prevent the exit."""
    source = held_by(
        "sys.stdout.write('more'); time.sleep(60)",
        before=FILLED.format(streams=streams),
        moment=0.2,
    )
    # Nothing is read from the pipes until it is over.
    with started_child(source) as process:
        assert process.wait(50) == 70


def test_a_full_stdout_does_not_cost_the_last_words() -> None:
    """With a full pipe of stdout, stderr is still written."""
    before = FILLED.format(streams="sys.stdout,")
    with started_child(
        held_by("print('more'); time.sleep(60)", before=before, moment=1)
    ) as process:
        assert process.wait(50) == 70
        assert process.stderr is not None
        assert process.stderr.read() == "what is pending\n"


BUFFERED = """
import logging, logging.handlers, sys
from hive_boot.lifecycle.forced_exit import force_exit

kept = logging.handlers.MemoryHandler(100, target=logging.FileHandler({path!r}))
logging.getLogger().addHandler(kept)
logging.warning("was kept")
print("was printed", end="")
force_exit(70, lambda: "last words")
"""


def test_buffered_output_is_written_before_the_exit(tmp_path: Path) -> None:
    """Buffered output and log records are written before the exit."""
    log = tmp_path / "log"
    child = run_child(BUFFERED.format(path=str(log)))
    assert (child.returncode, child.stdout) == (70, "was printed")
    assert child.stderr == "last words\n"
    assert log.read_text() == "was kept\n"


@pytest.mark.parametrize(
    "hold",
    [
        "logging.getLogger().addHandler(handler := logging.StreamHandler()); handler.acquire()",
        "logging._lock.acquire()",
        "sys.stdout = sys.stderr = None",
        "sys.stdout.close(); sys.stderr.close()",
        "logging.shutdown = lambda: 1 / 0",
    ],
)
def test_closed_streams_and_a_locked_log_do_not_prevent_the_exit(hold: str) -> None:
    """Closed streams and a locked logging module do not prevent the exit."""
    child = run_child(held_by(f"{hold}; time.sleep(60)", moment=0.2))
    assert child.returncode == 70


def test_the_output_of_a_forced_exit_is_redacted() -> None:
    """The last output is redacted."""
    before = """
from hive_boot.redaction import registry as hidden

class Revealable:
    def reveal(self):
        return "fake-value-of-a-test"

hidden.register(forced_exit, [Revealable()])
"""
    source = held_by("time.sleep(60)", pending="lambda: 'fake-value-of-a-test'", before=before)
    child = run_child(source)
    assert child.returncode == 70
    assert child.stderr.strip()
    assert "fake-value" not in child.stderr


@pytest.mark.parametrize("stuck", [False, True])
def test_a_process_that_can_start_no_thread_ends(*, stuck: bool) -> None:
    """If no thread can be started, the process exits, with the description if possible."""
    # The limit on threads, which root does not have: the one place that starts them refuses.
    refuse = """
def refuse(*arguments, **keywords):
    raise RuntimeError("can't start new thread")
while threading.active_count() < 3:
    time.sleep(0.005)
threading._start_new_thread = threading._start_joinable_thread = refuse
time.sleep(60)
"""
    before = FILLED.format(streams="sys.stderr,") if stuck else ""
    with started_child(held_by(refuse, before=before, seconds=0.3, moment=0.3)) as process:
        assert process.wait(50) == 70
        assert process.stderr is not None
        told = process.stderr.read()
    assert told.strip("x") == ("" if stuck else "what is pending\n")


def test_the_threads_that_delay_the_exit_are_found(gate: threading.Event) -> None:
    """The threads that were started since and that delay the exit are found."""
    others = threading.enumerate()
    old = threading.Thread(target=gate.wait)
    old.start()
    before = threading.enumerate()
    assert threads_started_since(before) == []
    holding = [threading.Thread(target=gate.wait) for _ in range(2)]
    daemon = threading.Thread(target=gate.wait, daemon=True)
    over = threading.Thread(target=int)
    for thread in (*holding, daemon, over):
        thread.start()
    over.join()
    threading.Thread(target=gate.wait)
    assert set(threads_started_since(before)) == set(holding)
    assert set(threads_started_since(others)) == {old, *holding}
    gate.set()
    for thread in (old, *holding, daemon):
        thread.join()
    assert threads_started_since(before) == []


def test_the_calling_thread_is_not_found(gate: threading.Event) -> None:
    """The calling thread is not among them."""
    found: list[threading.Thread] = []
    other = threading.Thread(target=gate.wait)
    other.start()
    asks = threading.Thread(target=lambda: found.extend(threads_started_since([])))
    asks.start()
    asks.join()
    assert found == [other]
    gate.set()
    other.join()


@pytest.mark.anyio
async def test_threads_that_hang_are_named(gate: threading.Event) -> None:
    """A thread that hangs is described by its name, the line and the source."""

    def crunch() -> None:
        gate.wait(30)

    threads = [threading.Thread(target=crunch, name="the cruncher"), threading.Thread(target=int)]
    for thread in threads:
        thread.start()
    threads[1].join()
    await until(lambda: locate_thread(threads[0]).endswith(" in crunch: gate.wait(30)"))
    (named,) = describe_threads(threads)
    line = LINES.index("        gate.wait(30)") + 1
    assert named.startswith("the cruncher ")
    assert named.endswith(f" lifecycle/test_forced_exit.py:{line} in crunch: gate.wait(30)")
    gate.set()
    threads[0].join()
    assert describe_threads(threads) == []


def test_a_thread_without_a_location_is_described_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread without a location is described by its name."""
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, name="the hidden one")
    thread.start()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "_current_frames", dict)
        assert describe_threads([thread]) == ["the hidden one"]
    gate.set()
    thread.join()


@pytest.mark.anyio
async def test_an_idle_thread_pool_does_not_delay_the_exit(gate: threading.Event) -> None:
    """Idle workers of a thread pool do not delay the exit; a working one does."""
    begun = threading.Event()

    def crunch() -> None:
        begun.set()
        gate.wait()

    before = threading.enumerate()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        (worker,) = threads_started_since(before)
        await until(lambda: describe_threads([worker]) == [])
        assert worker.is_alive()
        pool.submit(crunch)
        assert begun.wait(20)
        (named,) = describe_threads([worker])
        assert named.startswith(f"{worker.name} ")
        assert " lifecycle/test_forced_exit.py:" in named
        gate.set()
        await until(lambda: describe_threads([worker]) == [])


PROCESSES = """
import multiprocessing, time
from concurrent.futures import ProcessPoolExecutor
from hive_boot.lifecycle.forced_exit import describe_threads
from hive_boot.lifecycle.tasks import threads_started_since

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1)
    pool.submit(int).result()
    while named := describe_threads(threads_started_since([])):
        time.sleep(0.01)
    print("idle")
    working = pool.submit(time.sleep, 60)
    print(len(describe_threads(threads_started_since([]))), "works")
    for process in multiprocessing.active_children():
        process.kill()
    working.exception()
"""


def test_an_idle_process_pool_does_not_delay_the_exit() -> None:
    """An idle process pool does not delay the exit; a working one does."""
    child = run_child(PROCESSES)
    # Not stderr: the exit of CPython can find the pipe of its pool closed, and prints that.
    assert (child.returncode, child.stdout) == (0, "idle\n1 works\n")


SPARED = """
import sys, threading, time
from hive_boot.lifecycle.shutdown import ExitWatchdog

deadline = ExitWatchdog(lambda: "what holds it", 70)
deadline.start()
deadline.set_deadline(time.monotonic() + 0.05)
deadline.only_while_exiting()
if sys.argv[1] == "held":
    threading.Thread(target=threading.Event().wait).start()
    sys.exit(3)
while any(thread.name.startswith("hive_boot") for thread in threading.enumerate()):
    time.sleep(0.01)
print("goes on")
"""


def test_a_program_that_continues_after_its_run_is_not_ended() -> None:
    """A program that continues after its run is not ended by the deadline of the run."""
    child = run_child(SPARED, "free")
    assert (child.returncode, child.stdout, child.stderr) == (0, "goes on\n", "")


def test_a_process_that_only_waits_for_a_thread_is_ended() -> None:
    """A process that only waits for a thread at its exit is ended by the deadline."""
    child = run_child(SPARED, "held")
    assert (child.returncode, child.stderr) == (70, "what holds it\n")
