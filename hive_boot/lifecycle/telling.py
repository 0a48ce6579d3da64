"""What is said of a life. A filter or a handler of the application's that raises ends none."""

from __future__ import annotations

import logging
from functools import partial

from hive_boot._output import log_safely

log_event = partial(log_safely, logger=logging.getLogger("hive_boot"))
"""Log a message; never raises."""
