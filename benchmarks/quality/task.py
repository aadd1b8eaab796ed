"""What a task is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

import elites as el

__all__ = ["LONG", "SHORT", "Task"]

SHORT = (500, 2_000, 10_000)  # network evaluations
LONG = (*SHORT, 50_000)


@dataclass(frozen=True)
class Task:
    """A prior and a reward for each seed.

    Attributes:
        prior: the same for all seeds.
        reward: what a search sees.
        distance: objects to numbers, 1 for objects like those of the prior.
        kind: in a few words.
        budgets: network evaluations.
        truth: what is reported, where the reward is noisy.
        judge: a second opinion that no search saw.
    """

    prior: Callable[[], Any]
    reward: Callable[[int], el.types.Reward]
    distance: Callable[[], Callable[[Any], Tensor]]
    kind: str
    budgets: tuple[int, ...] = SHORT
    truth: Callable[[int], el.types.Reward] | None = None
    judge: Callable[[int], el.types.Reward] | None = None
