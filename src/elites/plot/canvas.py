"""What all figures share: where they read a run, how they look, and how they are saved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..events.record import Record
from ..types import InputError, Result

__all__ = [
    *("ACCENT", "BLACK", "COLUMN", "CYCLE", "GREY", "PALE", "WARN", "Run"),
    *("axes", "canvas", "legend", "listed", "opened", "tidy"),
]

Run = str | Path | Record | Result
COLUMN = 3.3  # inches of one column of a page of two
BLACK, GREY, PALE = "#000000", "#6b6b6b", "#d9d9d9"
ACCENT, WARN = "#0072B2", "#D55E00"
# Okabe and Ito's colours, dark ones first so that neighbours differ in grey, with dashes
CYCLE = (
    ("#0072B2", "-"),
    ("#E69F00", (0, (5, 1.5))),
    ("#000000", (0, (1, 1.2))),
    ("#56B4E9", (0, (5, 1.2, 1, 1.2))),
    ("#009E73", (0, (8, 2))),
    ("#CC79A7", (0, (3, 1, 1, 1, 1, 1))),
    ("#D55E00", (0, (2, 1))),
)
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.2,
    "lines.solid_capstyle": "round",
    "mathtext.fontset": "dejavusans",
    "figure.dpi": 150,
    "savefig.dpi": 300,
}
SAVED = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}  # text stays text


@contextmanager
def canvas(width: float, height: float) -> Iterator[Any]:
    """A figure of its own, in inches, with our style while it is made.

    Raises:
        ImportError: if matplotlib is not installed.
        InputError: if the width is not positive.
    """
    if not (math.isfinite(width) and width > 0):
        raise InputError(f"width={width}: give the width of the figure in inches, such as {COLUMN}.")
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("Figures need matplotlib: pip install 'elites[plot]'.") from None
    with matplotlib.rc_context(STYLE | SAVED):
        figure: Any = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        save = figure.savefig

        def _save(fname: Any, **options: Any) -> None:
            with matplotlib.rc_context(SAVED):  # read when a figure is saved, whatever the settings are then
                save(fname, **options)

        figure.savefig = _save
        yield figure


def opened(run: Run) -> Record:
    """What is to be drawn, as a record.

    Raises:
        InputError: if it is no run.
    """
    if isinstance(run, Record):
        return run
    if isinstance(run, str | Path):
        return Record.read(Path(run))
    if not isinstance(run, Result):
        raise InputError(f"A {type(run).__name__} is no run: give a run folder, a Record or a Result.")
    rows = [{name: float(v) for name, v in row.items()} for row in run.history]
    meter = {name: float(v) for name, v in vars(run.meter).items()}
    last = rows[-1] if rows and "final" in rows[-1] else {}
    return Record(
        Path(),
        {"seed": run.seed, "versions": run.versions},
        {
            **meter,
            "best": float(run.best.reward[0]) if len(run.best) else None,
            "stopped": run.stopped,
            "evidence": [vars(r) for r in run.evidence],
        },
        [row for row in rows if "final" not in row],
        last,
        [vars(f) for f in run.failures],
        run.samples.reward.tolist(),
        run.samples.keys.tolist(),
        0 if run.samples.z is None else run.samples.z[:1].numel(),
    )


def axes(figure: Any, *, x: str, y: str) -> Any:
    """The only axes of a figure."""
    out = figure.add_subplot()
    out.set_xlabel(x)
    out.set_ylabel(y)
    return out


def legend(ax: Any, columns: int = 2) -> None:
    """The names of curves above the axes, where they hide nothing."""
    handles, names = ax.get_legend_handles_labels()
    if names:
        ax.figure.legend(handles, names, loc="outside upper left", ncols=columns, columnspacing=1.2)


def listed(ax: Any, names: Sequence[str]) -> None:
    """Names down the left of bars, the first on top, without a frame; a name is words and no formula."""
    ax.set_yticks(range(len(names)), names)
    for label in ax.get_yticklabels():
        label.set_parse_math(False)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    for side in ax.spines.values():
        side.set_visible(False)


def tidy(ax: Any, *, whole: bool = False) -> None:
    """Few ticks, with thousands apart; whole numbers along x where they are steps."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    if whole:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    ax.margins(x=0.01)
