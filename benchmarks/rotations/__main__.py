"""Rotation benchmark command: ``python -m benchmarks.rotations`` prints the table."""

from __future__ import annotations

import sys

from benchmarks.comparison import run
from benchmarks.rotations.scenarios import ROTATIONS

if __name__ == "__main__":
    sys.exit(run(ROTATIONS, sys.argv[1:]))
