"""Test applications of the rotation benchmark: one for each subject."""
