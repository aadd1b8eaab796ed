"""A method that picks the method, from what it sees of the prior and the reward."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..stream import Id, Stream
from ..target import Target
from ..templates import KEEP
from ..types import Info, InputError, Meter, Method, Samples
from .ascent import NoiseAscent
from .elites import Elites
from .fidelity import FewSteps
from .previews import Previews

__all__ = ["Auto", "AutoState"]

T = TypeVar("T")

FEW = 50  # dimensions below which a gradient is no help against many optima
LONG = 40  # steps of a walk from which previews pay
NOISY = 0.01  # spread of a repeated reward, in that of different objects, from which it counts
ORDER = ("gradient", "noisy", "long walk", "plain")
COSTLY = 0.2  # share of a candidate's time that its reward may take for previews to pay


@dataclass
class AutoState:
    """The first look, and where the method that was picked stands.

    Attributes:
        picked: name of the method; empty before the look.
        noise: standard deviation of a repeated reward over that of different objects; not asked of ascents.
        cheap: whether the reward takes little of a candidate's time; asked for long walks alone.
        inside: states by name, of which only the picked one goes on.
    """

    picked: str
    noise: float
    cheap: bool
    inside: dict[str, Any]


@dataclass(frozen=True)
class Auto:
    """Looks at the reward in its first step, and goes on with what suits it.

    | what was seen | method |
    |---|---|
    | a gradient, at least 50 dimensions, and `gradients` | `NoiseAscent()` |
    | a repeated reward differs by more than a hundredth of the spread | `Elites(2 * population)` |
    | a walk of 40 steps and more, and a reward that takes less than a fifth of the time | `Previews()` |
    | anything else | `Elites(population)` |

    The first matching row counts. In 50 dimensions and more the look begins with one object that is walked there and
    back. If it has a gradient, the first step of the ascent follows at once; if not, the look is the first step of
    `Elites(population)`, a quarter of whose objects are scored twice. So little is lost whatever is picked. `why` says
    it in a sentence, and the column `auto` of the history has the number of the row.

    The share of time is measured, so on a machine that is busy by fits a long walk with a reward near the limit can
    be steered otherwise the next time; nothing else depends on the clock, and a run that is resumed keeps its method.

    Arguments:
        population: of `Elites`.
        gradients: whether gradients may be used; they need more memory, and a backward pass takes as long as two
            forward passes, of which the meter counts the one that calls the network again.

    Raises:
        InputError: if the population has fewer than four candidates.
    """

    population: int = Elites.population
    gradients: bool = True

    def __post_init__(self) -> None:
        if self.population < 4:
            raise InputError(f"Auto(population={self.population}): give at least 4 candidates.")

    def methods(self, target: Target) -> dict[str, Method]:
        """What may be picked on this target, by name."""
        found: dict[str, Method] = {"noisy": Elites(2 * self.population)}
        if self._climbs(target):
            found["gradient"] = NoiseAscent()
        if target.walk.steps >= LONG:
            found["long walk"] = Previews(fidelity=FewSteps((target.walk.steps // 10,)))
        return found | {"plain": self._plain}

    def init(self, target: Target, stream: Stream) -> AutoState:
        inside = {}
        for name, method in self.methods(target).items():
            with suppress(InputError) if name == "long walk" else nullcontext():  # previews may not fit this walk
                inside[name] = method.init(target, stream)
        return AutoState("", 0.0, False, inside)

    def step(self, target: Target, state: AutoState, stream: Stream) -> tuple[AutoState, Info]:
        """The look, or a step of what was picked."""
        if not state.picked:
            after, info = self._look(target, state, stream)
        else:
            moved, info = self.methods(target)[state.picked].step(target, state.inside[state.picked], stream)
            after = replace(state, inside=state.inside | {state.picked: moved})
        info.scalars["auto"] = float(ORDER.index(after.picked) + 1)
        return after, info

    def done(self, state: AutoState) -> bool:
        """The methods go on until the budget is spent."""
        return False

    def cost(self, target: Target, state: AutoState) -> Meter:
        """What the next step may cost."""
        if state.picked:
            return self.methods(target)[state.picked].cost(target, state.inside[state.picked])
        first = self._plain.cost(target, state.inside["plain"]) + Meter(rewards=self._twice * target.tries)
        if not self._climbs(target):
            return first
        ascent = NoiseAscent().cost(target, state.inside["gradient"])
        either = Meter(nfe=max(first.nfe, ascent.nfe), rewards=max(first.rewards, ascent.rewards), grads=ascent.grads)
        return either + Meter(nfe=2 * target.cost.nfe, rewards=target.cost.rewards, grads=1)

    def why(self, state: AutoState) -> str:
        """What was picked, and the reason, in a sentence."""
        if not state.picked:
            return "Nothing is picked before the first step."
        reasons = {
            "noisy": f"a repeated reward is off by {state.noise:.0%} of the spread, which needs a larger population",
            "gradient": "the reward has a gradient, and the noise enough dimensions for it to lead",
            "long walk": "the walk is long and the reward cheap, so previews pay",
            "plain": self._without(state),
        }
        return f"Picked by {state.picked!r}: {reasons[state.picked]}."

    def _without(self, state: AutoState) -> str:
        if not self.gradients:
            return "gradients are not to be used"
        led = "gradient" in state.inside  # whether an ascent was an option
        return "there is no gradient to follow" if led else "in few dimensions a gradient misleads"

    def _climbs(self, target: Target) -> bool:
        """Whether an ascent is an option."""
        return self.gradients and math.prod(target.prior.shape) >= FEW

    @property
    def _plain(self) -> Elites:
        return Elites(self.population)

    @property
    def _twice(self) -> int:
        """Objects that are scored twice."""
        return max(2, self.population // 4)

    def _look(self, target: Target, state: AutoState, stream: Stream) -> tuple[AutoState, Info]:
        if self._climbs(target):
            z = self._plain.ask(state.inside["plain"], stream, range(1))
            if _unheard(target, partial(_has_slope, target, z, stream)):
                inside, info = NoiseAscent().step(target, state.inside["gradient"], stream)
                return replace(state, picked="gradient", inside=state.inside | {"gradient": inside}), info
        return self._look_without(target, state, stream)

    def _look_without(self, target: Target, state: AutoState, stream: Stream) -> tuple[AutoState, Info]:
        """The first step of `Elites`, with the noise of the reward and the share of its time."""
        plain, ids = state.inside["plain"], range(self.population)
        z = self._plain.ask(plain, stream, ids)
        began = time.perf_counter()
        x = target.generate(z, stream, ids)
        walked = time.perf_counter()
        samples = Samples(x, target.score(x, stream, ids), torch.tensor([stream.key(i) for i in ids]), z)
        ended = time.perf_counter()
        plain = self._plain.tell(plain, ids, samples.reward, stream)
        again, times = [], [ended - walked]
        for i in ids[: self._twice]:  # one by one, and the shortest counts: others may be using the machine
            clock = time.perf_counter()
            again.append(_unheard(target, partial(target.score, samples.x[i : i + 1], stream, [i])))
            times.append((time.perf_counter() - clock) * self.population)
        good = samples.reward[torch.isfinite(samples.reward)].double()
        spread = float(good.std(correction=0)) if len(good) else 0.0
        off = (torch.cat(again) - samples.reward[: self._twice]).double()
        off = off[torch.isfinite(off)]
        noise = float(off.square().mean().sqrt() / (math.sqrt(2) * spread)) if len(off) and spread > 0 else 0.0
        cheap = "long walk" in state.inside and min(times) < COSTLY * (ended - began)
        picked = "noisy" if noise > NOISY else "long walk" if cheap else "plain"
        after = AutoState(picked, noise, cheap, state.inside | {"plain": plain})
        return after, Info(samples=samples.top(KEEP), rewards=samples.reward)


def _unheard(target: Target, call: Callable[[], T]) -> T:
    """A call whose failures are not told: the same object is scored elsewhere, and did not fail twice."""
    told, failed = len(target.failures), target.meter.failures
    try:
        return call()
    finally:
        del target.failures[told:]
        target.meter.failures = failed


def _has_slope(target: Target, z: Tensor, stream: Stream) -> bool:
    """Whether the reward has a gradient at noise z `(1, *shape)` that is not zero."""

    def reward(leaf: Tensor, ids: Sequence[Id]) -> tuple[Tensor, None]:
        return target.score(target.generate(leaf, stream, ids, recompute=True), stream, ids), None

    batch = target.batch
    try:
        gradient = target.grad(reward, z, [0])[2]
    except Exception:  # without a gradient all went well: ONNX, NumPy, too little memory
        target.batch = batch
        return False
    return bool(torch.isfinite(gradient).all() and gradient.any())
