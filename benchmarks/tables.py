"""Plain tables: what was measured, beside its floor, and whether a promise holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.measuring import Figures, Ratio

_HEADER = ("what", "time", "p99", "floor", "ratio", "middle half", "bound", "")
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes:
        what: what was measured.
        time: how long it takes, in seconds.
        tail: how long it takes at most, but for one time in a hundred; None where nobody asks.
        floor: how long the floor takes, in seconds.
        ratio: the one over the other; None when there is nothing to say.
        bound: the promise; None where there is none.
        remark: why there are no figures.
    """

    what: str
    time: float = 0.0
    tail: float | None = None
    floor: float = 0.0
    ratio: Ratio | None = None
    bound: float | None = None
    remark: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether there is a bound, and it does not hold."""
        return self.bound is not None and (self.ratio is None or self.ratio.median > self.bound)

    def cells(self) -> tuple[str, ...]:
        """Give what stands in each column."""
        if self.ratio is None:
            return (self.what, self.remark, "", "", "", "", "", "")
        return (
            self.what,
            readable(self.time),
            "" if self.tail is None else readable(self.tail),
            readable(self.floor),
            f"{self.ratio.median:.2f}",
            f"{self.ratio.low:.2f}-{self.ratio.high:.2f}",
            "" if self.bound is None else f"{self.bound:.2f}",
            "" if self.bound is None else "over" if self.is_broken else "ok",
        )


@dataclass(slots=True)
class Table:
    """What one subject has to show.

    Attributes:
        title: the subject.
        notes: what the figures mean.
        rows: the lines.
    """

    title: str
    notes: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)

    def add(  # noqa: PLR0913  (the cells of a line)
        self,
        what: str,
        figures: Figures,
        name: str,
        floor: str,
        bound: float | None = None,
        *,
        tail: bool = False,
    ) -> None:
        """Add a line.

        Args:
            what: what was measured.
            figures: where it was measured.
            name: what it is called there.
            floor: what its floor is called there.
            bound: the largest ratio that was promised.
            tail: whether to show how long it takes at worst. Default False.
        """
        self.rows.append(
            Row(
                what=what,
                time=figures.median(name),
                tail=figures.tail(name) if tail else None,
                floor=figures.median(floor),
                ratio=figures.ratio(name, floor),
                bound=bound,
            )
        )

    def lack(self, what: str, remark: str) -> None:
        """Add a line without figures, and say why."""
        self.rows.append(Row(what=what, remark=remark))

    @property
    def broken(self) -> list[Row]:
        """The lines whose bound does not hold."""
        return [row for row in self.rows if row.is_broken]

    def text(self) -> str:
        """Write the table."""
        lines = [_HEADER, *(row.cells() for row in self.rows)]
        if all(row.tail is None for row in self.rows):
            lines = [(*cells[:2], *cells[3:]) for cells in lines]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        widths[1] = max(len(cells[1]) for cells in lines if any(cells[2:]))
        written = [self.title, *(f"  {note}" for note in self.notes)]
        for cells in lines:
            first, *others = zip(cells, widths, strict=True)
            row = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
            written.append(f"  {'  '.join(row)}".rstrip())
        return "\n".join(written)


def readable(seconds: float) -> str:
    """Write a time with three digits that matter and the unit that suits it."""
    size, unit = next((each for each in _UNITS if abs(seconds) >= each[0]), _UNITS[-1])
    return f"{seconds / size:.3g} {unit}"
