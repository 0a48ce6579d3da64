"""What stands in a rendered manifest where somebody has to put a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from hive_boot.secrets.value import SecretBytes

MARK = "<hive-boot placeholder"
"""How every placeholder begins. It holds no character that YAML, JSON or a shell would change."""

_BYTES = MARK.encode()


def placeholder(name: str) -> str:
    """Give what stands for the value of a secret; no start takes it for one.

    Args:
        name: the secret's name.
    """
    return f"{MARK}: put the value of {name} here>"


def is_placeholder(value: Secret | SecretBytes) -> bool:
    """Tell whether a value is none yet, with whatever was written around it."""
    if isinstance(value, Secret):
        return value.reveal().startswith(MARK)
    return value.reveal().startswith(_BYTES)
