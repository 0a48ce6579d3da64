"""Secrets: declaration, sources, validation, store and watcher. It does not import `lifecycle`."""

TYPE_CHECKING = False  # the pytest plugin imports this package in every pytest run
if TYPE_CHECKING:
    from typing import Any

pinned_settings: "Any" = None
"""PinnedSettings of the pytest plugin, which sets it; None outside a test session."""
