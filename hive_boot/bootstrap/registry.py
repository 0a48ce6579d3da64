"""What the author registers: the declaration of an application, before it runs.

Registering starts nothing and reads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar

from hive_boot.bootstrap.plan import Hook, Plan, refuse_plain, refuse_second, refuse_seconds
from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.mode import Mode, StrPath, StrPaths, Wishes
from hive_boot.secrets.snapshot import SecretSet

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Concatenate, Self

    from typing_extensions import TypeVar as TypeVarWithDefault

    from hive_boot.secrets.change import Change
    from hive_boot.secrets.field import Field

S = TypeVar("S", bound=SecretSet)
if TYPE_CHECKING:
    C = TypeVarWithDefault("C", default=None)
else:
    C = TypeVar("C")
Main = TypeVar("Main", bound="Callable[..., Coroutine[Any, Any, int | None]]")
Check = TypeVar("Check", bound="Callable[..., Coroutine[Any, Any, bool | None]]")
OnRotate = TypeVar(
    "OnRotate", bound="Callable[Concatenate[Change, ...], Coroutine[Any, Any, object]]"
)


class Registry(Generic[S, C]):
    """What is declared: the arguments of :class:`Bootstrap`, and what its decorators take."""

    def __init__(  # noqa: PLR0913  (each is a promised name, and none has to be given)
        self,
        secrets: type[S],
        *,
        config: Callable[..., C] | None = None,
        watch: bool = False,
        mode: Mode | None = None,
        profile: str | None = None,
        secrets_dirs: StrPaths | None = None,
        dotenv: StrPath | None = None,
        env_fallback: bool = False,
        scrub_environ: bool = False,
        wait: float = 0.0,
        start_timeout: float = 30,
    ) -> None:
        wishes = Wishes(
            mode=mode,
            profile=profile,
            secrets_dirs=secrets_dirs,
            dotenv=dotenv,
            env_fallback=env_fallback,
        )
        self._plan = Plan(
            secrets,
            config,
            wishes,
            watch=watch,
            wait=wait,
            start_timeout=start_timeout,
            scrub_environ=scrub_environ,
        )

    def __class_getitem__(cls, parameters: Any) -> Any:  # noqa: ANN401  (as Generic's own)
        # A type variable has a default since Python 3.13 only, and type checkers know it here.
        given = parameters if isinstance(parameters, tuple) else (parameters, type(None))
        return super().__class_getitem__(given)  # type: ignore[misc]

    def __repr__(self) -> str:
        # A frame of __init__ is shown, too, when it has refused its arguments.
        plan = vars(self).get("_plan")
        return f"Bootstrap({plan.declared.__name__ if plan else ''})"

    def __format__(self, spec: str, /) -> str:
        return repr(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> Never:
        message = f"{self!r} cannot be pickled: it is this process's"
        raise TypeError(message)

    def main(self, function: Main) -> Main:
        """Register the application's main; it is called when everything is ready.

        Its parameters are filled by their types: the SecretSet, the class of the
        settings, Bootstrap.

        Args:
            function: an ``async def``. What it returns is the exit status; None
                is 0.

        Raises:
            DeclarationError: it is not async, or there is a main already.
        """
        refuse_plain("@boot.main", function)
        refuse_second(self._plan.main)
        self._plan.main = function
        return function

    def check(self, function: Check) -> Check:
        """Register what judges a set before it is used, at a start and at each rotation.

        A parameter annotated with the SecretSet is given the set that is judged; the
        others are filled as those of :meth:`main`. Checks run in the order of their
        declaration, after those of the fields and of the set.

        Args:
            function: an ``async def``. It refuses by raising or by returning False, and
                passes by True or None. All checks together have ``start_timeout``.

        Raises:
            DeclarationError: it is not async.
        """
        refuse_plain("@boot.check", function)
        self._plan.checks.append(function)
        return function

    def on_rotate(self, *names: str, timeout: float = 30) -> Callable[[OnRotate], OnRotate]:
        """Register what is to be done when secrets have changed.

        The decorated ``async def`` takes the :class:`Change` first; its other parameters
        are filled as those of :meth:`main`. Hooks run in the order of their declaration,
        after the new values are in use. One that raises, or takes too long, is called
        again after 1 to 60 s, until it succeeds; the others do not wait for that.

        Args:
            names: the fields that it is about. Default: every one.
            timeout: seconds that one call may take. Default 30.

        Raises:
            DeclarationError: a field is not declared, or it is not async.
        """
        if any(map(callable, names)):
            message = "on_rotate takes the names of fields: write @boot.on_rotate()"
            raise DeclarationError(message)
        if unknown := [name for name in names if name not in list(self._fields)]:
            message = f"{self._plan.declared.__name__} declares no {', '.join(map(str, unknown))}"
            raise DeclarationError(message)
        refuse_seconds("timeout=", timeout)

        def register(function: OnRotate) -> OnRotate:
            refuse_plain("@boot.on_rotate()", function)
            self._plan.hooks.append(Hook(function, frozenset(names), timeout))
            return function

        return register

    def _offered(self) -> dict[type, str]:
        """Give what a function of the author's may ask for, by type."""
        offered: dict[type, str] = {self._plan.declared: "secrets", type(self): "boot"}
        if isinstance(self._plan.factory, type):
            offered[self._plan.factory] = "config"
        return offered

    @property
    def _fields(self) -> Mapping[str, Field]:
        fields: Mapping[str, Field] = self._plan.declared._inventory.fields  # noqa: SLF001  (ours)
        return fields
