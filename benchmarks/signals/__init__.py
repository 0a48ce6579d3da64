"""Ten moments at which a signal comes, the same for each subject: ``python -m benchmarks.signals``.

The subjects are hive_boot and the libraries that own a process, or a server, in its place.
"""
