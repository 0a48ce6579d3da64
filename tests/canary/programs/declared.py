"""Declaration of the programs."""

from examples.hive.inventory import HiveSecrets
from hive_boot import Secret, SecretBytes


class Canaries(HiveSecrets):
    """The secrets of HIVE, and one of every other kind.

    Attributes:
        keystore: bytes that are no text.
        signing_key: a PEM block.
        database_url: a URL with a password in it.
        service_account: a JSON document.
        passphrase: what is written differently in a repr, in JSON and in a URL.
    """

    keystore: SecretBytes | None
    signing_key: Secret | None
    database_url: Secret | None
    service_account: Secret | None
    passphrase: Secret | None
