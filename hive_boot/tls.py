"""TLS: the SSL context of a server, whose certificate and key are secrets."""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager, suppress
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any, Never

import anyio

from hive_boot.exceptions import DeclarationError
from hive_boot.runtime.declarations import CheckSpec
from hive_boot.runtime.injection import BoundCall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hive_boot.runtime.declarations import AppDeclaration
    from hive_boot.secrets.secret_set import SecretSet
    from hive_boot.secrets.sources.files import Value


_OTHER_KEY = frozenset({"KEY_TYPE_MISMATCH", "KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""Reasons of OpenSSL for a key that does not belong to a certificate, by their types."""


class ServerCertificate:
    """Certificate and key of a server, validated by a check of the application.

    Args:
        declaration: the declared application.
        tls: the fields of the certificate chain and of its private key, both in PEM form; one
            field may contain both.

    Raises:
        DeclarationError: ``tls`` is not a pair of declared fields.
    """

    def __init__(self, declaration: AppDeclaration, tls: object) -> None:
        if not (isinstance(tls, tuple | list) and len(tls) == 2):  # noqa: PLR2004  (a pair)
            message = "tls= must be the names of two fields: the certificate and its key."
            raise DeclarationError(message)
        self._attributes = [
            attribute for name in tls for attribute in declaration.resolve_field_names([name])
        ]
        fields = declaration.field_index.fields
        self._names = [fields[attribute].name for attribute in self._attributes]
        self._is_valid = anyio.Event()

    @property
    def check(self) -> tuple[BoundCall, CheckSpec]:
        """The check: the server uses the context of its first success, at the start."""
        call = BoundCall(self._check, {"secrets": "secrets"})
        call.display_name = " with ".join(dict.fromkeys(self._names))
        return call, CheckSpec(self._check, frozenset(self._attributes), None)

    async def wait(self) -> ssl.SSLContext:
        """Wait until the pair is valid, and return its context."""
        await self._is_valid.wait()
        return self._context

    async def _check(self, secrets: SecretSet) -> None:
        values: list[Value | None] = [getattr(secrets, each) for each in self._attributes]
        self._context = make_context(*zip(self._names, values, strict=True))
        self._is_valid.set()


class _Connection(ssl.SSLObject):
    """TLS of one connection, whose end is sent and not waited for once everything is written.

    asyncio waits for the client to confirm the end, which a client with an idle connection does
    not do, so the connection would hold the stop. TLS does not require to wait:
    https://www.rfc-editor.org/rfc/rfc8446#section-6.1
    """

    outgoing: ssl.MemoryBIO

    def unwrap(self) -> None:
        """Send the end of the connection."""
        is_written = not self.outgoing.pending
        try:
            super().unwrap()
        except ssl.SSLWantReadError:
            if not is_written:
                raise


class _ServerContext(ssl.SSLContext):
    """Context whose connections know what they still have to write."""

    sslobject_class = _Connection

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        *args: Any,  # noqa: ANN401  (the options of SSLContext)
        **options: Any,  # noqa: ANN401
    ) -> ssl.SSLObject:
        """Return the TLS of one connection."""
        connection = super().wrap_bio(incoming, outgoing, *args, **options)
        if isinstance(connection, _Connection):
            connection.outgoing = outgoing
        return connection


def make_context(
    certificate: tuple[str, Value | None], key: tuple[str, Value | None]
) -> ssl.SSLContext:
    """Return the context of a server.

    Args:
        certificate: the name and the value of the certificate chain, the server's own first.
        key: the name and the value of its private key.

    Raises:
        ValueError: a value is absent or not usable; the text contains names and no value.
    """
    (certificate_name, chain), (key_name, private) = (
        (name, _pem(name, value, what))
        for (name, value), what in ((certificate, b"CERTIFICATE"), (key, b"PRIVATE KEY"))
    )

    def refuse_to_ask() -> Never:  # without a callback OpenSSL asks the terminal
        message = (
            f"{key_name} is encrypted with a passphrase. Fix: store the decrypted key, which "
            "`openssl pkey -in KEY` prints"
        )
        raise ValueError(message)

    context = _ServerContext(ssl.PROTOCOL_TLS_SERVER)
    with _readable_file(chain) as chain_path, _readable_file(private) as key_path:
        try:
            context.load_cert_chain(chain_path, key_path, password=refuse_to_ask)
        except ssl.SSLError as exc:
            if exc.reason in _OTHER_KEY:
                message = f"{key_name} does not belong to the first certificate in "
                message += certificate_name
            else:
                reason = exc.reason or "the PEM data is damaged"
                message = f"OpenSSL cannot use {certificate_name} with {key_name}: {reason}"
            raise ValueError(message) from None
    return context


def _pem(name: str, value: Value | None, what: bytes) -> bytes:
    """Return the bytes of a value that contains a PEM block."""
    revealed = b"" if value is None else value.reveal()
    data = revealed.encode() if isinstance(revealed, str) else revealed
    if what + b"-----" not in data:
        message = f"{name} contains no {what.decode()} in PEM form"
        raise ValueError(message)
    return data


@contextmanager
def _readable_file(data: bytes) -> Iterator[str]:
    """Yield the path of a file in memory, or otherwise of a temporary file of mode 0600."""
    descriptor, path = _memory_file() or mkstemp()
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield path
    finally:
        os.close(descriptor)
        with suppress(OSError):  # a file in memory is gone
            os.unlink(path)  # noqa: PTH108  (as mkstemp returned it)


def _memory_file() -> tuple[int, str] | None:
    """Return the descriptor and the path of a new file in memory; None if it cannot be opened."""
    with suppress(AttributeError, OSError):
        descriptor = os.memfd_create("hive_boot")
        path = f"/proc/self/fd/{descriptor}"
        if os.access(path, os.R_OK):
            return descriptor, path
        os.close(descriptor)  # without /proc, or in a process that is not dumpable
    return None
