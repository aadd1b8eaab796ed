"""Flows walked with noise, on other schedules and by exact transitions, and what their search is worth."""

import itertools
import math

import pytest
import torch
from helpers import FLOAT64, Count, exact, normal, on_flow
from test_schedule import SCHEDULES, table

from elites import (
    DDIM,
    EDM,
    VE,
    Budget,
    EulerMaruyama,
    FeynmanKac,
    Flow,
    InputError,
    Paths,
    Plain,
    RandomSearch,
    Rollover,
    Stream,
    Target,
    Tempered,
    TrajectorySearch,
    TreeSearch,
    Twisted,
    ValueDecoding,
    VPCosine,
    VPLinear,
    run,
)
from elites.levels import time_of
from elites.priors import OneStep, Reschedule, mixture
from elites.resample import Resample
from elites.schedule import Score, Velocity
from elites.steer import Draws, Glass, Native

MEANS, WEIGHTS = 1.2 * normal(12, 8, seed=4), torch.tensor([1.0, 2, 3, 4, 5, 6] * 2)


def twelve(schedule, kernel=DDIM()):  # noqa: B008 (frozen)
    return mixture(MEANS, 0.15, WEIGHTS, schedule=schedule, kernel=kernel)


def ends(prior, steps, n):
    """Objects of n plain walks."""
    x = prior.start(normal(n, *prior.shape))
    for i, (t, s) in enumerate(itertools.pairwise(prior.grid(steps))):
        x = prior.move(x, prior.denoise(x, t), t, s, normal(n, *prior.shape, seed=(1, i)))
    return x


WALKS = {
    "Euler-Maruyama": (twelve(Flow(), EulerMaruyama()), 200),
    "DDIM(1.0)": (twelve(Flow(), DDIM(1.0)), 100),
    "an ODE on another schedule": (Reschedule(twelve(Flow()), VPLinear(), DDIM()), 100),
    "an SDE on another schedule": (Reschedule(twelve(Flow()), VPLinear()), 100),
}


@pytest.mark.parametrize(("prior", "steps"), WALKS.values(), ids=WALKS)
def test_walks_reach_the_modes_as_often_as_they_weigh(prior, steps):
    """Draws of the law itself would be at a total variation of 0.020 from it."""
    n = 4000
    near = torch.cdist(ends(prior, steps, n), MEANS).min(1)
    found = torch.bincount(near.indices, minlength=12) / n
    assert float((found - WEIGHTS / WEIGHTS.sum()).abs().sum()) / 2 <= 0.03
    assert float(near.values.square().mean().sqrt()) == pytest.approx(0.15 * 8**0.5, rel=0.2)


@pytest.mark.parametrize("schedule", [Flow(), VPCosine()], ids=repr)
@pytest.mark.parametrize("kernel", [EulerMaruyama(), EulerMaruyama(0.7, 0.5), EulerMaruyama(0.0)], ids=repr)
def test_a_step_of_euler_maruyama_is_its_drift_and_its_noise(schedule, kernel):
    law = twelve(schedule, kernel)
    for t, s in ((0.98, 0.7), (0.5, 0.499), (0.2, 0.05)):
        t, s = torch.tensor(t, **FLOAT64), torch.tensor(s, **FLOAT64)
        x, z = normal(6, 8, seed=1), normal(6, 8, seed=2)
        x0, g = law.denoise(x, t), kernel.scale * float(t) ** kernel.power
        velocity, score = Velocity().of(x0, x, schedule, t), Score().of(x0, x, schedule, t)
        want = x - (velocity - g**2 / 2 * score) * (t - s) + g * (t - s).sqrt() * z
        assert torch.allclose(law.move(x, x0, t, s, z), want, rtol=1e-10, atol=1e-10)
        assert kernel.noisy == (g > 0)


def test_velocity_and_score_of_the_drift_are_those_of_the_marginals():
    """The velocity moves the marginals: d log p / dt = -div(u p) / p, here in one dimension."""
    law, dt = mixture(torch.tensor([[-1.0], [0.5]]), 0.3, schedule=Flow()), 1e-4
    t, x = torch.tensor(0.4, **FLOAT64), torch.linspace(-2, 2, 9, **FLOAT64)[:, None].requires_grad_()
    u = Velocity().of(law.denoise(x, t), x, law.schedule, t)
    (div,) = torch.autograd.grad(u.sum(), x)
    rate = (law.log_density(x, t + dt) - law.log_density(x, t - dt)) / (2 * dt)
    assert torch.allclose(rate, -(div + u * law.score(x, t))[:, 0], atol=1e-5)


@pytest.mark.parametrize("kernel", [EulerMaruyama(), EulerMaruyama(1.0, 1.0)], ids=repr)
def test_euler_maruyama_keeps_the_marginals_to_first_order(kernel):
    """Mean and variance of a normal law, by the coefficients: twice the steps have half the error."""
    mean, var, schedule, errors = 1.0, 0.25, Flow(), []
    for steps in (100, 200, 400):
        times = schedule.times(steps)
        m, v = 0.0, 1.0
        for t, s in itertools.pairwise(times):
            (alpha, sigma), (a, b, c) = (float(k) for k in schedule(t)), (float(k) for k in kernel(schedule, t, s))
            gain = alpha * var / (alpha**2 * var + sigma**2)
            f = a + b * gain
            m, v = f * m + b * (1 - gain * alpha) * mean, f**2 * v + c**2
        errors.append(math.hypot(m - mean, v - var))
    assert errors[1] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.3)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.2)


PAIRS = [
    (Flow(), VPLinear()),
    (VPLinear(), Flow()),
    (Flow(3.0), EDM()),
    (Flow(), VE()),
    (VE(), Flow()),
    (VPCosine(), VPLinear()),
    (table(), Flow()),
]


@pytest.mark.parametrize(("own", "other"), PAIRS, ids=repr)
def test_another_schedule_has_the_clean_guesses_and_scores_of_the_same_law_built_on_it(own, other):
    prior, want, times = Reschedule(twelve(own), other), twelve(other), other.times(12)
    alpha, sigma = own(own.times(1)[0])
    most = float(sigma / alpha)
    for i, t in enumerate(times[:-1]):
        alpha, sigma = other(t)
        x = alpha * MEANS[:6] + sigma * normal(6, 8, seed=i)
        x0 = prior.denoise(x, t)
        if float(sigma) > most * float(alpha):  # more noise than the prior knows
            continue
        assert torch.allclose(x0, want.denoise(x, t), rtol=0, atol=1e-6)
        assert torch.allclose((alpha * x0 - x) / sigma**2, want.score(x, t), rtol=1e-6, atol=1e-6 / float(sigma) ** 2)
        s = times[i + 1]
        z = normal(6, 8, seed=9)
        same = mixture(MEANS, 0.15, WEIGHTS, schedule=other, kernel=DDIM(1.0)).move(x, x0, t, s, z)
        assert torch.allclose(prior.move(x, x0, t, s, z), same, rtol=1e-6, atol=1e-6)
    z = normal(3, 8).float()
    assert torch.allclose(prior.start(z), want.start(z).float(), rtol=1e-5)


def test_beyond_its_noise_a_prior_is_asked_at_its_noisiest_level():
    own = VPCosine(0.5)  # sigma = alpha
    prior, t = Reschedule(twelve(own), VE()), torch.tensor(10.0, **FLOAT64)
    x = 10 * normal(4, 8)
    assert torch.allclose(prior.denoise(x, t), twelve(own).denoise(x / 10 * 0.5**0.5, torch.tensor(0.5, **FLOAT64)))


def test_a_network_on_another_schedule_is_asked_at_the_level_of_the_noise():
    law = twelve(Flow())
    prior, want = Reschedule(exact(law, Velocity()), VPLinear()), twelve(VPLinear())
    for t in VPLinear().times(5)[:-1]:
        x = normal(4, 8, seed=3)
        assert torch.allclose(prior.denoise(x.float(), t).double(), want.denoise(x, t), atol=1e-4)


def test_a_prior_without_a_schedule_is_refused():
    with pytest.raises(InputError, match="no noise schedule"):
        Reschedule(OneStep(lambda z: z, (3,)), Flow())


@pytest.mark.parametrize("schedule", [*SCHEDULES.values(), table(), Flow(3.0)], ids=lambda s: type(s).__name__)
def test_the_time_of_a_level_inverts_every_schedule(schedule):
    ends = schedule.times(1)
    for t in torch.linspace(0.03, 0.97, 15, **FLOAT64) * (ends[0] - ends[1]) + ends[1]:
        alpha, sigma = schedule(t)
        found = time_of(schedule, sigma / alpha, ends)
        assert (found.ndim, found.dtype) == (0, torch.float64)
        assert float(found) == pytest.approx(float(t), rel=1e-9)
    assert float(time_of(schedule, 1e30, ends)) == pytest.approx(float(ends[0]))
    assert float(time_of(schedule, torch.inf, ends)) == pytest.approx(float(ends[0]))
    assert float(time_of(schedule, 0.0, ends)) == pytest.approx(float(ends[1]), abs=1e-9)


FIVE, STD = normal(5, 4), 0.2
T, S = torch.tensor(0.7, **FLOAT64), torch.tensor(0.4, **FLOAT64)
POINT = (0.3 * FIVE[:2].mean(0) + 0.7 * normal(4, seed=1))[None]


def posterior(rho):
    """Mean and covariance of x_S given POINT at T, with the correlation rho of the noises."""
    (alpha, sigma), (alpha_s, sigma_s) = Flow()(T), Flow()(S)
    spread = alpha**2 * STD**2 + sigma**2
    offset = POINT - alpha * FIVE
    r = (-offset.square().sum(1) / 2 / spread).softmax(0)[:, None]
    centres = FIVE + alpha * STD**2 / spread * offset
    mean = (r * centres).sum(0)
    cov = (r * centres).T @ centres - mean[:, None] * mean + STD**2 * sigma**2 / spread * torch.eye(4, **FLOAT64)
    g = rho * sigma_s / sigma
    h = alpha_s - g * alpha
    return g * POINT[0] + h * mean, h**2 * cov + sigma_s**2 * (1 - rho**2) * torch.eye(4, **FLOAT64)


def drawn(transition, kernel=DDIM()):  # noqa: B008 (frozen)
    n = 20000
    target, x = Target(mixture(FIVE, STD, schedule=Flow(), kernel=kernel), len, batch=n), POINT.float().expand(n, 4)
    return transition(target, x, target.denoise(x, T), T, S, Stream(0), range(n)).double(), target.meter.nfe / n - 1


@pytest.mark.parametrize("rho", [None, 0.0, 0.4])
def test_exact_transitions_have_the_mean_and_covariance_of_the_posterior(rho):
    mean, cov = posterior(2 / 7 if rho is None else rho)  # 0.3 x 0.4 / (0.7 x 0.6), that of the reversed diffusion
    errors = []
    for steps in (1, 2, 4):
        x, calls = drawn(Glass(steps, rho))
        assert calls == Glass(steps).calls() == 2 * steps - 1
        errors.append(float((x.T.cov() - cov).norm() / cov.norm()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[1] <= 0.15
    assert errors[2] <= 0.04
    error = cov.diagonal().sqrt() / len(x) ** 0.5
    assert ((x.mean(0) - mean).abs() < 4 * error + 0.01).all()


def test_a_gaussian_step_of_the_same_length_has_the_mean_and_a_fraction_of_the_covariance():
    mean, cov = posterior(2 / 7)
    x, _ = drawn(Native(), DDIM(1.0))
    assert ((x.mean(0) - mean).abs() < 4 * x.std(0) / len(x) ** 0.5).all()
    assert float((x.T.cov() - cov).norm() / cov.norm()) > 0.5


MODES, SHARES, RARE = 1.2 * normal(64, 16), torch.arange(1, 65, **FLOAT64).square(), 7


def spend_500(method, kernel, walk=None):
    """The mean over 8 seeds of the best reward, minus the distance to a point near a mode of little weight."""
    prior = mixture(MODES, 0.15, SHARES, schedule=Flow(), kernel=kernel)
    goal, best = (MODES[RARE] + 0.05 * normal(16, seed=12)).float(), []
    for seed in range(8):
        target = Target(prior, lambda x: -(x - goal).norm(dim=1), walk=walk, batch=50)
        result = run(method, target, Budget(nfe=500), seed, probe=None)
        assert 450 < result.meter.nfe <= 500
        best.append(float(result.best.reward[0]))
    return sum(best) / len(best)


@pytest.mark.parametrize(
    "method",
    [ValueDecoding(2, 25, 10), Rollover(500), TrajectorySearch(1, 10, 5, 10), FeynmanKac(50, 10, 0.1)],
    ids=repr,
)
def test_steering_finds_a_rare_mode_of_a_flow(method):
    assert spend_500(method, DDIM(1.0)) >= -0.40


def test_the_best_of_as_many_walks_of_the_ode_does_not():
    assert float((SHARES / SHARES.sum())[RARE]) == pytest.approx(0.0007, rel=0.05)
    assert spend_500(RandomSearch(10), DDIM(), Plain(steps=10)) < -2


@pytest.mark.parametrize(
    ("method", "nfe", "rewards", "grads"),
    [
        (FeynmanKac(6, 5), 30, 6 * (4 + 1), 0),  # levels 1 to 4, and the end
        (FeynmanKac(6, 5, guess=Draws(2)), 6 * (5 + 2 * 3), 6 * (2 * 4 + 1), 0),
        (FeynmanKac(6, 5, resample=Resample(every=2), transition=Glass(2)), 6 * (5 + 4 * 3), 6 * (3 + 1), 0),
        (Twisted(6, 5), 30, 6 * (5 + 1), 30),
        (Twisted(6, 5, resample=Resample(every=2), ahead=True), 6 * (5 + 4), 6 * (3 + 4 + 1), 24),
        (Tempered(6, 5, gradient=False), 30, 6 * (5 + 1), 0),
        (ValueDecoding(2, 3, 4), 24, 24, 0),
        (ValueDecoding(2, 3, 5, 1.0, block=2), 30, 6 * 3, 0),
        (ValueDecoding(2, 3, 4, transition=Glass(1)), 6 * (4 + 3), 24, 0),
        (TrajectorySearch(2, 3, 2, 4), 48, 48, 0),
        (Rollover(60, 2, 4, 4, 2), 60, 60, 0),
        (Paths(2, 3, 10), 2 * 9 + 2 * 1 + 6 * 7, 2 + 8, 0),  # to level 8, and a round from 3 to 9
        (TreeSearch(4, width=5), 20, 5, 0),
    ],
    ids=repr,
)
def test_a_method_calls_the_network_and_the_reward_as_often_as_it_says(method, nfe, rewards, grads):
    count = Count()
    budget = Budget(steps=1) if isinstance(method, TreeSearch) else Budget()
    run(method, on_flow(count=count, batch=1), budget, probe=None)
    assert (count.objects, count.scored, count.grads) == (nfe, rewards, grads)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_rollover_spends_its_evaluations_never_more_and_ends_in_an_object(flat, strict):
    """Also where no child is ever better, and every level uses its quota."""
    for n, first, steps, width in itertools.product((1, 2), (1, 5), (2, 6), (1, 3, 8)):
        if 60 - first * n < steps * n * width:
            with pytest.raises(InputError, match="give more"):
                Rollover(60, n, first, steps, width, strict)
            continue
        target = on_flow(**({"reward": lambda x: 0 * x[:, 0]} if flat else {}))
        result = run(Rollover(60, n, first, steps, width, strict), target, probe=None)
        assert 60 - n * width < result.meter.nfe == result.meter.rewards <= 60
        assert len(result.best) == 1
