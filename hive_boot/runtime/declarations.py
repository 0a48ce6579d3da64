"""Application declaration: the validated arguments and decorated functions of a Bootstrap."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hive_boot._records import Record
from hive_boot.exceptions import DeclarationError
from hive_boot.runtime.injection import BoundCall, Injectables, bind, display_name, is_async
from hive_boot.secrets.secret_set import SecretSet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from hive_boot._timings import Timings
    from hive_boot.lifecycle.resources import Resource
    from hive_boot.lifecycle.services import SupervisedTask
    from hive_boot.runtime.injection import InjectionContext, Work
    from hive_boot.secrets.platform import SourceOptions
    from hive_boot.secrets.sources.files import Value


def validate_seconds(name: str, value: object, *, least: float | None = None) -> None:
    """Refuse what is no number of seconds.

    Args:
        name: what is said of it.
        value: what was given.
        least: the smallest number that is allowed; None when it has to be above 0.

    Raises:
        DeclarationError: it is none.
    """
    bad = not isinstance(value, int | float) or isinstance(value, bool) or not value < math.inf
    if bad or (value <= 0 if least is None else value < least):  # type: ignore[operator]
        bound = "above 0" if least is None else f"from {least:g} on"
        message = f"{name} has to be a number of seconds {bound}"
        raise DeclarationError(message)


def require_async(decorator: str, function: object) -> None:
    """Refuse what cannot be awaited.

    Raises:
        DeclarationError: it is no ``async def``.
    """
    if not is_async(function):
        message = f"{decorator} takes an async def, and {function!r} is none"
        raise DeclarationError(message)


def require_single_main(function: Work | None) -> None:
    """Refuse a second main.

    Raises:
        DeclarationError: there is one already.
    """
    if function is not None:
        message = f"there is a main already: {display_name(function)}"
        raise DeclarationError(message)


def validate_resource(function: object, taken: Collection[str]) -> None:
    """Refuse what cannot be started, or asked for.

    Raises:
        DeclarationError: it is neither an async generator nor an ``async def``, or its name
            is taken.
    """
    from inspect import isasyncgenfunction  # noqa: PLC0415  (many have no resource)

    if not (isasyncgenfunction(function) or is_async(function)):
        message = f"@boot.resource takes an async def, with one yield or with none: {function!r}"
        raise DeclarationError(message)
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        message = f"@boot.resource takes a function with a name: {function!r}"
        raise DeclarationError(message)
    if name in {"secrets", "config", "boot"}:
        message = f"a resource cannot be called {name}: that is what requests know other things by"
        raise DeclarationError(message)
    if name in taken:
        message = f"there is a resource {name} already"
        raise DeclarationError(message)


def validate_field_names(names: Collection[str], known: Collection[str], whose: str) -> None:
    """Refuse names of fields that there are not.

    Raises:
        DeclarationError: there are some.
    """
    if unknown := [name for name in names if name not in list(known)]:
        message = f"{whose} declares no {', '.join(map(str, unknown))}"
        raise DeclarationError(message)


def validate_service(restart: object, budget: object) -> None:
    """Refuse what cannot be kept up.

    Raises:
        DeclarationError: it says neither when it is started again, or not how often.
    """
    if restart not in {"never", "on-failure"}:
        message = f"restart={restart!r} is none of never, on-failure"
        raise DeclarationError(message)
    if type(budget) is not int or budget < 0:
        message = "max_restarts= has to be a whole number from 0 on"
        raise DeclarationError(message)


def require_unique_name(function: Work, others: Collection[Work]) -> None:
    """Refuse a second service of the same name: nobody could tell them apart.

    Raises:
        DeclarationError: there is one already.
    """
    if display_name(function) in map(display_name, others):
        message = f"there is a service {display_name(function)} already"
        raise DeclarationError(message)


def validate_backend(backend: object) -> None:
    """Refuse a loop that there is not.

    Raises:
        DeclarationError: it is none, or not installed.
    """
    if backend not in {"asyncio", "trio", "uvloop"}:
        message = f"backend={backend!r} is none of asyncio, trio, uvloop"
        raise DeclarationError(message)
    if backend == "asyncio":
        return
    from importlib.util import find_spec  # noqa: PLC0415  (most run on asyncio)

    if find_spec(str(backend)) is None:
        message = f"backend={backend!r} needs the package {backend}: pip install {backend}"
        raise DeclarationError(message)


def forbid_main_with_serve(main: Work | None) -> None:
    """Refuse a main beside an application that is served: one of them would not be called.

    Raises:
        DeclarationError: there is one.
    """
    if main is not None:
        message = (
            f"boot.serve runs the ASGI application, and {display_name(main)} is the main already"
        )
        raise DeclarationError(message)


class RotationHook:
    """What is called after a rotation.

    Args:
        work: the function.
        names: the fields that it is about; none stands for all.
        timeout: seconds that one call may take.
    """

    __slots__ = ("names", "timeout", "work")

    def __init__(self, work: Work, names: frozenset[str], timeout: float) -> None:
        self.work: Work = work
        self.names: frozenset[str] = names
        self.timeout: float = timeout


class CheckSpec(Record):
    """What judges a set.

    Attributes:
        work: the function.
        names: the fields that it is about; none stands for all.
        timeout: seconds that one call may take; None for what the start has left.
    """

    work: Work
    names: frozenset[str]
    timeout: float | None


class ResourceSpec(Record):
    """What is started and stopped.

    Attributes:
        work: the function.
        timeout: seconds that its start, and its stop, may take; None for no bound of its own.
    """

    work: Work
    timeout: float | None


class TaskSpec(Record):
    """What works in the background.

    Attributes:
        work: the function.
        restart: whether it is started again after a failure.
        max_restarts: how many times within ``restart_window``.
        restart_window: seconds.
    """

    work: Work
    restart: bool
    max_restarts: int
    restart_window: float


class AppDeclaration:
    """What the author has declared.

    Args:
        declared: the set of secrets.
        config_factory: what makes the settings.
        source_options: what was decided about mode, profile and places.
        watch: whether changed files are taken up.
        wait_for_files: seconds that missing files are waited for.
        startup_timeout: seconds that the checks of a start, or of a rotation, may take.
        unset_env: whether the variables of the secrets leave the environment.
        probe_port: where the probes are answered; None for nowhere.
        shutdown_delay: seconds between the wish to stop and the stop; None to decide by the mode.
        shutdown_timeout: seconds that the stop may take in all.

    Attributes:
        main: what runs when everything is ready.
        must_complete: whether a stop before its end is no success.
        checks: what judges a set before it is in use.
        hooks: what hears of a rotation.
        resources: what is started and stopped, by name.
        services: what works in the background.
        overrides: values that count more than any source, by attribute; None for none.

    Raises:
        DeclarationError: one of the arguments cannot be.
    """

    def __init__(  # noqa: PLR0913  (each is a name of Bootstrap's)
        self,
        declared: type[Any],
        config_factory: Callable[..., Any] | None,
        source_options: SourceOptions,
        *,
        watch: bool,
        wait_for_files: float,
        startup_timeout: float,
        unset_env: bool,
        probe_port: int | None,
        shutdown_delay: float | None,
        shutdown_timeout: float,
    ) -> None:
        given: object = declared
        if not (isinstance(given, type) and issubclass(given, SecretSet)):
            message = "Bootstrap takes a class that derives from SecretSet"
            raise DeclarationError(message)
        factory: object = config_factory
        if factory is not None and not callable(factory):
            message = "config= has to be a class or a function that makes the settings"
            raise DeclarationError(message)
        if config_factory is not None and is_async(config_factory):
            message = "config= cannot be an async def: settings are made without a loop"
            raise DeclarationError(message)
        flag: object = watch
        if not isinstance(flag, bool):
            message = "watch= has to be True or False"
            raise DeclarationError(message)
        validate_seconds("startup_timeout=", startup_timeout)
        validate_seconds("wait_for_files=", wait_for_files, least=0)
        validate_seconds("shutdown_timeout=", shutdown_timeout)
        if shutdown_delay is not None:
            validate_seconds("shutdown_delay=", shutdown_delay, least=0)
        port: object = probe_port
        if port is not None and (type(port) is not int or not 0 <= port < 1 << 16):
            message = "probe_port= has to be a number of a port, or 0 for any that is free"
            raise DeclarationError(message)
        self.declared = declared
        self.config_factory = config_factory
        self.source_options = source_options
        self.watch = watch
        self.wait_for_files = wait_for_files
        self.startup_timeout = startup_timeout
        self.unset_env = unset_env
        self.probe_port = probe_port
        self.shutdown_delay = shutdown_delay
        self.shutdown_timeout = shutdown_timeout
        self.main: Work | None = None
        self.must_complete = False
        self.checks: list[CheckSpec] = []
        self.hooks: list[RotationHook] = []
        self.resources: dict[str, ResourceSpec] = {}
        self.services: list[TaskSpec] = []
        self.overrides: Mapping[str, Value | None] = {}

    @cached_property
    def timings(self) -> Timings:
        """The waits of a run; set before it starts, by tests."""
        from hive_boot._timings import DEFAULTS  # noqa: PLC0415  (a bare declaration waits for nothing)

        return DEFAULTS

    def bind_checks(self, injectables: Injectables) -> list[tuple[BoundCall, CheckSpec]]:
        """Decide what each check gets. There are no resources yet when it runs.

        Raises:
            DeclarationError: a parameter asks for what there is not.
        """
        return [(bind(check.work, Injectables(injectables.types)), check) for check in self.checks]

    def bind_hooks(self, injectables: Injectables) -> list[tuple[BoundCall, RotationHook]]:
        """Decide what each hook gets, beside the change.

        Raises:
            DeclarationError: a parameter asks for what there is not.
        """
        return [(bind(hook.work, injectables, first=1), hook) for hook in self.hooks]

    def bind_services(self, injectables: Injectables) -> list[tuple[BoundCall, TaskSpec]]:
        """Decide what each service gets.

        Raises:
            DeclarationError: a parameter asks for what there is not.
        """
        return [(bind(service.work, injectables), service) for service in self.services]

    def bind_resources(self, injectables: Injectables) -> dict[str, tuple[BoundCall, ResourceSpec]]:
        """Decide what each resource gets; each comes after those that it asks for.

        Raises:
            DeclarationError: a parameter asks for what there is not, or resources ask for each
                other.
        """
        if not self.resources:
            return {}
        bound = {
            name: bind(resource.work, injectables) for name, resource in self.resources.items()
        }
        needs = {
            name: [key for key in each.dependencies if key in self.resources]
            for name, each in bound.items()
        }
        return {name: (bound[name], self.resources[name]) for name in start_order(needs)}


def start_order(resources: Mapping[str, Sequence[str]]) -> list[str]:
    """Sort resources so that each comes after those that it needs.

    Args:
        resources: what each of them needs.

    Raises:
        DeclarationError: some of them need each other.
    """
    from graphlib import CycleError, TopologicalSorter  # noqa: PLC0415  (many have no resources)

    try:
        return list(TopologicalSorter(resources).static_order())
    except CycleError as exc:
        circle = " → ".join(reversed(exc.args[1]))
    message = f"resources need each other, so that none of them can be the first: {circle}"
    raise DeclarationError(message)


ASGI_COMPONENT = "the ASGI application"
"""What the resource is called that is started after all others."""


def build_components(
    declaration: AppDeclaration,
    injectables: Injectables,
    injection_context: Callable[[], InjectionContext],
    asgi_component: Callable[[], AbstractAsyncContextManager[object]] | None,
) -> tuple[list[Resource], list[SupervisedTask]]:
    """Build the resources and services of a run, in start order.

    Args:
        declaration: the declared application.
        injectables: what parameters may ask for.
        injection_context: returns the values of parameters, at the start.
        asgi_component: starts and stops the ASGI application, which needs all resources; None
            for none.

    Raises:
        DeclarationError: a parameter cannot be filled, or resources depend on each other.
    """
    bound = declaration.bind_resources(injectables)
    resources = [
        _build_resource(name, work, spec, bound, injection_context)
        for name, (work, spec) in bound.items()
    ]
    if asgi_component is not None:
        from hive_boot.lifecycle.resources import Resource  # noqa: PLC0415  (it needs a loop)

        resources.append(Resource(ASGI_COMPONENT, asgi_component, tuple(bound)))
    services = [
        _build_service(work, spec, injection_context)
        for work, spec in declaration.bind_services(injectables)
    ]
    return resources, services


def _build_resource(
    name: str,
    work: BoundCall,
    spec: ResourceSpec,
    others: Collection[str],
    injection_context: Callable[[], InjectionContext],
) -> Resource:
    from inspect import isasyncgenfunction  # noqa: PLC0415  (many have no resource)

    from hive_boot.lifecycle.resources import Resource  # noqa: PLC0415  (it needs a loop)

    dependencies = tuple(key for key in work.dependencies if key in others)
    if isasyncgenfunction(spec.work):
        manager = asynccontextmanager(_calling(work, injection_context))
        return Resource(name, manager, dependencies, spec.timeout)

    async def keep() -> AsyncIterator[object]:
        yield await work(injection_context())

    return Resource(name, asynccontextmanager(keep), dependencies, spec.timeout)


def _build_service(
    work: BoundCall, spec: TaskSpec, injection_context: Callable[[], InjectionContext]
) -> SupervisedTask:
    from hive_boot.lifecycle.services import SupervisedTask  # noqa: PLC0415  (it needs a loop)

    return SupervisedTask(
        work.display_name,
        _calling(work, injection_context),
        spec.restart,
        spec.max_restarts,
        spec.restart_window,
    )


def _calling(
    work: BoundCall, injection_context: Callable[[], InjectionContext]
) -> Callable[[], Any]:
    return lambda: work(injection_context())
