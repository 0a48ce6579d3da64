"""``python -m hive_boot`` is ``hive-boot``."""

from hive_boot.cli.main import script

if __name__ == "__main__":
    script()
