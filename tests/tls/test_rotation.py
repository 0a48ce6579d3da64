"""TLS contexts follow a rotation of their certificate, key and CAs."""

import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretSet, secret
from hive_boot._timings import Timings
from hive_boot.testing import MountedVolume
from hive_boot.tls import client_context, server_context
from tests.fixtures.certificates import common_name, encrypt_key, shake
from tests.support import until
from tests.tls.pairs import FIELDS, Pairs, Tls, application, files, publish, served_name, trusting

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


async def test_a_connection_of_a_rebuild_changes_no_other(
    pairs: Pairs, volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new instance connects with the new pair; if it fails, all others keep the old one."""
    boot = application(volume)
    context = server_context(boot, **FIELDS)
    served: list[str] = []

    @boot.resource(rebuild_on="tls_crt")
    async def client() -> None:
        served.append(served_name(context, pairs))
        if served[-1] == "long":
            message = "it was refused"
            raise PermissionError(message)

    async with boot.running():
        publish(volume, *pairs["long"])
        # The pair in use has expired meanwhile, so that it could not be loaded again.
        tomorrow = time.time() + 86400
        monkeypatch.setattr(time, "time", lambda: tomorrow)
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        assert served == ["one", "long"]
        assert served_name(context, pairs) == "one"


async def test_a_handshake_that_has_begun_ends_with_its_pair(
    pairs: Pairs, volume: MountedVolume
) -> None:
    """A rotation in the middle of a handshake breaks it in no version."""
    boot = application(volume)
    context = server_context(boot, **FIELDS)
    client = trusting(pairs["ca"][0])
    async with boot.running():
        for before, after in (("one", "two"), ("two", "one")):
            requests, answers = ssl.MemoryBIO(), ssl.MemoryBIO()
            accepted = context.wrap_bio(requests, answers, server_side=True)
            connected = client.wrap_bio(answers, requests, server_hostname="localhost")
            for step in (connected.do_handshake, accepted.do_handshake):
                with pytest.raises(ssl.SSLWantReadError):
                    step()
            publish(volume, *pairs[after])
            await boot.reload()
            assert served_name(context, pairs) == after
            for step in (connected.do_handshake, accepted.do_handshake) * 2:
                with suppress(ssl.SSLWantReadError):
                    step()
            assert common_name(connected) == before
            assert connected.version() == ("TLSv1.3" if before == "one" else "TLSv1.2")
            client.maximum_version = ssl.TLSVersion.TLSv1_2


async def test_one_pair_may_have_several_contexts(pairs: Pairs, volume: MountedVolume) -> None:
    """Each has its settings, and threads that connect while the pair changes see whole pairs."""
    publish(volume, *pairs["one"], pairs["ca"][0])
    boot = application(volume)
    open_one = server_context(boot, **FIELDS)
    closed_one = server_context(boot, **FIELDS, ca="tls_ca")
    failures: list[BaseException] = []
    names: set[str] = set()
    rotations = iter(("two", "three") * 5)

    def connect() -> None:
        try:
            while not is_done:
                names.add(served_name(open_one, pairs))
                with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN"):
                    served_name(closed_one, pairs)
        except BaseException as exc:  # noqa: BLE001  (the assertion is below)
            failures.append(exc)

    is_done = False
    threads = [Thread(target=connect) for _ in range(2)]
    async with boot.running():
        for thread in threads:
            thread.start()
        try:
            for name in rotations:
                publish(volume, *pairs[name], pairs["ca"][0])
                await boot.reload()
        finally:
            is_done = True
            for thread in threads:
                thread.join()
    assert failures == []
    assert "three" in names


class Service(Tls):
    """A pair, and another secret."""

    api_key: Secret


async def test_an_expired_pair_does_not_stop_other_rotations(
    pairs: Pairs, volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that expires during the run stays in use, and other secrets change."""
    values = dict(zip(("tls_crt", "tls_key"), pairs["one"], strict=True))
    volume.publish({**values, "api_key": "fake-key-0123456789"})
    boot = application(volume, Service)
    context = server_context(boot, **FIELDS)
    async with boot.running() as secrets:
        later = time.time() + 2 * 86400
        monkeypatch.setattr(time, "time", lambda: later)
        volume.publish({**values, "api_key": "fake-key-9876543210"})
        await boot.reload()
        assert secrets.api_key.reveal() == "fake-key-9876543210"
        assert boot.status().reasons == ("the certificate TLS_CRT has expired",)
        assert context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)


async def test_a_certificate_that_becomes_valid_is_used_then(
    pairs: Pairs, volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is not valid yet is refused, and tried again although no file changes."""
    boot = Bootstrap(Tls, mode="docker", secrets_dirs=volume.path, watch=True)
    boot._declaration.timings = Timings(reload_retry_delay=0.01, max_reload_retry_delay=0.01)
    context = server_context(boot, **FIELDS)
    async with boot.running():
        publish(volume, *pairs["early"])
        with pytest.raises(InvalidSecretsError, match="not valid yet"):
            await boot.reload()
        later = time.time() + 1.5 * 86400
        monkeypatch.setattr(time, "time", lambda: later)
        await until(lambda: boot.status().generation > 1)
        assert list(boot.status().certificates.values()) > [later]
        assert context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)


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
