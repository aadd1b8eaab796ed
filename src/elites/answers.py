"""What a reward may answer with, besides one number for each object of a batch.

A reward is any callable on a batch. Two more things are understood wherever a reward is:

- `Scored`: numbers with named parts, such as the terms of a sum or a standard error. The parts are logged and never
  ranked.
- `Streaming`: a reward that answers object by object, as answers come. A run writes each answer down when it comes,
  so a kill loses only what is in flight; and the network works on while such a reward does.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

__all__ = ["NoScore", "Scored", "Streaming", "digest", "gather", "name_of", "readings"]


class NoScore(Exception):
    """The answer about an object that has no score; its text is the whole reason."""


@dataclass(frozen=True)
class Scored:
    """Rewards and their named parts.

    Attributes:
        values: what a reward returns: one number for each object, an exception in the place of one that failed; or one
            number, as the answer about one object.
        terms: name to numbers of the same form.
    """

    values: Any
    terms: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Streaming(Protocol):
    """A reward that answers object by object; `each` may be called from several threads at a time."""

    @property
    def width(self) -> int:
        """Objects that it works on at a time, away from the thread that asks; 0 if it works in that thread."""

    def __call__(self, objects: Any) -> Any:
        """The answers in order, as of any reward."""

    def each(self, objects: Any) -> Iterator[tuple[int, Any]]:
        """(Position, answer) as answers come: a number, a `Scored` number, or an exception for what failed."""


def gather(answers: Iterator[tuple[int, Any]], n: int) -> list[Any]:
    """The answers about n objects in order; an exception where there is none."""
    out: list[Any] = [ValueError("it gave no answer")] * n
    for i, answer in answers:
        out[i] = answer
    return out


def digest(obj: Any) -> bytes | None:
    """16 bytes that tell an object by its contents: an array, text, or what JSON can hold; `None` for others."""
    if isinstance(obj, Tensor):
        obj = obj.detach().cpu()
        try:
            obj = obj.numpy()
        except TypeError:  # a type that NumPy lacks
            obj = obj.float().numpy()
    if isinstance(obj, np.ndarray | np.generic) and obj.dtype.kind in "biufc":
        head, body = f"{obj.dtype.str}{obj.shape}", np.ascontiguousarray(obj).tobytes()
    else:
        try:
            head, body = "json", json.dumps(obj, sort_keys=True).encode()
        except (TypeError, ValueError):
            return None
    return hashlib.sha256(head.encode() + b"\0" + body).digest()[:16]


def readings(out: Any, n: int) -> tuple[Tensor, dict[int, str], dict[str, list[float]]]:
    """What a reward returned for n objects.

    Returns float32 `(n,)` on the CPU, gradients kept; the reason of each row that is no finite number; named parts."""
    if isinstance(out, Scored):
        values, reasons, parts = readings(out.values, n)
        for name, part in out.terms.items():
            numbers, wrong, _ = _readings(part, n)
            parts[name] = [math.nan if i in wrong else v for i, v in enumerate(numbers.tolist())]
        return values, reasons, parts
    values, reasons, parts = _readings(out, n)
    for i in (~torch.isfinite(values.detach())).nonzero().flatten().tolist():
        reasons.setdefault(i, "it is NaN" if values[i].isnan() else "it is infinite")
    return values, reasons, parts


def _readings(out: Any, n: int) -> tuple[Tensor, dict[int, str], dict[str, list[float]]]:
    """The same of what is not `Scored` as a whole; numbers may be infinite or NaN."""
    reasons: dict[int, str] = {}
    parts: dict[str, list[float]] = {}
    if isinstance(out, list | tuple):
        if len(out) != n:
            return _zeros(n), dict.fromkeys(range(n), f"it returned {len(out)} numbers for {n} objects"), parts
        if any(isinstance(v, Scored) for v in out):
            names = {name: None for v in out if isinstance(v, Scored) for name in v.terms}
            nan = math.nan
            parts = {k: [_part(v.terms.get(k)) if isinstance(v, Scored) else nan for v in out] for k in names}
            out = [v.values if isinstance(v, Scored) else v for v in out]
        if any(not isinstance(v, int | float) for v in out):
            values = [_number(v, i, reasons) for i, v in enumerate(out)]
            if any(v.requires_grad for v in values):
                return torch.stack(values), reasons, parts
            out = torch.stack([v.detach() for v in values])
        else:
            out = torch.tensor(out, dtype=torch.float64, device="cpu")
    elif not isinstance(out, Tensor):
        array = np.asarray(out)
        if array.dtype.kind not in "biuf":
            what = "nothing" if out is None else f"{type(out).__name__} of {array.dtype}"
            return _zeros(n), dict.fromkeys(range(n), f"it returned {what}, not {n} real numbers"), parts
        out = torch.from_numpy(np.array(array, np.float64))  # a copy: torch takes no reversed views
    if out.is_complex():
        return _zeros(n), dict.fromkeys(range(n), "it returned complex numbers"), parts
    if out.shape not in ((n,), (n, 1)) and not (n == 1 and out.ndim == 0):
        return _zeros(n), dict.fromkeys(range(n), f"it returned shape {tuple(out.shape)} for {n} objects"), parts
    return out.reshape(n).float().cpu(), reasons, parts


def _number(value: Any, row: int, reasons: dict[int, str]) -> Tensor:
    """A 0-dim float32 tensor; if the value is no number, zero and a reason."""
    if isinstance(value, BaseException):
        reasons[row] = str(value) if isinstance(value, NoScore) else f"{type(value).__name__}: {value}".strip(": ")
    elif isinstance(value, Tensor) or (
        isinstance(value, np.ndarray | np.generic | int | float) and np.asarray(value).dtype.kind in "biuf"
    ):
        tensor = torch.as_tensor(value)
        if tensor.numel() == 1 and not tensor.is_complex():
            return tensor.reshape(()).float().cpu()
        reasons[row] = f"it returned shape {tuple(tensor.shape)} of {tensor.dtype} for one object"
    else:
        reasons[row] = "it returned nothing" if value is None else f"it returned a {type(value).__name__}, no number"
    return torch.tensor(0.0, dtype=torch.float32, device="cpu")


def _zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.float32, device="cpu")


def _part(value: Any) -> float:
    """A named part as a number, NaN if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def name_of(f: object) -> str:
    """The name of a function, or the repr of what has none."""
    return getattr(f, "__qualname__", None) or repr(f)
