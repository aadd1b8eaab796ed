"""Feynman-Kac steering: particles resampled by the rewards of their clean guesses, without gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..resample import Resample
from ..stream import Stream
from ..target import Target
from .guesses import CleanGuess, Guess
from .particles import Particles, ParticleState, Seen
from .potentials import Difference, Potential

__all__ = ["FeynmanKac"]


@dataclass(frozen=True)
class FeynmanKac(Particles):
    """Feynman-Kac steering.

    Samples of prior x exp(reward / temperature) by n interacting particles; no gradient, and any prior whose walk has
    noise, discrete ones too. The weighted particles, their ancestry, the effective sample sizes and the normaliser
    with its standard error are in `result.state`.

    Arguments:
        n, steps, temperature, resample, transition: as of `Particles`; by default it resamples after a fifth of the
            walk, since guesses from pure noise say little.
        potential: `Difference()`, `Max()` or `Sum()`.
        guess: what a particle is worth on the way: the reward of its clean guess, `CleanGuess()`, or the log mean
            exp of those of several draws, `Draws(k)`.

    References:
        A General Framework for Inference-time Scaling and Steering of Diffusion Models (Singhal, Horvitz, Teehan, Ren,
        Yu, McKeown and Ranganath, 2025), arXiv:2501.06848.

    Differences:
        Weights that were not used for a resampling are kept, where the published code drops them, which is a bias;
        systematic resampling instead of multinomial; the paper's default is four particles at a temperature of 0.1,
        resampled every fifth step.
    """

    resample: Resample = Resample(window=(0.2, 1.0))  # noqa: RUF009 (frozen)
    potential: Potential = Difference()  # noqa: RUF009 (frozen)
    guess: Guess = CleanGuess()  # noqa: RUF009 (frozen)

    def begin(self) -> dict[str, Tensor]:
        return {"memory": torch.full((self.n,), self.potential.start, dtype=torch.float64)}

    def weigh(self, state: ParticleState, reward: Tensor) -> tuple[Tensor, float, dict[str, Tensor]]:
        phi, memory = self.potential(reward, state.aux["memory"], state.potential)
        return phi, 1.0, {"memory": memory}

    def look(self, target: Target, state: ParticleState, asked: bool, stream: Stream) -> Seen:
        seen = super().look(target, state, False, stream)
        return replace(seen, reward=self.guess(target, state, seen.x0, self.temperature, stream)) if asked else seen

    def looks(self) -> int:
        return 1 + self.guess.calls()

    def scores(self) -> int:
        return self.guess.scores()
