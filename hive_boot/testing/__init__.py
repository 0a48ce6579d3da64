"""Test support: temporary secrets and resources of an application, and simulated kubelet volumes.

:mod:`hive_boot.testing.plugin` is the pytest plugin, with its fixtures. Every pytest run imports
this package, so a public name is imported when it is first used.
"""

import hive_boot as _hive_boot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hive_boot.testing._override import override as override
    from hive_boot.testing._volume import MountedVolume as MountedVolume

    __all__: list[str]
else:
    __all__ = ["MountedVolume", "override"]
    __getattr__, __dir__ = _hive_boot._lazy_names(
        __name__, {"MountedVolume": "_volume", "override": "_override"}
    )

del TYPE_CHECKING
