"""What an object looks like: a picture, a path, time series, a molecule or text.

A rule tells by the type and the shape of an object, and a user who knows better gives `Checkpoint(draw=...)`: a
function of one object. A class of this module will do (`draw=Molecule`), or a lambda that picks a part, which the rule
then draws (`draw=lambda plan: plan[:, 1:3]`).

What is kept of an object is its drawing, thinned and cut, so that a folder stays small whatever the objects are.
"""

from __future__ import annotations

import base64
import reprlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..types import InputError
from .axes import shown, thinned
from .pictures import picture, png

__all__ = ["Draw", "Drawing", "Molecule", "Series", "Text", "Trajectory", "drawing", "drawn", "packed"]

POINTS = 200  # most points of a path
LINES = 8  # most paths, and most time series, of an object
LETTERS = 4_000  # most of a text
LONG = 16  # numbers from which a vector is a time series
BRIEF = 200  # letters of the repr of anything else


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A path in the plane.

    Arguments:
        points: `(T, 2)`, or K paths `(K, T, 2)`; coordinates past the second are left out.

    Raises:
        InputError: if the points are none.
    """

    points: Any

    def __post_init__(self) -> None:
        array = _numbers(self.points)
        if array is None or array.ndim not in (2, 3) or array.shape[-1] < 2 or not array.size:
            raise InputError(f"A trajectory has points (T, 2) or (K, T, 2), not {_shape(self.points)}.")
        object.__setattr__(self, "points", array.reshape(-1, *array.shape[-2:])[..., :2])


@dataclass(frozen=True, eq=False)
class Series:
    """Time series over a common time.

    Arguments:
        values: `(T,)`, or `(T, C)` for C of them.
        names: of the C series.

    Raises:
        InputError: if the values are no series, or there are not as many names.
    """

    values: Any
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        array = _numbers(self.values)
        if array is None or array.ndim not in (1, 2) or not array.size:
            raise InputError(f"A series has values (T,) or (T, C), not {_shape(self.values)}.")
        array = array.reshape(len(array), -1)
        if self.names and len(self.names) != array.shape[1]:
            raise InputError(f"There are {len(self.names)} names for {array.shape[1]} series: give one each.")
        object.__setattr__(self, "values", array)


@dataclass(frozen=True)
class Molecule:
    """The structure of a molecule, drawn by RDKit where there is one, and its SMILES.

    Arguments:
        smiles: of the molecule.
    """

    smiles: str


@dataclass(frozen=True)
class Text:
    """Words, in any script.

    Arguments:
        words: to show; lines stay lines.
        code: whether every letter counts, as in a program.
    """

    words: str
    code: bool = False


Drawing = Image.Image | Trajectory | Series | Molecule | Text
Draw = Callable[[Any], Any]


def drawing(thing: Any) -> Drawing:
    """How an object looks, by its type and its shape; the first of these that fits.

    - an array `(T, 2)`, or `(K, T, 2)` with K up to 8: paths in the plane;
    - a PIL image, an array `(C, H, W)` or `(H, W, C)` with C 1 or 3, floats in [0, 1] or uint8: a picture;
    - such arrays in a row, `(F, C, H, W)`: some frames of a video side by side;
    - an array `(T, C)` with C up to 8 and below T, or a vector of at least 16: time series;
    - another array `(H, W)`: a picture of its numbers, the least black and the greatest white;
    - a molecule of RDKit: its structure;
    - a string: text, also where it is a SMILES string, which only `Molecule` draws;
    - anything else: the beginning of what `repr` says.
    """
    if isinstance(thing, Trajectory | Series | Molecule | Text):
        return thing
    if isinstance(thing, str):
        return Text(thing)
    array = _numbers(thing) if isinstance(thing, Tensor | np.ndarray) else None
    if array is not None and _path(array.shape):
        return Trajectory(array)
    image = picture(thing)
    if image is not None:
        return image
    if type(thing).__module__.startswith("rdkit."):
        from rdkit.Chem import MolToSmiles

        return Molecule(MolToSmiles(thing))
    return Text(_repr(thing), code=True) if array is None else _of_numbers(array)


def drawn(objects: Sequence[Any], draw: Draw | None = None) -> list[Drawing]:
    """The drawings of objects; one that cannot be drawn is the reason why, and never ends a run.

    Arguments:
        objects: a batch.
        draw: what to show of one object: a drawing, or what the rule of `drawing` can draw.
    """
    return [_safely(thing, draw or drawing) for thing in objects]


def packed(it: Drawing) -> dict[str, Any]:
    """A drawing as JSON has it, small enough to be kept."""
    if isinstance(it, Image.Image):
        return {"kind": "image", "png": base64.b64encode(png(it, most=160)).decode()}
    if isinstance(it, Molecule):
        return {"kind": "molecule", "smiles": it.smiles[:LETTERS]}
    if isinstance(it, Text):
        return {"kind": "code" if it.code else "text", "words": it.words[:LETTERS], "letters": len(it.words)}
    if isinstance(it, Series):
        lines = [_line(column) for column in it.values.T[:LINES]]
        return {"kind": "series", "steps": len(it.values), "names": [str(n)[:80] for n in it.names], "lines": lines}
    some = np.unique(np.linspace(0, it.points.shape[1] - 1, POINTS).round().astype(int))
    lines = [[_rounded(path[some, 0]), _rounded(path[some, 1])] for path in it.points[:LINES]]
    return {"kind": "trajectory", "steps": it.points.shape[1], "lines": lines}


def _safely(thing: Any, draw: Draw) -> Drawing:
    try:
        return drawing(draw(thing))
    except Exception as error:  # a user's code may raise anything
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"An object is not drawn ({reason}).", stacklevel=5)
        return Text(f"not drawn: {reason}"[:BRIEF], code=True)


def _path(shape: tuple[int, ...]) -> bool:
    """Whether arrays of this shape are paths in the plane."""
    return len(shape) in (2, 3) and shape[-1] == 2 and shape[-2] > 1 and (len(shape) == 2 or 0 < shape[0] <= LINES)


def _of_numbers(array: np.ndarray) -> Drawing:
    """The drawing of an array that is no path and no picture."""
    shape, count = array.shape, array.ndim
    if (count == 2 and shape[1] <= LINES and shape[1] < shape[0]) or (count == 1 and shape[0] >= LONG):
        return Series(array)
    if count == 2 and min(shape) > 1:
        good = array[np.isfinite(array)]
        low, high = (good.min(), good.max()) if good.size else (0.0, 1.0)
        image = picture(np.nan_to_num((array - low) / ((high - low) or 1.0))[None])
        assert image is not None
        return image
    few = ", ".join(shown(v) for v in array.ravel()[:LONG].tolist())
    if count == 0:
        return Text(few, code=True)
    if count == 1 and array.size < LONG:
        return Text(f"({few})", code=True)
    return Text(f"an array of shape {shape}: {few}{', …' if array.size > LONG else ''}", code=True)


def _numbers(thing: Any) -> np.ndarray | None:
    """Real numbers as float64; `None` for what is none."""
    try:
        array = thing.detach().cpu().double().numpy() if isinstance(thing, Tensor) else np.asarray(thing)
        return None if array.dtype.kind not in "fiub" else array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):
        return None


def _shape(thing: Any) -> str:
    shape = getattr(thing, "shape", None)
    return type(thing).__name__ if shape is None else f"an array of shape {tuple(shape)}"


def _line(column: np.ndarray) -> list[list[float | None]]:
    """Times and values of a series that keep its peaks and its troughs."""
    values = column.tolist()
    some = thinned(values, POINTS)
    return [[float(i) for i in some], _rounded(column[some])]


def _rounded(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in values.tolist()]


def _repr(thing: Any) -> str:
    short = reprlib.Repr()
    short.maxstring = short.maxother = BRIEF
    return short.repr(thing)[:BRIEF]
