"""Spans and metrics of an application, through the SDK of OpenTelemetry."""

import anyio
import pytest
from anyio.lowlevel import checkpoint
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from hive_boot import Bootstrap, InvalidSecretsError
from hive_boot.otel import instrument
from hive_boot.runtime.status import Status, measurements
from hive_boot.testing import MountedVolume
from tests.runtime.rotations import Service, mounted, numbered
from tests.support import until

pytestmark = pytest.mark.anyio


class Telemetry:
    """An SDK in memory."""

    def __init__(self, boot: Bootstrap[Service, None]) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        instrument(
            boot,
            tracer_provider=tracers,
            meter_provider=MeterProvider(metric_readers=[self._reader]),
        )

    def spans(self, name: str) -> list[ReadableSpan]:
        """Return the spans with a name."""
        return [each for each in self._exporter.get_finished_spans() if each.name == name]

    def metrics(self) -> dict[str, dict[tuple[object, ...], float]]:
        """Return the values of each metric by the values of the labels."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: {
                tuple((point.attributes or {}).values()): point.value  # type: ignore[union-attr]
                for point in metric.data.data_points
            }
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def times(span: ReadableSpan) -> tuple[int, int]:
    """Return the begin and the end of a span that has ended."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


@pytest.fixture
def volume(mounted_volume: MountedVolume) -> MountedVolume:
    """Return a volume with the first set."""
    mounted_volume.publish(numbered(1))
    return mounted_volume


@pytest.fixture
def boot(volume: MountedVolume) -> Bootstrap[Service, None]:
    """Return an application that reloads when it is asked to."""
    return mounted(volume.path, Service, watch=False)


@pytest.mark.both_backends
async def test_a_start_is_a_tree_of_spans(boot: Bootstrap[Service, None]) -> None:
    """The start is a span, and each of its steps a child with its own times."""
    telemetry = Telemetry(boot)

    @boot.resource
    async def pool() -> None:
        await anyio.sleep(0.01)

    async with boot.running():
        await until(lambda: bool(telemetry.spans("hive_boot.start")))
        status = boot.status()
    (root,) = telemetry.spans("hive_boot.start")
    assert root.attributes == {
        "hive_boot.mode": status.mode,
        "hive_boot.profile": status.profile,
    }
    for name in ("phase loading", "phase starting", "resource pool"):
        (span,) = telemetry.spans(name)
        assert span.parent is not None
        assert span.parent.span_id == root.context.span_id
        assert times(root)[0] <= times(span)[0] <= times(span)[1] <= times(root)[1]
        assert span.attributes is not None
        assert span.attributes["hive_boot.outcome"] == "done"
    (begin, end) = times(telemetry.spans("resource pool")[0])
    assert end - begin >= 0.01 * 1e9


async def test_a_rotation_is_a_span(boot: Bootstrap[Service, None], volume: MountedVolume) -> None:
    """An accepted rotation has its secrets, a refused one its reason, and neither a value."""
    telemetry = Telemetry(boot)
    async with boot.running():
        await until(lambda: bool(telemetry.spans("hive_boot.start")))
        volume.publish(numbered(2))
        await boot.reload()
        volume.publish({**numbered(9), "api_key": "fake-short"})
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
    accepted, refused = telemetry.spans("hive_boot.rotation")
    assert accepted.attributes == {
        "hive_boot.verdict": "accepted",
        "hive_boot.secrets": ("API_KEY", "JWT_SECRET"),
        "hive_boot.generation": 2,
    }
    assert accepted.status.status_code is StatusCode.UNSET
    assert times(accepted)[0] < times(accepted)[1]
    assert refused.attributes == {
        "hive_boot.verdict": "refused",
        "hive_boot.secrets": ("API_KEY",),
    }
    assert refused.status.status_code is StatusCode.ERROR
    assert str(refused.status.description).startswith("API_KEY ")
    assert "fake-short" not in str(refused.to_json())


async def test_the_metrics_are_those_of_prometheus(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """Each metric of ``/metrics`` is exported, and a hidden value in a label is not shown."""
    value = numbered(1)["api_key"]

    @boot.readiness(name=f"broker-{value}")
    async def broker() -> None:
        await checkpoint()

    telemetry = Telemetry(boot)
    async with boot.running():
        await until(lambda: boot.status().ready)
        found = telemetry.metrics()
        volume.publish(numbered(2))
        await boot.reload()
        after = telemetry.metrics()
    names = {f"hive_boot.{each.name}" for each in measurements(Status())}
    # A metric without a series, such as that of the certificates, is not sent.
    assert found.keys() <= names
    assert names - found.keys() == {
        "hive_boot.hook_failures",
        "hive_boot.certificate_expiry_timestamp_seconds",
        "hive_boot.secrets_info",
        "hive_boot.secret_old_use_age_seconds",
        "hive_boot.accept_old_for_seconds",
        "hive_boot.secret_uses",
    }
    assert found["hive_boot.ready"] == {(): 1.0}
    assert found["hive_boot.readiness_passing"] == {("broker-***",): 1.0}
    assert found["hive_boot.service_restarts"] == {("opentelemetry",): 0.0}
    assert found["hive_boot.rotations"] == {("accepted",): 0.0, ("refused",): 0.0}
    assert after["hive_boot.rotations"] == {("accepted",): 1.0, ("refused",): 0.0}
