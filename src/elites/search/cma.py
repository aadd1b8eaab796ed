r"""CMA-ES, the evolution strategy that adapts a covariance, by its reference implementation.

    z_i = m + sigma y_i,    y_i ~ N(0, C)
    m <- sum_i w_i z_(i)    over the better half, best first
    C <- C + c_1 (p p^T - C) + c_mu sum_i w_i (y_(i) y_(i)^T - C)
    sigma <- sigma times what the length of the path of m says

It learns a full covariance, which takes memory d^2 and some d^2 evaluations, or its diagonal alone.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..types import InputError
from .asktell import Asking, Optimiser
from .elites import Restart
from .guards import Guard, Typical

__all__ = ["CMA"]

FULL = 100  # dimensions up to which the covariance is full by default: there a step costs a millisecond
MOST = 2000  # dimensions above which a full covariance is refused: a step would cost 50 milliseconds and more


@dataclass(frozen=True)
class Pycma:
    """A `CMAEvolutionStrategy` that may be asked again without having been told."""

    es: Any
    directions: list[np.ndarray]  # that the last population was to contain, until it is told

    def ask(self) -> Any:
        self.directions[:] = self.es.pop_injection_directions or self.directions
        self.es.pop_injection_directions = [y.copy() for y in self.directions]
        return self.es.ask()

    def tell(self, z: Any, losses: np.ndarray) -> None:
        self.es.tell(z, losses.tolist())
        self.directions.clear()


@dataclass(frozen=True)
class CMA(Asking):
    """CMA-ES on the shell of the noise, from mean 0 and spread sigma.

    The stopping criteria of pycma are ignored: they would end a search where rewards are equal for a while. What ends
    a round is `restart`, and a new round starts from the prior with other random numbers.

    Arguments:
        population: candidates of a step; by default 4 + floor(3 log d), and one more if that is odd.
        separable: learn a diagonal covariance; by default above 100 dimensions.
        sigma: spread of the first population; 1 is the prior's. On the shell it changes nothing.
        guard: where candidates may be: `Typical()`, or `Anywhere()` for what pycma does by itself.
        restart: `Restart(patience)`, or `None`.

    Raises:
        InputError: if the population has fewer than four candidates, sigma is not positive, or at `init` if the noise
            is one number or has more than 2,000 for a full covariance.
        ImportError: without the extra `cma`.

    References:
        The CMA Evolution Strategy: A Tutorial (Hansen, 2016), arXiv:1604.00772.
        A Simple Modification in CMA-ES Achieving Linear Time and Space Complexity (Ros and Hansen, 2008), PPSN.
        Implementation: pycma (Hansen, Akimoto and Baudis, 2019), BSD-3.

    Differences:
        Candidates are placed on the shell before they are decoded, and pycma is told the rewards for its own draws.
        Its random numbers come from the seed of the run and not from NumPy's global generator.
    """

    population: int | None = None  # type: ignore[assignment] # not known before the dimension is
    separable: bool | None = None
    sigma: float = 1.0
    guard: Guard = Typical()  # noqa: RUF009 (frozen)
    restart: Restart | None = Restart()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if self.population is not None and self.population < 4:
            raise InputError(f"The population is {self.population}: give at least 4 candidates to learn from.")
        if not self.sigma > 0:
            raise InputError(f"CMA(sigma={self.sigma}): give a positive spread.")

    def optimiser(self, d: int, seed: int) -> Optimiser:
        separable = d > FULL if self.separable is None else self.separable
        if d < 2:
            raise InputError("The noise is one number, and CMA needs two: use Elites or RandomSearch.")
        if d > MOST and not separable:
            raise InputError(f"A full covariance of {d:,} dimensions is too large: use CMA(separable=True).")
        try:
            import cma
        except ImportError as error:
            raise ImportError("CMA needs pycma: pip install 'elites[cma]'.") from error
        own = np.random.Generator(np.random.Philox(seed))
        least = 4 + math.floor(3 * math.log(d))
        options = {
            "popsize": self.population or least + least % 2,
            "CMA_diagonal": separable,
            "randn": lambda *shape: own.standard_normal(shape),
            "seed": np.nan,  # leave NumPy's global generator alone
            "verbose": -10,  # say nothing, write no file, read none
        }
        with warnings.catch_warnings():  # pycma changes the filters
            return Pycma(cma.CMAEvolutionStrategy(np.zeros(d), self.sigma, options), [])
