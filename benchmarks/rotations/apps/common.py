"""Common parts of the test applications: names, checks, a login, a listener and reports.

An application reports each set of values that it holds in a line of JSON on stdout that begins with
``@``; other lines are output of the subject.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.environment import HIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DIRECTORY = Path(os.environ["ROTATIONS_DIRECTORY"])
"""The directory of the secrets, with a file for each."""

SCENARIO = os.environ["ROTATIONS_SCENARIO"]
PORT = int(os.environ["ROTATIONS_PORT"])
"""The port of the listener with TLS, or that of the database."""

WITH_TLS = SCENARIO == "pair"
WITH_LOGIN = SCENARIO == "login"

CERTIFICATE, KEY, PASSWORD = "tls_crt", "tls_key", "db_password"
NAMES = (*HIVE, PASSWORD, *((CERTIFICATE, KEY) if WITH_TLS else ()))

MIN_LENGTH = 8
"""The minimum length of each value."""

TICK = 0.25
"""Seconds between two reads, of a subject that must be called to read."""

_SAMPLE = 0.005


def check_pair() -> None:
    """Check that the key belongs to the certificate.

    Raises:
        ValueError: it does not.
    """
    if WITH_TLS:
        try:
            load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except (OSError, ssl.SSLError) as exc:
            message = "the key does not belong to the certificate"
            raise ValueError(message) from exc


def load_pair(context: ssl.SSLContext) -> ssl.SSLContext:
    """Load the mounted certificate and key into a context, and return the context."""
    if WITH_TLS:
        context.load_cert_chain(DIRECTORY / CERTIFICATE, DIRECTORY / KEY)
    return context


async def log_in(password: str) -> None:
    """Log in to the database.

    Raises:
        PermissionError: the password is refused.
    """
    if not WITH_LOGIN:
        return
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(f"{password}\n".encode())
    answer = await reader.readline()
    writer.close()
    if answer != b"welcome\n":
        message = "the password is refused"
        raise PermissionError(message)


async def serve(current: Callable[[], Mapping[str, str]], context: ssl.SSLContext) -> None:
    """Listen if the scenario needs it, and report the values that the application holds.

    Args:
        current: returns the values as the code of an application would read them.
        context: the context of the listener.
    """
    if WITH_TLS:
        await asyncio.start_server(_answer, "127.0.0.1", PORT, ssl=context)
    last: dict[str, str] | str | None = None
    while True:
        held: dict[str, str] | str
        try:
            # Subjects differ in whether they remove the final newline of a certificate.
            held = {name: value.rstrip("\n") for name, value in current().items()}
        except Exception as exc:  # noqa: BLE001  (the exception is the observation)
            held = type(exc).__name__
        if held != last:
            sys.stdout.write(f"@{json.dumps([time.monotonic(), held])}\n")
            sys.stdout.flush()
        last = held
        await asyncio.sleep(_SAMPLE)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    writer.close()
