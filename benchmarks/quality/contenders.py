"""Who competes: our searches, and everything else that one could pick instead, as it is and held on the shell.

`held` peers are put on the shell by our guard, which is kinder to them than they are to themselves: those as shipped
leave it, and what they win there is shown but is not ranked. CMA-ES held on the shell is `elites.CMA`; it counts as a
peer here, since pycma does the work.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

import elites as el
from benchmarks import peers
from elites.search import Anywhere, AskTell, Typical

LOW = 64  # dimensions up to which slow libraries are tried


@dataclass(frozen=True)
class Contender:
    """A search; `make(d, candidates)` builds it for d dimensions and at most that many candidates."""

    make: Callable[[int, int], Any]
    ours: bool = False
    least: int = 1
    most: int = 10**9
    images: bool = False
    gradients: bool = False
    shared: bool = True  # whether runs of several seeds ask for the network in step


def usual(d: int) -> int:
    """The population that CMA-ES and its kin recommend."""
    return 4 + int(3 * math.log(d))


def snes(problem: Any, d: int, n: int) -> Any:
    from evotorch.algorithms import SNES

    return SNES(problem, stdev_init=1.0, popsize=n, center_init=torch.zeros(d))


def pgpe(problem: Any, d: int, n: int) -> Any:
    from evotorch.algorithms import PGPE

    return PGPE(
        problem,
        popsize=n + n % 2,
        center_learning_rate=0.5,
        stdev_learning_rate=0.1,
        stdev_init=1.0,
        center_init=torch.zeros(d),
    )


def cem(problem: Any, d: int, n: int) -> Any:
    from evotorch.algorithms import CEM

    return CEM(problem, popsize=n, parenthood_ratio=0.25, stdev_init=1.0, center_init=torch.zeros(d))


def cosyne(problem: Any, d: int, n: int) -> Any:
    from evotorch.algorithms import Cosyne

    return Cosyne(problem, popsize=n, tournament_size=4, mutation_stdev=0.3)


def nevergrad(name: str, d: int, n: int) -> Any:
    import nevergrad as ng

    return peers.nevergrad(ng.optimizers.registry[name], budget=n)


def optuna(d: int, n: int) -> Any:
    import optuna as op

    return peers.optuna(lambda seed: op.samplers.CmaEsSampler(seed=seed))


LIBRARIES: dict[
    str, tuple[Callable[[int, int], Any], Callable[[int], int], int, int]
] = {  # make, population, least and most d
    "EvoTorch SNES": (lambda d, n: peers.evotorch(snes), usual, 1, 10**9),
    "EvoTorch PGPE": (lambda d, n: peers.evotorch(pgpe), lambda d: 25, 1, 10**9),
    "EvoTorch CEM": (lambda d, n: peers.evotorch(cem), lambda d: 25, 1, 10**9),
    "EvoTorch CoSyNE": (lambda d, n: peers.evotorch(cosyne), lambda d: 25, 1, 10**9),
    "nevergrad NGOpt": (partial(nevergrad, "NGOpt"), lambda d: 8, 3, LOW),
    "nevergrad DE": (partial(nevergrad, "TwoPointsDE"), lambda d: 25, 1, LOW),
    "pyribs CMA-ME": (lambda d, n: peers.pyribs(), lambda d: 25, 1, LOW),
    "Optuna CMA": (optuna, lambda d: 8, 1, 2),
}


SHIPPED = ("EvoTorch SNES", "EvoTorch PGPE", "EvoTorch CEM")  # and pycma; the others are shown on the shell alone


def _library(name: str, guard: Any, d: int, n: int) -> AskTell:
    make, population, _, _ = LIBRARIES[name]
    # what a library does about a stall is its own affair; held on the shell it gets our rule as well
    restart = None if isinstance(guard, Anywhere) else el.search.Restart()
    return AskTell(make(d, n), population(d), guard=guard, restart=restart)


def _cma(separable: bool, guard: Any, d: int, n: int) -> el.CMA:
    restart = None if isinstance(guard, Anywhere) else el.search.Restart()
    return el.CMA(separable=separable, guard=guard, restart=restart)


def contenders() -> dict[str, Contender]:
    """By name; [brackets] mark peers as shipped."""
    found = {
        "best of N": Contender(lambda d, n: el.RandomSearch(10)),
        "zero order, published": Contender(lambda d, n: el.ZeroOrder(4, patience=1)),
        "published loop": Contender(lambda d, n: el.Elites.published(25)),
        "SES, published": Contender(
            lambda d, n: AskTell(peers.spectral, 10, guard=Anywhere(), restart=None), images=True
        ),
        "Elites": Contender(lambda d, n: el.Elites(), ours=True),
        "Elites, 16": Contender(lambda d, n: el.Elites(16), ours=True),
        "Auto": Contender(lambda d, n: el.Auto(), ours=True, gradients=True, shared=False),
        "Auto, no gradients": Contender(lambda d, n: el.Auto(gradients=False), ours=True, shared=False),
        "noise ascent": Contender(lambda d, n: el.NoiseAscent(), ours=True, gradients=True, shared=False),
        "Evolve": Contender(lambda d, n: el.Evolve(), ours=True),
        "zero order": Contender(lambda d, n: el.ZeroOrder(4), ours=True),
        "spectral": Contender(lambda d, n: el.Spectral(basis=el.search.DCT(0.5)), ours=True, images=True),
    }
    for guard in (Typical(), Anywhere()):
        name = "{}, held" if isinstance(guard, Typical) else "[{}]"
        for library, (_, _, least, most) in LIBRARIES.items():
            if isinstance(guard, Typical) or library in SHIPPED:
                found[name.format(library)] = Contender(partial(_library, library, guard), least=least, most=most)
        found[name.format("pycma")] = Contender(partial(_cma, False, guard), most=300)
        found[name.format("pycma, separable")] = Contender(partial(_cma, True, guard))
    return found
