"""One small trainer: rounds of samples and of gradient steps on the network's weights, by one of three rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ..levels import trainable
from ..stream import Purpose, Stream
from ..target import Target
from ..types import Info, InputError, Meter
from .lessons import Lesson
from .limits import Limit
from .weighted import RewardWeighted

__all__ = ["FineTune", "FineTuneState", "Fit", "Rule"]

DRAWS = 1 << 20  # that a limit may take


class Rule(Protocol):
    """What a round teaches: `RewardWeighted`, `Follow` or `AdjointMatching`."""

    def init(self, target: Target, stream: Stream) -> Any:
        """First state of the rule."""

    def gather(
        self, now: Target, base: Target, state: Any, times: int, stream: Stream
    ) -> tuple[Any, Lesson | None, Info]:
        """The lesson of a round, on so many noise levels, or `None`; of the model `now`, tuned from `base`."""

    def done(self, state: Any) -> bool:
        """Whether there is nothing more to teach."""

    def cost(self, target: Target, state: Any) -> Meter:
        """The most that gathering costs."""


@dataclass(frozen=True)
class Fit:
    """How weights follow a lesson: Adam.

    Arguments:
        updates: of the weights, a round.
        rate: of Adam.
        batch: objects of an update.
        levels: noise levels of an update, with batch / levels objects each; one network call each.
        times: noise levels that denoising lessons draw from, asked of the prior; those of the walk, if it has fewer.
        betas: of Adam.
        average: how much of the moving average of the weights is kept at an update; 0 for none.

    Raises:
        InputError: if a number is out of range.

    References:
        Adam: A Method for Stochastic Optimization (Kingma and Ba, 2014), arXiv:1412.6980.
    """

    updates: int = 10
    rate: float = 1e-4
    batch: int = 32
    levels: int = 4
    times: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    average: float = 0.0

    def __post_init__(self) -> None:
        if min(self.updates, self.levels, self.times) < 1 or self.batch < self.levels:
            raise InputError(f"{self}: give at least one update, level and time, and a batch of as many as levels.")
        if not self.rate > 0 or not 0 <= self.average < 1 or not all(0 <= b < 1 for b in self.betas):
            raise InputError(f"{self}: give a positive rate, and betas and an average from 0 to below 1.")

    @property
    def rows(self) -> int:
        """Objects of a network call."""
        return self.batch // self.levels

    @property
    def calls(self) -> int:
        """Objects that the network sees in a round."""
        return self.updates * self.levels * self.rows


@dataclass
class FineTuneState:
    """The model by now.

    Attributes:
        weights: of the network, float32, by name.
        average: their moving average, which is the result: `prior.with_weights(state.average)`.
        first, second: moments of Adam.
        updates: so far.
        inner: state of the rule.
        stopped: which limit was broken; empty if none.
    """

    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    first: dict[str, Tensor]
    second: dict[str, Tensor]
    updates: int
    inner: Any
    stopped: str


@dataclass(frozen=True)
class FineTune:
    """Move the prior itself: rounds of samples, and of gradient steps on the network's weights.

        method = el.train.FineTune(el.train.RewardWeighted(temperature=2.0), limits=(el.train.PathKL(most=20),))
        result = el.run(method, target, el.Budget(steps=50))
        tuned = target.prior.with_weights(result.state.average)

    The network in the prior is left as it is; the state has the weights, so that a run is saved and resumed as any.
    The result is a prior like any other, and `tuned.save_pretrained(folder)` writes it. `priors.lora(prior)` puts
    adapters into a network first, which are then all that is trained. A round that breaks a limit is taken back, and
    ends the run.

    Arguments:
        rule: what a round teaches: `RewardWeighted()`, for any reward; `Follow(method)`, what a search or a guided
            method finds; `AdjointMatching()`, for differentiable rewards, the unbiased tilt.
        fit: how weights follow.
        limits: `PathKL(most)`, `OffSupport(measure, most)`, `Typical()`, measured after each round.

    Raises:
        InputError: if the prior has no weights to train, or a budget pays for no round.
        torch.OutOfMemoryError: if an update does not fit: give a `Fit` with a smaller batch, or more levels.

    References:
        Gradient Guidance for Diffusion Models: An Optimization Perspective (Guo et al., 2024), arXiv:2404.14743.
        Adjoint Matching (Domingo-Enrich et al., 2024), arXiv:2409.08861.
    """

    rule: Rule = RewardWeighted()  # noqa: RUF009 (frozen)
    fit: Fit = Fit()
    limits: tuple[Limit, ...] = ()

    def init(self, target: Target, stream: Stream) -> FineTuneState:
        weights = {name: v.float().clone() for name, v in trainable(target.prior).weights().items()}
        zero = {name: torch.zeros_like(v) for name, v in weights.items()}
        return FineTuneState(weights, weights, zero, zero, 0, self.rule.init(target, stream), "")

    def step(self, target: Target, state: FineTuneState, stream: Stream) -> tuple[FineTuneState, Info]:
        """A round."""
        now = target.with_weights(state.weights)
        inner, lesson, info = self.rule.gather(now, target, state.inner, self.fit.times, stream)
        after = replace(state, inner=inner)
        if lesson is None:
            return after, info
        after, loss = self._teach(target, after, lesson, stream.at(purpose=Purpose.TRAIN))
        info.scalars["loss"] = loss
        if not all(bool(torch.isfinite(v).all()) for v in after.weights.values()):
            return replace(state, inner=inner, stopped="an update was not finite: give a smaller rate"), info
        for i, limit in enumerate(self.limits):
            check = stream.at(purpose=Purpose.CHECK, draw=DRAWS * i)
            value = limit.measure(target.with_weights(after.average), target, check)
            info.scalars[_name(limit)] = value
            if why := limit.broken(value):
                return replace(state, inner=inner, stopped=why), info
        return after, info

    def done(self, state: FineTuneState) -> bool:
        """Whether a limit is broken, or there is nothing more to teach."""
        return bool(state.stopped) or self.rule.done(state.inner)

    def cost(self, target: Target, state: FineTuneState) -> Meter:
        """Gathering, the updates, and the limits."""
        calls = self.fit.calls
        total = self.rule.cost(target, state.inner) + Meter(nfe=calls * target.prior.cost, grads=calls)
        for limit in self.limits:
            total = total + limit.cost(target)
        return total

    def _teach(
        self, target: Target, state: FineTuneState, lesson: Lesson, stream: Stream
    ) -> tuple[FineTuneState, float]:
        """The state after the updates of a round, and the mean of their losses."""
        fit, losses = self.fit, []
        weights = {name: v.clone() for name, v in state.weights.items()}
        average, kept = state.average, fit.average
        adam = _adam(fit, weights, state)
        for i in range(fit.updates):
            slopes = {name: torch.zeros_like(v) for name, v in weights.items()}
            for level in range(fit.levels):
                at = stream.at(draw=2 * (i * fit.levels + level))
                where = (level + float(at.uniform([1])[0])) / fit.levels
                draw = lesson.draw(target, fit.rows, min(where, 1 - 1e-9), at)

                def loss(other: Target, draw: Any = draw) -> Tensor:
                    off = other.denoise(draw.x, draw.t) - draw.y.to(draw.x)
                    return draw.weight * off.float().square().sum()  # a mean would be too small for half precision

                value, some = target.learn(loss, weights, fit.rows)
                share = 1 / (draw.x.numel() * fit.levels)
                losses.append(value * share)
                for name, slope in some.items():
                    slopes[name] += slope * share
            for name, v in weights.items():
                v.grad = slopes[name]
            adam.step()
            average = {name: kept * average[name] + (1 - kept) * v for name, v in weights.items()}
        moments = {key: {n: adam.state[v][key] for n, v in weights.items()} for key in ("exp_avg", "exp_avg_sq")}
        now = {name: v.detach().clone() for name, v in weights.items()}
        updates = state.updates + fit.updates
        after = replace(
            state,
            weights=now,
            average=average,
            first=moments["exp_avg"],
            second=moments["exp_avg_sq"],
            updates=updates,
        )
        return after, sum(losses) / fit.updates


def _adam(fit: Fit, weights: dict[str, Tensor], state: FineTuneState) -> torch.optim.Adam:
    """Adam where it was."""
    adam = torch.optim.Adam(list(weights.values()), fit.rate, fit.betas)
    for name, v in weights.items():
        step = torch.tensor(float(state.updates))
        adam.state[v] = {
            "step": step,
            "exp_avg": state.first[name].clone(),
            "exp_avg_sq": state.second[name].clone(),
        }
    return adam


def _name(limit: Limit) -> str:
    """The column of a limit: PathKL is path_kl."""
    word = type(limit).__name__
    return "".join(
        ("_" if i and c.isupper() and not word[i - 1].isupper() else "") + c.lower() for i, c in enumerate(word)
    )
