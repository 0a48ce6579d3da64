"""``hive-boot fleet --prometheus``: a real Prometheus, and an API that shows rare answers."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hive_boot.cli import UsageError
from hive_boot.cli.fleet_evidence import Selector
from hive_boot.cli.main import main
from tests.cli.fleets import (
    FAST,
    SHORT,
    Fleet,
    Process,
    Prometheus,
    Request,
    Start,
    expect_stragglers,
    fetch,
    fleet,
    metrics_of,
    prometheus,
    wait,
    wait_until,
)
from tests.fixtures.ports import free_port
from tests.support import child_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

assert fleet, prometheus  # fixtures

# A real Prometheus.


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
    with closing(Fleet()) as made:
        shop = Shop(tmp_path_factory.mktemp("shop") / "prometheus", made)
        yield shop
        shop.prometheus.stop()


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
    process = Process(id="a1", current="v1")
    old = fleet.serve(process)
    late = fleet.serve(Process(id="b1", current="v1"))
    server = prometheus([old])

    def follow(_: Request) -> tuple[int, dict[str, str], bytes]:
        # It uses the new version only when the second pod has been scraped.
        process.current = "v2" if late.requests else "v1"
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
    assert wait(capsys, *both, *FAST)[0] == 0
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
        instance.answer = metrics_of(Process(id="e2", uptime=0))
        return instance.answer(request)

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


@pytest.mark.parametrize("pattern", ["shop|shop-[[:digit:]]+", "shop|shop-[0-9]{,2}"])
def test_a_pattern_that_python_reads_otherwise_is_refused(
    pattern: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prometheus would select a target that is down, and the list of targets here would lack it."""
    selector = ["--selector", f'pod=~"{pattern}"', "--prometheus", "http://127.0.0.1:9"]
    assert main(["fleet", "wait", "v2", *selector, *SHORT]) == 64
    assert "--selector must be matchers" in capsys.readouterr().err


def test_a_target_whose_path_is_wrong_has_a_fix(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """The path of the metrics is that at which the application has mounted its probes."""
    server = fleet.server(lambda _: (404, {}, b""))
    assert main(["fleet", "status", "--target", f"http://{server.address}"]) == 69
    assert "Fix: name the path" in capsys.readouterr().out
