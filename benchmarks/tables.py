"""Tables, as text and as Markdown: times, their baselines, and whether they are in bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.timing import Figures, Ratio

_HEADER = ("measured", "time", "p99", "floor", "ratio", "middle half", "bound", "")
_ALIGNMENT = ("---", "---:", "---:", "---:", "---:", "---:", "---:", "---")
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
        limit: the maximum of the 99th percentile, in seconds; None without a limit.
        remark: the reason why there is no measurement.
    """

    label: str
    time: float = 0.0
    tail: float | None = None
    floor: float = 0.0
    ratio: Ratio | None = None
    bound: float | None = None
    limit: float | None = None
    remark: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether the ratio exceeds its bound, or the 99th percentile its limit."""
        above = self.bound is not None and self.ratio is not None and self.ratio.median > self.bound
        late = self.limit is not None and self.tail is not None and self.tail > self.limit
        return above or late

    @property
    def has_bound(self) -> bool:
        """Whether the ratio or the 99th percentile has a maximum."""
        return self.bound is not None or self.limit is not None

    def cells(self) -> tuple[str, ...]:
        """Return the text of each column."""
        if self.ratio is None:
            return (self.label, self.remark, "", "", "", "", "", "")
        bounds = [] if self.bound is None else [f"{self.bound:.2f}"]
        bounds += [] if self.limit is None else [f"p99 {readable(self.limit)}"]
        return (
            self.label,
            readable(self.time),
            "" if self.tail is None else readable(self.tail),
            readable(self.floor),
            f"{self.ratio.median:.2f}",
            f"{self.ratio.low:.2f}-{self.ratio.high:.2f}",
            ", ".join(bounds),
            "" if not self.has_bound else "over" if self.is_broken else "ok",
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
        limit: float | None = None,
    ) -> None:
        """Add a row.

        Args:
            label: the label.
            figures: the measured times.
            name: the alternative in ``figures``.
            floor: its baseline in ``figures``.
            bound: the maximum ratio. Default: no bound.
            tail: whether the 99th percentile is shown. Default False.
            limit: the maximum of the 99th percentile, in seconds. Default: no limit.
        """
        self.rows.append(
            Row(
                label=label,
                time=figures.median(name),
                tail=figures.tail(name) if tail else None,
                floor=figures.median(floor),
                ratio=figures.ratio(name, floor),
                bound=bound,
                limit=limit,
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
        lines = self._without_empty_tail([_HEADER, *(row.cells() for row in self.rows)])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        widths[1] = max(len(cells[1]) for cells in lines if any(cells[2:]))
        text = [self.title, *(f"  {note}" for note in self.notes)]
        for cells in lines:
            first, *others = zip(cells, widths, strict=True)
            row = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
            text.append(f"  {'  '.join(row)}".rstrip())
        return "\n".join(text)

    def markdown(self) -> str:
        """Return the notes and the table as Markdown."""
        lines = [_HEADER, _ALIGNMENT, *(row.cells() for row in self.rows)]
        escaped = ([cell.replace("|", "\\|") for cell in cells] for cells in lines)
        rows = [f"| {' | '.join(cells)} |" for cells in self._without_empty_tail(escaped)]
        return "\n".join([*self.notes, "", *rows])

    def _without_empty_tail(self, lines: Iterable[Sequence[str]]) -> list[Sequence[str]]:
        """Return the lines without the 99th percentile, if no row has it."""
        if any(row.tail is not None for row in self.rows):
            return list(lines)
        return [[*cells[:2], *cells[3:]] for cells in lines]


def readable(seconds: float) -> str:
    """Return a time with three significant digits and a suitable unit."""
    size, unit = next((each for each in _UNITS if abs(seconds) >= each[0]), _UNITS[-1])
    return f"{seconds / size:.3g} {unit}"
