"""OpenTelemetry: spans of the start and of each rotation, and the metrics of an application.

It needs ``hive_boot[otel]``, which is the API of OpenTelemetry; the application configures an SDK.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from opentelemetry import metrics, trace

from hive_boot.redaction.registry import redact
from hive_boot.runtime.status import Status, measurements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

    from hive_boot.bootstrap import Bootstrap

_INTERVAL = 1.0
"""Seconds after which the status is read again, for new rotations."""


def instrument(
    boot: Bootstrap[Any, Any],
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Export the start, the rotations and the metrics of an application.

    Each successful start is a span ``hive_boot.start`` with a span for each phase, check and
    resource, and each rotation a span ``hive_boot.rotation``, whose status is an error with the
    reason if it was refused. The metrics are those of ``/metrics``, as ``hive_boot.ready`` and so
    on. No text contains a hidden value. A service of the application, ``opentelemetry``, exports
    the spans.

    Args:
        boot: the application, before it starts.
        tracer_provider: receives the spans. Default: the global one.
        meter_provider: receives the metrics. Default: the global one.

    Raises:
        DeclarationError: the application has a service of this name already, or is running.

    Example::

        boot = Bootstrap(AppSecrets, watch=True)
        instrument(boot)
    """
    meter = metrics.get_meter("hive_boot", meter_provider=meter_provider)
    for each in measurements(Status()):
        create = meter.create_observable_gauge
        if each.kind == "counter":
            create = meter.create_observable_counter  # type: ignore[assignment]  # the same call
        observe = partial(_observe, boot.status, each.name)
        create(f"hive_boot.{each.name}", [observe], description=each.description)
    exporter = _SpanExporter(trace.get_tracer("hive_boot", tracer_provider=tracer_provider))

    @boot.service
    async def opentelemetry() -> None:
        exporter.start(boot.status())
        try:
            while True:
                exporter.rotations(boot.status())
                await anyio.sleep(_INTERVAL)
        finally:
            exporter.rotations(boot.status())


def _observe(
    status: Callable[[], Status], name: str, _: CallbackOptions
) -> Iterator[metrics.Observation]:
    """Yield the values of one metric; a redacted label may stand for several."""
    (found,) = [each for each in measurements(status()) if each.name == name]
    values: dict[tuple[str, ...], float] = {}
    for labels, value in found.values.items():
        shown = tuple(map(redact, labels))
        values[shown] = values.get(shown, 0.0) + value
    for labels, value in values.items():
        yield metrics.Observation(value, dict(zip(found.labels, labels, strict=True)))


class _SpanExporter:
    """Spans of one application, with the times at which the steps happened.

    Args:
        tracer: creates the spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._last = 0.0

    def start(self, status: Status) -> None:
        """Export the steps of a start that are over."""
        began = time.time() - status.uptime
        self._last = began
        steps = [step for step in status.timeline if step.end is not None]
        end = max((step.end for step in steps if step.end is not None), default=0.0)
        root = self._tracer.start_span(
            "hive_boot.start",
            context=trace.set_span_in_context(trace.INVALID_SPAN),
            start_time=_nanoseconds(began),
            attributes={"hive_boot.mode": status.mode, "hive_boot.profile": status.profile},
        )
        context = trace.set_span_in_context(root)
        for step in steps:
            span = self._tracer.start_span(
                f"{step.kind} {redact(step.name)}",
                context=context,
                start_time=_nanoseconds(began + step.start),
                attributes={
                    "hive_boot.outcome": step.outcome,
                    "hive_boot.waits_for": redact(list(step.waits_for)),
                },
            )
            span.end(_nanoseconds(began + (step.end or 0.0)))
        root.end(_nanoseconds(began + end))

    def rotations(self, status: Status) -> None:
        """Export the rotations since the last call."""
        new = [each for each in reversed(status.rotations) if each.at > self._last]
        for each in new:
            self._last = each.at
            attributes: dict[str, Any] = {
                "hive_boot.verdict": each.verdict,
                "hive_boot.secrets": redact(list(each.names)),
            }
            if each.generation is not None:
                attributes["hive_boot.generation"] = each.generation
            span = self._tracer.start_span(
                "hive_boot.rotation",
                context=trace.set_span_in_context(trace.INVALID_SPAN),
                start_time=_nanoseconds(each.at - each.duration),
                attributes=attributes,
            )
            if each.verdict == "refused":
                span.set_status(trace.StatusCode.ERROR, redact(each.reason))
            span.end(_nanoseconds(each.at))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
