"""Child processes of an application whose exit is forced."""

import os
import signal
from contextlib import suppress
from itertools import product
from pathlib import Path

from tests.fixtures.owned_processes import RUN, side_by_side, started
from tests.support import run_child, wait_until

METHODS = ("fork", "spawn", "forkserver")

STUBBORN = """
import os, signal, time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("ignores", "w").close()
time.sleep(600)
"""

HEAD = f"""
import multiprocessing, warnings
from concurrent.futures import ProcessPoolExecutor
from hive_boot._timings import Timings

warnings.simplefilter("ignore")   # Python 3.12 advises against a fork beside threads
boot = Bootstrap(Needs, shutdown_timeout=20 if "second signal" in sys.argv else 0.3)
boot._declaration.timings = Timings(forced_exit_delay=0.2, child_exit_timeout=0.3)
context = multiprocessing.get_context(sys.argv[2])
kept = []

def start_processes():
    '''Start a process that SIGTERM ends, and one that ignores it.'''
    for name, arguments in (("ends", "import time; time.sleep(600)"), ("ignores", {STUBBORN!r})):
        process = context.Process(target=exec, args=(arguments, {{}}), name=name)
        process.start()
    while not os.path.exists("ignores"):
        time.sleep(0.005)

def start_pool():
    '''Start a pool whose workers have work.'''
    kept.append(ProcessPoolExecutor(2, mp_context=context))
    kept.extend(kept[0].submit(time.sleep, 600) for _ in range(2))
    while len(multiprocessing.active_children()) < 2:
        time.sleep(0.005)

def start_old_pool():
    '''Start a pool that replaces a worker that has ended.'''
    kept.append(context.Pool(2))
    kept.append(kept[0].map_async(time.sleep, [600] * 4))

def print_children():
    children = {{child.name: child.pid for child in multiprocessing.active_children()}}
    print(*(children[name] for name in sorted(children)))
"""

PROGRAM = f"""
{HEAD}
@boot.main
async def main() -> None:
    globals()[f"start_{{sys.argv[3]}}"]()
    print_children()
    if sys.argv[4] != "returns":
        while not pulled():
            time.sleep(0.005)
        print("held")
        # The end of a child lets this go on: the status is that of the forced exit all the same.
        for child in multiprocessing.active_children():
            while child.is_alive():
                child.join(0.05)
{RUN}"""


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that nothing has waited for yet does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def processes_in(path: Path) -> list[int]:
    """Return the running processes whose working directory is ``path``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if entry.joinpath("cwd").readlink() == path and is_running(int(entry.name)):
                found.append(int(entry.name))
    return found


def test_no_child_outlives_a_forced_exit(tmp_path: Path) -> None:
    """After the deadline, at the second signal and at the exit, children are ended and named."""

    def scenario(backend: str, method: str, kind: str, way: str, path: Path) -> None:
        with started(PROGRAM, backend, method, kind, way, cwd=path) as process:
            children = [int(pid) for pid in process.read_line().split()]
            if way != "returns":
                process.send(signal.SIGTERM)
                assert process.read_line() == "held"
            if way == "second signal":
                process.send(signal.SIGINT)
            code, out, err = process.wait()
        assert code == (-signal.SIGINT if way == "second signal" else 70), err
        assert out == []
        assert len(children) == 2
        assert not any(map(is_running, children))
        # Also none that a pool has started meanwhile. A fork server ends a little later.
        wait_until(lambda: not processes_in(path))
        for pid in children:
            assert f", PID {pid}\n" in err
        if kind == "processes":
            assert f"  ended     the child process ends, PID {children[0]}\n" in err
            assert f"  killed    the child process ignores, PID {children[1]}\n" in err

    ways = ("deadline", "second signal", "returns")
    cells = [("asyncio", *cell) for cell in product(METHODS, ["processes"], ways)]
    cells += [("asyncio", method, "pool", "deadline") for method in METHODS]
    cells += [("asyncio", "fork", "old_pool", "second signal")]
    side_by_side(tmp_path, scenario, [*cells, ("trio", "fork", "processes", "deadline")])


WORKER = f"""
{HEAD}
@boot.main
async def main() -> None:
    print("ready")
    time.sleep(600)

start_processes()
print_children()
worker = os.fork()
if not worker:
    boot.run(backend=backend)
print(worker)
print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
print(*(child.is_alive() for child in multiprocessing.active_children()))
for child in multiprocessing.active_children():
    child.kill()
"""


def test_a_forked_worker_leaves_the_children_of_its_master_alone(tmp_path: Path) -> None:
    """A worker has a copy of the list of its master; its forced exit ends none of them."""

    def scenario(method: str, path: Path) -> None:
        with started(WORKER, "asyncio", method, cwd=path) as process:
            process.read_line()
            lines = sorted([process.read_line(), process.read_line()])
            assert lines[1] == "ready"
            os.kill(int(lines[0]), signal.SIGTERM)
            code, out, err = process.wait()
        assert (code, out) == (0, ["70", "True True"]), err
        assert "child process" not in err

    side_by_side(tmp_path, scenario, [(method,) for method in METHODS])


def test_a_program_without_children_does_not_import_multiprocessing() -> None:
    """The exit looks for children only where the module is in use."""
    source = """
import sys
from hive_boot.lifecycle.forced_exit import end_children

print(repr(end_children()), "multiprocessing" in sys.modules)
"""
    assert run_child(source).stdout == "'' False\n"
