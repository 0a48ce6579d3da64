"""Checks of the doctor command, one module per subject."""
