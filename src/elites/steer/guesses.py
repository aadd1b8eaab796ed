r"""What a particle on the way is worth: the reward of its clean guess, or of several objects that it may become.

The optimal potential is the soft value, temperature log E[exp(reward(x0) / temperature) | x_t]. The reward of the
mean E[x0 | x_t] is one call of the network that is needed anyway; the mean over draws is nearer where the reward is
curved or the mean is no object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..stream import Purpose, Stream
from ..target import Target
from ..templates import FIRST, chance, fresh
from ..types import InputError
from .particles import ParticleState

__all__ = ["CleanGuess", "Draws", "Guess"]


class Guess(Protocol):
    """An estimate of the value of particles."""

    def calls(self) -> int:
        """Further calls of `denoise` for each particle, at most."""

    def scores(self) -> int:
        """Objects scored for each particle."""

    def __call__(self, target: Target, state: ParticleState, x0: Tensor, temperature: float, stream: Stream) -> Tensor:
        """Values `(n,)` float32, in units of the reward, of particles with clean guesses x0; -inf for failures."""


@dataclass(frozen=True)
class CleanGuess:
    """The reward of E[x0 | x_t]."""

    def calls(self) -> int:
        return 0

    def scores(self) -> int:
        return 1

    def __call__(self, target: Target, state: ParticleState, x0: Tensor, temperature: float, stream: Stream) -> Tensor:
        return target.score(x0, stream, range(len(x0)))


@dataclass(frozen=True)
class Draws:
    """temperature log mean exp(reward / temperature) of k objects, each walked on from x_t in a few large steps.

    Arguments:
        k: objects of each particle.
        steps: of each walk, at least two: the last jump to the clean guess is the same for all.

    Raises:
        InputError: if a number is out of range.
    """

    k: int = 4
    steps: int = 2

    def __post_init__(self) -> None:
        if self.k < 1 or self.steps < 2:
            raise InputError(f"{self}: give at least one draw of at least two steps.")

    def calls(self) -> int:
        return self.k * (self.steps - 1)

    def scores(self) -> int:
        return self.k

    def __call__(self, target: Target, state: ParticleState, x0: Tensor, temperature: float, stream: Stream) -> Tensor:
        ids, last = range(len(x0)), len(state.times) - 1
        stops = torch.linspace(state.i, last, self.steps + 1).round().long().unique().tolist()
        values = []
        for j in range(self.k):
            x, guess, i = state.x, x0, state.i
            for leg, stop in enumerate(stops[1:-1]):
                draws = stream.at(purpose=Purpose.METHOD, step=FIRST + 1 + state.i, draw=2 * (self.steps * j + leg))
                x = target.prior.move(x, guess, state.times[i], state.times[stop], fresh(target, draws, ids, x))
                again = draws.at(draw=draws.draw + 1)
                guess = target.denoise(x, state.times[stop], chance(target, again, ids, x))
                i = stop
            values.append(target.score(guess, stream, ids).double() / temperature)
        mean = torch.stack(values).logsumexp(0) - math.log(self.k)
        return (temperature * mean).float()
