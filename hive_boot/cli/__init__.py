"""Command line: one module for each `hive-boot` command."""
