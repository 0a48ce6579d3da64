"""Rotation benchmark: ten moments of a mounted secret, the same for each subject.

``python -m benchmarks.rotations`` prints the table. The subjects are hive_boot, libraries that read
settings from files, and a loop over the changes of a directory.
"""
