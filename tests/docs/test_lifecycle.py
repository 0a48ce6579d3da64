"""Examples and numbers of docs/lifecycle.md, compared with a real run."""

import re
import runpy
import signal
import socket
from pathlib import Path

import anyio
import httpx2
import pytest

from hive_boot._timings import DEFAULTS
from hive_boot.lifecycle.states import State
from tests.docs.reading import python_files, write_files
from tests.fixtures.ports import closed_port
from tests.serving.served import interpreter
from tests.support import ROOT

TEXT = (ROOT / "docs" / "lifecycle.md").read_text("utf-8")

PYTHON = python_files(TEXT)

CONSOLE = re.findall(r"^```console\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)

ENVIRONMENT = {"HIVE_BOOT_MODE": "environment", "DB_PASSWORD": "fake-password"}

RUN = "import runpy; runpy.run_path({!r}, run_name='__main__')"


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """Return a directory that contains the Python blocks of the page."""
    return write_files(tmp_path, PYTHON)


def test_every_block_is_tried() -> None:
    """Every block is covered by a test of this module."""
    names = {"app.py", "database.py", "main.py", "shielded.py", "web.py", "worker.py"}
    assert PYTHON.keys() == names
    assert len(re.findall(r"^```python$", TEXT, re.MULTILINE)) == len(PYTHON)
    assert len(CONSOLE) == 1


def test_the_application_prints_what_is_shown(workplace: Path) -> None:
    """Checks, resources, main, Ctrl-C and the stop come in this order; a shell shows 130."""
    lines = CONSOLE[0].splitlines()
    before, after = lines[1 : lines.index("^C")], lines[lines.index("^C") + 1 : -2]
    assert lines[-2:] == ["$ echo $?", str(128 + signal.SIGINT)]
    with interpreter().started(RUN.format("main.py"), cwd=workplace, **ENVIRONMENT) as child:
        assert child.stdout is not None
        assert [child.stdout.readline().rstrip("\n") for _ in before] == before
        child.send_signal(signal.SIGINT)
        assert child.stdout.read().splitlines() == after
        assert child.wait() == -signal.SIGINT


def test_the_worker_completes_its_job(workplace: Path) -> None:
    """A signal does not interrupt a job; idle, the worker stops at once."""
    for text in ("letter begins", "letter is complete"):
        with interpreter().started(RUN.format("worker.py"), cwd=workplace, **ENVIRONMENT) as child:
            assert child.stdout is not None
            while child.stdout.readline().rstrip("\n") != text:
                pass
            child.send_signal(signal.SIGTERM)
            rest = child.stdout.read().split("\n")
            assert child.wait() == 0
        assert ("letter is complete" in rest) is (text == "letter begins")


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_shielded_clean_up_completes(workplace: Path) -> None:
    """A cancelled scope does not interrupt it, on either backend."""
    work = runpy.run_path(str(workplace / "shielded.py"))["work"]
    done: list[str] = []

    async def commit() -> None:
        await anyio.sleep(0.01)
        done.append("committed")

    async with anyio.create_task_group() as group:
        group.start_soon(work, commit)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert done == ["committed"]


def test_the_web_application_has_its_resources(workplace: Path) -> None:
    """A request reads a resource from its handle and from its state; the probes are answered."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    (workplace / "web.py").write_text(PYTHON["web.py"].replace("8000", str(port)), "utf-8")
    with interpreter().started(RUN.format("web.py"), cwd=workplace, **ENVIRONMENT) as child:
        assert child.stderr is not None
        assert any("Ready" in line for line in child.stderr)
        url = f"http://127.0.0.1:{port}"
        assert httpx2.get(f"{url}/idle").json() == [3, 3]
        assert httpx2.get(f"{url}/readyz").status_code == 200
        child.send_signal(signal.SIGTERM)
        assert child.wait() == 0


def test_a_resource_that_hangs_is_reported_as_shown(workplace: Path) -> None:
    """The text of a startup timeout has the hanging resource, its line, and what waits for it."""
    source = """
import anyio
from app import Pool, boot

async def connect():
    await anyio.sleep_forever()

async def pool(secrets):
    await connect()
    yield Pool("")

resources = boot._declaration.resources
resources["pool"] = resources["pool"].replace(timeout=0.2, work=pool)
pool.__annotations__["secrets"] = boot._declaration.declared

@boot.resource
async def settings() -> None: ...

import main
boot.run()
"""
    child = interpreter().run(source, cwd=workplace, **ENVIRONMENT)
    shown = re.findall(r"^```text\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)[0]
    wanted = {
        re.sub(r"\d+(\.\d+)? s", "n s", line.replace("app.py:17 in pool: ", "").strip())
        for line in shown.splitlines()
    }
    printed = {
        re.sub(r"\d+(\.\d+)? s", "n s", re.sub(r"\S+:\d+ in \w+: ", "", line).strip())
        for line in child.stderr.splitlines()
    }
    assert child.returncode == 70
    head, *lines = sorted(wanted, key=lambda line: not line.startswith("hive_boot"))
    assert head in printed
    assert {line.split(",")[0] for line in lines} <= {line.split(",")[0] for line in printed}


def test_a_server_that_is_down_is_reported_as_shown(workplace: Path) -> None:
    """The report of a start that could not connect; psycopg's exception is retried too: 75."""
    source = """
import sys
import httpx
from app import boot

# The first retry would come after the deadline, so the first failure is final.
timings = boot._declaration.timings
boot._declaration.timings = timings.replace(check_retry_delay=100, max_check_retry_delay=100)
if sys.argv[1] == "database":
    import database
else:
    async def pool() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get("http://127.0.0.1:5432")

    resources = boot._declaration.resources
    resources["pool"] = resources["pool"].replace(work=pool)

import main
boot.run()
"""
    shown = re.findall(r"^```text\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)[1]
    with closed_port() as port:
        database = workplace / "database.py"
        database.write_text(database.read_text("utf-8").replace("5432", str(port)), "utf-8")
        named = source.replace("5432", str(port))
        down = interpreter().run(named, "pool", cwd=workplace, **ENVIRONMENT)
        assert down.returncode == 75
        assert down.stderr.replace(str(port), "5432").endswith(shown)
        child = interpreter().run(named, "database", cwd=workplace, **ENVIRONMENT)
    assert child.returncode == 75
    assert "1. database could not be reached: OperationalError: " in child.stderr
    assert "migrated" in child.stdout
    assert DEFAULTS.max_check_retry_delay == 5


def test_every_state_and_number_is_the_true_one() -> None:
    """The table has the states of a run, and the seconds in the text are the defaults."""
    states = re.findall(r"^\| (\w+) \| [^|]+ \| (?:503|200)? *\|", TEXT, re.MULTILINE)
    assert states == [state for state in State if state not in {State.STOPPED, State.FORCED}]
    # At random the first delay is down to half of what it may be.
    first, longest = DEFAULTS.service_restart_delay / 2, DEFAULTS.max_service_restart_delay
    assert f"from {first:g} to {longest:g} s" in TEXT
    step = f"{DEFAULTS.handler_check_delay:g}"
    compared = f"every {step} s during a start, and after READY at intervals"
    assert f"{compared} that double up to {DEFAULTS.resync_interval:g} s" in " ".join(TEXT.split())
    assert "A second after the deadline" in TEXT
    assert DEFAULTS.forced_exit_delay == 1
