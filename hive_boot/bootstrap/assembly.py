"""Make the parts and services of one run out of what was declared."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hive_boot.lifecycle.parts import Resource
from hive_boot.lifecycle.services import SupervisedTask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection
    from contextlib import AbstractAsyncContextManager

    from hive_boot.bootstrap.plan import AppDeclaration, ResourceSpec
    from hive_boot.bootstrap.wiring import BoundCall, Injectables, InjectionContext

ASGI_COMPONENT = "the ASGI application"
"""What the part is called that is started after all others."""


def build_components(
    declaration: AppDeclaration,
    injectables: Injectables,
    injection_context: Callable[[], InjectionContext],
    asgi_component: Callable[[], AbstractAsyncContextManager[object]] | None,
) -> tuple[list[Resource], list[SupervisedTask]]:
    """Make parts and services.

    Args:
        declaration: what was declared.
        injectables: what their parameters may ask for.
        injection_context: gives it, when they start.
        asgi_component: starts, and stops, what needs all parts; None for nothing.

    Raises:
        DeclarationError: a parameter asks for what there is not, or parts ask for each
            other.
    """
    wired = declaration.bind_resources(injectables)
    parts = [
        _build_resource(name, work, part, wired, injection_context)
        for name, (work, part) in wired.items()
    ]
    if asgi_component is not None:
        parts.append(Resource(ASGI_COMPONENT, asgi_component, tuple(wired)))
    services = [
        SupervisedTask(
            work.display_name,
            _calling(work, injection_context),
            service.restart,
            service.max_restarts,
            service.restart_window,
        )
        for work, service in declaration.bind_services(injectables)
    ]
    return parts, services


def _build_resource(
    name: str,
    work: BoundCall,
    part: ResourceSpec,
    others: Collection[str],
    injection_context: Callable[[], InjectionContext],
) -> Resource:
    needs = tuple(key for key in work.dependencies if key in others)
    if inspect.isasyncgenfunction(part.work):
        return Resource(
            name, asynccontextmanager(_calling(work, injection_context)), needs, part.timeout
        )

    async def keep() -> AsyncIterator[object]:
        yield await work(injection_context())

    return Resource(name, asynccontextmanager(keep), needs, part.timeout)


def _calling(
    work: BoundCall, injection_context: Callable[[], InjectionContext]
) -> Callable[[], Any]:
    return lambda: work(injection_context())
