"""Reports of failures in an owned process: each once, with the line of the application."""

import re
import signal
from itertools import product
from pathlib import Path

from tests.fixtures.owned_processes import BACKENDS, RUN, ended, side_by_side, started
from tests.fixtures.package import OURS
from tests.fixtures.ports import free_port

APPLICATION = """
import anyio

boot = Bootstrap(Needs, shutdown_timeout=20)

def bang():
    raise RuntimeError("bang")
{declared}
"""

MAIN = """
@boot.main
async def main() -> None:
    {main}
"""


def source(declared: str, main: str, end: str = RUN) -> str:
    """Return the source of an application; without a main it is served."""
    text = MAIN.format(main=main) if main else ""
    return APPLICATION.format(declared=declared) + text + end


FOREVER = "await anyio.sleep_forever()"

SERVICE = """
@boot.service(restart="never")
async def culprit():
    bang()
"""

FROZEN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class RuntimeError(Exception):
    text: str
"""

TASK_GROUP = """
async def culprit():
    await anyio.sleep(0)
    bang()

@boot.resource
async def pool():
    async with anyio.create_task_group() as group:
        yield
        group.cancel_scope.cancel()

@boot.resource
async def breaking(pool: object):
    async with anyio.create_task_group() as group:
        group.start_soon(culprit)
        yield
"""

START = """
@boot.resource
async def culprit():
    bang()
"""

STOP = """
@boot.resource
async def culprit():
    yield
    bang()
"""

FAILURES = {
    "main": ("", "bang()", "main", "<string>"),
    "an exception without assignments": (FROZEN + SERVICE, FOREVER, "culprit", "service culprit"),
    "service": (SERVICE, FOREVER, "culprit", "the service culprit"),
    "task group": (TASK_GROUP, FOREVER, "culprit", "the resource breaking"),
    "start": (START, FOREVER, "culprit", "the resource culprit failed to start"),
    "stop": (STOP, "pass", "culprit", "(raised by the resource culprit)"),
}


def test_each_failure_is_reported_once_with_its_line(tmp_path: Path) -> None:
    """One traceback, which begins in the application, and what has failed: 70."""

    def scenario(name: str, backend: str, _path: Path) -> None:
        declared, main, function, contains = FAILURES[name]
        code, _, err = ended(source(declared, main), backend)
        assert code == 70, err
        assert (err.count("Traceback"), err.count("RuntimeError: bang")) == (1, 1), err
        assert contains in err
        frames = re.findall(r'File "(.*)", line \d+, in (\w+)', err)
        assert frames[-2:] == [("<string>", function), ("<string>", "bang")], err
        assert not [path for path, _ in frames if path.startswith(OURS)], err

    side_by_side(tmp_path, scenario, product(FAILURES, BACKENDS))


TWO = source(SERVICE, "try: await anyio.sleep_forever()\n    finally: {}['key']")


BOTH = STOP.replace("culprit", "pool").replace("bang()", "[][0]")


def test_a_second_failure_is_reported_beside_the_first(tmp_path: Path) -> None:
    """What fails because of the stop is not lost, and the first failure is not repeated."""

    def scenario(more: str, backend: str, _path: Path) -> None:
        code, _, err = ended(TWO.replace(SERVICE, SERVICE + more), backend)
        assert code == 70, err
        assert (err.count("RuntimeError: bang"), err.count("KeyError: 'key'")) == (1, 1), err
        # A group counts the failures that it shows.
        assert err.count("IndexError: list") == bool(more), err
        assert re.findall(r"(\d+) (?:failures|sub-exceptions)", err) == ["2"] * bool(more), err

    side_by_side(tmp_path, scenario, product(["", BOTH], BACKENDS))


SILENT = """
import logging
logging.getLogger("hive_boot").setLevel(logging.CRITICAL + 1)
"""

EXIT = """
import asyncio

async def leave():
    sys.exit(7)

@boot.resource
async def leaver():
    yield asyncio.create_task(leave())
"""

LIFESPAN = """
from contextlib import asynccontextmanager
from fastapi import FastAPI

@asynccontextmanager
async def lifespan(app):
    bang()
    yield

boot.serve(FastAPI(lifespan=lifespan), port=0)
"""


HOOK = """
from hive_boot.testing import MountedVolume

volume = MountedVolume("secrets")
volume.publish({"jwt_secret": "fake-jwt-secret-0000000001"})
boot = Bootstrap(Needs, mode="kubernetes", secrets_dirs="secrets")

@boot.on_rotate()
async def culprit(change):
    bang()
"""

ROTATE = """volume.publish({"jwt_secret": "fake-jwt-secret-0000000002"})
    await boot.reload()
    while not boot.status().failing_hooks:
        await anyio.sleep(0.01)"""


def test_the_log_of_a_hook_that_fails_begins_in_the_application(tmp_path: Path) -> None:
    """The traceback is there once, with no line of hive_boot."""

    def scenario(backend: str, path: Path) -> None:
        code, _, err = ended(source(HOOK, ROTATE), backend, cwd=path)
        assert code == 0, err
        assert (err.count("Traceback"), err.count("\nRuntimeError: bang")) == (1, 1), err
        assert re.findall(r'File "(.*)", line \d+, in', err) == ["<string>"] * 2, err

    side_by_side(tmp_path, scenario, [(backend,) for backend in BACKENDS])


def test_other_ends_leave_a_short_report(tmp_path: Path) -> None:
    """``sys.exit`` in a task, a failed lifespan, and a failure that the log has dropped."""

    def leaves() -> None:
        code, _, err = ended(source(EXIT, FOREVER), "asyncio")
        assert code == 7, err
        (line,) = (line for line in err.splitlines() if "sys.exit(7)" in line)
        assert line.endswith(" in leave")

    def is_served() -> None:
        code, _, err = ended(source("", "", LIFESPAN), "asyncio")
        assert code == 70, err
        report = err[err.index("Traceback") :].splitlines()
        assert [line.split(",")[-1].strip() for line in report[1:3]] == ["in lifespan", "in bang"]
        assert report[3:] == [
            "RuntimeError: bang",
            "hive_boot: StartupError: the ASGI application failed to start: RuntimeError",
        ]

    def is_not_logged() -> None:
        code, _, err = ended(SILENT + source(SERVICE, FOREVER), "asyncio")
        assert code == 70, err
        assert err.count("RuntimeError: bang") == 1

    side_by_side(
        tmp_path,
        lambda scenario, _: scenario(),
        [(leaves,), (is_served,), (is_not_logged,)],
    )


REFUSING = """
import json

def culprit():
    json.loads("no JSON")

def refuse(step):
    if step in sys.argv:
        culprit()

class Checked(SecretSet):
    jwt_secret: Secret = secret(check=lambda _: refuse("field"))
    api_key: Secret

    async def check(self):
        refuse("set")

class Vault:
    name = "vault"

    async def load(self, names):
        refuse("source")
        return dict.fromkeys(names, "fake-key-0123456789")

boot = Bootstrap(Checked, config=lambda: refuse("config"), sources=[Vault()])

@boot.check
async def database_answers():
    refuse("application")

@boot.main
async def main(): ...

boot.run(backend=backend)
"""


def test_a_refused_start_shows_the_line_that_raised(tmp_path: Path) -> None:
    """Of each function that is called before the secrets are accepted, in the application."""

    def scenario(step: str, backend: str, _path: Path) -> None:
        code, _, err = ended(REFUSING, backend, step)
        assert code == 78, err
        assert err.count("JSONDecodeError") == 1, err
        assert re.search(r"JSONDecodeError.* \(<string>:\d+ in culprit\)", err), err
        assert "Traceback" not in err

    steps = ("field", "set", "source", "config", "application")
    side_by_side(tmp_path, scenario, product(steps, BACKENDS))


APP = """
from hive_boot import Bootstrap, Secret, SecretSet

class Needs(SecretSet):
    '''Secrets of the application.'''

    jwt_secret: Secret

boot = Bootstrap(Needs)

@boot.main
async def main():
    import other

if __name__ == "__main__":
    boot.run()
"""

TWICE = """
import runpy
sys.path.insert(0, "")
runpy.run_path(os.path.abspath("app.py"), run_name="__main__")
"""


def test_a_module_that_exists_twice_is_named(tmp_path: Path) -> None:
    """``__main__`` and ``app`` are one file with two applications; the line that asks is shown."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "other.py").write_text("from app import boot\nboot.secrets.jwt_secret\n")
    code, _, err = ended(TWICE, "asyncio", cwd=tmp_path)
    assert code == 70, err
    assert 'other.py", line 2' in err
    for text in ("LifecycleError", "__main__", "as app", "hive-boot run app:boot"):
        assert text in err.splitlines()[-1]


SLOW = """
from hive_boot._timings import Timings

boot._declaration.timings = Timings(shutdown_log_delay=0.01)
"""

RESOURCE = """
@boot.resource
async def pool():
    yield
    await hold()

@boot.resource
async def earlier():
    yield
"""

CONSUMER = """
@boot.service
async def consumer():
    await stay()
"""

SERVED = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        terminate()
        await hold()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

def terminate():
    os.kill(os.getpid(), signal.SIGTERM)

def ask():
    from urllib.request import urlopen
    while not boot.status().ready:
        time.sleep(0.01)
    urlopen(f"http://127.0.0.1:{sys.argv[2]}/slow").read()

threading.Thread(target=ask, daemon=True).start()
boot.serve(app, port=int(sys.argv[2]), backend=backend, server="hypercorn")
"""

BROKEN = """
@boot.resource
async def culprit(pool: object):
    bang()
"""

SHUTDOWNS = {
    "main": ("", "await stay()", RUN, "running   main "),
    "service": (CONSUMER, FOREVER, RUN, "running   the service consumer "),
    "resource": (RESOURCE, "pass", RUN, "stopping  pool, "),
    "request": ("", "", SERVED, "request   GET /slow "),
    "failed start": (RESOURCE + BROKEN, "pass", RUN, "stopping  pool, "),
}


def test_a_long_shutdown_says_what_it_waits_for(tmp_path: Path) -> None:
    """The log names it with its line, and the time of the stop begins with the request."""

    def scenario(name: str, backend: str, path: Path) -> None:
        declared, main, end, expected = SHUTDOWNS[name]
        text = source(declared + SLOW, main, end)
        with started(text, backend, str(free_port()), cwd=path) as process:
            if name in {"main", "service"}:
                assert process.read_line() == "here"
                process.send(signal.SIGTERM)
            err = process.read_until("waits for:")
            seconds = float(re.search(r"requested (\d+\.\d) s ago", err)[1])  # type: ignore[index]
            line = process.read_until("\n")
            process.open_gate()
            code, _, err = process.wait()
        assert line.startswith(f"  {expected}")
        assert re.search(r" in \w+", line), line
        assert code == (70 if name == "failed start" else 0), err
        if code:
            return
        stopped = re.search(r"Stopped in (\d+\.\d\d) s", err)
        assert stopped is not None, err
        assert float(stopped[1]) >= seconds - 0.05  # it is rounded to one digit

    side_by_side(tmp_path, scenario, product(SHUTDOWNS, BACKENDS))
