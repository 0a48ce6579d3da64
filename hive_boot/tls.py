"""TLS contexts that follow a rotation: their certificate, key and CAs are secrets."""

from __future__ import annotations

import os
import re
import ssl
import time
from binascii import a2b_base64
from calendar import timegm
from contextlib import contextmanager, suppress
from functools import partialmethod
from math import inf
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any, Never, Protocol
from weakref import WeakKeyDictionary

import anyio

from hive_boot._records import Record
from hive_boot.exceptions import DeclarationError, InvalidSecretsError, LifecycleError, Problem
from hive_boot.runtime import rotation_messages
from hive_boot.runtime.declarations import AppDeclaration
from hive_boot.runtime.injection import BoundCall, CheckSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from socket import socket

    from hive_boot.secrets.secret_set import SecretSet
    from hive_boot.secrets.sources.files import Value
    from hive_boot.secrets.store import Store

_OTHER_KEY = frozenset({"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""Reasons of OpenSSL for a key of another certificate, of the same type and of another one."""

_VERSION, _UTC_TIME = 0xA0, 0x17
"""Tags of DER: the version of a certificate, and a time with two digits for the year."""

_DAY = 86400

_WARN_BEFORE = (30 * _DAY, 7 * _DAY, _DAY)
"""Seconds before the expiry of a certificate at which a warning is logged."""

_COMPOSED = {"load_cert_chain", "load_default_certs", "set_servername_callback"}
"""Methods of SSLContext that call other methods, and the one that is refused."""

_reported: WeakKeyDictionary[AppDeclaration, dict[str, tuple[float, int]]] = WeakKeyDictionary()
"""The last expiry of each certificate, by its name, and how many times were passed before it.

Several contexts of an application may have the same certificate, whose expiry is logged once.
"""


class _Application(Protocol):
    """Part of a Bootstrap that a context uses."""

    _declaration: AppDeclaration

    def _store(self) -> Store[Any]:
        """Return the store of the running or loaded application."""


def server_context(
    boot: _Application, *, certificate: str, key: str, ca: str | None = None
) -> LiveContext:
    """Return a context for servers whose certificate is a secret, and follows its rotation.

    It is an :class:`ssl.SSLContext`. Each connection uses a context that was built from the pair in
    use, with the settings of this object: ALPN, CAs, ciphers, ``verify_mode``, versions. Starts and
    rotations of ``boot`` validate the pair; one that cannot be used is refused, and the last good
    one stays in use. A rotation does not disturb connections, and ends session resumption.

    Args:
        boot: the :class:`hive_boot.Bootstrap`.
        certificate: the field of the certificate chain, by its attribute or declared name. It is in
            PEM form, and the certificate of the server is first.
        key: the field of the private key in PEM form, which must not be encrypted. It may be the
            same field.
        ca: the field of the CAs that sign client certificates, in PEM form; then clients must have
            one. Default: clients are not asked, unless ``verify_mode`` is set.

    Raises:
        DeclarationError: a field is not declared, or the fields differ in ``activate_after``.
        InvalidSecretsError: the application is running, and its pair cannot be used.
    """
    context = LiveContext(ssl.PROTOCOL_TLS_SERVER, boot, certificate, key, ca)
    if ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    boot: _Application,
    *,
    certificate: str | None = None,
    key: str | None = None,
    ca: str | None = None,
) -> LiveContext:
    """Return a context for clients whose certificate or CAs are secrets, as a server's does.

    It requires a valid certificate of the server, with its host name.

    Args:
        boot: the :class:`hive_boot.Bootstrap`.
        certificate: as for :func:`server_context`. Default: the client has no certificate.
        key: as for :func:`server_context`.
        ca: the field of the CAs that sign server certificates. Default: those of this machine.

    Raises:
        DeclarationError: as for :func:`server_context`; or a certificate or its key is missing.
        InvalidSecretsError: as for :func:`server_context`.
    """
    context = LiveContext(ssl.PROTOCOL_TLS_CLIENT, boot, certificate, key, ca)
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def serving_context(boot: _Application, tls: object) -> LiveContext:
    """Return the context of ``boot.serve``.

    Args:
        boot: as for :func:`server_context`.
        tls: the fields of the certificate chain and of its key.

    Raises:
        DeclarationError: ``tls`` is not a pair of declared fields.
    """
    if not (isinstance(tls, tuple | list) and len(tls) == 2):  # noqa: PLR2004  (a pair)
        raise DeclarationError("tls= must be the names of two fields: the certificate and its key.")
    context = server_context(boot, certificate=tls[0], key=tls[1])
    context.sslobject_class = ServedConnection
    return context


class _Pair(Record):
    """A context that was built from certificate, key and CAs.

    Attributes:
        values: these values.
        context: the context.
        begins: the begin of the validity of the certificate, in seconds since the epoch.
        expires: the end of its validity; infinite without a certificate.
    """

    values: tuple[Value | None, ...]
    context: ssl.SSLContext
    begins: float
    expires: float


class LiveContext(ssl.SSLContext):
    """Context that uses, for each connection, another context of the pair in use.

    Settings are made on this object, which refuses wrong ones, and are repeated on each context. It
    has no certificate itself: code that did not ask for the pair in use could not connect.

    Args:
        _: the protocol, which is the side; ``SSLContext.__new__`` uses it.
        boot: the application.
        certificate: the field of the certificate chain; None without one, as each argument below.
        key: the field of its key.
        ca: the field of the CAs.
    """

    _settings: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = ()
    _attributes_set: tuple[str, ...] = ()
    _pair: _Pair | None = None
    _candidate: _Pair | None = None
    _is_valid: anyio.Event | None = None

    def __init__(
        self, _: int, boot: _Application, certificate: str | None, key: str | None, ca: str | None
    ) -> None:
        declaration = getattr(boot, "_declaration", None)
        if not isinstance(declaration, AppDeclaration):
            raise DeclarationError(f"Expected a Bootstrap as the first argument, not {boot!r}.")
        if (certificate is None) != (key is None) or certificate is ca is None:
            raise DeclarationError("A context needs certificate= and key=, or ca=, or all of them.")
        self._boot = boot
        self._declaration = declaration
        self._attributes = [
            None if name is None else next(iter(declaration.resolve_field_names([name])))
            for name in (certificate, key, ca)
        ]
        fields = declaration.field_index.fields
        self._names = ["" if each is None else fields[each].name for each in self._attributes]
        if len({fields[each].activate_after for each in self._attributes if each}) > 1:
            message = f"{self._label} must have the same activate_after=, to change together."
            raise DeclarationError(message)
        self._reported = _reported.setdefault(declaration, {})
        declaration.certificates.add(self)
        with suppress(LifecycleError):
            self._in_use()

    @property
    def check(self) -> tuple[BoundCall, CheckSpec]:
        """The check of the application that validates the values of a candidate."""
        call = BoundCall(self._check, {"secrets": "secrets"})
        call.display_name = self._label
        return call, CheckSpec(self._check, frozenset(filter(None, self._attributes)), None)

    def report_expiry(self) -> Mapping[str, float]:
        """Return when the certificate in use expires, by the name of its field.

        It is in seconds since the epoch. An expiry that is near is logged, once for each time.
        """
        with suppress(LifecycleError, InvalidSecretsError):
            if (pair := self._in_use()).expires < inf:
                return {self._names[0]: pair.expires}
        return {}

    async def wait(self) -> None:
        """Wait until a pair is valid."""
        if self._pair is self._candidate is None:
            self._is_valid = anyio.Event()
            await self._is_valid.wait()

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **options: Any
    ) -> ssl.SSLObject:
        """Return the TLS of one connection, which uses the pair in use.

        Raises:
            InvalidSecretsError: the pair cannot be used, and there was none before.
            LifecycleError: the application was not started.
        """
        context = self._in_use().context
        connection = context.wrap_bio(incoming, outgoing, *args, **_resumable(context, options))
        if isinstance(connection, ServedConnection):
            connection.outgoing = outgoing
        return connection

    def wrap_socket(self, sock: socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Return a socket that uses TLS; a listening one uses the pair in use at each ``accept``.

        Raises:
            InvalidSecretsError: as :meth:`wrap_bio`.
            LifecycleError: as :meth:`wrap_bio`.
        """
        is_server = args[0] if args else options.get("server_side")
        if is_server and not _is_connected(sock):
            # Its accept() calls this method of its context for each connection.
            return super().wrap_socket(sock, *args, **options)
        context = self._in_use().context
        return context.wrap_socket(sock, *args, **_resumable(context, options))

    def load_cert_chain(self, *_: object, **__: object) -> Never:
        """Raise DeclarationError: the certificate is a secret of the application."""
        message = f"The certificate of this context is {self._label}; it cannot load another one."
        raise DeclarationError(message)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if not name.startswith("_"):
            self._attributes_set = (*{**dict.fromkeys(self._attributes_set), name: None},)
            for pair in filter(None, (self._pair, self._candidate)):
                setattr(pair.context, name, value)

    def _apply(self, name: str, *args: object, **options: object) -> None:
        """Call a method that changes a setting, now and for each later context."""
        getattr(super(), name)(*args, **options)
        for pair in filter(None, (self._pair, self._candidate)):
            getattr(pair.context, name)(*args, **options)
        # Libraries set ALPN and CAs again for each connection.
        call = name, args, options
        others = [each for each in self._settings if each != call]
        if name.startswith("set_"):
            others = [each for each in others if each[0] != name]
        self._settings = (*others, call)

    def _read(self, name: str, *args: object, **options: object) -> object:
        """Call a method that returns what the context in use has; before it, this object."""
        source: Any = super()
        with suppress(LifecycleError, InvalidSecretsError):
            source = self._in_use().context
        return getattr(source, name)(*args, **options)

    @property
    def _label(self) -> str:
        return " with ".join(dict.fromkeys(filter(None, self._names)))

    async def _check(self, secrets: SecretSet) -> None:
        self._candidate = self._build(self._values(secrets))
        if self._is_valid is not None:
            self._is_valid.set()

    def _values(self, secrets: SecretSet) -> tuple[Value | None, ...]:
        return tuple(getattr(secrets, each) if each else None for each in self._attributes)

    def _in_use(self) -> _Pair:
        """Return the pair in use; after the end of the run the last one.

        Raises:
            InvalidSecretsError: the pair cannot be used, and there was none before.
            LifecycleError: the application was not started.
        """
        pair = self._pair
        try:
            store = self._boot._store()
        except LifecycleError:
            if pair is None:
                raise
            return pair
        values = self._values(store.view.current)
        if pair is None or values != pair.values:
            pair = self._validated(values, pair)
            if store.is_rebuilding:
                return pair  # in use when no new instance has failed
            self._pair = pair
        self._warn(pair)
        return pair

    def _validated(self, values: tuple[Value | None, ...], last: _Pair | None) -> _Pair:
        """Return the pair of values that have come into use, or the last good one."""
        if self._candidate is not None and self._candidate.values == values:
            return self._candidate
        try:
            return self._build(values)
        except (OSError, ValueError) as exc:
            problem = Problem(self._label, "check", f"was refused: {exc}")
        if last is not None:
            return last
        # Raised here, because the frames of the caught exception contain the key.
        raise InvalidSecretsError([problem], declaration=self._declaration.name)

    def _warn(self, pair: _Pair) -> None:
        """Log that the certificate expires soon, or has expired, once for each time."""
        left = pair.expires - time.time()
        # A certificate for a few days is always about to expire.
        steps = [each for each in _WARN_BEFORE if 2 * each <= pair.expires - pair.begins]
        passed = sum(left <= each for each in (*steps, 0))
        name, step = self._names[0], (pair.expires, passed)
        if passed and step != self._reported.get(name):
            rotation_messages.log_certificate_expiry(name, pair.expires, left)
        self._reported[name] = step

    def _build(self, values: tuple[Value | None, ...]) -> _Pair:
        """Return a new context with all settings.

        Raises:
            OSError: no temporary file can be written.
            ValueError: a value is absent or not usable, or a file of a setting cannot be read; the
                text contains names and no value.
        """
        context = ssl.SSLContext(self.protocol)
        context.check_hostname = False  # otherwise verify_mode could not be CERT_NONE
        for name, args, options in self._settings:
            try:
                getattr(context, name)(*args, **options)
            except OSError as exc:  # a file, which was readable before
                paths = ", ".join(map(str, filter(None, (*args, *options.values()))))
                raise ValueError(f"{name}({paths}) has failed: {exc.strerror}") from None
        for name in self._attributes_set:
            setattr(context, name, getattr(self, name))
        # check_hostname has changed verify_mode if it was set before.
        context.check_hostname = self.check_hostname
        context.verify_mode = self.verify_mode
        (certificate_name, key_name, ca_name), (certificate, key, ca) = self._names, values
        begins, expires = 0.0, inf
        if certificate_name:
            chain = _pem(certificate_name, certificate, b"CERTIFICATE")
            _load_pair(context, certificate_name, chain, key_name, key)
            begins, expires = _validity(chain)
            if not begins <= time.time() < expires:
                text = "has expired" if begins <= time.time() else "is not valid yet"
                raise ValueError(f"the certificate in {certificate_name} {text}")
        if ca_name:
            authorities = _pem(ca_name, ca, b"CERTIFICATE").decode("ascii", "ignore")
            try:
                context.load_verify_locations(cadata=authorities)
            except ssl.SSLError as exc:
                message = f"OpenSSL cannot use {ca_name}: {exc.reason or 'it is damaged'}"
                raise ValueError(message) from None
        return _Pair(values, context, begins, expires)


for _name in dir(ssl.SSLContext):
    if _name.startswith(("load_", "set_")) and _name not in _COMPOSED:
        setattr(LiveContext, _name, partialmethod(LiveContext._apply, _name))  # noqa: SLF001
for _name in ("cert_store_stats", "get_ca_certs", "session_stats"):
    setattr(LiveContext, _name, partialmethod(LiveContext._read, _name))  # noqa: SLF001


class ServedConnection(ssl.SSLObject):
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


def _is_connected(sock: socket) -> bool:
    with suppress(OSError):
        sock.getpeername()
        return True
    return False


def _resumable(context: ssl.SSLContext, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options without a session of another context, which a rotation has ended."""
    if options.get("session") is not None:
        try:
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), session=options["session"])
        except ValueError:
            return {**options, "session": None}
    return options


def _pem(name: str, value: Value | None, what: bytes) -> bytes:
    """Return the bytes of a value that contains a PEM block, and no half of one at its end."""
    revealed = b"" if value is None else value.reveal()
    data = revealed.encode() if isinstance(revealed, str) else revealed
    if what + b"-----" not in data:
        found = re.search(rb"-----BEGIN ([A-Z0-9 ]+)-----", data)
        others = f"{found[1].decode()} and " if found else ""
        raise ValueError(f"{name} contains {others}no {what.decode()} in PEM form")
    if b"\n" not in data.strip():
        raise ValueError(f"{name} has no line breaks. Fix: store it as it is in the PEM file")
    # OpenSSL ignores a last line that is cut before the end of `-----BEGIN CERTIFICATE-----`.
    last = data.rstrip().rpartition(b"\n")[2]
    if re.fullmatch(rb"-{1,5}[A-Z0-9 ]*-{0,4}|-----BEGIN [A-Z0-9 ]+-----", last):
        raise ValueError(f"{name} ends within a PEM block")
    return data


def _load_pair(
    context: ssl.SSLContext, certificate_name: str, chain: bytes, key_name: str, key: Value | None
) -> None:
    """Load a certificate chain and its key into a context."""
    private = _pem(key_name, key, b"PRIVATE KEY")

    def refuse_to_ask() -> Never:  # without a callback OpenSSL asks the terminal
        raise ValueError(
            f"{key_name} is encrypted with a passphrase. Fix: store the decrypted key, which "
            "`openssl pkey -in KEY` prints"
        )

    with _readable_file(chain) as chain_path, _readable_file(private) as key_path:
        try:
            context.load_cert_chain(chain_path, key_path, password=refuse_to_ask)
        except ssl.SSLError as exc:
            reason = exc.reason or "the PEM data is damaged"
            message = f"OpenSSL cannot use {certificate_name} with {key_name}: {reason}"
            if exc.reason in _OTHER_KEY:
                message = (
                    f"{key_name} does not belong to the first certificate in {certificate_name}. "
                    "Fix: store the certificate of this key first, and its intermediates after it"
                )
            raise ValueError(message) from None


def _validity(chain: bytes) -> tuple[float, float]:
    """Return the begin and the end of the validity of the first certificate.

    The module ``ssl`` shows them only of a CA, or of a peer that it has verified, which an expired
    certificate prevents. https://www.rfc-editor.org/rfc/rfc5280#section-4.1

    Args:
        chain: the certificates in PEM form, which OpenSSL has accepted.
    """
    der = a2b_base64(chain.partition(b"CERTIFICATE-----")[2].partition(b"-----END")[0])

    def content(at: int) -> tuple[int, int]:
        """Return the begin and the end of the content of the element at a position."""
        length, at = der[at + 1], at + 2
        if length & 0x80:  # it is the length of the length
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        return at, at + length

    at, _ = content(content(0)[0])  # the first element of TBSCertificate
    has_version = der[at] == _VERSION
    for _ in range(3 + has_version):  # serialNumber, signature, issuer
        _, at = content(at)
    at, _ = content(at)
    times = []
    for _ in range(2):
        is_short = der[at] == _UTC_TIME
        begin, at = content(at)
        text = der[begin:at].decode()
        century = ("19" if text >= "50" else "20") if is_short else ""
        times.append(float(timegm(time.strptime(century + text, "%Y%m%d%H%M%SZ"))))
    return times[0], times[1]


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
            os.unlink(path)  # as mkstemp returned it


def _memory_file() -> tuple[int, str] | None:
    """Return the descriptor and the path of a new file in memory; None if it cannot be opened."""
    with suppress(AttributeError, OSError):
        descriptor = os.memfd_create("hive_boot")
        path = f"/proc/self/fd/{descriptor}"
        if os.access(path, os.R_OK):
            return descriptor, path
        os.close(descriptor)  # without /proc, or in a process that is not dumpable
    return None
