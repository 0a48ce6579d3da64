"""Read variables of the process's environment; it is never written to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hive_boot.redaction.sealing import _OpaqueIterator
from hive_boot.secrets.sources.reading import NOT_UTF_8, ValueOrProblem
from hive_boot.secrets.value import Secret, SecretBytes, value_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot.secrets.field import Field


def as_value(field: Field, read: Callable[[], str]) -> ValueOrProblem:
    """Make a text the value of ``field``.

    Python hands bytes that are not UTF-8 over as lone surrogates (PEP 383):
    SecretBytes get those bytes back, a Secret refuses them.

    Args:
        field: the field.
        read: gives the text; no variable holds it here.
    """
    if field.kind is SecretBytes:
        try:
            return value_of(SecretBytes, field.name, _OpaqueIterator(os.fsencode(read())).__next__)
        except UnicodeEncodeError:
            # Under an ASCII locale: this is the text of a .env file, which is UTF-8.
            return value_of(SecretBytes, field.name, _OpaqueIterator(read().encode()).__next__)
    try:
        read().encode()
    except UnicodeEncodeError:
        return NOT_UTF_8
    return value_of(Secret, field.name, read)
