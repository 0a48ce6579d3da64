"""Sockets and streams of other libraries with TLS contexts that follow a rotation."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Thread
from typing import Any

import anyio
import pytest
import trio

from hive_boot.lifecycle.tasks import open_tasks
from hive_boot.testing import MountedVolume
from hive_boot.tls import client_context, server_context, serving_context
from tests.fixtures.certificates import common_name, shake
from tests.support import until
from tests.tls.pairs import FIELDS, Pairs, application, publish, trusting

pytestmark = pytest.mark.anyio


@contextmanager
def listening(context: ssl.SSLContext) -> Iterator[int]:
    """Serve a listening socket that is wrapped once, as the servers of threads do."""
    with (
        socket.create_server(("127.0.0.1", 0)) as plain,
        context.wrap_socket(plain, True) as listener,  # noqa: FBT003  (as some servers do)
    ):

        def accept() -> None:
            with suppress(OSError):
                while True:
                    with suppress(ssl.SSLError), listener.accept()[0] as connection:
                        connection.sendall(common_name(connection).encode())

        Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


async def test_wrapped_sockets_follow(pairs: Pairs, volume: MountedVolume) -> None:
    """A socket that was wrapped before its bind accepts with the pair in use; a client sends it."""
    publish(volume, *pairs["one"], pairs["ca"][0])
    boot = application(volume)
    server = server_context(boot, **FIELDS, ca="tls_ca")
    client = client_context(boot, **FIELDS, ca="tls_ca")

    def ask(port: int) -> tuple[str, str]:
        with (
            socket.socket() as plain,
            client.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            tls.connect(("127.0.0.1", port))
            name = common_name(tls)
            return name, tls.recv(100).decode()

    async with boot.running():
        with listening(server) as port:
            for name in ("one", "two"):
                publish(volume, *pairs[name], pairs["ca"][0])
                await boot.reload()
                assert await anyio.to_thread.run_sync(ask, port) == (name, name)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_streams_of_trio_follow(
    anyio_backend: str, pairs: Pairs, volume: MountedVolume
) -> None:
    """``trio.SSLStream`` uses the pair in use on both sides."""
    publish(volume, *pairs["one"], pairs["ca"][0])
    boot = application(volume)
    server = server_context(boot, **FIELDS, ca="tls_ca")
    client = client_context(boot, **FIELDS, ca="tls_ca")

    async def answer(stream: Any) -> None:  # noqa: ANN401  (trio's streams)
        await stream.do_handshake()
        await stream.send_all(common_name(stream).encode())
        await stream.aclose()

    async with boot.running(), trio.open_nursery() as nursery:
        (listener,) = await nursery.start(
            partial(trio.serve_ssl_over_tcp, answer, 0, server, host="127.0.0.1")
        )
        port = listener.transport_listener.socket.getsockname()[1]
        for name in ("one", "two"):
            publish(volume, *pairs[name], pairs["ca"][0])
            await boot.reload()
            plain = await trio.open_tcp_stream("127.0.0.1", port)
            async with trio.SSLStream(plain, client, server_hostname="localhost") as stream:
                assert await stream.receive_some() == name.encode()
                assert common_name(stream) == name  # type: ignore[arg-type]
        nursery.cancel_scope.cancel()
    del anyio_backend


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_client_without_a_handshake_is_no_task_of_the_application(
    anyio_backend: str, volume: MountedVolume
) -> None:
    """A stop neither waits for the task that asyncio has for it, nor names it."""
    boot = application(volume)
    context = server_context(boot, **FIELDS)
    async with boot.running():
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
        before = len(asyncio.all_tasks())
        with socket.create_connection(server.sockets[0].getsockname()):
            await until(lambda: len(asyncio.all_tasks()) > before)
            assert open_tasks() == set()
        server.close()
        await until(lambda: len(asyncio.all_tasks()) <= before)
    del anyio_backend


def test_the_end_of_a_connection_is_not_waited_for_once_everything_is_written(
    pairs: Pairs, volume: MountedVolume
) -> None:
    """A client that never confirms the end holds nothing, and a slow one gets all of the answer."""
    boot = application(volume)
    with boot.loaded():
        context = serving_context(boot, ("tls_crt", "tls_key"))
        server, client = shake(context, trusting(pairs["ca"][0]))
        server.unwrap()
        assert client.read() == b""  # the end
        server, client = shake(context, trusting(pairs["ca"][0]))
        server.write(b"an answer")
        with pytest.raises(ssl.SSLWantReadError):
            server.unwrap()
        assert client.read() == b"an answer"
        server, _ = shake(server_context(boot, **FIELDS), trusting(pairs["ca"][0]))
        with pytest.raises(ssl.SSLWantReadError):
            server.unwrap()
