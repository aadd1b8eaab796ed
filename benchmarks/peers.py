"""Optimisers of other libraries as `make` functions for `AskTell`, to compare with.

    AskTell(nevergrad(ng.optimizers.DE, budget=1000), population=16, guard=Anywhere(), restart=None)

is nevergrad as it is; `Typical()`, the default, holds it on the shell. Each starts at mean 0 with the spread of the
prior, takes its random numbers from the seed it is given, and minimises.

    nevergrad   any optimiser: ng.optimizers.DE, NGOpt, OnePlusOne, ...
    optuna      any sampler: TPESampler and CmaEsSampler, in few dimensions
    evotorch    any search algorithm: SNES, PGPE, CEM, Cosyne, ...
    pycma       is `elites.CMA(guard=Anywhere())`
    pyribs      needs measures and has `elites.QualityDiversity`

Nothing here is imported before it is used. EvoTorch needs ray; install it for the comparison alone.
"""

import logging
import queue
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

Make = Callable[[int, int, int], Any]  # (d, population, seed) -> an optimiser with ask and tell
REACH = 3.0  # half the range of a bounded space; samplers that start at a sixth of the range start at spread 1


class Nevergrad:
    """A nevergrad optimiser, asked for candidates one by one."""

    def __init__(self, optimizer: Any, population: int) -> None:
        self.optimizer, self.population, self.asked = optimizer, population, []

    def ask(self) -> np.ndarray:
        """A population of candidates."""
        self.asked = [self.optimizer.ask() for _ in range(self.population)]
        return np.stack([candidate.value for candidate in self.asked])

    def tell(self, z: Any, losses: np.ndarray) -> None:
        """The losses of the candidates asked for last."""
        for candidate, loss in zip(self.asked, losses, strict=True):
            self.optimizer.tell(candidate, float(loss))


def nevergrad(optimizer: Callable[..., Any], budget: int) -> Make:
    """`make` for a nevergrad optimiser class; several of them plan for a budget of evaluations."""

    def make(d: int, population: int, seed: int) -> Nevergrad:
        import nevergrad as ng

        space = ng.p.Array(shape=(d,))  # from 0 with spread 1
        space.random_state = np.random.RandomState(seed)  # what nevergrad takes
        return Nevergrad(optimizer(parametrization=space, budget=budget, num_workers=population), population)

    return make


class Optuna:
    """An Optuna study, asked for trials one by one."""

    def __init__(self, study: Any, space: dict[str, Any], population: int) -> None:
        self.study, self.space, self.population, self.asked = study, space, population, []

    def ask(self) -> np.ndarray:
        """A population of trials."""
        self.asked = [self.study.ask(self.space) for _ in range(self.population)]
        return np.array([[trial.params[name] for name in self.space] for trial in self.asked])

    def tell(self, z: Any, losses: np.ndarray) -> None:
        """The losses of the trials asked for last."""
        for trial, loss in zip(self.asked, losses, strict=True):
            self.study.tell(trial, float(loss))


def optuna(sampler: Callable[[int], Any]) -> Make:
    """`make` for `sampler(seed)`, such as `lambda seed: TPESampler(seed=seed, constant_liar=True)`."""

    def make(d: int, population: int, seed: int) -> Optuna:
        import optuna as op

        op.logging.set_verbosity(op.logging.WARNING)
        space = {f"z{i}": op.distributions.FloatDistribution(-REACH, REACH) for i in range(d)}
        return Optuna(op.create_study(sampler=sampler(seed), direction="minimize"), space, population)

    return make


class Inverted:
    """A search that calls its objective, as one that is asked and told: it runs in a thread and waits there."""

    def __init__(self, build: Callable[[Callable[[Tensor], Tensor]], Any]) -> None:
        drawn: queue.Queue[Any] = queue.Queue()
        heard: queue.Queue[Any] = queue.Queue()

        def objective(z: Tensor) -> Tensor:
            drawn.put(torch.as_tensor(z).detach().clone())
            losses = heard.get()
            if losses is None:
                raise SystemExit  # nobody asks any more
            return losses

        def work() -> None:
            try:
                with suppress(SystemExit):
                    search = build(objective)
                    while True:
                        search.step()
            except Exception as error:  # for whoever asks next
                drawn.put(error)

        self.drawn, self.heard, self.last = drawn, heard, None
        threading.Thread(target=work, daemon=True).start()
        weakref.finalize(self, heard.put, None)

    def ask(self) -> Tensor:
        """The population that waits for its losses; the same again if it was not told."""
        if self.last is None:
            self.last = self.drawn.get()
        if isinstance(self.last, Exception):
            raise self.last
        return self.last

    def tell(self, z: Any, losses: np.ndarray) -> None:
        """The losses of that population."""
        self.last = None
        self.heard.put(torch.from_numpy(losses).float())


def evotorch(search: Callable[[Any, int, int], Any]) -> Make:
    """`make` for `search(problem, d, population)`, an EvoTorch algorithm.

    For example `lambda p, d, n: SNES(p, stdev_init=1.0, popsize=n, center_init=torch.zeros(d))`, or
    `lambda p, d, n: Cosyne(p, popsize=n, tournament_size=4, mutation_stdev=0.3)`, which scores more than n in a step.
    """

    def make(d: int, population: int, seed: int) -> Inverted:
        def build(objective: Callable[[Tensor], Tensor]) -> Any:
            from evotorch import Problem

            logging.getLogger("evotorch").setLevel(logging.WARNING)

            wide = 3**0.5  # uniform with variance 1, for algorithms that draw their first population from the bounds
            problem = Problem(
                "min", objective, solution_length=d, initial_bounds=(-wide, wide), vectorized=True, seed=seed
            )
            return search(problem, d, population)

        return Inverted(build)

    return make


class Pyribs:
    """CMA-ME of pyribs; the measures are two fixed directions of the noise, for which a single reward has no use."""

    def __init__(self, d: int, population: int, seed: int) -> None:
        from ribs.archives import GridArchive
        from ribs.emitters import EvolutionStrategyEmitter
        from ribs.schedulers import Scheduler

        archive = GridArchive(solution_dim=d, dims=(20, 20), ranges=[(-3, 3)] * 2, seed=seed)
        emitter = EvolutionStrategyEmitter(
            archive, x0=np.zeros(d), sigma0=1.0, batch_size=population, ranker="2imp", seed=seed + 1
        )
        self.scheduler = Scheduler(archive, [emitter])
        self.axes = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, 2)))[0]

    def ask(self) -> np.ndarray:
        """A population of candidates."""
        return self.scheduler.ask()

    def tell(self, z: Any, losses: np.ndarray) -> None:
        """The losses of the candidates asked for last."""
        self.scheduler.tell(-losses, z @ self.axes)


def pyribs() -> Make:
    """`make` for CMA-ME."""
    return Pyribs


class SpectralEvolution:
    """Spectral evolution search as published: a Gaussian over the low Haar coefficients of square noise.

    The rest stays as it was drawn; mean and unbiased variance are those of the five best so far.
    """

    def __init__(self, d: int, population: int, seed: int, level: int = 1) -> None:
        from elites.search import Haar

        side = round(d**0.5)
        self.rows = Haar(level).rows(side).double().numpy()
        self.own, self.population = np.random.default_rng(seed), population
        base = self.own.standard_normal((side, side))
        self.rest = base - self.rows.T @ (self.rows @ base @ self.rows.T) @ self.rows
        k = len(self.rows)
        self.mean, self.variance = np.zeros((k, k)), np.ones((k, k))
        self.best: list[tuple[float, np.ndarray]] = []

    def ask(self) -> np.ndarray:
        """A population of noises."""
        spread = np.sqrt(np.maximum(self.variance, 1e-9))
        self.drawn = self.mean + spread * self.own.standard_normal((self.population, *self.mean.shape))
        return (self.rest + self.rows.T @ self.drawn @ self.rows).reshape(self.population, -1)

    def tell(self, z: Any, losses: np.ndarray) -> None:
        """The losses of the population asked for last."""
        told = zip(losses.tolist(), self.drawn, strict=True)
        self.best = sorted([*self.best, *told], key=lambda pair: pair[0])[:5]
        top = np.stack([c for _, c in self.best])
        self.mean, self.variance = top.mean(0), top.var(0, ddof=1) + 1e-7


spectral: Make = SpectralEvolution
