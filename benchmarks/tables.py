"""Tables, as text and as Markdown: figures, their baselines, and whether they are in bounds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.timing import Figures, Ratio

Quantity: TypeAlias = Literal["time", "memory"]
"""The measured quantity: seconds, or bytes."""

Verdict: TypeAlias = Literal["", "ok", "reason", "over"]
"""The result of a row: without a bound; within it; over it up to an accepted maximum; over both."""

UNITS: dict[Quantity, tuple[tuple[float, str], ...]] = {
    "time": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "memory": ((2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
}

_ALIGNMENT = ("---", "---:", "---:", "---:", "---:", "---:", "---:", "---")
_PAGE = "docs/benchmarks.md"
_LIST = "#rows-over-their-bound"


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
        accepted: the maximum that replaces either of them for a known reason; 0 without one.
        remark: the reason why there is no measurement.
    """

    label: str
    time: float = 0.0
    tail: float | None = None
    floor: float = 0.0
    ratio: Ratio | None = None
    bound: float | None = None
    limit: float | None = None
    accepted: float = 0.0
    remark: str = ""

    @property
    def verdict(self) -> Verdict:
        """The result of the comparison with the bound, and with the accepted maximum."""
        if self.ratio is not None and self.bound is not None:
            found, bound = self.ratio.median, self.bound
        elif self.tail is not None and self.limit is not None:
            found, bound = self.tail, self.limit
        else:
            return ""
        if found <= bound:
            return "ok"
        return "reason" if found <= self.accepted else "over"

    def cells(self, quantity: Quantity) -> tuple[str, ...]:
        """Return the text of each column."""
        if self.ratio is None:
            return (self.label, self.remark, "", "", "", "", "", "")
        bounds = [] if self.bound is None else [f"{self.bound:.2f}"]
        bounds += [] if self.limit is None else [f"p99 {readable(self.limit, quantity)}"]
        return (
            self.label,
            readable(self.time, quantity),
            "" if self.tail is None else readable(self.tail, quantity),
            readable(self.floor, quantity),
            f"{self.ratio.median:.2f}",
            f"{self.ratio.low:.2f}-{self.ratio.high:.2f}",
            ", ".join(bounds),
            self.verdict,
        )


@dataclass(slots=True)
class Table:
    """The results of one subject.

    Attributes:
        title: the title.
        notes: explanations of the rows.
        quantity: the measured quantity. Default: time.
        rows: the rows.
    """

    title: str
    notes: tuple[str, ...] = ()
    quantity: Quantity = "time"
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
            limit: the maximum of the 99th percentile, in seconds, instead of one of the ratio.
                Default: no limit.
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

    def accept(self, maxima: Mapping[str, tuple[float, float]]) -> None:
        """Set the accepted maxima of rows.

        Args:
            maxima: by label, the maximum of a ratio and that of a 99th percentile, in seconds; 0
                for the one that the row does not have.
        """
        for place, row in enumerate(self.rows):
            ratio, tail = maxima.get(row.label, (0.0, 0.0))
            self.rows[place] = replace(row, accepted=tail if row.bound is None else ratio)

    def with_verdict(self, verdict: Verdict) -> list[Row]:
        """Return the rows with a verdict."""
        return [row for row in self.rows if row.verdict == verdict]

    def text(self) -> str:
        """Return the table as text."""
        lines = self._without_empty_tail([self._header(), *self._cells()])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        widths[1] = max(len(cells[1]) for cells in lines if any(cells[2:]))
        text = [self.title, *(f"  {note}" for note in self.notes)]
        for cells in lines:
            first, *others = zip(cells, widths, strict=True)
            row = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
            text.append(f"  {'  '.join(row)}".rstrip())
        if self.with_verdict("reason"):
            text.append(f"  reason: over its bound, within the accepted maximum of {_PAGE}{_LIST}")
        return "\n".join(text)

    def markdown(self) -> str:
        """Return the notes and the table as Markdown."""
        lines = [self._header(), _ALIGNMENT, *self._cells()]
        escaped = ([cell.replace("|", "\\|") for cell in cells] for cells in lines)
        rows = [f"| {' | '.join(cells)} |" for cells in self._without_empty_tail(escaped)]
        text = [*self.notes, "", *rows]
        if self.with_verdict("reason"):
            text += ["", f"`reason`: over its bound, within its [accepted maximum]({_LIST})."]
        return "\n".join(text)

    def _header(self) -> Sequence[str]:
        return ("measured", self.quantity, "p99", "floor", "ratio", "middle half", "bound", "")

    def _cells(self) -> Iterable[Sequence[str]]:
        return (row.cells(self.quantity) for row in self.rows)

    def _without_empty_tail(self, lines: Iterable[Sequence[str]]) -> list[Sequence[str]]:
        """Return the lines without the 99th percentile, if no row has it."""
        if any(row.tail is not None for row in self.rows):
            return list(lines)
        return [[*cells[:2], *cells[3:]] for cells in lines]


def readable(value: float, quantity: Quantity = "time") -> str:
    """Return a quantity with three significant digits and a suitable unit."""
    units = UNITS[quantity]
    size, unit = next((each for each in units if abs(value) >= each[0]), units[-1])
    return f"{value / size:.3g} {unit}"
