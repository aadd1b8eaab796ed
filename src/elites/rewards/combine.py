"""Rewards made of rewards: weighted sums on common scales, and constraints that come before everything else.

The parts may return whatever a reward may, in float32 like every reward, and each is logged under its name. Where one
of them fails, the object fails, and the reason says which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..answers import Scored, readings
from ..types import InputError, Reward
from .basic import name_of
from .scales import Standard
from .waiting import awaited

__all__ = ["AtLeast", "Constrained", "Weighted", "ask", "ask_all", "fitted", "nan_at", "rows", "scored"]

Scale = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Weighted:
    r"""Weighted sum of rewards, each on a scale of its own.

        value = sum_k weight_k scale_k(r_k(x))

    Every r_k(x) is logged as it came, under its name, and so are its own parts, as `name.part`. Gradients pass where
    the rewards have them. `Weighted.fit` finds the scales.

    Arguments:
        terms: name to (reward, weight, scale); a weight may be negative, and a scale is an increasing function of
            float64 numbers `(B,)`, such as `Standard(mean, sd)`, `Rank(reference)` or `Raw()`.

    Raises:
        InputError: if there is no term, a reward or a scale is not callable, or a weight is not finite.
    """

    terms: Mapping[str, tuple[Reward, float, Scale]]

    def __post_init__(self) -> None:
        if not self.terms:
            raise InputError("A weighted sum needs at least one term: give name to (reward, weight, scale).")
        for name, term in self.terms.items():
            if len(term) != 3 or not (callable(term[0]) and math.isfinite(term[1]) and callable(term[2])):
                raise InputError(f"The term {name!r} is no (reward, finite weight, scale): give one, or use fit.")
        object.__setattr__(self, "terms", dict(self.terms))

    @classmethod
    def fit(
        cls,
        objects: Any,
        terms: Mapping[str, tuple[Reward, float]],
        scale: Callable[[Tensor], Scale] = Standard.of,
    ) -> Weighted:
        """With scales that suit what these objects score, so that weights say how much a term counts.

        Arguments:
            objects: a batch of some 32 decoded prior samples; each reward is called once on it, counted by no meter.
            terms: name to (reward, weight).
            scale: numbers `(n,)` to a scale: `Standard.of` or `Rank.of`.

        Raises:
            InputError: if a term fails on more than half of the objects, is the same on all of them, or is no pair.
        """
        for name, term in terms.items():
            if not isinstance(term, tuple) or len(term) != 2:
                raise InputError(f"The term {name!r} is no (reward, weight): give one.")
        scales = fitted(objects, {name: reward for name, (reward, _) in terms.items()}, scale)
        return cls({name: (reward, weight, scales[name]) for name, (reward, weight) in terms.items()})

    def __repr__(self) -> str:
        terms = (f"{k!r}: ({name_of(reward)}, {w!r}, {s!r})" for k, (reward, w, s) in self.terms.items())
        return f"Weighted({{{', '.join(terms)}}})"

    def __call__(self, objects: Any) -> Scored:
        """Values `(B,)` and terms."""
        raw, reasons, logged = ask_all(objects, {name: term[0] for name, term in self.terms.items()})
        total = torch.zeros(len(objects), dtype=torch.float64, device="cpu")
        for name, (_, weight, scale) in self.terms.items():
            total = total + weight * scale(raw[name])
        return scored(total, reasons, logged)


@dataclass(frozen=True, eq=False, repr=False)
class AtLeast:
    """A constraint: a reward that has to reach a bound.

    Arguments:
        reward: what has to reach it, such as a reward that is minus what has to stay small.
        bound: in the unit of the reward.
        unit: what one unit of shortfall is, in the same unit, where several constraints are added.

    Raises:
        InputError: if the reward is not callable, the bound is not finite, or the unit is not positive.
    """

    reward: Reward
    bound: float
    unit: float = 1.0

    def __post_init__(self) -> None:
        if not (callable(self.reward) and math.isfinite(self.bound) and 0 < self.unit < math.inf):
            raise InputError(f"{self}: give a reward, a finite bound and a unit above zero.")

    def __repr__(self) -> str:
        return f"AtLeast({name_of(self.reward)}, {self.bound!r}, unit={self.unit!r})"


@dataclass(frozen=True, eq=False, repr=False)
class Constrained:
    r"""A reward among objects that meet all constraints; any of these is better than any other object.

        value = r(x)                                             if c_k(x) >= bound_k for all k
              = floor - sum_k max(bound_k - c_k(x), 0) / unit_k  otherwise

    So a search first finds what is feasible, by the slope of the shortfall, and then the best of that. The reward is
    asked about feasible objects alone: a cheap constraint saves a costly reward. Logged are the constraints under
    their names, and the reward as `reward`, which is NaN where it was not asked. A feasible object below the floor is
    a failure. Numbers are compared in float32, which is what rewards are.

    Arguments:
        reward: of feasible objects.
        constraints: name to `AtLeast(reward, bound)`.
        floor: a number that no feasible object is below, in the unit of the reward.

    Raises:
        InputError: if there is no constraint, one is named `reward`, or the floor is not finite.

    References:
        An efficient constraint handling method for genetic algorithms (Deb, 2000), Computer Methods in Applied
        Mechanics and Engineering 186.

    Differences:
        The floor is given, where the paper takes the worst feasible object of the population, so that a value does
        not depend on the others.
    """

    reward: Reward
    constraints: Mapping[str, AtLeast]
    floor: float

    def __post_init__(self) -> None:
        if not self.constraints or not all(isinstance(c, AtLeast) for c in self.constraints.values()):
            raise InputError("Give at least one constraint, as name to AtLeast(reward, bound).")
        if not callable(self.reward) or "reward" in self.constraints or not math.isfinite(self.floor):
            raise InputError(f"{self}: give a reward, a finite floor, and constraints of other names than 'reward'.")
        object.__setattr__(self, "constraints", dict(self.constraints))

    def __repr__(self) -> str:
        return f"Constrained({name_of(self.reward)}, {self.constraints!r}, floor={self.floor!r})"

    def __call__(self, objects: Any) -> Scored:
        """Values `(B,)` and terms."""
        n = len(objects)
        found, reasons, logged = ask_all(objects, {name: c.reward for name, c in self.constraints.items()})
        nothing = torch.full((n,), torch.nan, dtype=torch.float64, device="cpu")
        values, infeasible = torch.full_like(nothing, self.floor), rows(reasons, n)
        for name, c in self.constraints.items():
            infeasible |= found[name].detach().float() < torch.full_like(found[name], c.bound).float()
            values = values - (c.bound - found[name]).clamp(min=0) / c.unit
        logged["reward"] = nothing
        at = (~infeasible).nonzero().flatten()
        if len(at):
            asked, why, parts = ask_all(_take(objects, at.tolist()), {"reward": self.reward})
            values = values.index_copy(0, at, asked["reward"])
            logged |= {name: nothing.index_copy(0, at, part) for name, part in parts.items()}
            reasons |= {int(at[k]): reason for k, reason in why.items()}
            for i in at[values[at].detach().float() < torch.full_like(values[at], self.floor).float()].tolist():
                below = f"reward: {float(values[i]):g} is below the floor of {self.floor:g}, which has to be lower"
                reasons.setdefault(i, below)
        return scored(values, reasons, logged)


class Answer(NamedTuple):
    """What a reward said about n objects.

    Attributes:
        values: `(n,)` float64 on the CPU, gradients kept; zero where it failed.
        reasons: of the failures, by row.
        parts: named parts, each `(n,)` float64, NaN where missing.
    """

    values: Tensor
    reasons: dict[int, str]
    parts: dict[str, Tensor]


def ask(reward: Reward, objects: Any) -> Answer:
    """What a reward of any kind says about a batch; what it raises is a failure of every object."""
    n = len(objects)
    try:
        out = awaited(reward(objects))
        named = dict(out.terms) if isinstance(out, Scored) else {}
        values, reasons, lists = readings(out.values if isinstance(out, Scored) else out, n)
        parts = {name: torch.tensor(part, dtype=torch.float64, device="cpu") for name, part in lists.items()}
        for name, part in named.items():
            numbers, wrong, _ = readings(part, n)
            parts[name] = nan_at(wrong, numbers.detach().double())
    except torch.OutOfMemoryError:
        raise  # the target halves the batch
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        values, reasons, _ = readings([error] * n, n)
        parts = {}
    for i in (~torch.isfinite(values.detach())).nonzero().flatten().tolist():
        reasons.setdefault(i, "it is NaN" if values[i].isnan() else "it is infinite")
    return Answer(torch.where(rows(reasons, n), 0.0, values.double()), reasons, parts)


def ask_all(
    objects: Any, rewards: Mapping[str, Reward]
) -> tuple[dict[str, Tensor], dict[int, str], dict[str, Tensor]]:
    """Values by name, zero where one failed; reasons by row, which name what failed first; and what to log."""
    values: dict[str, Tensor] = {}
    reasons: dict[int, str] = {}
    logged: dict[str, Tensor] = {}
    for name, reward in rewards.items():
        answer = ask(reward, objects)
        values[name] = answer.values
        logged[name] = nan_at(answer.reasons, answer.values.detach())
        logged |= {f"{name}.{part}": numbers for part, numbers in answer.parts.items()}
        reasons = {i: f"{name}: {reason}" for i, reason in answer.reasons.items()} | reasons
    return values, reasons, logged


def scored(values: Tensor, reasons: Mapping[int, str], terms: Mapping[str, Any]) -> Scored:
    """Values `(n,)` with an exception in the place of each that failed, and terms."""
    if not reasons:
        return Scored(values, terms)
    return Scored([ValueError(reasons[i]) if i in reasons else v for i, v in enumerate(values)], terms)


def fitted(objects: Any, rewards: Mapping[str, Reward], scale: Callable[[Tensor], Scale]) -> dict[str, Scale]:
    """A scale for each reward by what it says about these objects.

    Raises:
        InputError: if a reward fails on more than half of the objects, or is the same on all of them.
    """
    out: dict[str, Scale] = {}
    n = len(objects)
    for name, reward in rewards.items():
        with torch.no_grad():
            answer = ask(reward, objects)
        good = answer.values[[i for i in range(n) if i not in answer.reasons]]
        if 2 * len(good) < n:
            raise InputError(
                f"The term {name!r} failed on {n - len(good)} of {n} objects ({next(iter(answer.reasons.values()))}): "
                "mend it before a search."
            )
        if len(good.unique()) < 2:
            what = f"{float(good[0]):g} on all" if len(good) else "known on none of"
            raise InputError(
                f"The term {name!r} is {what} {len(good)} objects, which gives it no scale: leave it out, or give "
                "objects that it tells apart."
            )
        out[name] = scale(good)
    return out


def rows(some: Collection[int], n: int) -> Tensor:
    """Booleans `(n,)`, true in these rows."""
    return torch.tensor([i in some for i in range(n)], dtype=torch.bool, device="cpu")


def nan_at(some: Collection[int], values: Tensor) -> Tensor:
    """Numbers `(n,)` with NaN in these rows."""
    return torch.where(rows(some, len(values)), torch.nan, values)


def _take(objects: Any, rows: list[int]) -> Any:
    if len(rows) == len(objects):
        return objects
    return objects[rows] if isinstance(objects, Tensor | np.ndarray) else [objects[i] for i in rows]
