"""Components: what is declared about each function, resource handles, and what a run starts."""

from __future__ import annotations

import functools
import math
import sys
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, Never, Protocol, TypeAlias, TypeVar, cast

from hive_boot._records import Record
from hive_boot.exceptions import DeclarationError, LifecycleError
from hive_boot.runtime.injection import BoundCall, InjectionContext, Rebuild, Work, context_manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from hive_boot.lifecycle.instances import Resource
    from hive_boot.lifecycle.readiness import Contributor
    from hive_boot.lifecycle.services import RestartPolicy, SupervisedTask

T = TypeVar("T")


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


CheckMoment: TypeAlias = 'Literal["always", "start", "rotation"]'
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


class ServiceSpec(Record):
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
    services: Sequence[tuple[BoundCall, ServiceSpec]]
    hooks: Sequence[tuple[BoundCall, RotationHook]]
    checks: Sequence[tuple[BoundCall, CheckSpec]]
    contributors: Sequence[tuple[BoundCall, ContributorSpec]]


if TYPE_CHECKING:
    # Only annotations name it.
    class LiveCertificate(Protocol):
        """TLS context whose certificate is a secret."""

        @property
        def check(self) -> tuple[BoundCall, CheckSpec]:
            """The check of the certificate of a candidate."""

        def report_expiry(self) -> Mapping[str, float]:
            """Return when the certificate in use expires, by its name, and log that it is near."""


class ResourceHandle(Generic[T]):
    """The handle of a declared resource, through which code reads its running value.

    ``await handle()`` returns the running value, and so does FastAPI's ``Depends(handle)``.

    Attributes:
        fn: the decorated function, for tests.
        name: the name of the resource; a parameter of this name receives its value.
    """

    def __init__(self, fn: Callable[..., Any], boot: Any) -> None:
        self.fn = fn
        self.name: str = fn.__name__
        self._boot = boot
        self.__doc__ = fn.__doc__

    @property
    def value(self) -> T:
        """The running value of the resource.

        Raises:
            LifecycleError: the resource is not running.
        """
        # No local variable: a traceback may show it.
        return cast("T", self._boot._resource_value(self.name))

    @asynccontextmanager
    async def use(self) -> AsyncIterator[T]:
        """Use the running value in an ``async with`` block, during which it is not stopped.

        After a rebuild the instance of the block continues until the end of the block, up to ten
        times as long as ``overlap``.

        Raises:
            LifecycleError: the resource is not running, or this is not the event loop that started
                the application.
        """
        with self._boot._lease(self.name):
            yield self.value

    async def __call__(self) -> T:
        """Return the running value of the resource.

        Raises:
            LifecycleError: the resource is not running.
        """
        return self.value

    def __repr__(self) -> str:
        return f"<resource {self.name}>"

    if not TYPE_CHECKING:  # a type checker would accept every attribute

        def __getattr__(self, name: str) -> Never:
            wrap = functools.update_wrapper
            if name == "__name__" and sys._getframe(1).f_code is wrap.__code__:
                message = "A decorator above @boot.resource does not change the resource. Write it "
                raise DeclarationError(message + f"below @boot.resource of {self.name}.")
            message = f"This is a handle: write {self.__dict__.get('name')}.value.{name}"
            raise AttributeError(message)

        def __enter__(self) -> Never:
            message = f"The run starts the resource {self.name}, which needs no `with`. Write "
            raise LifecycleError(message + f"{self.name}.value, or a parameter {self.name}.")

        async def __aenter__(self) -> Never:
            self.__enter__()

        def __exit__(self, *exc_info: object) -> None:
            """Exist, so that a ``with`` block calls ``__enter__``."""

        __aexit__ = __exit__


if TYPE_CHECKING:
    # Only annotations name them.
    Started: TypeAlias = AsyncIterator[T] | Coroutine[Any, Any, T] | AbstractAsyncContextManager[T]

    class ResourceDecorator(Protocol):
        """Type of the decorator that ``@boot.resource(timeout=...)`` returns."""

        def __call__(self, function: Callable[..., Started[T]], /) -> ResourceHandle[T]:
            """Register a resource."""


ASGI_COMPONENT = "the ASGI application"
"""Name, in messages, of the ASGI application as a resource. It starts after all others."""


def build_components(
    bound: BoundFunctions,
    injection_context: Callable[[], InjectionContext],
    asgi_component: Callable[[], AbstractAsyncContextManager[object]] | None,
) -> tuple[list[Resource], list[SupervisedTask], list[Contributor]]:
    """Return the resources, services and readiness contributors of a run, each in start order.

    Args:
        bound: the declared functions.
        injection_context: returns the values of parameters when a function is called.
        asgi_component: starts and stops the ASGI application, which depends on all resources;
            None without one.
    """
    resources, services, contributors = [], [], []
    if bound.resources or asgi_component is not None:
        from hive_boot.lifecycle.instances import Resource  # it needs a loop

        for name, (work, spec) in bound.resources.items():
            manager = context_manager(work, spec.work, injection_context)
            dependencies = tuple(key for key in work.dependencies if key in bound.resources)
            resources.append(Resource(name, manager, dependencies, spec.timeout, spec.retry_on))
        if asgi_component is not None:
            resources.append(Resource(ASGI_COMPONENT, asgi_component, tuple(bound.resources)))
    if bound.services:
        from hive_boot.lifecycle.services import SupervisedTask  # it needs a loop

        for work, task in bound.services:
            call = partial(_call, work, injection_context)
            restart = task.restart, task.max_restarts, task.restart_window
            stop = task.grace_period, task.on_stop
            services.append(SupervisedTask(work.display_name, call, *restart, *stop))
    if bound.contributors:
        from hive_boot.lifecycle.readiness import Contributor  # it needs a loop

        for work, each in bound.contributors:
            call = partial(_call, work, injection_context)
            contributors.append(Contributor(each.name, call, each.interval, each.timeout))
    return resources, services, contributors


def _call(work: BoundCall, injection_context: Callable[[], InjectionContext]) -> Any:
    return work(injection_context())
