"""The functions through which Python shows things to people, and where their wrappers are.

The wrappers are imported when there is something to show: many starts show nothing.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

HookModule = Literal["logged", "printed"]

PATCHED_FUNCTIONS: tuple[tuple[Any, str, HookModule, str], ...] = (
    (logging.Logger, "callHandlers", "logged", "call_handlers"),
    (logging.Handler, "filter", "logged", "handler_filter"),
    (logging.Handler, "format", "logged", "handler_format"),
    (logging.Handler, "handleError", "logged", "handle_error"),
    (sys, "excepthook", "printed", "excepthook"),
    (threading, "excepthook", "printed", "thread_excepthook"),
    (sys, "unraisablehook", "printed", "unraisablehook"),
    (traceback, "print_exception", "printed", "print_exception"),
    (warnings, "formatwarning", "printed", "format_warning"),
)
"""Owner and name of each, and the room and the name of what makes its wrapper."""


def load_wrapper(room: HookModule, name: str) -> Callable[..., Any]:
    """Give what makes a wrapper."""
    if room == "logged":
        from hive_boot.redaction import logged  # noqa: PLC0415  (see above)

        return getattr(logged, name)  # type: ignore[no-any-return]
    from hive_boot.redaction import printed  # noqa: PLC0415  (see above)

    return getattr(printed, name)  # type: ignore[no-any-return]
