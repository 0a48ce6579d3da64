"""What hypercorn is told: the names are its own, and it reads this module."""

from __future__ import annotations

from benchmarks.signals.apps import trouble

bind = [f"127.0.0.1:{trouble.PORT}"]
graceful_timeout = trouble.STOP_TIMEOUT
shutdown_timeout = trouble.STOP_TIMEOUT
