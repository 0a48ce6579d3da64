"""Accounts: a small SQLite table with salted password hashes."""

import hashlib
import hmac
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

DEMO_USERNAME = "demo"
DEMO_PASSWORD = "correct horse battery staple"  # noqa: S105  (public: see DEMO_USER)

_TABLE = "CREATE TABLE IF NOT EXISTS accounts (username TEXT PRIMARY KEY, salt BLOB, hash BLOB)"


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts in the SQLite file at ``path``, which is created when it is absent.

    The methods block, for disk access and for the computation of the password hash.
    """

    path: Path

    def add(self, username: str, password: str) -> None:
        """Add an account; an existing account is not changed."""
        with self._table() as table:
            if _find(table, username) is None:
                salt = os.urandom(16)
                row = (username, salt, _hash(password, salt))
                table.execute("INSERT OR IGNORE INTO accounts VALUES (?, ?, ?)", row)

    def verify(self, username: str, password: str) -> bool:
        """Return whether the account exists and has this password."""
        with self._table() as table:
            row = _find(table, username)
        # An unknown name takes as long as a wrong password, so timing does not reveal known names.
        salt, expected = row or (bytes(16), bytes(64))
        return hmac.compare_digest(_hash(password, salt), expected)

    @contextmanager
    def _table(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(_TABLE)
            yield connection


def _find(table: sqlite3.Connection, username: str) -> tuple[bytes, bytes] | None:
    found = table.execute("SELECT salt, hash FROM accounts WHERE username = ?", (username,))
    row: tuple[bytes, bytes] | None = found.fetchone()
    return row


def _hash(password: str, salt: bytes) -> bytes:
    raw = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(raw, salt=salt, n=2**14, r=8, p=1)
