"""Frame variables of hive_boot in tracebacks."""

import re
from collections.abc import Iterator
from pathlib import Path
from traceback import TracebackException

from tests.fixtures.package import OURS


def frames(exc: BaseException) -> Iterator[tuple[str, str]]:
    """Yield the variables of every frame of hive_boot in the traceback of an exception.

    The frame of a user's function that has called ``reveal`` contains the value, and no library can
    prevent that. So the frames of users, of tests, and of other libraries are left out.

    """
    todo = [TracebackException.from_exception(exc, capture_locals=True)]
    while todo:
        part = todo.pop()
        for frame in part.stack:
            if frame.filename.startswith(OURS):
                where = f"{frame.name} in {frame.filename.removeprefix(OURS)}"
                yield (
                    where,
                    "\n".join(f"{name} = {it}" for name, it in (frame.locals or {}).items()),
                )
        todo += filter(None, [part.__cause__, part.__context__, *(part.exceptions or ())])


def sections(report: str) -> Iterator[tuple[str, str]]:
    """Yield the sections of a ``--showlocals`` report that are about frames of hive_boot."""
    for section in re.split(r"^(?:_ )+_?$|^_{3,} .* _{3,}$", report, flags=re.MULTILINE):
        places = re.findall(r"^(\S+\.py):\d+: ", section, flags=re.MULTILINE)
        if places and (path := str(Path.cwd() / places[-1])).startswith(OURS):
            yield path.removeprefix(OURS), section
