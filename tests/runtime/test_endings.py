"""Ends of an application that owns its process, when something fails or hangs."""

import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from tests.fixtures.golden import assert_golden
from tests.fixtures.owned_processes import (
    BACKENDS,
    FORCED,
    MAIN,
    ORDERLY,
    POOL,
    RUN,
    STOPS,
    VALUE,
    Ended,
    ended,
    side_by_side,
    started,
    started_fresh,
)

PLAIN = f"""
boot = Bootstrap(Needs)
{POOL}
"""

SHORT = """
from hive_boot._timings import Timings

SHORT = Timings(
    forced_exit_delay=0.6,
    resource_cancel_timeout=0.1,
    service_restart_delay=0.02,
    shutdown_log_delay=0.7,
)

def bang(*whose):
    raise RuntimeError("bang of " + " ".join(whose))

async def swallow():
    import anyio

    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()

async def swallow_more():
    import anyio

    while True:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            time.sleep(0.005)
"""
"""Short timeouts, and functions that fail or hang."""

BOOT = f"""
{SHORT}
boot = Bootstrap(Needs, shutdown_timeout=float(sys.argv[2]))
boot._declaration.timings = SHORT
{POOL}
@boot.resource
async def other():
    print("other starts")
    try:
        yield
    finally:
        print("other stops")
"""

ENDING_MAIN = """
@boot.main
async def main(pool: str) -> None:
    print("main ends")
"""

EACH = [(backend,) for backend in BACKENDS]

LAST_WORDS = re.compile("^hive_boot: .* exit 70$", re.MULTILINE)
"""First line of the report about components that have not stopped."""

HANG = """
    import anyio
    await anyio.sleep_forever()"""

RAISE = """
    bang("culprit")"""

SWALLOW = """
    await swallow()"""

BRIEF, LONG = "0.8", "20"
"""Timeouts of a stop: for one that hangs forever, and for others."""


def shutdown_timeout(how: str) -> str:
    """Return the shutdown timeout for a way to fail."""
    return BRIEF if how is SWALLOW else LONG


AT_START = (
    BOOT
    + """
@boot.resource(timeout=0.2)
async def culprit(pool: str):{how}
    yield

@boot.resource
async def api(culprit: object): ...
"""
    + MAIN
    + RUN
)

AT_STOP = (
    BOOT
    + """
@boot.resource(timeout=0.2)
async def culprit(pool: str):
    yield{how}
"""
    + ENDING_MAIN
    + RUN
)


def assert_failed(result: Ended, contains: tuple[str, ...], tracebacks: int) -> None:
    """Assert the exit status 70 and the content of stderr."""
    assert result.code == 70, result.err
    for text in contains:
        assert text in result.err
    assert result.err.count("Traceback") == tracebacks


def without_times(text: str) -> str:
    """Return a text without the seconds and the line numbers of a run."""
    text = re.sub(r"\d+\.\d+ s(?=$|  | ago)", "<seconds> s", text, flags=re.MULTILINE)
    return re.sub(r"<string>:\d+", "<string>:<line>", text)


def test_a_failed_start_of_a_resource_ends_the_process_with_70(tmp_path: Path) -> None:
    """The report names the resource, main never runs, and started resources are stopped."""
    hows = [
        (HANG, ("StartupError", "0.2 s", "in culprit")),
        (RAISE, ("RuntimeError: bang of culprit", "StartupError")),
        (SWALLOW, ("culprit", "in swallow")),
    ]
    reports = {}

    def scenario(backend: str, how: tuple[str, tuple[str, ...]], path: Path) -> None:
        does, contains = how
        result = ended(AT_START.format(how=does), backend, shutdown_timeout(does), cwd=path)
        assert_failed(result, contains, does is RAISE)
        assert sorted(result.out[:2]) == ["other starts", "pool starts"]
        assert sorted(result.out[2:]) == ["other stops", "pool stops"]
        assert bool(LAST_WORDS.search(result.err)) == (does is SWALLOW)
        reports[backend, does] = result.err

    side_by_side(tmp_path, scenario, product(BACKENDS, hows))
    for backend in BACKENDS:
        assert_golden("startup_failed", without_times(reports[backend, HANG]))


def test_a_failed_stop_of_a_resource_ends_the_process_with_70(tmp_path: Path) -> None:
    """The report names the resource, and its dependencies are stopped all the same."""
    hows = [
        (HANG, ("ShutdownTimeoutError", "culprit")),
        (RAISE, ("RuntimeError: bang of culprit", "(raised by the resource culprit)")),
        (SWALLOW, ("culprit", "in swallow")),
    ]
    reports = {}

    def scenario(backend: str, how: tuple[str, tuple[str, ...]], path: Path) -> None:
        does, contains = how
        result = ended(AT_STOP.format(how=does), backend, shutdown_timeout(does), cwd=path)
        assert_failed(result, contains, does is RAISE)
        assert sorted(result.out[:2]) == ["other starts", "pool starts"]
        assert result.out[2] == "main ends"
        assert sorted(result.out[3:]) == ["other stops", "pool stops"]
        assert bool(LAST_WORDS.search(result.err)) == (does is SWALLOW)
        reports[backend, does] = result.err

    side_by_side(tmp_path, scenario, product(BACKENDS, hows))
    for backend in BACKENDS:
        assert_golden("shutdown_timeout", without_times(reports[backend, SWALLOW]))


TWO = f"""
{BOOT}
@boot.resource
async def first(pool: str):
{{above}}
    yield
{{below}}

@boot.resource
async def second(pool: str):
{{above}}
    yield
{{below}}
{{main}}{RUN}"""


def test_two_resources_that_fail_are_both_reported(tmp_path: Path) -> None:
    """Two failed starts, or two failed stops, are in the output; the exit status is 70."""
    bang = "    bang(sys._getframe().f_code.co_name)"

    def starts(backend: str, path: Path) -> None:
        source = TWO.format(above=bang, below="", main=MAIN)
        result = ended(source, backend, LONG, cwd=path)
        assert result.code == 70
        assert sorted(result.out[2:]) == ["other stops", "pool stops"]
        for name in ("first", "second"):
            assert f"RuntimeError: bang of {name}\n" in result.err
            assert f"{name}: RuntimeError" in result.err or f"resource {name}" in result.err

    def stops(backend: str, path: Path) -> None:
        source = TWO.format(above="", below=bang, main=ENDING_MAIN)
        result = ended(source, backend, LONG, cwd=path)
        assert result.code == 70
        assert sorted(result.out[3:]) == ["other stops", "pool stops"]
        for name in ("first", "second"):
            assert f"RuntimeError: bang of {name}\n" in result.err
            assert f"(raised by the resource {name})" in result.err
        assert "ExceptionGroup" in result.err

    def scenario(backend: str, number: int, path: Path) -> None:
        (starts, stops)[number](backend, path)

    side_by_side(tmp_path, scenario, product(BACKENDS, range(2)))


# What main does

SERVICE = """
@boot.service
async def works():
    import anyio

    print("service begins")
    try:
        await anyio.sleep_forever()
    finally:
        print("service ends")
"""

SYSTEM_EXIT = """
    async def leave():
        sys.exit(3)

    async with anyio.create_task_group() as group:
        group.start_soon(leave)
        await anyio.sleep_forever()"""


def test_the_end_of_main_ends_services_and_resources(tmp_path: Path) -> None:
    """They stop in order, however main ends, and its result is the exit status."""
    ways = [
        ("return None", 0),
        ("return 3", 3),
        ("bang('main')", 70),
        ("sys.exit(3)", 3),
        (SYSTEM_EXIT, 3),
    ]

    def scenario(backend: str, way: tuple[str, int], path: Path) -> None:
        does, code = way
        source = f"""
{SHORT}{PLAIN}{SERVICE}
boot._declaration.timings = SHORT
@boot.main
async def main(pool: str) -> int:
    import anyio

    await anyio.wait_all_tasks_blocked()
    {does}
{RUN}"""
        result = ended(source, backend, cwd=path)
        assert result.out == ["pool starts", "service begins", "service ends", "pool stops"]
        assert result.code == code, result.err
        assert result.err.count("Traceback") == (code == 70)
        assert ("RuntimeError: bang of main\n" in result.err) == (code == 70)

    side_by_side(tmp_path, scenario, product(BACKENDS, ways))


JOB = f"""
boot = Bootstrap(Needs, shutdown_delay={{drain}})
{POOL}
@boot.main(must_complete=True)
async def main(pool: str) -> int:
    import anyio

    print("ready")
    try:
{{does}}
    finally:
        print("main ends")
{RUN}"""

UNTIL_PULLED = """
        while not pulled():
            await anyio.sleep(0.005)
        await anyio.sleep_forever()"""

UNTIL_DRAINING = """
        signal.raise_signal(signal.SIGTERM)
        while boot.status().state != "draining":
            await anyio.sleep(0.005)"""


def test_a_job_that_a_signal_ends_exits_with_128_and_the_signal(tmp_path: Path) -> None:
    """Kubernetes treats 0 as success, so an incomplete job must have another status."""

    def stopped(backend: str, number: signal.Signals, path: Path) -> None:
        with started(JOB.format(drain=0, does=UNTIL_PULLED), backend, cwd=path) as process:
            assert [process.read_line(), process.read_line()] == ["pool starts", "ready"]
            process.send(number)
            code, out, err = process.wait()
        assert (code, out) == (FORCED[number], ["main ends", "pool stops"])
        assert "Traceback" not in err

    def finished(backend: str, way: tuple[str, int], path: Path) -> None:
        before, code = way
        source = JOB.format(drain=60, does=f"{before}\n        return {code}")
        result = ended(source, backend, cwd=path)
        assert result.code == code, result.err
        assert result.out == ["pool starts", "ready", "main ends", "pool stops"]

    side_by_side(tmp_path, stopped, [*product(["asyncio"], STOPS), ("trio", signal.SIGTERM)])
    ways = [*product(["", UNTIL_DRAINING], [0, 3])]
    side_by_side(tmp_path, finished, [*product(["asyncio"], ways), ("trio", ways[-1])])


CHILDREN = {
    "shielded": """
    async def child():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            print("the child ends")

    async with anyio.create_task_group() as group:
        group.start_soon(child)
        print("ready")""",
    "native": """
    import asyncio

    async def child():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            print("the child ends")

    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        await asyncio.sleep(0)
        print("ready")""",
}


def test_the_clean_up_of_a_child_task_of_main_completes(tmp_path: Path) -> None:
    """It completes before the resources stop."""

    def scenario(backend: str, child: str, path: Path) -> None:
        source = f"""
{PLAIN}
@boot.main
async def main(pool: str) -> None:
    import anyio
{CHILDREN[child]}
{RUN}"""
        with started(source, backend, cwd=path) as process:
            assert [process.read_line(), process.read_line()] == ["pool starts", "ready"]
            process.send(signal.SIGTERM)
            code, out, err = process.wait()
        assert (code, out) == (0, ["the child ends", "pool stops"]), err
        assert "Traceback" not in err

    cells = [("asyncio", "shielded"), ("asyncio", "native"), ("trio", "shielded")]
    side_by_side(tmp_path, scenario, cells)


# What holds the process

HELD = {
    "a main that swallows": ("print('ready'); await swallow()", ("running   main", "in swallow")),
    "a main that swallows again and again": (
        "print('ready'); await swallow_more()",
        ("running   main",),
    ),
    "a main that blocks the loop": (
        "print('ready'); time.sleep(3600)",
        ("running   main", "in main"),
    ),
    "a main that blocks at its end": (
        """
    print("ready")
    try:
        await anyio.sleep_forever()
    finally:
        time.sleep(3600)""",
        ("running   main", "in main"),
    ),
    "a task that blocks the loop": (
        """
    async def block():
        hang()

    async with anyio.create_task_group() as group:
        group.start_soon(block)""",
        ("running   the event loop", "in hang"),
    ),
    "a thread that main waits for": (
        "await anyio.to_thread.run_sync(hang)",
        ("running   main", "in main"),
    ),
}


def test_a_main_that_does_not_end_is_named_after_the_timeout(tmp_path: Path) -> None:
    """One signal is enough; the exit status is 70."""

    def scenario(backend: str, name: str, path: Path) -> None:
        does, contains = HELD[name]
        source = f"""
{BOOT}
def hang():
    print("ready")
    time.sleep(3600)

@boot.main
async def main(pool: str) -> None:
    import anyio

    {does}
{RUN}"""
        with started(source, backend, BRIEF, cwd=path) as process:
            assert [process.read_line() for _ in range(3)][-1] == "ready"
            process.send(signal.SIGTERM)
            code, out, err = process.wait()
        assert (code, out) == (70, [])
        last = LAST_WORDS.search(err)
        assert last is not None, err
        for text in contains:
            assert text in err[last.end() :]
        assert "Traceback" not in err

    side_by_side(tmp_path, scenario, product(BACKENDS, HELD))


def test_a_resource_that_blocks_at_its_end_is_named(tmp_path: Path) -> None:
    """The message has the line that blocks the event loop, also after the end of main."""

    def scenario(backend: str, path: Path) -> None:
        source = f"""
{BOOT}
@boot.resource
async def worker():
    yield
    time.sleep(3600)

@boot.main
async def main(worker: object) -> int:
    return 3
{RUN}"""
        code, _, err = ended(source, backend, BRIEF, cwd=path)
        last = LAST_WORDS.search(err)
        assert code == 70
        assert last is not None, err
        for text in ("running   the event loop", "in worker", "stopping  worker"):
            assert text in err[last.end() :]

    side_by_side(tmp_path, scenario, [(backend,) for backend in BACKENDS])


THREADS = {
    "own": "threading.Thread(target=hang, name='the culprit').start()",
    "anyio": """
    async with anyio.create_task_group() as group:
        async def work():
            await anyio.to_thread.run_sync(hang, abandon_on_cancel=True)
        group.start_soon(work)
        await started()
        group.cancel_scope.cancel()""",
    "asyncio": """
    import asyncio
    task = asyncio.create_task(asyncio.to_thread(hang))
    await started()
    task.cancel()""",
}


WAITED_FOR = f"""
{PLAIN}
@boot.resource
async def worker(pool: str):
    ends = threading.Event()
    thread = threading.Thread(target=lambda: (ends.wait(), time.sleep(0.05), print("thread ends")))
    thread.start()
    yield
    ends.set()

@boot.main
async def main(worker: object) -> int:
    return 3
{RUN}"""


def test_threads_that_hang_are_named_at_the_end(tmp_path: Path) -> None:
    """A thread that ends is waited for; with one that hangs the exit status is 70."""

    def hangs(backend: str, thread: str, name: str | None, path: Path) -> None:
        source = f"""
{SHORT}
has_begun = threading.Event()

def hang():
    has_begun.set()
    time.sleep(3600)

async def started():
    import anyio

    while not has_begun.is_set():
        await anyio.sleep(0.005)

boot = Bootstrap(Needs, shutdown_timeout={5 if name is None else 0.5})
boot._declaration.timings = SHORT
{POOL}
@boot.main
async def main(pool: str) -> None:
    import anyio

    {THREADS[thread]}
    print("main ends")
{RUN}"""
        result = ended(source, backend, cwd=path)
        assert result.out == ["pool starts", "main ends", "pool stops"]
        if name is None:
            assert result.code == 0, result.err
            return
        assert result.code == 70, result.err
        last = LAST_WORDS.search(result.err)
        assert last is not None, result.err
        lines = result.err[last.end() :].splitlines()
        assert any(name in line and " in hang" in line for line in lines), lines
        assert "Traceback" not in result.err

    def is_waited_for(backend: str, path: Path) -> None:
        result = ended(WAITED_FOR, backend, cwd=path)
        assert result.code == 3, result.err
        assert result.out == ["pool starts", "pool stops", "thread ends"]
        assert "Traceback" not in result.err

    cells = [
        ("asyncio", "own", "the culprit"),
        ("trio", "own", "the culprit"),
        ("asyncio", "anyio", "AnyIO worker thread"),
        ("trio", "anyio", None),  # its threads are daemons
        ("asyncio", "asyncio", "asyncio_0"),
    ]
    side_by_side(tmp_path, hangs, cells)
    side_by_side(tmp_path, is_waited_for, EACH)


# What fails at run time

FAILING = {
    "a service": (
        """
@boot.service(max_restarts=2)
async def culprit():
    print("service begins")
    bang("culprit")
""",
        ["service begins"] * 3,
        "(raised by the service culprit)",
    ),
    "a service that is never restarted": (
        """
@boot.service(restart="never")
async def culprit():
    bang("culprit")
""",
        [],
        "(raised by the service culprit)",
    ),
    "a part's task group": (
        """
@boot.resource
async def culprit(pool: str):
    import anyio

    async def crash():
        while boot.status().state != "ready":
            await anyio.sleep(0.005)
        bang("culprit")

    async with anyio.create_task_group() as group:
        group.start_soon(crash)
        yield
    print("not reached")
""",
        [],
        "the resource culprit has failed\n",
    ),
}


def test_a_final_failure_ends_the_application(tmp_path: Path) -> None:
    """Main is cancelled and the resources stop, in order; the exit status is 70."""

    def scenario(backend: str, name: str, drain: float, path: Path) -> None:
        declared, printed, contains = FAILING[name]
        source = f"""
{SHORT}
boot = Bootstrap(Needs, shutdown_delay={drain})
boot._declaration.timings = SHORT
{POOL}{declared}
@boot.main
async def main(pool: str) -> None:
    import anyio

    try:
        await anyio.sleep_forever()
    finally:
        print("main ends", boot.status().failed.rpartition(".")[2])
{RUN}"""
        result = ended(source, backend, cwd=path)
        assert result.code == 70, result.err
        assert result.out == ["pool starts", *printed, "main ends culprit", "pool stops"]
        assert contains in result.err
        assert "RuntimeError: bang of culprit\n" in result.err

    cells = [*product(["asyncio"], FAILING, [0, 0.05]), *product(["trio"], FAILING, [0.05])]
    side_by_side(tmp_path, scenario, cells)


# What drains, and what is beside it


def test_main_runs_during_the_shutdown_delay(tmp_path: Path) -> None:
    """Probes are not ready, and main is cancelled after the delay."""

    def scenario(backend: str, parts: str, path: Path) -> None:
        source = f"""
boot = Bootstrap(Needs, shutdown_delay=0.3)
{parts}
@boot.main
async def main() -> None:
    import anyio

    print("ready")
    try:
        while boot.status().ready:
            await anyio.sleep(0.005)
        await anyio.sleep(0.01)
        print(boot.status().state, boot.status().ready)
        await anyio.sleep_forever()
    finally:
        print("main ends,", boot.status().state)
{RUN}"""
        with started(source, backend, cwd=path) as process:
            while process.read_line() != "ready":
                pass
            process.send(signal.SIGTERM)
            code, out, err = process.wait()
        stops = ["pool stops"] if parts else []
        assert (code, out) == (0, ["draining False", "main ends, stopping", *stops])
        (line,) = (line for line in err.splitlines() if "SIGTERM" in line)
        assert "0.3 s" in line
        assert "Traceback" not in err

    side_by_side(tmp_path, scenario, product(BACKENDS, [POOL, ""]))


LEAVING_TASK = f"""
{PLAIN}{SERVICE}
@boot.main
async def main(pool: str) -> None:
    import asyncio

    async def leave():
        sys.exit(3)

    await asyncio.sleep(0)
    task = asyncio.create_task(leave())
    try:
        await asyncio.sleep(3600)
    finally:
        print("main ends")
{RUN}"""


def test_sys_exit_in_a_task_ends_the_application_in_order(tmp_path: Path) -> None:
    """Without hive_boot such an exit ends the loop of asyncio at once."""

    def scenario(backend: str, path: Path) -> None:
        result = ended(LEAVING_TASK, backend, cwd=path)
        assert result.code == 3, result.err
        stops = ["main ends", "service ends", "pool stops"]
        assert result.out == ["pool starts", "service begins", *stops]

    side_by_side(tmp_path, scenario, [("asyncio",), ("uvloop",)])


def test_a_process_can_own_two_applications_after_each_other(tmp_path: Path) -> None:
    """The second one may use another loop, also after a failure."""
    source = f"""
{SHORT}
def handlers():
    return [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]

def run(boot, backend):
    try:
        boot.run(backend=backend)
    except SystemExit as exc:
        print("exit", exc.code, handlers() == before, boot.status().state)

before = handlers()
{PLAIN}
@boot.main
async def main(pool: str) -> None:
    import anyio

    signal.raise_signal(signal.SIGTERM)
    await anyio.sleep_forever()

class Others(SecretSet):
    jwt_secret: Secret

failing, another = Bootstrap(Others), Bootstrap(Others)

@failing.resource
async def broken():
    bang("broken")
    yield

@failing.main
async def never() -> None: ...

@another.main
async def last(others: Others) -> int:
    from hive_boot import get_secret

    return len(get_secret("JWT_SECRET")) - len(others.jwt_secret.reveal()) + 4

for each in (boot, failing, another, boot):
    run(each, backend)
    backend = "trio" if backend == "asyncio" else "asyncio"
"""

    def scenario(backend: str, path: Path) -> None:
        result = ended(source, backend, cwd=path)
        stopped = ["pool starts", "pool stops", "exit 0 True armed"]
        failed, other = "exit 70 True armed", "exit 4 True armed"
        assert result.code == 0, result.err
        assert result.out == [*stopped, failed, other, *stopped], result.err

    side_by_side(tmp_path, scenario, EACH)


def test_two_applications_can_run_in_two_loops(tmp_path: Path) -> None:
    """`get_secret` raises, because it does not know which one is meant."""
    source = f"""
import anyio
from hive_boot import LifecycleError, get_secret
{PLAIN}
class Others(SecretSet):
    other_key: Secret

other = Bootstrap(Others)
runs, ends = threading.Event(), threading.Event()

async def live():
    async with other.running() as secrets:
        runs.set()
        while not ends.is_set():
            await anyio.sleep(0.005)
        print(secrets.other_key.reveal(), boot.status().state, other.status().state)
    print("the other one has stopped")

@boot.main
async def main(pool: str) -> None:
    thread = threading.Thread(target=anyio.run, args=(live,))
    thread.start()
    while not runs.is_set():
        await anyio.sleep(0.005)
    try:
        get_secret("JWT_SECRET")
    except LifecycleError as exc:
        print("boot.secrets" in str(exc))
    print("ready")
    try:
        await anyio.sleep_forever()
    finally:
        ends.set()
        thread.join()
        print(len(get_secret("JWT_SECRET")))
{RUN}"""

    def scenario(backend: str, path: Path) -> None:
        with started(source, backend, cwd=path, OTHER_KEY="fake-other") as process:
            assert [process.read_line() for _ in range(3)] == ["pool starts", "True", "ready"]
            process.send(signal.SIGTERM)
            code, out, err = process.wait()
        assert code == 0, err
        assert out == [
            "fake-other stopping ready",
            "the other one has stopped",
            str(len(VALUE)),
            "pool stops",
        ]
        assert "Traceback" not in err

    side_by_side(tmp_path, scenario, EACH)


# The service notify_socket


@contextmanager
def notify_socket(path: Path) -> Iterator[socket.socket]:
    """Yield a socket that receives the notifications, as that of systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.settimeout(30)
        ours.bind(str(path))
        yield ours


def notifications_of(ours: socket.socket) -> list[str]:
    """Return the notifications until now, one datagram each, without times."""
    ours.settimeout(0)
    told = []
    try:
        while True:
            told.append(without_time(ours.recv(4096).decode()))
    except BlockingIOError:
        return told


def without_time(datagram: str) -> str:
    """Take out what differs."""
    lines = datagram.splitlines()
    return "|".join("MONOTONIC_USEC" if "MONOTONIC_USEC=" in line else line for line in lines)


STATES = ["STATUS=Loading", "STATUS=Starting", "READY=1|STATUS=Ready"]
RELOADED = ["RELOADING=1|MONOTONIC_USEC|STATUS=Reloading", "READY=1|STATUS=Ready"]
STOPPED = ["STOPPING=1|STATUS=Draining", "STATUS=Stopping", "STATUS=Stopped"]


ROTATING = f"""
from hive_boot.testing import MountedVolume

volume = MountedVolume(sys.argv[2])
volume.publish({{"jwt_secret": "fake-jwt-secret-1"}})
boot = Bootstrap(Needs, mode="kubernetes", secrets_dirs=volume.path)
{POOL}
@boot.main
async def main(pool: str) -> None:
    import anyio

    volume.publish({{"jwt_secret": "fake-jwt-secret-2"}})
    await boot.reload()
    signal.raise_signal(signal.SIGTERM)
    await anyio.sleep_forever()
{RUN}"""

BROKEN = f"""
{SHORT}{PLAIN}
boot._declaration.timings = SHORT

@boot.resource
async def culprit(pool: str):
    bang("culprit")
    yield
{MAIN}{RUN}"""


def test_systemd_receives_every_step(memory: Path) -> None:
    """READY, RELOADING and STOPPING are sent once each, in order; not READY if the start fails."""

    def well(backend: str, path: Path) -> None:
        where = str(path / "notify")
        with notify_socket(path / "notify") as ours:
            result = ended(ROTATING, backend, str(path / "volume"), NOTIFY_SOCKET=where)
            received = notifications_of(ours)
        assert (result.code, result.out) == (0, ["pool starts", "pool stops"]), result.err
        assert received == [*STATES, *RELOADED, *STOPPED]

    def failing(backend: str, code: int, path: Path) -> None:
        where = str(path / "notify")
        with notify_socket(path / "notify") as ours:
            value = "" if code == 78 else VALUE
            result = ended(BROKEN, backend, JWT_SECRET=value, NOTIFY_SOCKET=where)
            received = notifications_of(ours)
        assert result.code == code, result.err
        stops = ["STATUS=Starting", "STOPPING=1|STATUS=Stopping"] if code == 70 else []
        assert received == ["STATUS=Loading", *stops, "STATUS=Stopped"]

    side_by_side(memory, well, EACH)
    side_by_side(memory, failing, product(BACKENDS, [78, 70]))


def test_the_watchdog_of_systemd_is_notified_until_the_end(memory: Path) -> None:
    """It is notified from the start on, also when nothing else happens."""
    source = f"""
{PLAIN}{MAIN}{RUN}"""

    def scenario(backend: str, path: Path) -> None:
        variables = {"NOTIFY_SOCKET": str(path / "notify"), "WATCHDOG_USEC": "20000"}
        with (
            notify_socket(path / "notify") as ours,
            started(source, backend, cwd=path, **variables) as process,
        ):
            assert [process.read_line(), process.read_line()] == ["pool starts", "ready"]
            beats = 0
            while beats < 3:
                beats += ours.recv(4096) == b"WATCHDOG=1"
            process.send(signal.SIGTERM)
            received = ""
            while "STATUS=Stopped" not in received:
                received += ours.recv(4096).decode()
            code, out, _ = process.wait()
        assert (code, out) == (0, ["main ends", "pool stops"])
        assert "STOPPING=1" in received

    side_by_side(memory, scenario, EACH)


# The loop


def stopped_uvloop(number: signal.Signals, path: Path) -> None:
    """Assert that the first signal stops in order."""
    source = f"""
{PLAIN}
@boot.main
async def main(pool: str) -> None:
    import asyncio

    print(type(asyncio.get_running_loop()).__module__)
    try:
        await stay()
    finally:
        print("main ends")
{RUN}"""
    with started(source, "uvloop", cwd=path) as process:
        assert [process.read_line() for _ in range(3)] == ["pool starts", "uvloop", "here"]
        process.send(number)
        assert process.read_line() == "held"
        process.open_gate()
        code, out, err = process.wait()
    assert (code, out) == (ORDERLY[number], ["main ends", "pool stops"])
    assert "Traceback" not in err


def forced_uvloop(path: Path) -> None:
    """Assert that the second signal ends a blocked loop at once."""
    source = f"""
{PLAIN}
@boot.main
async def main(pool: str) -> None:
    block()
{RUN}"""
    with started(source, "uvloop", cwd=path) as process:
        assert [process.read_line(), process.read_line()] == ["pool starts", "here"]
        process.send(signal.SIGTERM)
        assert process.read_line() == "held"
        process.send(signal.SIGINT)
        code, out, err = process.wait()
    assert (code, out) == (-signal.SIGINT, [])
    last = err.splitlines()[-1]
    assert "SIGINT" in last
    assert "while ready:" in last


def test_uvloop_ends_like_the_other_loops(tmp_path: Path) -> None:
    """The first signal stops in order, and the second ends the process at once."""
    side_by_side(tmp_path, stopped_uvloop, [(number,) for number in STOPS])
    side_by_side(tmp_path, forced_uvloop, [()])


def test_a_loop_that_is_not_installed_is_reported_in_one_line(tmp_path: Path) -> None:
    """The line names the package, and no source is read before; the exit status is 70."""
    source = f"""
from importlib.machinery import PathFinder

class WithoutLoop(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == backend else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [WithoutLoop if each is PathFinder else each for each in sys.meta_path]
{PLAIN}{MAIN}{RUN}"""

    def scenario(backend: str, path: Path) -> None:
        with started_fresh(source, backend, cwd=path, JWT_SECRET="") as process:
            result = process.wait()
        assert (result.code, result.out) == (70, [])
        (line,) = result.err.splitlines()
        assert "DeclarationError" in line
        assert line.endswith(f"pip install {backend}")

    side_by_side(tmp_path, scenario, [("uvloop",), ("trio",)])
