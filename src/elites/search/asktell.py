r"""Optimisers of other libraries as searches: anything with `ask` and `tell`.

    1. z_1 .. z_P = ask()
    2. put each z_i where noise is typical, make its object, score it: r_i
    3. tell(z, -r): the optimiser learns from its own draws, with the rewards of the placed ones

An optimiser cannot be saved without a pickle. But it is a function of its seed and of the losses it was told, so these
are kept, and an optimiser that is missing is made again and led through them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from ..stream import Purpose, Stream
from ..target import Target
from ..templates import Search
from ..types import InputError
from .elites import Restart
from .guards import Guard, Typical

__all__ = ["AskTell", "AskTellState", "Asking", "Optimiser"]


class Optimiser(Protocol):
    """A minimiser that draws whole populations. It takes every random number from the seed it was made with."""

    def ask(self) -> Any:
        """The next population `(n, d)`, as a tensor, an array, or a list of arrays."""

    def tell(self, z: Any, losses: np.ndarray) -> Any:
        """Learn from what `ask` returned last and its losses `(n,)`, float64 and finite."""


Live = tuple[Optimiser, Any]  # an optimiser, and what it drew last


@dataclass
class AskTellState:
    """The population to score `(P, d)`, and what made it: the losses told in this round.

    Where all of a step failed, its losses are infinite.

    The optimiser itself rides along in `live`. It is no field, so it is neither saved, copied nor compared; whoever
    takes a step takes it away, and a state without one has it made again.
    """

    shape: tuple[int, ...]
    z: Tensor
    told: Tensor
    best: float
    round: int
    stalled: int

    live = cast("Live | None", None)

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Asking(Search, ABC):
    """A search by an optimiser with `ask` and `tell`; leaves make it, and have a guard and a restart rule."""

    guard: Guard
    restart: Restart | None

    @abstractmethod
    def optimiser(self, d: int, seed: int) -> Optimiser:
        """A new optimiser in d dimensions, seeded by a number below 2^32."""

    def init(self, target: Target, stream: Stream) -> AskTellState:
        return self._round(tuple(target.prior.shape), stream, 0)

    def size(self, state: AskTellState) -> int:
        return len(state.z)

    def ask(self, state: AskTellState, stream: Stream, ids: Sequence[int]) -> Tensor:
        return state.z[list(ids)].reshape(-1, *state.shape)

    def tell(self, state: AskTellState, ids: Sequence[int], rewards: Tensor, stream: Stream) -> AskTellState:
        losses = torch.full((len(state.z),), torch.inf, dtype=torch.float64)
        losses[list(ids)] = -rewards.double()
        good = torch.isfinite(losses)
        top = -float(losses[good].min()) if good.any() else -torch.inf
        stalled = 0 if top > state.best else state.stalled + 1
        if self.restart is not None and stalled >= self.restart.patience:
            return self._round(state.shape, stream, state.round + 1)
        # the optimiser goes with the new state: two of them would be one object, told two things
        optimiser, drawn = vars(state).pop("live", None) or self._replay(state, stream)
        losses = torch.where(good, losses, losses[good].max() if good.any() else torch.inf)
        _tell(optimiser, drawn, losses)
        drawn, z = self._draw(optimiser, state.shape)
        if not torch.isfinite(z).all():  # it has diverged
            return self._round(state.shape, stream, state.round + 1)
        told = torch.cat([state.told, losses])
        after = AskTellState(state.shape, z, told, max(top, state.best), state.round, stalled)
        after.live = (optimiser, drawn)
        return after

    def _round(self, shape: tuple[int, ...], stream: Stream, number: int) -> AskTellState:
        optimiser = self._made(shape, stream, number)
        drawn, z = self._draw(optimiser, shape)
        if not torch.isfinite(z).all():
            raise InputError("The first population of the optimiser is not finite: start it at mean 0 with spread 1.")
        state = AskTellState(shape, z, torch.zeros(0, dtype=torch.float64), -torch.inf, number, 0)
        state.live = (optimiser, drawn)
        return state

    def _replay(self, state: AskTellState, stream: Stream) -> Live:
        """The optimiser that drew the population of a state, made again."""
        optimiser = self._made(state.shape, stream, state.round)
        drawn, z = self._draw(optimiser, state.shape)
        told = state.told
        while len(told) >= len(z):
            losses, told = told[: len(z)], told[len(z) :]
            _tell(optimiser, drawn, losses)
            drawn, z = self._draw(optimiser, state.shape)
        if not torch.equal(z, state.z):
            raise InputError(
                "The optimiser draws other noise when it is made again with its seed: have it take every random "
                "number from the seed, and resume on the machine and with the versions that began the run."
            )
        return optimiser, drawn

    def _made(self, shape: tuple[int, ...], stream: Stream, number: int) -> Optimiser:
        key = np.random.SeedSequence(stream.seed, spawn_key=(Purpose.METHOD, 0, number, 0))
        return self.optimiser(torch.Size(shape).numel(), int(key.generate_state(1)[0]))

    def _draw(self, optimiser: Optimiser, shape: tuple[int, ...]) -> tuple[Any, Tensor]:
        """The next population as it was drawn, and `(P, d)` float32 where the guard wants it."""
        drawn = optimiser.ask()
        d = torch.Size(shape).numel()
        z = drawn.detach().cpu() if isinstance(drawn, Tensor) else torch.from_numpy(np.array(drawn, np.float64))
        if z.ndim != 2 or z.shape[1] != d or not len(z):
            raise InputError(f"The optimiser asked for noise of shape {tuple(z.shape)}: ask has to give (n, {d}).")
        return drawn, self.guard.place(z.float())


def _tell(optimiser: Optimiser, drawn: Any, losses: Tensor) -> None:
    if torch.isfinite(losses).all():  # else all failed, and there is nothing to learn from
        optimiser.tell(drawn, losses.numpy().copy())


@dataclass(frozen=True)
class AskTell(Asking):
    """Any optimiser with `ask` and `tell` under our budget, streams and resume.

    The seed of an optimiser is a function of the seed of the run and of the round. Failures are told as the worst loss
    of their step; if all fail, nothing is told and the optimiser is asked again. An optimiser whose draws are no
    longer finite is replaced by a new one, as at a restart; the best sample is kept by the run.

    A state that was loaded or copied has its optimiser made again by telling it all losses of the round, which takes
    the time that the optimiser itself took: 3 s for CMA in 64 dimensions and 50,000 evaluations.

    Arguments:
        make: `make(d, population, seed)`, a new optimiser that minimises; see `Optimiser`.
        population: given to `make`; how many are scored in a step is what `ask` returns.
        guard: where candidates may be: `Typical()`, or `Anywhere()` for the optimiser's own behaviour.
        restart: `Restart(patience)`, or `None`.

    Raises:
        InputError: if the population is not positive, or the optimiser draws noise of another shape, or draws other
            noise when it is made again.
    """

    make: Callable[[int, int, int], Optimiser]
    population: int
    guard: Guard = Typical()  # noqa: RUF009 (frozen)
    restart: Restart | None = Restart()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if self.population < 1:
            raise InputError(f"The population is {self.population}: give at least one candidate.")

    def optimiser(self, d: int, seed: int) -> Optimiser:
        return self.make(d, self.population, seed)
