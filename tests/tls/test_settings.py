"""Settings of a TLS context are in force for every pair."""

import ssl
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from hive_boot import Change, InvalidSecretsError, Secret, SecretSet, secret
from hive_boot.testing import MountedVolume
from hive_boot.tls import client_context, server_context
from tests.fixtures.certificates import common_name, shake
from tests.tls.pairs import FIELDS, Pairs, application, files, publish, served_name, trusting

pytestmark = pytest.mark.anyio

der = ssl.PEM_cert_to_DER_cert


async def test_settings_apply_to_every_pair(
    pairs: Pairs, volume: MountedVolume, tmp_path: Path
) -> None:
    """What is set before the start or between rotations is in force in each connection."""
    boot = application(volume)
    context = server_context(boot, **FIELDS)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.verify_mode = ssl.CERT_REQUIRED
    asked: list[str | None] = []
    context.set_servername_callback(lambda _, name, __: asked.append(name))
    client = trusting(pairs["ca"][0])
    client.set_alpn_protocols(["http/1.1"])
    client.load_cert_chain(*files(tmp_path, pairs, "three"))

    def refuses(client: ssl.SSLContext) -> bool:
        try:
            shake(context, client)
        except ssl.SSLError:
            return True
        return False

    async with boot.running():
        for number, name in enumerate(("one", "two", "one")):
            publish(volume, *pairs[name])
            await boot.reload()
            assert refuses(trusting(pairs["ca"][0])), "without a certificate"
            assert refuses(client) == (number == 0), "before its CA was loaded"
            if number == 0:
                context.load_verify_locations(cadata=pairs["ca"][0])
            accepted, connected = shake(context, client)
            assert (common_name(accepted), common_name(connected)) == ("three", name)
            assert connected.selected_alpn_protocol() == "http/1.1"
            assert connected.version() == ("TLSv1.2" if number == 2 else "TLSv1.3")
            assert len(context.get_ca_certs()) == context.cert_store_stats()["x509_ca"] == 1
            assert context.session_stats()["accept"]
            if number == 1:
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                context.set_ciphers("ECDHE+AESGCM:!AES256")
        cipher = connected.cipher()
        assert cipher is not None
        assert "AES128" in cipher[0]
        # Libraries repeat settings for each connection.
        for protocol in ("a", "b", "c") * 9:
            context.set_alpn_protocols([protocol])
            context.load_verify_locations(cadata=pairs["ca"][0])
        assert len(context._settings) == 3  # noqa: SLF001
        context.verify_mode = ssl.CERT_NONE
        assert not refuses(trusting(pairs["ca"][0]))
    assert set(asked) == {"localhost"}


async def test_a_client_uses_the_cas_of_the_machine(
    pairs: Pairs, volume: MountedVolume, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without CAs of its own a client verifies the server and its name by the default ones."""
    (tmp_path / "ca.pem").write_text(pairs["ca"][0])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    boot = application(volume)
    client = client_context(boot, **FIELDS)
    server = server_context(boot, **FIELDS)
    assert (client.verify_mode, client.check_hostname) == (ssl.CERT_REQUIRED, True)
    async with boot.running():
        for name in ("one", "two"):
            publish(volume, *pairs[name])
            await boot.reload()
            assert common_name(shake(server, client)[1]) == name
            with pytest.raises(ssl.SSLCertVerificationError, match="match"):
                shake(server, client, host="example.com")
        publish(volume, *pairs["stranger"])
        await boot.reload()
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(server, client)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        shake(server, client)
        publish(volume, *pairs["rsa"])
        await boot.reload()
        shake(server, client)


@pytest.mark.parametrize("before", [True, False], ids=["before the start", "later"])
async def test_a_setting_that_changed_another_one_is_in_force(
    pairs: Pairs, volume: MountedVolume, *, before: bool
) -> None:
    """``check_hostname`` has made certificates of clients required, and they stay so."""
    boot = application(volume)
    context = server_context(boot, **FIELDS)

    def change() -> None:
        context.check_hostname = True
        context.check_hostname = False

    if before:
        change()
    async with boot.running():
        if not before:
            served_name(context, pairs)
            change()
        for name in ("one", "two"):
            publish(volume, *pairs[name])
            await boot.reload()
            assert context.verify_mode == ssl.CERT_REQUIRED
            with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN"):
                shake(context, trusting(pairs["ca"][0]))


async def test_attributes_are_those_of_the_pair_in_use(pairs: Pairs, volume: MountedVolume) -> None:
    """They are so before the first connection of a run, and in a hook of a rotation."""
    publish(volume, *pairs["one"], pairs["ca"][0])
    boot = application(volume)
    context = server_context(boot, **FIELDS, ca="tls_ca")
    called = anyio.Event()

    @boot.on_rotate("tls_ca")
    async def compare(_: Change) -> None:
        assert context.get_ca_certs(binary_form=True) == [der(pairs["ca2"][0])]
        assert context.session_stats()["accept"] == 0
        called.set()

    assert context.get_ca_certs() == []
    async with boot.running():
        assert context.get_ca_certs(binary_form=True) == [der(pairs["ca"][0])]
        publish(volume, *pairs["one"], pairs["ca2"][0])
        await boot.reload()
        await called.wait()
        assert boot.status().hook_failures == {"compare": 0}
    assert context.get_ca_certs(binary_form=True) == [der(pairs["ca2"][0])]


class Soon(SecretSet):
    """A pair and CAs that are used a moment after they were read."""

    tls_crt: Secret = secret(activate_after=0.01)
    tls_key: Secret = secret(activate_after=0.01)
    tls_ca: Secret = secret(activate_after=0.01)


async def test_attributes_change_at_an_activation(pairs: Pairs, volume: MountedVolume) -> None:
    """They do so without a connection, when the pair of the last one is not in use any more."""
    publish(volume, *pairs["one"], pairs["ca"][0])
    boot = application(volume, Soon)
    context = server_context(boot, **FIELDS, ca="tls_ca")
    async with boot.running() as secrets:
        shake(context, client_context(boot, **FIELDS, ca="tls_ca"))
        publish(volume, *pairs["one"], pairs["ca2"][0])
        await boot.reload()
        with anyio.fail_after(30):
            while secrets.tls_ca.reveal() == pairs["ca"][0]:
                await anyio.lowlevel.checkpoint()
        assert context.get_ca_certs(binary_form=True) == [der(pairs["ca2"][0])]


async def test_a_file_of_a_setting_that_is_gone_refuses_a_rotation(
    pairs: Pairs, volume: MountedVolume, tmp_path: Path
) -> None:
    """The problem names the file; the last pair stays in use with the CAs of before."""
    certificate, _ = files(tmp_path, pairs, "ca")
    boot = application(volume)
    context = server_context(boot, **FIELDS)
    context.load_verify_locations(cafile=certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    async with boot.running():
        publish(volume, *pairs["two"])
        certificate.unlink()
        with pytest.raises(InvalidSecretsError, match=f"TLS_CRT(?s:.)*{certificate}"):
            await boot.reload()
        assert served_name(context, pairs) == "one"
        assert context.cert_store_stats()["x509_ca"] == 1
        certificate.write_text(pairs["ca"][0])
        await boot.reload()
        assert served_name(context, pairs) == "two"
        assert context.get_ca_certs(binary_form=True) == [der(pairs["ca"][0])]
