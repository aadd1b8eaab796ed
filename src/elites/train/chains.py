r"""Memoryless chains, on which the distance of a tuned model from its base is measured, and controls are learned.

With the kernel of `DDIM(1.0)`, x_s = m(x_t) + c z and m(x) = a x + b x0(x), two networks on one schedule differ by a
control u = b (x0 - x0') / c, and their path measures by

    KL = sum_t 1/2 E |u(x_t)|^2
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from ..kernel import DDIM
from ..levels import gaussian
from ..stream import Stream
from ..target import Target
from ..types import InputError

__all__ = ["Link", "chain"]


@dataclass(frozen=True, eq=False)
class Link:
    """A transition: x at t, the clean guess there, the coefficients of the kernel, and where it leads."""

    t: Tensor
    x: Tensor
    x0: Tensor
    a: float
    b: float
    c: float
    after: Tensor


def chain(target: Target, steps: int, stream: Stream, ids: Sequence[int]) -> Iterator[Link]:
    """The transitions of chains of the candidates `ids`, two at least, from noise to clean; c is 0 at the last."""
    prior = gaussian(target.prior, "give a Gaussian prior")
    times = prior.grid(steps)
    if len(times) < 3:
        raise InputError(f"A chain of {len(times) - 1} step draws no noise on its way: give at least two steps.")
    x = prior.start(stream.normal(ids, prior.shape))
    for i, (t, s) in enumerate(pairwise(times)):
        a, b, c = (float(v) for v in DDIM(1.0)(prior.schedule, t, s))
        x0 = target.denoise(x, t)
        after = a * x + b * x0
        if c > 0:
            after = after + c * stream.at(draw=stream.draw + 1 + i).normal(ids, prior.shape).to(x)
        yield Link(t, x, x0, a, b, c, after)
        x = after
