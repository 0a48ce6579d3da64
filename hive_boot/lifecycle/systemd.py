"""systemd notifications: the sd_notify protocol."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from hive_boot.redaction.registry import redact_safely

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_STATUS_LENGTH = 512
"""Maximum characters of a status; systemd accepts datagrams of up to 4096 bytes."""

_FOREVER = 2**64 - 1
"""systemd's USEC_INFINITY: no watchdog timeout."""


class SystemdNotifier:
    """Sends the state of a service to systemd, or to another owner of ``NOTIFY_SOCKET``.

    No method raises or blocks. Without ``NOTIFY_SOCKET``, and in a forked child, all methods do
    nothing: systemd would take a message of the child for one of its parent.

    Args:
        environ: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read from it, once;
            it is not changed. Default: ``os.environ``. The socket is a path, or an abstract name
            that begins with ``@``; other addresses (``vsock:``) are ignored.

    Attributes:
        interval: seconds between two watchdog messages: half of ``WATCHDOG_USEC``, as
            sd_watchdog_enabled(3) recommends. None when the watchdog is off or meant for
            another process.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._pid = os.getpid()
        self._address = _address(_variable(environ, "NOTIFY_SOCKET"))
        self.interval: float | None = None
        is_ours = _variable(environ, "WATCHDOG_PID") in {"", str(self._pid)}
        if self._address is not None and is_ours:
            self.interval = _interval(_variable(environ, "WATCHDOG_USEC"))

    @property
    def is_on(self) -> bool:
        """Whether the socket is set, and this is the process that created the notifier."""
        return self._address is not None and os.getpid() == self._pid

    def ready(self, status: str = "") -> None:
        """Send ``READY=1``: the service has started, or has finished a reload.

        Args:
            status: the new status line. Default: the status is not changed.
        """
        self._send("READY=1", status)

    def reloading(self) -> None:
        """Send ``RELOADING=1``: a reload begins; ``ready`` must follow in every case.

        The time must be in the same datagram: systemd.service(5), ``notify-reload``.
        """
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self, status: str = "") -> None:
        """Send ``STOPPING=1``: the service stops.

        Args:
            status: the new status line. Default: the status is not changed.
        """
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        """Send the status line that ``systemctl status`` shows.

        Args:
            text: the status; it is redacted, joined to one line and shortened.
        """
        self._send("", text)

    def watchdog(self) -> None:
        """Send ``WATCHDOG=1``: the event loop runs."""
        self._send("WATCHDOG=1")

    def _send(self, state: str, status: str = "") -> None:
        if not self.is_on:
            return
        import socket  # noqa: PLC0415  (only under systemd)

        if status or not state:
            state = f"{state}\nSTATUS={_line(status)}".lstrip()
        with (
            suppress(OSError, ValueError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
        ):
            client.settimeout(0)
            client.sendto(state.encode(errors="replace"), self._address or "")


def _variable(environ: Mapping[str, str] | None, name: str) -> str:
    """Return the text of a variable; empty when it is not set."""
    # Not through a local variable: a traceback with locals would show all of os.environ.
    return (os.environ if environ is None else environ).get(name, "")


def _address(name: str) -> str | None:
    """Return the address of the socket; an abstract name begins with a zero byte."""
    if len(name) < 2:  # noqa: PLR2004  (``/`` or ``@`` alone is not a name)
        return None
    if name[0] == "@":
        return f"\0{name[1:]}"
    return name if name[0] == "/" else None


def _interval(microseconds: str) -> float | None:
    """Return half of the watchdog timeout, in seconds; None when it is off or invalid."""
    with suppress(ValueError):
        allowed = int(microseconds)
        if 0 < allowed < _FOREVER:
            return allowed / 2_000_000
    return None


def _line(text: str) -> str:
    """Return a text as one redacted line, without characters that systemd rejects."""
    printable = "".join(each if each.isprintable() else " " for each in redact_safely(text))
    return " ".join(printable.split())[:_MAX_STATUS_LENGTH]
