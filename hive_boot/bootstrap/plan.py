"""What the author has declared, as a run takes it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot.bootstrap.refusals import validate_seconds
from hive_boot.bootstrap.wiring import BoundCall, Injectables, bind, is_async
from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.snapshot import SecretSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hive_boot._timings import Timings
    from hive_boot.bootstrap.wiring import Work
    from hive_boot.secrets.mode import SourceOptions
    from hive_boot.secrets.sources.reading import Value


class RotationHook:
    """What is called after a rotation.

    Args:
        work: the function.
        names: the fields that it is about; none stands for all.
        timeout: seconds that one call may take.
    """

    __slots__ = ("names", "timeout", "work")

    def __init__(self, work: Work, names: frozenset[str], timeout: float) -> None:
        self.work = work
        self.names = names
        self.timeout = timeout


class CheckSpec(NamedTuple):
    """What judges a set.

    Attributes:
        work: the function.
        names: the fields that it is about; none stands for all.
        timeout: seconds that one call may take; None for what the start has left.
    """

    work: Work
    names: frozenset[str]
    timeout: float | None


class ResourceSpec(NamedTuple):
    """What is started and stopped.

    Attributes:
        work: the function.
        timeout: seconds that its start, and its stop, may take; None for no bound of its own.
    """

    work: Work
    timeout: float | None


class TaskSpec(NamedTuple):
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
        maker: object = config_factory
        if maker is not None and not callable(maker):
            message = "config= has to be a class or a function that makes the settings"
            raise DeclarationError(message)
        if config_factory is not None and is_async(config_factory):
            message = "config= cannot be an async def: settings are made without a loop"
            raise DeclarationError(message)
        flag: object = watch
        if not isinstance(flag, bool):
            message = "watch= has to be True or False"
            raise DeclarationError(message)
        validate_seconds("start_timeout=", startup_timeout)
        validate_seconds("wait=", wait_for_files, least=0)
        validate_seconds("stop_timeout=", shutdown_timeout)
        if shutdown_delay is not None:
            validate_seconds("drain=", shutdown_delay, least=0)
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
        """Decide what each check gets. There are no parts yet when it runs.

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
        """Decide what each part gets; each comes after those that it asks for.

        Raises:
            DeclarationError: a parameter asks for what there is not, or parts ask for each
                other.
        """
        if not self.resources:
            return {}
        from hive_boot.lifecycle.ordering import start_order  # noqa: PLC0415  (many have none)

        wired = {name: bind(part.work, injectables) for name, part in self.resources.items()}
        needs = {
            name: [key for key in each.dependencies if key in self.resources]
            for name, each in wired.items()
        }
        return {name: (wired[name], self.resources[name]) for name in start_order(needs)}
