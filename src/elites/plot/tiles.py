"""Objects side by side, as a report draws them: pictures, paths, time series, molecules; text as a list."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from PIL import Image

from ..events.axes import brief, clean
from ..events.molecules import outline
from ..events.sheets import Tile
from ..events.sketches import Box, boxes, drawn_as, lines_of, names_of
from .canvas import BLACK, CYCLE, GREY, PALE, canvas, legend

__all__ = ["Cell", "side_by_side"]

Cell = tuple[Tile, str] | None  # an object and the words above it; None for a place that stays empty
PER_INCH, LINES, LINE = 17, 4, 0.115  # letters of text in an inch, its most lines, and their height in inches
MARGIN = 1.0  # inches of the words beside a text
LEAST = 4  # places of a row: a single object is not blown up
COMMAND = re.compile(r"([MLQCZ])([^MLQCZ]*)")
FLAT = {"trajectory": 0.75, "molecule": 0.75, "series": 0.6}  # height of a drawing over its width


def side_by_side(rows: Sequence[Sequence[Cell]], width: float) -> Any:
    """A figure of rows of objects, each with its words above it; a list, column by column, if some are text.

    Arguments:
        rows: of equal length.
        width: of the figure in inches.
    """
    given = [tile for row in rows for tile, _ in filter(None, row)]
    if any(_is_text(tile) for tile in given):
        return _list([cell for column in zip(*rows, strict=True) for cell in column if cell], width)
    drawings = [tile for tile in given if not isinstance(tile, Image.Image)]
    frames, names = boxes(drawings), names_of(drawings)
    across = max(len(rows[0]), LEAST)
    flat = max(map(_flat, given))
    lines = max(words.count("\n") + 1 for row in rows for _, words in filter(None, row))
    scaled = len(frames) == 1 and len(drawings) == len(given) and not frames.keys() & {"molecule"}
    more = 0.2 * scaled + 0.15 * -(-len(names) // 4)
    each = (width - 0.25 * scaled) / across - 0.09
    with canvas(width, len(rows) * (each * flat + LINE * lines + 0.05) + 0.03 + more) as figure:
        grid = figure.add_gridspec(len(rows), across)
        for i, row in enumerate(rows):
            for k, cell in enumerate(row):
                if cell is None:
                    continue
                ax = figure.add_subplot(grid[i, k])
                _tile(ax, cell[0], frames, names)
                ax.set_title(cell[1], loc="center", fontsize=6.5, pad=2)
                if scaled:
                    _ends(ax, next(iter(frames.values())), down=i == len(rows) - 1, left=k == 0)
        if names:
            first = next(ax for ax in figure.axes if ax.get_legend_handles_labels()[1])
            legend(first, 4)
            for words in figure.legends[0].get_texts():
                words.set_parse_math(False)
    return figure


def _is_text(tile: Tile) -> bool:
    """Whether a tile is words; a molecule is its SMILES where nobody can draw it."""
    if isinstance(tile, Image.Image):
        return False
    kind = drawn_as(tile)
    return kind in ("text", "code") or (kind == "molecule" and not any(outline(str(tile.get("smiles", "")))))


def _flat(tile: Tile) -> float:
    return tile.height / tile.width if isinstance(tile, Image.Image) else FLAT[drawn_as(tile)]


def _tile(ax: Any, tile: Tile, frames: dict[str, Box], names: Sequence[str]) -> None:
    """One object in its axes."""
    if isinstance(tile, Image.Image):
        ax.axis("off")
        ax.imshow(tile, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        return
    kind = drawn_as(tile)
    if kind == "molecule":
        ax.axis("off")
        _molecule(ax, str(tile.get("smiles", "")))
        return
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set(visible=True, color=PALE)
    for i, line in enumerate(lines_of(tile)):
        color, dash = CYCLE[i % len(CYCLE)]
        x, y = zip(*line, strict=True)
        ax.plot(x, y, color=color, linestyle=dash, linewidth=0.9, label=clean(names[i], 30) if i < len(names) else "")
        if kind == "trajectory":
            for at, inside in ((0, "white"), (-1, BLACK)):
                ends = {"markerfacecolor": inside, "markeredgecolor": BLACK, "markeredgewidth": 0.7}
                ax.plot(x[at], y[at], "o", markersize=3.2, zorder=3, **ends)
    x0, y0, x1, y1 = frames[kind]
    wide, high = (x1 - x0) or 1.0, (y1 - y0) or 1.0
    if kind == "trajectory":  # one scale for both
        wide, high = max(wide, high / FLAT[kind]), max(high, wide * FLAT[kind])
        ax.set_aspect("equal")
    across, up, wide, high = (x0 + x1) / 2, (y0 + y1) / 2, 0.56 * wide, 0.56 * high
    ax.set(xlim=(across - wide, across + wide), ylim=(up - high, up + high))


def _ends(ax: Any, frame: Box, *, down: bool, left: bool) -> None:
    """The numbers at the ends of the frame that all objects have, at the edges of the figure."""
    x0, y0, x1, y1 = frame
    ax.tick_params(length=1.5, labelsize=5.5, pad=1.5, color=GREY, labelbottom=down, labelleft=left)
    if x1 > x0:
        ax.set_xticks([x0, x1], [brief(x0), brief(x1)])
    if y1 > y0:
        ax.set_yticks([y0, y1], [brief(y0), brief(y1)])


def _molecule(ax: Any, smiles: str) -> None:
    """Bonds as lines and letters as areas, from the path data that the report has too."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    bonds, letters = outline(smiles)
    kinds = {"M": Outline.MOVETO, "L": Outline.LINETO, "Q": Outline.CURVE3, "C": Outline.CURVE4}
    for data, look in ((bonds, {"fill": False, "linewidth": 0.8}), (letters, {"linewidth": 0, "facecolor": BLACK})):
        points: list[tuple[float, float]] = []
        codes: list[Any] = []
        for command, told in COMMAND.findall(data):
            values = [float(v) for v in re.findall(r"-?\d+(?:\.\d+)?", told)]
            pairs = list(zip(values[::2], values[1::2], strict=False)) if command != "Z" else points[-1:]
            points += pairs
            codes += [kinds[command] if command != "Z" else Outline.CLOSEPOLY] * len(pairs)
        if points:
            ax.add_patch(PathPatch(Outline(points, codes), edgecolor=BLACK, **look))
    ax.set(xlim=(0, 200), ylim=(150, 0), aspect="equal")


def _list(cells: Sequence[tuple[Tile, str]], width: float) -> Any:
    """Texts below each other, each with its words at the left; a long one is cut."""
    letters = max(int(PER_INCH * (width - MARGIN)), 10)
    told = []
    for tile, words in cells:
        text = "" if isinstance(tile, Image.Image) else str(tile.get("words", tile.get("smiles", "")))
        lines = [part for line in clean(text, lines=True).split("\n") for part in textwrap.wrap(line, letters) or [""]]
        short = lines[:LINES] if len(lines) <= LINES else [*lines[: LINES - 1], f"{lines[LINES - 1][: letters - 1]}…"]
        family = "sans-serif" if not isinstance(tile, Image.Image) and drawn_as(tile) == "text" else "monospace"
        told.append((words, short, family))
    sizes = [max(len(short), words.count("\n") + 1) + 1 for words, short, _ in told]
    with canvas(width, LINE * sum(sizes) + 0.05) as figure:
        ax = figure.add_subplot()
        ax.axis("off")
        ax.set(xlim=(0, width), ylim=(sum(sizes), 0))
        at = 0.0
        for (words, short, family), size in zip(told, sizes, strict=True):
            ax.axhline(at, color=PALE, linewidth=0.6)
            ax.text(0, at + 0.5, words, va="top", fontsize=6.5, color=GREY)
            text = "\n".join(short)
            ax.text(MARGIN, at + 0.5, text, va="top", fontsize=6.5, family=family, parse_math=False)
            at += size
    return figure
