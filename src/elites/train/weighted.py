"""Reward-weighted regression: sample, weigh by the reward, and denoise again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..resample import normalised
from ..stream import Stream
from ..target import Target
from ..templates import KEEP
from ..types import Info, InputError, Meter, Samples
from .lessons import Denoising, Lesson

__all__ = ["RewardWeighted"]


@dataclass(frozen=True, repr=False)
class RewardWeighted:
    r"""Teach the model its own samples, each as often as exp(reward / temperature) says.

    It takes any reward. A round of many samples that is learned well tilts the model by exp(r / temperature), so that
    k rounds tilt it by k r / temperature: without an end, it collapses onto its best sample. End it by
    `Budget(steps=)` or a limit, and mix in the original data to slow it down.

    Arguments:
        n: samples of a round, by the walk of the target.
        temperature: of the weights, in units of the reward.
        replay: latents `(m, *shape)` of the original data, or `None`.
        share: of what is taught that is replayed.

    Raises:
        InputError: if a number is out of range.

    References:
        Reinforcement Learning by Reward-Weighted Regression for Operational Space Control (Peters and Schaal, 2007).
        Aligning Text-to-Image Models using Human Feedback (Lee et al., 2023), arXiv:2302.12192.
    """

    n: int = 64
    temperature: float = 1.0
    replay: Tensor | None = None
    share: float = 0.5

    def __post_init__(self) -> None:
        check_replay(self.replay)
        if self.n < 1 or not self.temperature > 0 or not 0 <= self.share < 1:
            raise InputError(
                f"RewardWeighted({self.n}, {self.temperature}, share={self.share}): give at least one sample, a "
                "positive temperature, and a share from 0 to below 1."
            )

    def __repr__(self) -> str:
        return described(self)

    def init(self, target: Target, stream: Stream) -> int:
        return 0

    def gather(
        self, now: Target, base: Target, state: int, times: int, stream: Stream
    ) -> tuple[int, Lesson | None, Info]:
        """Samples of the model as it is, weighted."""
        ids = range(self.n)
        samples = now.evaluate(now.prior.noise(stream, ids), stream, ids)
        info = Info(samples=replace(samples.top(KEEP), z=None), rewards=samples.reward)  # of a model that moves on
        return state, weighted(now, samples, self.temperature, times, self.replay, self.share), info

    def done(self, state: int) -> bool:
        return False

    def cost(self, target: Target, state: int) -> Meter:
        each = target.cost
        return Meter(nfe=self.n * each.nfe, rewards=self.n * each.rewards, grads=self.n * each.grads)


def described(rule: Any) -> str:
    """A rule with its fields, data by a digest: a run that is resumed with other data is another run."""
    shown = []
    for f in fields(rule):
        value = getattr(rule, f.name)
        if isinstance(value, Tensor):
            digest = hashlib.sha256(value.detach().cpu().double().numpy().tobytes()).hexdigest()[:12]
            value = f"{tuple(value.shape)} {digest}"
        shown.append(f"{f.name}={value}")
    return f"{type(rule).__name__}({', '.join(shown)})"


def check_replay(replay: Tensor | None) -> None:
    """Refuse data that cannot be taught."""
    if replay is not None and not (replay.ndim > 1 and len(replay) and torch.isfinite(replay).all()):
        raise InputError(f"replay has shape {tuple(replay.shape)}: give finite latents (m, *shape), at least one.")


def weighted(
    target: Target, samples: Samples, temperature: float | None, times: int, replay: Tensor | None, share: float
) -> Lesson | None:
    """Samples to denoise, by their rewards or, without a temperature, alike; `None` if all have failed."""
    good = torch.isfinite(samples.reward)
    if not good.any():
        return None
    try:
        grid = target.prior.grid(times)
    except InputError:  # a table of fewer levels
        grid = target.prior.grid(target.walk.steps)
    reward = samples.reward[good].double()
    logw = torch.zeros_like(reward) if temperature is None else reward / temperature
    return Denoising(samples.x[good.to(samples.x.device)], normalised(logw), grid, replay, share)
