"""The tests of hive_boot; they mirror the package."""
