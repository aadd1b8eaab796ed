"""Rewards that are not sure of themselves: repeated ones, and verifiers that disagree."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..answers import Scored, name_of
from ..types import InputError, Reward
from .asking import Answer, ask, ask_all, ask_each, collected, nan_at, rows, scored, take
from .combine import Scale, fitted
from .scales import Rank
from .together import Each, Found, stream, told

__all__ = ["Ensemble", "Repeated"]


@dataclass(frozen=True, eq=False, repr=False)
class Repeated:
    r"""A noisy reward, asked several times: the mean of m answers, and its standard error.

        value          = (r_1 + ... + r_m) / m
        standard_error = sd(r_1 ... r_m) / sqrt(m),    with the unbiased variance

    A repeat that fails is left out where at least half of them gave a number, and the object fails otherwise. Logged
    are `standard_error`, NaN if one number is left; `repeats`, how many are; and the mean of each part that the reward
    itself names. An object counts as one reward, however many its repeats.

    If the reward answers object by object, so does this, one object's repeats after another's, and passes no gradient.

    The best of many noisy values is too high, however often each is repeated: ask about the winner once more.

    Arguments:
        reward: of any kind; it has to draw anew at each call.
        times: m, at least 2.
        average: numbers `(k,)` to one, such as `torch.median` where some answers are far off; the standard error
            remains that of the mean.

    Raises:
        InputError: if the reward is not callable, or `times` is below 2.
    """

    reward: Reward
    times: int
    average: Callable[[Tensor], Tensor] = torch.mean

    def __post_init__(self) -> None:
        if not callable(self.reward) or self.times < 2:
            raise InputError(f"{self}: give a reward, and at least 2 times.")
        stream(self, [self.reward], partial(_each, self.reward, self.times, self.average))

    def __repr__(self) -> str:
        average = getattr(self.average, "__name__", None) or repr(self.average)
        return f"Repeated({name_of(self.reward)}, {self.times!r}, average={average})"

    def __call__(self, objects: Any) -> Scored:
        """Values `(B,)` and terms."""
        return _mean([ask(self.reward, objects) for _ in range(self.times)], self.average)


def _each(reward: Any, times: int, average: Callable[[Tensor], Tensor], objects: Any) -> Iterator[tuple[int, Any]]:
    """(Position, answer) as all repeats of an object are there."""
    heard: list[list[Answer]] = [[] for _ in range(len(objects))]
    for k, answer in ask_each(reward, take(objects, [i for i in range(len(objects)) for _ in range(times)])):
        asked = heard[k // times]
        asked.append(answer)
        if len(asked) == times:
            yield k // times, told(partial(_mean, asked, average))


def _mean(asked: Sequence[Answer], average: Callable[[Tensor], Tensor]) -> Scored:
    """Of the answers of all repeats."""
    numbers = torch.stack([a.values for a in asked])
    good = torch.stack([~rows(a.reasons, numbers.shape[1]) for a in asked])
    values, error, reasons = [], torch.full_like(numbers[0].detach(), torch.nan), {}
    for i in range(numbers.shape[1]):
        kept = numbers[good[:, i], i]
        if 2 * len(kept) < len(asked):
            why = next(a.reasons[i] for a in asked if i in a.reasons)
            reasons[i] = f"{len(asked) - len(kept)} of {len(asked)} repeats failed: {why}"
        if len(kept) > 1:
            error[i] = kept.detach().std() / math.sqrt(len(kept))
        values.append(numbers[0, i] if i in reasons else average(kept))
    names = {name: None for a in asked for name in a.parts}
    parts = {k: torch.stack([a.parts[k] for a in asked if k in a.parts]).nanmean(0) for k in names}
    parts |= {"standard_error": error, "repeats": good.sum(0).double()}
    return scored(torch.stack(values), reasons, parts)


@dataclass(frozen=True, eq=False, repr=False)
class Ensemble:
    r"""Mean of several verifiers on common scales, and how much they disagree.

        value        = (s_1 + ... + s_K) / K,    s_k = scale_k(r_k(x))
        disagreement = sd(s_1 ... s_K),          with the unbiased variance

    With `Rank` scales it is the mean rank. Every r_k(x) is logged under its name, beside `disagreement`: where that
    grows while the value does, the search exploits one of them. `Ensemble.fit` finds the scales. If a verifier answers
    object by object, so does the ensemble, and passes no gradient.

    Arguments:
        verifiers: name to (reward, scale), at least two.

    Raises:
        InputError: if there are fewer than two, one is named `disagreement`, or a reward or a scale is not callable.

    References:
        Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps (Ma et al., 2025),
        arXiv:2501.09732, for the mean rank of verifiers.

    Differences:
        The paper ranks candidates among one another; here the reference is a set of prior samples, so that a value
        does not depend on the other candidates.
    """

    verifiers: Mapping[str, tuple[Reward, Scale]]

    def __post_init__(self) -> None:
        if len(self.verifiers) < 2 or "disagreement" in self.verifiers:
            raise InputError("An ensemble needs at least two verifiers, none of them named 'disagreement'.")
        for name, (reward, scale) in self.verifiers.items():
            if not (callable(reward) and callable(scale)):
                raise InputError(f"The verifier {name!r} is no (reward, scale): give one.")
        object.__setattr__(self, "verifiers", dict(self.verifiers))
        rewards = {name: reward for name, (reward, _) in self.verifiers.items()}
        stream(self, rewards.values(), Each(rewards, partial(_agreement, self.verifiers)))

    @classmethod
    def fit(
        cls, objects: Any, verifiers: Mapping[str, Reward], scale: Callable[[Tensor], Scale] = Rank.of
    ) -> Ensemble:
        """With scales that suit what these objects score.

        Arguments:
            objects: a batch of some 32 decoded prior samples; each verifier is called once on it, counted by no meter.
            verifiers: name to reward.
            scale: numbers `(n,)` to a scale: `Rank.of` or `Standard.of`.

        Raises:
            InputError: if a verifier fails on more than half of the objects, or is the same on all of them.
        """
        scales = fitted(objects, verifiers, scale)
        return cls({name: (reward, scales[name]) for name, reward in verifiers.items()})

    def __repr__(self) -> str:
        verifiers = (f"{name!r}: ({name_of(reward)}, {s!r})" for name, (reward, s) in self.verifiers.items())
        return f"Ensemble({{{', '.join(verifiers)}}})"

    def __call__(self, objects: Any) -> Scored:
        """Values `(B,)` and terms."""
        return _agreement(self.verifiers, ask_all(objects, {k: reward for k, (reward, _) in self.verifiers.items()}))


def _agreement(verifiers: Mapping[str, tuple[Reward, Scale]], found: Found) -> Scored:
    raw, reasons, logged = collected(found)
    scaled = [scale(raw[name]) for name, (_, scale) in verifiers.items()]
    mean = sum(scaled[1:], scaled[0]) / len(scaled)  # one by one: a sum of torch may depend on the other rows
    squares = [(s - mean).detach().square() for s in scaled]
    spread = (sum(squares[1:], squares[0]) / (len(scaled) - 1)).sqrt()
    logged["disagreement"] = nan_at(reasons, spread)
    return scored(mean, reasons, logged)
