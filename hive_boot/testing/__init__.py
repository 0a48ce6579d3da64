"""For tests: other secrets for a while, and mounts written as platforms write them, or worse.

What pytest gets of it by itself, fixtures among others, is in :mod:`hive_boot.testing.plugin`.
"""

from hive_boot.testing.directories import PlainDirectory
from hive_boot.testing.mounts import MountError
from hive_boot.testing.overriding import override
from hive_boot.testing.pinned import PinnedFile
from hive_boot.testing.storms import Storm
from hive_boot.testing.volumes import MountedVolume

__all__ = [
    "MountError",
    "MountedVolume",
    "PinnedFile",
    "PlainDirectory",
    "Storm",
    "override",
]

# A traceback and a help page name what users import, not the room that it lives in.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
