"""What a file of a secret holds, so that our reader reads exactly the value back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.secrets.field import Fault
from hive_boot.secrets.placeholder import is_placeholder
from hive_boot.secrets.sources.reading import EMPTY, LIMIT, NUL
from hive_boot.secrets.validation import PLACEHOLDER
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from hive_boot.secrets.field import Field
    from hive_boot.secrets.sources.reading import Value

_BOM = b"\xef\xbb\xbf"


def file_name(field: Field) -> str:
    """Give the name of the file that is made for a secret; a relative path, perhaps."""
    return field.file or field.name.lower()


def content_of(value: Value) -> bytes:
    """Give what a file has to hold so that a start reads ``value``, byte for byte.

    A start takes one byte order mark and one final newline away from a text. So nothing
    is added to a value, but to one that begins with such a mark, or ends with a newline:
    it gets one more. Bytes are read as they are.
    """
    if isinstance(value, SecretBytes):
        return value.reveal()
    raw = value.reveal().encode()
    return (_BOM if raw.startswith(_BOM) else b"") + raw + (b"\n" if raw.endswith(b"\n") else b"")


def value_in(raw: bytes, field: Field) -> Value | None:
    """Give the value that a start would read from a file that holds ``raw``.

    Returns:
        None when it is a text in no UTF-8.
    """
    if field.kind is SecretBytes:
        return SecretBytes(field.name, raw)
    raw = raw.removeprefix(_BOM)
    if raw.endswith(b"\n"):
        raw = raw.removesuffix(b"\r\n" if raw.endswith(b"\r\n") else b"\n")
    try:
        return Secret(field.name, raw.decode())
    except UnicodeDecodeError:
        pass
    return None


def fault_of(value: Value) -> Fault | None:
    """Tell why no start would take ``value`` from a file; None when it would."""
    plain = value.reveal()
    if not plain:
        return EMPTY
    if isinstance(plain, str) and "\0" in plain:
        return NUL
    if is_placeholder(value):
        return PLACEHOLDER
    if len(content_of(value)) > LIMIT:
        return Fault("too-large", f"is larger than the {LIMIT} bytes that a start reads")
    return None
