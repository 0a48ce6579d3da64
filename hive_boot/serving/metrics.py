"""Metrics of an application, for Prometheus.

prometheus-client is optional: this module is imported at the first scrape.
"""

from __future__ import annotations

from copy import copy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

from hive_boot.redaction.registry import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.core import Metric, Sample

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
    text = "Restarts of a service."
    yield counter, "service_restarts", text, "service", status.service_restarts
    text = "When the certificate of a TLS context expires."
    yield gauge, "certificate_expiry_timestamp_seconds", text, "secret", status.certificates
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

    Hidden values in labels are replaced by ``***``.

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
    shown = _redact_labels(own + others)
    registry: Any = SimpleNamespace(collect=lambda: shown)
    return content_type, encode(registry)


def _redact_labels(metrics: list[Metric]) -> list[Metric]:
    """Return the metrics without hidden values in labels, such as the path of a request."""
    samples = [sample for metric in metrics for sample in metric.samples]
    sets = [sample.labels for sample in samples]
    sets += [sample.exemplar.labels for sample in samples if sample.exemplar]
    labels = [label for each in sets for label in each.values()]
    text = "\n".join(map(str, labels))
    return metrics if redact(text) is text else [_redacted(metric) for metric in metrics]


def _redacted(metric: Metric) -> Metric:
    """Return a copy of a metric with redacted labels.

    Series that have the same labels then are added up, because Prometheus refuses duplicates.
    """
    found: dict[object, Sample] = {}
    for sample in metric.samples:
        labels = redact(sample.labels)
        exemplar = sample.exemplar
        if exemplar:
            exemplar = exemplar._replace(labels=redact(exemplar.labels))
        key = (sample.name, frozenset(labels.items()), str(sample.timestamp))
        value = sample.value
        if key in found:
            # The time of creation is that of the first series.
            value = found[key].value + (0 if sample.name.endswith("_created") else value)
        found[key] = sample._replace(labels=labels, exemplar=exemplar, value=value)
    shown = copy(metric)
    shown.samples = list(found.values())
    return shown
