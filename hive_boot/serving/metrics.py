"""The metrics of an application, for Prometheus.

prometheus-client is imported at the first scrape, because few applications have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from hive_boot.runtime.status import Status

WATCHERS = ("inotify", "poll", "down", "off")
"""All the ways in which changes are noticed, or not."""

RESULTS = ("accepted", "refused")
"""What can become of a rotation."""


class Collector:
    """The metrics of one application, made anew at each scrape.

    It can be registered where other metrics are:
    ``prometheus_client.REGISTRY.register(Collector(boot.status))``.

    Args:
        status: describes the application at this moment.
    """

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Give every metric; those that count have all their labels from the beginning."""
        from prometheus_client.core import (  # noqa: PLC0415  (see the top of the file)
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        status = self._status()
        for name, text, value in _gauges(status):
            yield GaugeMetricFamily(f"hive_boot_{name}", text, value=float(value))
        rotations = CounterMetricFamily(
            "hive_boot_rotations", "Rotations, by what became of them.", labels=["result"]
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
        watcher = GaugeMetricFamily(
            "hive_boot_watcher", "1 for the way in which changes are noticed.", labels=["mode"]
        )
        for mode in WATCHERS:
            watcher.add_metric([mode], float(mode == status.watcher))
        yield watcher


def _gauges(status: Status) -> Iterator[tuple[str, str, float]]:
    """Give the metrics that have no label: name, description, value."""
    yield "ready", "Whether the application serves.", status.ready
    yield "degraded", "Whether something is wrong while it serves.", status.degraded
    yield "generation", "The number of the set of secrets in use.", status.generation
    yield (
        "last_read_timestamp_seconds",
        "When the secrets were read last and all was well.",
        status.last_read,
    )
    yield "last_change_timestamp_seconds", "When a set was accepted last.", status.last_change
    yield "pinned_files", "Secret files that can never be replaced.", len(status.pinned)


def expose(status: Status, accept: str = "") -> tuple[str, bytes]:
    """Write the metrics of the application, and those of the process's default registry.

    Args:
        status: the application at this moment.
        accept: the header ``Accept`` of the scrape; it chooses the format.

    Returns:
        The format, as a media type, and the text.

    Raises:
        ModuleNotFoundError: prometheus-client is not installed.
    """
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415  (only a scrape needs it)

    encode, content_type = choose_encoder(accept)
    return content_type, encode(_Everything(Collector(lambda: status)))


class _Everything:
    """Our metrics and those of the default registry, none of them twice."""

    def __init__(self, ours: Collector) -> None:
        self._ours = ours

    def collect(self) -> Iterator[Metric]:
        from prometheus_client import REGISTRY  # noqa: PLC0415  (only a scrape needs it)

        known = set()
        for metric in self._ours.collect():
            known.add(metric.name)
            yield metric
        # Somebody may have registered a Collector of ours there.
        yield from (metric for metric in REGISTRY.collect() if metric.name not in known)
