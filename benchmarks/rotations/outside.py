"""Surroundings of an application: a database that knows passwords, TLS clients, mounts."""

from __future__ import annotations

import socket
import socketserver
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from benchmarks.rotations.evaluation import Handshake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

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

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        exc: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
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


class RepeatedHandshakes(threading.Thread):
    """Thread that makes TLS handshakes on new connections during the block.

    Args:
        port: the port of the server.

    Attributes:
        handshakes: the handshakes.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._stopped = threading.Event()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self.handshakes: list[Handshake] = []

    def __enter__(self) -> Self:
        """Start the thread."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the thread."""
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Make handshakes until the block ends."""
        while not self._stopped.wait(_PAUSE):
            self.handshakes.append(Handshake(time.monotonic(), self._certificate()))

    def _certificate(self) -> bytes | None:
        """Return the certificate of the server, or None if the handshake fails."""
        try:
            with (
                socket.create_connection((_HOST, self._port), timeout=_TIMEOUT) as connection,
                self._context.wrap_socket(connection) as tls,
            ):
                return tls.getpeercert(binary_form=True)
        except OSError:
            return None


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
