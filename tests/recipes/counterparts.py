"""Counterparts of the recipes: servers whose credentials are created, and revoked."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from benchmarks.databases import Databases
from tests.fixtures.certificates import issue, make_certificate
from tests.fixtures.ports import free_port
from tests.support import wait_until


class Counterpart:
    """The server of a recipe, and the steps of a rotation.

    Attributes:
        field: the field whose accepted values show how far the application is.
        has_one_credential: whether a new credential replaces the old one at once.
        on_the_page: texts of the page, and those of the test.
    """

    field = ""
    has_one_credential = False

    def __init__(self) -> None:
        self.on_the_page: dict[str, str] = {}

    def values(self, number: int) -> dict[str, str]:
        """Return the secrets of a rotation."""
        return {self.field: f"fake-{self.field}-{number:024d}"}

    def create(self, number: int) -> None:
        """Create a credential."""

    def revoke(self, number: int) -> None:
        """Revoke a credential, when the application uses the next one."""

    def verify(self) -> None:
        """Verify that what was revoked has been refused, and was not used."""


def password(number: int) -> str:
    """Return the password of a rotation."""
    return f"fake-password-{number}"


WAIT = """
SET statement_timeout = '20s';
DO $$ BEGIN
    WHILE EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{role}') LOOP
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP;
END $$
"""
"""Waits until a role has no connection."""


class TwoRoles(Counterpart):
    """Roles of PostgreSQL that take turns."""

    field = "database_url"

    def __init__(self, databases: Databases) -> None:
        super().__init__()
        self._databases = databases
        self._tries = databases.refused_logins()
        self.on_the_page = {'"database_url")': '"database_url", overlap=0.2)'}
        for role in ("orders_0", "orders_1"):
            make_role(databases, role)

    def values(self, number: int) -> dict[str, str]:
        """Return the URL of one role, then of the other."""
        url = self._databases.postgresql_url(f"orders_{number % 2}", password(number))
        return {self.field: url}

    def create(self, number: int) -> None:
        """Set a new password for the role that is not in use."""
        role = f"orders_{number % 2}"
        self._databases.sql(f"ALTER ROLE {role} PASSWORD '{password(number)}'")

    def revoke(self, number: int) -> None:
        """Take the password of the old role when none of its connections is left."""
        role = f"orders_{number % 2}"
        self._databases.sql(WAIT.format(role=role))
        self._databases.sql(f"ALTER ROLE {role} PASSWORD NULL")
        with pytest.raises(RuntimeError):
            self._databases.sql_as(self.values(number)[self.field], "SELECT 1")
        self._tries += 1

    def verify(self) -> None:
        """The only refused logins are those that this test has tried."""
        assert self._databases.refused_logins() == self._tries


class OneRole(Counterpart):
    """A role of PostgreSQL with one password."""

    field = "role_password"
    has_one_credential = True

    def __init__(self, databases: Databases) -> None:
        super().__init__()
        self._databases = databases
        self._refused = databases.refused_logins()
        self.on_the_page = {
            "orders@db/orders": databases.postgresql_url("orders").partition("//")[2],
            "activate_after=5": "activate_after=60",
        }
        make_role(databases, "orders")

    def values(self, number: int) -> dict[str, str]:
        """Return the password."""
        return {self.field: password(number)}

    def create(self, number: int) -> None:
        """Set the password, which revokes the one before."""
        self._databases.sql(f"ALTER ROLE orders PASSWORD '{password(number)}'")

    def verify(self) -> None:
        """The old password was tried, and refused, before the new one was in use."""
        assert self._databases.refused_logins() > self._refused


def make_role(databases: Databases, role: str) -> None:
    """Make a role of PostgreSQL that can read the table of the recipes."""
    databases.sql(f"DROP ROLE IF EXISTS {role}")
    databases.sql(f"CREATE ROLE {role} LOGIN IN ROLE pg_read_all_data")


class RedisUser(Counterpart):
    """A user of Redis that has two passwords for a moment."""

    field = "redis_url"

    def __init__(self, databases: Databases) -> None:
        super().__init__()
        self._databases = databases
        self.on_the_page = {'"redis_url")': '"redis_url", overlap=0.2)'}
        self._old_clients: set[str] = set()
        databases.redis("ACL", "SETUSER", "orders", "on", "~*", "+@all")

    def values(self, number: int) -> dict[str, str]:
        """Return the URL of the user."""
        return {self.field: self._databases.redis_url("orders", password(number))}

    def create(self, number: int) -> None:
        """Add a password."""
        self._old_clients = self._databases.redis_clients("orders")
        self._databases.redis("ACL", "SETUSER", "orders", f">{password(number)}")

    def revoke(self, number: int) -> None:
        """Remove a password when none of the old connections is left."""
        wait_until(lambda: not self._databases.redis_clients("orders") & self._old_clients)
        self._databases.redis("ACL", "SETUSER", "orders", f"<{password(number)}")
        self.verify()
        with pytest.raises(RuntimeError):
            self._databases.redis("AUTH", "orders", password(number))
        self._databases.redis("ACL", "LOG", "RESET")

    def verify(self) -> None:
        """Redis has refused nothing but the tries of this test."""
        assert self._databases.redis("ACL", "LOG") == ""


class Keys(Counterpart):
    """A server that accepts a set of values.

    Attributes:
        refused: how many calls it has refused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.valid: set[str] = set()
        self.refused = 0

    def create(self, number: int) -> None:
        """Accept a further value."""
        self.valid.add(self.values(number)[self.field])

    def revoke(self, number: int) -> None:
        """Accept a value no longer."""
        self.valid.remove(self.values(number)[self.field])

    def accepts(self, value: str) -> bool:
        """Check a value, and count if it is refused."""
        self.refused += value not in self.valid
        return value in self.valid

    def verify(self) -> None:
        """No call was refused."""
        assert self.refused == 0


class SmtpServer(Keys):
    """An SMTP server that accepts messages after a login."""

    field = "smtp_password"

    def __init__(self) -> None:
        super().__init__()
        self.messages = 0

    async def handle_DATA(self, *_: object) -> str:  # noqa: N802  (the name that aiosmtpd calls)
        """Count a message."""
        self.messages += 1
        return "250 OK"

    def authenticate(self, *arguments: Any) -> AuthResult:  # noqa: ANN401  (of aiosmtpd)
        """Compare the password of a login."""
        return AuthResult(success=self.accepts(arguments[-1].password.decode()))

    def verify(self) -> None:
        """No login was refused, and there was one."""
        super().verify()
        assert self.messages > 0


@contextmanager
def smtp_server() -> Iterator[SmtpServer]:
    """Run an SMTP server in a thread."""
    server = SmtpServer()
    controller = Controller(
        server,
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=server.authenticate,
        auth_required=True,
        auth_require_tls=False,
    )
    controller.start()
    try:
        port = f"port={controller.port}"
        server.on_the_page = {"smtp.example.com": "127.0.0.1", "port=587": port}
        yield server
    finally:
        controller.stop()


class Api(Keys):
    """An API over mutual TLS, whose keys and CAs are replaced.

    Args:
        directory: a directory for certificates.
    """

    field = "api_key"

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._authorities: dict[int, str] = {}
        self.context: ssl.SSLContext
        self.failed_handshakes: list[str] = []

    def values(self, number: int) -> dict[str, str]:
        """Return the key, a certificate of the newest CA, and the bundle of two CAs."""
        pair = [(self._directory / f"client{number}.{end}").read_text() for end in ("crt", "key")]
        bundle = "".join(self._authorities.values())
        key = {self.field: f"fake-api-key-{number}"}
        return {**key, "tls_crt": pair[0], "tls_key": pair[1], "tls_ca": bundle}

    def create(self, number: int) -> None:
        """Make a new CA, and accept its certificates beside those of the old one."""
        self._authorities[number], _ = make_certificate(self._directory, f"ca{number}")
        for name in ("client", "server"):
            issue(self._directory, f"{name}{number}", f"ca{number}")
        super().create(number)
        self._present(min(self._authorities))

    def revoke(self, number: int) -> None:
        """Use and accept only certificates of the new CA."""
        super().revoke(number)
        del self._authorities[number]
        self._present(number + 1)

    def _present(self, number: int) -> None:
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cadata="".join(self._authorities.values())
        )
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(
            self._directory / f"server{number}.crt", self._directory / f"server{number}.key"
        )
        self.context = context

    def verify(self) -> None:
        """No key was refused, and no handshake has failed."""
        super().verify()
        assert self.failed_handshakes == []


@contextmanager
def api_server(directory: Path) -> Iterator[Api]:
    """Run an API in threads, with one connection for each request."""
    api = Api(directory)

    class Handler(BaseHTTPRequestHandler):
        """Answers a request with a valid key."""

        def setup(self) -> None:
            """Accept the TLS of the connection, in the thread of this connection."""
            try:
                # A client that waits here may use the CA of a later context.
                self.request.recv(1, socket.MSG_PEEK)
                self.request = api.context.wrap_socket(self.request, server_side=True)
            except OSError as exc:
                api.failed_handshakes.append(repr(exc))
            super().setup()

        def do_GET(self) -> None:
            """Answer."""
            key = self.headers["Authorization"].removeprefix("Bearer ")
            self.send_response(200 if api.accepts(key) else 401)
            self.send_header("content-length", "0")
            self.end_headers()

        def finish(self) -> None:
            """Close the connection."""
            with suppress(OSError):
                super().finish()
            self.request.close()

        def log_message(self, *_: object) -> None:
            """Log no request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        api.on_the_page = {"api.example.com": f"localhost:{server.server_port}"}
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Tokens(Counterpart):
    """A signing key, which nothing outside knows."""

    field = "jwt_secret"

    def __init__(self) -> None:
        super().__init__()
        times = "activate_after=120, accept_old_for=3600"
        self.on_the_page = {times: "activate_after=0.1, accept_old_for=1"}
