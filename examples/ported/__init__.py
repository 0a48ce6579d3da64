"""An application before and after it was ported to hive_boot."""
