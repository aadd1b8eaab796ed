"""The pictures of the comparison: how far each method is after so many network evaluations, and what it has found.

    python -m benchmarks.quality.pictures                # the curves of the cells that are there, then the gallery

The gallery runs its own searches, a few seconds each.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import elites as el
from benchmarks.quality import cells
from benchmarks.quality.contenders import contenders
from benchmarks.quality.tables import typical
from benchmarks.quality.tasks import TASKS

Cell = dict[str, Any]
INK, PALE, ALARM = "#222222", "#8a8a8a", "#b5420f"
ASIDE = 1.045  # factor between neighbours that would lie on each other
FLOOR = 1e-3  # share of the way below which nothing is drawn apart
WIDE, PIXELS = 12, 100  # inches, and dots an inch: 1200 pixels
DRAWN = {  # colour, marker, line; told apart by any eye, and in grey by the marker
    "best of N": ("#999999", "o", ":"),
    "published loop": ("#e69f00", "s", "--"),
    "EvoTorch SNES, held": ("#56b4e9", "D", "-"),
    "pycma, held": ("#009e73", "^", "-"),
    "Elites": ("#0d3b66", "o", "-"),
    "Auto": ("#c8326b", "P", "-"),
}
STEAD = {"pycma, held": "pycma, separable, held"}  # where a full covariance is too large

SHOWN = ("best of N", "published loop", "[EvoTorch SNES]", "[pycma]", "EvoTorch SNES, held", "Elites", "Auto")
ROWS = {
    "digits margin": "be a clear 3\n(margin, nats)",
    "digits match": "be this image\n(minus squared\ndistance)",
    "digits size": "compress well\n(minus bytes\nafter zlib)",
}
NORM = "|z|$^2$/d"
AT = 2_000  # network evaluations of the gallery
SEED = 20


def pyplot() -> Any:
    """Matplotlib without a screen; the numbers of this file do not need it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def gaps(rows: Sequence[Cell]) -> tuple[dict[tuple[str, int], tuple[float, bool]], float, float]:
    """What is left of the way, for the cells of one task.

    The way of a seed is from best of N at the least budget to the best of all methods on the shell at any.

    Returns:
        (method, budget) to the median over seeds of the share that is left, from `FLOOR` to 1, and whether the
        winners are on the shell; the medians over seeds of both ends of the way.
    """
    by: dict[tuple[str, int], list[Cell]] = {}
    for c in rows:
        by.setdefault((c["method"], c["budget"]), []).append(c)
    on = {key for key, group in by.items() if typical(group)}
    least = min(c["budget"] for c in rows)
    start = {c["seed"]: c["best"] for c in by.get(("best of N", least), [])}
    end = {
        seed: max((c["best"] for key in on for c in by[key] if c["seed"] == seed), default=low)
        for seed, low in start.items()
    }
    found = {}
    for key, group in by.items():
        left = [
            min(max((end[c["seed"]] - c["best"]) / (end[c["seed"]] - start[c["seed"]]), FLOOR), 1.0)
            for c in group
            if c["seed"] in start and end[c["seed"]] > start[c["seed"]]
        ]
        if left:
            found[key] = statistics.median(left), key in on
    return found, statistics.median(start.values()), statistics.median(end.values())


def curves(have: Sequence[Cell], out: Path) -> None:
    """One panel a task: the share of the way that is left, on logarithmic axes."""
    plt = pyplot()
    tasks = [name for name in TASKS if any(c["task"] == name and c["method"] == "best of N" for c in have)]
    across = 4
    down = -(-len(tasks) // across)
    figure, grid = plt.subplots(
        down, across, figsize=(WIDE, 2.25 * down + 1.1), dpi=PIXELS, sharey=True, squeeze=False, layout="constrained"
    )
    axes = list(grid.flat)
    for axis in axes[len(tasks) :]:
        axis.set_visible(False)
    for axis, name in zip(axes, tasks, strict=False):
        left, start, end = gaps([c for c in have if c["task"] == name])
        for i, (who, (colour, marker, line)) in enumerate(DRAWN.items()):
            own = who if any(m == who for m, _ in left) else STEAD.get(who, who)
            aside = ASIDE ** (i - (len(DRAWN) - 1) / 2)
            points = sorted((aside * budget, *value) for (m, budget), value in left.items() if m == own)
            axis.plot([b for b, _, _ in points], [y for _, y, _ in points], color=colour, ls=line, lw=1.8)
            for budget, y, real in points:
                face = colour if real else "white"
                axis.plot(budget, y, marker, color=colour, mfc=face, ms=6, mew=1.4, clip_on=False, zorder=3)
        budgets = TASKS[name].budgets
        axis.set(xscale="log", yscale="log", ylim=(FLOOR * 0.8, 1.3), xlim=(budgets[0] * 0.75, budgets[-1] * 1.3))
        axis.set_xticks(budgets, [f"{b:,}" for b in budgets])
        axis.set_xticks([], minor=True)
        axis.set_yticks([1, 0.1, 0.01, FLOOR], ["all\nor more", "10 %", "1 %", "0.1 %\nor less"])
        axis.set_yticks([], minor=True)
        axis.grid(axis="y", color="#e5e5e5", lw=0.8)
        axis.set_title(name, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=16)
        way = f"{number(start)} \N{RIGHTWARDS ARROW} {number(end)}"
        axis.text(1, 1.03, way, ha="right", transform=axis.transAxes, fontsize=9, color=PALE)
    handles = [
        plt.Line2D([], [], color=colour, marker=marker, ls=line, lw=1.8, ms=6, label=who)
        for who, (colour, marker, line) in DRAWN.items()
    ]
    handles.append(
        plt.Line2D([], [], color=INK, marker="o", ls="", mfc="white", mew=1.4, label="hollow: off the shell")
    )
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9.5)
    figure.supylabel("what is left of the way to the best reward of all", fontsize=10.5)
    figure.supxlabel(
        "network evaluations (medians over seeds)\n"
        "in grey: the way, from best of N at the least budget to the best of all methods on the shell; "
        f"pycma is separable above {contenders()['pycma, held'].most} dimensions",
        fontsize=10.5,
    )
    save(figure, out)


def number(value: float) -> str:
    """Three digits, and 0 for what is rounded to it."""
    return "0" if abs(value) < 1e-6 else f"{value:.3g}"


def winner(name: str, who: str) -> tuple[torch.Tensor, Cell]:
    """The winner's picture, and its cell."""
    task = TASKS[name]
    best = cells.one(task, contenders()[who], task.prior(), seed=SEED, most=AT)[AT]
    return task.prior().decode(best.x[:1])[0, 0], cells.measured(task, SEED, best) | {"task": name, "method": who}


def gallery(out: Path) -> None:
    """Winners of one seed, with evidence."""
    plt = pyplot()
    figure, grid = plt.subplots(
        len(ROWS),
        len(SHOWN) + 1,
        figsize=(WIDE, 7.75),
        dpi=PIXELS,
        layout="constrained",
    )
    for row, (name, label) in zip(grid, ROWS.items(), strict=True):
        first, at = row[0], (0.5, 0.5, "center")
        wanted = TASKS[name].reward(SEED)
        if isinstance(wanted, el.rewards.Match):
            picture(first, wanted.image)
            at = (0.5, -0.07, "top")
        else:
            first.axis("off")
        first.text(*at[:2], label, transform=first.transAxes, ha="center", va=at[2], fontsize=10.5)
        for axis, who in zip(row[1:], SHOWN, strict=True):
            image, cell = winner(name, who)
            picture(axis, image)
            lines = [("reward", f"{cell['best']:.4g}")]
            if cell["judge"] is not None:
                lines.append(("judge", f"{cell['judge']:.4g}"))
            lines += [(NORM, f"{cell['shell']:.2f}"), ("distance", f"{cell['distance']:.2f}")]
            for i, (what, value) in enumerate(lines):
                alarm = what == NORM and not typical([cell])
                style = {"transform": axis.transAxes, "fontsize": 9.5, "va": "top"}
                weight = "bold" if i == 0 or alarm else "normal"
                y = -0.05 - 0.135 * i
                axis.text(0, y, what, color=ALARM if alarm else PALE, **style)
                axis.text(1, y, value, ha="right", color=ALARM if alarm else INK, fontweight=weight, **style)
    for axis, who in zip(grid[0, 1:], SHOWN, strict=True):
        ours = contenders()[who].ours
        axis.set_title(who.replace(", ", ",\n"), fontsize=10.5, fontweight="bold" if ours else "normal", color=INK)
    figure.supxlabel(
        f"after {AT:,} network evaluations, seed {SEED}; {NORM} is 1 on the shell and red off it; "
        "distance to the data is 1 for digits that were held out; names of ours in bold",
        fontsize=9.5,
    )
    save(figure, out)


def picture(axis: Any, image: torch.Tensor) -> None:
    axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def save(figure: Any, out: Path) -> None:
    plt = pyplot()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    plt = pyplot()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/results/quality.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    plt.rcParams.update({"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False})
    have = cells.load(args.cells)
    if have:
        curves(have, args.out / "quality_curves.png")
    gallery(args.out / "quality_gallery.png")


if __name__ == "__main__":
    main()
