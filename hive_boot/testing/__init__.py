"""Test support: temporary secrets for an application, and simulated kubelet volumes.

:mod:`hive_boot.testing.plugin` is the pytest plugin, with its fixtures.
"""

from hive_boot.testing._override import override
from hive_boot.testing._volume import MountedVolume

__all__ = ["MountedVolume", "override"]

# Tracebacks and help() show the public module instead of the private one.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
