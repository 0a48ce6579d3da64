"""``python -m hive_boot`` is ``hive-boot``."""

import sys

from hive_boot.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
