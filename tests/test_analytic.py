"""The exact priors are exact, and walks on them do what theory says."""

import math

import pytest
import torch
from helpers import FLOAT64, PRIORS, bell, humps, normal, plane
from torch.distributions import MultivariateNormal

from elites import DDIM, VE, Flow, InputError, Pair, Plain, Stream, Target, VPLinear
from elites.priors import CFG, mixture, subspace
from elites.priors import normal as gaussian

LAWS = {
    "mixture": humps,
    "gaussian": bell,
    "flow": lambda **changes: humps(schedule=Flow(), **changes),
    "VE": lambda **changes: bell(schedule=VE(), **changes),
    "plane": lambda **changes: plane(5, **changes),
}
M, C = 1.0, 0.25  # the scalar law of the solver tests


def at(prior, fraction):
    return prior.grid(20)[int(20 * (1 - fraction))]


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.95])
def test_the_clean_guess_obeys_tweedie(law, fraction):
    prior = law()
    t = at(prior, fraction)
    alpha, sigma = prior.schedule(t)
    x = (alpha * prior.sample(Stream(0), range(9)).double() + sigma * normal(9, *prior.shape)).requires_grad_()
    (score,) = torch.autograd.grad(prior.log_density(x, t).sum(), x)
    assert torch.allclose(prior.denoise(x, t), (x + sigma**2 * score) / alpha, rtol=1e-8, atol=1e-8)
    assert torch.allclose(prior.score(x, t), score, rtol=1e-8, atol=1e-8)


def test_a_normal_law_has_the_density_and_the_posterior_mean_of_a_normal_law():
    root = normal(4, 4)
    mean, cov = normal(4, seed=1), root @ root.T
    prior, t = gaussian(mean, cov), torch.tensor(0.3, **FLOAT64)
    alpha, sigma = prior.schedule(t)
    noisy = alpha**2 * cov + sigma**2 * torch.eye(4, **FLOAT64)
    x = normal(6, 4, seed=2)
    assert torch.allclose(prior.log_density(x, t), MultivariateNormal(alpha * mean, noisy).log_prob(x), rtol=1e-10)
    want = mean + alpha * (x - alpha * mean) @ torch.linalg.solve(noisy, cov)
    assert torch.allclose(prior.denoise(x, t), want, rtol=1e-10)


def test_a_mixture_has_the_density_of_its_components():
    means, stds = normal(3, 2), torch.tensor([0.4, 0.7, 1.1], **FLOAT64)
    weights = torch.tensor([1.0, 2.0, 5.0], **FLOAT64)
    prior, t, x = mixture(means, stds, weights), torch.tensor(0.2, **FLOAT64), normal(7, 2, seed=1)
    alpha, sigma = prior.schedule(t)
    parts = [
        w / 8 * MultivariateNormal(alpha * m, (alpha**2 * s**2 + sigma**2) * torch.eye(2, **FLOAT64)).log_prob(x).exp()
        for m, s, w in zip(means, stds, weights, strict=True)
    ]
    assert torch.allclose(prior.log_density(x, t), sum(parts).log(), rtol=1e-10)


@pytest.mark.parametrize("stds", [0.5, torch.tensor([0.5, 1.0]), torch.tensor([[0.5, 1.0, 2.0], [1.0, 0.1, 0.3]])])
def test_exact_samples_have_the_moments_of_the_law(stds):
    means, weights, n = torch.tensor([[0.0, 3.0, -1.0], [2.0, -1.0, 0.0]]), torch.tensor([0.3, 0.7]), 4000
    x = mixture(means, stds, weights).sample(Stream(1), range(n)).double()
    each = torch.as_tensor(stds).reshape(-1, 1) if torch.as_tensor(stds).ndim == 1 else torch.as_tensor(stds)
    mean = weights @ means
    second = weights @ (means**2 + each.expand(2, 3) ** 2)
    assert ((x.mean(0) - mean).abs() < 4 * x.std(0) / n**0.5).all()
    assert ((x.square().mean(0) - second).abs() < 4 * x.square().std(0) / n**0.5).all()
    left = (x[:, 1] > 1).double()  # mostly the first component
    components = zip(weights, means[:, 1], each.expand(2, 3)[:, 1], strict=True)
    exact = sum(w * 0.5 * math.erfc((1 - m) / s / 2**0.5) for w, m, s in components)
    assert (left.mean() - exact).abs() < 4 * left.std() / n**0.5


def test_exact_samples_of_a_normal_law_have_its_covariance():
    prior, n = bell(3), 4000
    x = prior.sample(Stream(2), range(n)).double()
    cov = prior.basis @ torch.diag(prior.variances[0]) @ prior.basis.T
    centred = x - prior.means[0] @ prior.basis.T
    products = centred[:, :, None] * centred[:, None]
    assert (centred.mean(0).abs() < 4 * x.std(0) / n**0.5).all()
    assert ((products.mean(0) - cov).abs() < 4 * products.std(0) / n**0.5).all()
    assert torch.equal(prior.sample(Stream(2), [7, 3]).double(), x[[7, 3]])


@pytest.mark.parametrize("kernel", [DDIM(), DDIM(1.0)])
def test_samples_and_walks_stay_on_the_subspace(kernel):
    frame = torch.linalg.qr(normal(30, 3)).Q
    prior = subspace(frame, normal(2, 3, seed=1), 0.4, kernel=kernel)
    walked = Target(prior, len, walk=Plain(steps=6)).generate(prior.noise(Stream(0), range(20)), Stream(0), range(20))
    for x in (prior.sample(Stream(0), range(20)), walked):
        off = x.double() - x.double() @ frame @ frame.T
        assert off.norm(dim=1).max() < 1e-6 * x.norm(dim=1).max()
    assert (walked @ frame.float()).std(0).min() > 0.1  # and not in a point of it


def test_a_law_on_a_subspace_is_the_law_of_its_coordinates():
    frame = torch.linalg.qr(normal(7, 2)).Q
    inner, t = mixture(normal(3, 2, seed=1), 0.4), torch.tensor(0.4, **FLOAT64)
    prior = subspace(frame, inner.means, 0.4)
    x = normal(5, 7, seed=2)
    assert torch.allclose(prior.denoise(x, t), inner.denoise(x @ frame, t) @ frame.T, rtol=1e-10)


@pytest.mark.parametrize("prior", [PRIORS["mixture"], PRIORS["gaussian"], PRIORS["plane"]])
def test_a_row_has_the_same_bits_in_any_batch(prior):
    x = 2 * Stream(3).normal(range(64), prior.shape)
    for t in prior.grid(4)[:-1]:
        whole = prior.denoise(x, t)
        for rows in (slice(0, 1), slice(5, 8), slice(31, 64), slice(63, 64)):
            assert torch.equal(prior.denoise(x[rows], t), whole[rows])


def test_guidance_on_the_clean_guess_is_guidance_on_the_noise():
    one, other, scale = humps(), bell(), 3.5
    t, x = torch.tensor(0.6, **FLOAT64), normal(5, 6)
    alpha, sigma = one.schedule(t)
    eps_c, eps_u = ((x - alpha * prior.denoise(x, t)) / sigma for prior in (one, other))
    guided = (x - alpha * CFG(one, other, scale).denoise(x, t)) / sigma
    assert torch.allclose(guided, eps_u + scale * (eps_c - eps_u), rtol=1e-10)
    score = other.score(x, t) + scale * (one.score(x, t) - other.score(x, t))
    assert torch.allclose(-guided / sigma, score, rtol=1e-10)
    assert torch.equal(CFG(one, other, 1.0).denoise(x, t).round(decimals=9), one.denoise(x, t).round(decimals=9))


def warped(steps):
    """VP from log(alpha / sigma) = -4 to 4, at uneven levels; t is 1 at noise."""

    def log_snr(t):
        u = 1 - t
        return 8 * (u + 0.5 * (2 * math.pi * u).sin() / (2 * math.pi)) - 4

    schedule = Pair(lambda t: torch.sigmoid(2 * log_snr(t)).sqrt(), lambda t: torch.sigmoid(-2 * log_snr(t)).sqrt())
    return schedule, schedule.times(steps)


def spread(schedule, t):
    alpha, sigma = schedule(t)
    return alpha**2 * C + sigma**2


def ode_error(steps):
    schedule, times = warped(steps)
    z = torch.tensor([[-1.5], [0.2], [1.7]], **FLOAT64)
    got = Target(mixture([[M]], C**0.5, schedule=schedule), len, walk=Plain(steps=steps)).generate(
        z, Stream(0), range(3)
    )
    (a, s), (b, _) = schedule(times[0]), schedule(times[-1])
    exact = b * M + (spread(schedule, times[-1]) / spread(schedule, times[0])).sqrt() * (s * z - a * M)
    return float((got - exact).abs().max())


def impulses(prior, steps):
    """A walk on a normal law is affine in its start and its noises: the constant, and the gain of each.

    One batch of walks with a unit impulse in one place each, so that nothing is left to chance.
    """
    times, x = prior.grid(steps), torch.zeros(steps + 2, 1, **FLOAT64)
    x[1] = 1
    for i in range(steps):
        noise = torch.zeros_like(x)
        noise[i + 2] = 1
        x = prior.move(x, prior.denoise(x, times[i]), times[i], times[i + 1], noise)
    gains = (x - x[0])[:, 0]
    return x[0, 0], gains[1], gains[2:]


def variance_error(steps, eta):
    schedule, times = warped(steps)
    constant, start, noises = impulses(mixture([[M]], C**0.5, schedule=schedule, kernel=DDIM(eta)), steps)
    mean = constant + start * schedule(times[0])[0] * M
    assert float(mean) == pytest.approx(float(schedule(times[-1])[0] * M), rel=1e-12)  # the mean is always exact
    variance = start**2 * spread(schedule, times[0]) + noises.square().sum()
    return float((variance - spread(schedule, times[-1])).abs())


def test_the_deterministic_walk_converges_to_the_ode_at_first_order():
    slope = math.log2(ode_error(160) / ode_error(320))
    assert 0.95 < slope < 1.05


@pytest.mark.parametrize(
    ("eta", "coarse", "fine"), [(0.0, 6.8e-2, 2.5e-3), (0.5, 7.6e-2, 3.2e-3), (1.0, 1.11e-1, 5.59e-3)]
)
def test_the_variance_of_a_walk_has_the_known_error(eta, coarse, fine):
    # of 10 and of 320 steps, as measured with another implementation of the samplers
    assert variance_error(10, eta) == pytest.approx(coarse, rel=0.01)
    assert variance_error(320, eta) == pytest.approx(fine, rel=0.02)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_walks_on_drawn_noise_have_the_moments_that_impulses_give(eta):
    schedule, n = warped(6)[0], 3000
    prior = mixture([[M]], C**0.5, schedule=schedule, kernel=DDIM(eta))
    z = prior.noise(Stream(5), range(n)).double()
    x = Target(prior, len, walk=Plain(steps=6), batch=n).generate(z, Stream(5), range(n))[:, 0]
    mean, start, noises = impulses(prior, 6)
    variance = (start * schedule(schedule.times(1)[0])[1]) ** 2 + noises.square().sum()
    assert (x.mean() - mean).abs() < 4 * (variance / n) ** 0.5
    assert ((x - mean).square().mean() - variance).abs() < 4 * (2 / n) ** 0.5 * variance


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_long_walk_draws_from_the_law(eta):
    prior, n = mixture([[-2.0], [1.0]], 0.5, torch.tensor([1.0, 3.0]), kernel=DDIM(eta)), 800
    x = Target(prior, len, walk=Plain(steps=60), batch=n).generate(
        prior.noise(Stream(1), range(n)), Stream(1), range(n)
    )
    left = (x < -0.5).double()
    exact = sum(w * 0.5 * math.erfc((0.5 + m) / 0.5 / 2**0.5) for w, m in ((0.25, -2.0), (0.75, 1.0)))
    assert (left.mean() - exact).abs() < 4 * left.std() / n**0.5
    assert (x.mean() - 0.25).abs() < 4 * x.std() / n**0.5


def test_wrong_laws_are_refused():
    for means, stds, weights in ((torch.zeros(3), 1.0, None), (torch.zeros(2, 3), 1.0, torch.ones(3))):
        with pytest.raises(InputError, match="give"):
            mixture(means, stds, weights)
    with pytest.raises(InputError, match="positive weights"):
        mixture(torch.zeros(2, 3), 1.0, torch.tensor([1.0, 0.0]))
    with pytest.raises(InputError, match=r"give \(d, d\)"):
        gaussian(torch.zeros(3), torch.eye(2))
    with pytest.raises(InputError, match="must agree"):
        subspace(torch.eye(4)[:, :2], torch.zeros(1, 3), 1.0)
    with pytest.raises(InputError, match="not orthonormal"):
        subspace(2 * torch.eye(4)[:, :2], torch.zeros(1, 2), 1.0)
    assert VPLinear() == PRIORS["mixture"].schedule
