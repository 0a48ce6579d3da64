"""Own the process: its signals, its last words, its exit status."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hive_boot.exceptions import BootError, InvalidSecrets
from hive_boot.lifecycle.signals import Latch

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager


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
    with Latch() as latch:
        import anyio  # noqa: PLC0415  (the latch comes first: an import takes its time)

        from hive_boot.lifecycle.waking import loop_waker, wake_on_signals  # noqa: PLC0415

        async def life(main: Callable[[Any], Any]) -> object:
            with anyio.CancelScope() as scope:
                wake_on_signals()
                soon = loop_waker()
                latch.notify(lambda: soon(scope.cancel))
                try:
                    async with start() as run:
                        latch.notify_reload(lambda: soon(run.want_reload))
                        return await main(run)
                finally:
                    latch.forget()
            return None

        try:
            code = anyio.run(life, arm(), backend=backend)
        except BootError as exc:
            return _tell(exc)
        except SystemExit as exc:
            return _leave(exc)
        except BaseException as exc:  # noqa: BLE001  (this is the outermost frame)
            from hive_boot.redaction.showing import trace  # noqa: PLC0415  (only a crash needs it)

            _say(trace(exc))
            return 130 if isinstance(exc, KeyboardInterrupt) else 70
    return _status(code) if isinstance(code, int) else 0


def _status(code: int) -> int:
    """Give what a process can end with; anything else, as 256, would look like a success."""
    return code if 0 <= code < 256 else 70  # noqa: PLR2004  (a status is a byte)


def _leave(exc: SystemExit) -> int:
    """Do what Python does with ``sys.exit(text)``, without the secrets in the text."""
    if exc.code is None or isinstance(exc.code, int):
        return _status(exc.code or 0)
    _say(f"{exc.code}\n")
    return 1


def _tell(exc: BootError) -> int:
    """Write what went wrong to stderr, for a person; no traceback, it is not a bug of ours."""
    if isinstance(exc, InvalidSecrets):
        _say(f"{exc.report(color=_is_terminal() and not os.environ.get('NO_COLOR'))}\n")
    else:
        _say(f"hive_boot: {type(exc).__name__}: {exc}\n")
    return exc.exit_code


def _say(text: str) -> None:
    """Write to stderr, if there is one: the exit status has to be right without it.

    The run is over; what it hid lingers, and is taken out here.
    """
    from hive_boot.redaction.showing import redacted  # noqa: PLC0415  (few have last words)

    text = redacted(text)
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _is_terminal() -> bool:
    with suppress(AttributeError, ValueError):
        return sys.stderr.isatty()
    return False
