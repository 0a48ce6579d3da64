"""`sys.exit` in a rotation hook stops the application, with its status and one line in the log."""

import re
from itertools import product
from pathlib import Path

import anyio
import pytest

from hive_boot import Change
from hive_boot.testing import MountedVolume
from tests.fixtures.owned_processes import BACKENDS, POOL, ended, side_by_side
from tests.runtime.rotations import numbered, watching
from tests.support import until

HOOK = f"""
import anyio
from hive_boot import Change
from hive_boot.testing import MountedVolume

volume = MountedVolume("volume")
volume.publish({{{{"jwt_secret": "fake-jwt-secret-1"}}}})
boot = Bootstrap(Needs, mode="docker", secrets_dirs="volume")
boot._declaration.timings = boot._declaration.timings.replace(hook_retry_delay=0.01)
{POOL}

def leave():
    sys.exit(7)

calls = 0

@boot.on_rotate(timeout=0.1)
async def hook(change: Change) -> None:
    global calls
    calls += 1
    print("hook", calls)
{{}}

async def rotate():
    volume.publish({{{{"jwt_secret": "fake-jwt-secret-2"}}}})
    await boot.reload()
    await anyio.sleep_forever()
"""

RUN = """
@boot.main
async def main() -> None:
    await rotate()

boot.run(backend=backend)
"""

SERVE = """
@boot.service
async def service() -> None:
    await rotate()

async def app(scope, receive, send):
    await receive()

boot.serve(app, host="127.0.0.1", port=0, server="hypercorn", backend=backend)
"""

RUNNING = """
async def main():
    async with boot.running():
        await rotate()

anyio.run(main, backend=backend)
"""

IN_A_GROUP = """
    async def child():
        leave()

    async with anyio.create_task_group() as group:
        group.start_soon(child)
"""

AT_THE_TIMEOUT = """
    try:
        await anyio.sleep_forever()
    finally:
        leave()
"""

AT_A_RETRY = """
    if calls == 2:
        leave()
    raise ValueError
"""

WAYS = [
    ("    leave()", 7, "leave"),
    ("    sys.exit()", 0, "hook"),
    ("    sys.exit('bye ' + boot.secrets.jwt_secret.reveal())", 1, "hook"),
    ("    sys.exit(256)", 70, "hook"),
    ("    await anyio.to_thread.run_sync(leave)", 7, "leave"),
    (IN_A_GROUP, 7, "leave"),
    (AT_THE_TIMEOUT, 7, "leave"),
    (AT_A_RETRY, 7, "leave"),
]
"""What the hook does, the exit status of the process, and the function that the log names."""


def test_an_exit_in_a_hook_stops_the_application(tmp_path: Path) -> None:
    """The resources stop, the status is the given one, and a line names the line of the exit."""

    def scenario(backend: str, way: tuple[str, int, str], path: Path) -> None:
        body, code, function = way
        result = ended(HOOK.format(body) + RUN, backend, cwd=path)
        calls = 2 if body == AT_A_RETRY else 1
        hooks = [f"hook {number + 1}" for number in range(calls)]
        assert result.out == ["pool starts", *hooks, "pool stops"], result.err
        assert result.code == code, result.err
        (line,) = (line for line in result.err.splitlines() if "sys.exit(" in line)
        assert re.search(rf"<string>:\d+ in {function}$", line)
        assert result.err.count("Traceback") == result.err.count("retry in") == calls - 1
        assert "fake-jwt-secret-2" not in result.err

    side_by_side(tmp_path, scenario, product(BACKENDS, WAYS))


def test_an_exit_in_a_hook_stops_a_server_and_a_block(tmp_path: Path) -> None:
    """Under `boot.serve`, and from `boot.running`, which raises what the hook has raised."""

    def scenario(backend: str, owner: str, path: Path) -> None:
        result = ended(HOOK.format("    leave()") + owner, backend, cwd=path)
        assert result.out == ["pool starts", "hook 1", "pool stops"], result.err
        assert result.code == 7, result.err
        assert len([line for line in result.err.splitlines() if "sys.exit(7)" in line]) == 1
        assert "Traceback" not in result.err

    side_by_side(tmp_path, scenario, product(BACKENDS, (SERVE, RUNNING)))


def test_a_keyboard_interrupt_in_a_hook_stops_the_application(tmp_path: Path) -> None:
    """As in a service: it is reported once, with its line."""

    def scenario(backend: str, path: Path) -> None:
        result = ended(HOOK.format("    raise KeyboardInterrupt") + RUN, backend, cwd=path)
        assert result.out == ["pool starts", "hook 1", "pool stops"], result.err
        assert result.code == 130, result.err
        assert result.err.count("Traceback") == result.err.count("in hook") == 1

    side_by_side(tmp_path, scenario, [(backend,) for backend in BACKENDS])


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_the_hook_is_not_called_again_while_the_application_stops(
    volume: MountedVolume,
) -> None:
    """Not by a retry and not by another change, for which other hooks are called."""
    boot = watching(volume)
    calls: list[str] = []

    @boot.on_rotate()
    async def leave(change: Change) -> None:
        calls.append(f"leave {change.generation}")
        raise SystemExit(7)

    @boot.on_rotate()
    async def other(change: Change) -> None:
        calls.append(f"other {change.generation}")

    @boot.service(grace_period=30)
    async def stop_late() -> None:
        await boot.stopping.wait()
        assert boot.status().failed == "leave"
        volume.publish(numbered(3))
        await until(lambda: "other 3" in calls)
        assert boot.status().failing_hooks == ("leave",)

    async def run() -> None:
        async with boot.running():
            volume.publish(numbered(2))
            await anyio.sleep_forever()

    with pytest.raises(SystemExit) as caught:
        await run()
    assert caught.value.code == 7
    assert calls == ["leave 2", "other 2", "other 3"]
