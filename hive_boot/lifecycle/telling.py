"""What is said of a life. A filter or a handler of the application's that raises ends none."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

_log = logging.getLogger("hive_boot")


def say(level: int, text: str, *args: object, **more: Any) -> None:  # noqa: ANN401  (the logger's)
    """Log something; never raises."""
    with suppress(Exception):
        _log.log(level, text, *args, stacklevel=2, **more)
