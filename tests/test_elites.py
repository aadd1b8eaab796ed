"""Searches against what is known exactly: order statistics, drift laws, and optima on the shell."""

import math
from dataclasses import replace

import pytest
import torch

import elites as el
from elites.search import Anywhere, Diagonal, Natural, Shell, Typical
from elites.search.refit import Law, Told, _success

ONE = 1024


def coordinate(d, i=0):
    return el.Target(el.priors.OneStep(lambda z: z, (d,)), lambda z: z[:, i], batch=64)


def results(method, target, budget, seeds=range(20, 24)):
    return [el.run(method, target, budget, seed) for seed in seeds]


def test_best_of_n_is_the_largest_of_n_normals():
    n, seeds = 640, range(20, 60)
    best = torch.cat([r.best.reward for r in results(el.RandomSearch(64), coordinate(4), el.Budget(rewards=n), seeds)])
    grid = torch.linspace(-8, 8, 200_001, dtype=torch.float64)
    cdf = torch.special.ndtr(grid) ** n
    density = cdf.diff()
    middle = (grid[1:] + grid[:-1]) / 2
    mean = float((middle * density).sum())
    sd = float(((middle - mean).square() * density).sum().sqrt())
    assert abs(float(best.mean()) - mean) < 4 * sd / math.sqrt(len(best))


def test_elites_finds_one_coordinate_among_1024_on_the_shell():
    for r in results(el.Elites(), coordinate(ONE), el.Budget(rewards=640)):
        assert float(r.best.reward) >= 10
        assert abs(r.history[-1]["shell"] - 1) < 0.05


def test_the_published_loop_stays_below_best_of_n_there():
    budget = el.Budget(rewards=640)
    loop = torch.cat([r.best.reward for r in results(el.Elites.published(), coordinate(ONE), budget)])
    chance = torch.cat([r.best.reward for r in results(el.RandomSearch(), coordinate(ONE), budget)])
    assert loop.mean() < chance.mean()


def test_without_a_guard_the_reward_is_bought_off_the_shell():
    for r in results(el.Elites(guard=Anywhere()), coordinate(64), el.Budget(rewards=1000)):
        assert r.history[-1]["shell"] > 3


# at a fixed cosine c a climb ends where no neighbour is better: with a few hundred tries at d = 64, near 0.9
@pytest.mark.parametrize(
    ("method", "share"), [(el.Elites(), 0.95), (el.Elites(16, Shell(), keep=4), 0.95), (el.ZeroOrder(4), 0.85)]
)
def test_a_linear_reward_approaches_its_optimum_on_the_shell(method, share):
    """The most that w.z can be on |z|^2 = d is |w| sqrt(d)."""
    d = 64
    w = torch.randn(d, generator=torch.Generator().manual_seed(1))
    target = el.Target(el.priors.OneStep(lambda z: z, (d,)), lambda z: z @ w, batch=64)
    for r in results(method, target, el.Budget(rewards=2000)):
        assert share * w.norm() * math.sqrt(d) < float(r.best.reward) <= w.norm() * math.sqrt(d) * (1 + 1e-5)


@pytest.mark.parametrize("d", [64, ONE])
def test_the_step_follows_the_dimension_of_the_reward_and_not_of_the_noise(d):
    """Eight numbers decide: a thousand candidates come as near in 1,024 dimensions as in 64."""
    aim = 1.5 * torch.randn(8, generator=torch.Generator().manual_seed(2))
    target = el.Target(el.priors.OneStep(lambda z: z, (d,)), lambda z: -(z[:, :8] - aim).square().sum(1), batch=64)
    for r in results(el.Elites(), target, el.Budget(rewards=1000)):
        assert float(r.best.reward) > -1e-5
        assert abs(r.history[-1]["shell"] - 1) < 1e-3


def test_in_few_dimensions_a_turned_valley_is_followed():
    """Curvatures of 1 and 10,000 along the diagonals; without a matrix 0.26 is left on average."""
    turn = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / math.sqrt(2)
    curve, aim = torch.tensor([1.0, 1e4]), torch.tensor([0.5, -0.3])
    target = el.Target(
        el.priors.OneStep(lambda z: z, (2,)), lambda z: -(((z - aim) @ turn).square() * curve).mean(1), batch=64
    )
    for r in results(el.Elites(), target, el.Budget(rewards=2500)):
        assert float(r.best.reward) > -0.01


def test_a_plateau_neither_moves_the_law_nor_shrinks_it():
    law, e = Law.prior(16), torch.randn(8, 16, generator=torch.Generator().manual_seed(7))
    for _ in range(5):
        law = Natural()(law, Told(e, torch.ones(8), e))
    assert torch.allclose(law.mean, torch.zeros(16), atol=1e-6)
    assert torch.allclose(law.std, torch.ones(16), atol=1e-6)


def neutral(refit, steps, d=4096, population=32, unbiased=False):
    """Mean variance and |mu|^2/d of a law that is refitted to candidates in random order."""
    law, generator = Law.prior(d), torch.Generator().manual_seed(3)
    for _ in range(steps):
        e = torch.randn(population, d, generator=generator)
        law = refit(law, Told(e, torch.zeros(population), law.draw(e)))
        if unbiased:
            k = round(0.25 * population)
            law = replace(law, std=law.std * math.sqrt(k / (k - 1)))
    return float(law.std.square().mean()), float(law.mean.square().mean())


def test_a_diagonal_refit_loses_variance_by_drift_alone():
    """E v_T = (1 - 1/K)^T, and what is lost moves into the mean."""
    k, steps, d = 8, 20, 4096
    variance, mean = neutral(Diagonal(), steps, d)
    assert abs(variance - (1 - 1 / k) ** steps) < 4 * 0.2 / math.sqrt(d)
    assert abs(variance + mean - 1) < 4 * 1.5 / math.sqrt(d)


def test_an_unbiased_refit_grows_the_norm():
    """E |z|^2 / d = 1 + T / K."""
    variance, mean = neutral(Diagonal(), 20, unbiased=True)
    assert 3.0 < variance + mean < 4.0  # 3.5 expected, with heavy tails


@pytest.mark.parametrize("refit", [Natural(), Shell()])
def test_refits_under_the_guard_keep_the_energy_of_the_prior(refit):
    d, generator, guard = 256, torch.Generator().manual_seed(4), Typical()
    law = Law.prior(d)
    for _ in range(30):
        e = torch.randn(16, d, generator=generator)
        z = guard.place(law.draw(e))
        law = refit(law, Told(e, z[:, 0], z[z[:, 0].argsort(descending=True)]))
        law = law.scaled(guard.scale(law.energy, d))
        assert torch.isclose(law.energy, torch.tensor(float(d)), rtol=1e-4)
        assert torch.allclose(z.square().sum(1), torch.tensor(float(d)), rtol=1e-4)


def test_in_few_dimensions_the_guard_is_a_cap_at_the_chi_square_quantile():
    z = Typical().place(torch.randn(200_000, 3, generator=torch.Generator().manual_seed(5)))
    norm2 = z.square().sum(1)
    exact = 11.3449  # 99 % of a chi-square law with 3 degrees of freedom
    assert abs(float(norm2.max()) - exact) < 0.05
    share = float((norm2 > float(norm2.max()) - 1e-4).double().mean())
    assert abs(share - 0.01) < 4 * math.sqrt(0.01 * 0.99 / 200_000) + 0.0005


def test_the_shell_refit_does_not_depend_on_the_axes():
    d, generator = 64, torch.Generator().manual_seed(6)
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    z = torch.randn(16, d, generator=generator)
    one, two = (Shell()(Law.prior(d), Told(x, torch.zeros(16), x)) for x in (z, z @ turn))
    assert torch.allclose(one.mean @ turn, two.mean, atol=1e-5)
    assert torch.allclose(one.std, two.std, atol=1e-5)


def test_any_slice_of_a_population_is_the_same():
    method, target = el.Elites(refit=Natural(rate=2.0)), coordinate(8)
    state = el.run(method, target, el.Budget(rewards=80), seed=3, probe=None).state
    assert len(state.law.matrix) == 8
    z = method.ask(state, el.Stream(1).at(step=2), range(8))
    assert torch.equal(method.ask(state, el.Stream(1).at(step=2), [5, 2]), z[[5, 2]])


def test_a_stalled_round_starts_again_and_loses_nothing():
    """Around the best of all after odd rounds, from the prior after even ones."""
    method = el.Elites(restart=el.search.Restart(patience=3, grow=2.0, near=0.6))
    target = el.Target(el.priors.OneStep(lambda z: z, (8,)), lambda z: z[:, 0])
    state = method.init(target, el.Stream(0))
    begun, rewards = [state.law], [torch.arange(8.0), *[torch.zeros(64)] * 12]
    first = method.ask(state, el.Stream(0).at(step=1), [7])[0]
    for step, reward in enumerate(rewards, 1):
        n = method.size(state)
        moved = method.tell(state, range(n), reward[:n], el.Stream(0).at(step=step))
        begun += [moved.law] * (moved.round > state.round)
        state = moved
    assert method.size(state) == 8 * 2**state.round and len(begun) == 4
    for number, law in enumerate(begun):
        near = number % 2
        assert torch.allclose(law.mean, 0.8 * first if near else torch.zeros(8))
        assert torch.equal(law.std, torch.full((8,), 0.6 if near else 1.0)) and len(law.before) == 0
    assert torch.equal(state.peak[0], first) and state.height == 7
    r = el.run(method, coordinate(8), el.Budget(rewards=800), seed=2)
    best = [row["best"] for row in r.history]
    assert best == sorted(best)


def test_zero_order_never_loses_its_incumbent_nor_scores_it_again():
    seen = []

    def reward(z):
        seen.extend(map(tuple, z.tolist()))
        return z[:, 0]

    target = el.Target(el.priors.OneStep(lambda z: z, (64,)), reward, batch=4)
    r = el.run(el.ZeroOrder(population=4), target, el.Budget(rewards=200), seed=1, probe=None)
    assert len(set(seen)) == len(seen) == 200
    assert [row["best"] for row in r.history] == sorted(row["best"] for row in r.history)
    z = r.best.z[0]
    y = el.ZeroOrder(population=4).ask(r.state, el.Stream(1).at(step=99), range(4))
    cosines = torch.nn.functional.cosine_similarity(y, r.state.pivot[None])
    assert torch.allclose(cosines, torch.tensor(0.95), atol=1e-5)
    assert torch.allclose(y.norm(dim=1), z.norm(), rtol=1e-4)


def test_failures_never_become_elites():
    def reward(z):
        return torch.where(z[:, 0] > 0.5, torch.nan, z[:, 0])

    target = el.Target(el.priors.OneStep(lambda z: z, (64,)), reward, batch=8, on_error=el.Worst(limit=1))
    r = el.run(el.Elites(), target, el.Budget(rewards=800), seed=1)
    assert r.meter.failures == len(r.failures) > 0
    assert 0.3 < float(r.best.reward) <= 0.5


@pytest.mark.parametrize(
    "make", [lambda: el.Elites(3), lambda: el.Elites(8, keep=9), lambda: el.ZeroOrder(cosine=1.0)]
)
def test_options_out_of_range_are_a_sentence(make):
    with pytest.raises(el.InputError):
        make()


def test_candidates_that_were_discarded_say_nothing_of_success():
    """They have an order, but no rewards: the step follows the others as if there were no more."""
    refit, e, d = Natural(), torch.randn(16, 64, generator=torch.Generator().manual_seed(0)), 64
    scored, better = torch.arange(4.0), torch.arange(4.0) + 10
    discarded = torch.full((12,), torch.finfo(torch.float32).min) * torch.linspace(0.5, 1, 12)
    few = refit(replace(Law.prior(d), before=scored), Told(e[:4], better, e[:4]))
    many = refit(
        replace(Law.prior(d), before=torch.cat([scored, discarded])), Told(e, torch.cat([better, discarded]), e)
    )
    assert many.trend == few.trend > 0


def test_success_is_that_of_all_pairs():
    draws = torch.Generator().manual_seed(0)
    for n, m in ((2, 2), (8, 8), (7, 13), (30, 4)):
        now, before = (torch.randn(k, generator=draws).round(decimals=1) for k in (n, m))
        now[0] = before[-1] = -torch.inf
        better, worse = (now[:, None] > before).float().mean(), (now[:, None] < before).float().mean()
        assert _success(now, before, 0.25) == float(better - worse - 0.25 * (better + worse))
    assert _success(now.repeat(5000), before.repeat(50_000), 0.0) == pytest.approx(float(better - worse), abs=1e-6)


def test_a_candidate_is_the_same_alone_and_on_many_threads():
    """From 32,768 numbers on torch sums a single row in several threads, and many rows in one each."""
    d, draws, threads = 100_000, torch.Generator().manual_seed(0), torch.get_num_threads()
    law = replace(Law.prior(d), paths=torch.randn(6, d, generator=draws))
    e = torch.randn(8, d, generator=draws)
    torch.set_num_threads(2)
    try:
        for f in (law.draw, Typical().place):
            assert torch.equal(f(e), torch.cat([f(e[i : i + 1]) for i in range(8)]))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("guard", [Anywhere(), Typical()])
def test_a_law_that_has_diverged_begins_again(guard):
    """Without a restart nothing else would end a round whose candidates are not finite."""
    method, target = el.Elites(guard=guard, restart=None), coordinate(3)
    stream = el.Stream(0)
    state = method.init(target, stream)
    state = replace(state, law=replace(state.law, matrix=torch.full((3, 3), torch.inf)))
    after, _ = method.step(target, state, stream)
    assert torch.isfinite(method.ask(after, stream, range(8))).all()
