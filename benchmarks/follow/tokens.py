"""Names of signing keys, for the service and for a client that signs tokens itself."""

from hashlib import sha256


def key_id(key: str) -> str:
    """Return the name of a key in the header of a token."""
    return sha256(key.encode()).hexdigest()[:8]
