r"""Guidance: a walk whose every step is pushed along the gradient of a differentiable reward.

Leaves say what the gradient is; `Strength` says how far a step goes along it, and `Repeat` goes back by noise and
takes a step again. A guided walk is a walk like any other: it runs by itself, or as `Target(walk=...)` under a search,
which then searches the noise that guidance starts from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..levels import gaussian
from ..stream import Id, Purpose, Stream
from ..target import Target
from ..templates import Walk, WalkState, fresh
from ..types import InputError, Meter, Prior
from .strengths import Strength, Tilt

__all__ = ["Guidance", "Repeat"]

NONE = "guidance needs one, use a search such as Elites"


@dataclass(frozen=True)
class Repeat:
    """Time travel: steps in the middle of a walk are taken several times, each from where noise leads back to.

        x_t <- (alpha_t / alpha_s) x_s + sqrt(sigma_t^2 - (alpha_t sigma_s / alpha_s)^2) z

    What one strong push breaks is repaired by the network, and pushed again.

    Arguments:
        times: that each step is taken.
        window: part of the walk where it is, from 0, pure noise, to 1, the clean end.

    References:
        FreeDoM: Training-Free Energy-Guided Conditional Diffusion Model (Yu, Wang, Zhao, Ghanem and Zhang, 2023),
        arXiv:2303.09833.
        Universal Guidance for Diffusion Models (Bansal et al., 2023), arXiv:2302.07121.
    """

    times: int = 4
    window: tuple[float, float] = (0.2, 0.7)

    def __post_init__(self) -> None:
        low, high = self.window
        if self.times < 1 or not 0 <= low <= high <= 1:
            raise InputError(f"{self}: take each step at least once, in a window within (0, 1) that rises.")

    def at(self, i: int, levels: int) -> int:
        """How often the step from level i is taken; there is no way back from the clean end."""
        return self.times if self.window[0] <= i / levels <= self.window[1] and i < levels - 1 else 1


@dataclass(frozen=True)
class Guidance(Walk, ABC):
    """A walk along the gradient of log E[exp(reward / temperature) | x_t], as the leaf estimates it.

    Arguments:
        steps, n: as of `Walk`.
        temperature: of the tilt exp(reward / temperature).
        strength: `Tilt()`, `Share()` or `Raw()`.
        repeat: `Repeat()`, or once.

    Raises:
        InputError: if a number is out of range; at the start, if the prior has no noise schedule.
        RewardError: if the prior, its decoder or the reward has no gradient.
    """

    temperature: float = 1.0
    strength: Strength = Tilt()  # noqa: RUF009 (frozen)
    repeat: Repeat = Repeat(1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise InputError(f"{self}: give a positive temperature.")

    @abstractmethod
    def slope(
        self, target: Target, x: Tensor, t: Tensor, ids: Sequence[Id], stream: Stream, walk: Stream
    ) -> tuple[Tensor, Tensor]:
        """Clean guesses of x at t and the gradients g `(B, *shape)`; `walk` draws the noise of the guesses."""

    def asks(self) -> tuple[int, int]:
        """Rewards and gradients of one slope."""
        return 1, 1

    def begin(self, target: Target, z: Tensor) -> WalkState:
        gaussian(target.prior, NONE)
        return super().begin(target, z)

    def advance(
        self, target: Target, state: WalkState, s: Tensor, stream: Stream, ids: Sequence[Id]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        if state.x.requires_grad:
            raise InputError(f"{type(self).__name__} follows a gradient of its own: use walk=Plain() to ascend noise.")
        t, levels, prior = state.times[state.i], len(state.times) - 1, gaussian(target.prior, NONE)
        x, often = state.x, self.repeat.at(state.i, levels)
        for k in range(often):
            walk = stream.at(draw=stream.draw + 2 * levels * k)  # a plain walk's own the first time
            x0, g = self.slope(target, x, t, ids, stream, walk)
            noise = fresh(target, walk.at(draw=walk.draw + 1), ids, x)
            moved = prior.move(x, x0 + self.strength(prior, g, t, s).to(x0), t, s, noise)
            if k < often - 1:
                z = walk.at(purpose=Purpose.METHOD).normal(ids, prior.shape).to(x)
                (alpha, sigma), (alpha_s, sigma_s) = (tuple(float(v) for v in prior.schedule(u)) for u in (t, s))
                by = alpha / alpha_s
                x = by * moved + max(sigma**2 - (by * sigma_s) ** 2, 0.0) ** 0.5 * z
        return moved, x0, {}

    def calls(self, prior: Prior) -> int:
        levels = len(prior.grid(self.steps)) - 1
        return sum(self.repeat.at(i, levels) for i in range(levels))

    def scores(self, prior: Prior) -> int:
        return self.calls(prior) * self.asks()[0]

    def pulls(self, prior: Prior) -> int:
        return self.calls(prior) * self.asks()[1]

    def cost(self, target: Target, state: WalkState) -> Meter:
        levels = len(state.times) - 1
        often, last = self.repeat.at(state.i, levels), state.i >= levels - 1
        rewards, grads = self.asks()
        return Meter(
            nfe=self.n * often * target.prior.cost,
            rewards=self.n * target.tries * (often * rewards + last),
            grads=self.n * often * grads,
        )
