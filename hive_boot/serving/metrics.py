"""Metrics of an application, for Prometheus.

prometheus-client is optional: this module is imported at the first scrape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from hive_boot.runtime.status import Status

WATCHERS = ("inotify", "poll", "down", "off")
"""All modes of the watcher."""

RESULTS = ("accepted", "refused")
"""All results of a rotation."""


class Collector:
    """Collector of the metrics of one application, for a registry of prometheus-client.

    ``prometheus_client.REGISTRY.register(Collector(boot.status))`` adds them to the default
    registry.

    Args:
        status: returns the status of the application; called at each scrape.
    """

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Return all metrics, including counters that are 0."""
        status = self._status()
        for name, text, value in _gauges(status):
            yield GaugeMetricFamily(f"hive_boot_{name}", text, value=float(value))
        rotations = CounterMetricFamily(
            "hive_boot_rotations", "Rotations by result.", labels=["result"]
        )
        for result in dict.fromkeys((*RESULTS, *status.rotations_total)):
            rotations.add_metric([result], status.rotations_total.get(result, 0))
        yield rotations
        failures = CounterMetricFamily(
            "hive_boot_hook_failures", "Failed calls of a rotation hook.", labels=["hook"]
        )
        for hook, count in status.hook_failures.items():
            failures.add_metric([hook], count)
        yield failures
        contributors = GaugeMetricFamily(
            "hive_boot_readiness_passing",
            "Whether a readiness contributor lets /readyz answer 200.",
            labels=["contributor"],
        )
        for each in status.contributors:
            contributors.add_metric([each.name], float(each.passing))
        yield contributors
        watcher = GaugeMetricFamily(
            "hive_boot_watcher", "How changes are noticed: 1 for the current mode.", labels=["mode"]
        )
        for mode in WATCHERS:
            watcher.add_metric([mode], float(mode == status.watcher))
        yield watcher


def _gauges(status: Status) -> Iterator[tuple[str, str, float]]:
    """Return the metrics without labels: name, description, value."""
    yield "ready", "Whether /readyz answers 200.", status.ready
    yield "degraded", "Whether the application serves although there is a problem.", status.degraded
    yield "generation", "The generation that was accepted last.", status.generation
    yield (
        "last_read_timestamp_seconds",
        "When all sources were read last without a problem.",
        status.last_read,
    )
    yield "last_change_timestamp_seconds", "When a set was accepted last.", status.last_change
    yield (
        "pinned_files",
        "Secret files that are mount points: rewritten in place only.",
        len(status.pinned),
    )


def expose(status: Status, accept: str = "") -> tuple[str, bytes]:
    """Return the metrics of the application and of the process's default registry.

    Args:
        status: the status of the application.
        accept: the ``Accept`` header of the scrape, which selects the format.

    Returns:
        The format, as a media type, and the text.
    """
    encode, content_type = choose_encoder(accept)
    return content_type, encode(_CombinedCollector(Collector(lambda: status)))


class _CombinedCollector:
    """Metrics of hive_boot and of the default registry, each once."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        known = set()
        for metric in self._collector.collect():
            known.add(metric.name)
            yield metric
        # The application may have registered a Collector in the default registry too.
        yield from (metric for metric in REGISTRY.collect() if metric.name not in known)
