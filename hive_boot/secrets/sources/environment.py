"""Read variables of the process's environment; it is never written to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hive_boot.secrets.sources.reading import Fault
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from hive_boot.secrets.declaration import Field


def as_value(field: Field, text: str) -> Secret | SecretBytes | Fault:
    """Make a variable's text the value of ``field``.

    Python hands bytes that are not UTF-8 over as lone surrogates (PEP 383):
    SecretBytes get those bytes back, a Secret refuses them.
    """
    if field.kind is SecretBytes:
        return SecretBytes(field.name, os.fsencode(text))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = ""
    return Secret(field.name, text) if text else Fault("not-utf-8", "is not UTF-8 text")
