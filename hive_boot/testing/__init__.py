"""Test support: temporary secrets for an application, and volumes written as the kubelet does.

:mod:`hive_boot.testing.plugin` is the pytest plugin, with its fixtures.
"""

from hive_boot.testing._override import override
from hive_boot.testing._volume import MountedVolume

__all__ = ["MountedVolume", "override"]

# Tracebacks and help() then show the public path instead of the private module.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
