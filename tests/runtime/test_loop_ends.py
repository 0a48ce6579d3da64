"""Ends of an event loop, or of a forked copy of it, from which a run does not get its stop."""

from itertools import product
from pathlib import Path

from tests.fixtures.owned_processes import BACKENDS, POOL, RUN, ended, side_by_side

WARNINGS = """
import warnings
warnings.simplefilter("ignore")   # Python 3.12 advises against a fork beside threads
"""

APPLICATION = f"""
{WARNINGS}
boot = Bootstrap(Needs)
parent = os.getpid()
{POOL}
@boot.resource
async def api(pool: str):
    try:
        yield "api"
    finally:
        print("api stops", os.getpid() == parent)

@boot.service
async def works():
    import anyio

    try:
        await anyio.sleep_forever()
    finally:
        print("service ends", os.getpid() == parent)
"""

FORKING = f"""
{APPLICATION}
@boot.main
async def main(pool: str) -> int:
    import anyio

    await anyio.wait_all_tasks_blocked()
    child = os.fork()
    if not child:
        print("from the child", end="")   # the buffer is written
        {{how}}
    while not (found := os.waitpid(child, os.WNOHANG))[0]:
        await anyio.sleep(0.005)
    print("child ended:", os.waitstatus_to_exitcode(found[1]))
    return 0
"""


def test_a_forked_child_in_which_main_ends_stops_nothing(tmp_path: Path) -> None:
    """Its status is that of main; the resources, and the parent, are as they were."""
    ways = (("return 5", 5), ("return None", 0), ("sys.exit(3)", 3), ("raise ValueError", 70))

    def scenario(backend: str, way: tuple[str, int], path: Path) -> None:
        does, code = way
        result = ended(FORKING.format(how=does) + RUN, backend, cwd=path)
        stops = ["service ends True", "api stops True", "pool stops"]
        assert result.code == 0, result.err
        assert sorted(result.out) == sorted(
            ["pool starts", "from the child" + f"child ended: {code}", *stops]
        )
        assert result.err.count("Traceback") == (code == 70)
        assert "running event loop" not in result.err

    side_by_side(tmp_path, scenario, product(BACKENDS, ways))


IN_A_BLOCK = f"""
{APPLICATION}
import anyio

async def main():
    async with boot.running():
        await anyio.wait_all_tasks_blocked()
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            print("child ended:", os.waitstatus_to_exitcode(status))

anyio.run(main, backend=backend)
"""


def test_the_loop_of_a_forked_child_ends(tmp_path: Path) -> None:
    """A child that leaves the block and its loop logs no failure of what its parent runs."""
    # Not on trio: the end of its loop removes entries of the epoll instance of the parent.
    code, out, err = ended(IN_A_BLOCK, "asyncio", cwd=tmp_path)
    assert code == 0, err
    assert "child ended: 0" in out
    assert out[-3:] == ["service ends True", "api stops True", "pool stops"]
    for text in ("Traceback", "LifecycleError", "Background task"):
        assert text not in err, err


ANOTHER_TASK = f"""
{APPLICATION}
import asyncio

async def use(runs):
    async with boot.running():
        runs.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            print("block ends", boot.status().state)

async def main():
    runs = asyncio.Event()
    task = asyncio.create_task(use(runs))
    await runs.wait()
    await asyncio.sleep(0.01)
    {{how}}

asyncio.run(main())
print(boot.status().state)
"""


def test_a_loop_that_ends_stops_a_run_of_another_task_in_order(tmp_path: Path) -> None:
    """Asyncio cancels every task at once; services and resources stop after the block."""
    every = "for each in asyncio.all_tasks() - {asyncio.current_task()}: each.cancel()"
    ways = ("pass", f"{every}\n    await asyncio.wait([task])")

    def scenario(how: str, path: Path) -> None:
        code, out, err = ended(ANOTHER_TASK.format(how=how), "asyncio", cwd=path)
        assert code == 0, err
        assert out == [
            "pool starts",
            "block ends ready",
            "service ends True",
            "api stops True",
            "pool stops",
            "armed",
        ]
        assert "ERROR" not in err
        assert "Traceback" not in err

    side_by_side(tmp_path, scenario, [(how,) for how in ways])
