"""``hive-boot fleet --prometheus``: a real Prometheus, and an API that shows rare answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hive_boot.cli import UsageError
from hive_boot.cli.fleet_evidence import Selector
from hive_boot.cli.main import main
from tests.cli.fleets import (
    Fleet,
    Process,
    Prometheus,
    Request,
    fetch,
    fleet,
    metrics_of,
    prometheus,
    wait_until,
)
from tests.fixtures.ports import free_port
from tests.support import child_environment

if TYPE_CHECKING:
    from pathlib import Path

assert fleet, prometheus  # fixtures

FAST = ("--interval", "0.05", "--timeout", "60")
"""A wait that ends when there is proof; a machine under load needs longer."""

SHORT = ("--interval", "0.05", "--timeout", "1")
"""A wait of some scrapes in which there is no proof."""


def wait(
    capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, set[tuple[str, str]], dict[str, Any]]:
    """Run ``fleet wait v2``: its status, the name and kind of each straggler, and JSON."""
    status = main(["fleet", "wait", "v2", "--json", *arguments])
    facts = json.loads(capsys.readouterr().out)
    return status, {(each["name"], each["kind"]) for each in facts["stragglers"]}, facts


def expect_stragglers(
    capsys: pytest.CaptureFixture[str], expected: set[tuple[str, str]], *arguments: str
) -> None:
    """Wait until the stragglers are the expected ones; there must never be proof."""

    def are_expected() -> bool:
        status, found, _ = wait(capsys, *arguments, *SHORT)
        assert status == 75
        return found == expected

    wait_until(are_expected)


# A real Prometheus.


Start = Callable[..., Prometheus]


class Shop:
    """A Prometheus with the targets of several teams, each with instances of one kind."""

    def __init__(self, directory: Path, fleet: Fleet) -> None:
        self.servers = {
            "good": [fleet.serve(Process(id=each)) for each in ("a1", "a2")],
            "behind": [fleet.serve(Process(id="b1", current="v1"))],
            "down": [fleet.serve(Process(id="c1")), fleet.server(lambda _: (500, {}, b""))],
            "other": [fleet.server(lambda _: (200, {"Content-Type": "text/plain"}, b"x 1\n"))],
            "balanced": [fleet.serve(Process(id="d1"), Process(id="d2"))],
            "restarted": [fleet.serve(Process(id="e1", current="v1"))],
        }
        groups = [(servers, {"team": team}) for team, servers in self.servers.items()]
        self.prometheus = Prometheus(directory, groups)
        wait_until(lambda: len(self.prometheus.query("up == 1")) == 7)

    def of(self, team: str) -> list[str]:
        """Return the arguments that select a team."""
        return ["--prometheus", self.prometheus.url, "--selector", f'team="{team}"']


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Return a Prometheus for the tests that change nothing: a start takes 5 s."""
    made = Fleet()
    shop = Shop(tmp_path_factory.mktemp("shop") / "prometheus", made)
    yield shop
    shop.prometheus.stop()
    made.close()


@pytest.mark.parametrize("stage", ["accepted", "current"])
def test_proof_is_0(stage: str, shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """In samples that were taken after the wait began."""
    servers = shop.servers["good"]
    before = [len(each.requests) for each in servers]
    arguments = [*shop.of("good"), "--stage", stage, "--expect", "2", *FAST]
    status, found, facts = wait(capsys, *arguments)
    assert (status, found, facts["processes"]) == (0, set(), 2)
    assert all(len(each.requests) > b for each, b in zip(servers, before, strict=True))


def test_each_target_needs_a_scrape_that_succeeds(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is down, and one that exports nothing of hive_boot, are stragglers."""
    for team, kind in (("down", "not-scraped"), ("other", "no-metrics")):
        address = shop.servers[team][-1].address
        expect_stragglers(capsys, {(address, kind)}, *shop.of(team))


def test_zero_targets_prove_nothing(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Also if the selector matches none."""
    expect_stragglers(capsys, {(shop.prometheus.url, "no-targets")}, *shop.of("shoes"))


def test_a_target_that_is_not_selected_does_not_count(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """The proof covers the selected instances."""
    address = shop.servers["behind"][0].address
    for selector in ('team="behind"', '{team!~"good|down|other|balanced|restarted", job="shop"}'):
        arguments = ["--prometheus", shop.prometheus.url, "--selector", selector]
        expect_stragglers(capsys, {(address, "not-current")}, *arguments)
    found = wait(capsys, "--prometheus", shop.prometheus.url, *SHORT)[1]
    assert (address, "not-current") in found


def test_several_processes_behind_one_target_prove_nothing(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each scrape shows one of them."""
    status, found, _ = wait(capsys, *shop.of("balanced"), *SHORT)
    assert status == 75
    assert (shop.servers["balanced"][0].address, "several-processes") in found


def test_a_quiet_time_under_three_scrape_intervals_is_64(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """An old use between two scrapes is visible only at the second one."""
    quiet = ["--stage", "quiet", "--quiet-for", "0.5"]
    assert main(["fleet", "wait", "v2", *shop.of("good"), *quiet, *FAST]) == 64
    assert "at least three scrape intervals, 0.6 s" in capsys.readouterr().err


def test_the_table_has_the_targets_of_a_prometheus(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """One round is enough for it."""
    good, down = shop.servers["down"]
    assert main(["fleet", "status", *shop.of("down")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == f"{good.address} v2 quiet 2.5 h ago 0/0 no 2.78 h".split()
    assert lines[2].startswith(f"  {down.address}: its last scrape has failed: ")


def test_quiet_needs_a_prometheus_that_has_seen_the_quiet_time(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each process must be known since its beginning."""
    quiet = [*shop.of("good"), "--stage", "quiet"]
    addresses = [shop.prometheus.url, *(each.address for each in shop.servers["good"])]
    expected = {(each, "short-history") for each in addresses}
    expect_stragglers(capsys, expected, *quiet, "--quiet-for", "3000")
    status, _, facts = wait(capsys, *quiet, *FAST, "--quiet-for", "2")
    assert (status, facts["quiet_for"]) == (0, 2)


def test_an_instance_that_disappeared_begins_the_quiet_time_again(
    fleet: Fleet, prometheus: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also if it ended before the wait began."""
    stays, ended = (fleet.serve(Process(id=each)) for each in ("a1", "b1"))
    server = prometheus([stays, ended])
    server.scrape([stays])
    server.wait_for("hive_boot_process_info", 1)
    quiet = ["--prometheus", server.url, "--stage", "quiet"]
    found = wait(capsys, *quiet, *SHORT, "--quiet-for", "60")[1]
    assert (ended.address, "departed") in found
    assert wait(capsys, *quiet, *FAST, "--quiet-for", "4")[0] == 0


def test_a_pod_that_appears_during_the_wait_counts(
    fleet: Fleet, prometheus: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first scrapes are needed; without them the count of targets and samples differs."""
    old = fleet.serve(Process(id="a1", current="v1"))
    late = fleet.serve(Process(id="b1", current="v1"))
    server = prometheus([old])

    def follow(_: Request) -> tuple[int, dict[str, str], bytes]:
        # It uses the new version only when the second pod has been scraped.
        process = Process(id="a1", current="v2" if late.requests else "v1")
        return 200, {"Content-Type": "text/plain"}, process.metrics().encode()

    old.answer = follow
    server.scrape([old, late])
    expect_stragglers(capsys, {(late.address, "not-current")}, "--prometheus", server.url)


@pytest.mark.parametrize("honor_labels", [False, True])
def test_a_target_label_is_not_taken_for_the_version(
    fleet: Fleet, prometheus: Start, capsys: pytest.CaptureFixture[str], *, honor_labels: bool
) -> None:
    """The version of an image in ``version``, and the name of a port in ``endpoint``."""
    good = fleet.serve(Process(id="a1"))
    unknown = fleet.serve(Process(id="b1", accepted="", current=""))
    job = {"honor_labels": honor_labels}
    server = prometheus([good, unknown], job, up=0, version="v2", endpoint="probe", id="x")
    labels = {"version": "v2", "endpoint": "probe", "id": "x", "stage": "current"}
    proved = None if honor_labels else prometheus([good], up=0, **labels)
    expected = {(unknown.address, "unknown-version")}
    if honor_labels:
        # A label of ours may have been that of the target, if both have the same text.
        expected.add((good.address, "unknown-version"))
    expect_stragglers(capsys, expected, "--prometheus", server.url)
    if proved is not None:
        assert wait(capsys, "--prometheus", proved.url, *FAST)[0] == 0


def test_an_instance_label_may_be_anything_but_the_same(
    fleet: Fleet, prometheus: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """A relabelled ``instance`` is the name; two targets with the same labels prove nothing."""
    servers = [fleet.serve(Process(id=each)) for each in ("a1", "b1")]
    by_pod = {"relabel_configs": [{"source_labels": ["pod"], "target_label": "instance"}]}
    groups = [([each], {"pod": f"shop-{number}"}) for number, each in enumerate(servers)]
    server = prometheus((), by_pod, groups=groups, up=0)
    same = prometheus(servers, by_pod, pod="shop", up=1)
    assert wait(capsys, "--prometheus", server.url, *FAST)[0] == 0
    found = wait(capsys, "--prometheus", same.url, *SHORT)[1]
    assert {(f"{each.url}/metrics", "one-series") for each in servers} <= found


def test_every_shard_must_be_named(
    fleet: Fleet, prometheus: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """One shard of several does not prove anything by itself, unless the number is given."""
    servers = [fleet.serve(Process(id=f"p{each}")) for each in range(8)]
    hashed = {
        "source_labels": ["__address__"],
        "modulus": 2,
        "target_label": "__tmp_hash",
        "action": "hashmod",
    }
    keep = {"source_labels": ["__tmp_hash"], "action": "keep"}
    first, second = (
        prometheus(servers, {"relabel_configs": [hashed, {**keep, "regex": each}]}, up=0)
        for each in ("0", "1")
    )
    wait_until(lambda: len(first.query("up == 1") + second.query("up == 1")) == len(servers))
    both = ["--prometheus", first.url, "--prometheus", second.url]
    assert wait(capsys, *both, *FAST, "--expect", "8")[0] == 0
    alone = ["--prometheus", first.url]
    expect_stragglers(capsys, {(first.url, "shard")}, *alone)
    expect_stragglers(capsys, {("fleet", "count")}, *alone, "--expect", "8")
    behind = servers[0]
    behind.answer = metrics_of(Process(id="p0", current="v1"))
    expect_stragglers(capsys, {(behind.address, "not-current")}, *both)


def test_replicas_count_once_and_the_worst_counts(
    fleet: Fleet, prometheus: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """A replica that does not answer proves nothing."""
    servers = [fleet.serve(Process(id=each)) for each in ("a1", "b1")]
    first, second = (prometheus(servers, up=0) for _ in range(2))
    both = ["--prometheus", first.url, "--prometheus", second.url]
    status, _, facts = wait(capsys, *both, *FAST, "--expect", "2")
    assert (status, facts["processes"]) == (0, 2)
    quiet = [*both, "--stage", "quiet", "--quiet-for", "2"]
    assert wait(capsys, *quiet, *FAST)[0] == 0
    second.stop()
    expect_stragglers(capsys, {(second.url, "unreachable")}, *both)
    second.start()
    assert wait(capsys, *both, *FAST)[0] == 0


def test_a_restart_during_the_wait_is_no_second_process(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new process started after the last sample of the old one."""
    (instance,) = shop.servers["restarted"]
    before = len(instance.requests)
    old = instance.answer

    def restarted(request: Request) -> tuple[int, dict[str, str], bytes]:
        if len(instance.requests) < before + 5:
            return old(request)
        uptime = 0.1 * (len(instance.requests) - before - 5)
        return 200, {}, Process(id="e2", uptime=uptime).metrics().encode()

    instance.answer = restarted
    status, _, facts = wait(capsys, *shop.of("restarted"), *FAST)
    assert (status, facts["processes"]) == (0, 1)


_APPLICATION = """
import anyio
from hive_boot import Bootstrap, Secret, SecretSet, secret

class Shop(SecretSet, version="secrets-version"):
    client_key: Secret = secret(accept_old_for=600)

boot = Bootstrap(Shop, watch=True, probe_port={port}, probe_host="127.0.0.1")

@boot.main
async def main() -> None:
    while True:
        boot.verify("client_key", lambda key: key.reveal().startswith("fake"))
        await anyio.sleep(0.05)

boot.run()
"""


def test_an_application_is_proved_through_its_rotation(
    tmp_path: Path, prometheus: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """The metrics are those of hive_boot itself."""
    secrets, port = tmp_path / "secrets", free_port()
    secrets.mkdir(mode=0o700)
    for name, text in (("client_key", "fake-client-key-1"), ("secrets-version", "v1")):
        (secrets / name).write_text(text, "utf-8")
    variables = child_environment(HIVE_BOOT_SECRETS_DIR=str(secrets))
    source = _APPLICATION.format(port=port)
    with subprocess.Popen([sys.executable, "-c", source], env=variables) as process:
        try:
            wait_until(lambda: fetch(f"http://127.0.0.1:{port}/readyz") is not None)
            server = prometheus([f"127.0.0.1:{port}"])
            arguments = ["--prometheus", server.url, "--expect", "1"]
            expect_stragglers(capsys, {(f"127.0.0.1:{port}", "not-accepted")}, *arguments)
            (secrets / "client_key").write_text("fake-client-key-2", "utf-8")
            (secrets / "secrets-version").write_text("v2", "utf-8")
            assert wait(capsys, *arguments, *FAST)[0] == 0
            quiet = ["--stage", "quiet", "--quiet-for", "2"]
            assert wait(capsys, *arguments, *FAST, *quiet)[0] == 0
        finally:
            process.terminate()


# An API of Prometheus, for what is rare in a real one.


@dataclass(slots=True)
class Api:
    """The answers of a Prometheus with one target, whose clock is an hour behind."""

    fleet: Fleet
    now: float = field(default_factory=lambda: datetime.now(UTC).timestamp() - 3600)
    started: float = -7200.0
    at: float | None = 0.0
    process: Process = field(default_factory=lambda: Process(id="a1"))
    target: dict[str, Any] = field(default_factory=dict)
    samples: int = 5
    appears: bool = False
    endpoints: dict[str, Any] = field(default_factory=dict)
    rounds: int = 0
    tick: float = 0.0
    offset: float = 0.0

    def answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        """Answer one request."""
        parts = urlsplit(request.path)
        endpoint = parts.path.removeprefix("/api/v1/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        found = self.endpoints.get(endpoint, getattr(self, endpoint.replace("/", "_"), None))
        data = found(query) if callable(found) else found
        if isinstance(data, int):
            return data, {}, b'{"status":"error","error":"it is not possible"}'
        if isinstance(data, bytes):
            return 200, {}, data
        return 200, {}, json.dumps({"status": "success", "data": data}).encode()

    def clock(self) -> float:
        """Return its time, which advances by the tick with each round."""
        return self.now + self.rounds * self.tick + self.offset

    def status_runtimeinfo(self, _: dict[str, str]) -> dict[str, str]:
        """Return when it was started."""
        started = datetime.fromtimestamp(self.now + self.started, UTC)
        return {"startTime": f"{started:%Y-%m-%dT%H:%M:%S.%f}789Z"}

    def status_config(self, _: dict[str, str]) -> dict[str, str]:
        """Return its configuration."""
        return {"yaml": "scrape_configs: []\n"}

    def targets(self, _: dict[str, str]) -> dict[str, Any]:
        """Return its targets."""
        target = {
            "labels": {"instance": "shop-1", "job": "shop"},
            "scrapeUrl": "http://shop-1/metrics",
            "scrapeInterval": "15s",
            "health": "up",
            "lastError": "",
            **self.target,
        }
        late = {**target, "labels": {"instance": "shop-2", "job": "shop"}}
        return {"activeTargets": [target, late] if self.appears else [target]}

    def query(self, query: dict[str, str]) -> dict[str, Any]:
        """Return the result of a query."""
        text = query["query"]
        if text == "time()":
            return {"resultType": "scalar", "result": [self.clock(), str(self.clock())]}
        if "|secrets_info" in text:
            self.rounds += 1
        newest = float(query["time"]) if "time" in query else self.clock()
        if self.at is not None:
            newest = self.now + self.at
        result = []
        for line in self.process.metrics().splitlines():
            name, _, rest = line.partition("{")
            name, value = name.split()[0], line.split()[-1]
            wanted = text if "__name__" in text else "process_info"
            if line.startswith("#") or name.removeprefix("hive_boot_") not in wanted:
                continue
            labels = {
                key: label.strip('"')
                for key, _, label in (each.partition("=") for each in rest.split("}")[0].split(","))
                if label.strip('"')
            }
            times = [newest - 15 * number for number in reversed(range(self.samples))]
            metric = {"__name__": name, "instance": "shop-1", "job": "shop", **labels}
            result.append({"metric": metric, "values": [[each, value] for each in times]})
        return {"resultType": "matrix", "result": result}


@pytest.fixture
def api(fleet: Fleet) -> Api:
    """Return the answers of a Prometheus."""
    return Api(fleet)


def stragglers(
    api: Api, capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 75
) -> dict[str, str]:
    """Return the kinds of the stragglers of a short wait, with their messages."""
    server = api.fleet.server(api.answer)
    short = ["--interval", "0.01", "--timeout", "0.3" if status else "60"]
    got, _, facts = wait(capsys, "--prometheus", f"{server.url}/", *short, *arguments)
    assert got == status
    return {each["kind"]: each["message"] for each in facts["stragglers"]}


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
    """What was old or new by the former clock is not known any more."""
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


# Selectors.


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("{}", True),
        ('job="shop"', True),
        ('{job="shop",}', True),
        (' job = "shop" , team != "b" ', True),
        ('job="sho"', False),
        ('job=~"sho"', False),
        ('job=~"sh.*|x"', True),
        ('job!~"sh.*"', False),
        ('job!="shop"', False),
        ('absent=""', True),
        ('absent!=""', False),
        ('path="a\\\\b\\"c"', True),
    ],
)
def test_a_selector_matches_as_in_promql(text: str, matches: bool) -> None:  # noqa: FBT001
    """Patterns match the whole value; an absent label is empty."""
    labels = {"job": "shop", "team": "a", "path": 'a\\b"c'}
    assert Selector(text).matches(labels) is matches


def test_a_selector_cannot_leave_its_braces() -> None:
    """It is a part of a query."""
    for text in ('job="a"} or vector(1', "job", 'job="a" team="b"', '"job"="a"'):
        with pytest.raises(UsageError):
            Selector(text)
