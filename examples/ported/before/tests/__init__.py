"""Tests of the task list."""
