"""Teach a model what another method finds with it: adaptive fine-tuning, and elites distilled into the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..stream import Stream
from ..target import Target
from ..types import Info, InputError, Meter, Method, Samples
from .lessons import Lesson
from .weighted import check_replay, described, weighted

__all__ = ["Follow", "FollowState"]


@dataclass
class FollowState:
    """Where the method is, and what it found in the last rounds: latents `(k, *shape)`, rewards, and how many each."""

    inner: Any
    x: Tensor
    reward: Tensor
    sizes: list[int]


@dataclass(frozen=True, repr=False)
class Follow:
    """Run a method, a step a round, on the model as it is by now, and teach the model what it finds.

        FineTune(Follow(Lookahead(32, 200, 1000)))                # adaptive fine-tuning: algorithm 2 of the paper
        FineTune(Follow(Elites(), temperature=1.0, memory=8))     # distil the elites into the model

    Of a step all samples are taught if it reports them with their rewards, as `Lookahead` does, else the best that it
    reports. Guided rounds with a fixed model settle where the prior holds them; with a model that follows they go on
    to the maximum of the reward.

    Arguments:
        method: what finds the samples.
        temperature: of the weights exp(reward / temperature) of what is taught; `None` for equal ones.
        memory: rounds whose samples are taught.
        replay: latents `(m, *shape)` of the original data, or `None`.
        share: of what is taught that is replayed.

    Raises:
        InputError: if a number is out of range.

    References:
        Gradient Guidance for Diffusion Models: An Optimization Perspective (Guo, Yuan, Yang, Chen and Wang, 2024),
        arXiv:2404.14743: algorithm 2, with `Lookahead`.
    """

    method: Method
    temperature: float | None = None
    memory: int = 1
    replay: Tensor | None = None
    share: float = 0.5

    def __post_init__(self) -> None:
        check_replay(self.replay)
        if self.memory < 1 or not (self.temperature is None or self.temperature > 0) or not 0 <= self.share < 1:
            raise InputError(
                f"Follow(temperature={self.temperature}, memory={self.memory}, share={self.share}): give a positive "
                "temperature or None, at least one round, and a share from 0 to below 1."
            )

    def __repr__(self) -> str:
        return described(self)

    def init(self, target: Target, stream: Stream) -> FollowState:
        x = torch.zeros(0, *target.prior.shape)
        return FollowState(self.method.init(target, stream), x, torch.zeros(0), [])

    def gather(
        self, now: Target, base: Target, state: FollowState, times: int, stream: Stream
    ) -> tuple[FollowState, Lesson | None, Info]:
        """A step of the method on the model as it is."""
        inner, info = self.method.step(now, state.inner, stream)
        x, reward = _found(info)
        if info.samples is not None:
            info.samples = replace(info.samples, z=None)  # of a model that moves on
        if not len(x):
            return replace(state, inner=inner), None, info
        sizes = [*state.sizes, len(x)][-self.memory :]
        keep = sum(sizes[:-1])
        x = torch.cat([state.x[len(state.x) - keep :].to(x), x])
        reward = torch.cat([state.reward[len(state.reward) - keep :].to(reward), reward])
        samples = Samples(x=x, reward=reward, keys=torch.zeros(len(x), 2, dtype=torch.int64))
        lesson = weighted(now, samples, self.temperature, times, self.replay, self.share)
        return FollowState(inner, x, reward, sizes), lesson, info

    def done(self, state: FollowState) -> bool:
        return self.method.done(state.inner)

    def cost(self, target: Target, state: FollowState) -> Meter:
        return self.method.cost(target, state.inner)


def _found(info: Info) -> tuple[Tensor, Tensor]:
    """Latents `(k, *shape)` and rewards `(k,)` that a step reports."""
    if info.samples is None:  # guesses of walks that are on their way
        return torch.zeros(0), torch.zeros(0)
    if info.x0 is not None and info.rewards is not None and len(info.x0) == len(info.rewards):
        return info.x0, info.rewards
    return info.samples.x, info.samples.reward
