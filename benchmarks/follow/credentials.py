"""Credentials of the service: how each of the four objects creates, revokes and refuses one."""

from __future__ import annotations

import json
import secrets
import ssl
import subprocess
import time
from contextlib import contextmanager
from http.client import HTTPSConnection
from typing import TYPE_CHECKING, NamedTuple

import jwt

from benchmarks.follow.tokens import key_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.databases import Databases

OBJECTS = ("PostgreSQL", "Redis", "TLS", "JWT")

_TABLE = "CREATE TABLE orders (number int)"
_USER = "orders"
_UNAUTHORIZED = 401
_CLOSED_WITHIN = 5.0


class Credentials(NamedTuple):
    """The credentials of one rotation.

    Attributes:
        number: the number of the rotation.
        password: the password of the role of PostgreSQL, and of the user of Redis.
        jwt_secret: the signing key.
        tls_crt: the certificate, which is its own CA.
        tls_key: the key of the certificate.
    """

    number: int
    password: str
    jwt_secret: str
    tls_crt: str
    tls_key: str

    @property
    def role(self) -> str:
        """The role of PostgreSQL: two of them take turns."""
        return f"{_USER}_{self.number % 2}"


class Issuer:
    """Creates and revokes credentials.

    Args:
        databases: the servers.
        directory: a directory for certificates and for the file ``trust`` of the clients.
        port: the port of the service.

    Attributes:
        trust: the file with what the clients trust.
        refused: by object, how many revoked credentials were refused.
        accepted: by object, how many revoked credentials were accepted.
        left: connections of revoked credentials that the service has not closed.
    """

    def __init__(self, databases: Databases, directory: Path, port: int) -> None:
        self._databases = databases
        self._directory = directory
        self._port = port
        self._valid: list[Credentials] = []
        self._revoked: list[str] = []
        self._wrong_logins = 0
        self._old_clients: set[str] = set()
        self.left = 0
        self.trust = directory / "trust"
        self.refused = dict.fromkeys(OBJECTS, 0)
        self.accepted = dict.fromkeys(OBJECTS, 0)
        databases.sql(_TABLE)
        for role in (f"{_USER}_0", f"{_USER}_1"):
            databases.sql(f"CREATE ROLE {role} LOGIN; GRANT ALL ON orders TO {role}")
        databases.redis("ACL", "SETUSER", _USER, "on", "~*", "+@all")

    def issue(self, number: int) -> Credentials:
        """Return new credentials, which nothing accepts yet."""
        certificate, key = self._directory / "crt", self._directory / "key"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "EC", "-noenc", "-days", "1"),
                *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", f"/CN=rotation {number}"),
                *("-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        texts = certificate.read_text("ascii"), key.read_text("ascii")
        return Credentials(number, secrets.token_hex(16), secrets.token_hex(32), *texts)

    def files(self, new: Credentials) -> dict[str, str]:
        """Return the secrets of the service."""
        return {
            "database_url": self._databases.postgresql_url(new.role, new.password),
            "redis_url": self._databases.redis_url(_USER, new.password),
            "jwt_secret": new.jwt_secret,
            "tls_crt": new.tls_crt,
            "tls_key": new.tls_key,
        }

    def grant(self, new: Credentials) -> None:
        """Make all credentials valid, besides the old ones."""
        self.grant_role(new)
        self.grant_others(new)

    def grant_role(self, new: Credentials) -> None:
        """Set the password of the role that is not in use."""
        self._databases.sql(f"ALTER ROLE {new.role} PASSWORD '{new.password}'")

    def grant_others(self, new: Credentials) -> None:
        """Add a password of Redis, and a CA that the clients trust."""
        self._old_clients = self._databases.redis_clients(_USER)
        self._databases.redis("ACL", "SETUSER", _USER, f">{new.password}")
        self._valid.append(new)
        self._write_trust()

    def revoke(self, old: Credentials) -> None:
        """Revoke the old credentials."""
        self._databases.sql(f"ALTER ROLE {old.role} PASSWORD NULL")
        self._databases.redis("ACL", "SETUSER", _USER, f"<{old.password}")
        self._valid.remove(old)
        self._revoked.append(key_id(old.jwt_secret))
        self._write_trust()

    def try_revoked(self, old: Credentials) -> None:
        """Try to use revoked credentials, and count which are refused."""
        deadline = time.monotonic() + _CLOSED_WITHIN
        while (left := self._connections(old)) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.left += left
        files = self.files(old)
        with self._counted("PostgreSQL", RuntimeError):
            self._databases.sql_as(files["database_url"], "SELECT 1")
        self.wrong_logins()
        with self._counted("Redis", RuntimeError):
            self._databases.redis("AUTH", _USER, old.password)
        self._databases.redis("ACL", "LOG", "RESET")
        with self._counted("TLS", ssl.SSLCertVerificationError):
            self._place_order(old, old.tls_crt)
        with self._counted("JWT", PermissionError):
            self._place_order(old, self._valid[-1].tls_crt)

    def wrong_logins(self) -> int:
        """Return how many logins of the service the databases have refused so far."""
        if self._databases.redis("ACL", "LOG"):
            self._wrong_logins += 1
        self._databases.redis("ACL", "LOG", "RESET")
        return self._wrong_logins + self._databases.refused_logins() - self.refused["PostgreSQL"]

    def _connections(self, old: Credentials) -> int:
        """Return how many connections with revoked credentials are open."""
        count = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{old.role}'"  # noqa: S608
        clients = self._databases.redis_clients(_USER) & self._old_clients
        return int(self._databases.sql(count)) + len(clients)

    @contextmanager
    def _counted(self, name: str, refusal: type[Exception]) -> Iterator[None]:
        try:
            yield
        except refusal:
            self.refused[name] += 1
        else:
            self.accepted[name] += 1

    def _place_order(self, old: Credentials, authority: str) -> None:
        context = ssl.create_default_context(cadata=authority)
        connection = HTTPSConnection("localhost", self._port, context=context, timeout=10)
        claims, name = {"exp": time.time() + 60}, {"kid": key_id(old.jwt_secret)}
        signed = jwt.encode(claims, old.jwt_secret, "HS256", name)
        try:
            connection.request("POST", "/orders", headers={"Authorization": f"Bearer {signed}"})
            if connection.getresponse().status == _UNAUTHORIZED:
                raise PermissionError
        finally:
            connection.close()

    def _write_trust(self) -> None:
        authorities = "".join(each.tls_crt for each in self._valid)
        new = self._directory / "trust.new"
        new.write_text(json.dumps([authorities, self._revoked]), "utf-8")
        new.replace(self.trust)
