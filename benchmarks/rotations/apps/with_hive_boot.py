"""Test application whose secrets are a set of hive_boot."""

from __future__ import annotations

import ssl
from typing import cast

from benchmarks.rotations.apps.common import (
    CERTIFICATE,
    DIRECTORY,
    KEY,
    MIN_LENGTH,
    NAMES,
    PASSWORD,
    WITH_TLS,
    log_in,
    serve,
)
from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.tls import server_context

_fields = {name: secret(min_length=MIN_LENGTH) for name in NAMES}
_body = {"__annotations__": dict.fromkeys(NAMES, Secret), "__module__": __name__}
Secrets = cast("type[SecretSet]", type("Secrets", (SecretSet,), {**_body, **_fields}))

boot = Bootstrap(Secrets, watch=True, mode="docker", secrets_dirs=DIRECTORY)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
if WITH_TLS:
    context = server_context(boot, certificate=CERTIFICATE, key=KEY)


@boot.check(PASSWORD)
async def database_answers(secrets: SecretSet) -> None:
    """Log in with the values that are not in use yet."""
    await log_in(getattr(secrets, PASSWORD).reveal())


def current() -> dict[str, str]:
    """Return the values in use."""
    now = boot.secrets.current
    return {name: getattr(now, name).reveal() for name in NAMES}


@boot.main
async def main() -> None:
    """Serve until the process is killed."""
    await serve(current, context)


if __name__ == "__main__":
    boot.run()
