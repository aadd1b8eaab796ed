"""Guided walks against the closed forms of normal priors: what is exact is, and what is biased is shown to be."""

import math

import pytest
import torch
from helpers import FLOAT64, Count, normal, on
from helpers import gaussian as law

from elites import (
    DDIM,
    DPS,
    LGDMC,
    MMPS,
    MPGD,
    Budget,
    Elites,
    Flow,
    InputError,
    NoiseAscent,
    Plain,
    Stream,
    Target,
    VPCosine,
    run,
)
from elites.priors import OneStep
from elites.steer import Raw, Repeat, Share, Tilt

D, N, STEPS = 6, 3000, 100
TURN = torch.linalg.qr(normal(D, D, seed=5)).Q
COV = TURN @ torch.diag(torch.logspace(0.3, -1.0, D, **FLOAT64)) @ TURN.T
MEAN, EYE = 0.3 * normal(D, seed=6), torch.eye(D, **FLOAT64)
PULL = torch.tensor([1.0, -0.5, 0.0, 0.5, 0.0, 0.0], **FLOAT64)
SEEN, NOISE = normal(2, D, seed=7), 0.3
Y = SEEN @ MEAN + torch.tensor([1.0, -1.5], **FLOAT64)


def linear(x):
    return (x * PULL.to(x)).sum(1)


def likelihood(x):
    return -(x @ SEEN.T.to(x) - Y.to(x)).square().sum(1) / (2 * NOISE**2)


def measured(x):
    return x @ SEEN.T.to(x)


def ended(walk, reward, mean=MEAN, cov=COV, schedule=VPCosine(), eta=0.0):  # noqa: B008 (frozen)
    target = Target(law(mean, cov, schedule=schedule, kernel=DDIM(eta)), reward, walk=walk, batch=N)
    return target.generate(target.prior.noise(Stream(3), range(N)), Stream(3), range(N)).double()


def posterior():
    """Mean and covariance of the normal prior given the measurement."""
    gain = COV @ SEEN.T @ torch.linalg.inv(SEEN @ COV @ SEEN.T + NOISE**2 * torch.eye(2, **FLOAT64))
    return MEAN + gain @ (Y - SEEN @ MEAN), COV - gain @ SEEN @ COV


def off(x, mean, cov):
    """Largest error of a mean in standard errors, and of the covariance in the coordinates where that is one."""
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(cov), (x - mean).T, upper=False).T
    return float(white.mean(0).abs().max()) * N**0.5, float((white.T.cov() - EYE).abs().max())


@pytest.mark.parametrize("schedule", [VPCosine(), Flow()], ids=repr)
@pytest.mark.parametrize("walk", [DPS(STEPS), LGDMC(STEPS, draws=64, spread=0.0)], ids=["DPS", "LGD-MC"])
def test_a_linear_reward_shifts_the_mean_of_a_normal_law_by_its_covariance(walk, schedule):
    """There the reward of the mean has the gradient of the log of the mean of exp(reward)."""
    guided, plain = (ended(w, linear, schedule=schedule) for w in (walk, Plain(STEPS)))
    shift = (guided - plain).mean(0)  # the same noise: nothing but the discretisation differs
    assert float((shift - COV @ PULL).norm() / (COV @ PULL).norm()) < 0.03
    assert float((guided.T.cov() - plain.T.cov()).norm() / COV.norm()) < 0.01


def test_without_the_network_it_is_exact_where_the_prior_is_white():
    guided, plain = (ended(w, linear, MEAN * 0, EYE) for w in (MPGD(STEPS), Plain(STEPS)))
    assert float(((guided - plain).mean(0) - PULL).norm()) < 0.03


def test_without_the_network_a_push_leaves_a_thin_prior():
    """On three dimensions of six a gradient through the network stays there, and one without it does not."""
    thin = TURN @ torch.diag(torch.tensor([1.0, 1, 1, 1e-6, 1e-6, 1e-6], **FLOAT64)) @ TURN.T
    across, off_it = TURN[:, 3:], {}
    for walk in (Plain(50), DPS(50, strength=Share(0.5)), MPGD(50, strength=Share(0.5))):
        x = ended(walk, linear, MEAN, thin)
        off_it[type(walk)] = float(((x - MEAN) @ across).norm(dim=1).mean())
    assert off_it[DPS] < 1.1 * off_it[Plain]
    assert off_it[MPGD] > 5 * off_it[Plain]


@pytest.mark.parametrize("schedule", [VPCosine(), Flow()], ids=repr)
def test_measurements_give_the_posterior_of_a_normal_prior(schedule):
    mean, cov = posterior()
    walk = MMPS(STEPS, operator=measured, y=Y, noise=NOISE, iterations=2)
    error, spread = off(ended(walk, likelihood, schedule=schedule), mean, cov)
    assert error < 4.5
    assert spread < 0.12


def test_fewer_products_than_measurements_are_not_exact():
    mean, cov = posterior()
    walk = MMPS(STEPS, operator=measured, y=Y, noise=NOISE, iterations=1)
    assert off(ended(walk, likelihood), mean, cov)[0] > 10


def test_the_reward_of_the_mean_is_too_sure_of_itself():
    """DPS gives the measured directions too little variance and a mean that is off; MMPS does not."""
    mean, cov = posterior()
    x = ended(DPS(STEPS), likelihood)
    assert float((SEEN @ x.T).cov().trace() / (SEEN @ cov @ SEEN.T).trace()) < 0.7
    assert off(x, mean, cov)[0] > 10


def test_draws_with_the_right_spread_are_exact_on_a_white_prior():
    """x0 given x_t is normal with the variance that LGD-MC takes; without draws it is DPS, and biased."""
    reward, want = lambda x: -(x[:, 0] - 2).square(), (2 / 1.5 * 1.0, 1 / 3)
    found = {}
    for draws, spread in ((64, 1.0), (1, 0.0)):
        x = ended(LGDMC(STEPS, draws=draws, spread=spread), reward, MEAN * 0, EYE)[:, 0]
        found[draws] = float(x.mean()), float(x.var())
    assert found[64][0] == pytest.approx(want[0], abs=0.05)
    assert found[64][1] == pytest.approx(want[1], rel=0.12)
    assert abs(found[1][1] / want[1] - 1) > 0.2


def test_time_travel_without_a_push_keeps_the_law():
    walk = DPS(60, strength=Tilt(0.0), repeat=Repeat(4, (0.1, 0.8)))
    x = ended(walk, linear, eta=1.0)
    plain = ended(Plain(60), linear, eta=1.0)
    assert float((x - plain).abs().mean()) > 0.1  # other samples
    assert float((x.mean(0) - plain.mean(0)).norm()) < 4 * float((2 * COV.trace() / N).sqrt())
    assert float((x.T.cov() - plain.T.cov()).norm() / COV.norm()) < 0.1


def test_time_travel_brings_a_weak_push_nearer_to_the_posterior():
    """The published rule on the norm of what is left; each step four times instead of once."""

    def residual(x):
        return -(x @ SEEN.T.to(x) - Y.to(x)).norm(dim=1)

    mean, _ = posterior()
    once, often = (ended(DPS(40, strength=Raw(0.05), repeat=Repeat(k, (0.0, 1.0))), residual, eta=1.0) for k in (1, 4))
    assert float((often.mean(0) - mean).norm()) < 0.6 * float((once.mean(0) - mean).norm())
    assert float(residual(often).mean()) > float(residual(once).mean()) + 0.05


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_pushes_are_in_units_of_the_noise_of_a_step(eta):
    prior = law(MEAN, COV, schedule=VPCosine(), kernel=DDIM(eta))
    t, s = torch.tensor(0.6, **FLOAT64), torch.tensor(0.5, **FLOAT64)
    g, b = 50 * normal(4, D), prior.kernel(prior.schedule, t, s)[1]
    noise = float(DDIM(1.0)(prior.schedule, t, s)[2])
    size = (b * Share(0.5)(prior, g, t, s)).square().mean(1).sqrt()
    assert size.tolist() == pytest.approx([0.5 * noise] * 4)
    assert (b * Tilt(limit=2.0)(prior, g, t, s)).square().mean(1).sqrt().tolist() == pytest.approx([2 * noise] * 4)
    small = 1e-3 * g
    alpha, sigma = prior.schedule(t)
    assert torch.allclose(Tilt(0.5, limit=2.0)(prior, small, t, s), 0.5 * sigma**2 / alpha * small)
    assert torch.allclose(b * Raw(0.3)(prior, g, t, s), 0.3 * g)
    assert Share(0.5)(prior, 0 * g, t, s).abs().max() == 0


def test_what_an_autoencoder_projects_away_pushes_nothing():
    """The gradient of reward(project(x0)), here with the first numbers alone."""
    keep = torch.tensor([1.0, 1, 1, 0, 0, 0])
    walk = MPGD(20, project=lambda x: x * keep.to(x))
    shift = (ended(walk, lambda x: x.sum(1), MEAN * 0, EYE) - ended(Plain(20), linear, MEAN * 0, EYE)).mean(0)
    assert shift[:3].min() > 0.8
    assert shift[3:].abs().max() < 1e-5


def test_a_search_over_noise_goes_through_a_guided_walk_and_pays_for_its_rewards():
    count = Count()
    target = on(law(MEAN, COV), reward=linear, count=count)
    target = target.with_walk(DPS(4, strength=Share(0.2)))
    result = run(Elites(8), target, Budget(steps=3), probe=None)
    assert (result.meter.nfe, result.meter.rewards, result.meter.grads) == (96, 24 * 5, 96)
    assert count.scored == result.meter.rewards
    plain = run(Elites(8), on(law(MEAN, COV), reward=linear), Budget(steps=3), probe=None)
    assert float(result.best.reward) > float(plain.best.reward)


def test_a_gradient_through_a_guided_walk_is_refused():
    with pytest.raises(InputError, match="use walk=Plain"):
        run(NoiseAscent(2), on(law(MEAN, COV), reward=linear).with_walk(DPS(4)), Budget(steps=2), probe=None)


@pytest.mark.parametrize(
    ("walk", "message"),
    [
        (MMPS(4, operator=lambda x: x**2, y=torch.zeros(D)), "not linear"),
        (MMPS(4, operator=lambda x: x + 1, y=torch.zeros(D)), "not linear"),
        (MMPS(4, operator=measured, y=torch.zeros(3)), "y has 3"),
    ],
)
def test_measurements_that_do_not_fit_are_refused_before_any_call(walk, message):
    count = Count()
    with pytest.raises(InputError, match=message):
        run(walk, on(law(MEAN, COV), reward=linear, count=count))
    assert count.sizes == []


def test_a_prior_without_a_schedule_is_refused():
    with pytest.raises(InputError, match="no noise schedule"):
        run(DPS(4), Target(OneStep(lambda z: z, (D,)), linear))


@pytest.mark.parametrize(
    "make",
    [
        lambda: DPS(temperature=0.0),
        lambda: LGDMC(draws=0),
        lambda: MPGD(climbs=0),
        lambda: MMPS(operator=measured),
        lambda: MMPS(operator=measured, y=Y, noise=0.0),
        lambda: Tilt(-1.0),
        lambda: Tilt(limit=0.0),
        lambda: Share(-0.1),
        lambda: Repeat(0),
        lambda: Repeat(2, (0.5, 0.4)),
    ],
)
def test_options_out_of_range_are_a_sentence(make):
    with pytest.raises(InputError, match=r"give|least|take"):
        make()


def test_where_a_reward_fails_nothing_is_pushed():
    def half(x):
        return torch.where(torch.arange(len(x)) % 2 == 0, linear(x), math.nan)

    guided, plain, whole = (ended(DPS(10), f) for f in (half, lambda x: 0 * linear(x), linear))
    assert torch.equal(guided[1::2], plain[1::2])
    assert torch.equal(guided[::2], whole[::2])
