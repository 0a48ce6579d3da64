"""The command line: ``hive-boot``, also ``python -m hive_boot``."""
