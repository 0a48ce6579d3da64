"""Configuration of hypercorn, which imports this module; the names are hypercorn's."""

from __future__ import annotations

from benchmarks.signals.apps import components

bind = [f"127.0.0.1:{components.PORT}"]
graceful_timeout = components.STOP_TIMEOUT
shutdown_timeout = components.STOP_TIMEOUT
