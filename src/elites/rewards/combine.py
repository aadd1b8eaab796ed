"""Rewards made of rewards: weighted sums on common scales, and constraints that come before everything else.

The parts may return whatever a reward may, in float32 like every reward, and each is logged under its name. Where one
of them fails, the object fails, and the reason says which. Where a part answers object by object, so does the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..answers import Scored, name_of
from ..types import InputError, Reward
from .asking import ask, ask_all, collected, rows, scored, take
from .scales import Standard
from .together import Each, Found, stream

__all__ = ["AtLeast", "Constrained", "Weighted", "fitted"]

Scale = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Weighted:
    r"""Weighted sum of rewards, each on a scale of its own.

        value = sum_k weight_k scale_k(r_k(x))

    Every r_k(x) is logged as it came, under its name, and so are its own parts, as `name.part`. `Weighted.fit` finds
    the scales.

    If a reward answers object by object, so does the sum, and passes no gradient; otherwise gradients pass where the
    rewards have them.

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
        rewards = {name: reward for name, (reward, _, _) in self.terms.items()}
        stream(self, rewards.values(), Each(rewards, partial(_sum, self.terms)))

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
        return _sum(self.terms, ask_all(objects, {name: reward for name, (reward, _, _) in self.terms.items()}))


def _sum(terms: Mapping[str, tuple[Reward, float, Scale]], found: Found) -> Scored:
    raw, reasons, logged = collected(found)
    total = torch.zeros((), dtype=torch.float64, device="cpu")
    for name, (_, weight, scale) in terms.items():
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

    If the reward or a constraint answers object by object, so does this, and passes no gradient. Then the reward is
    asked about an object as soon as that is known to be feasible; a reward of a batch waits for the last of them.

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
        parts = {name: c.reward for name, c in self.constraints.items()}
        tell, wanted = partial(_constrained, self.constraints, self.floor), partial(_all_feasible, self.constraints)
        stream(self, [*parts.values(), self.reward], Each(parts, tell, {"reward": self.reward}, wanted))

    def __repr__(self) -> str:
        return f"Constrained({name_of(self.reward)}, {self.constraints!r}, floor={self.floor!r})"

    def __call__(self, objects: Any) -> Scored:
        """Values `(B,)` and terms."""
        found = ask_all(objects, {name: c.reward for name, c in self.constraints.items()})
        at = _feasible(self.constraints, found).nonzero().flatten().tolist()
        if at:
            found["reward"] = ask(self.reward, take(objects, at)).at(at, len(objects))
        return _constrained(self.constraints, self.floor, found)


def _feasible(constraints: Mapping[str, AtLeast], found: Found) -> Tensor:
    """Which of n objects are: booleans `(n,)`."""
    met = []
    for name, c in constraints.items():
        values, reasons, _ = found[name]
        enough = values.detach().float() >= torch.full_like(values, c.bound).float()
        met.append(enough & ~rows(reasons, len(values)))
    return torch.stack(met).all(0)


def _all_feasible(constraints: Mapping[str, AtLeast], found: Found) -> bool:
    return bool(_feasible(constraints, found).all())


def _constrained(constraints: Mapping[str, AtLeast], floor: float, found: Found) -> Scored:
    """`found` holds the reward where anything is feasible."""
    known, reasons, logged = collected({name: found[name] for name in constraints})
    feasible = _feasible(constraints, found)
    nothing = torch.full((len(feasible),), torch.nan, dtype=torch.float64, device="cpu")
    values = torch.full_like(nothing, floor)
    for name, c in constraints.items():
        values = values - (c.bound - known[name]).clamp(min=0) / c.unit
    logged["reward"] = nothing
    if "reward" in found:
        asked, why, parts = collected({"reward": found["reward"]})
        values = torch.where(feasible, asked["reward"], values)
        logged |= {name: torch.where(feasible, part, torch.nan) for name, part in parts.items()}
        reasons |= why
        low = feasible & (values.detach().float() < torch.full_like(nothing, floor).float())
        for i in low.nonzero().flatten().tolist():
            below = f"reward: {float(values[i]):g} is below the floor of {floor:g}, which has to be lower"
            reasons.setdefault(i, below)
    return scored(values, reasons, logged)


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
