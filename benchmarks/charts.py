"""Charts: the ratios of a table as bars, in an SVG file that is readable in light and in dark."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.tables import Row, Table

_WITHIN, _OVER, _PLAIN = "#3987e5", "#d97706", "#8b949e"
_INK, _PAPER = "#1f2328", "#ffffff"
_DARK_INK, _DARK_PAPER = "#e6edf3", "#0d1117"

_STYLE = f"""\
@media (prefers-color-scheme: dark) {{
  [style*="fill: {_PAPER}"] {{ fill: {_DARK_PAPER} !important }}
  [style*="stroke: {_INK}"] {{ stroke: {_DARK_INK} !important }}
  text {{ fill: {_DARK_INK} !important }}
}}
"""

_SETTINGS: dict[Any, Any] = {  # the type of a key depends on the version
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "hive_boot",  # identifiers are the same in every run
    "axes.edgecolor": _INK,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "ytick.major.size": 0,
}

_WIDTH, _ROW, _MARGIN = 6.0, 0.22, 0.6
"""Inches: the width of the bars, the height of a row, and that of the axis."""

_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


def draw(table: Table) -> str:
    """Return the chart of a table as SVG; the same table always gives the same text."""
    # Only here: a benchmark must not be measured in a process with so many modules.
    from matplotlib import style  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import LogLocator, NullLocator  # noqa: PLC0415

    rows = [(row, row.ratio) for row in table.rows if row.ratio is not None]
    output = StringIO()
    with style.context(["default", _SETTINGS]):  # not the settings of the user
        figure = Figure(figsize=(_WIDTH, _ROW * len(rows) + _MARGIN), facecolor=_PAPER)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        axes.set_xscale("log")
        axes.set_yticks(range(len(rows)), [row.label for row, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        for place, (row, ratio) in enumerate(rows):
            axes.barh(place, ratio.median - 1, 0.7, left=1, color=_colour(row))
            axes.plot([ratio.low, ratio.high], [place] * 2, color=_INK, linewidth=0.8)
            if row.bound is not None:
                axes.plot([row.bound], [place], "|", color=_INK, markersize=11)
            axes.text(
                1.02,
                place,
                f"{ratio.median:.2f}",
                transform=axes.get_yaxis_transform(),
                verticalalignment="center",
            )
        axes.axvline(1, color=_INK, linewidth=0.8)
        left, right = axes.get_xlim()
        axes.set_xlim(min(left, 0.5), max(right, 2.0))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(f"{table.quantity} divided by that of the floor")
        figure.savefig(output, format="svg", bbox_inches="tight", metadata=_NO_METADATA)
    return output.getvalue().replace("</style>", f"{_STYLE}</style>", 1)


def _colour(row: Row) -> str:
    """Return the colour of a row: within its bound, over it, or without a bound."""
    return {"": _PLAIN, "ok": _WITHIN}.get(row.verdict, _OVER)
