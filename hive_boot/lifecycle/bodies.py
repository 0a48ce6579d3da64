"""The body of somebody's ``async with``, which ends when the application cannot go on.

A cancel scope around it would have to be left by the task that entered it, and fixtures of
tests on asyncio do not. There a task can be cancelled by itself, as ``asyncio.timeout``
does it; on trio a scope is the only way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class CancellableBlock:
    """A block that can be cancelled from beside it; the cancellation ends with the block."""

    def __init__(self) -> None:
        native: Any = anyio.lowlevel.current_token().native_token
        self._is_trio = hasattr(native, "run_sync_soon")
        self._scope = anyio.CancelScope()
        self._task: Any = None
        self._is_cancelled = False
        self._before = 0

    def __enter__(self) -> Self:
        if self._is_trio:
            self._scope.__enter__()
        else:
            import asyncio  # noqa: PLC0415  (trio has none of it)

            task: Any = asyncio.current_task()
            self._task, self._before = task, task.cancelling()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if self._is_trio:
            return bool(self._scope.__exit__(kind, exc, trace))
        task, self._task = self._task, None
        if not self._is_cancelled:
            return False
        # Somebody else's cancellation, of the same moment, goes on.
        is_only_ours = task.uncancel() <= self._before
        return (
            is_only_ours and kind is not None and issubclass(kind, anyio.get_cancelled_exc_class())
        )

    def cancel(self) -> None:
        """End the block, in its loop; a second call does nothing."""
        if self._is_trio:
            self._scope.cancel()
        elif self._task is not None and not self._is_cancelled:
            # Of a task that has ended, whose block another one will leave, nothing comes.
            self._is_cancelled = self._task.cancel("the application cannot go on")
