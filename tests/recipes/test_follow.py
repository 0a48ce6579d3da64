"""The benchmark of the page, in which each rotation fails at first."""

import subprocess
import sys

import pytest

from benchmarks.databases import ARE_INSTALLED, MISSING
from tests.support import ROOT, child_environment

pytestmark = pytest.mark.skipif(not ARE_INSTALLED, reason=MISSING)


def test_no_failure_reaches_a_client() -> None:
    """No request and no handshake fails, and each revoked credential is refused."""
    command = [sys.executable, "-m", "benchmarks.follow", "--faults", "--seconds", "1"]
    child = subprocess.run(
        command,
        env=child_environment(),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert child.returncode == 0, child.stdout + child.stderr
    assert "| TLS | 4 | 4 | 0 | 1 |" in child.stdout
