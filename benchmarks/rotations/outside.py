"""Surroundings of an application: a database that knows passwords, TLS clients, mounts."""

from __future__ import annotations

import socket
import socketserver
import ssl
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from benchmarks.processes import repeated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

_HOST = "127.0.0.1"
_PAUSE = 0.05
_TIMEOUT = 5.0


class Database(socketserver.ThreadingTCPServer):
    """Server that reads a password and accepts or refuses it.

    Args:
        passwords: the passwords that are valid at first.

    Attributes:
        passwords: the valid passwords.
        refused: the number of refused logins.
    """

    daemon_threads = True

    def __init__(self, *passwords: str) -> None:
        super().__init__((_HOST, 0), _Login)
        self.passwords = set(passwords)
        self.refused = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        """The port."""
        port: int = self.socket.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        """Start to serve."""
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        """Stop serving."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Login(socketserver.StreamRequestHandler):
    server: Database

    def handle(self) -> None:
        """Answer one login."""
        if self.rfile.readline().decode().rstrip("\n") in self.server.passwords:
            self.wfile.write(b"welcome\n")
        else:
            self.server.refused += 1
            self.wfile.write(b"refused\n")


def repeated_handshakes(port: int) -> AbstractContextManager[list[tuple[float, bytes | None]]]:
    """Return a block during which TLS handshakes are made on new connections.

    It yields the monotonic time of each, and the certificate of the server; None if it has failed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def certificate() -> bytes | None:
        try:
            with (
                socket.create_connection((_HOST, port), timeout=_TIMEOUT) as connection,
                context.wrap_socket(connection) as tls,
            ):
                return tls.getpeercert(binary_form=True)
        except OSError:
            return None

    return repeated(certificate, _PAUSE)


def make_certificate(directory: Path, name: str) -> tuple[str, str]:
    """Return a new certificate and its key in PEM form, without a final newline."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-noenc", "-days", "1", "-subj", "/CN=localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate.read_text("ascii").strip(), key.read_text("ascii").strip()


@contextmanager
def mounted(source: Path, target: Path) -> Iterator[None]:
    """Mount a file or directory over another one; this requires root.

    Raises:
        CalledProcessError: it cannot be mounted.
    """
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True, capture_output=True)  # noqa: S607
    try:
        yield
    finally:
        # Lazily, because the application can have a file open.
        subprocess.run(["umount", "--lazy", str(target)], check=True)  # noqa: S607
