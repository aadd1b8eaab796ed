"""Keyed randomness: every number is a pure function of what it is for.

A draw is named by (run seed, purpose, step, candidate, draw) and comes from a Philox generator seeded by
`SeedSequence(seed, spawn_key=(purpose, step, candidate, draw))`, one per candidate, on the CPU. There is no
generator state to save, and population size, micro-batches, workers, devices, order and resume never change which
numbers are drawn: one candidate can be drawn again, alone, from its key.

(torch's own CPU generator uses the low 32 bits of a seed only, and `randn(8)` is not the start of `randn(16)`.)

References:
    Parallel random numbers: as easy as 1, 2, 3 (Salmon, Moraes, Dror and Shaw, 2011), SC11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from .types import InputError

__all__ = ["INNER", "Id", "Purpose", "Stream"]

Id = int | tuple[int, int]  # a candidate of the stream's step, or (step, candidate) of any step


class Purpose(IntEnum):
    """What random numbers are for; each purpose has streams of its own."""

    NOISE = 0  # the noise of candidates
    WALK = 1  # noise injected along a walk
    METHOD = 2  # a method's own decisions
    DATA = 3  # exact samples of a known law
    TRAIN = 4  # rows and noise of a network's updates
    CHECK = 5  # measurements of a tuned network


INNER = 1000  # added to the purpose in the key of an evaluation that a walk asks for on its way


@dataclass(frozen=True)
class Stream:
    """Random numbers keyed by (seed, purpose, step, candidate, draw).

    Arguments:
        seed: of the run, a non-negative integer of any size.
        purpose, step, draw: the rest of the key, but for the candidates, who are given at the draw.

    Raises:
        InputError: if the seed is negative or no integer.
    """

    seed: int
    purpose: int = Purpose.NOISE
    step: int = 0
    draw: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.seed, np.integer):
            object.__setattr__(self, "seed", int(self.seed))
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"The seed is {self.seed!r}: give a non-negative integer.")

    def at(self, *, purpose: int | None = None, step: int | None = None, draw: int | None = None) -> Stream:
        """The same stream with a part of the key changed."""
        keys = {"purpose": purpose, "step": step, "draw": draw}
        return replace(self, **{name: value for name, value in keys.items() if value is not None})

    def normal(self, ids: Sequence[Id], shape: Sequence[int]) -> Tensor:
        """Standard normal float32 `(len(ids), *shape)`, on the CPU."""
        out = np.empty((len(ids), *shape), dtype=np.float32)
        for row, candidate in enumerate(ids):
            out[row] = self._generator(candidate).standard_normal(out.shape[1:], dtype=np.float32)
        return torch.from_numpy(out)

    def uniform(self, ids: Sequence[Id], shape: Sequence[int] = ()) -> Tensor:
        """Uniform float32 in [0, 1) `(len(ids), *shape)`, on the CPU."""
        out = np.empty((len(ids), *shape), dtype=np.float32)
        for row, candidate in enumerate(ids):
            out[row] = self._generator(candidate).random(out.shape[1:], dtype=np.float32)
        return torch.from_numpy(out)

    def key(self, candidate: Id) -> tuple[int, int]:
        """(step, candidate)."""
        return candidate if isinstance(candidate, tuple) else (self.step, int(candidate))

    def _generator(self, candidate: Id) -> np.random.Generator:
        key = (int(self.purpose), *self.key(candidate), self.draw)
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=key)))
