"""Movement of the clean guess: exact on normal laws, and high between modes where a network makes a ramp of a jump."""

import pytest
import torch
from helpers import FLOAT64, Count, Counted, bell, bits, humps, on

from elites import DDIM, InputError, Plain, Stream, Target, VPCosine
from elites.diagnose import DenoisingLoss, Last, LogSNR, TrajectoryVariance, quantile, threshold
from elites.diagnose.hallucination import moved
from elites.priors import GaussianPrior, OneStep
from elites.priors import normal as gaussian
from elites.schedule import X0

WIDTH, STEEPEST, STEPS = 0.05, 6.0, 60


def ramp(x, t):
    """The guess of two modes at -1 and 1, of a network whose noise has a slope of at most STEEPEST in x."""
    alpha, sigma = VPCosine()(t[0].double())
    spread = alpha**2 * WIDTH**2 + sigma**2
    mean = (alpha * x / torch.maximum(spread, 1 / (1 + STEEPEST * sigma))).tanh()
    return (mean + alpha * WIDTH**2 / spread * (x - alpha * mean)).to(x)


def two_modes(kernel, batch=500):
    prior = GaussianPrior(ramp, (1,), VPCosine(), X0(), kernel=kernel)
    return Target(prior, lambda x: x[:, 0], walk=Plain(steps=STEPS), batch=batch)


def walked(target, n, *windows, seed=0):
    stream, ids = Stream(seed), range(n)
    return moved(target, target.prior.noise(stream, ids), stream, ids, windows)


def test_a_network_that_hallucinates_is_found_out():
    target = two_modes(DDIM(1.0))
    x, (late, whole) = walked(target, 1000, LogSNR(2), Last(1.0))
    away = (x[:, 0].abs() - 1).abs() / WIDTH
    between, true = away > 6, away < 4
    assert between.sum() > 30
    assert true.sum() > 500
    assert float(quantile(late[between], late[true], higher=True).mean()) > 0.95
    # the whole walk says nothing: all guesses move early on
    assert float(quantile(whole[between], whole[true], higher=True).mean()) < 0.7
    # nor is the network sure of what it made
    loss = DenoisingLoss((4.0,), 4)(target, x, Stream(0), range(1000))
    assert float(quantile(loss[between], loss[true], higher=True).mean()) > 0.95
    # the threshold of true samples of one half, judged on the other
    some, others = torch.arange(1000) < 500, torch.arange(1000) >= 500
    real = late <= threshold(late[true & some], keep=0.9, higher=False)
    assert float(real[true & others].double().mean()) == pytest.approx(0.9, abs=4 * (2 * 0.9 * 0.1 / 300) ** 0.5)
    assert float(real[between & others].double().mean()) < 0.2


def guesses_of_a_normal_law(prior, steps):
    """The clean guesses of a walk as linear maps of independent normal draws: `(steps, 1 + steps)`."""
    times, alpha_v = prior.grid(steps), float(prior.variances)
    draws = torch.zeros(1 + steps, **FLOAT64)
    draws[0] = prior.schedule(times[0])[1]
    out = []
    for i in range(steps):
        alpha, sigma = prior.schedule(times[i])
        guess = alpha * alpha_v / (alpha**2 * alpha_v + sigma**2) * draws
        a, b, c = prior.kernel(prior.schedule, times[i], times[i + 1])
        draws = a * draws + b * guess
        draws[1 + i] = c
        out.append(guess)
    return torch.stack(out)


def spread(maps, share):
    """Quadratic form of the draws: their variance over the last guesses."""
    late = maps[-round(share * len(maps)) :]
    centred = late - late.mean(0)
    return centred.T @ centred / len(late)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_its_mean_on_a_normal_law_is_exact(eta):
    prior = gaussian(torch.zeros(1), torch.tensor([[0.4]]), schedule=VPCosine(), kernel=DDIM(eta))
    form = spread(guesses_of_a_normal_law(prior, 20), 0.5)
    n = 1500
    _, (values,) = walked(Target(prior, lambda x: x[:, 0], walk=Plain(steps=20), batch=500), n, Last(0.5))
    error = (2 * (form @ form).trace()).sqrt() / n**0.5  # the variance of a quadratic form of normal draws
    assert abs(float(values.mean() - form.trace())) < 4 * float(error)


def test_without_noise_it_is_a_function_of_the_first_noise():
    prior = gaussian(torch.zeros(1), torch.tensor([[0.4]]), schedule=VPCosine())
    form = spread(guesses_of_a_normal_law(prior, 20), 0.25)
    z = torch.tensor([[-2.0], [0.0], [0.5], [3.0]])
    target = Target(prior, lambda x: x[:, 0], walk=Plain(steps=20))
    values = TrajectoryVariance(Last(0.25))(target, z, Stream(0), range(4))
    assert torch.allclose(values, z[:, 0].double().square() * form[0, 0], rtol=1e-4, atol=1e-15)
    assert values.dtype == torch.float64


def test_several_coordinates_count_equally():
    """Two independent copies side by side have the mean of the two."""
    prior = gaussian(torch.zeros(2), 0.4 * torch.eye(2), schedule=VPCosine())
    z = torch.tensor([[-2.0, 1.0], [0.5, 3.0]])
    both = TrajectoryVariance()(on(prior, steps=10), z, Stream(0), range(2))
    one = gaussian(torch.zeros(1), torch.tensor([[0.4]]), schedule=VPCosine())
    each = TrajectoryVariance()(on(one, steps=10), z.reshape(4, 1), Stream(0), range(4))
    assert torch.allclose(both, each.reshape(2, 2).mean(1), rtol=1e-4)


def test_latents_are_those_of_the_target_in_any_batch_and_each_call_counts():
    prior = humps(kernel=DDIM(1.0))
    stream, ids = Stream(3), range(11)
    z = prior.noise(stream, ids)
    want = on(prior, steps=12).generate(z, stream, ids)
    small, large = on(prior, steps=12, batch=4), on(prior, steps=12, batch=64)
    (x, values), (y, others) = (TrajectoryVariance(LogSNR(0)).walked(t, z, stream, ids) for t in (small, large))
    assert bits(x) == bits(want) == bits(y)
    assert bits(values) == bits(others)
    assert small.meter.nfe == 11 * 12
    assert small.meter.rewards == 0
    alone = TrajectoryVariance(LogSNR(0))(large, z[4:6], stream, ids[4:6])
    assert bits(alone) == bits(values[4:6].clone())


def test_a_window_holds_the_guesses_of_its_levels():
    prior = bell(schedule=VPCosine())
    times = prior.grid(50)[:-1]
    alpha, sigma = prior.schedule(times)
    ratio = (alpha / sigma).square().log()
    assert torch.equal(LogSNR(1, 3)(prior, times), (ratio >= 1) & (ratio <= 3))
    assert Last(0.1)(prior, times).nonzero().flatten().tolist() == [45, 46, 47, 48, 49]
    assert Last(0.001)(prior, times).sum() == 2  # one guess does not move


def test_a_guess_that_is_not_finite_gives_no_number():
    prior = GaussianPrior(lambda x, t: torch.where(x > 0, x, torch.nan), (1,), VPCosine(), X0())
    values = TrajectoryVariance()(on(prior, steps=10), torch.tensor([[1.0], [-1.0]]), Stream(0), range(2))
    assert values.isnan().tolist() == [False, True]


def test_it_refuses_before_the_first_network_call():
    count = Count()
    target = on(Counted(humps(), count), steps=5)
    z = torch.zeros(2, 6)
    with pytest.raises(InputError, match="guesses of the walk are in LogSNR"):
        TrajectoryVariance(LogSNR(30))(target, z, Stream(0), range(2))
    with pytest.raises(InputError, match="The noise has shape"):
        TrajectoryVariance()(target, z[:, :3], Stream(0), range(2))
    with pytest.raises(InputError, match="no noise to walk from"):
        TrajectoryVariance()(target, z[:0], Stream(0), range(0))
    with pytest.raises(InputError, match="has no noise schedule"):
        TrajectoryVariance(LogSNR(2))(on(OneStep(lambda z: z, (6,))), z, Stream(0), range(2))
    with pytest.raises(InputError, match="1 of 1 guesses"):
        TrajectoryVariance()(on(OneStep(lambda z: z, (6,))), z, Stream(0), range(2))
    with pytest.raises(InputError, match="is empty"):
        LogSNR(3, 2)
    with pytest.raises(InputError, match="no share"):
        Last(0)
    assert count.sizes == []
