"""Checks of ``hive-boot doctor``, on real files and processes."""
