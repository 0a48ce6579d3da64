"""The account that ``python -m examples.rotation`` gives, for a moment under load."""

import re
from pathlib import Path

from tests.support import run_child, run_python

ACCOUNT = re.compile(
    r"requests +(?P<requests>\d+)\n"
    r"failures +(?P<failures>\d+)\n"
    r"(?P<reasons>( .*\n)*)"
    r"generations +(?P<generations>\d+)\n"
    r"swap to use +p50 (?P<p50>[\d.]+|nan) ms, p99 (?P<p99>[\d.]+|nan) ms\n"
)

WITHOUT_GRACE = """
import sys
from hive_boot import Secret, SecretSet, secret
from examples import rotation

class Keys(SecretSet):
    key_id: Secret
    signing_key: Secret = secret(min_length=32)

rotation.Keys = Keys
rotation.TIMEOUT = 0.5
rotation.main()
"""


def test_a_rotation_under_load_costs_no_request(tmp_path: Path) -> None:
    """Whoever tries it sees no failure, several generations, and nothing left behind."""
    command = ["-m", "examples.rotation", "--seconds", "0.5"]
    done = run_python(*command, seconds=100, TMPDIR=str(tmp_path))
    account = ACCOUNT.fullmatch(done.stdout)
    assert account, done.stdout + done.stderr
    assert (done.returncode, done.stderr) == (0, "")
    assert account["failures"] == "0"
    assert account["reasons"] == ""
    assert int(account["generations"]) >= 2
    assert int(account["requests"]) >= int(account["generations"])
    assert 0 < float(account["p50"]) <= float(account["p99"])
    assert [path.name for path in tmp_path.iterdir()] == ["cwd"]


def test_a_failure_is_told_by_account_and_exit_code(tmp_path: Path) -> None:
    """Without a grace every client is shut out by the first rotation, and that is not hidden."""
    done = run_child(WITHOUT_GRACE, TMPDIR=str(tmp_path))
    account = ACCOUNT.fullmatch(done.stdout)
    assert account, done.stdout + done.stderr
    assert done.returncode == 1
    assert int(account["failures"]) > 0
    assert account["generations"] == "1"
    assert "401 " in account["reasons"]
    assert "0.5 s" in account["reasons"]
    assert "fake-" not in account["reasons"] + done.stderr
