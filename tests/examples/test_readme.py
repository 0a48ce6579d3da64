"""What examples/hive/README.md shows, against a running HIVE."""

import shutil
from pathlib import Path

import pytest

from tests.docs.reading import blocks_of, read_page, replay
from tests.examples.service import Service, started
from tests.examples.test_process import write_env
from tests.fixtures.ports import free_port
from tests.support import child_environment, run_child

REQUESTS, DEMO = [block.text for block in blocks_of(read_page("examples/hive/README.md"))]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_requests_get_these_answers(home: Path) -> None:
    """A reader who types the six requests sees what the page shows."""

    def answer(service: Service) -> str:
        port = service.url.rpartition(":")[2]
        typed = REQUESTS.replace(":3000", f":{port}")
        return replay(typed, home, child_environment()).replace(f":{port}", ":3000")

    write_env(home)
    with started(home, "examples.hive", HIVE_BOOT_MODE="development") as service:
        assert answer(service) == REQUESTS


def test_the_demo_rotates_and_ends(home: Path) -> None:
    """``make demo`` prints each step, and ends by itself with nothing left."""
    write_env(home)
    port = str(free_port())
    done = run_child(
        "import runpy, sys; sys.argv[1:] = ['--pause', '0.1'];"
        "runpy.run_module('examples.hive.demo', run_name='__main__', alter_sys=True)",
        cwd=home,
        PORT=port,
        HIVE_BOOT_PROFILE="development",
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.replace(f":{port}", ":3000")
    assert f"$ make demo\n{shown}" == DEMO
    assert "JWT_SECRET has 9 characters" in done.stderr
