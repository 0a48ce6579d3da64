"""Queries."""

from app.core.db import engine
from app.core.security import hash_password, verify_password


def create_user(email: str, password: str) -> None:
    """Create a user, unless it exists."""
    with engine.begin() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO users (email, password) VALUES (?, ?)",
            (email, hash_password(password)),
        )


def authenticate(email: str, password: str) -> bool:
    """Return whether a user has this password."""
    with engine.begin() as connection:
        row = connection.execute("SELECT password FROM users WHERE email = ?", (email,)).fetchone()
    return row is not None and verify_password(password, row[0])
