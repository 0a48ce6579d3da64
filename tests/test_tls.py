"""The TLS context of a server, from a certificate and a key that are secrets."""

import os
import ssl
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from hive_boot import Bootstrap, DeclarationError, Secret, SecretBytes, SecretSet
from hive_boot.tls import ServerCertificate, make_context
from tests.fixtures.certificates import encrypt_key, make_certificate
from tests.support import descriptors


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Return certificates and keys by name."""
    directory = tmp_path_factory.mktemp("certificates")
    rsa = {"another type": make_certificate(directory, "rsa", "RSA")}
    return {name: make_certificate(directory, name) for name in ("own", "other")} | rsa


def context_of(certificate: str, key: str) -> ssl.SSLContext:
    """Return the context of two texts."""
    return make_context(("TLS_CRT", Secret("TLS_CRT", certificate)), ("KEY", Secret("KEY", key)))


def test_an_unusable_pair_is_described_without_its_values(
    pairs: dict[str, tuple[str, str]],
) -> None:
    """The text has the field that is wrong and the reason, and OpenSSL asks no terminal."""
    certificate, key = pairs["own"]
    cut = key[:100] + key[-40:]
    table = {
        "KEY is encrypted": (certificate, encrypt_key(key)),
        "KEY does not belong": (certificate, pairs["other"][1]),
        "KEY does not belong to": (certificate, pairs["another type"][1]),
        "TLS_CRT contains no CERTIFICATE": (key, key),
        "KEY contains no PRIVATE KEY": (certificate, certificate),
        "TLS_CRT contains no": ("", key),
        "cannot use TLS_CRT with KEY": (certificate, cut),
    }
    before = descriptors()
    for text, pair in table.items():
        with pytest.raises(ValueError, match=text) as caught:
            context_of(*pair)
        assert key[60:80] not in str(caught.value), text
        assert caught.value.__cause__ is None
    assert descriptors() == before


def test_an_optional_field_without_a_value_is_described() -> None:
    """A pair of which one field is absent names this field."""
    with pytest.raises(ValueError, match="TLS_CRT contains no"):
        make_context(("TLS_CRT", None), ("KEY", None))


def test_one_field_may_contain_both(pairs: dict[str, tuple[str, str]]) -> None:
    """A PEM bundle with the chain and the key is a pair by itself, also as bytes."""
    both = "".join(pairs["own"])
    assert isinstance(context_of(both, both), ssl.SSLContext)
    field = "PEM", SecretBytes("PEM", both.encode())
    assert isinstance(make_context(field, field), ssl.SSLContext)


def test_without_files_in_memory_a_temporary_file_is_used_and_removed(
    pairs: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where memfd is absent or cannot be opened, no key stays on the disk."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    modes: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def noted(context: ssl.SSLContext, chain: str, key: str, **more: object) -> None:
        modes.extend(Path(path).stat().st_mode & 0o777 for path in (chain, key))
        load(context, chain, key, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", noted)
    before = descriptors()
    with monkeypatch.context() as patch:
        patch.delattr(os, "memfd_create")
        context_of(*pairs["own"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        context_of(*pairs["own"])
    assert modes == [0o600] * 4
    assert list(directory.iterdir()) == []
    assert descriptors() == before


def connected(certificate: str, key: str) -> tuple[ssl.SSLObject, ssl.SSLObject, ssl.MemoryBIO]:
    """Return both sides of a connection in memory, and what the server has written."""
    requests, answers = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context_of(certificate, key).wrap_bio(requests, answers, server_side=True)
    trusted = ssl.create_default_context(cadata=certificate)
    client = trusted.wrap_bio(answers, requests, server_hostname="localhost")
    for step in (client.do_handshake, server.do_handshake) * 2 + (client.do_handshake, client.read):
        with suppress(ssl.SSLWantReadError):
            step()
    return server, client, answers


def test_the_end_of_a_connection_is_not_waited_for_once_everything_is_written(
    pairs: dict[str, tuple[str, str]],
) -> None:
    """A client that never confirms the end holds nothing, and a slow one gets all of the answer."""
    server, client, answers = connected(*pairs["own"])
    assert answers.pending == 0
    server.unwrap()
    assert client.read() == b""  # the end

    server, client, _ = connected(*pairs["own"])
    server.write(b"an answer")
    with pytest.raises(ssl.SSLWantReadError):
        server.unwrap()
    assert client.read() == b"an answer"


class Needs(SecretSet):
    """A pair, and a field beside it."""

    tls_crt: Secret
    tls_key: Secret


def test_a_pair_is_two_declared_fields() -> None:
    """Fields are named by attributes or declared names; anything else is a mistake."""
    declaration = Bootstrap(Needs)._declaration
    call, spec = ServerCertificate(declaration, ("tls_crt", "TLS_KEY")).check
    assert spec.names == {"tls_crt", "tls_key"}
    assert call.display_name == "TLS_CRT with TLS_KEY"
    for wrong in ("tls_crt", ("tls_crt",), ("tls_crt", "unknown"), 5, ("tls_crt", None)):
        with pytest.raises(DeclarationError):
            ServerCertificate(declaration, wrong)
