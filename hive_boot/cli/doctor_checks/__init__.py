"""Checks of `hive-boot doctor`."""
