"""The optimisers of other libraries that the benchmarks compare with, under our laws."""

import copy
import threading
import time

import pytest
import torch
from benchmarks.peers import Inverted, evotorch, nevergrad, optuna
from helpers import assert_same, bits, generators, half_nan, on_humps

import elites as el
from elites.search import Anywhere, AskTell


def ng_make(name):
    ng = pytest.importorskip("nevergrad")
    return nevergrad(ng.optimizers.registry[name], budget=200)


def tpe():
    op = pytest.importorskip("optuna")
    return optuna(lambda seed: op.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=8))


class Stepping:
    """A search that calls its objective, once or twice a step, as those of EvoTorch do."""

    def __init__(self, objective, d, population, seed):
        self.objective, self.own = objective, torch.Generator().manual_seed(seed)
        self.shape, self.at, self.least = (population, d), torch.zeros(d), torch.inf

    def step(self):
        for size in (self.shape[0], self.shape[0] // 2):
            z = self.at + torch.randn(size, self.shape[1], generator=self.own)
            losses = self.objective(z)
            if losses.min() < self.least:
                self.at, self.least = z[losses.argmin()], losses.min()


def inverted(d, population, seed):
    return Inverted(lambda objective: Stepping(objective, d, population, seed))


KINDS = [
    pytest.param(lambda: ng_make("DE"), id="nevergrad DE"),
    pytest.param(lambda: ng_make("CMA"), id="nevergrad CMA"),
    pytest.param(lambda: ng_make("OnePlusOne"), id="nevergrad one plus one"),
    pytest.param(tpe, id="optuna TPE"),
    pytest.param(lambda: inverted, id="a search that calls its objective"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_runs_repeats_resumes_and_touches_no_global_generator(kind, tmp_path):
    method = AskTell(kind(), 6)
    want = el.run(method, on_humps(reward=half_nan), el.Budget(steps=6), seed=2)
    before = generators()
    folder, left = tmp_path / "run", iter(range(3))
    el.run(
        method,
        on_humps(reward=half_nan),
        el.Budget(steps=6),
        seed=2,
        on=[el.Checkpoint(folder)],
        stop=lambda: next(left, None) is None,
    )
    assert_same(el.resume(folder, method, on_humps(reward=half_nan)), want)
    assert generators() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_climbs(kind):
    """The optimum is 0; the best of 300 draws of the prior is about -1."""
    at = torch.tensor([1.5, -1.5, 1.0, 0.5])
    target = el.Target(el.priors.OneStep(lambda z: z, (4,)), lambda z: -(z - at).square().sum(1))
    chance = el.run(el.RandomSearch(), target, el.Budget(rewards=300), 1).best.reward
    r = el.run(AskTell(kind(), 6, Anywhere(), restart=None), target, el.Budget(rewards=300), 1)
    assert chance < r.best.reward <= 0
    assert r.best.reward > -0.5


@pytest.mark.filterwarnings("error")
def test_threads_end_with_their_searches():
    before = threading.active_count()
    optimiser = inverted(3, 4, 0)
    optimiser.ask()
    assert threading.active_count() == before + 1
    del optimiser
    for _ in range(100):
        time.sleep(0.02)
        if threading.active_count() == before:
            return
    raise AssertionError("a thread waits for ever")


def test_sizes_that_differ_within_a_step_are_replayed():
    method, target = AskTell(inverted, 6), on_humps()
    state, sizes = method.init(target, el.Stream(1)), []
    for step in range(1, 6):
        sizes.append(len(state.z))
        other, _ = method.step(target, copy.deepcopy(state), el.Stream(1).at(step=step))
        state, _ = method.step(target, state, el.Stream(1).at(step=step))
        assert bits(other) == bits(state)
    assert sizes == [6, 3, 6, 3, 6]


def test_an_error_in_the_search_reaches_the_caller():
    def broken(objective):
        raise KeyError("no such algorithm")

    with pytest.raises(KeyError, match="no such algorithm"):
        AskTell(lambda d, population, seed: Inverted(broken), 4).init(on_humps(), el.Stream(0))


def test_evotorch_is_held_on_the_shell_as_any_other():
    pytest.importorskip("evotorch")
    from evotorch.algorithms import SNES

    make = evotorch(lambda p, d, n: SNES(p, stdev_init=1.0, popsize=n, center_init=torch.zeros(d)))
    target = el.Target(el.priors.OneStep(lambda z: z, (64,)), lambda z: z[:, 0], batch=16)
    runs = [el.run(AskTell(make, 16), target, el.Budget(rewards=1600), 3) for _ in range(2)]
    assert_same(*runs)
    assert 6 < float(runs[0].best.reward) <= 8.001
