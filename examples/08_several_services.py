"""Two services of one repository, which share a declaration.

DB_PASSWORD=fake-password ORDERS_API_KEY=fake-key python examples/08_several_services.py orders
DB_PASSWORD=fake-password python examples/08_several_services.py mails
"""

import sys
from typing import Any

from hive_boot import Bootstrap, Secret, SecretSet, secret


class SharedSecrets(SecretSet):
    """The secrets of every service."""

    db_password: Secret = secret(used_by="the database", min_length=8)


class OrderSecrets(SharedSecrets, prefix="ORDERS_"):
    """Those of the orders; the prefix applies to the fields of this class."""

    api_key: Secret = secret(used_by="payments")


class MailSecrets(SharedSecrets):
    """Those of the mails."""

    smtp_password: Secret | None = secret(used_by="the mail server")


orders = Bootstrap(OrderSecrets)
mails = Bootstrap(MailSecrets)


@orders.main
async def serve_orders(secrets: OrderSecrets) -> None:
    """Run the orders."""
    print("orders with", secrets.db_password, "and", secrets.api_key)


@mails.main
async def send_mails(secrets: MailSecrets) -> None:
    """Run the mails."""
    print("mails with", secrets.db_password, "and", secrets.smtp_password)


if __name__ == "__main__":
    services: dict[str, Bootstrap[Any, None]] = {"orders": orders, "mails": mails}
    services[sys.argv[1]].run()
