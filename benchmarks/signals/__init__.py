"""Signal benchmark: fifteen scenarios, the same for each subject: ``python -m benchmarks.signals``.

The subjects are hive_boot, libraries that run a process, and servers.
"""
