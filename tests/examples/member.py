"""One process of a fleet: it signs tokens and verifies those of the others, on request.

Usage: ``python -m tests.examples.member BACKEND VOLUME ACTIVATE_AFTER ACCEPT_OLD_FOR``. Each
line on stdin is a request: ``sign`` is answered by the generation and a token, ``verify
TOKEN …`` by a 1 or a 0 for each token. The process exits at the end of stdin.
"""

import sys

import anyio
import jwt

from hive_boot import Bootstrap, Secret, SecretSet, secret

BACKEND, VOLUME, ACTIVATE_AFTER, ACCEPT_OLD_FOR = sys.argv[1:]


class FleetSecrets(SecretSet):
    """The secret that the processes of a fleet share."""

    jwt_secret: Secret = secret(
        min_length=32,
        activate_after=float(ACTIVATE_AFTER),
        accept_old_for=float(ACCEPT_OLD_FOR),
        previous="JWT_SECRET_PREVIOUS",
    )


boot = Bootstrap(FleetSecrets, watch=True, mode="kubernetes", secrets_dirs=VOLUME)


def sign() -> str:
    """Return the last accepted generation and a new token."""
    token = jwt.encode({"sub": VOLUME}, boot.secrets.jwt_secret.reveal(), algorithm="HS256")
    return f"{boot.status().generation} {token}"


def is_valid(token: str) -> bool:
    """Return whether a token was signed with any key that is accepted now."""
    for key in boot.accepted("jwt_secret"):
        try:
            jwt.decode(token, key.reveal(), algorithms=["HS256"])
        except jwt.InvalidSignatureError:
            continue
        return True
    return False


async def main() -> None:
    """Answer one line after the other."""
    async with boot.running():
        async for line in anyio.wrap_file(sys.stdin):
            word, *tokens = line.split()
            told = sign() if word == "sign" else "".join(str(int(is_valid(it))) for it in tokens)
            print(told, flush=True)  # noqa: T201  (the answer)


if __name__ == "__main__":
    anyio.run(main, backend=BACKEND)
