"""Which certificates, keys and CAs are usable, and what an error says about the others."""

import os
import ssl
import subprocess
import tempfile
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hive_boot import (
    DeclarationError,
    InvalidSecretsError,
    LifecycleError,
    Secret,
    SecretBytes,
    SecretSet,
    secret,
)
from hive_boot.testing import MountedVolume
from hive_boot.tls import client_context, server_context, serving_context
from tests.fixtures.certificates import common_name, encrypt_key, issue, make_certificate, shake
from tests.fixtures.package import OURS
from tests.support import descriptors
from tests.tls.pairs import FIELDS, Pairs, application, publish, served_name, trusting

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


def test_an_unusable_pair_is_described_without_its_values(
    pairs: Pairs, volume: MountedVolume
) -> None:
    """The text has the field that is wrong and the reason, and OpenSSL asks no terminal.

    No key is in the frames of the error, which debuggers and error trackers show.
    """
    (certificate, key), authority = pairs["one"], pairs["ca"][0]
    private = "".join(key.splitlines()[1:-1])
    cut, damaged = key[:100] + key[-40:], authority[:200] + authority[-40:]
    table = {
        "TLS_KEY is encrypted": (certificate, encrypt_key(key)),
        "TLS_KEY does not belong": (certificate, pairs["two"][1]),
        "TLS_KEY does not belong to": (certificate, pairs["rsa"][1]),
        "TLS_CRT contains PRIVATE KEY and no CERTIFICATE": (key, certificate),
        "TLS_CRT contains no CERTIFICATE": (private, key),
        "TLS_CRT has no line breaks": (certificate.replace("\n", "\\n"), key),
        "TLS_KEY has no line breaks": (certificate, key.replace("\n", " ")),
        "belong to the first certificate in TLS_CRT": (authority + certificate, key),
        "TLS_KEY contains CERTIFICATE and no PRIVATE KEY": (certificate, certificate),
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
        shown = repr(shown_by_frames(caught.value)) + str(caught.value)
        assert private[10:40] not in shown, text
    assert descriptors() == before


def shown_by_frames(exc: BaseException | None) -> list[object]:
    """Return the variables in the frames of an exception and its contexts; of hive_boot only."""
    if exc is None:
        return []
    frames = [frame for frame, _ in traceback.walk_tb(exc.__traceback__)]
    own = [frame for frame in frames if frame.f_code.co_filename.startswith(OURS)]
    return [frame.f_locals for frame in own] + shown_by_frames(exc.__context__)


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


def test_every_kind_of_key_is_accepted(volume: MountedVolume, tmp_path: Path) -> None:
    """RSA, also in the form of PKCS#1 and for PSS, NIST curves, and Edwards curves."""
    for kind in ("RSA", "RSA-PSS", "EC", "ED25519", "ED448"):
        certificate, key = make_certificate(tmp_path, kind, kind)
        forms = [key]
        if kind == "RSA":
            command = ["openssl", "rsa", "-traditional"]
            made = subprocess.run(command, input=key, check=True, capture_output=True, text=True)
            forms.append(made.stdout)
            assert "BEGIN RSA PRIVATE KEY" in forms[1]
        for form in forms:
            publish(volume, certificate, form)
            boot = application(volume)
            with boot.loaded():
                _, connected = shake(server_context(boot, **FIELDS), trusting(certificate))
                shown = connected.getpeercert(binary_form=True)
                assert shown == ssl.PEM_cert_to_DER_cert(certificate), kind


def test_a_file_with_cas_may_have_comments(pairs: Pairs, volume: MountedVolume) -> None:
    """Comments of any characters, Windows line ends, repetitions and keys in it do not matter."""
    authority, key = pairs["ca"]
    table = {
        "comments": f"# Müller\n\n-----\n{authority}# end -----\n\n{pairs['ca2'][0]}# \x7f\n",
        "Windows line ends": authority.replace("\n", "\r\n"),
        "repetition": authority * 2,
        "a key": key + authority,
    }
    for kind, text in table.items():
        publish(volume, *pairs["one"], text)
        boot = application(volume)
        with boot.loaded():
            server = server_context(boot, **FIELDS, ca="tls_ca")
            client = client_context(boot, **FIELDS, ca="tls_ca")
            assert common_name(shake(server, client)[0]) == "one", kind
            assert server.cert_store_stats()["x509_ca"] == 1 + (kind == "comments"), kind


AUTHORITY = "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n"
"""Extensions of a certificate that signs others."""


class Bundle(SecretSet):
    """A pair in one field."""

    bundle: SecretBytes


def test_a_chain_is_sent_and_one_field_may_contain_all(
    tmp_path: Path, volume: MountedVolume
) -> None:
    """A client that trusts only the root verifies the chain; the key may be in the same bytes."""
    root = make_certificate(tmp_path, "root")
    between = issue(tmp_path, "between", "root", extensions=AUTHORITY)
    leaf = issue(tmp_path, "leaf", "between")
    volume.publish({"bundle": f"{leaf[1]}{leaf[0]}{between[0]}"})
    boot = application(volume, Bundle)
    with boot.loaded():
        context = server_context(boot, certificate="bundle", key="bundle")
        assert common_name(shake(context, trusting(root[0]))[1]) == "leaf"
        (name,) = context.report_expiry()
    assert name == "BUNDLE"


def test_a_key_reaches_openssl_through_memory(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file on a disk is opened for writing, and child processes inherit no descriptor."""
    opened: list[object] = []
    flags: list[int] = []
    create = os.memfd_create

    def noted(name: str, *more: int) -> int:
        descriptor = create(name, *more)
        flags.append(os.get_inheritable(descriptor))
        return descriptor

    monkeypatch.setattr(os, "memfd_create", noted)
    monkeypatch.setattr("hive_boot.tls.mkstemp", lambda: opened.append("a temporary file"))
    boot = application(volume)
    with boot.loaded():
        server_context(boot, **FIELDS)
    assert (opened, flags) == ([], [False, False])


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
