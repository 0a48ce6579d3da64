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
from hive_boot.runtime.status import measurements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric, Sample

    from hive_boot.runtime.status import Status


class Collector:
    """Collector of the metrics of one application, for a registry of prometheus-client.

    ``prometheus_client.REGISTRY.register(Collector(boot.status))`` adds them to the default
    registry.

    Args:
        status: returns the status of the application; called at each scrape.
        endpoint: ``probe`` if the probe port of this process shows the metrics. Default ``app``.
    """

    def __init__(self, status: Callable[[], Status], endpoint: str = "app") -> None:
        self._status = status
        self._endpoint = endpoint

    def collect(self) -> Iterator[Metric]:
        """Return all metrics, including counters that are 0."""
        for each in measurements(self._status(), self._endpoint):
            family = CounterMetricFamily if each.kind == "counter" else GaugeMetricFamily
            metric = family(f"hive_boot_{each.name}", each.description, labels=each.labels)
            for labels, value in each.values.items():
                metric.add_metric(labels, value)
            yield metric

    def describe(self) -> Iterator[Metric]:
        """Return the metrics, so that a registry refuses those of another application.

        Of two samples of one series, Prometheus ignores one.
        """
        return self.collect()


def expose(status: Status, accept: str = "", endpoint: str = "app") -> tuple[str, bytes]:
    """Return the metrics of the application and of the process's default registry.

    Hidden values in labels are replaced by ``***``.

    Args:
        status: the status of the application.
        accept: the ``Accept`` header of the scrape, which selects the format.
        endpoint: as for the Collector.

    Returns:
        The format, as a media type, and the text.
    """
    encode, content_type = choose_encoder(accept)
    own = list(Collector(lambda: status, endpoint).collect())
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
