"""Settings of a TLS context are in force for every pair."""

import ssl
from pathlib import Path

import pytest

from hive_boot.testing import MountedVolume
from hive_boot.tls import client_context, server_context
from tests.fixtures.certificates import common_name, shake
from tests.tls.pairs import FIELDS, Pairs, application, files, publish, trusting

pytestmark = pytest.mark.anyio


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
