"""A FastAPI service: the key of a client is compared in constant time.

API_KEY=fake-key-0123456789 python examples/02_fastapi.py &
curl -H 'X-API-Key: fake-key-0123456789' localhost:8000/orders
"""

import os
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException

from hive_boot import Bootstrap, Secret, SecretSet, secret


class ShopSecrets(SecretSet):
    """The secrets of the service."""

    api_key: Secret = secret(used_by="clients of the API", min_length=12)


boot = Bootstrap(ShopSecrets, watch=True)
web = FastAPI()


def authorized(x_api_key: Annotated[str, Header()]) -> None:
    """Refuse a request that has another key."""
    if not boot.secrets.api_key.matches(x_api_key.encode("latin-1")):
        raise HTTPException(401)


@web.get("/orders", dependencies=[Depends(authorized)])
async def orders() -> list[str]:
    """Return the orders."""
    return ["tea"]


if __name__ == "__main__":
    # Also answers /livez, /readyz and /startupz, and stops in order at SIGTERM.
    boot.serve(web, port=int(os.environ.get("PORT", "8000")))
