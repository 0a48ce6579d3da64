"""TLS contexts follow a rotation of their certificate, key and CAs."""

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from hive_boot import InvalidSecretsError, Secret, SecretSet, secret
from hive_boot.testing import MountedVolume
from hive_boot.tls import client_context, server_context
from tests.fixtures.certificates import common_name, encrypt_key, shake
from tests.tls.pairs import FIELDS, Pairs, application, files, publish, served_name, trusting

pytestmark = pytest.mark.anyio


async def test_each_connection_uses_the_pair_in_use(pairs: Pairs, volume: MountedVolume) -> None:
    """A refused pair changes nothing; an accepted one is used next, and no connection breaks."""
    boot = application(volume)
    context = server_context(boot, **FIELDS)
    certificate, key = pairs["two"]
    refused = [
        (certificate, pairs["one"][1]),
        (pairs["one"][0], key),
        pairs["expired"],
        (certificate, encrypt_key(key)),
        (certificate, key[:120]),
        (certificate[:-9], key),
    ]
    async with boot.running():
        assert served_name(context, pairs) == "one"
        old = shake(context, trusting(pairs["ca"][0]))
        for values in refused:
            publish(volume, *values)
            with pytest.raises(InvalidSecretsError, match="TLS_CRT with TLS_KEY"):
                await boot.reload()
            assert served_name(context, pairs) == "one"
        publish(volume, certificate, key)
        await boot.reload()
        assert served_name(context, pairs) == "two"
        assert boot.status().generation == 2
        old[0].write(b"still here")
        assert old[1].read() == b"still here"
        publish(volume, *pairs["three"])
        await boot.reload()
    assert served_name(context, pairs) == "three", "the last pair stays in use after the end"


async def test_a_context_of_a_running_application_is_validated(
    pairs: Pairs, volume: MountedVolume
) -> None:
    """A pair that is in use is checked at once, and each later one by the rotation."""
    publish(volume, pairs["two"][0], pairs["one"][1])
    boot = application(volume)
    async with boot.running():
        with pytest.raises(InvalidSecretsError, match="does not belong"):
            server_context(boot, **FIELDS)
        publish(volume, *pairs["one"])
        await boot.reload()
        contexts = [server_context(boot, **FIELDS), client_context(boot, **FIELDS)]
        publish(volume, *pairs["expired"])
        with pytest.raises(InvalidSecretsError, match="expired") as caught:
            await boot.reload()
        assert len(caught.value.problems) == 1, "one problem of two contexts"
        del contexts
        await boot.reload()


async def test_cas_that_are_secrets_follow_too(
    pairs: Pairs, volume: MountedVolume, tmp_path: Path
) -> None:
    """Server and client trust the CAs in use, and no other; without them nobody is trusted."""
    publish(volume, *pairs["one"], pairs["ca"][0])
    boot = application(volume)
    server = server_context(boot, **FIELDS, ca="tls_ca")
    client = client_context(boot, **FIELDS, ca="tls_ca")
    anonymous = client_context(boot, ca="tls_ca")
    async with boot.running():
        accepted, connected = shake(server, client)
        assert common_name(accepted) == common_name(connected) == "one"
        with pytest.raises(ssl.SSLError):
            shake(server, anonymous)
        publish(volume, *pairs["stranger"], pairs["ca2"][0])
        await boot.reload()
        assert common_name(shake(server, client)[0]) == "stranger"
        strange = trusting(pairs["ca2"][0])
        strange.load_cert_chain(*files(tmp_path, pairs, "one"))
        with pytest.raises(ssl.SSLError):
            shake(server, strange)
        for ca in ("", "nonsense"):
            publish(volume, *pairs["one"], ca)
            with pytest.raises(InvalidSecretsError, match="TLS_CA"):
                await boot.reload()
        assert common_name(shake(server, client)[0]) == "stranger"


async def test_a_rotation_ends_the_resumption_of_sessions(
    pairs: Pairs, volume: MountedVolume
) -> None:
    """A session is resumed within one pair; one from before a rotation is a new handshake."""
    publish(volume, *pairs["one"], pairs["ca"][0])
    boot = application(volume)
    server, client = server_context(boot, **FIELDS), client_context(boot, **FIELDS, ca="tls_ca")
    async with boot.running():
        session = shake(server, client)[1].session
        assert shake(server, client, session)[1].session_reused
        publish(volume, *pairs["two"], pairs["ca"][0])
        await boot.reload()
        again = shake(server, client, session)[1]
        assert not again.session_reused
        assert common_name(again) == "two"
        one, other = socket.socketpair()
        with other:
            options: dict[str, Any] = {"server_hostname": "localhost", "session": session}
            client.wrap_socket(one, do_handshake_on_connect=False, **options).close()
        foreign = trusting(pairs["ca"][0])
        session = shake(server, foreign)[1].session
        assert shake(server, foreign, session)[1].session_reused
        publish(volume, *pairs["one"], pairs["ca"][0])
        await boot.reload()
        assert not shake(server, foreign, session)[1].session_reused, "the server has new tickets"


class Delayed(SecretSet):
    """A pair that is accepted before it is used."""

    tls_crt: Secret = secret(activate_after=3600)
    tls_key: Secret = secret(activate_after=3600)


async def test_a_pair_is_used_at_its_activation(pairs: Pairs, volume: MountedVolume) -> None:
    """It is validated when it is read, and shown when it is in use, also if another is refused."""
    boot = application(volume, Delayed)
    context = server_context(boot, **FIELDS)
    async with boot.running():
        publish(volume, *pairs["two"])
        await boot.reload()
        publish(volume, *pairs["expired"])
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        assert served_name(context, pairs) == "one"
        publish(volume, *pairs["two"])
        await boot.reload(now=True)
        assert served_name(context, pairs) == "two"
