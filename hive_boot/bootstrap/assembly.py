"""Make the parts and services of one run out of what was declared."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hive_boot.lifecycle.parts import Part
from hive_boot.lifecycle.services import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection
    from contextlib import AbstractAsyncContextManager

    from hive_boot.bootstrap.plan import PartPlan, Plan
    from hive_boot.bootstrap.wiring import Given, Offer, Wired

LAST = "the ASGI application"
"""What the part is called that is started after all others."""


def assemble(
    plan: Plan,
    offered: Offer,
    given: Callable[[], Given],
    last: Callable[[], AbstractAsyncContextManager[object]] | None,
) -> tuple[list[Part], list[Service]]:
    """Make parts and services.

    Args:
        plan: what was declared.
        offered: what their parameters may ask for.
        given: gives it, when they start.
        last: starts, and stops, what needs all parts; None for nothing.

    Raises:
        DeclarationError: a parameter asks for what there is not, or parts ask for each
            other.
    """
    wired = plan.wire_parts(offered)
    parts = [_part(name, work, part, wired, given) for name, (work, part) in wired.items()]
    if last is not None:
        parts.append(Part(LAST, last, tuple(wired)))
    services = [
        Service(work.label, _calling(work, given), service.restart, service.budget, service.within)
        for work, service in plan.wire_services(offered)
    ]
    return parts, services


def _part(
    name: str, work: Wired, part: PartPlan, others: Collection[str], given: Callable[[], Given]
) -> Part:
    needs = tuple(key for key in work.needs if key in others)
    if inspect.isasyncgenfunction(part.work):
        return Part(name, asynccontextmanager(_calling(work, given)), needs, part.timeout)

    async def keep() -> AsyncIterator[object]:
        yield await work(given())

    return Part(name, asynccontextmanager(keep), needs, part.timeout)


def _calling(work: Wired, given: Callable[[], Given]) -> Callable[[], Any]:
    return lambda: work(given())
