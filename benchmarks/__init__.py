"""What hive_boot costs, each figure beside its floor: ``python -m benchmarks``."""
