"""Metrics of an application, for Prometheus.

prometheus-client is optional: this module is imported at the first scrape.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.core import Metric

    from hive_boot.runtime.status import Status

    _Family = type[CounterMetricFamily | GaugeMetricFamily]

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
        for family, name, text, label, values in _labelled(status):
            metric = family(f"hive_boot_{name}", text, labels=[label])
            for key, value in values.items():
                metric.add_metric([key], float(value))
            yield metric


def _labelled(status: Status) -> Iterator[tuple[_Family, str, str, str, Mapping[str, float]]]:
    """Return the metrics with one label: family, name, description, label, values."""
    counter, gauge = CounterMetricFamily, GaugeMetricFamily
    counts = dict.fromkeys(RESULTS, 0) | dict(status.rotations_total)
    yield counter, "rotations", "Rotations by result.", "result", counts
    text = "Failed calls of a rotation hook."
    yield counter, "hook_failures", text, "hook", status.hook_failures
    passing = {each.name: each.passing for each in status.contributors}
    text = "Whether a readiness contributor lets /readyz answer 200."
    yield gauge, "readiness_passing", text, "contributor", passing
    modes = {mode: mode == status.watcher for mode in WATCHERS}
    yield gauge, "watcher", "How changes are noticed: 1 for the current mode.", "mode", modes


def _gauges(status: Status) -> Iterator[tuple[str, str, float]]:
    """Return the metrics without labels: name, description, value."""
    yield "ready", "Whether /readyz answers 200.", status.ready
    yield "degraded", "Whether the application serves although there is a problem.", status.degraded
    yield "generation", "The generation that was accepted last.", status.generation
    text = "When all sources were read last without a problem."
    yield "last_read_timestamp_seconds", text, status.last_read
    yield "last_change_timestamp_seconds", "When a set was accepted last.", status.last_change
    text = "Secret files that are mount points: rewritten in place only."
    yield "pinned_files", text, len(status.pinned)


def expose(status: Status, accept: str = "") -> tuple[str, bytes]:
    """Return the metrics of the application and of the process's default registry.

    Args:
        status: the status of the application.
        accept: the ``Accept`` header of the scrape, which selects the format.

    Returns:
        The format, as a media type, and the text.
    """
    encode, content_type = choose_encoder(accept)
    own = list(Collector(lambda: status).collect())
    names = {metric.name for metric in own}
    # The application may have registered a Collector in the default registry too.
    others = [metric for metric in REGISTRY.collect() if metric.name not in names]
    registry: Any = SimpleNamespace(collect=lambda: own + others)
    return content_type, encode(registry)
