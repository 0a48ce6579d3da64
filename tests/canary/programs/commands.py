"""Program of the command line: ``python -m tests.canary.programs.forked commands``."""

import sys

from hive_boot.cli import check, doctor, manifests, rotate  # noqa: F401  (imported before the fork)
from hive_boot.cli.main import entry_point
from tests.canary.programs import declared  # noqa: F401  (as above)


def main(*typed: str) -> None:
    """Run a command, as ``python -m hive_boot`` does."""
    sys.argv = ["hive-boot", *typed]
    entry_point()
