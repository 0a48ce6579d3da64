"""Command-line benchmark: ``hive-boot check``, as in an init container, and ``hive-boot probe``."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.environment import HIVE, InterpreterTimer, wait_until_settled, write_directory
from benchmarks.tables import Table
from benchmarks.timing import alternate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECK_BOUND = 5.0
PROBE_BOUND = 3.0
"""Maximum ratio of each command to a bare interpreter."""

_ROUNDS = 40

_MODULE = (
    "from hive_boot import Bootstrap, Secret, SecretSet, secret\n"
    "class HiveSecrets(SecretSet):\n"
    + "".join(f"    {name}: Secret\n" for name in HIVE)
    + "boot = Bootstrap(HiveSecrets, watch=True)\n"
)

_COMMAND = """\
import sys
sys.argv = ["hive-boot", {words}]
from hive_boot.cli.main import entry_point
entry_point()
"""

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"


def measure(base: Path) -> Table:
    """Return the measured table; files are written below ``base``, an empty directory."""
    table = Table(
        f"command: the whole process of hive-boot, docker mode, {len(HIVE)} secrets",
        ("floor: a bare interpreter. A socket of this process answers the probe.",),
    )
    directory = base / "secrets"
    write_directory(directory, HIVE)
    wait_until_settled(directory)
    start = InterpreterTimer(base, {"HIVE_BOOT_SECRETS_DIR": str(directory)})
    (base / "cwd" / "app.py").write_text(_MODULE, encoding="utf-8")
    with _probe_server() as port:
        for name, words, bound in (
            ("hive-boot check app:boot", '"check", "app:boot"', CHECK_BOUND),
            ("hive-boot probe --port …", f'"probe", "--port", "{port}"', PROBE_BOUND),
        ):
            programs = {"floor": "pass", "ours": _COMMAND.format(words=words)}
            sides = {side: start.measure(program) for side, program in programs.items()}
            table.add(name, alternate(sides, _ROUNDS), "ours", "floor", bound)
    return table


@contextmanager
def _probe_server() -> Iterator[int]:
    """Answer every request with 200, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    if not connection.recv(1 << 16):
                        return
                    connection.sendall(_ANSWER)

        thread = threading.Thread(target=serve)
        thread.start()
        port: int = server.getsockname()[1]
        try:
            yield port
        finally:
            # An empty request stops the thread.
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join()
