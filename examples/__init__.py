"""Services built on hive_boot."""
