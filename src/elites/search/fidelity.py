"""What a preview of a candidate is: an object of fewer steps, or the clean guess of a walk on its way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from ..stream import Stream
from ..target import Target
from ..templates import WalkState
from ..types import InputError

__all__ = ["EarlyGuess", "FewSteps", "Fidelity"]


class Fidelity(Protocol):
    """What a preview is."""

    def __len__(self) -> int:
        """How many rungs there are."""

    def nfe(self, target: Target) -> tuple[list[int], int]:
        """Network evaluations of one candidate to each rung from the one before, and from the last to the end.

        Raises:
            InputError: if the walk has no such rungs.
        """

    def guess(
        self, target: Target, z: Tensor, walk: WalkState, rung: int, stream: Stream, ids: Sequence[int]
    ) -> tuple[WalkState, Tensor]:
        """The walks from noise z at a rung, and the clean latents `(B, *shape)` to score there."""


@dataclass(frozen=True)
class FewSteps:
    """A preview is the object of a whole walk of fewer steps; who survives is walked anew from its noise.

    Where the walk injects noise, a shorter one injects other noise, and previews say less.

    Arguments:
        steps: of the walk of each rung, increasing.
    """

    steps: tuple[int, ...] = (5,)

    def __post_init__(self) -> None:
        if not self.steps or self.steps[0] < 1 or list(self.steps) != sorted(set(self.steps)):
            raise InputError(f"{self}: give increasing numbers of steps, each at least 1.")

    def __len__(self) -> int:
        return len(self.steps)

    def nfe(self, target: Target) -> tuple[list[int], int]:
        each = [target.with_walk(replace(target.walk, steps=steps)).cost.nfe for steps in self.steps]
        if each[-1] >= target.cost.nfe:
            raise InputError(
                f"A preview of {self.steps[-1]} steps costs as much as the walk of {target.walk.steps}: give fewer."
            )
        return each, target.cost.nfe

    def guess(
        self, target: Target, z: Tensor, walk: WalkState, rung: int, stream: Stream, ids: Sequence[int]
    ) -> tuple[WalkState, Tensor]:
        return walk, target.with_walk(replace(target.walk, steps=self.steps[rung])).generate(z, stream, ids)


@dataclass(frozen=True)
class EarlyGuess:
    """A preview is the clean guess x0 after the first levels of the walk; who survives goes on from there.

    No network evaluation of a survivor is wasted, and what it ends as is, to the bit, what it would have been in one
    go. The first guesses of a walk are blurred: a guess after one step is the mean of the data.

    Arguments:
        levels: share of the steps of the walk, rounded up, before each rung; increasing, in (0, 1).
    """

    levels: tuple[float, ...] = (0.25,)

    def __post_init__(self) -> None:
        if not self.levels or list(self.levels) != sorted(set(self.levels)) or not all(0 < l < 1 for l in self.levels):
            raise InputError(f"{self}: give increasing shares of the walk between 0 and 1.")

    def __len__(self) -> int:
        return len(self.levels)

    def nfe(self, target: Target) -> tuple[list[int], int]:
        ends = self._ends(len(target.prior.grid(target.walk.steps)) - 1)
        each = -(-target.cost.nfe // ends[-1])  # the most that a step costs
        costs = [each * (end - start) for start, end in zip([0, *ends], ends, strict=False)]
        return costs[:-1], costs[-1]

    def guess(
        self, target: Target, z: Tensor, walk: WalkState, rung: int, stream: Stream, ids: Sequence[int]
    ) -> tuple[WalkState, Tensor]:
        return target.walk.on(target, walk, self._ends(len(walk.times) - 1)[rung], stream, ids)

    def _ends(self, steps: int) -> list[int]:
        """The steps done at each rung and at the end."""
        ends = [*(math.ceil(level * steps - 1e-9) for level in self.levels), steps]
        if ends != sorted(set(ends)):
            raise InputError(
                f"A walk of {steps} steps cannot stop at {self.levels} of it: give it more, or other shares."
            )
        return ends
