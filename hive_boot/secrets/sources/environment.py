"""Read variables of the process's environment; it is never written to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hive_boot.secrets.sources.reading import NOT_UTF_8, Outcome
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from hive_boot.secrets.field import Field


def as_value(field: Field, text: str) -> Outcome:
    """Make a text the value of ``field``.

    Python hands bytes that are not UTF-8 over as lone surrogates (PEP 383):
    SecretBytes get those bytes back, a Secret refuses them.
    """
    if field.kind is SecretBytes:
        try:
            return SecretBytes(field.name, os.fsencode(text))
        except UnicodeEncodeError:
            # Under an ASCII locale: this is the text of a .env file, which is UTF-8.
            return SecretBytes(field.name, text.encode())
    try:
        text.encode()
    except UnicodeEncodeError:
        return NOT_UTF_8
    return Secret(field.name, text)
