"""Command line: one module per `hive-boot` command, and the helpers that they share."""
