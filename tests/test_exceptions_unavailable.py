"""Failures that mean that something outside could not be reached, and all others."""

import asyncio
import errno
import http.client
import os
import socket
import ssl
from collections.abc import Callable

import pytest
import trio

from hive_boot.exceptions import unavailable_reason
from tests.fixtures.sources import caused


class LibraryError(Exception):
    """An error of a client library."""


class LoginError(ConnectionError):
    """A refused login, as aiormq derives it from ConnectionError."""


class EmptyError(Exception):
    """An error that is false."""

    def __len__(self) -> int:
        return 0


class HostileError(OSError):
    """An error whose attributes raise."""

    @property
    def errno(self) -> int:  # type: ignore[override]
        """Raise."""
        raise LookupError


def nested(depth: int) -> BaseException:
    """Return a group in a group, and so on."""
    failure: BaseException = OSError(errno.ECONNREFUSED, "refused")
    for _ in range(depth):
        failure = group(failure)
    return failure


def raised(act: Callable[[], object]) -> BaseException:
    """Return what a function raises."""
    try:
        act()
    except BaseException as exc:  # noqa: BLE001  (it is returned)
        return exc
    raise AssertionError


def translate() -> None:
    """Raise an error of a library without a cause, as httpcore does."""
    try:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    except OSError:
        raise LibraryError("no connection") from None


def circle() -> BaseException:
    """Return an error that is the cause of its cause."""
    first, second = LibraryError(), LibraryError()
    first.__cause__, second.__cause__ = second, first
    return first


def group(*failures: BaseException) -> BaseExceptionGroup[BaseException]:
    """Return a group of errors."""
    return BaseExceptionGroup("several", failures)


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")

MULTIPLE = "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect"
"""What asyncio raises for a host with several addresses, on Linux."""

UNAVAILABLE = [
    *(
        OSError(number, os.strerror(number))
        for number in (
            *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE),
            *(errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN),
            *(errno.ETIMEDOUT, errno.ENETRESET, errno.EADDRNOTAVAIL, errno.ESHUTDOWN),
            errno.EAFNOSUPPORT,
        )
    ),
    TimeoutError(),
    trio.TooSlowError(),
    socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    ConnectionResetError("Connection lost"),
    http.client.RemoteDisconnected("Remote end closed connection without response"),
    OSError(MULTIPLE.replace("111", str(errno.ECONNREFUSED))),
    caused(LibraryError(), REFUSED),
    caused(LibraryError(), REFUSED, context=True),
    caused(LibraryError(), caused(EmptyError(), REFUSED)),
    raised(translate),
    group(REFUSED, TimeoutError()),
    group(group(caused(LibraryError(), REFUSED))),
    caused(
        OSError("All connection attempts failed"), group(REFUSED, OSError(errno.EAFNOSUPPORT, "no"))
    ),
]

OTHERS = [
    LibraryError("password authentication failed"),
    LoginError("refused"),
    OSError("refused"),
    FileNotFoundError(errno.ENOENT, "no file"),
    PermissionError(errno.EACCES, "denied"),
    OSError(errno.EADDRINUSE, "in use"),
    OSError(errno.EMFILE, "too many open files"),
    ssl.SSLCertVerificationError(1, "self-signed certificate"),
    ssl.SSLError(errno.ENETRESET, "BAD_END_LINE: the number is a reason of OpenSSL"),
    circle(),
    group(REFUSED, LibraryError()),
    caused(group(LibraryError()), REFUSED, context=True),
    caused(caused(LibraryError(), LibraryError()), REFUSED, context=True),
    caused(asyncio.CancelledError(), REFUSED, context=True),
    caused(SystemExit(1), REFUSED, context=True),
    group(REFUSED, KeyboardInterrupt()),
    HostileError("no"),
    nested(5000),
    None,
]


def test_a_failure_of_the_network_is_found_wherever_it_is() -> None:
    """It is found in the exception, in its chain, also a hidden one, and in its group."""
    for failure in UNAVAILABLE:
        assert unavailable_reason(failure) is not None, repr(failure)


def test_any_other_failure_is_no_reason_for_a_retry() -> None:
    """A refused login, a missing file, a bug and a cancellation stay what they are."""
    for failure in OTHERS:
        assert unavailable_reason(failure) is None, repr(failure)


def test_further_types_are_found_in_the_same_places() -> None:
    """They are what ``retry_on=`` names, for libraries with one exception for everything."""
    login = LibraryError("password authentication failed")
    for failure in (login, caused(LookupError(), login), group(login, REFUSED)):
        assert unavailable_reason(failure, (ValueError, LibraryError)) is not None, repr(failure)
        assert unavailable_reason(failure, (ValueError,)) is None, repr(failure)


@pytest.mark.parametrize("text", ["no connection", ""])
def test_the_reason_names_the_failure_of_the_network_too(text: str) -> None:
    """The text of a library often hides the address."""
    reason = unavailable_reason(caused(LibraryError(text), REFUSED))
    assert reason is not None
    assert "LibraryError" in reason
    assert f"[Errno {errno.ECONNREFUSED}] refused" in reason
    assert unavailable_reason(REFUSED) == f"ConnectionRefusedError: {REFUSED}"
