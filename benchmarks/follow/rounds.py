"""Rounds: the rotations of a run, which can fail at first, and the service under measurement."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.follow.service import __name__ as _service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from benchmarks.follow.credentials import Credentials, Issuer
    from hive_boot.testing import MountedVolume

REVOKED_AFTER = 2.0
"""Seconds from a rotation to the revocation of the old credentials."""

_EXPIRED_AFTER = 0.5
"""Seconds from the revocation until the service does not accept the old signing key either."""

_TIMEOUT = 30.0
_FAULT_LASTS = 0.7


class Service:
    """The process of the service.

    Args:
        listener: the listening socket, which stays open when the process ends.
        environ: the variables of the process.
    """

    def __init__(self, listener: socket.socket, environ: Mapping[str, str]) -> None:
        self.log: list[str] = []
        descriptor = listener.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-m", _service, str(descriptor)],
            env=environ,
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str, since: int = 0) -> None:
        """Wait for a line of the log that matches a pattern, from a position on.

        Raises:
            TimeoutError: there was no such line in time.
        """
        deadline = time.monotonic() + _TIMEOUT
        while not any(re.search(pattern, line) for line in self.log[since:]):
            if time.monotonic() > deadline or self._process.poll() is not None:
                message = f"The service has not logged {pattern!r}:\n{''.join(self.log)}"
                raise TimeoutError(message)
            time.sleep(0.01)

    def stop(self) -> int:
        """Stop the process by SIGTERM, and return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(_TIMEOUT)
        self._reader.join()
        return code

    def kill(self) -> None:
        """End the process in any case."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stderr is not None  # noqa: S101  (it is a pipe)
        self.log.extend(self._process.stderr)


class Rounds:
    """The rotations of a run.

    Args:
        issuer: creates the credentials.
        volume: the volume of the service.
        start: starts the service.
        silent: the path of a Unix socket that accepts connections and never answers.

    Attributes:
        service: the process that runs now.
        exits: the exit statuses of the processes before.
        durations: from writing valid files to their use, in seconds.
        early_logins: logins that were refused because the password was not yet valid.
    """

    def __init__(
        self,
        issuer: Issuer,
        volume: MountedVolume,
        start: Callable[[], Service],
        silent: Path,
    ) -> None:
        self._issuer = issuer
        self._volume = volume
        self._start = start
        self._silent = silent
        self._old = issuer.issue(0)
        self._number = 0
        issuer.grant(self._old)
        volume.publish(issuer.files(self._old))
        self.exits: list[int] = []
        self.early_logins = 0
        self.durations: list[float] = []
        self.service = start()
        self.service.wait_for("Ready after")

    def close(self) -> None:
        """End the service in any case."""
        self.service.kill()

    def rotate(self, replace: Callable[[Rounds, Credentials], None]) -> None:
        """Rotate all credentials, and revoke the old ones 2 s after they were replaced."""
        self._number += 1
        old, self._old = self._old, self._issuer.issue(self._number)
        replace(self, self._old)
        time.sleep(REVOKED_AFTER)
        self._issuer.revoke(old)
        time.sleep(_EXPIRED_AFTER)
        self._issuer.try_revoked(old)

    def publish(self, new: Credentials) -> None:
        """Rotate at once."""
        self._issuer.grant(new)
        self._accept(self._issuer.files(new))

    def password_not_yet_valid(self, new: Credentials) -> None:
        """The file is written before the database accepts the password."""
        self._issuer.grant_others(new)
        before = self._issuer.wrong_logins()
        begun = self._refuse(self._issuer.files(new))
        self._issuer.grant_role(new)
        self.service.wait_for("Rotated ", begun)
        self.early_logins += self._issuer.wrong_logins() - before

    def half_certificate(self, new: Credentials) -> None:
        """The certificate is written in two halves."""
        self._issuer.grant(new)
        files = self._issuer.files(new)
        self._refuse({**files, "tls_crt": new.tls_crt[: len(new.tls_crt) // 2]})
        self._accept(files)

    def rebuild_hangs(self, new: Credentials) -> None:
        """The new connection to Redis is never answered."""
        self._issuer.grant(new)
        files = self._issuer.files(new)
        with listening(self._silent):
            self._refuse({**files, "redis_url": f"unix://{self._silent}"})
        self._accept(files)

    def stop_in_the_middle(self, new: Credentials) -> None:
        """The service is stopped during a rebuild that hangs, and started again."""
        self._issuer.grant(new)
        files = self._issuer.files(new)
        # A process that has not seen the old signing key cannot accept what it has signed.
        same_key = {**files, "jwt_secret": self._volume.content["jwt_secret"].decode()}
        with listening(self._silent) as silent:
            self._volume.publish({**same_key, "redis_url": f"unix://{self._silent}"})
            connection, _ = silent.accept()
            with connection:
                self.exits.append(self.service.stop())
        self._volume.publish(same_key)
        self.service = self._start()
        self.service.wait_for("Ready after")
        self._accept(files)

    def _refuse(self, files: dict[str, str]) -> int:
        """Publish values that the service refuses, and return where its log was before."""
        begun = len(self.service.log)
        self._volume.publish(files)
        self.service.wait_for("Rotation refused", begun)
        time.sleep(_FAULT_LASTS)
        return begun

    def _accept(self, files: dict[str, str]) -> None:
        """Publish values, and wait until the service uses them."""
        begun, at = len(self.service.log), time.monotonic()
        self._volume.publish(files)
        self.service.wait_for("Rotated ", begun)
        self.durations.append(time.monotonic() - at)


FAULTS = (
    Rounds.password_not_yet_valid,
    Rounds.half_certificate,
    Rounds.rebuild_hangs,
    Rounds.stop_in_the_middle,
)
"""Ways in which a rotation fails at first; they take turns."""


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Listen on a Unix socket for the block, without accepting a connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(_TIMEOUT)
        listener.bind(str(path))
        listener.listen()
        try:
            yield listener
        finally:
            path.unlink()
