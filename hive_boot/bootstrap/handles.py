"""What a decorated part is from then on: a handle for its running value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine

T = TypeVar("T")


class ResourceHandle(Generic[T]):
    """A part, for those who ask for its value while the application runs.

    ``await handle()`` gives it, and so does FastAPI's ``Depends(handle)``.

    Attributes:
        fn: the decorated function, for tests.
        name: what functions of the application ask for it by.
    """

    def __init__(self, fn: Callable[..., Any], boot: Any) -> None:  # noqa: ANN401  (it is above)
        self.fn = fn
        self.name: str = fn.__name__
        self._boot = boot
        self.__doc__ = fn.__doc__

    @property
    def value(self) -> T:
        """The running value.

        Raises:
            LifecycleError: the part is not running.
        """
        value: T = self._boot._value_of(self.name)  # noqa: SLF001  (ours)
        return value

    async def __call__(self) -> T:
        """Give the running value.

        Raises:
            LifecycleError: the part is not running.
        """
        return self.value

    def __repr__(self) -> str:
        return f"<part {self.name}>"


class ResourceDecorator(Protocol):
    """What ``@boot.part(timeout=...)`` is."""

    @overload
    def __call__(
        self, function: Callable[..., AsyncGenerator[T, None]], /
    ) -> ResourceHandle[T]: ...
    @overload
    def __call__(self, function: Callable[..., AsyncIterator[T]], /) -> ResourceHandle[T]: ...
    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> ResourceHandle[T]: ...
    def __call__(self, function: Callable[..., Any], /) -> ResourceHandle[Any]: ...  # noqa: D102  (it is called by an @)
