"""Show an answer: to a person on a terminal, to a file, or to a program.

Colours only on a terminal, and never with ``NO_COLOR`` (https://no-color.org). A table is
drawn by rich where that is installed and somebody looks; else in plain columns.
"""

from __future__ import annotations

import os
import sys

from hive_boot.cli.usage import Refusal, reason

TYPE_CHECKING = False  # typing would take as long as all of a probe
if TYPE_CHECKING:
    from collections.abc import Sequence

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Cell:
    """A text of a table, with how it looks on a terminal.

    Attributes:
        text: the text.
        style: ``bold``, ``dim``, ``red``, ``green``, ``yellow``, or nothing.
    """

    __slots__ = ("style", "text")

    def __init__(self, text: str, style: str = "") -> None:
        self.text = text
        self.style = style


def say(text: str = "") -> None:
    """Write a line to stdout.

    Raises:
        Refusal: it takes none, as of a disk that is full.
    """
    try:
        print(text, flush=True)  # noqa: T201  (a command's answer)
    except BrokenPipeError:
        raise
    except OSError as exc:
        message = f"the answer cannot be written to stdout: {reason(exc).lower()}"
        raise Refusal(message) from None


def answer(facts: object) -> None:
    """Write JSON to stdout, for programs; with escapes where stdout cannot write it as it is."""
    import json  # noqa: PLC0415  (few ask)

    text = json.dumps(facts, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(facts, indent=2)
    say(text)


def painted(text: str, style: str) -> str:
    """Give ``text`` as it looks on stdout."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style and is_colored() else text


def is_terminal() -> bool:
    """Tell whether somebody looks at stdout."""
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):
        return False


def is_colored() -> bool:
    """Tell whether stdout takes colours."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show_table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Write a table to stdout.

    Args:
        headers: the names of the columns.
        rows: a cell for each column.
    """
    if is_terminal() and _draw_with_rich(headers, rows):
        return
    widths = [
        max(len(header), *(len(row[at].text) for row in rows)) if rows else len(header)
        for at, header in enumerate(headers)
    ]
    head = "  ".join(f"{header:<{width}}" for header, width in zip(headers, widths, strict=True))
    say(painted(head.rstrip(), "bold"))
    for row in rows:
        line = "  ".join(
            painted(cell.text, cell.style) + " " * (width - len(cell.text))
            for cell, width in zip(row, widths, strict=True)
        )
        say(line.rstrip())


def _draw_with_rich(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> bool:
    """Draw a table with rich, if it is there: it folds what is too long for a column."""
    try:
        from rich.box import SIMPLE_HEAD  # noqa: PLC0415  (an extra, and only for people)
        from rich.console import Console  # noqa: PLC0415  (as above)
        from rich.table import Table  # noqa: PLC0415  (as above)
        from rich.text import Text  # noqa: PLC0415  (as above)
    except ImportError:
        return False
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell.text, style=cell.style) for cell in row))
    Console(highlight=False).print(table)
    return True
