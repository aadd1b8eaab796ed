"""Populations that take no memory: rows that are drawn again when they are asked for, and sums over them in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

__all__ = ["CHUNK", "Rows", "chunks", "moments", "total"]

CHUNK = 4096  # rows that are looked at together


@dataclass(frozen=True, eq=False)
class Rows:
    """A tensor `(n, d)` whose rows are drawn when they are asked for, so that it takes no memory.

    Arguments:
        draw: row numbers `(k,)` to the rows `(k, d)`.
        n: how many there are.
    """

    draw: Callable[[Tensor], Tensor]
    n: int

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, rows: Any) -> Tensor:
        return self.draw(torch.arange(*rows.indices(self.n)) if isinstance(rows, slice) else rows)


def chunks(n: int) -> Iterator[slice]:
    """0 to n - 1 in parts."""
    return (slice(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK))


def total(parts: Iterable[Tensor]) -> Tensor:
    """Their sum; a single part keeps its bits."""
    return reduce(torch.add, parts)


def moments(z: Tensor | Rows, k: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each coordinate of the first k rows, by the rule of Chan for two parts."""
    mean = std = torch.zeros(0)
    for rows in chunks(min(k, len(z))):
        part = z[rows]
        if not rows.start:
            mean, std = part.mean(0), part.std(0, correction=0)
            continue
        w, gap = len(part) / rows.stop, part.mean(0) - mean
        std = ((1 - w) * std.square() + w * part.var(0, correction=0) + w * (1 - w) * gap.square()).sqrt()
        mean = mean + w * gap
    return mean, std
