"""The servers that ``boot.serve`` can use, and the socket that they are given."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING

from hive_boot._timings import DEFAULTS
from hive_boot.exceptions import DeclarationError, LifecycleError
from hive_boot.serving.http_server import BACKLOG

if TYPE_CHECKING:
    from hive_boot._timings import Timings
    from hive_boot.serving.http_server import HttpServer

_BACKENDS = {"uvicorn": ("asyncio",), "hypercorn": ("asyncio", "trio")}
"""On which backends each server runs."""


def bind(host: str, port: int) -> socket.socket:
    """Open the socket to serve on. From now on clients can connect; they wait to be accepted.

    Args:
        host: an address of this machine, or a name of one.
        port: the port; 0 for any that is free.

    Raises:
        LifecycleError: it cannot be had.
    """
    sock = None
    try:
        # The port is left out: a resolver takes 70000 for 4464.
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)  # noqa: FBT003  (the standard library's)
        sock.bind((address[0], port, *address[2:]))
        sock.listen(BACKLOG)
    except (OSError, OverflowError, UnicodeError) as exc:
        if sock is not None:
            sock.close()
        why = (exc.strerror if isinstance(exc, OSError) else None) or exc
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        message = f"cannot listen on {where}: {why}"
        # The reason is in the sentence: a traceback would add nothing.
        raise LifecycleError(message) from None
    return sock


def http_server(name: str, backend: str, timings: Timings = DEFAULTS) -> HttpServer:
    """Give a server that has not begun.

    Args:
        name: ``uvicorn`` or ``hypercorn``.
        backend: ``asyncio`` or ``trio``.
        timings: how long it may take to end.

    Raises:
        DeclarationError: there is no such server, it is not installed, or it does not run
            on this backend.
    """
    if name not in _BACKENDS:
        message = f"there is no server {name!r}: choose one of {', '.join(_BACKENDS)}"
        raise DeclarationError(message)
    if backend not in _BACKENDS[name]:
        able = " and ".join(_BACKENDS[name])
        message = f"{name} runs on {able}, and not on {backend}: choose server='hypercorn'"
        raise DeclarationError(message)
    if find_spec(name) is None:
        message = f"{name} is not installed: pip install {name}"
        raise DeclarationError(message)
    if name == "uvicorn":
        from hive_boot.serving.uvicorn_server import UvicornServer  # noqa: PLC0415  (it may lack)

        return UvicornServer(timings)
    from hive_boot.serving.hypercorn_server import HypercornServer  # noqa: PLC0415  (as above)

    return HypercornServer(backend, timings)
