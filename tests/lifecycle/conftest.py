"""Fixtures of the lifecycle tests."""

from tests.fixtures.threads import gate

__all__ = ["gate"]
