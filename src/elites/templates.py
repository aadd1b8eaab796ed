"""The two shapes of a method: a search over noise, and a walk along the noise levels.

Both are methods (`init`, `step`, `done`, `cost`) of which a leaf writes only the interesting part. A walk is also a
function from noise to object, so that a target can be searched through any walk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .stream import Id, Purpose, Stream
from .target import Target
from .types import Info, InputError, Meter, Prior, Samples

__all__ = ["FIRST", "KEEP", "Finite", "Plain", "Search", "Walk", "WalkState", "chance", "fresh"]

KEEP = 16  # best samples that a step reports
FIRST = 1  # step of the keys of a walk's objects; 0 is the probe's


class Search(ABC):
    """Outer loop over noise: a population is asked for, decoded, scored, and told.

    Leaves are frozen dataclasses with `population`, `init`, `ask` and `tell`. `ask` is a pure function: any slice of
    a population can be drawn anywhere, again, alone. So a population of any size streams through fixed memory, and
    `tell` draws again only the candidates it needs.
    """

    population: int

    @abstractmethod
    def init(self, target: Target, stream: Stream) -> Any:
        """First state; no network call."""

    @abstractmethod
    def ask(self, state: Any, stream: Stream, ids: Sequence[int]) -> Tensor:
        """Noise `(len(ids), *shape)` of the candidates `ids` of this step."""

    @abstractmethod
    def tell(self, state: Any, ids: Sequence[int], rewards: Tensor, stream: Stream) -> Any:
        """The state after rewards `(len(ids),)`, -inf for failures."""

    def step(self, target: Target, state: Any, stream: Stream) -> tuple[Any, Info]:
        """Ask, evaluate where the target says, tell; reports the best samples and all rewards."""
        ids = range(self.size(state))
        told, best = target.population(self, state, stream, len(ids), KEEP)
        after, scalars = self.learn(target, state, ids, told, stream)
        return after, Info(samples=best, rewards=told, scalars=scalars)

    def learn(
        self, target: Target, state: Any, ids: Sequence[int], rewards: Tensor, stream: Stream
    ) -> tuple[Any, dict[str, Tensor | float]]:
        """Tell, and the numbers worth reporting: what a step does once the candidates `ids` are scored."""
        return self.tell(state, ids, rewards, stream), {}

    def done(self, state: Any) -> bool:
        """A search goes on until the budget is spent."""
        return False

    def cost(self, target: Target, state: Any) -> Meter:
        """A population of candidates."""
        size, each = self.size(state), target.cost
        return Meter(nfe=size * each.nfe, rewards=size * each.rewards, grads=size * each.grads)

    def size(self, state: Any) -> int:
        """Candidates of the next step."""
        return self.population


class Finite(ABC):
    """A method that ends by itself: it runs without a budget, and one that does not pay for its end is refused."""

    @abstractmethod
    def whole(self, target: Target, state: Any) -> Meter:
        """The most that it spends from its first state to its end."""


@dataclass
class WalkState:
    """Where a walk is: x `(B, *shape)` at `times[i]`, and what else a leaf needs."""

    x: Tensor
    times: Tensor
    i: int = 0
    aux: dict[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, rows: Any) -> WalkState:
        """The walks at a slice or tensor of rows."""
        return WalkState(self.x[rows], self.times, self.i, {name: v[rows] for name, v in self.aux.items()})


@dataclass(frozen=True)
class Walk(Finite, ABC):
    """Inner loop along the noise levels; leaves write `advance` and, rarely, `finish`.

    Arguments:
        steps: noise levels asked of the prior.
        n: objects, when the walk is run as a method of its own.
    """

    steps: int = 20
    n: int = 16

    def __post_init__(self) -> None:
        if self.steps < 1 or self.n < 1:
            raise InputError(f"{self}: a walk has at least one step and one object.")

    @abstractmethod
    def advance(
        self, target: Target, state: WalkState, s: Tensor, stream: Stream, ids: Sequence[Id]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """From `state` to time s: (x at s, clean guess, aux)."""

    def calls(self, prior: Prior) -> int:
        """Calls of `denoise` of a whole walk."""
        return len(prior.grid(self.steps)) - 1

    def scores(self, prior: Prior) -> int:
        """Rewards that a whole walk asks for on its way."""
        return 0

    def pulls(self, prior: Prior) -> int:
        """Gradients that a whole walk asks for."""
        return 0

    def begin(self, target: Target, z: Tensor) -> WalkState:
        """The state at the highest noise level, from noise z `(B, *shape)`."""
        return WalkState(x=target.prior.start(z), times=target.prior.grid(self.steps))

    def solve(
        self, target: Target, z: Tensor, stream: Stream, ids: Sequence[Id], *, recompute: bool = False
    ) -> Tensor:
        """Clean latents `(B, *shape)`: the walk as a function of its noise.

        With `recompute`, a graph keeps x at each level and nothing of the networks between: the backward pass calls
        each level again, one at a time, and those calls count.
        """
        state = self.begin(target, z)
        return self.on(target, state, len(state.times) - 1, stream, ids, recompute=recompute)[0].x

    def on(
        self,
        target: Target,
        state: WalkState,
        level: int,
        stream: Stream,
        ids: Sequence[Id],
        *,
        recompute: bool = False,
    ) -> tuple[WalkState, Tensor]:
        """Walked on to `times[level]`, level > state.i: the state there, and the last clean guess `(B, *shape)`.

        A walk that is stopped at a level and goes on later, with some of its rows, ends where it would have in one go.
        """
        while state.i < level:
            if recompute:
                state, x0 = checkpoint(self._advance, target, state, stream, ids, use_reentrant=False)
            else:
                state, x0 = self._advance(target, state, stream, ids)
        return state, x0

    def finish(self, target: Target, state: WalkState, stream: Stream, ids: Sequence[Id]) -> Samples:
        """Scored samples at the end of the walk."""
        keys = torch.tensor([stream.key(i) for i in ids], dtype=torch.int64)
        return Samples(x=state.x, reward=target.score(state.x, stream, ids), keys=keys)

    def init(self, target: Target, stream: Stream) -> WalkState:
        """Fresh noise at the highest level."""
        return self.begin(target, target.prior.noise(stream.at(step=FIRST), range(self.n)))

    def step(self, target: Target, state: WalkState, stream: Stream) -> tuple[WalkState, Info]:
        """One level down; the last step scores the samples."""
        ids = range(self.n)
        # a walk is keyed by its level, not by the step of the run, so that `solve` draws the same noise
        stream = stream.at(step=FIRST)
        state, x0 = self._advance(target, state, stream, ids)
        if not self.done(state):
            return state, Info(x0=x0)
        samples = self.finish(target, state, stream, ids)
        return state, Info(samples=samples, rewards=samples.reward, x0=x0)

    def done(self, state: WalkState) -> bool:
        """Whether the clean end is reached."""
        return state.i >= len(state.times) - 1

    def whole(self, target: Target, state: WalkState) -> Meter:
        """The walks, and their rewards."""
        prior = target.prior
        rewards = self.n * target.tries * (1 + self.scores(prior))
        return Meter(nfe=self.n * self.calls(prior) * prior.cost, rewards=rewards, grads=self.n * self.pulls(prior))

    def cost(self, target: Target, state: WalkState) -> Meter:
        """One level for all objects, and their rewards at the last."""
        levels = len(state.times) - 1
        last = state.i >= levels - 1
        nfe = -(-self.calls(target.prior) // levels) * self.n * target.prior.cost
        return Meter(nfe=nfe, rewards=self.n * target.tries if last else 0)

    def _advance(
        self, target: Target, state: WalkState, stream: Stream, ids: Sequence[Id]
    ) -> tuple[WalkState, Tensor]:
        x, x0, aux = self.advance(
            target, state, state.times[state.i + 1], stream.at(purpose=Purpose.WALK, draw=2 * state.i), ids
        )
        return WalkState(x, state.times, state.i + 1, aux), x0


def fresh(target: Target, stream: Stream, ids: Sequence[Id], like: Tensor) -> Tensor | None:
    """Standard normal noise like `like`, or `None` where the prior does not use any."""
    return stream.normal(ids, target.prior.shape).to(like) if target.prior.noisy else None


def chance(target: Target, stream: Stream, ids: Sequence[Id], like: Tensor) -> Tensor | None:
    """Noise for `denoise` where a guess is a draw; `None` for priors with a schedule, whose guess is a mean."""
    return None if callable(getattr(target.prior, "schedule", None)) else fresh(target, stream, ids, like)


@dataclass(frozen=True)
class Plain(Walk):
    """Unsteered sampling: denoise, move, repeat."""

    def advance(
        self, target: Target, state: WalkState, s: Tensor, stream: Stream, ids: Sequence[Id]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        t = state.times[state.i]
        x0 = target.denoise(state.x, t, chance(target, stream, ids, state.x))
        noise = fresh(target, stream.at(draw=stream.draw + 1), ids, state.x)
        return target.prior.move(state.x, x0, t, s, noise), x0, {}
