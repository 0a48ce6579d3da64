"""Expiry of certificates: the status, and warnings before it."""

import ssl
import time

import pytest

from hive_boot import Bootstrap
from hive_boot._timings import Timings
from hive_boot.testing import MountedVolume
from hive_boot.tls import LiveContext, client_context, server_context
from tests.fixtures.watching import until_watched
from tests.runtime.rebuilds import count_reads
from tests.support import until
from tests.tls.pairs import FIELDS, Pairs, Tls, application, publish

pytestmark = pytest.mark.anyio


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
        await until_watched(boot)
        reads = count_reads(boot._run.reloader)  # type: ignore[union-attr]  # noqa: SLF001
        await until(lambda: len(reads) > 1)  # the first one is complete, with what follows it
        assert "expires" not in caplog.text
        monkeypatch.setattr(time, "time", lambda: now() + 86400 * 10)
        await until(lambda: "expires in 21 days" in caplog.text)
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


async def test_several_contexts_of_a_certificate_log_its_expiry_once(
    pairs: Pairs,
    volume: MountedVolume,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server and a client with one certificate are one warning at each time."""
    publish(volume, *pairs["quarter"])
    boot = application(volume)
    contexts = [server_context(boot, **FIELDS), client_context(boot, **FIELDS)]
    now = time.time()
    async with boot.running():
        for days, count in ((0, 0), (10, 1), (10.1, 1), (30.5, 2)):
            monkeypatch.setattr(time, "time", lambda days=days: now + 86400 * days)
            for _ in contexts:
                boot.status()
            assert caplog.text.count("The certificate TLS_CRT expires") == count
