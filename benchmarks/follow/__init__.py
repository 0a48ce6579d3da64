"""Rotation under load: ``python -m benchmarks.follow``.

A service serves TLS, verifies tokens, and uses PostgreSQL and Redis, while all credentials rotate.
"""
