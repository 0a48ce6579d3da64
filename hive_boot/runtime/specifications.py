"""Specifications: what an application declares about each function, and the bound functions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Protocol

from hive_boot._records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hive_boot.lifecycle.services import RestartPolicy
    from hive_boot.runtime.injection import BoundCall, Rebuild, Work


class RotationHook(Record):
    """Function that is called after a rotation.

    Attributes:
        work: the function.
        names: the fields whose change causes a call; empty for all fields.
        timeout: seconds for one call.
    """

    work: Work
    names: frozenset[str]
    timeout: float


CheckMoment = Literal["always", "start", "rotation"]
"""When a check of the application is called: at a start, at a rotation, or at both."""


class CheckSpec(Record):
    """Check of the application: accepts or refuses a candidate.

    Attributes:
        work: the function.
        names: the fields whose change causes a call in a rotation; empty for all fields.
        timeout: seconds for one call; None for the rest of ``startup_timeout``.
        retry_on: further exceptions which mean that something outside could not be reached.
        at: when it is called.
    """

    work: Work
    names: frozenset[str]
    timeout: float | None
    retry_on: tuple[type[Exception], ...] = ()
    at: CheckMoment = "always"


class ResourceSpec(Record):
    """Declared resource.

    Attributes:
        work: the function.
        timeout: the limit of its start, and the limit of its stop, in seconds; infinite if only
            the limits of the whole startup and the whole shutdown apply.
        retry_on: further exceptions which mean that something outside could not be reached.
        after: resources that start before it and stop after it, by handle or name.
        rebuild_on: the attributes whose changes make a new instance of it.
        overlap: seconds for which the old instance continues after a rebuild.
    """

    work: Work
    timeout: float = math.inf
    retry_on: tuple[type[Exception], ...] = ()
    after: object = ()
    rebuild_on: frozenset[str] = frozenset()
    overlap: float = 30.0


class TaskSpec(Record):
    """Declared service.

    Attributes:
        work: the function.
        restart: when the service is started again.
        max_restarts: the maximum number of restarts within ``restart_window``.
        restart_window: the period in which restarts are counted, in seconds.
        grace_period: seconds between the request to stop and the cancellation.
        on_stop: called when a stop is requested; None without.
    """

    work: Work
    restart: RestartPolicy
    max_restarts: int
    restart_window: float
    grace_period: float
    on_stop: Callable[[], object] | None


class ContributorSpec(Record):
    """Declared readiness contributor.

    Attributes:
        work: the function.
        name: the name, also in the path of its endpoint.
        interval: seconds between the end of a call and the next one.
        timeout: seconds for one call.
    """

    work: Work
    name: str
    interval: float
    timeout: float


class BoundFunctions(Record):
    """Declared functions, each with its specification and the source of its arguments.

    Attributes:
        resources: the resources in start order, by name.
        rebuilds: when a resource is rebuilt, by name.
        services: the services.
        hooks: the rotation hooks.
        checks: the checks.
        contributors: the readiness contributors.
    """

    resources: Mapping[str, tuple[BoundCall, ResourceSpec]]
    rebuilds: Mapping[str, Rebuild]
    services: Sequence[tuple[BoundCall, TaskSpec]]
    hooks: Sequence[tuple[BoundCall, RotationHook]]
    checks: Sequence[tuple[BoundCall, CheckSpec]]
    contributors: Sequence[tuple[BoundCall, ContributorSpec]]


class LiveCertificate(Protocol):
    """TLS context whose certificate is a secret."""

    @property
    def check(self) -> tuple[BoundCall, CheckSpec]:
        """The check of the certificate of a candidate."""

    def report_expiry(self) -> Mapping[str, float]:
        """Return when the certificate in use expires, by its name, and log that it is near."""
