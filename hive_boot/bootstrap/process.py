"""Own the process: its signals, its last words, its exit status."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

from hive_boot.exceptions import BootError, InvalidSecrets
from hive_boot.lifecycle.signals import Latch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from hive_boot.secrets.sources.reading import Value

_REDACTED_FROM = 8
"""Characters from which on a value is taken out of a traceback: shorter ones are words."""


def own(
    arm: Callable[[], Callable[[Any], Any]],
    start: Callable[[], AbstractAsyncContextManager[Any]],
    backend: str,
) -> int:
    """Run an application until its main ends or a signal comes.

    Args:
        arm: gives what is called with the run when it is ready, and awaited.
        start: gives the context of a run.
        backend: ``asyncio`` or ``trio``.

    Returns:
        The exit status: 0, what main returned, 70 or 78.
    """
    values: list[Value] = []
    with Latch() as latch:
        import anyio  # noqa: PLC0415  (the latch comes first: an import takes its time)

        from hive_boot.lifecycle.waking import loop_waker  # noqa: PLC0415

        async def life(main: Callable[[Any], Any]) -> object:
            with anyio.CancelScope() as scope:
                soon = loop_waker()
                latch.notify(lambda: soon(scope.cancel))
                try:
                    async with start() as run:
                        values.extend(run.store.generation.findings.values.values())
                        return await main(run)
                finally:
                    latch.forget()
            return None

        try:
            code = anyio.run(life, arm(), backend=backend)
        except BootError as exc:
            return _tell(exc)
        except Exception as exc:  # noqa: BLE001  (this is the outermost frame)
            _tell_crash(exc, values)
            return 70
    return code if isinstance(code, int) else 0


def _tell_crash(exc: Exception, values: Sequence[Value]) -> None:
    """Write a traceback to stderr, without the secrets that its messages may hold."""
    from hive_boot.redaction import scrub  # noqa: PLC0415  (only a crash needs it)

    plain = [value.reveal() for value in values]
    long_ones = [text for text in plain if len(text) >= _REDACTED_FROM]
    sys.stderr.write(scrub("".join(traceback.format_exception(exc)), long_ones))


def _tell(exc: BootError) -> int:
    """Write what went wrong to stderr, for a person; no traceback, it is not a bug of ours."""
    color = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    if isinstance(exc, InvalidSecrets):
        text = exc.report(color=color)
    else:
        text = f"hive_boot: {type(exc).__name__}: {exc}"
    sys.stderr.write(f"{text}\n")
    return exc.exit_code
