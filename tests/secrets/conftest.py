"""What several tests of secrets need."""

import threading
from collections.abc import Iterator

import pytest


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Return what a check that hangs waits for; it is set when the test ends."""
    event = threading.Event()
    yield event
    event.set()
