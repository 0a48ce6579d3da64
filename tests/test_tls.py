"""TLS contexts whose certificate, key and CAs are secrets, and follow their rotation."""

import os
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest
import trio

from hive_boot import (
    Bootstrap,
    DeclarationError,
    InvalidSecretsError,
    LifecycleError,
    Secret,
    SecretBytes,
    SecretSet,
    secret,
)
from hive_boot._timings import Timings
from hive_boot.testing import MountedVolume
from hive_boot.tls import LiveContext, client_context, server_context, serving_context
from tests.fixtures.certificates import (
    common_name,
    encrypt_key,
    issue,
    make_certificate,
    make_old_certificate,
    shake,
)
from tests.support import descriptors

pytestmark = pytest.mark.anyio

Pairs = dict[str, tuple[str, str]]


class Tls(SecretSet):
    """A pair, and the CAs of the other side."""

    tls_crt: Secret
    tls_key: Secret
    tls_ca: Secret | None


FIELDS: dict[str, Any] = {"certificate": "tls_crt", "key": "TLS_KEY"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Return certificates and keys by name; most are signed by ``ca``."""
    directory = tmp_path_factory.mktemp("certificates")
    made = {"ca": make_certificate(directory, "ca"), "ca2": make_certificate(directory, "ca2")}
    made["rsa"] = make_certificate(directory, "rsa", "RSA")
    for name in ("one", "two", "three"):
        made[name] = issue(directory, name, "ca")
    made["stranger"] = issue(directory, "stranger", "ca2")
    made["expired"] = issue(directory, "expired", "ca", days=(-2, -1))
    made["early"] = issue(directory, "early", "ca", days=(1, 2))
    made["long"] = issue(directory, "long", "ca", days=(-1, 20000))
    made["v1"] = make_old_certificate(directory, days=5)
    made["quarter"] = issue(directory, "quarter", "ca", days=(-60, 31))
    return made


@pytest.fixture
def volume(tmp_path: Path, pairs: Pairs) -> MountedVolume:
    """Return a volume with the pair ``one``."""
    volume = MountedVolume(tmp_path / "secrets")
    publish(volume, *pairs["one"])
    return volume


def publish(volume: MountedVolume, certificate: str, key: str, ca: str = "") -> None:
    """Replace the content of the volume."""
    values = {"tls_crt": certificate, "tls_key": key, "tls_ca": ca}
    volume.publish({name: value for name, value in values.items() if value})


def application(volume: MountedVolume, declared: type[SecretSet] = Tls) -> Bootstrap[Any]:
    """Return an application that reads the volume."""
    return Bootstrap(declared, mode="docker", secrets_dirs=volume.path)


def trusting(*authorities: str) -> ssl.SSLContext:
    """Return the context of a client, or of a server without a certificate, that trusts CAs."""
    return ssl.create_default_context(cadata="".join(authorities))


def served_name(server: ssl.SSLContext, pairs: Pairs) -> str:
    """Return the name in the certificate that a server shows in a new connection."""
    return common_name(shake(server, trusting(pairs["ca"][0], pairs["ca2"][0]))[1])


# Validation


def test_an_unusable_pair_is_described_without_its_values(
    pairs: Pairs, volume: MountedVolume
) -> None:
    """The text has the field that is wrong and the reason, and OpenSSL asks no terminal."""
    (certificate, key), authority = pairs["one"], pairs["ca"][0]
    cut, damaged = key[:100] + key[-40:], authority[:200] + authority[-40:]
    table = {
        "TLS_KEY is encrypted": (certificate, encrypt_key(key)),
        "TLS_KEY does not belong": (certificate, pairs["two"][1]),
        "TLS_KEY does not belong to": (certificate, pairs["rsa"][1]),
        "TLS_CRT contains no CERTIFICATE": (key, key),
        "TLS_KEY contains no PRIVATE KEY": (certificate, certificate),
        "cannot use TLS_CRT with TLS_KEY": (certificate, cut),
        "TLS_CRT has expired": pairs["expired"],
        "TLS_CRT is not valid yet": pairs["early"],
        "TLS_CRT ends within": (f"{certificate}-----BEGIN CERTI", key),
        "TLS_KEY ends within": (certificate, key[:-8]),
        "TLS_CA contains no CERTIFICATE": (certificate, key),
        "cannot use TLS_CA": (certificate, key, damaged),
        "TLS_CA ends within": (certificate, key, authority[:-8]),
    }
    before = descriptors()
    for text, values in table.items():
        publish(volume, *values)
        fields = FIELDS | ({"ca": "tls_ca"} if "TLS_CA" in text else {})
        boot = application(volume)
        with boot.loaded(), pytest.raises(InvalidSecretsError, match=text) as caught:
            server_context(boot, **fields)
        (problem,) = caught.value.problems
        assert (problem.kind, problem.name[:20]) == ("check", "TLS_CRT with TLS_KEY"), text
        assert key[60:80] not in str(caught.value), text
    assert descriptors() == before


def test_no_half_of_a_chain_is_accepted(pairs: Pairs, volume: MountedVolume) -> None:
    """A chain that is cut at any byte is refused, unless whole certificates are left."""
    chain = pairs["one"][0] + pairs["ca"][0]
    wholes = {len(pairs["one"][0]), len(pairs["one"][0]) - 1, len(chain) - 1}
    boot = application(volume)
    with boot.loaded():
        context = server_context(boot, **FIELDS)
        key = Secret("K", pairs["one"][1])
        for at in sorted({*range(1, len(chain))} - wholes):
            with pytest.raises(ValueError, match="TLS_CRT"):
                context._build((Secret("C", chain[:at]), key, None))  # noqa: SLF001


def test_pairs_of_other_tools_are_accepted(
    pairs: Pairs, volume: MountedVolume, tmp_path: Path
) -> None:
    """Line ends, comments, blank lines, the order and the kinds of blocks do not matter."""
    certificate, key = pairs["one"]
    (tmp_path / "key").write_text(key)
    (tmp_path / "crt").write_text(certificate)

    def openssl(*command: str) -> str:
        call = ["openssl", *command]
        return subprocess.run(call, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    table = {
        "Windows line ends": (certificate.replace("\n", "\r\n"), key.replace("\n", "\r\n")),
        "comments": (f"Bag Attributes\n  name: ü\n{certificate}--- the end ---\n", f"\n{key}\n\n"),
        "the key first": (key + certificate, key + certificate),
        "parameters": (certificate, openssl("ecparam", "-name", "prime256v1") + key),
        "SEC1": (certificate, openssl("ec", "-in", "key")),
        "text": (openssl("x509", "-in", "crt", "-text"), key),
        "trusted": (openssl("x509", "-in", "crt", "-trustout", "-addtrust", "serverAuth"), key),
        "no last line end": (certificate.rstrip(), key.rstrip()),
    }
    for kind, values in table.items():
        publish(volume, *values)
        boot = application(volume)
        with boot.loaded():
            assert served_name(server_context(boot, **FIELDS), pairs) == "one", kind
    publish(volume, certificate, openssl("ec", "-in", "key", "-aes128", "-passout", "pass:fake"))
    boot = application(volume)
    with boot.loaded(), pytest.raises(InvalidSecretsError, match="encrypted"):
        server_context(boot, **FIELDS)


class Bundle(SecretSet):
    """A pair in one field."""

    bundle: SecretBytes


def test_a_chain_is_sent_and_one_field_may_contain_all(
    tmp_path: Path, volume: MountedVolume
) -> None:
    """A client that trusts only the root verifies the chain; the key may be in the same bytes."""
    root = make_certificate(tmp_path, "root")
    between = issue(tmp_path, "between", "root", extensions="basicConstraints = CA:TRUE")
    leaf = issue(tmp_path, "leaf", "between")
    volume.publish({"bundle": f"{leaf[1]}{leaf[0]}{between[0]}"})
    boot = application(volume, Bundle)
    with boot.loaded():
        context = server_context(boot, certificate="bundle", key="bundle")
        assert common_name(shake(context, trusting(root[0]))[1]) == "leaf"
        (name,) = context.report_expiry()
    assert name == "BUNDLE"


def test_without_files_in_memory_a_temporary_file_is_used_and_removed(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
    boot = application(volume)
    with boot.loaded():
        with monkeypatch.context() as patch:
            patch.delattr(os, "memfd_create")
            server_context(boot, **FIELDS)
        with monkeypatch.context() as patch:
            patch.setattr(os, "access", lambda *_: False)
            server_context(boot, **FIELDS)
    assert modes == [0o600] * 4
    assert list(directory.iterdir()) == []
    assert descriptors() == before


class Apart(SecretSet):
    """A pair whose halves come into use at different times."""

    tls_crt: Secret = secret(activate_after=5)
    tls_key: Secret


def test_a_mistake_in_the_code_is_an_error(volume: MountedVolume) -> None:
    """Fields are declared and change together; the context has no other certificate."""
    boot = application(volume)
    table: list[Callable[[], object]] = [
        lambda: server_context(boot, certificate="tls_crt", key="unknown"),
        lambda: server_context("boot", **FIELDS),  # type: ignore[arg-type]
        lambda: server_context(application(volume, Apart), **FIELDS),
        lambda: client_context(boot),
        lambda: client_context(boot, certificate="tls_crt"),
        lambda: client_context(boot, key="tls_key", ca="tls_ca"),
        lambda: server_context(boot, **FIELDS).load_cert_chain("file"),
        *(
            partial(serving_context, boot, wrong)
            for wrong in ("tls_crt", ("tls_crt",), ("tls_crt", "unknown"), 5, ("tls_crt", None))
        ),
    ]
    for wrong in table:
        with pytest.raises(DeclarationError):
            wrong()
    context = server_context(boot, **FIELDS)
    settings: list[Callable[[], object]] = [
        lambda: context.set_ciphers("nonsense"),
        lambda: setattr(context, "verify_mode", 5),
        lambda: context.load_verify_locations("/nowhere"),
    ]
    for refused in settings:
        with pytest.raises((OSError, ValueError)):
            refused()
    with pytest.raises(LifecycleError, match="not running"):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)


# Rotation


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


async def test_settings_apply_to_every_pair(pairs: Pairs, volume: MountedVolume) -> None:
    """What is set before the start or between rotations is in force in each connection."""
    boot = application(volume)
    context = server_context(boot, **FIELDS)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.verify_mode = ssl.CERT_REQUIRED
    asked: list[str | None] = []
    context.set_servername_callback(lambda _, name, __: asked.append(name))
    client = trusting(pairs["ca"][0])
    client.set_alpn_protocols(["http/1.1"])
    client.load_cert_chain(*files(pairs, "three"))

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


async def test_cas_that_are_secrets_follow_too(pairs: Pairs, volume: MountedVolume) -> None:
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
        strange.load_cert_chain(*files(pairs, "one"))
        with pytest.raises(ssl.SSLError):
            shake(server, strange)
        for ca in ("", "nonsense"):
            publish(volume, *pairs["one"], ca)
            with pytest.raises(InvalidSecretsError, match="TLS_CA"):
                await boot.reload()
        assert common_name(shake(server, client)[0]) == "stranger"


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


async def test_a_loaded_application_keeps_its_pair(pairs: Pairs, volume: MountedVolume) -> None:
    """A start that refuses the pair in use has used no half of it in a connection."""
    boot = application(volume)
    names: list[str] = []

    @boot.check
    async def connect() -> None:
        names.append(served_name(context, pairs))

    with boot.loaded():
        context = server_context(boot, **FIELDS)
        publish(volume, pairs["two"][0], pairs["one"][1])
        with pytest.raises(InvalidSecretsError, match="does not belong"):
            async with boot.running():
                pass
        assert names == ["one"]
        publish(volume, *pairs["two"])
        async with boot.running():
            assert served_name(context, pairs) == "two"


def test_a_dry_run_validates_the_pair(pairs: Pairs, volume: MountedVolume) -> None:
    """``hive-boot check`` reports the pair of a context that the module has made."""
    boot = application(volume)
    context = server_context(boot, **FIELDS)
    publish(volume, *pairs["expired"])
    error = boot._dry_run().error
    assert error is not None
    assert [each.kind for each in error.problems] == ["check"]
    del context
    assert boot._dry_run().error is None, "the context does not exist any more"


def files(pairs: Pairs, name: str) -> tuple[str, str]:
    """Return the paths of temporary files with a pair."""
    directory = Path(tempfile.mkdtemp())
    for kind, text in zip(("crt", "key"), pairs[name], strict=True):
        (directory / kind).write_text(text)
    return str(directory / "crt"), str(directory / "key")


# Sockets, and the libraries that wrap them


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


# The end of a connection of boot.serve


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


# Expiry


async def test_a_warning_is_logged_30_7_and_1_days_before_the_expiry(
    pairs: Pairs,
    volume: MountedVolume,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each is logged once, by a status or a handshake; an expired certificate is degraded."""
    publish(volume, *pairs["quarter"])
    boot = application(volume)
    context = server_context(boot, **FIELDS)
    now = time.time()

    def logged(days: float) -> list[str]:
        caplog.clear()
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now + 86400 * days)
            boot.status()
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
            has_expired = boot.status().reasons == ("the certificate TLS_CRT has expired",)
        lines = [record.getMessage() for record in caplog.records]
        assert has_expired or "expired" not in "".join(lines)
        return lines

    async with boot.running():
        expires = boot.status().certificates["TLS_CRT"]
        assert abs(expires - now - 31 * 86400) < 3600
        assert logged(0) == logged(0.9) == []
        for days, left in ((1.1, "30 days"), (24.1, "7 days"), (30.1, "1 day"), (31.1, "expired")):
            (line,) = logged(days)
            assert "TLS_CRT" in line
            assert left in line
            assert logged(days + 0.1) == []
        caplog.clear()
        publish(volume, *pairs["one"])
        await boot.reload()
        assert "expires" not in caplog.text, "a certificate for one day is always about to expire"
        assert logged(0.5) == []
        assert "expired" in logged(31)[0]


async def test_a_warning_needs_no_connection(
    pairs: Pairs,
    volume: MountedVolume,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An application that watches files checks the expiry at intervals."""
    publish(volume, *pairs["quarter"])
    boot = Bootstrap(Tls, mode="docker", secrets_dirs=volume.path, watch=True)
    boot._declaration.timings = Timings(full_read_interval=0.05)
    context = server_context(boot, **FIELDS)
    now = time.time
    async with boot.running():
        await anyio.sleep(0.1)
        assert "expires" not in caplog.text
        monkeypatch.setattr(time, "time", lambda: now() + 86400 * 10)
        with anyio.fail_after(30):
            while "expires in 21 days" not in caplog.text:  # noqa: ASYNC110  (a log has no event)
                await anyio.sleep(0.01)
    assert context.report_expiry()


async def test_the_expiry_is_what_the_certificate_says(pairs: Pairs, volume: MountedVolume) -> None:
    """It is that of the first certificate, also after 2050, in the status of the pair in use."""
    boot = application(volume)
    context = server_context(boot, **FIELDS)
    assert boot.status().certificates == context.report_expiry() == {}
    async with boot.running():
        for name, days in (("one", 0.9), ("long", 20000), ("rsa", 1), ("v1", 5)):
            publish(volume, pairs[name][0] + pairs["quarter"][0], pairs[name][1])
            await boot.reload()
            (expires,) = boot.status().certificates.values()
            assert abs(expires - time.time() - 86400 * days) < 3600, name
        assert client_context(boot, ca="tls_crt").report_expiry() == {}
    assert isinstance(context, LiveContext)
