"""Text tables: times, their baselines, and whether the ratio is within its bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.timing import Figures, Ratio

_HEADER = ("measured", "time", "p99", "floor", "ratio", "middle half", "bound", "")
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a table.

    Attributes:
        label: the label.
        time: the median time, in seconds.
        tail: the 99th percentile, in seconds; None if it is not shown.
        floor: the median time of the baseline, in seconds.
        ratio: the ratio of the two; None without a measurement.
        bound: the maximum ratio; None without a bound.
        remark: the reason why there is no measurement.
    """

    label: str
    time: float = 0.0
    tail: float | None = None
    floor: float = 0.0
    ratio: Ratio | None = None
    bound: float | None = None
    remark: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether the ratio exceeds its bound, or was not measured although there is a bound."""
        return self.bound is not None and (self.ratio is None or self.ratio.median > self.bound)

    def cells(self) -> tuple[str, ...]:
        """Return the text of each column."""
        if self.ratio is None:
            return (self.label, self.remark, "", "", "", "", "", "")
        return (
            self.label,
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
    """The results of one subject.

    Attributes:
        title: the title.
        notes: explanations of the rows.
        rows: the rows.
    """

    title: str
    notes: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)

    def add(  # noqa: PLR0913  (the cells of a row)
        self,
        label: str,
        figures: Figures,
        name: str,
        floor: str,
        bound: float | None = None,
        *,
        tail: bool = False,
    ) -> None:
        """Add a row.

        Args:
            label: the label.
            figures: the measured times.
            name: the alternative in ``figures``.
            floor: its baseline in ``figures``.
            bound: the maximum ratio. Default: no bound.
            tail: whether the 99th percentile is shown. Default False.
        """
        self.rows.append(
            Row(
                label=label,
                time=figures.median(name),
                tail=figures.tail(name) if tail else None,
                floor=figures.median(floor),
                ratio=figures.ratio(name, floor),
                bound=bound,
            )
        )

    def add_missing(self, label: str, remark: str) -> None:
        """Add a row without times, with the reason."""
        self.rows.append(Row(label=label, remark=remark))

    @property
    def broken(self) -> list[Row]:
        """The rows that exceed their bound."""
        return [row for row in self.rows if row.is_broken]

    def text(self) -> str:
        """Return the table as text."""
        lines = [_HEADER, *(row.cells() for row in self.rows)]
        if all(row.tail is None for row in self.rows):
            lines = [(*cells[:2], *cells[3:]) for cells in lines]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        widths[1] = max(len(cells[1]) for cells in lines if any(cells[2:]))
        text = [self.title, *(f"  {note}" for note in self.notes)]
        for cells in lines:
            first, *others = zip(cells, widths, strict=True)
            row = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
            text.append(f"  {'  '.join(row)}".rstrip())
        return "\n".join(text)


def readable(seconds: float) -> str:
    """Return a time with three significant digits and a suitable unit."""
    size, unit = next((each for each in _UNITS if abs(seconds) >= each[0]), _UNITS[-1])
    return f"{seconds / size:.3g} {unit}"
