"""The objects of one run: the best through the steps, and those that were the best of their time."""

from __future__ import annotations

from typing import Any

from ..events.axes import evenly, shown
from ..events.gallery import shelf
from ..events.lineage import Ancestor, ancestors, chosen
from ..events.record import Record
from ..events.sheets import read_sheet
from ..types import InputError
from .canvas import COLUMN, Run, opened
from .tiles import Cell, side_by_side

__all__ = ["lineage", "objects"]

ACROSS = 8  # most objects of a row of the lineage


def objects(run: Run, width: float = 2 * COLUMN, rows: int = 1, most: int = 8) -> Any:
    """The best objects through the steps, the best of each on top, with step and reward.

    Objects look as in the report: pictures, paths in the plane, time series, molecules. Texts are a list.

    Arguments:
        run: a folder or a `Record`; a `Result` has no drawings of its steps.
        width: of the figure in inches.
        rows: objects of each step.
        most: steps, evenly among those that were drawn.

    Raises:
        InputError: if no step was drawn, or fewer than one row or step is asked for.
    """
    if rows < 1 or most < 1:
        raise InputError(f"rows={rows}, most={most}: give at least one of each.")
    record = _of_a_folder(run)
    found = [(step, read_sheet(file)) for step, file in evenly(list(shelf(record.path / "steps").items()), most)]
    sheets = [(step, sheet) for step, sheet in found if sheet is not None]
    if not sheets:
        raise InputError(f"No step in {record.path} was drawn: give a folder that el.Checkpoint has written.")
    rows = min(rows, max(len(sheet.tiles) for _, sheet in sheets))
    cells: list[list[Cell]] = [
        [
            (sheet.tiles[i], _words(step if i == 0 else None, *sheet.rewards[i : i + 1]))
            if i < len(sheet.tiles)
            else None
            for step, sheet in sheets
        ]
        for i in range(rows)
    ]
    return side_by_side(cells, width)


def lineage(run: Run, width: float = 2 * COLUMN, most: int = 8) -> Any:
    """The objects at which the best so far changed, with step and reward, as far as the folder has drawings of them.

    Methods keep no parents: an object is better than the one before it, not its child.

    Arguments:
        run: a folder or a `Record`; a `Result` has no drawings of its steps.
        width: of the figure in inches.
        most: objects: the first, the last, and others evenly between them.

    Raises:
        InputError: if none of them was drawn, or fewer than two are asked for.
    """
    if most < 2:
        raise InputError(f"most={most}: give at least two, for the first and the last.")
    record = _of_a_folder(run)
    every = [a for a in ancestors(record) if a.tile is not None]
    if not every:
        raise InputError(
            f"No best of its time in {record.path} was drawn: give a folder that el.Checkpoint has written."
        )
    cells: list[Cell] = [_cell(a) for a in chosen(every, most)]
    count = -(-len(cells) // ACROSS)
    across = -(-len(cells) // count)
    cells += [None] * (count * across - len(cells))
    return side_by_side([cells[i * across : (i + 1) * across] for i in range(count)], width)


def _of_a_folder(run: Run) -> Record:
    """The record of a folder, which alone has drawings."""
    record = opened(run)
    if record.path.name == "":
        raise InputError("There are no drawings of steps in a Result: give the folder of the run.")
    return record


def _cell(a: Ancestor) -> Cell:
    assert a.tile is not None
    return a.tile, f"full steps\n{shown(a.reward)}" if a.final else _words(a.step, a.reward)


def _words(step: int | None, *rewards: float) -> str:
    """What stands above an object."""
    head = [] if step is None else ["prior" if step == 0 else f"step {step:,}"]
    return "\n".join([*head, *map(shown, rewards)])
