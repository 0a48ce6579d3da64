"""Signals in every phase of an application that owns its process."""

import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from threading import Timer
from typing import NamedTuple

import pytest

from tests.fixtures.owned_processes import (
    BACKENDS,
    ENVIRONMENT,
    FORCED,
    HEAD,
    MAIN,
    ORDERLY,
    POOL,
    RUN,
    STOPS,
    OwnedProcess,
    ended,
    side_by_side,
    started,
    started_fresh,
)
from tests.support import child_environment

WITH_SIGNALS = [*product(["asyncio"], STOPS), ("trio", signal.SIGTERM)]
"""Pairs of a backend and a signal; trio needs only one signal."""

Scenario = Callable[["Moment", str, signal.Signals, Path], None]


class Moment(NamedTuple):
    """A moment at which the first signal arrives.

    Attributes:
        source: a program that prints ``here`` at this moment, and ``held`` when it has handled
            the signal; then it waits for the gate.
        before: the lines that are printed before ``here``.
        after: the lines that are printed when the gate is open.
        state: the state at the second signal.
        tracebacks: the number of tracebacks of the application.
        fresh: whether the process starts without imported modules.
    """

    source: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    state: str
    tracebacks: int = 0
    fresh: bool = False


PLAIN = f"""
boot = Bootstrap(Needs)
{POOL}
"""

MOMENTS = {
    "import": Moment(
        f"""
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "anyio":
            sys.meta_path.remove(self)
            block()

assert "anyio" not in sys.modules
sys.meta_path.insert(0, Slow())
{PLAIN}{MAIN}{RUN}""",
        (),
        (),
        "armed",
        fresh=True,
    ),
    "loading": Moment(
        f"""
async def ask(value):
    try:
        await stay()
    finally:
        print("the check ends")

class Needs(SecretSet):
    jwt_secret: Secret = secret(check=ask)
{PLAIN}{MAIN}{RUN}""",
        (),
        ("the check ends",),
        "loading",
    ),
    "starting": Moment(
        f"""
{PLAIN}
@boot.resource
async def hangs(pool: str):
    try:
        await stay()
    finally:
        print("the start is given up")
    yield
{MAIN}{RUN}""",
        ("pool starts",),
        ("the start is given up", "pool stops"),
        "stopping",
    ),
    "ready": Moment(
        f"""
{PLAIN}
@boot.service
async def works():
    import anyio

    print("service begins")
    try:
        await anyio.sleep_forever()
    finally:
        print("service ends")

@boot.main
async def main(pool: str) -> None:
    import anyio

    await anyio.wait_all_tasks_blocked()
    block()
    try:
        await anyio.sleep_forever()
    finally:
        print("main ends")
{RUN}""",
        ("pool starts", "service begins"),
        ("main ends", "service ends", "pool stops"),
        "ready",
    ),
    "reloading": Moment(
        f"""
from hive_boot.testing import MountedVolume

volume = MountedVolume(sys.argv[2])
volume.publish({{"jwt_secret": "fake-jwt-secret-1"}})
boot = Bootstrap(Needs, mode="kubernetes", secrets_dirs=volume.path)
{POOL}
@boot.check
async def ask(secrets: Needs) -> None:
    import anyio

    if secrets.jwt_secret.reveal() == "fake-jwt-secret-2":
        block()
        try:
            await anyio.sleep_forever()
        finally:
            print("the check ends")

@boot.on_rotate()
async def tell(change) -> None:
    print("rotated")

@boot.main
async def main(pool: str) -> None:
    import anyio

    volume.publish({{"jwt_secret": "fake-jwt-secret-2"}})
    try:
        await boot.reload()
        await anyio.sleep_forever()
    finally:
        print("main ends")
{RUN}""",
        ("pool starts",),
        ("main ends", "the check ends", "pool stops"),
        "reloading",
    ),
    "draining": Moment(
        f"""
boot = Bootstrap(Needs, shutdown_delay=60)
{POOL}
@boot.main
async def main(pool: str) -> None:
    import anyio

    print("here")
    while boot.status().state != "draining":
        await anyio.sleep(0.005)
    assert not boot.status().ready
    await hold()
    print("main ends")
{RUN}""",
        ("pool starts",),
        ("main ends", "pool stops"),
        "draining",
    ),
    "stopping": Moment(
        f"""
{PLAIN}
@boot.resource
async def slow(pool: str):
    import anyio

    yield
    print("here")
    while not pulled():
        await anyio.sleep(0.005)
    await hold()
    print("the slow stop ends")

@boot.main
async def main(pool: str) -> None:
    print("main ends")
{RUN}""",
        ("pool starts", "main ends"),
        ("the slow stop ends", "pool stops"),
        "stopping",
    ),
    "a service's backoff": Moment(
        f"""
from hive_boot._timings import Timings
{PLAIN}
boot._declaration.timings = Timings(service_restart_delay=1000, max_service_restart_delay=1000)

@boot.service
async def flaky():
    print("service begins")
    raise RuntimeError("it is flaky")

@boot.main
async def main(pool: str) -> None:
    import anyio

    while not boot.status().failing_services:
        await anyio.sleep(0.005)
    try:
        await stay()
    finally:
        print("main ends")
{RUN}""",
        ("pool starts", "service begins"),
        ("main ends", "pool stops"),
        "stopping",
        tracebacks=1,
    ),
}
"""Every moment at which the first signal may arrive."""


@contextmanager
def at(moment: Moment, backend: str, path: Path, number: signal.Signals) -> Iterator[OwnedProcess]:
    """Send a signal at a moment, and yield the process when it has handled the signal."""
    start = started_fresh if moment.fresh else started
    with start(moment.source, backend, str(path / "volume"), cwd=path) as process:
        assert [process.read_line() for _ in moment.before] == list(moment.before)
        assert process.read_line() == "here"
        process.send(number)
        assert process.read_line() == "held"
        yield process


def first_signal(moment: Moment, backend: str, number: signal.Signals, path: Path) -> None:
    """Assert that the first signal stops everything in order, starts nothing, and is no failure."""
    with at(moment, backend, path, number) as process:
        process.open_gate()
        code, out, err = process.wait()
    assert (code, out) == (ORDERLY[number], list(moment.after)), err
    assert err.count("Traceback") == moment.tracebacks
    assert f"{number.name}: " in err
    assert "forced" not in err


def second_signal(moment: Moment, backend: str, number: signal.Signals, path: Path) -> None:
    """Assert that the second signal exits at once, and that the last line names the state."""
    second = next(each for each in STOPS if each is not number)
    with at(moment, backend, path, number) as process:
        process.send(second)
        code, out, err = process.wait()
    assert (code, out) == (FORCED[second], [])
    last = err.splitlines()[-1]
    assert second.name in last
    assert f"while {moment.state}:" in last
    assert err.count("Traceback") == moment.tracebacks


@pytest.mark.parametrize("name", MOMENTS)
def test_a_signal_at_any_moment(name: str, tmp_path: Path) -> None:
    """The first signal stops the application in order, the second one ends the process at once."""

    def scenario(step: Scenario, backend: str, number: signal.Signals, path: Path) -> None:
        step(MOMENTS[name], backend, number, path)

    cells = [*product((first_signal, second_signal), ["asyncio"], STOPS)]
    cells += [(first_signal, "trio", signal.SIGTERM), (second_signal, "trio", signal.SIGINT)]
    side_by_side(tmp_path, scenario, cells)


def test_a_wait_for_a_file_is_broken_off(tmp_path: Path) -> None:
    """An application that waits for files stops like any other, without a report."""
    source = f"""
boot = Bootstrap(Needs, mode="docker", secrets_dirs=sys.argv[2], wait_for_files=3600)
{POOL}{MAIN}{RUN}"""

    def scenario(backend: str, number: signal.Signals, path: Path) -> None:
        with started(source, backend, str(path), cwd=path, JWT_SECRET="") as process:
            waiting = process.read_until("3600 s")
            assert "JWT_SECRET" in waiting.splitlines()[-1]
            process.send(number)
            code, out, err = process.wait()
        assert (code, out) == (ORDERLY[number], [])
        (line,) = err.splitlines()
        assert number.name in line

    side_by_side(tmp_path, scenario, WITH_SIGNALS)


TWICE = f"""
boot = Bootstrap(Needs, shutdown_delay=0.2)
{POOL}
@boot.main
async def main(pool: str) -> None:
    import anyio

    try:
        while boot.status().state != "draining":
            if not pulled():
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGTERM)
            await anyio.sleep(0.005)
        signal.raise_signal(signal.SIGTERM)
        print("draining")
        await anyio.sleep_forever()
    finally:
        print("main ends")
{RUN}"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_signal_that_is_repeated_at_once_is_the_same(backend: str) -> None:
    """The same signal again within a moment, even while draining, does not force the exit."""
    # A machine that is busy may put more than 100 ms between the first and the last: it gets
    # more tries.
    for _ in range(3):
        code, out, err = ended(TWICE, backend)
        if code != 128 + signal.SIGTERM:
            break
    assert (code, out) == (0, ["pool starts", "draining", "main ends", "pool stops"])
    (line,) = (line for line in err.splitlines() if "SIGTERM" in line)
    assert "0.2 s" in line
    assert "Traceback" not in err


def test_a_terminal_that_is_closed_stops_in_order(tmp_path: Path) -> None:
    """A closed terminal stops the application in order."""

    def scenario(backend: str, watch: object, path: Path) -> None:
        source = f"""
os.setsid()
# What a session without a terminal opens first becomes its controlling one.
os.open(sys.argv[2], os.O_RDWR)
boot = Bootstrap(Needs, watch={watch})
{POOL}{MAIN}{RUN}"""
        master, slave = pty.openpty()
        try:
            with started(source, backend, os.ttyname(slave), cwd=path) as process:
                assert [process.read_line(), process.read_line()] == ["pool starts", "ready"]
                os.close(slave)
                os.close(master)
                master = -1
                code, out, err = process.wait()
        finally:
            if master >= 0:
                os.close(master)
                os.close(slave)
        assert (code, out) == (0, ["main ends", "pool stops"])
        assert "SIGHUP" in err
        assert "Traceback" not in err

    side_by_side(tmp_path, scenario, [("asyncio", True), ("asyncio", False), ("trio", True)])


FORKING = f"""
import warnings
warnings.simplefilter("ignore")   # Python 3.12 advises against a fork beside threads
{PLAIN}
@boot.main
async def main(pool: str) -> None:
    import anyio

    child = os.fork()
    if not child:
        print(os.getpid())
        time.sleep(60)
        os._exit(1)
    while not (found := os.waitpid(child, os.WNOHANG))[0]:
        await anyio.sleep(0.005)
    print(os.waitstatus_to_exitcode(found[1]), boot.status().state, pulled())
    try:
        await anyio.sleep_forever()
    finally:
        print("main ends")
{RUN}"""


def test_a_signal_to_a_forked_child_is_not_ours(tmp_path: Path) -> None:
    """A forked child dies of its signal, and the application keeps running."""

    def scenario(backend: str, path: Path) -> None:
        with started(FORKING, backend, cwd=path) as process:
            assert process.read_line() == "pool starts"
            os.kill(int(process.read_line()), signal.SIGTERM)
            assert process.read_line() == f"{-signal.SIGTERM} ready False"
            process.send(signal.SIGTERM)
            code, out, err = process.wait()
        assert (code, out) == (0, ["main ends", "pool stops"])
        assert "Traceback" not in err

    side_by_side(tmp_path, scenario, [(backend,) for backend in BACKENDS])


# After the run

ENDING = f"""
import atexit, multiprocessing.util, warnings
from concurrent.futures import ThreadPoolExecutor
warnings.simplefilter("ignore")   # Python 3.12 advises against a fork beside threads
os.setsid()
executor = ThreadPoolExecutor(1)
{PLAIN}
def wait_for_gate():
    while not is_open():
        time.sleep(0.005)

def remain():
    print("here")
    wait_for_gate()

def work():
    while threading.main_thread().is_alive() and not threading._SHUTTING_DOWN:
        time.sleep(0.005)
    remain()

if sys.argv[2] != "first":
    remain = block

@boot.main
async def main(pool: str) -> int:
    import anyio

    {{in_main}}
    print("ready")
    if sys.argv[2] == "stopped":
        await anyio.sleep_forever()
    return 3

{{before}}
{{run}}"""

LEFT = {
    "a thread": ("threading.Thread(target=work).start()", ""),
    "a thread that is older": ("pass", "threading.Thread(target=work).start()"),
    "a thread of an executor": ("executor.submit(work)", ""),
    "a child": (
        "multiprocessing.get_context('fork').Process(target=wait_for_gate).start()",
        "atexit.register(print, 'here')",
    ),
    "an atexit function": ("pass", "atexit.register(remain)"),
}
"""Things that CPython waits for at its exit: a statement in main, and one before the run."""


@contextmanager
def ending(
    backend: str, left: tuple[str, str], argument: str, path: Path, run: str = RUN
) -> Iterator[OwnedProcess]:
    """Start a process whose run ends, and yield it when it has printed ``here``."""
    source = ENDING.format(in_main=left[0], before=left[1], run=run)
    with started(source, backend, argument, cwd=path) as process:
        assert [process.read_line(), process.read_line()] == ["pool starts", "ready"]
        if argument == "stopped":
            process.send(signal.SIGTERM)
        assert [process.read_line(), process.read_line()] == ["pool stops", "here"]
        yield process


def assert_result(process: OwnedProcess, status: int, *lines: str) -> None:
    """Assert the exit status and output of a process, with only the log of its run on stderr."""
    code, out, err = process.wait()
    assert (code, out) == (status, [*lines]), err
    assert all(line.startswith("INFO ") for line in err.splitlines()), err


def test_a_first_signal_while_the_interpreter_exits(tmp_path: Path) -> None:
    """While threads are joined at exit, a first signal changes nothing, nor the exit status."""

    def scenario(backend: str, left: str, number: signal.Signals, path: Path) -> None:
        with ending(backend, LEFT[left], "first", path) as process:
            process.send(number)
            process.open_gate()
            assert_result(process, 3)

    cells = [("asyncio", left, number) for left in LEFT for number in (*STOPS, signal.SIGHUP)]
    cells += [("trio", left, signal.SIGTERM) for left in LEFT]
    side_by_side(tmp_path, scenario, cells)


def test_a_second_signal_while_the_interpreter_exits(tmp_path: Path) -> None:
    """A second signal ends the process at once, also if the first one has stopped the run."""

    def scenario(left: str, argument: str, path: Path) -> None:
        with ending("asyncio", LEFT[left], argument, path) as process:
            if argument == "second":
                process.send(signal.SIGTERM)
            assert process.read_line() == "held"
            # CPython misses a signal between the handler of another one and the wait for a thread.
            while process.process.poll() is None:
                process.send(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.process.wait(0.05)
            code, out, err = process.wait()
        assert (code, out) == (FORCED[signal.SIGINT], []), err
        assert "SIGINT" in err.splitlines()[-1]
        assert "forced" in err.splitlines()[-1]

    side_by_side(tmp_path, scenario, product(LEFT.keys() - {"a child"}, ("second", "stopped")))


CONTINUES = """
try:
    boot.run(backend=backend)
except SystemExit:
    pass
try:
    print("here")
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
    os._exit(9)
"""


def test_a_program_that_continues_after_its_run(tmp_path: Path) -> None:
    """After the run, a signal has the same effect as before it, whatever remains of the run."""
    thread = "threading.Thread(target=work).start()"
    own = "signal.signal(signal.SIGTERM, lambda *_: (print('own'), os._exit(7)))"

    def scenario(
        left: tuple[str, str], number: signal.Signals, code: int, lines: tuple[str, ...], path: Path
    ) -> None:
        with ending("asyncio", left, "first", path, CONTINUES) as process:
            process.send(number)
            assert_result(process, code, *lines)

    cells = []
    for in_main in ("pass", thread):
        cells += [
            ((in_main, ""), signal.SIGTERM, -signal.SIGTERM, ()),
            ((in_main, ""), signal.SIGHUP, -signal.SIGHUP, ()),
            ((in_main, ""), signal.SIGINT, 9, ("interrupted",)),
            ((in_main, own), signal.SIGTERM, 7, ("own",)),
        ]
    side_by_side(tmp_path, scenario, cells)


IN_A_THREAD = """
run = threading.Thread(target=lambda: boot.run(backend=backend))
run.start()
run.join()
"""


def test_handlers_that_are_not_of_hive_boot_stay_until_the_exit(tmp_path: Path) -> None:
    """Handlers of the program, and default ones where a run could not install its own, stay."""
    at_exit = "atexit.register(remain)"
    own = f"signal.signal(signal.SIGTERM, lambda *_: print('own')); {at_exit}"

    def scenario(before: str, run: str, code: int, lines: tuple[str, ...], path: Path) -> None:
        with ending("asyncio", ("pass", before), "first", path, run) as process:
            process.send(signal.SIGTERM)
            process.open_gate()
            assert_result(process, code, *lines)

    cells = [(own, RUN, 3, ("own",)), (at_exit, IN_A_THREAD, -signal.SIGTERM, ())]
    side_by_side(tmp_path, scenario, cells)


TORN_DOWN = """
class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)

late = Late()
"""


def test_a_signal_while_modules_are_removed(tmp_path: Path) -> None:
    """While CPython removes modules, signals have their default action: a documented limit."""
    source = ENDING.format(in_main="pass", before=TORN_DOWN, run=RUN)
    code, out, err = ended(source, "asyncio", "", cwd=tmp_path)
    assert (code, out) == (-signal.SIGTERM, ["pool starts", "ready", "pool stops"]), err


# As PID 1

ALONE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def no_namespace() -> str:
    """Return the reason why no PID namespace can be created here, or an empty string."""
    if shutil.which(ALONE[0]) is None:
        return "there is no unshare here"
    tried = subprocess.run(
        [*ALONE, sys.executable, "-c", ""],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"unshare refuses: {tried.stderr.strip()}" if tried.returncode else ""


@pytest.fixture(scope="module")
def namespace() -> None:
    """Skip the test if no PID namespace can be created."""
    if why := no_namespace():
        pytest.skip(why)


@contextmanager
def as_first(source: str, backend: str, path: Path) -> Iterator[tuple[OwnedProcess, int]]:
    """Start an application as PID 1, as in a container; yield it and its PID outside."""
    child = subprocess.Popen(
        [*ALONE, sys.executable, "-u", "-c", f"{HEAD}\nprint(os.getpid())\n{source}", backend],
        env=child_environment(**ENVIRONMENT),
        cwd=path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with child:
        guard = Timer(60, child.kill)
        guard.start()
        try:
            process = OwnedProcess(child, path)
            assert process.read_line() == "1"
            children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
            yield process, int(children.read_text())
        finally:
            guard.cancel()
            child.kill()


def stopped_in_order(backend: str, number: signal.Signals, path: Path) -> None:
    """Assert that PID 1, which ignores default actions, exits with 0, or with 130 after SIGINT."""
    with as_first(f"{PLAIN}{MAIN}{RUN}", backend, path) as (process, pid):
        assert [process.read_line(), process.read_line()] == ["pool starts", "ready"]
        os.kill(pid, number)
        code, out, err = process.wait()
    assert (code, out) == (130 if number is signal.SIGINT else 0, ["main ends", "pool stops"])
    assert "Traceback" not in err


def forced(backend: str, first: signal.Signals, second: signal.Signals, path: Path) -> None:
    """Assert that a second signal ends a PID 1 with a blocked event loop: exit status 128 + n."""
    with as_first(MOMENTS["ready"].source, backend, path) as (process, pid):
        while process.read_line() != "here":
            pass
        os.kill(pid, first)
        assert process.read_line() == "held"
        os.kill(pid, second)
        code, out, err = process.wait()
    assert (code, out) == (128 + second, [])
    last = err.splitlines()[-1]
    assert second.name in last
    assert "while ready:" in last


@pytest.mark.usefixtures("namespace")
def test_the_first_process_of_a_container(tmp_path: Path) -> None:
    """PID 1 stops in order at the first signal, and exits at once at the second."""
    side_by_side(tmp_path, stopped_in_order, WITH_SIGNALS)
    orders = [("asyncio", *STOPS), ("asyncio", *STOPS[::-1]), ("trio", *STOPS)]
    side_by_side(tmp_path, forced, orders)


WAITING = f"""
import anyio

{PLAIN}
@boot.main
async def main() -> None:
    # It is -1 until something wakes the loop at a signal, which another thread may receive.
    while (descriptor := signal.set_wakeup_fd(-1)) == -1:
        await anyio.sleep(0.01)
    signal.set_wakeup_fd(descriptor)
    others = threading.Thread(
        target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    )
    others.start()
    await anyio.sleep_forever()
{{RUN}}"""


@pytest.mark.parametrize("backend", [*BACKENDS, "uvloop"])
def test_a_signal_that_another_thread_receives_ends_the_wait_of_main(
    backend: str, tmp_path: Path
) -> None:
    """The event loop is woken, so that the handler runs in the main thread."""
    code, out, err = ended(WAITING.replace("{RUN}", RUN), backend, cwd=tmp_path, **ENVIRONMENT)
    assert (code, out) == (0, ["pool starts", "pool stops"]), err
