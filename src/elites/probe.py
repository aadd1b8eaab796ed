"""A look at the reward before the budget is spent.

A few prior samples are scored, some of them twice. That shows what a search will meet: the spread of the reward,
ties, failures, the time an object takes, and whether the reward gives the same number again. What the probe spends
counts, and its samples count as scored: the best of them is the first incumbent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from .scoring import RewardError
from .stream import Stream
from .target import Target
from .types import Budget, Info, Meter, Samples

__all__ = ["Probe", "check_slope", "describe"]


@dataclass(frozen=True)
class Probe:
    """Score up to `n` prior samples, and a quarter of them twice.

    A probe takes at most a twentieth of the budget, and is left out if that is fewer than four objects.
    """

    n: int = 16

    def size(self, target: Target, budget: Budget) -> int:
        """Objects to look at under this budget; 0 for no probe."""
        pays = [self.n]
        for limit, each in ((budget.nfe, target.cost.nfe), (budget.rewards, target.cost.rewards)):
            if limit is not None and each:
                pays.append(limit // (20 * each))
        return min(pays) if min(pays) >= 4 else 0

    def cost(self, target: Target, size: int) -> Meter:
        """The most that a probe of this size can spend."""
        each = target.cost
        return Meter(nfe=size * each.nfe, rewards=(size + size // 4) * each.rewards)

    def look(self, target: Target, stream: Stream, size: int, seconds: float | None = None) -> Info:
        """Scored prior samples, and what they say as scalars; fewer than `size` if `seconds` is short.

        Raises:
            RewardError: if every object fails, or all have the same reward.
        """
        ids, twice = range(size), range(size // 4)  # those are scored twice, alone: a batch can change the last bits
        began = time.perf_counter()
        z = target.prior.noise(stream, ids)
        x = target.generate(z, stream, ids)
        generated = time.perf_counter()
        few = x[: len(twice)]
        first = target.score(few, stream, twice)
        each = (time.perf_counter() - generated) / len(twice)
        if seconds is not None and (2 * len(twice) + size) * each > seconds / 20:
            size = len(twice)  # a slow reward and little time: what is scored has to do
            ids, x, z = range(size), x[:size], z[:size]
        reward = (
            first
            if size == len(twice)
            else torch.cat([first, target.score(x[len(twice) :], stream, ids[len(twice) :])])
        )
        scored = time.perf_counter()
        why = target.failures[-1].reason if target.failures else ""
        told, failed = len(target.failures), target.meter.failures
        again = target.score(few, stream, twice)
        del target.failures[told:]  # the same objects: they failed once
        target.meter.failures = failed
        good = reward[torch.isfinite(reward)]
        if not len(good):
            raise RewardError(f"The reward failed on all {size} prior samples: {why}.")
        check_slope(good)
        both = torch.isfinite(first) & torch.isfinite(again)
        keys = torch.tensor([stream.key(i) for i in ids])
        return Info(
            samples=Samples(x=x, reward=reward, keys=keys, z=z),
            rewards=reward,
            scalars={
                "sd": good.std(correction=0),
                "ties": 1 - len(good.unique()) / len(good),
                "repeat": (first - again)[both].abs().max() if both.any() else torch.tensor(torch.nan),
                "network_seconds": (generated - began) / size,
                "reward_seconds": (scored - generated) / size,
            },
        )


def check_slope(rewards: Tensor) -> None:
    """Raise a `RewardError` if several rewards `(n,)`, failures left out, are all the same."""
    good = rewards[torch.isfinite(rewards)]
    if len(good) > 1 and bool((good == good[0]).all()):
        raise RewardError(
            f"The reward is {good[0]:g} on all {len(good)} prior samples, so nothing can be selected: give it a slope "
            "(in float32), or pass probe=None to search all the same."
        )


def describe(row: dict[str, float]) -> str:
    """The sentence for the history row of a probe."""
    off = row["repeat"]
    same = "the same number again" if off == 0 else f"numbers up to {off:.3g} off on a second call"
    if off != off:
        same = "no number twice for the same object"
    failed = f"{row['failures']:.0f} failure{'' if row['failures'] == 1 else 's'}"
    return (
        f"{row['count']:.0f} prior samples score {row['mean']:.4g} +- {row['sd']:.3g} (best {row['max']:.4g}); "
        f"{row['ties']:.0%} ties, {failed}; an object takes "
        f"{1e3 * row['network_seconds']:.3g} ms of network and {1e3 * row['reward_seconds']:.3g} ms of reward; "
        f"the reward gives {same}."
    )
