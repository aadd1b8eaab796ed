"""Particles against the tilted law of their own walk, which is known exactly where everything is Gaussian."""

import itertools
import math

import pytest
import torch
from helpers import FLOAT64, WORST, normal, steps_of
from helpers import gaussian as law

from elites import (
    DDIM,
    Budget,
    FeynmanKac,
    Flow,
    Stream,
    Target,
    Tempered,
    TreeSearch,
    Twisted,
    ValueDecoding,
    VPLinear,
    run,
)
from elites.priors import mixture
from elites.resample import Multinomial, Resample, Residual, Stratified, Systematic, normalised
from elites.steer import Draws, Glass, Max, ParticleState, Sum

N, STEPS, T = 256, 8, 0.5
MEAN, COV = torch.tensor([1.0, -0.5], **FLOAT64), torch.tensor([[1.0, 0.4], [0.4, 0.6]], **FLOAT64)
PULL, BOWL = torch.tensor([-0.5, 1.0], **FLOAT64), torch.tensor([[2.0, 0.5], [0.5, 3.0]], **FLOAT64)
EYE, OFTEN = torch.eye(2, **FLOAT64), Resample(below=0.9)


def linear(x):
    return x[:, 0] * float(PULL[0]) + x[:, 1] * float(PULL[1])


def quadratic(x):
    return linear(x) - ((x[:, :, None] * BOWL.to(x)).sum(1) * x).sum(1) / 2


def on(schedule=VPLinear(), reward=quadratic, kernel=DDIM(1.0), batch=N):  # noqa: B008 (frozen)
    return Target(law(MEAN, COV, schedule=schedule, kernel=kernel), reward, batch=batch, on_error=WORST)


def guess(schedule, t):
    """The clean guess is gain @ x + shift."""
    alpha, sigma = schedule(t)
    gain = alpha * COV @ torch.linalg.inv(alpha**2 * COV + sigma**2 * EYE)
    return gain, MEAN - alpha * gain @ MEAN


def walked(schedule, steps=STEPS):
    """Mean and covariance of the objects of the walk, which in few steps are not those of the prior."""
    times = schedule.times(steps)
    m, v = torch.zeros(2, **FLOAT64), schedule(times[0])[1] ** 2 * EYE
    for t, s in itertools.pairwise(times):
        (a, b, c), (gain, shift) = DDIM(1.0)(schedule, t, s), guess(schedule, t)
        f = a * EYE + b * gain
        m, v = f @ m + b * shift, f @ v @ f.T + c**2 * EYE
    return m, v


def tilted(m, v, bowl=BOWL):
    """Mean, covariance and log Z of N(m, v) exp((pull.x - x.bowl.x / 2) / T)."""
    precision = torch.linalg.inv(v) + bowl / T
    mean = torch.linalg.solve(precision, torch.linalg.solve(v, m) + PULL / T)
    log_z = (mean @ precision @ mean - m @ torch.linalg.solve(v, m) - torch.logdet(EYE + v @ bowl / T)) / 2
    return mean, torch.linalg.inv(precision), float(log_z)


def weighted(state):
    """Objects, their weights, and the estimate of log Z."""
    if isinstance(state, ParticleState):
        return state.x.double(), state.weights, state.log_z
    tree = hasattr(state, "ends")  # or samples of value decoding
    x, logw = (state.x0[state.ends], state.logw(T)) if tree else (state.x0, state.logw)
    return x.double(), normalised(logw), float(logw.logsumexp(0)) - (0 if tree else math.log(len(logw)))


def states(method, make, seeds=12, steps=1000):
    return [run(method, make(), Budget(steps=steps), seed, probe=None).state for seed in range(seeds)]


def assert_law(ended, mean, cov, log_z):
    """Weighted means and covariances, and Z, within four standard errors; eighty such numbers are tested."""
    rows = []
    for state in ended:
        x, w, z = weighted(state)
        e = x - mean
        square = (w[:, None, None] * e[:, :, None] * e[:, None]).sum(0) - cov
        rows.append([*(w[:, None] * e).sum(0), *square[[0, 0, 1], [0, 1, 1]], math.exp(z - log_z) - 1])
    rows = torch.tensor(rows, **FLOAT64)
    assert (rows.mean(0).abs() <= 4 * rows.std(0) / len(rows) ** 0.5 + 1e-9).all()


CASES = {
    "Feynman-Kac": (VPLinear(), FeynmanKac(N, STEPS, T, OFTEN)),
    "Feynman-Kac, seldom": (VPLinear(), FeynmanKac(N, STEPS, T, Resample(Multinomial(), 0.9, every=3))),
    "Feynman-Kac on a flow": (Flow(), FeynmanKac(N, STEPS, T, OFTEN)),
    "maxima": (VPLinear(), FeynmanKac(N, STEPS, T, Resample(Residual(), 0.9, every=2), potential=Max())),
    "sums": (VPLinear(), FeynmanKac(N, STEPS, T, Resample(Stratified(), 0.9, every=3), potential=Sum())),
    "several draws": (VPLinear(), FeynmanKac(N, STEPS, T, Resample(below=0.9, every=3), guess=Draws(2))),
    "twisted": (VPLinear(), Twisted(N, STEPS, T, OFTEN)),
    "twisted by little": (VPLinear(), Twisted(N, STEPS, T, OFTEN, limit=0.1)),
    "twisted, gradients ahead": (Flow(), Twisted(N, STEPS, T, OFTEN, ahead=True)),
    "tempered": (VPLinear(), Tempered(N, STEPS, T, Resample(Multinomial(), 0.9), keep=0.9999)),
    "tempered without gradients": (VPLinear(), Tempered(N, STEPS, T, OFTEN, keep=0.9999, gradient=False)),
}


@pytest.mark.parametrize(("schedule", "method"), CASES.values(), ids=CASES)
def test_particles_have_the_tilted_law_of_the_walk_and_its_normaliser(schedule, method):
    ended = states(method, lambda: on(schedule), 24)
    assert min(state.resampled for state in ended) > 0
    assert_law(ended, *tilted(*walked(schedule)))


@pytest.mark.parametrize(("schedule", "block"), [(VPLinear(), 1), (Flow(), 3)])
def test_softly_chosen_samples_have_the_tilted_law_of_the_walk_and_its_normaliser(schedule, block):
    assert_law(states(ValueDecoding(64, 4, STEPS, T, block), lambda: on(schedule)), *tilted(*walked(schedule)))


def test_exact_transitions_give_the_law_of_the_prior_up_to_the_last_guess_in_few_steps_of_an_ode():
    schedule, steps = Flow(), 4
    t = schedule.times(steps)[-2]
    (alpha, sigma), (gain, _) = schedule(t), guess(schedule, t)
    cov = gain @ (alpha**2 * COV + sigma**2 * EYE) @ gain.T
    method = FeynmanKac(N, steps, T, OFTEN, transition=Glass(4))
    assert_law(states(method, lambda: on(schedule, kernel=DDIM())), *tilted(MEAN, cov))


@pytest.mark.parametrize("reward", [quadratic, lambda x: torch.where(x[:, 0] > 1, torch.nan, quadratic(x))])
def test_the_ends_of_a_tree_weigh_as_much_as_its_value_says(reward):
    """The soft Bellman rule and the weights of the ends are two ways to write one sum."""
    for state in states(TreeSearch(4, T, width=5), lambda: on(reward=reward), 3, 20):
        assert float(state.logw(T).logsumexp(0)) == pytest.approx(float(state.value[0]) / T, abs=1e-5)


def test_a_tree_that_branches_at_its_root_alone_is_importance_sampling():
    ended = states(TreeSearch(4, T, width=16, branch=1e9), lambda: on(batch=16), steps=8)
    assert_law(ended, *tilted(*walked(VPLinear(), 4)))


def test_a_tree_without_a_reward_has_the_law_of_the_walk():
    ended = states(TreeSearch(4, T, width=8), lambda: on(reward=lambda x: 0 * x[:, 0], batch=8), 10, 20)
    assert {len(state.ends) for state in ended} == {160}
    assert max(int(state.children[0]) for state in ended) < 80
    assert_law(ended, *walked(VPLinear(), 4), 0.0)


def test_a_twist_ahead_leaves_no_variance_where_the_guess_is_affine():
    """On a flow the first guess is the same for all, and each step is drawn from the tilted transition itself."""
    schedule, method = Flow(), Twisted(32, 6, T, ahead=True, limit=1e9)
    (state,) = states(method, lambda: on(schedule, linear), 1)
    log_z = tilted(*walked(schedule, 6), 0 * BOWL)[2]
    assert state.resampled == 0
    assert float(state.logw.std()) < 1e-5
    assert state.log_z == pytest.approx(log_z, abs=1e-5)
    assert state.log_z_error < 1e-3


def test_the_value_of_several_draws_is_that_of_the_objects_they_walk_to():
    """Two legs from level 2 of 8, with a linear reward: the draws of the middle, at level 5, are normal."""
    schedule, method = VPLinear(), FeynmanKac(3, STEPS, T)
    target = on(schedule, linear)
    (_, state, *_), *_ = list(steps_of(method, target, 2))[1:]
    t, s = state.times[2], state.times[5]
    (a, b, c), (gain, shift), (gain_s, shift_s) = DDIM(1.0)(schedule, t, s), guess(schedule, t), guess(schedule, s)
    x = state.x.double()
    x0 = x @ gain.T + shift
    mean = linear((a * x + b * x0) @ gain_s.T + shift_s) / T
    spread = float((c * gain_s.T @ PULL / T).norm())
    k = 1000
    value = Draws(k)(target, state, x0.float(), T, Stream(0)).double() / T
    error = math.sqrt(math.expm1(spread**2) / k)  # relative, of the mean of k log-normal numbers
    assert (torch.expm1(value - mean - spread**2 / 2).abs() < 4 * error).all()


def log_zs(scheme, n, seeds):
    """Estimates of log Z and of their squared errors, of many runs."""
    ended = states(FeynmanKac(n, 5, 1.0, Resample(scheme, 0.9)), lambda: on(batch=n), seeds)
    assert min(state.resampled for state in ended) > 0
    return torch.tensor([[state.log_z, state.log_z_error**2] for state in ended], **FLOAT64).T


def test_the_error_of_log_z_is_its_spread_over_runs_where_the_draws_are_independent():
    found, told = log_zs(Multinomial(), 256, 50)
    square = (found - found.mean()).square()
    error = math.hypot(square.std(), told.std()) / len(found) ** 0.5
    assert abs(float(told.mean() - square.mean())) < 4 * error


@pytest.mark.parametrize("scheme", [Systematic(), Stratified(), Residual()], ids=repr)
def test_the_error_of_log_z_is_not_told_too_small_by_the_other_schemes(scheme):
    found, told = log_zs(scheme, 128, 40)
    square = (found - found.mean()).square()
    error = math.hypot(square.std(), told.std()) / len(found) ** 0.5
    assert float(told.mean() - square.mean()) > -4 * error


CENTRES = torch.tensor([[2.0 * i - 4, 2.0 * j - 4] for i in range(5) for j in range(5)])
GRID, LEVELS = mixture(CENTRES, 0.3, kernel=DDIM(1.0)), 25


def hollow(x):
    return -x[:, 0].square() / 50 - (x[:, 1] - 1).square() / 4


def modes(x, w):
    """Weights of the modes of the grid."""
    return torch.zeros(len(CENTRES), **FLOAT64).index_add_(0, torch.cdist(x.float(), CENTRES).argmin(1), w)


@pytest.fixture(scope="module")
def plain():
    """Of many plain walks, weighted: the mean reward, its standard error, and the weights of the modes."""
    n, times = 24000, GRID.grid(LEVELS)
    x = GRID.start(normal(n, 2))
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        x = GRID.move(x, GRID.denoise(x, t), t, s, normal(n, 2, seed=(1, i)))
    w = hollow(x).softmax(0)
    mean = (w * hollow(x)).sum()
    return float(mean), float((w * (hollow(x) - mean)).norm()), modes(x, w)


def on_grid():
    return Target(GRID, hollow, batch=N, on_error=WORST)


def test_feynman_kac_steering_weighs_the_modes_of_a_grid_as_the_tilted_walk_does(plain):
    """The mean reward of the tilted prior is -0.636, that of the walk in so few steps nearer to -0.600."""
    mean, error, want = plain
    ended = states(FeynmanKac(N, LEVELS, resample=Resample(every=5)), on_grid, 16)
    found = torch.stack([(state.weights * hollow(state.x)).sum() for state in ended])
    assert abs(float(found.mean()) - mean) < 3 * math.hypot(error, found.std() / len(found) ** 0.5)
    apart = [float((modes(state.x, state.weights) - want).abs().sum()) / 2 for state in ended]
    assert sum(apart) / len(apart) < 0.15


def test_to_drop_weights_between_resamplings_is_a_bias(plain):
    """As the published code does where the weights are even enough; here the loop that it amounts to."""
    method, target, found = FeynmanKac(64, LEVELS, resample=Resample(every=2)), on_grid(), []
    for seed in range(16):
        state = method.init(target, Stream(seed))
        while not method.done(state):
            before = state.resampled
            state, _ = method.step(target, state, Stream(seed))
            if state.resampled == before and not method.done(state):
                state.logw = torch.zeros(64, **FLOAT64)
        found.append(float((state.weights * hollow(state.x)).sum()))
    found = torch.tensor(found)
    assert float(found.mean()) < plain[0] - 5 * math.hypot(plain[1], found.std() / len(found) ** 0.5)
