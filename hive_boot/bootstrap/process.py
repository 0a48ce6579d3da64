"""Own the process: its signals, its last words, its exit status."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hive_boot._output import write_stderr
from hive_boot.bootstrap.owner import ProcessRunner
from hive_boot.exceptions import BootError, InvalidSecretsError
from hive_boot.lifecycle.signals import acquire

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from hive_boot.bootstrap.owner import Main
    from hive_boot.bootstrap.run import Run


def run_process(
    arm: Callable[[], Main],
    start: Callable[..., AbstractAsyncContextManager[Run[Any, Any]]],
    backend: str,
    *,
    must_finish: bool = False,
) -> int:
    """Run an application until its main ends or a signal comes.

    Args:
        arm: gives what is called with the run when it is ready, and awaited.
        start: gives the context of a run, and calls what it is given with it before.
        backend: ``asyncio``, ``uvloop`` or ``trio``.
        must_finish: whether a stop before the end of main is no success.

    Returns:
        The exit status: 0, what main returned, 70, 78, or 128 + the signal.
    """
    with acquire() as latch:
        import anyio  # noqa: PLC0415  (the latch comes first: an import takes its time)

        owner = ProcessRunner(latch)
        library, options = "trio", {}
        if backend != "trio":
            library, options = "asyncio", {"loop_factory": lambda: owner.make_loop(backend)}
        try:
            code = anyio.run(owner.main, arm(), start, backend=library, backend_options=options)
            status = _status(code) if isinstance(code, int) else 0
            if must_finish and latch.first_signal is not None and not owner.has_finished:
                status = 128 + latch.first_signal
            if owner.exit is not None:
                status = _system_exit_status(owner.exit)
        except BaseException as exc:  # noqa: BLE001  (this is the outermost frame)
            status = report_failure(exc)
        owner.release()
    return status


def report_failure(exc: BaseException) -> int:
    """Say what an application has failed with, and give the exit status."""
    from hive_boot.lifecycle.failures import unwrap_single  # noqa: PLC0415  (only a failure needs it)

    only = unwrap_single(exc)
    if isinstance(only, BootError):
        return report_boot_error(only)
    if isinstance(only, SystemExit):
        return _system_exit_status(only)
    from hive_boot.redaction.showing import format_redacted_traceback  # noqa: PLC0415  (only a crash needs it)

    _say(format_redacted_traceback(exc))
    return 130 if isinstance(only, KeyboardInterrupt) else 70


def _status(code: int) -> int:
    """Give what a process can end with; anything else, as 256, would look like a success."""
    return code if 0 <= code < 256 else 70  # noqa: PLR2004  (a status is a byte)


def _system_exit_status(exc: SystemExit) -> int:
    """Do what Python does with ``sys.exit(text)``, without the secrets in the text."""
    if exc.code is None or isinstance(exc.code, int):
        return _status(exc.code or 0)
    _say(f"{exc.code}\n")
    return 1


def report_boot_error(exc: BootError) -> int:
    """Write what went wrong to stderr, for a person; no traceback, it is not a bug of ours.

    Returns:
        The exit status.
    """
    if isinstance(exc, InvalidSecretsError):
        _say(f"{exc.report(color=_is_terminal() and not os.environ.get('NO_COLOR'))}\n")
        return exc.exit_code
    if exc.__cause__ is not None:
        # A part's failure is not a bug of ours, and its traceback says whose it is.
        from hive_boot.redaction.showing import format_redacted_traceback  # noqa: PLC0415  (only a failure needs it)

        _say(format_redacted_traceback(exc.__cause__))
    _say(f"hive_boot: {type(exc).__name__}: {exc}\n")
    return exc.exit_code


def _say(text: str) -> None:
    """Write to stderr, if there is one: the exit status has to be right without it.

    The run is over; what it hid lingers, and is taken out here.
    """
    from hive_boot.redaction.showing import redact_safely  # noqa: PLC0415  (few have last words)

    write_stderr(redact_safely(text))


def _is_terminal() -> bool:
    with suppress(AttributeError, ValueError):
        return sys.stderr.isatty()
    return False
