"""Secrets with a certificate, its key and CAs, and applications that use them."""

import ssl
from pathlib import Path
from typing import Any

from hive_boot import Bootstrap, Secret, SecretSet
from hive_boot.testing import MountedVolume
from tests.fixtures.certificates import common_name, shake

Pairs = dict[str, tuple[str, str]]
"""Certificates and their keys, by name."""

FIELDS: dict[str, Any] = {"certificate": "tls_crt", "key": "TLS_KEY"}
"""Arguments of a context."""


class Tls(SecretSet):
    """A pair, and the CAs of the other side."""

    tls_crt: Secret
    tls_key: Secret
    tls_ca: Secret | None


def publish(volume: MountedVolume, certificate: str, key: str, ca: str = "") -> None:
    """Replace the content of the volume."""
    values = {"tls_crt": certificate, "tls_key": key, "tls_ca": ca}
    volume.publish({name: value for name, value in values.items() if value})


def application(volume: MountedVolume, declared: type[SecretSet] = Tls) -> Bootstrap[Any]:
    """Return an application that reads the volume."""
    return Bootstrap(declared, mode="docker", secrets_dirs=volume.path)


def trusting(*authorities: str) -> ssl.SSLContext:
    """Return the context of a client, or of a server without a certificate, that trusts CAs."""
    return ssl.create_default_context(cadata="".join(authorities))


def served_name(server: ssl.SSLContext, pairs: Pairs) -> str:
    """Return the name in the certificate that a server shows in a new connection."""
    return common_name(shake(server, trusting(pairs["ca"][0], pairs["ca2"][0]))[1])


def files(directory: Path, pairs: Pairs, name: str) -> tuple[Path, Path]:
    """Return the paths of new files with a pair."""
    paths = directory / f"{name}.crt", directory / f"{name}.key"
    for path, text in zip(paths, pairs[name], strict=True):
        path.write_text(text)
    return paths
