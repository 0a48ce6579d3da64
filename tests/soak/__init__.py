"""An application under load, and writers who are not kind to it: ``python -m tests.soak``."""
