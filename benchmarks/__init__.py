"""Benchmarks of hive_boot, each compared with a baseline: ``python -m benchmarks``."""
