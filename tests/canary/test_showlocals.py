"""Output of ``pytest --showlocals``: the variables of hive_boot's frames contain no value.

As in ``test_frames.py``, only frames of hive_boot are searched.

"""

import os
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL

from hive_boot.secrets import global_access, value
from tests.canary.canaries import ENVIRONMENT
from tests.canary.frames import sections
from tests.canary.outputs import Outputs
from tests.canary.programs import failing_tests
from tests.fixtures.package import OURS
from tests.support import FEW_PLUGINS, child_environment


def test_pytest_that_shows_variables(tmp_path: Path) -> None:
    """A test that fails in a frame of hive_boot shows no value there."""
    child = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *FEW_PLUGINS,
            "--noconftest",
            "--import-mode=importlib",
            "--tb=long",
            "--showlocals",
            "-vv",
            f"--rootdir={tmp_path}",
            "-c",
            os.devnull,
            "-o",
            "hive_boot_mode=environment",
            failing_tests.__file__,
        ],
        env=child_environment(**ENVIRONMENT),
        stdin=DEVNULL,
        capture_output=True,
        timeout=100,
        check=False,
    )
    report = child.stdout.decode()
    assert child.returncode == 1, report
    outputs = Outputs()
    found = set()
    for where, section in sections(report):
        found.add(where)
        outputs.add(where, section)
    expected = {str(module.__file__).removeprefix(OURS) for module in (global_access, value)}
    assert expected <= found, report
    outputs.assert_silent()
