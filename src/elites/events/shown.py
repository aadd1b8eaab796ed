"""Which objects of a run are looked at, and those objects."""

from __future__ import annotations

import math
from typing import Any

from ..target import Target
from ..types import Samples

__all__ = ["SHOWN", "decoded", "due", "tenth"]

SHOWN = 8  # objects of a step


def tenth(step: int) -> int:
    """Where a step from 1 on lies, in tenths of a decade."""
    return math.floor(10 * math.log10(step))


def due(step: int) -> bool:
    """Whether a step is looked at: a tenth of a decade apart, so that a long run keeps a readable number of them."""
    return step < 2 or tenth(step) > tenth(step - 1)


def decoded(target: Target, samples: Samples) -> list[Any]:
    """The objects of samples, a decoder batch at a time."""
    size = target.decode_batch
    return [obj for i in range(0, len(samples), size) for obj in target.decode(samples.x[i : i + size])]
