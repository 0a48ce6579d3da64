"""What the author has declared, as a run takes it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot.bootstrap.refusals import refuse_seconds
from hive_boot.bootstrap.wiring import Offer, Wired, is_async, wire
from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.snapshot import SecretSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hive_boot._timings import Timings
    from hive_boot.bootstrap.wiring import Work
    from hive_boot.secrets.mode import Wishes
    from hive_boot.secrets.sources.reading import Value


class Hook:
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


class Check(NamedTuple):
    """What judges a set.

    Attributes:
        work: the function.
        names: the fields that it is about; none stands for all.
        timeout: seconds that one call may take; None for what the start has left.
    """

    work: Work
    names: frozenset[str]
    timeout: float | None


class PartPlan(NamedTuple):
    """What is started and stopped.

    Attributes:
        work: the function.
        timeout: seconds that its start, and its stop, may take; None for no bound of its own.
    """

    work: Work
    timeout: float | None


class ServicePlan(NamedTuple):
    """What works in the background.

    Attributes:
        work: the function.
        restart: whether it is started again after a failure.
        budget: how many times within ``within``.
        within: seconds.
    """

    work: Work
    restart: bool
    budget: int
    within: float


class Plan:
    """What the author has declared.

    Args:
        declared: the set of secrets.
        factory: what makes the settings.
        wishes: what was decided about mode, profile and places.
        watch: whether changed files are taken up.
        wait: seconds that missing files are waited for.
        start_timeout: seconds that the checks of a start, or of a rotation, may take.
        scrub_environ: whether the variables of the secrets leave the environment.
        probe_port: where the probes are answered; None for nowhere.
        drain: seconds between the wish to stop and the stop; None to decide by the mode.
        stop_timeout: seconds that the stop may take in all.

    Attributes:
        main: what runs when everything is ready.
        must_finish: whether a stop before its end is no success.
        checks: what judges a set before it is in use.
        hooks: what hears of a rotation.
        parts: what is started and stopped, by name.
        services: what works in the background.
        given: values that count more than any source, by attribute; None for none.

    Raises:
        DeclarationError: one of the arguments cannot be.
    """

    def __init__(  # noqa: PLR0913  (each is a name of Bootstrap's)
        self,
        declared: type[Any],
        factory: Callable[..., Any] | None,
        wishes: Wishes,
        *,
        watch: bool,
        wait: float,
        start_timeout: float,
        scrub_environ: bool,
        probe_port: int | None,
        drain: float | None,
        stop_timeout: float,
    ) -> None:
        given: object = declared
        if not (isinstance(given, type) and issubclass(given, SecretSet)):
            message = "Bootstrap takes a class that derives from SecretSet"
            raise DeclarationError(message)
        maker: object = factory
        if maker is not None and not callable(maker):
            message = "config= has to be a class or a function that makes the settings"
            raise DeclarationError(message)
        if factory is not None and is_async(factory):
            message = "config= cannot be an async def: settings are made without a loop"
            raise DeclarationError(message)
        flag: object = watch
        if not isinstance(flag, bool):
            message = "watch= has to be True or False"
            raise DeclarationError(message)
        refuse_seconds("start_timeout=", start_timeout)
        refuse_seconds("wait=", wait, least=0)
        refuse_seconds("stop_timeout=", stop_timeout)
        if drain is not None:
            refuse_seconds("drain=", drain, least=0)
        port: object = probe_port
        if port is not None and (type(port) is not int or not 0 <= port < 1 << 16):
            message = "probe_port= has to be a number of a port, or 0 for any that is free"
            raise DeclarationError(message)
        self.declared = declared
        self.factory = factory
        self.wishes = wishes
        self.watch = watch
        self.wait = wait
        self.start_timeout = start_timeout
        self.scrub_environ = scrub_environ
        self.probe_port = probe_port
        self.drain = drain
        self.stop_timeout = stop_timeout
        self.main: Work | None = None
        self.must_finish = False
        self.checks: list[Check] = []
        self.hooks: list[Hook] = []
        self.parts: dict[str, PartPlan] = {}
        self.services: list[ServicePlan] = []
        self.given: Mapping[str, Value | None] = {}

    @cached_property
    def timings(self) -> Timings:
        """The waits of a run; set before it starts, by tests."""
        from hive_boot._timings import DEFAULTS  # noqa: PLC0415  (a bare declaration waits for nothing)

        return DEFAULTS

    def wire_checks(self, offered: Offer) -> list[tuple[Wired, Check]]:
        """Decide what each check gets. There are no parts yet when it runs.

        Raises:
            DeclarationError: a parameter asks for what there is not.
        """
        return [(wire(check.work, Offer(offered.kinds)), check) for check in self.checks]

    def wire_hooks(self, offered: Offer) -> list[tuple[Wired, Hook]]:
        """Decide what each hook gets, beside the change.

        Raises:
            DeclarationError: a parameter asks for what there is not.
        """
        return [(wire(hook.work, offered, first=1), hook) for hook in self.hooks]

    def wire_services(self, offered: Offer) -> list[tuple[Wired, ServicePlan]]:
        """Decide what each service gets.

        Raises:
            DeclarationError: a parameter asks for what there is not.
        """
        return [(wire(service.work, offered), service) for service in self.services]

    def wire_parts(self, offered: Offer) -> dict[str, tuple[Wired, PartPlan]]:
        """Decide what each part gets; each comes after those that it asks for.

        Raises:
            DeclarationError: a parameter asks for what there is not, or parts ask for each
                other.
        """
        if not self.parts:
            return {}
        from hive_boot.lifecycle.ordering import in_order  # noqa: PLC0415  (many have none)

        wired = {name: wire(part.work, offered) for name, part in self.parts.items()}
        needs = {
            name: [key for key in each.needs if key in self.parts] for name, each in wired.items()
        }
        return {name: (wired[name], self.parts[name]) for name in in_order(needs)}
