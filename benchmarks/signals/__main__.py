"""Signal benchmark command: ``python -m benchmarks.signals`` prints the table of all scenarios."""

from __future__ import annotations

import sys

from benchmarks.comparison import run
from benchmarks.signals.scenarios import SIGNALS

if __name__ == "__main__":
    sys.exit(run(SIGNALS, sys.argv[1:]))
