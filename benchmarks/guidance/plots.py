"""Curves of rewards and of distances off the data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.guidance.panel import Cell

__all__ = ["over_rounds", "pareto"]

WHERE = {"after": "at the clean end", "before": "before the last jump"}
LABELS = {"reward": "reward", "on": "reward on the subspace"} | {k: f"r_off {v}" for k, v in WHERE.items()}


def over_rounds(
    series: Mapping[str, Sequence[Cell]], path: Path, keys: Sequence[str] = ("reward", "after", "before")
) -> None:
    """Reward and r_off over rounds, the mean of seeds and each of them."""
    figure, axes = _axes(len(keys), (0.4 + 3.55 * len(keys), 3.6))
    for i, (name, cells) in enumerate(series.items()):
        for ax, what in zip(axes, keys, strict=True):
            curves = [c[what] for c in cells]
            for curve in curves:
                ax.plot(range(1, len(curve) + 1), curve, color=f"C{i}", lw=0.6, alpha=0.35)
            ax.plot(
                range(1, len(curves[0]) + 1), list(map(mean, zip(*curves, strict=True))), color=f"C{i}", label=name
            )
        want = cells[0].get("predicted")
        if want is not None:
            axes[0].axhline(want, color=f"C{i}", ls=":", lw=1)
    for ax, what in zip(axes, keys, strict=True):
        if what in WHERE:
            _log(ax, "y")
        ax.set_ylabel(LABELS[what])
        ax.set_xlabel("round")
    _save(figure, axes, path)


def pareto(
    series: Mapping[str, tuple[Sequence[float], Mapping[str, Sequence[float]]]],
    path: Path,
    off: str,
    *,
    scatter: bool = False,
) -> None:
    """Reward against distance off the data: of each name the rewards, and the distances after and before."""
    figure, axes = _axes(2, (8.0, 3.6))
    for i, (name, (reward, apart)) in enumerate(series.items()):
        for ax, what in zip(axes, WHERE, strict=True):
            ax.plot(apart[what], reward, "." if scatter else ".-", color=f"C{i}", ms=5, alpha=0.8, label=name)
            ax.set_xlabel(f"{off} {WHERE[what]}")
            ax.set_ylabel("reward")
    for ax in axes:
        _log(ax, "x")
    _save(figure, axes, path)


def _axes(count: int, size: tuple[float, float]) -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(1, count, figsize=size, layout="constrained")


def _log(ax: Any, which: str) -> None:
    """A logarithmic axis with plain numbers, more of them where it is short."""
    from matplotlib.ticker import LogLocator, NullLocator

    getattr(ax, f"set_{which}scale")("log")
    low, high = getattr(ax, f"get_{which}lim")()
    axis = getattr(ax, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda v, _: f"{v:g}")


def _save(figure: Any, axes: Any, path: Path) -> None:
    for ax in axes:
        ax.grid(alpha=0.25)
    handles, names = axes[0].get_legend_handles_labels()
    wide = sum(map(len, names)) > 80
    columns = 2 if wide else len(names)
    figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)
