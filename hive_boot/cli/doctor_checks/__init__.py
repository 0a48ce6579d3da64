"""Checks of ``hive-boot doctor``, one module for each subject."""
