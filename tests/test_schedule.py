"""Schedules and conversions, on a mixture where everything is known in closed form."""

import itertools
import math

import pytest
import torch
from helpers import FLOAT64, normal

from elites import EDM, VE, X0, Eps, Flow, InputError, Pair, Score, Table, V, Velocity, VPCosine, VPLinear
from elites.priors import mixture
from elites.schedule import rates

SCHEDULES = {
    "VP linear": VPLinear(),
    "VP cosine": VPCosine(),
    "VE": VE(),
    "EDM": EDM(),
    "flow": Flow(),
    "shifted flow": Flow(shift=3.0),
    "trigonometric pair": Pair(lambda t: (t * math.pi / 2).cos(), lambda t: (t * math.pi / 2).sin() ** 2, start=0.9),
    "sub-VP pair": Pair(lambda t: VPLinear()(t)[0], lambda t: 1 - VPLinear()(t)[0] ** 2),
}
PREDICTIONS = [X0(), Eps(), V(), Score(), Velocity()]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
POINTS = (1, 4, 7, 9)  # of a walk of ten steps


def setting(schedule, k):
    """A prior of 4 components in 3 dimensions, points around them, and a time."""
    stds = torch.tensor([0.3, 0.45, 0.6, 0.8])
    prior = mixture(2 * normal(4, 3), stds, torch.tensor([1.0, 2.0, 3.0, 4.0]), schedule=schedule)
    t = schedule.times(10)[k]
    alpha, sigma = schedule(t)
    clean = prior.means + stds.double()[:, None] * normal(4, 3, seed=1)
    return prior, alpha * clean + sigma * normal(4, 3, seed=2), t, alpha, sigma


def assert_close(a, b, rtol=1e-9):
    """Relative to the largest number."""
    assert (a - b).abs().max() <= rtol * b.abs().max(), (a - b).abs().max() / b.abs().max()


def differences(f, t, h=1e-5):
    """Central differences of fourth order."""
    return (8 * (f(t + h) - f(t - h)) - (f(t + 2 * h) - f(t - 2 * h))) / (12 * h)


@every_schedule
@pytest.mark.parametrize("k", POINTS)
@pytest.mark.parametrize("kind", PREDICTIONS, ids=repr)
def test_the_clean_guess_survives_every_prediction(schedule, k, kind):
    prior, x, t, *_ = setting(schedule, k)
    x0 = prior.denoise(x, t)
    assert_close(kind.x0(kind.of(x0, x, schedule, t), x, schedule, t), x0)


@every_schedule
@pytest.mark.parametrize("k", POINTS)
def test_the_conversion_table_holds(schedule, k):
    prior, x, t, a, s = setting(schedule, k)
    da, ds = (differences(lambda u, i=i: schedule(u)[i], t, 1e-3 * float(t)) for i in (0, 1))
    x0, y = prior.denoise(x, t), x.clone().requires_grad_()
    (score,) = torch.autograd.grad(prior.log_density(y, t).sum(), y)  # known apart from every conversion
    eps, f, g2 = -s * score, da / a, 2 * s * ds - 2 * da / a * s**2
    assert_close(prior.score(x, t), score)
    assert_close(x0, (x + s**2 * score) / a)
    assert_close(Score().of(x0, x, schedule, t), score)
    assert_close(Eps().of(x0, x, schedule, t), eps)
    assert_close(V().of(x0, x, schedule, t), a * eps - s * x0)
    assert_close(-(s * x + a * V().of(x0, x, schedule, t)) / (s * (a**2 + s**2)), score)
    velocity = Velocity().of(x0, x, schedule, t)
    assert_close(velocity, ds / s * x + (da - a * ds / s) * x0)
    assert_close(velocity, f * x + (ds - s * f) * eps)
    assert_close(velocity, f * x - g2 / 2 * score)
    assert_close((a * velocity - da * x) / (ds * a - da * s), eps)


@every_schedule
@pytest.mark.parametrize("k", POINTS)
def test_the_velocity_carries_the_density(schedule, k):
    prior, x, t, *_ = setting(schedule, k)
    x, t = x.requires_grad_(), t.clone().requires_grad_()
    log_p = prior.log_density(x, t)
    score, change = torch.autograd.grad(log_p.sum(), (x, t), retain_graph=True)
    change = torch.stack([torch.autograd.grad(v, t, retain_graph=True)[0] for v in log_p])
    velocity = Velocity().of(prior.denoise(x, t), x, schedule, t.detach())
    divergence = sum(torch.autograd.grad(velocity[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(3))
    flux = divergence + (velocity.detach() * score).sum(1)
    scale = divergence.abs() + (velocity.detach() * score).abs().sum(1)
    assert ((change + flux).abs() <= 1e-9 * scale).all()  # d_t log p + div v + v . score = 0


@every_schedule
@pytest.mark.parametrize("k", POINTS)
def test_the_velocity_is_the_slope_of_the_exact_flow_of_a_normal_law(schedule, k):
    m, c, t = 1.3, 0.49, schedule.times(10)[k]
    prior = mixture([[m]], c**0.5, schedule=schedule)
    x = torch.tensor([[0.7]], **FLOAT64)

    def path(u):
        (a, s), (b, q) = schedule(u), schedule(t)
        return a * m + ((a**2 * c + s**2) / (b**2 * c + q**2)).sqrt() * (x - b * m)

    assert_close(Velocity().of(prior.denoise(x, t), x, schedule, t), differences(path, t, 1e-3 * float(t)), 1e-8)


@every_schedule
@pytest.mark.parametrize("k", POINTS)
def test_rates_are_the_derivatives(schedule, k):
    t = schedule.times(10)[k]
    for i, rate in enumerate(rates(schedule, t)):
        want = differences(lambda u, i=i: schedule(u)[i], t, 1e-3 * float(t))
        assert (rate - want).abs() <= 1e-9 * (1 + want.abs())
        assert rate.ndim == 0
        assert not rate.requires_grad


@every_schedule
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_times_decrease_to_a_clean_end(schedule, steps):
    times = schedule.times(steps)
    alpha, sigma = schedule(times)
    assert times.shape == (steps + 1,)
    assert times.dtype == alpha.dtype == sigma.dtype == torch.float64
    assert (times.diff() < 0).all()
    assert (sigma.diff() < 0).all()
    assert (sigma[-1], alpha[-1]) == (0, 1)
    assert times[0] == schedule.times(1)[0]  # where walks start does not depend on their length


@every_schedule
def test_the_signal_to_noise_ratio_grows_along_a_walk(schedule):
    alpha, sigma = schedule(schedule.times(30)[:-1])
    assert ((alpha / sigma).diff() > 0).all()


def test_levels_are_those_of_the_papers():
    levels = EDM().times(18)[:-1]
    i = torch.arange(18, **FLOAT64)
    want = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert_close(levels, want, 1e-12)
    ratios = VE(0.1, 10.0).times(5)[1:-1] / VE(0.1, 10.0).times(5)[:-2]
    assert_close(ratios, torch.full((4,), 100**-0.25, **FLOAT64), 1e-12)
    t = torch.linspace(1, 0, 9, **FLOAT64)
    assert_close(Flow(3.0).times(8), 3 * t / (1 + 2 * t), 1e-12)
    alpha, sigma = VPLinear()(t)  # d log(alpha) / dt = -beta / 2, and alpha^2 + sigma^2 = 1
    assert_close(alpha**2 + sigma**2, torch.ones_like(t), 1e-12)
    assert float(rates(VPLinear(), t[4])[0] / alpha[4]) == pytest.approx(-(0.1 + 19.9 * 0.5) / 2, rel=1e-12)


def test_a_shift_of_a_flow_does_not_change_its_law():
    t = torch.linspace(1, 0, 5, **FLOAT64)
    assert all(torch.equal(a, b) for a, b in zip(Flow()(t), Flow(3.0)(t), strict=True))


def table(size=1000):
    beta = torch.linspace(1e-4, 0.02, size, **FLOAT64)
    return Table((1 - beta).cumprod(0))


def test_a_table_reads_its_levels_and_is_clean_at_minus_one():
    schedule = table()
    t = torch.tensor([999.0, 0.0, -1.0], **FLOAT64)
    alpha, sigma = schedule(t)
    assert alpha[1] == (1 - torch.tensor(1e-4, **FLOAT64)).sqrt()
    assert alpha[0] == schedule.alphas_cumprod[-1].sqrt()
    assert (alpha[2], sigma[2]) == (1, 0)
    assert_close(alpha**2 + sigma**2, torch.ones_like(t), 1e-12)
    assert Table(schedule.alphas_cumprod, final=0.25)(t)[0][2] == 0.5


def test_between_the_levels_of_a_table_the_logarithm_of_the_noise_is_even():
    schedule = table()
    t = torch.tensor([998.25, 500.5, 0.75, 12.0], **FLOAT64)
    alpha, sigma = schedule(t)
    ratio = lambda at: torch.stack([(pair := schedule(v))[1] / pair[0] for v in at])  # each alone, as a walk asks
    want = ratio(t.floor()) ** (1 - t.frac()) * ratio(t.ceil()) ** t.frac()
    assert_close(sigma / alpha, want, 1e-12)
    assert torch.equal(sigma / alpha, ratio(t))
    assert_close(alpha**2 + sigma**2, torch.ones_like(t), 1e-12)


def test_a_table_reaches_its_ends_evenly_where_there_is_no_noise_or_nothing_else():
    schedule = Table(torch.tensor([0.9, 0.5, 0.0], **FLOAT64))
    alpha, sigma = schedule(torch.tensor([2.0, 1.5, -0.5, -1.0], **FLOAT64))
    assert (alpha[0], sigma[0], alpha[3], sigma[3]) == (0, 1, 1, 0)
    angle = torch.atan2(sigma, alpha)
    assert_close(angle[1:3] * 2, torch.tensor([0.75 * torch.pi, torch.acos(torch.tensor(0.9**0.5, **FLOAT64))]), 1e-7)


def test_a_table_has_trailing_times_by_default():
    schedule = table(50)
    for steps in range(1, 51):
        times = schedule.times(steps)
        assert times.shape == (steps + 1,)
        assert (times[0], times[-1]) == (49, -1)
        assert (times.diff() < 0).all()
        assert torch.equal(times, times.round())
    for steps in (0, 51):
        with pytest.raises(InputError, match="ask for 1 to 50 steps"):
            schedule.times(steps)


def test_a_table_starts_at_the_top_whatever_the_spacing():
    leading = Table(table().alphas_cumprod, spacing=lambda n: torch.arange(n - 1, -2, -1, **FLOAT64) * (1000 // n))
    assert leading.times(1)[0] == 999


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_a_table_equals_the_scheduler_it_is_made_of(beta_schedule):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(beta_schedule=beta_schedule, timestep_spacing="trailing")
    schedule = Table(scheduler.alphas_cumprod)
    t = torch.arange(999, -1, -1, **FLOAT64)
    alpha, sigma = schedule(t)
    assert_close(alpha**2, scheduler.alphas_cumprod.double().flip(0), 1e-14)
    assert_close(sigma**2, 1 - scheduler.alphas_cumprod.double().flip(0), 1e-14)
    for steps in (1, 3, 7, 10, 30, 1000):
        scheduler.set_timesteps(steps)
        assert schedule.times(steps)[:-1].tolist() == scheduler.timesteps.tolist()


def test_conversions_of_predictions_agree_with_one_another():
    schedule, t = VPLinear(), torch.tensor(0.4, **FLOAT64)
    x, x0 = normal(5, 3), normal(5, 3, seed=1)
    for one, other in itertools.permutations(PREDICTIONS, 2):
        through = one.x0(one.of(x0, x, schedule, t), x, schedule, t)
        assert_close(other.of(through, x, schedule, t), other.of(x0, x, schedule, t))
