"""Stop: clean-up, grace periods, `on_stop`, `boot.stop()`, and tasks of other code."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from hive_boot import Bootstrap, Secret, SecretSet, State
from tests.fixtures.owned_processes import RUN, Ended, ended, side_by_side

HEAD = """
import asyncio
import anyio

def terminate():
    '''Send SIGTERM to this process.'''
    os.kill(os.getpid(), signal.SIGTERM)

async def terminate_later():
    '''Send SIGTERM when main, the services and their tasks wait.'''
    await anyio.wait_all_tasks_blocked()
    terminate()

async def commit(name):
    '''Wait for the end, and clean up with three kinds of await.'''
    try:
        await anyio.sleep_forever()
    finally:
        await asyncio.sleep(0.05)
        await anyio.sleep(0.05)
        async with asyncio.timeout(60):
            await anyio.to_thread.run_sync(time.sleep, 0.05)
        print(name, "committed")
"""

CLEAN_UP = """
boot = Bootstrap(Needs)

@boot.resource
async def pool():
    yield "pool"
    print("pool stops")

@boot.service
async def consumer(pool: str):
    async with asyncio.TaskGroup() as group:
        group.create_task(commit("child"))
        await commit("consumer")

@boot.main
async def main(pool: str):
    async with anyio.create_task_group() as group:
        group.start_soon(terminate_later)
        await commit("main")
"""

NESTED = """
boot = Bootstrap(Needs)

@boot.main
async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(terminate_later)
        try:
            async with asyncio.timeout(60):
                await commit("inner")
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
                print("outer committed")
"""

SHIELDED = """
boot = Bootstrap(Needs)

@boot.main
async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(terminate_later)
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
                print("committed")
"""

SWALLOWING = """
boot = Bootstrap(Needs, shutdown_timeout=0.4)

@boot.service
async def consumer():
    try:
        await anyio.sleep_forever()
    except asyncio.CancelledError:
        await anyio.sleep_forever()

@boot.main
async def main():
    await terminate_later()
    try:
        await anyio.sleep_forever()
    except asyncio.CancelledError:
        await anyio.sleep_forever()
"""

JOBS = """
boot = Bootstrap(Needs)

@boot.main(grace_period=30)
async def main():
    for job in range(3):
        if boot.stopping.is_set():
            return
        print("job", job, "begins")
        terminate()
        await anyio.sleep(0.1)
        print("job", job, "is complete")
"""

IDLE = """
boot = Bootstrap(Needs)
queue = None

@boot.service(grace_period=30)
async def consumer():
    '''Take jobs; idle in get(), it stops at once.'''
    queue = asyncio.Queue()
    queue.put_nowait("job")
    while not boot.stopping.is_set():
        get = asyncio.ensure_future(queue.get())
        stop = asyncio.ensure_future(boot.stopping.wait())
        await asyncio.wait([get, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not get.done():
            get.cancel()
            break
        print(get.result(), "begins")
        await asyncio.sleep(0.1)
        print(get.result(), "is complete")

@boot.main
async def main():
    await terminate_later()
    await anyio.sleep_forever()
"""

CUT = """
boot = Bootstrap(Needs)

@boot.service(grace_period=0.2)
async def consumer():
    began = time.monotonic()
    try:
        await anyio.sleep_forever()
    finally:
        print("after the grace period", time.monotonic() - began >= 0.2)

@boot.main
async def main():
    await terminate_later()
    await anyio.sleep_forever()
"""

LONG_GRACE = """
boot = Bootstrap(Needs, shutdown_timeout=0.1)
who = sys.argv[2]

async def complete(name):
    '''Work for longer than the shutdown timeout and the forced exit after it.'''
    await boot.stopping.wait()
    await anyio.sleep(1.5)
    print(name, "is complete")

@boot.service(grace_period=30 if who == "service" else 0)
async def service():
    await complete("service")

@boot.main(grace_period=30 if who == "main" else 0)
async def main():
    await terminate_later()
    await complete("main")
"""

UNUSED_GRACE = """
boot = Bootstrap(Needs, shutdown_timeout=0.1)

@boot.resource
async def pool():
    yield "pool"
    await anyio.sleep_forever()

@boot.service(grace_period=3600)
async def service():
    await boot.stopping.wait()
    await anyio.sleep(0.3)

@boot.main
async def main(pool: str):
    await terminate_later()
    await anyio.sleep_forever()
"""

ON_STOP = """
boot = Bootstrap(Needs)
stopped = None

class Library:
    '''A loop of another library.'''

    def __init__(self):
        self.event = anyio.Event()

    async def poll(self):
        await self.event.wait()
        await anyio.sleep(0.05)
        print("polling has ended")

    async def stop_polling(self):
        await anyio.sleep(0)
        print("asked")
        self.event.set()

def fail():
    raise RuntimeError("not polling")

library = None

async def stop_library():
    await library.stop_polling()

@boot.service(grace_period=30, on_stop=fail)
async def consumer():
    await boot.stopping.wait()
    await anyio.sleep(0.1)

@boot.main(grace_period=30, on_stop=stop_library)
async def main():
    global library
    library = Library()
    await terminate_later()
    await library.poll()
"""

ODD_ON_STOP = """
boot = Bootstrap(Needs)

async def leave():
    if sys.argv[2] == "exit":
        sys.exit(3)
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task

@boot.service(on_stop=lambda: print("asked between two runs"))
async def consumer():
    raise ValueError("no broker")

@boot.main(grace_period=0.1, on_stop=leave)
async def main():
    await terminate_later()
    try:
        await anyio.sleep_forever()
    finally:
        print("main is cancelled")
"""

ENDED_MAIN = """
boot = Bootstrap(Needs)

@boot.service(grace_period=30, on_stop=lambda: print("the service is asked"))
async def consumer():
    await boot.stopping.wait()
    await anyio.sleep(0.1)

@boot.main(grace_period=30, on_stop=lambda: print("main is asked"))
async def main():
    await anyio.wait_all_tasks_blocked()
"""

UNUSED_MAIN = """
boot = Bootstrap(Needs)

@boot.service(grace_period=30)
async def consumer():
    await boot.stopping.wait()
    print("consumer ends")

@boot.main(on_stop=lambda: print("main is asked"))
async def main():
    pass

async def use():
    async with boot.running():
        await anyio.wait_all_tasks_blocked()
        boot.stop("the work is done")
        await anyio.sleep_forever()

anyio.run(use, backend=sys.argv[1])
"""

STOPS = """
boot = Bootstrap(Needs)

@boot.service(grace_period=30)
async def watcher():
    await boot.stopping.wait()
    print("watcher ends")

@boot.main
async def main():
    await anyio.wait_all_tasks_blocked()
    if sys.argv[2] == "main":
        boot.stop("the work is done")
    elif sys.argv[2] == "thread":
        threading.Thread(target=boot.stop, args=["the work is done"]).start()
    await boot.stopping.wait()
    boot.stop("again")
    await anyio.sleep_forever()
"""

FINISH = """
boot = Bootstrap(Needs, finish_tasks=float(sys.argv[2]))

@boot.resource
async def pool():
    poller = asyncio.create_task(anyio.sleep_forever())
    yield "pool"
    print("pool stops")
    poller.cancel()

async def job():
    await asyncio.sleep(0.2)
    print("job is complete")

async def endless():
    await anyio.sleep_forever()

@boot.main
async def main(pool: str):
    tasks = [asyncio.create_task(job()), *(asyncio.create_task(endless()) for _ in range(2))]
    terminate()
    await anyio.sleep_forever()
"""

TASKS = """
boot = Bootstrap(Needs, finish_tasks=float(sys.argv[2]), shutdown_timeout=60)
tasks = []

def begin(work):
    tasks.append(asyncio.ensure_future(work))

class Query:
    '''An awaitable that is not a coroutine.'''

    def __await__(self):
        yield from asyncio.sleep(0.05).__await__()
        print("query is complete")

async def job(name):
    await asyncio.sleep(0.5 if name == "second" else 0.05)
    print(name, "is complete")
    if name == "first":
        begin(job("second"))
    elif name == "second":
        has_followed.set()
    elif name == "job of the service":
        begin(job("last"))

@boot.resource
async def pool():
    poller = asyncio.create_task(anyio.sleep_forever())
    yield "pool"
    poller.cancel()
    print("pool stops")

@boot.service(grace_period=30)
async def consumer(pool: str):
    await boot.stopping.wait()
    await has_followed.wait()
    await asyncio.sleep(0.1)  # no task is open
    begin(job("job of the service"))

def write():
    time.sleep(0.05)
    print("thread is complete")

@boot.main
async def main(pool: str):
    global has_followed
    has_followed = asyncio.Event()
    begin(anyio.to_thread.run_sync(write))
    if sys.argv[2] == "0":
        begin(anyio.sleep_forever())
    begin(Query())
    begin(job("first"))
    terminate()
    await anyio.sleep_forever()
"""

SLOW_TASK = """
import io, logging

boot = Bootstrap(Needs, finish_tasks=30, shutdown_timeout=60)
log = io.StringIO()
logging.getLogger("hive_boot").addHandler(logging.StreamHandler(log))
logging.getLogger("hive_boot").setLevel(logging.INFO)

async def job():
    while "waits for" not in log.getvalue():
        await asyncio.sleep(0.01)
    print(log.getvalue())

@boot.main(grace_period=60, on_stop=lambda: None)
async def main():
    global task
    task = asyncio.create_task(job())
    terminate()
    await boot.stopping.wait()
"""

PATH = """
from tests.fixtures.package import OURS

boot = Bootstrap(Needs)
passed = set()

def follow(frame, event, _):
    '''Note the files of hive_boot that schedule the stop, and those that cancel main.'''
    if event == "call" and frame.f_code.co_name in {"note_signal", "cancel"}:
        while frame is not None:
            passed.add(frame.f_code.co_filename)
            frame = frame.f_back

@boot.main
async def main():
    await anyio.wait_all_tasks_blocked()
    sys.setprofile(follow)
    try:
        terminate()
        await anyio.sleep_forever()
    finally:
        sys.setprofile(None)
        print(*sorted(name for name in passed if name.startswith(OURS)), sep="\\n")
"""

EXHAUSTED = """
import resource

boot = Bootstrap(Needs, shutdown_timeout=1)
limit = sys.argv[2]
if "modules" in limit:
    sys.modules["hive_boot.lifecycle.forced_exit"] = None  # its import fails

@boot.resource
async def pool():
    yield "pool"
    print("pool stops")

@boot.resource
async def session(pool: str):
    yield "session"
    print("session stops")
    if limit == "memory":
        raise MemoryError

@boot.service
async def consumer():
    try:
        await anyio.sleep_forever()
    finally:
        print("consumer stops")

@boot.main
async def main(session: str):
    await anyio.wait_all_tasks_blocked()
    while "files" in limit and not hasattr(
        sys.modules.get("hive_boot.lifecycle.forced_exit"), "describe_threads"
    ):
        await anyio.sleep(0.005)
    if "files" in limit:
        # The descriptors that are open stay open.
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    else:
        if backend != "trio":
            await asyncio.get_running_loop().run_in_executor(None, print, "thread starts")
        if os.getuid() == 0:
            os.setuid(65533)  # the limit does not apply to root
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        try:
            threading.Thread(target=print).start()
        except RuntimeError:
            print("no thread starts")
    terminate()
    while "hang" in limit:
        time.sleep(0.005)
    await anyio.sleep_forever()
"""

BOTH = ("asyncio", "trio")


def run(source: str, backend: str, *arguments: str) -> Ended:
    """Run an application to its end; its lines in the log are part of stderr."""
    return ended(HEAD + source + RUN, backend, *arguments)


def test_main_and_services_complete_their_clean_up(tmp_path: Path) -> None:
    """On asyncio `finally` may await, also in child tasks; resources stop after that."""

    def scenario(source: str, backend: str, expected: list[str], _: Path) -> None:
        result = run(source, backend)
        assert result.code == 0, result.err
        assert result.out == expected
        assert "Traceback" not in result.err

    committed = ["main committed", "consumer committed", "child committed", "pool stops"]
    side_by_side(
        tmp_path,
        scenario,
        [
            (CLEAN_UP, "asyncio", committed),
            (CLEAN_UP, "uvloop", committed),
            (NESTED, "asyncio", ["inner committed", "outer committed"]),
            (SHIELDED, "asyncio", ["committed"]),
            # On trio a cancelled scope stays cancelled: clean-up that awaits needs a shield.
            (SHIELDED, "trio", ["committed"]),
        ],
    )


def test_code_that_swallows_its_cancellation_is_cancelled_again(tmp_path: Path) -> None:
    """A main and a service that swallow one cancellation end by the second one, with exit 0."""

    def scenario(backend: str, _: Path) -> None:
        result = run(SWALLOWING, backend)
        assert result.code == 0, result.err

    side_by_side(tmp_path, scenario, [("asyncio",), ("uvloop",)])


def test_a_job_completes_within_the_grace_period(tmp_path: Path) -> None:
    """No other job begins after the request, and an idle consumer stops at once."""
    jobs = ["job 0 begins", "job 0 is complete"]
    idle = ["job begins", "job is complete"]

    def scenario(source: str, backend: str, expected: list[str], _: Path) -> None:
        result = run(source, backend)
        assert (result.code, result.out) == (0, expected), result.err
        (seconds,) = re.findall(r"Stopped in (\d+\.\d+) s", result.err)
        assert float(seconds) < 15

    side_by_side(
        tmp_path,
        scenario,
        [
            *((JOBS, backend, jobs) for backend in BOTH),
            (IDLE, "asyncio", idle),
            *((CUT, backend, ["after the grace period True"]) for backend in BOTH),
        ],
    )


def test_the_deadline_begins_after_the_grace_periods(tmp_path: Path) -> None:
    """Work may exceed the shutdown timeout within a grace period; an unused one adds no time."""

    def scenario(who: str, backend: str, _: Path) -> None:
        result = run(LONG_GRACE, backend, who)
        assert result.code == 0, result.err
        assert f"{who} is complete" in result.out

    def unused(backend: str, _: Path) -> None:
        result = run(UNUSED_GRACE, backend)
        assert result.code == 70, result.err
        assert "  stopping  pool" in result.err

    side_by_side(tmp_path, scenario, [(who, each) for who in ("main", "service") for each in BOTH])
    side_by_side(tmp_path, unused, [(backend,) for backend in BOTH])


def test_on_stop_asks_a_library_to_stop(tmp_path: Path) -> None:
    """`on_stop` is called once when the stop is requested; its failure is logged."""

    def scenario(backend: str, _: Path) -> None:
        result = run(ON_STOP, backend)
        assert (result.code, result.out) == (0, ["asked", "polling has ended"]), result.err
        assert result.err.count("on_stop of the service consumer has failed") == 1
        assert result.err.count("RuntimeError: not polling") == 1

    side_by_side(tmp_path, scenario, [(backend,) for backend in BOTH])


def test_an_on_stop_that_exits_or_is_cancelled_does_not_end_the_stop(tmp_path: Path) -> None:
    """Main is cancelled as usual, and `on_stop` is called only for code that runs."""

    def scenario(how: str, backend: str, _: Path) -> None:
        result = run(ODD_ON_STOP, backend, how)
        assert (result.code, result.out) == (0, ["main is cancelled"]), result.err
        assert result.err.count("on_stop of main has failed") == 1
        assert "call_on_stop" not in result.err
        assert "hive_boot/lifecycle" not in result.err

    def unused(backend: str, _: Path) -> None:
        result = ended(HEAD + UNUSED_MAIN, backend)
        assert (result.code, result.out) == (0, ["consumer ends"]), result.err

    cells = [*(("exit", backend) for backend in BOTH), ("cancellation", "asyncio")]
    side_by_side(tmp_path, scenario, cells)
    side_by_side(tmp_path, unused, [(backend,) for backend in BOTH])


def test_on_stop_is_not_called_for_a_main_that_has_ended(tmp_path: Path) -> None:
    """The end of main requests the stop, so `on_stop` of the services is called."""

    def scenario(backend: str, _: Path) -> None:
        result = run(ENDED_MAIN, backend)
        assert (result.code, result.out) == (0, ["the service is asked"]), result.err

    side_by_side(tmp_path, scenario, [(backend,) for backend in BOTH])


def test_an_application_can_stop_itself(tmp_path: Path) -> None:
    """`boot.stop()` in the loop or in a thread stops in order, once, and logs its reason."""

    def scenario(where: str, backend: str, _: Path) -> None:
        result = run(STOPS, backend, where)
        assert (result.code, result.out) == (0, ["watcher ends"]), result.err
        assert result.err.count("Stop requested") == 1
        assert "Stop requested: the work is done" in result.err

    cells = [(where, backend) for where in ("main", "thread") for backend in BOTH]
    side_by_side(tmp_path, scenario, cells)


@pytest.mark.anyio
@pytest.mark.both_backends
@pytest.mark.parametrize("stops_in", ["check", "resource", "thread"])
async def test_a_stop_during_the_start_ends_the_block_later(
    stops_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start continues; the block is then draining, and ends at its first await."""

    class AppSecrets(SecretSet):
        api_key: Secret

    monkeypatch.setenv("API_KEY", "fake-key-0123456789")
    boot = Bootstrap(AppSecrets, mode="environment")
    states: list[State] = []

    @boot.check
    async def accepted() -> None:
        if stops_in == "check":
            boot.stop("the check is complete")

    @boot.resource
    async def pool() -> AsyncIterator[str]:
        if stops_in == "resource":
            boot.stop("the pool is complete")
        if stops_in == "thread":
            await anyio.to_thread.run_sync(boot.stop, "the thread is complete")
        yield "pool"
        states.append(boot.status().state)

    async with boot.running():
        states.append(boot.status().state)
        await anyio.sleep_forever()
    assert states == [State.DRAINING, State.STOPPING]
    assert boot.stopping.is_set()


def test_tasks_of_other_code_are_named_and_can_be_waited_for(tmp_path: Path) -> None:
    """`finish_tasks` waits for what main has started, before resources stop."""

    def scenario(seconds: str, expected: list[str], cut: str, _: Path) -> None:
        result = run(FINISH, "asyncio", seconds)
        assert (result.code, result.out) == (0, expected), result.err
        assert cut in result.err

    side_by_side(
        tmp_path,
        scenario,
        [
            ("0.6", ["job is complete", "pool stops"], "2 tasks were cut off: endless (2)"),
            ("0", ["pool stops"], "3 tasks were cut off: endless (2), job"),
        ],
    )


def test_tasks_of_every_kind_are_waited_for(tmp_path: Path) -> None:
    """Also those of a service that ends after main, and those that another task has started."""
    works = ["thread", "query", "first", "second", "job of the service", "last"]
    complete = sorted(f"{work} is complete" for work in works)

    def scenario(seconds: str, backend: str, _: Path) -> None:
        result = run(TASKS, backend, seconds)
        assert result.code == 0, result.err
        if seconds == "30":
            assert sorted(result.out[:-1]) == complete
            assert result.out[-1] == "pool stops"
            assert "cut off" not in result.err
            # What has started before READY is not waited for.
            assert "sleep_forever" not in result.err
        else:
            assert re.search(r"cut off: .*\bsleep_forever\b", result.err), result.err

    side_by_side(tmp_path, scenario, [("30", "asyncio"), ("30", "uvloop"), ("0", "asyncio")])


def test_a_stop_logs_the_tasks_that_it_waits_for() -> None:
    """The line has the name of the coroutine, and no line is about a task of hive_boot."""
    result = run(SLOW_TASK, "asyncio")
    assert result.code == 0, result.err
    running = [line for line in result.out if line.startswith("  running")]
    assert len(running) == 1, result.out
    assert running[0].startswith("  running   the task job  ")


def test_the_path_of_a_signal_to_main_has_at_most_five_files(tmp_path: Path) -> None:
    """The path begins in the signal handler and ends at the cancellation of main."""

    def scenario(backend: str, _: Path) -> None:
        result = run(PATH, backend)
        assert result.code == 0, result.err
        assert any(name.endswith("lifecycle/tasks.py") for name in result.out)
        assert len(result.out) <= 5, result.out

    side_by_side(tmp_path, scenario, [(backend,) for backend in BOTH])


def test_a_stop_needs_no_thread_and_no_file(tmp_path: Path) -> None:
    """At the limit of threads or descriptors all components stop; a hanging main is named."""
    stops = ["consumer stops", "session stops", "pool stops"]

    def scenario(limit: str, backend: str, code: int, expected: list[str], _: Path) -> None:
        result = run(EXHAUSTED, backend, limit)
        out = [line for line in result.out if "start" not in line]
        assert (result.code, out) == (code, expected), result.err
        assert ("no thread starts" in result.out) is ("files" not in limit)
        if code == 70 and "modules" not in limit:
            assert "MemoryError" in result.err or "running   main" in result.err
        else:
            assert "Traceback" not in result.err

    side_by_side(
        tmp_path,
        scenario,
        [
            (limit, backend, code, expected)
            for limit, code, expected in (
                ("threads", 0, stops),
                ("files", 0, stops),
                ("memory", 70, stops),
                ("hang", 70, []),
                ("hang without files", 70, []),
                ("hang without modules", 70, []),
            )
            for backend in (*BOTH, "uvloop")
        ],
    )
