"""HTTPS whose certificate is replaced without a restart.

mkdir -p secrets && openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -keyout secrets/tls_key -out secrets/tls_crt
HIVE_BOOT_SECRETS_DIR=secrets python examples/05_live_tls.py &
curl --cacert secrets/tls_crt https://localhost:8443/
"""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hive_boot import Bootstrap, Secret, SecretSet


class TlsSecrets(SecretSet):
    """A certificate and its key; they are checked as a pair, at the start and at each rotation."""

    tls_crt: Secret
    tls_key: Secret


boot = Bootstrap(TlsSecrets, watch=True)


async def home(_: Request) -> PlainTextResponse:
    """Return the number of the set in use."""
    return PlainTextResponse(f"generation {boot.status().generation}\n")


web = Starlette(routes=[Route("/", home)])

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8443"))
    boot.serve(web, port=port, tls=("tls_crt", "tls_key"))
