"""Secrets: declaration, sources, validation, store and watcher. It does not import `lifecycle`."""
