"""``hive-boot fleet wait``: answers of a Prometheus that look like a proof, and are none."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.cli.fleet_evidence import (
    REQUESTS_PER_ROUND,
    PrometheusSource,
    Selector,
    parse_metrics,
)
from hive_boot.cli.fleet_judgement import cached_for
from hive_boot.cli.probe import Client, parse_url
from hive_boot.runtime.status import Status
from hive_boot.serving.metrics import Collector, expose
from hive_boot.serving.probe_server import serve_probes
from hive_boot.testing import MountedVolume
from tests.cli.fleets import (
    FAST,
    SHORT,
    Answer,
    Api,
    Fleet,
    Process,
    Request,
    Start,
    api,
    expect_stragglers,
    fleet,
    metrics_of,
    prometheus,
    stragglers,
    wait,
    wait_until,
)
from tests.cli.test_fleet import resolving
from tests.fixtures.bind_mounts import PinnedFile
from tests.runtime.rotations import mounted
from tests.support import until

if TYPE_CHECKING:
    from pathlib import Path

assert api  # a fixture
assert fleet, prometheus  # fixtures


def test_the_clock_of_prometheus_counts(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be an hour behind that of this machine, or ahead of it."""
    api.at, api.tick = None, 0.01
    assert stragglers(api, capsys, status=0) == {}
    api.now += 7200
    assert stragglers(api, capsys, status=0) == {}


def test_a_sample_from_before_the_wait_is_no_proof(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one whose time is ahead of the clock: the clock was set back."""
    for at in (-1.0, 0.0, 0.5):
        api.at = at
        assert set(stragglers(api, capsys)) == {"old-sample"} | (
            {"future-sample"} if at > 0 else set()
        )
    # The clock has caught up with the sample, which is still the same.
    api.at, api.tick = 0.05, 0.01
    assert set(stragglers(api, capsys)) == {"old-sample"}


def test_a_stale_sample_is_no_proof(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """Two scrape intervals of its target are the limit."""
    api.at = -30.1
    assert stragglers(api, capsys)["stale-sample"].startswith("its last sample is 30.")
    api.at = -29.0
    assert "stale-sample" not in stragglers(api, capsys)


def test_a_clock_that_is_set_begins_the_wait_again(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """The times by the former clock no longer show what is old or new."""
    api.at, api.tick = None, 0.001

    def time_of(query: dict[str, str]) -> Any:  # noqa: ANN401
        api.offset = 100.0 * (api.rounds % 2)
        return api.query(query)

    api.endpoints["query"] = time_of
    assert "clock" in stragglers(api, capsys)


def test_a_target_that_appears_after_the_samples_counts(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """The targets are listed after the samples were read."""
    api.at, api.tick, api.appears = None, 0.01, True
    assert set(stragglers(api, capsys)) == {"no-metrics"}


def test_a_target_that_was_not_scraped_yet_is_a_straggler(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no series at all."""
    api.at, api.tick = None, 0.01
    api.target = {"health": "unknown"}
    assert stragglers(api, capsys) == {"not-scraped": "it was not scraped yet"}


def test_samples_without_their_target_are_a_problem(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has just disappeared, or the labels were changed after the scrape."""
    api.at, api.tick = None, 0.01
    api.target = {"labels": {"instance": "shop-7"}}
    assert set(stragglers(api, capsys)) == {"no-target", "no-metrics"}


def test_a_label_that_hides_ours_is_a_problem(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """The series could be those of another name."""
    api.at, api.tick = None, 0.01
    api.target = {"labels": {"instance": "shop-1", "job": "shop", "exported_version": "v2"}}
    assert "hidden-label" in stragglers(api, capsys)


def test_few_samples_do_not_show_one_process(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """The same process must have answered three times in a row."""
    api.at, api.tick, api.samples = None, 0.01, 2
    assert set(stragglers(api, capsys)) == {"few-samples"}


@pytest.mark.parametrize(
    "case",
    [
        ("targets", 404, "no-targets-endpoint", 75),
        ("targets", 405, "no-targets-endpoint", 75),
        ("targets", 503, "unreachable", 69),
        ("targets", b"[]", "unreachable", 69),
        ("targets", {"activeTargets": [{}]}, "unreachable", 69),
        ("targets", {"activeTargets": []}, "no-targets", 75),
        ("query", 401, "unreachable", 69),
        ("query", b"<html>", "unreachable", 69),
        ("query", b"\xff", "unreachable", 69),
        ("query", {"result": []}, "unreachable", 69),
        ("query", b'{"data":{"result":[1,"1"]},"warnings":["a store is down"]}', "unreachable", 69),
        ("query", b'{"data":{"result":[1,"1"]},"isPartial":true}', "unreachable", 69),
        ("status/runtimeinfo", 404, "no-start-time", 75),
        ("status/runtimeinfo", {}, "unreachable", 69),
        ("status/runtimeinfo", {"startTime": "yesterday"}, "unreachable", 69),
        ("status/config", {"yaml": "  - action: hashmod\n"}, "shard", 75),
    ],
)
def test_a_server_that_cannot_answer_proves_nothing(
    case: tuple[str, Any, str, int], api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kind and the exit status, for each endpoint."""
    endpoint, answer, kind, status = case
    api.at, api.tick = None, 0.01
    api.endpoints[endpoint] = answer
    found = stragglers(api, capsys, status=status)
    assert kind in found
    if answer == 503:
        assert found[kind] == "it cannot be asked: HTTP status 503: it is not possible"


def test_the_configuration_is_not_needed(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """Some proxies do not allow that it is read."""
    api.at, api.tick = None, 0.01
    api.endpoints["status/config"] = 403
    assert stragglers(api, capsys, status=0) == {}


def test_a_prometheus_that_was_started_during_the_wait_proves_nothing(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may not know every target yet."""
    api.at, api.tick, api.started = None, 0.01, 0.0
    assert stragglers(api, capsys)["restarted"] == "it was started after the wait began"


def test_a_prometheus_without_the_quiet_time_proves_no_quiet(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not know the instances that ended before its start."""
    api.at, api.tick, api.started = None, 0.01, -3599.0
    assert "short-history" in stragglers(api, capsys, "--stage", "quiet")
    api.started = -3700.0
    assert stragglers(api, capsys, "--stage", "quiet", status=0) == {}


# Ways in which a sample, or a server, can be another one than it seems to be.


def cached(answer: Answer, number: int) -> Answer:
    """Return an answer whose body changes only with every few requests."""
    bodies: list[bytes] = []
    count = iter(range(1 << 30))

    def answers(request: Request) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = answer(request)
        if next(count) % number == 0:
            bodies.append(body)
        return status, headers, bodies[-1]

    return answers


def test_a_cache_in_front_of_an_instance_proves_nothing(
    fleet: Fleet, prometheus: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its answers are scraped in time, but they may be those of a process that has ended."""
    good = fleet.serve(Process(id="a1"))
    frozen = fleet.serve(Process(id="b1"))
    frozen.answer = cached(frozen.answer, 1 << 30)
    server = prometheus([good, frozen])
    status, found, _ = wait(capsys, "--prometheus", server.url, *SHORT)
    assert status == 75
    assert {name for name, _ in found} == {frozen.address}
    assert (frozen.address, "cached") in found


def test_the_age_of_cached_metrics_is_known_from_the_uptime() -> None:
    """The start of a process that its uptime shows is later for old metrics, and never earlier."""
    times = [15.0 * number for number in range(10)]
    for ttl, oldest in ((0, 0), (30, 15), (60, 45), (1000, 135)):
        ages = [at % ttl if ttl else 0 for at in times]
        starts = {at: at - (at - age) for at, age in zip(times, ages, strict=True)}
        found = [cached_for(starts, times[: number + 1]) for number in range(10)]
        assert found == ages
        assert max(found) == oldest
    assert cached_for({}, times) == 0


def test_a_process_that_begins_again_with_the_same_id_proves_nothing(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as one from a snapshot of a virtual machine: its uptime has gone back."""
    api.at, api.tick = None, 0.01
    api.resets = True
    assert "cached" in stragglers(api, capsys)


def test_a_list_of_targets_from_a_cache_proves_nothing(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may lack a pod that has appeared since; its scrapes are older than the samples."""
    api.at, api.tick = None, 0.01
    before = f"{datetime.fromtimestamp(api.now - 20, UTC):%Y-%m-%dT%H:%M:%SZ}"
    api.target = {"lastScrape": before}
    assert "old-targets" in stragglers(api, capsys)


def test_two_servers_behind_one_address_prove_nothing(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as the Service of a pair: the other one may not know what this one has seen."""
    api.at, api.tick = None, 0.01
    both = [api.status_runtimeinfo({}), {"startTime": "2026-01-01T00:00:00Z"}]
    api.endpoints["status/runtimeinfo"] = lambda _: both[api.rounds % 2]
    found = stragglers(api, capsys)
    assert found["restarted"].startswith("it was restarted, or several servers answer")


def test_a_shard_that_is_named_twice_is_one_shard(
    fleet: Fleet, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """By two names of its host, or as its replica, whose configuration is older."""
    api.at, api.tick = None, 0.01
    other = Api(fleet)
    other.at, other.tick = None, 0.01
    servers = [fleet.server(each.answer) for each in (api, other)]
    both = [text for each in servers for text in ("--prometheus", each.url)]
    rule = """  - modulus: 2
    action: hashmod
  - source_labels: [__tmp_hash]
    regex: "{}"
    action: keep
"""
    external = "global:\n  scrape_timeout: {}s\nscrape_configs:\n"
    for shards, wanted in (("00", 75), ("01", 0)):
        for number, each in enumerate((api, other)):
            text = external.format(number) + rule.format(shards[number])
            each.endpoints["status/config"] = {"yaml": text}
        status, found, _ = wait(capsys, *both, *(SHORT if wanted else FAST))
        assert status == wanted
        assert {kind for _, kind in found} == ({"shard"} if wanted else set())


def test_an_instance_that_was_never_scraped_begins_the_quiet_time_again(
    fleet: Fleet, prometheus: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was a target, and nothing is known of its uses; so was one that was cut off for long."""
    stays, silent = fleet.serve(Process(id="a1")), fleet.server(lambda _: (500, {}, b""))
    server = prometheus([stays, silent], up=1)
    server.wait_for("up == 0", 1)
    server.scrape([stays])
    server.wait_for("up", 1)
    quiet = ["--prometheus", server.url, "--stage", "quiet"]
    status, found, _ = wait(capsys, *quiet, *SHORT, "--quiet-for", "60")
    assert status == 75
    assert (silent.address, "departed") in found
    assert wait(capsys, *quiet, *FAST, "--quiet-for", "3")[0] == 0


def test_an_interval_that_becomes_shorter_counts_as_the_longer_one(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that ended may have lived for the longer one after its last sample."""
    api.at, api.tick = None, 0.01
    windows: list[str] = []

    def query(query: dict[str, str]) -> Any:  # noqa: ANN401
        windows.extend(re.findall(r"^last_over_time\(up.*\[(\w+)\]", query["query"]))
        return api.query(query)

    def targets(query: dict[str, str]) -> Any:  # noqa: ANN401
        api.target = {"scrapeInterval": "15s" if windows else "5m"}
        return api.targets(query)

    api.endpoints |= {"query": query, "targets": targets}
    api.started = -9000.0
    assert stragglers(api, capsys, "--stage", "quiet", status=0) == {}
    assert {*windows} == {"4200000ms"}
    assert len(windows) > 1


def test_a_series_that_has_ended_is_no_evidence(
    fleet: Fleet, prometheus: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prometheus marks it as stale at the first scrape that lacks it; its last sample was good."""
    process = Process(id="a1")
    instance = fleet.serve(process)
    server = prometheus([instance])
    assert wait(capsys, "--prometheus", server.url, *FAST)[0] == 0

    def without(_: Request) -> tuple[int, dict[str, str], bytes]:
        lines = process.metrics().splitlines(keepends=True)
        return 200, {}, "".join(each for each in lines if "failed_hooks" not in each).encode()

    before = len(instance.requests)
    instance.answer = without
    wait_until(lambda: len(instance.requests) > before + 1)
    expect_stragglers(capsys, {(instance.address, "failed-hooks")}, "--prometheus", server.url)


def test_a_prometheus_that_restarts_in_a_wait_proves_nothing_in_it(
    fleet: Fleet, prometheus: Start
) -> None:
    """It may not know every target yet, and it has not seen what happened meanwhile."""
    server = prometheus([fleet.serve(Process(id="a1"))])
    url = parse_url("--prometheus", server.url)
    source = PrometheusSource([url], Client(), Selector(""))
    assert source.ask(None, "current").stragglers == ()
    server.stop()
    server.start()
    wait_until(lambda: bool(source.ask(None, "current").observations))
    assert [each.kind for each in source.ask(None, "current").stragglers] == ["restarted"]


def test_two_jobs_with_the_same_instance_are_two_targets(
    fleet: Fleet, prometheus: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of them is behind, and has the same label ``instance`` as the other one."""
    servers = [fleet.serve(Process(id="a1")), fleet.serve(Process(id="b1", current="v1"))]
    groups = [([each], {"instance": "shop", "job": each.address}) for each in servers]
    server = prometheus(groups=groups)
    expected = {(f"{servers[1].url}/metrics", "not-current")}
    expect_stragglers(capsys, expected, "--prometheus", server.url)


def test_a_federated_server_proves_nothing(
    fleet: Fleet, prometheus: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has the samples of the instances, and none of them is its target."""
    first = prometheus([fleet.serve(Process(id="a1"))])
    job = {
        "honor_labels": True,
        "metrics_path": "/federate",
        "params": {"match[]": ['{__name__=~"hive_boot_.*"}']},
    }
    second = prometheus([f"127.0.0.1:{first.port}"], job)
    second.wait_for("hive_boot_process_info", 1)
    status, found, _ = wait(capsys, "--prometheus", second.url, *SHORT)
    assert status == 75
    assert "no-target" in {kind for _, kind in found}


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("id", "no-process"),
        ("stage", "no-version"),
        ("version", "unknown-version"),
        ("worker", "worker"),
        ("secret", "use-unknown"),
        ("value", ""),
    ],
)
def test_labels_that_were_dropped_prove_nothing(
    label: str, kind: str, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """By ``metric_relabel_configs``; that of a use is not needed for a proof."""
    api.at, api.tick, api.dropped = None, 0.01, label
    quiet = ["--stage", "quiet", "--quiet-for", "45"]
    found = stragglers(api, capsys, *quiet, status=75 if kind else 0)
    assert (kind in found) is bool(kind)


def test_numbers_that_are_none_prove_nothing(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """An infinite age is longer than each quiet time, and no time."""
    api.at, api.tick = None, 0.01
    quiet = ["--stage", "quiet", "--quiet-for", "45"]
    infinite = float("inf")
    for process, kind in (
        (Process(id="a1", old_use_age={"JWT_SECRET": infinite}), "old-use"),
        (Process(id="a1", uptime=infinite), "no-uptime"),
        (Process(id="a1", uses={"JWT_SECRET": infinite}), "use-unknown"),
    ):
        api.process = process
        assert kind in stragglers(api, capsys, *quiet)


def test_a_counter_that_was_reset_is_an_unknown_use(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """The uses of the process before are no evidence for the present one."""
    api.at, api.tick = None, 0.01
    api.process = Process(id="a1", uses={"JWT_SECRET": 0})
    assert "use-unknown" in stragglers(api, capsys, "--stage", "quiet", "--quiet-for", "45")


def test_a_series_that_is_exported_twice_proves_nothing(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two applications of one process may have the same registry, and only one of them a hook."""
    process = Process(id="a1", pending_hooks=1)
    body = "hive_boot_pending_hooks 0\n"
    server = fleet.server(lambda _: (200, {}, f"{process.metrics()}{body}".encode()))
    assert wait(capsys, "--target", server.url, *SHORT)[:2] == (69, {(server.url, "unreachable")})


def test_a_registry_has_the_metrics_of_one_application() -> None:
    """Prometheus ignores the second sample of a series, with a hook that is pending."""
    first, second = (Bootstrap(Shop, watch=False) for _ in range(2))
    registry = CollectorRegistry()
    registry.register(Collector(first.status))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(Collector(second.status))


def test_an_instance_that_dns_leaves_out_still_counts(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a pod that is not ready for some seconds, and uses the old value until it ends."""
    first = fleet.serve(Process(id="a1"))
    process = Process(id="b1", current="v1")
    second = fleet.serve(process, host="127.0.0.2", port=first.port)
    url = f"http://shop:{first.port}"
    answers = [["127.0.0.1", "127.0.0.2"], ["127.0.0.1"]]
    resolving(monkeypatch, "shop", *answers)
    behind = {(f"{url} (127.0.0.2)", "not-current")}
    assert wait(capsys, "--target", url, *SHORT)[:2] == (75, behind)
    resolving(monkeypatch, "shop", *answers)
    later = [Process(id="c1", current="v1")] * 9 * REQUESTS_PER_ROUND
    second.answer = metrics_of(*[process] * REQUESTS_PER_ROUND, *later)
    status, found, facts = wait(capsys, "--target", url, *FAST)
    assert (status, found, facts["processes"]) == (0, set(), 1)


class Shop(SecretSet, version="secrets-version"):
    """A key that clients present."""

    jwt_secret: Secret = secret(accept_old_for=3600)


def test_a_value_was_in_use_until_it_was_replaced(tmp_path: Path) -> None:
    """The last client may have presented it just before the rotation, when it was not old."""
    volume = MountedVolume(tmp_path / "secrets")
    volume.publish({"jwt_secret": "fake-jwt-1", "secrets-version": "v1"})
    boot = mounted(volume.path, Shop, watch=False)

    async def rotated() -> tuple[dict[str, float], float]:
        async with boot.running() as secrets:
            assert secrets.jwt_secret.matches("fake-jwt-1")
            volume.publish({"jwt_secret": "fake-jwt-2", "secrets-version": "v2"})
            began = anyio.current_time()
            await boot.reload()
            _, text = expose(boot.status())
            metrics = {name: value for name, _, value in parse_metrics(text.decode())}
            return metrics, anyio.current_time() - began

    found, elapsed = anyio.run(rotated)
    age = found["secret_old_use_age_seconds"]
    assert age <= elapsed
    assert age < found["uptime_seconds"]


def test_a_version_that_returns_with_other_values_is_unknown(tmp_path: Path) -> None:
    """Another instance may have the first values, which the same version identifies."""
    volume = MountedVolume(tmp_path / "secrets")
    boot = mounted(volume.path, Shop, watch=False)

    async def versions() -> list[str | None]:
        found = []
        volume.publish({"jwt_secret": "fake-jwt-1", "secrets-version": "v1"})
        async with boot.running():
            for key, version in (("2", "v2"), ("3", "v1"), ("4", "v4"), ("1", "v1")):
                volume.publish({"jwt_secret": f"fake-jwt-{key}", "secrets-version": version})
                await boot.reload()
                found.append(boot.status().secrets_version)
        return found

    assert anyio.run(versions) == ["v2", "", "v4", "v1"]


@pytest.mark.parametrize("worker", [True, False])
def test_a_probe_port_that_workers_share_proves_nothing(
    capsys: pytest.CaptureFixture[str], *, worker: bool
) -> None:
    """One of them listens, and the others, whose hooks may have failed, wait for the port."""
    shown = Status(
        process_id="a1", secrets_version="v2", secrets_version_in_use="v2", worker=worker
    )

    def status() -> Status:
        return replace(shown, uptime=time.monotonic())

    serve = partial(serve_probes, status, "hive", host="127.0.0.1", is_worker=True)

    async def found(workers: int) -> tuple[int, set[str]]:
        async with anyio.create_task_group() as group:
            port: Any = await group.start(serve, 0)
            for _ in range(workers - 1):
                await group.start(serve, port)
            target = ["--target", f"http://127.0.0.1:{port}", *(FAST if workers == 1 else SHORT)]
            result = await anyio.to_thread.run_sync(partial(wait, capsys, *target))
            group.cancel_scope.cancel()
        return result[0], {kind for _, kind in result[1]}

    assert anyio.run(found, 1) == (0, set())
    assert anyio.run(found, 2) == (75, {"worker"})


_FORKED = """
import os
from hive_boot import SecretSet
if child := os.fork():
    os.waitpid(child, 0)
else:
    from hive_boot.runtime.status import is_worker
    print(is_worker())
"""


def test_a_child_that_starts_after_a_fork_is_a_worker() -> None:
    """A server may bind its port, import the application, and then fork its workers."""
    found = subprocess.run(
        [sys.executable, "-c", _FORKED], capture_output=True, text=True, check=True
    )
    assert found.stdout == "True\n"


@pytest.mark.parametrize("kept", ["", "jwt_secret.bak"])
def test_a_version_beside_a_stale_file_is_unknown(kept: str, tmp_path: Path) -> None:
    """The mount of one file still shows the old value, and that of the version the new text."""
    if why := PinnedFile.unavailable_reason():
        pytest.skip(why)
    file = PinnedFile(tmp_path / "secrets" / "jwt_secret", tmp_path / "host" / "jwt_secret")
    file.write("fake-jwt-1")

    async def found() -> str | None:
        boot = mounted(file.path.parent, Shop, {"resync_interval": 0.05}, mode="docker")
        async with boot.running():
            await until(lambda: boot.status().pinned)
            if kept:
                file.host.rename(file.host.with_name(kept))
            file.replace("fake-jwt-2")
            (file.path.parent / "secrets-version").write_text("v2", "utf-8")
            await until(lambda: boot.status().stale)
            await boot.reload()
            return boot.status().secrets_version

    with file:
        assert anyio.run(found) == ""
