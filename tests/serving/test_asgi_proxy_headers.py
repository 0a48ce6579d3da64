"""The client and the scheme that a trusted proxy names in its headers."""

from typing import Any

import pytest

from hive_boot import DeclarationError
from hive_boot.serving.asgi import ProxyHeadersMiddleware
from hive_boot.serving.endpoints import Receive, Scope, Send

pytestmark = pytest.mark.anyio

LOOPBACK = "127.0.0.1,::1"

PROXY = ("127.0.0.1", 5000)

CLIENTS: dict[str, tuple[str, tuple[str, int] | None, list[str], tuple[str, int] | None]] = {
    "a proxy": (LOOPBACK, PROXY, ["203.0.113.9"], ("203.0.113.9", 0)),
    "a port": (LOOPBACK, PROXY, ["203.0.113.9:4711"], ("203.0.113.9", 4711)),
    "IPv6": (LOOPBACK, ("::1", 1), ["2001:db8::9"], ("2001:db8::9", 0)),
    "IPv6 in brackets": (LOOPBACK, PROXY, ["[2001:db8::9]"], ("2001:db8::9", 0)),
    "IPv6 with a port": (LOOPBACK, PROXY, ["[2001:db8::9]:4711"], ("2001:db8::9", 4711)),
    "IPv4 on an IPv6 socket": (
        LOOPBACK,
        ("::ffff:127.0.0.1", 1),
        ["203.0.113.9"],
        ("203.0.113.9", 0),
    ),
    "a client that is no proxy": (LOOPBACK, ("10.0.0.1", 1), ["203.0.113.9"], ("10.0.0.1", 1)),
    "an invented first hop": (LOOPBACK, PROXY, ["1.2.3.4, 203.0.113.9"], ("203.0.113.9", 0)),
    "two proxies": (f"10.0.0.0/8,{LOOPBACK}", PROXY, ["1.1.1.1, 10.1.2.3"], ("1.1.1.1", 0)),
    "two headers": (LOOPBACK, PROXY, ["1.2.3.4", "203.0.113.9"], ("203.0.113.9", 0)),
    "only proxies": ("10.0.0.0/8", ("10.0.0.1", 1), ["10.0.0.2, 10.0.0.3"], ("10.0.0.2", 0)),
    "text": (LOOPBACK, PROXY, ["1.2.3.4, unknown"], ("unknown", 0)),
    "an odd port": (LOOPBACK, PROXY, ["1.2.3.4:x"], ("1.2.3.4:x", 0)),
    "nothing": (LOOPBACK, PROXY, [" , "], PROXY),
    "no header": (LOOPBACK, PROXY, [], PROXY),
    "a Unix socket": (LOOPBACK, None, ["203.0.113.9"], None),
    "a Unix socket that is trusted": ("*", None, ["203.0.113.9, 1.1.1.1"], ("203.0.113.9", 0)),
    "trusted by nobody": ("", PROXY, ["203.0.113.9"], PROXY),
}
"""Trusted proxies, the peer, the values of X-Forwarded-For, and the client that results."""

SCHEMES = {
    ("http", "http", "https"): "https",
    ("http", "http", " https "): "https",
    ("websocket", "ws", "https"): "wss",
    ("websocket", "wss", "http"): "ws",
    ("http", "http", "gopher"): "http",
    ("http", "http", "https, http"): "http",
    ("http", "https", ""): "https",
}
"""The kind, scheme and X-Forwarded-Proto of a request, and the scheme that results."""


async def passed_on(trusted: str, scope: Scope) -> Scope:
    """Return the scope that an application gets."""
    scopes: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        scopes.append(scope)

    unused: Any = None
    await ProxyHeadersMiddleware(app, trusted.split(","))(scope, unused, unused)
    assert scopes[0] is scope, "the server logs the client of its own scope"
    return scope


async def test_the_client_is_the_first_that_is_no_proxy_from_the_right() -> None:
    """What a client sends itself counts only if every hop after it is a trusted proxy."""
    for name, (trusted, peer, values, expected) in CLIENTS.items():
        headers = [(b"x-forwarded-for", value.encode()) for value in values]
        scope = {"type": "http", "client": peer, "scheme": "http", "headers": headers}
        assert (await passed_on(trusted, scope))["client"] == expected, name


async def test_the_scheme_is_that_of_a_trusted_proxy() -> None:
    """Known schemes are taken, in the form that a websocket has; other texts are not."""
    for (kind, scheme, value), expected in SCHEMES.items():
        headers = [(b"x-forwarded-proto", value.encode())]
        scope = {"type": kind, "client": PROXY, "scheme": scheme, "headers": headers}
        assert (await passed_on(LOOPBACK, scope))["scheme"] == expected, value
        stranger = {"type": kind, "client": ("1.1.1.1", 1), "scheme": scheme, "headers": headers}
        assert (await passed_on(LOOPBACK, stranger))["scheme"] == scheme


async def test_a_lifespan_is_passed_on_unchanged() -> None:
    """A scope without headers is not examined."""
    scope = {"type": "lifespan"}
    assert await passed_on("*", scope) == {"type": "lifespan"}


def test_a_host_name_is_not_an_address() -> None:
    """A name that could never match is a mistake, and not an entry without effect."""
    app: Any = None
    with pytest.raises(DeclarationError, match="nginx"):
        ProxyHeadersMiddleware(app, ["127.0.0.1", " nginx"])
