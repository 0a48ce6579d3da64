"""The functions through which Python shows things to people, and their wrappers."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings

from hive_boot.redaction import logged, printed

PLACES = (
    (logging.Logger, "callHandlers", logged.call_handlers),
    (logging.Handler, "filter", logged.handler_filter),
    (logging.Handler, "format", logged.handler_format),
    (logging.Handler, "handleError", logged.handle_error),
    (sys, "excepthook", printed.excepthook),
    (threading, "excepthook", printed.thread_excepthook),
    (sys, "unraisablehook", printed.unraisablehook),
    (traceback, "print_exception", printed.print_exception),
    (warnings, "formatwarning", printed.format_warning),
)
"""Owner, name and wrapper of each."""
