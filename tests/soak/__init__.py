"""Soak test, ``python -m tests.soak``: an application under load, with faulty writers."""
