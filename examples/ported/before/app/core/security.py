"""Passwords and tokens."""

import hashlib
import os
from datetime import UTC, datetime, timedelta

import jwt

from app.core.config import settings

ALGORITHM = "HS256"


def create_access_token(subject: str) -> str:
    """Return a signed token for a user."""
    expires = datetime.now(UTC) + timedelta(minutes=settings.ACCESS_TOKEN_MINUTES)
    return jwt.encode({"sub": subject, "exp": expires}, settings.SECRET_KEY, algorithm=ALGORITHM)


def read_access_token(token: str) -> str | None:
    """Return the user of a token; None if it is not valid."""
    try:
        payload = jwt.decode(token, settings.SECRET_KEY, algorithms=[ALGORITHM])
    except jwt.InvalidTokenError:
        return None
    return str(payload["sub"])


def hash_password(password: str, salt: bytes | None = None) -> bytes:
    """Return the salt and the hash of a password."""
    salt = salt or os.urandom(16)
    return salt + hashlib.scrypt(password.encode(), salt=salt, n=2**10, r=8, p=1)


def verify_password(password: str, stored: bytes) -> bool:
    """Return whether a password is the stored one."""
    return hash_password(password, stored[:16]) == stored
