"""The benchmark of the page, in which each rotation fails at first."""

import pytest

from benchmarks.databases import ARE_INSTALLED, MISSING
from tests.support import run_python

pytestmark = pytest.mark.skipif(not ARE_INSTALLED, reason=MISSING)


def test_no_failure_reaches_a_client() -> None:
    """No request and no handshake fails, and each revoked credential is refused."""
    child = run_python("-m", "benchmarks.follow", "--faults", "--seconds", "1", seconds=110)
    assert child.returncode == 0, child.stdout + child.stderr
    assert "| TLS | 4 | 4 | 0 | 1 |" in child.stdout
