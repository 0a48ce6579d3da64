"""Applications as they may be found, made up: what status() would tell of each."""

import time
from typing import Any

from hive_boot.lifecycle.readiness import ContributorStatus
from hive_boot.lifecycle.states import State, TimelineEntry
from hive_boot.runtime.status import HookStatus, RotationStatus, SecretStatus, Status, UseStatus

NAMES = (
    "OPENAI_API_KEY",
    "HIVE_API_KEY",
    "JWT_SECRET",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "LANGSMITH_API_KEY",
    "SENTRY_DSN",
    "GITHUB_TOKEN",
)

PLACE = "/run/secrets/hive/{}"


def secret_status(name: str, **more: Any) -> SecretStatus:  # noqa: ANN401  (any field)
    """Describe a secret that is there."""
    told: dict[str, Any] = {
        "name": name,
        "attribute": name.lower(),
        "present": True,
        "required": True,
        "used_by": "semantic-memory, agents",
        "source": "file",
        "place": PLACE.format(name),
        "generation": 1,
        "age": 8_000.0,
    }
    return SecretStatus(**(told | more))


def secrets(count: int = 8) -> tuple[SecretStatus, ...]:
    """Describe so many secrets; the seventh is an optional one that is absent."""
    names = [NAMES[n] if n < len(NAMES) else f"PARTNER_{n}_API_KEY" for n in range(count)]
    found = [secret_status(name) for name in names]
    found[2] = secret_status(names[2], generation=4, age=40.0, due=80.0)
    found[6] = secret_status(
        names[6], present=False, required=False, source="", place="", generation=0, age=9_000.0
    )
    return tuple(found)


STARTED = (
    TimelineEntry(name="loading", kind="phase", start=0.0, end=0.085, outcome="done"),
    TimelineEntry(name="starting", kind="phase", start=0.085, end=1.61, outcome="done"),
    TimelineEntry(name="stripe_secret_key", kind="check", start=0.09, end=0.62, outcome="done"),
    TimelineEntry(name="database", kind="resource", start=0.09, end=0.84, outcome="done"),
    TimelineEntry(name="cache", kind="resource", start=0.09, end=0.31, outcome="done"),
    TimelineEntry(
        name="agents", kind="resource", start=0.84, end=1.6, outcome="done", waits_for=("database",)
    ),
    TimelineEntry(name="heartbeat", kind="service", start=1.6),
)
"""A start that took a second and a half, and a service that goes on."""


def starting(count: int = 8) -> Status:
    """Describe an application that starts; one part hangs, one waits for it."""
    return Status(
        state=State.STARTING,
        uptime=4.2,
        mode="kubernetes",
        mode_reason="KUBERNETES_SERVICE_HOST is set",
        profile="production",
        profile_reason="the default in kubernetes mode",
        generation=1 if count > 8 else 0,
        secrets=secrets(count) if count > 8 else (),
        timeline=(
            STARTED[0],
            TimelineEntry(name="starting", kind="phase", start=0.085),
            STARTED[2],
            STARTED[4],
            TimelineEntry(name="database", kind="resource", start=0.09),
            TimelineEntry(
                name="agents",
                kind="resource",
                start=0.09,
                outcome="waiting",
                waits_for=("database",),
            ),
            TimelineEntry(name="mailer", kind="resource", start=0.09, end=2.0, outcome="overdue"),
        ),
    )


def ready(count: int = 8, **more: Any) -> Status:  # noqa: ANN401  (any field)
    """Describe an application that serves, and has rotated three times."""
    now = time.time()
    told: dict[str, Any] = {
        "state": State.READY,
        "ready": True,
        "started": True,
        "uptime": 9_000.0,
        "process_id": "f00dfeedc0ffee42",
        "mode": "kubernetes",
        "mode_reason": "KUBERNETES_SERVICE_HOST is set",
        "profile": "production",
        "profile_reason": "the default in kubernetes mode",
        "generation": 4,
        "last_read": now - 12,
        "last_change": now - 40,
        "watcher": "inotify",
        "hook_failures": {"reconnect": 0, "agents": 0},
        "hooks": (HookStatus(name="reconnect", at=now - 40), HookStatus(name="agents")),
        "rotations": (
            RotationStatus(
                at=now - 40, generation=4, verdict="accepted", names=("jwt_secret",), duration=0.021
            ),
            RotationStatus(
                at=now - 900,
                generation=None,
                verdict="refused",
                names=("JWT_SECRET",),
                duration=0.02,
                reason="JWT_SECRET is 5 characters long, and 32 are required",
            ),
            RotationStatus(
                at=now - 4000, generation=2, verdict="in-use", names=("sentry_dsn",), duration=3.0
            ),
        ),
        "rotations_total": {"accepted": 2, "refused": 1},
        "timeline": STARTED,
        "uses": (
            UseStatus(
                name=NAMES[2],
                accept_old_for=3600.0,
                current=40,
                pending=2,
                old=5,
                old_use_age=35.5,
            ),
        ),
        "secrets": secrets(count),
    }
    return Status(**(told | more))


def degraded(count: int = 8, **more: Any) -> Status:  # noqa: ANN401  (any field)
    """Describe an application that serves while several things are wrong."""
    pinned = PLACE.format(NAMES[0]), PLACE.format(NAMES[1])
    told: dict[str, Any] = {
        "degraded": True,
        "reasons": (
            "the candidate was refused: JWT_SECRET length",
            "the hook reconnect fails",
            f"{pinned[0]} is a stale mount",
        ),
        "rejected": True,
        "rejected_names": ("JWT_SECRET",),
        "pinned": pinned,
        "stale": pinned[:1],
        "pending_hooks": ("agents",),
        "failing_hooks": ("reconnect",),
        "resources_on_old": ("database", "cache", "cache"),
        "secrets_version": "2026-01-05.2",
        "secrets_version_in_use": "",
        "worker": True,
        "hook_failures": {"reconnect": 7, "agents": 0},
        "hooks": (
            HookStatus(
                name="reconnect",
                at=time.time() - 3,
                failure="ConnectionError: refused",
                failures=7,
            ),
            HookStatus(name="agents"),
        ),
        "watcher": "poll",
        "certificates": {NAMES[3]: 1_700_600_000.0, NAMES[4]: 1_600_000_000.0},
    }
    return ready(count, **(told | more))


def unready(**more: Any) -> Status:  # noqa: ANN401  (any field)
    """Describe an application that serves, and that should not get requests."""
    return ready(
        ready=False,
        degraded=True,
        reasons=("the readiness contributor queue fails: TimeoutError",),
        services=("heartbeat", "poll", "warm_up"),
        service_restarts={"heartbeat": 1, "poll": 3, "warm_up": 0},
        failing_services=("poll",),
        completed_services=("warm_up",),
        contributors=(
            ContributorStatus("database", passing=True, failure="returned False", age=1.0),
            ContributorStatus("queue", failure="TimeoutError", age=3.0),
            ContributorStatus("cache"),
        ),
        **more,
    )


def stopping() -> Status:
    """Describe an application that stops, because a part has failed."""
    return ready(
        state=State.STOPPING,
        ready=False,
        failed="agents",
        timeline=(
            *STARTED[:-1],
            TimelineEntry(
                name="heartbeat", kind="service", start=1.6, end=7_000.0, outcome="failed"
            ),
            TimelineEntry(
                name="heartbeat", kind="service", start=7_001.0, end=8_999.0, outcome="cancelled"
            ),
            TimelineEntry(name="stopping", kind="phase", start=8_999.0),
            TimelineEntry(name="agents", kind="stop", start=8_999.1, end=8_999.4, outcome="done"),
            TimelineEntry(name="database", kind="stop", start=8_999.4),
        ),
    )


def crowded() -> Status:
    """Describe a start of a thousand parts, of which one hangs."""
    parts = [
        TimelineEntry(
            name=f"part_{n}", kind="resource", start=n / 1000, end=n / 1000 + 0.2, outcome="done"
        )
        for n in range(1000)
    ]
    parts[900] = TimelineEntry(name="part_900", kind="resource", start=0.9)
    return ready(200, state=State.STARTING, ready=False, started=False, timeline=tuple(parts))
