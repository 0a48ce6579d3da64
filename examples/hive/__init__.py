"""HIVE: a small FastAPI service that does not start without its secrets."""
