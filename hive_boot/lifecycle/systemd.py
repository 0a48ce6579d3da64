"""systemd notifications: the sd_notify protocol."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST = 512
"""Characters of a status; systemd takes datagrams of up to 4096 bytes."""


_FOREVER = 2**64 - 1
"""Microseconds that mean no time at all, to systemd (USEC_INFINITY)."""


class SystemdNotifier:
    """Tells systemd, or whatever else has set ``NOTIFY_SOCKET``, how a service does.

    No method raises or waits, and without such a socket each does nothing. In a forked
    child they do nothing either: what a child says, systemd takes for its parent's word.

    Args:
        environ: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are looked
            up, once; it is left as it is. Default: ``os.environ``. The socket is a path, or
            an abstract name that begins with ``@``; others (``vsock:``) are ignored.

    Attributes:
        interval: seconds between two beats, half of what the watchdog allows, as
            sd_watchdog_enabled(3) advises. None when no watchdog waits for this process.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._pid = os.getpid()
        self._address = _address(_variable(environ, "NOTIFY_SOCKET"))
        self.interval: float | None = None
        meant = _variable(environ, "WATCHDOG_PID") in {"", str(self._pid)}
        if self._address is not None and meant:
            self.interval = _interval(_variable(environ, "WATCHDOG_USEC"))

    @property
    def is_on(self) -> bool:
        """Whether there is somebody to tell, and this process is the one to do so."""
        return self._address is not None and os.getpid() == self._pid

    def ready(self, status: str = "") -> None:
        """Say that the service is ready, for the first time or after a reload.

        Args:
            status: a line for people. Default: the last one stays.
        """
        self._send("READY=1", status)

    def reloading(self) -> None:
        """Say that a reload begins; in every case it is ended by ``ready``.

        The time has to come in the same datagram: systemd.service(5), ``notify-reload``.
        """
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self, status: str = "") -> None:
        """Say that the service stops.

        Args:
            status: a line for people. Default: the last one stays.
        """
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        """Say what the service does, for people; ``systemctl status`` shows it.

        Args:
            text: it is made one line, shortened, and shown without the secrets in it.
        """
        self._send("", text)

    def watchdog(self) -> None:
        """Say that the service is alive."""
        self._send("WATCHDOG=1")

    def _send(self, state: str, status: str = "") -> None:
        if not self.is_on:
            return
        import socket  # noqa: PLC0415  (most have nobody to tell)

        if status or not state:
            state = f"{state}\nSTATUS={_line(status)}".lstrip()
        # Python lets no socket of its own pass to a program that is started: CLOEXEC.
        with (
            suppress(OSError, ValueError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours,
        ):
            ours.settimeout(0)
            ours.sendto(state.encode(errors="replace"), self._address or "")


def _variable(environ: Mapping[str, str] | None, name: str) -> str:
    """Return the text of a variable; empty when it is not set."""
    # Not as a default argument: a frame that holds os.environ shows every variable in it.
    return (os.environ if environ is None else environ).get(name, "")


def _address(named: str) -> str | None:
    """Give what the kernel calls the socket, in which a zero byte begins an abstract name."""
    if len(named) < 2:  # noqa: PLR2004  (the mark alone names nothing)
        return None
    if named[0] == "@":
        return f"\0{named[1:]}"
    return named if named[0] == "/" else None


def _interval(microseconds: str) -> float | None:
    """Give half of what the watchdog allows, in seconds."""
    with suppress(ValueError):
        allowed = int(microseconds)
        if 0 < allowed < _FOREVER:
            return allowed / 2_000_000
    return None


def _line(text: str) -> str:
    """Make a text one line without what systemd refuses (a zero byte, no UTF-8)."""
    from hive_boot.redaction.registry import redact_safely  # noqa: PLC0415  (only systemd needs it)

    shown = "".join(each if each.isprintable() else " " for each in redact_safely(text))
    return " ".join(shown.split())[:_LONGEST]
