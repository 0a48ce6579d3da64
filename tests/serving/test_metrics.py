"""What Prometheus is told."""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version

import pytest
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    generate_latest,
)
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from hive_boot import Secret
from hive_boot.redaction.hooks import Redaction
from hive_boot.runtime.status import Status
from hive_boot.serving.metrics import Collector, _redact_labels, expose
from tests.fixtures.golden import assert_golden
from tests.serving.statuses import NAMES, degraded, ready, unready

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(text: str) -> Samples:
    """Read a page as Prometheus does: names with the values of labels, and numbers."""
    return samples_of(families(text))


def samples_of(found: Iterable[Metric]) -> Samples:
    """Return the names of samples with the values of labels, and numbers."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in found
        for sample in family.samples
    }


def ours(told: Samples) -> Samples:
    """Leave out what is not of hive_boot."""
    return {key: value for key, value in told.items() if key[0].startswith("hive_boot_")}


def test_every_metric_has_its_name_and_value() -> None:
    """Alerts depend on the names of the metrics."""
    status = replace(
        degraded(),
        last_read=1_700_000_060.0,
        last_change=1_700_000_000.0,
        contributors=unready().contributors,
        service_restarts={"heartbeat": 0, "poll": 3},
    )
    assert ours(samples(expose(status)[1].decode())) == {
        ("hive_boot_ready", ()): 1,
        ("hive_boot_degraded", ()): 1,
        ("hive_boot_generation", ()): 4,
        ("hive_boot_last_read_timestamp_seconds", ()): 1_700_000_060,
        ("hive_boot_last_change_timestamp_seconds", ()): 1_700_000_000,
        ("hive_boot_pinned_files", ()): 2,
        ("hive_boot_uptime_seconds", ()): 9_000,
        ("hive_boot_rotation_seconds", ()): 0.021,
        ("hive_boot_pending_hooks", ()): 1,
        ("hive_boot_failed_hooks", ()): 1,
        ("hive_boot_resources_on_old", ()): 3,
        ("hive_boot_secrets_info", ("accepted", "2026-01-05.2")): 1,
        ("hive_boot_secrets_info", ("current", "")): 1,
        ("hive_boot_process_info", ("app", "f00dfeedc0ffee42", "true")): 1,
        ("hive_boot_build_info", (version("hive_boot"),)): 1,
        ("hive_boot_secret_uses_total", (NAMES[2], "current")): 40,
        ("hive_boot_secret_uses_total", (NAMES[2], "pending")): 2,
        ("hive_boot_secret_uses_total", (NAMES[2], "old")): 5,
        ("hive_boot_secret_old_use_age_seconds", (NAMES[2],)): 35.5,
        ("hive_boot_accept_old_for_seconds", (NAMES[2],)): 3600,
        ("hive_boot_rotations_total", ("accepted",)): 2,
        ("hive_boot_rotations_total", ("refused",)): 1,
        ("hive_boot_hook_failures_total", ("reconnect",)): 7,
        ("hive_boot_hook_failures_total", ("agents",)): 0,
        ("hive_boot_service_restarts_total", ("heartbeat",)): 0,
        ("hive_boot_service_restarts_total", ("poll",)): 3,
        ("hive_boot_certificate_expiry_timestamp_seconds", (NAMES[3],)): 1_700_600_000,
        ("hive_boot_certificate_expiry_timestamp_seconds", (NAMES[4],)): 1_600_000_000,
        ("hive_boot_readiness_passing", ("database",)): 1,
        ("hive_boot_readiness_passing", ("queue",)): 0,
        ("hive_boot_readiness_passing", ("cache",)): 0,
        ("hive_boot_watcher", ("inotify",)): 0,
        ("hive_boot_watcher", ("poll",)): 1,
        ("hive_boot_watcher", ("down",)): 0,
        ("hive_boot_watcher", ("off",)): 0,
    }


def test_the_metrics_are_worded() -> None:
    """The names, the types and the help texts of our metrics, as a scrape shows them."""
    status = replace(
        degraded(),
        last_read=1_700_000_060.0,
        last_change=1_700_000_000.0,
        contributors=unready().contributors,
        service_restarts={"heartbeat": 0, "poll": 3},
    )
    lines = expose(status)[1].decode().splitlines()
    text = "\n".join(line for line in lines if "hive_boot_" in line)
    assert_golden("metrics", text.replace(version("hive_boot"), "0.0.0"))


def test_counters_begin_at_zero() -> None:
    """So an alert can detect the first failure, as a step from 0 to 1."""
    told = samples(expose(Status())[1].decode())
    assert told["hive_boot_rotations_total", ("accepted",)] == 0
    assert told["hive_boot_rotations_total", ("refused",)] == 0
    assert told["hive_boot_watcher", ("off",)] == 1
    assert told["hive_boot_ready", ()] == 0


def test_a_worker_s_own_metrics_are_on_the_same_page() -> None:
    """A worker without HTTP has one page for all of its metrics."""
    jobs = Counter("fake_jobs", "Jobs that were done.")
    try:
        jobs.inc(3)
        assert samples(expose(ready())[1].decode())["fake_jobs_total", ()] == 3
    finally:
        REGISTRY.unregister(jobs)


def test_no_sample_is_exported_twice() -> None:
    """This holds if the collector is also registered by hand; Prometheus rejects duplicates."""
    collector = Collector(degraded)
    REGISTRY.register(collector)
    try:
        text = expose(ready())[1].decode()
    finally:
        REGISTRY.unregister(collector)
    assert text.count("\nhive_boot_degraded ") == 1
    assert "\nhive_boot_degraded 0.0\n" in text


def test_the_collector_can_be_registered_in_another_registry() -> None:
    """The registry exports the current values."""
    now = ready()
    registry = CollectorRegistry(auto_describe=True)
    registry.register(Collector(lambda: now))
    assert str(registry.get_sample_value("hive_boot_degraded")) == "0.0"
    now = degraded()
    assert registry.get_sample_value("hive_boot_degraded") == 1
    assert "hive_boot_ready 1.0" in generate_latest(registry).decode()
    with pytest.raises(ValueError, match="hive_boot_ready"):
        registry.register(Collector(ready))


def test_a_client_that_accepts_openmetrics_gets_it() -> None:
    """Prometheus prefers OpenMetrics, and its strict parser accepts the page."""
    content_type, body = expose(ready(), "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    names = {family.name for family in open_families(body.decode())}  # type: ignore[no-untyped-call]
    assert {"hive_boot_rotations", "hive_boot_watcher", "process_start_time_seconds"} <= names


def test_the_client_is_imported_by_a_scrape_alone() -> None:
    """An application without metrics does not pay for them."""
    program = (
        "import sys\n"
        "from hive_boot.serving.endpoints import handle_request\n"
        "from hive_boot.runtime.status import Status\n"
        "assert handle_request('GET', '/boot', Status()).status == 200\n"
        "assert 'prometheus_client' not in sys.modules, 'too early'\n"
        "handle_request('GET', '/metrics', Status())\n"
        "assert 'prometheus_client' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.fixture
def hidden() -> Iterator[str]:
    """Hide a value."""
    value = 'fake-key-"0123456789\\'
    redaction = Redaction()
    redaction.open()
    redaction.register([Secret("A", value)])
    yield value
    redaction.close()


def test_label_values_are_redacted(hidden: str) -> None:
    """A value in a label of any metric on the page is hidden, and the series stay valid."""
    paths = Counter("fake_paths", "Requests by path.", ["path"])
    times = Histogram("fake_times", "Seconds by path.", ["path"], buckets=(1, 2))
    info = Info("fake_build", "What is running.")
    gauge = Gauge("fake_gauge", "A gauge.", ["a", "b"])
    found = [paths, times, info, gauge]
    try:
        for path in (f"/a?key={hidden}", "/b", "/a?key=***"):
            paths.labels(path).inc(2)
            times.labels(path).observe(1.5, {"trace": hidden})
        info.info({"key": hidden})
        gauge.labels("a", hidden).set(5)
        status = replace(ready(), hook_failures={f"hook of {hidden}": 3})
        for accept, read in (("", families), ("application/openmetrics-text", open_families)):
            text = expose(status, accept)[1].decode()
            told = samples_of(read(text))
            assert "0123456789" not in text
            assert text.count("\nfake_paths_total{") == 2
            assert told["fake_paths_total", ("/a?key=***",)] == 4
            assert told["fake_paths_total", ("/b",)] == 2
            assert told["fake_times_count", ("/a?key=***",)] == 2
            assert told["fake_times_bucket", ("+Inf", "/a?key=***")] == 2
            assert told["fake_build_info", ("***",)] == 1
            assert told["fake_gauge", ("a", "***")] == 5
            assert told["hive_boot_hook_failures_total", ("hook of ***",)] == 3
            assert told.get(("fake_paths_created", ("/a?key=***",)), 0) < time.time() + 1
        assert REGISTRY.get_sample_value("fake_paths_total", {"path": f"/a?key={hidden}"}) == 2
    finally:
        for each in found:
            REGISTRY.unregister(each)


def test_label_values_without_a_secret_are_not_copied(hidden: str) -> None:
    """The metrics of a scrape without a value are encoded as they are."""
    assert hidden
    metrics = list(Collector(ready).collect())
    assert _redact_labels(metrics) is metrics
