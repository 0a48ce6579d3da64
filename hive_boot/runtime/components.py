"""Components of a run: its resources, services and readiness contributors, from the declaration."""

from __future__ import annotations

import functools
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast, overload

from hive_boot.exceptions import DeclarationError, LifecycleError
from hive_boot.runtime.injection import context_manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from typing import Never

    from hive_boot.lifecycle.instances import Resource
    from hive_boot.lifecycle.readiness import Contributor
    from hive_boot.lifecycle.services import SupervisedTask
    from hive_boot.runtime.injection import BoundCall, InjectionContext
    from hive_boot.runtime.specifications import BoundFunctions

T = TypeVar("T")


class ResourceHandle(Generic[T]):
    """The handle of a declared resource, through which code reads its running value.

    ``await handle()`` returns the running value, and so does FastAPI's ``Depends(handle)``.

    Attributes:
        fn: the decorated function, for tests.
        name: the name of the resource; a parameter of this name receives its value.
    """

    def __init__(self, fn: Callable[..., Any], boot: Any) -> None:  # noqa: ANN401  (a Bootstrap)
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
        return cast("T", self._boot._resource_value(self.name))  # noqa: SLF001  (same library)

    @asynccontextmanager
    async def use(self) -> AsyncIterator[T]:
        """Use the running value in an ``async with`` block, during which it is not stopped.

        After a rebuild the instance of the block continues until the end of the block, up to ten
        times as long as ``overlap``.

        Raises:
            LifecycleError: the resource is not running.
        """
        with self._boot._lease(self.name):  # noqa: SLF001  (same library)
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
            if name == "__name__" and sys._getframe(1).f_code is wrap.__code__:  # noqa: SLF001  (public in practice)
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


class ResourceDecorator(Protocol):
    """Type of the decorator that ``@boot.resource(timeout=...)`` returns."""

    @overload
    def __call__(self, function: Callable[..., AsyncIterator[T]], /) -> ResourceHandle[T]: ...
    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> ResourceHandle[T]: ...
    @overload
    def __call__(
        self, function: Callable[..., AbstractAsyncContextManager[T]], /
    ) -> ResourceHandle[T]: ...
    def __call__(self, function: Callable[..., Any], /) -> ResourceHandle[Any]: ...  # noqa: D102  (called as a decorator)


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
        from hive_boot.lifecycle.instances import Resource  # noqa: PLC0415  (it needs a loop)

        for name, (work, spec) in bound.resources.items():
            manager = context_manager(work, spec.work, injection_context)
            dependencies = tuple(key for key in work.dependencies if key in bound.resources)
            resources.append(Resource(name, manager, dependencies, spec.timeout, spec.retry_on))
        if asgi_component is not None:
            resources.append(Resource(ASGI_COMPONENT, asgi_component, tuple(bound.resources)))
    if bound.services:
        from hive_boot.lifecycle.services import SupervisedTask  # noqa: PLC0415  (it needs a loop)

        for work, task in bound.services:
            call = partial(_call, work, injection_context)
            restart = task.restart, task.max_restarts, task.restart_window
            stop = task.grace_period, task.on_stop
            services.append(SupervisedTask(work.display_name, call, *restart, *stop))
    if bound.contributors:
        from hive_boot.lifecycle.readiness import Contributor  # noqa: PLC0415  (it needs a loop)

        for work, each in bound.contributors:
            call = partial(_call, work, injection_context)
            contributors.append(Contributor(each.name, call, each.interval, each.timeout))
    return resources, services, contributors


def _call(work: BoundCall, injection_context: Callable[[], InjectionContext]) -> Any:  # noqa: ANN401  (as it returns)
    return work(injection_context())
