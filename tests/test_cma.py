"""CMA against pycma run by hand, and against optima that are known."""

import copy
import math
import sys
import warnings

import cma
import numpy as np
import pytest
import torch
from helpers import bits, generators, on_humps, steps_of

import elites as el
from elites.search import CMA, Anywhere


def flat(reward, d=64, batch=64):
    return el.Target(el.priors.OneStep(lambda z: z, (d,)), reward, batch=batch)


def goal(d):
    """A point on the shell."""
    z = torch.randn(d, generator=torch.Generator().manual_seed(1))
    return z * (d / z.square().sum()).sqrt()


@pytest.mark.parametrize("separable", [False, True])
def test_a_linear_reward_approaches_its_optimum_on_the_shell(separable):
    """The most that w.z can be on |z|^2 = d is |w| sqrt(d)."""
    w = torch.randn(64, generator=torch.Generator().manual_seed(1))
    for seed in range(3):
        r = el.run(CMA(separable=separable), flat(lambda z: z @ w), el.Budget(rewards=3000), seed)
        assert 0.95 * w.norm() * 8 < float(r.best.reward) <= w.norm() * 8 * (1 + 1e-5)
        assert abs(r.history[-1]["shell"] - 1) < 1e-4


def test_a_quadratic_on_the_shell_is_solved_to_its_known_optimum():
    d = 16
    at = goal(d) * 0.5  # inside the cap that guards few dimensions
    target = flat(lambda z: -(torch.arange(1, d + 1) * (z - at).square()).sum(1), d)
    for seed in range(3):
        r = el.run(CMA(restart=None), target, el.Budget(rewards=6000), seed)
        assert -1e-6 < float(r.best.reward) <= 0
        assert torch.allclose(r.best.z[0], at, atol=1e-3)


def by_hand(d, population, separable, seed, steps):
    """Populations of pycma with draws from the same seed, and its mean and spread after them."""
    own = np.random.Generator(np.random.Philox(seed))
    options = {"popsize": population, "CMA_diagonal": separable, "randn": lambda *s: own.standard_normal(s)}
    with warnings.catch_warnings():
        es = cma.CMAEvolutionStrategy(d * [0.0], 1.0, options | {"seed": np.nan, "verbose": -10})
    for _ in range(steps):
        z = es.ask()
        yield np.array(z)
        es.tell(z, [float(np.square(v - 1).sum()) for v in z])


@pytest.mark.parametrize(
    ("d", "separable", "population"), [(12, False, 10), (64, True, 16), (400, True, 20)]
)  # pycma follows the mean in line samples from 300 dimensions on
def test_the_populations_are_those_of_pycma_run_by_hand(d, separable, population):
    method = CMA(population, separable, guard=Anywhere(), restart=None)
    target = flat(lambda z: z, d)
    state = method.init(target, el.Stream(7))
    seed = int(np.random.SeedSequence(7, spawn_key=(2, 0, 0, 0)).generate_state(1)[0])
    for z in by_hand(d, population, separable, seed, 12):
        assert np.array_equal(state.z.numpy(), z.astype(np.float32))
        reward = -np.array([float(np.square(v - 1).sum()) for v in z])
        told = method.tell(state, range(population), torch.from_numpy(reward), el.Stream(7))
        again = method.tell(copy.deepcopy(state), range(population), torch.from_numpy(reward), el.Stream(7))
        assert bits(told) == bits(again)  # replayed, to the bit
        state = told


def test_a_step_that_failed_whole_is_drawn_again_also_with_line_samples():
    method, target = CMA(8), flat(lambda z: z, 320)
    state = method.init(target, el.Stream(1))
    for step in range(8):
        reward = -(state.z - 1).square().sum(1) if step % 3 else torch.full((8,), -math.inf)
        after = method.tell(state, range(8), reward, el.Stream(1))
        assert not torch.equal(after.z, state.z)
        state = after
    assert bits(method.tell(copy.deepcopy(state), range(8), reward, el.Stream(1))) == bits(
        method.tell(state, range(8), reward, el.Stream(1))
    )


def test_it_beats_random_search_and_holds_the_shell_where_pycma_alone_leaves_it():
    at = goal(64)
    target = flat(lambda z: -(z - at).square().sum(1))
    budget = el.Budget(rewards=2000)
    ours, chance = (el.run(m, target, budget, 4).best.reward.item() for m in (CMA(), el.RandomSearch()))
    assert ours > 0.1 * chance  # less than a tenth of its squared distance
    far = el.run(CMA(guard=Anywhere()), flat(lambda z: z[:, 0]), budget, 4)
    assert far.history[-1]["shell"] > 3


def test_the_default_population_is_even_and_the_budget_counts_it():
    for d, want in ((2, 6), (6, 10), (64, 16), (1024, 24)):
        r = el.run(CMA(), flat(lambda z: z[:, 0], d), el.Budget(steps=2), probe=None)
        assert [row["count"] for row in r.history] == [want, want]


def test_filters_files_and_generators_are_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before, filters = generators(), warnings.filters[:]
    el.run(CMA(), on_humps(), el.Budget(steps=30), probe=None)
    assert generators() == before
    assert warnings.filters == filters
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_equal_rewards_do_not_end_a_search():
    states = [after for _, after, *_ in steps_of(CMA(8, restart=None), on_humps(reward=lambda x: 0 * x[:, 0]), 40)]
    assert [len(state.told) for state in states] == [8 * n for n in range(1, 41)]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: CMA(3), "at least 4"),
        (lambda: CMA(sigma=0), "positive spread"),
        (lambda: CMA().init(flat(lambda z: z, 1), el.Stream(0)), "use Elites"),
        (lambda: CMA(separable=False).init(flat(lambda z: z, 2001), el.Stream(0)), r"use CMA\(separable=True\)"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(make, says):
    with pytest.raises(el.InputError, match=says):
        make()


def test_without_pycma_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(ImportError, match=r"pip install 'elites\[cma\]'"):
        CMA().init(on_humps(), el.Stream(0))
