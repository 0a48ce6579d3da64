"""``python -m hive_boot`` is ``hive-boot``."""

from hive_boot.cli.main import entry_point

if __name__ == "__main__":
    entry_point()
