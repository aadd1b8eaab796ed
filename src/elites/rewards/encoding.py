"""Objects as they travel to rewards that live elsewhere, and the numbers that come back.

An image is a PNG. Any other array is its shape, its type and its bytes. Text, and all that JSON can hold, is itself.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..answers import Scored
from ..types import InputError

__all__ = ["parsed", "scored", "shorten", "shown", "to_array", "to_json", "to_parts", "to_png"]

MARKS = ({"png"}, {"shape", "dtype", "data"})  # keys that say how something was encoded
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)  # texts, ended or not, and brackets
DEEPEST = 50
ROUNDING = 1e-3  # how far outside [0, 1] an image may be: less than a grey level


def to_png(image: Any) -> bytes:
    """An image as PNG: 8 bits, x -> round(255 x).

    Arguments:
        image: `(C, H, W)` with 1, 3 or 4 channels, or `(H, W)`, float in [0, 1], torch or NumPy; or one of Pillow.

    Raises:
        InputError: if it is no such image.
    """
    from PIL import Image

    if not isinstance(image, Image.Image):
        x = _numpy(image) if isinstance(image, Tensor | np.ndarray) else np.empty(0)
        x = x[None] if x.ndim == 2 else x
        if x.dtype.kind != "f" or x.ndim != 3 or x.shape[0] not in (1, 3, 4) or 0 in x.shape:
            what = f"{x.dtype} {x.shape}" if x.size else type(image).__name__
            raise InputError(f"An image is float (C, H, W) of 1, 3 or 4 channels, or (H, W), and this is {what}.")
        if not (x.min() >= -ROUNDING and x.max() <= 1 + ROUNDING):  # false for NaN, too
            raise InputError(f"An image is in [0, 1] and this is in [{x.min():g}, {x.max():g}]: clamp or scale it.")
        grey = (255 * x.clip(0, 1)).round().astype(np.uint8).transpose(1, 2, 0)
        image = Image.fromarray(np.ascontiguousarray(grey[..., 0] if grey.shape[2] == 1 else grey))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def to_array(array: Any) -> dict[str, Any]:
    """An array without loss: `{"shape": [...], "dtype": "float32", "data": base64}`, C order and little-endian."""
    x = _numpy(array)
    if x.dtype.kind not in "biuf":
        raise InputError(f"An array of {x.dtype} does not travel: make it one of real numbers.")
    little = np.ascontiguousarray(x.astype(x.dtype.newbyteorder("<"), copy=False))
    return {"shape": list(x.shape), "dtype": x.dtype.name, "data": base64.b64encode(little.tobytes()).decode()}


def to_json(obj: Any) -> Any:
    """What JSON can hold: float `(C, H, W)` of 1, 3 or 4 channels is an image, `{"png": base64}`; see `to_array`.

    Lists and dictionaries may hold objects. Something that is no image but has the shape of one needs `to_array`.

    Raises:
        InputError: if it does not fit into JSON, or is an image outside [0, 1].
    """
    if isinstance(obj, Tensor | np.ndarray):
        floating = obj.is_floating_point() if isinstance(obj, Tensor) else obj.dtype.kind == "f"
        if not (floating and obj.ndim == 3 and obj.shape[0] in (1, 3, 4)):
            return to_array(obj)
        return {"png": base64.b64encode(to_png(obj)).decode()}
    if isinstance(obj, list | tuple):
        return [to_json(o) for o in obj]
    if isinstance(obj, dict):
        if set(obj) in MARKS or not all(isinstance(k, str) for k in obj):
            raise InputError(f"A dictionary with the keys {list(obj)} does not travel: rename them.")
        return {k: to_json(v) for k, v in obj.items()}
    if isinstance(obj, np.generic):
        obj = obj.item()
    if isinstance(obj, float) and not math.isfinite(obj):
        raise InputError(f"{obj} does not fit into JSON: send a finite number.")
    if obj is None or isinstance(obj, str | int | float):
        return obj
    if hasattr(obj, "save") and hasattr(obj, "getbands"):  # an image of Pillow
        return {"png": base64.b64encode(to_png(obj)).decode()}
    raise InputError(
        f"Type {type(obj).__name__} does not fit into JSON: give `encode`, which makes it something that does."
    )


def to_parts(obj: Any) -> list[str | bytes]:
    """What a judge sees: text as text, an image as PNG, a list of these as several parts, the rest as JSON."""
    if isinstance(obj, str):
        return [obj]
    if isinstance(obj, Tensor | np.ndarray) or hasattr(obj, "getbands"):
        return [to_png(obj)]
    if isinstance(obj, list | tuple) and obj and all(isinstance(o, str | Tensor | np.ndarray) for o in obj):
        return [part for o in obj for part in to_parts(o)]
    return [json.dumps(to_json(obj), ensure_ascii=False)]


def parsed(text: str, pairs: Callable[..., Any] | None = None, constant: Callable[..., Any] | None = None) -> Any:
    """JSON that is not nested deeper than `DEEPEST`; `pairs` and `constant` are hooks as of `json.loads`.

    A parser that runs into the limit of recursion leaves finalizers of other things undone.

    Raises:
        ValueError: if it is anything else.
    """
    depth = 0
    for token in TOKENS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
    return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)


def scored(answer: Any, terms: Any = None) -> Any:
    """A number that came back, with its terms, or `{"error": reason}`, as the answer about one object.

    Terms that are null are left out. Booleans, text and what is not finite are failures.
    """
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        return RuntimeError(shorten(answer["error"]) or "it gave no reason")
    if not isinstance(terms, dict | None):
        return ValueError(f"the terms are no dictionary: {shorten(json.dumps(terms))}")
    try:
        value = _finite(answer, "score")
        named = {name: _finite(v, f"term {name!r}") for name, v in (terms or {}).items() if v is not None}
    except ValueError as error:
        return error
    return Scored(value, named) if named else value


def _finite(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"the {what} is no number: {shorten(json.dumps(value))}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"the {what} is not finite")
    return number


def shorten(text: str, length: int = 200) -> str:
    """On one line, without control characters, and at most about so long."""
    text = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text[: 4 * length]).strip()
    return text if len(text) <= length else text[:length] + "..."


def shown(thing: Any) -> str:
    """The repr of a dataclass that is the same in every process: functions by their names, nothing by its address."""
    named = [f"{f.name}={_name(getattr(thing, f.name))}" for f in fields(thing) if f.repr]
    return f"{type(thing).__name__}({', '.join(named)})"


def _name(value: Any) -> str:
    if isinstance(value, Callable) and hasattr(value, "__qualname__"):  # type: ignore[arg-type]
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _numpy(array: Any) -> np.ndarray:
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = array.float() if array.dtype == torch.bfloat16 else array
        return array.numpy()
    return np.asarray(array)
