"""Gradient guidance settles where theory says, and its look-ahead loss stays on the data's subspace."""

import math

import pytest
import torch
from helpers import FLOAT64, Count, normal, on
from helpers import gaussian as law

from elites import DDIM, Budget, Flow, InputError, Lookahead, Stream, Target, VPCosine, run
from elites.priors import subspace
from elites.steer import AheadLoss, Constant, Published, RawGradient, Tweedie
from elites.steer.lookahead import Aim, Pushed

D, K = 12, 3
FRAME = torch.linalg.qr(normal(D, K, seed=1)).Q
ACROSS = normal(D, seed=2)
ACROSS = ACROSS - FRAME @ (FRAME.T @ ACROSS)
THETA = FRAME[:, 0] + 3 * ACROSS / ACROSS.norm()
THETA = THETA / THETA.norm()
ALONG = float((FRAME.T @ THETA).square().sum())  # variance of theta . x under the prior


def peak(x):
    """10 - (theta . x - 3)^2, as in the paper, where three quarters of theta lie off the data."""
    return 10 - ((x * THETA.to(x)).sum(1) - 3).square()


def plane():
    return subspace(FRAME, torch.zeros(1, K), 1.0, schedule=VPCosine(), kernel=DDIM(1.0))


def off(x):
    """Off the subspace over on it."""
    x = x.double()
    on_it = x @ FRAME @ FRAME.T
    return float(((x - on_it).norm(dim=1) / on_it.norm(dim=1)).mean())


def settled(method, prior, reward=peak, last=20):
    """Samples of the last rounds."""
    seen = []
    run(
        method,
        Target(prior, reward, batch=method.n),
        on=[lambda event: seen.append(event.info.x0) if event.info.x0 is not None else None],
        probe=None,
    )
    return torch.cat(seen[-last:]).double()


@pytest.mark.parametrize(("regularisation", "delta"), [(0.2, 0.8), (0.2, 1.6), (0.1, 1.6)])
def test_rounds_settle_at_the_maximum_of_the_regularised_reward(regularisation, delta):
    """lambda m = a f'(m) for m = theta . x, where the prior has variance a, whatever the pace."""
    want = 3 * (2 * ALONG / regularisation) / (1 + 2 * ALONG / regularisation)
    found = settled(Lookahead(24, 40, 40, regularisation, delta, mean=True), plane()) @ THETA
    assert float(found.mean()) == pytest.approx(want, rel=0.03)


def test_the_look_ahead_loss_stays_on_the_subspace_and_the_raw_gradient_does_not():
    ahead, raw = (
        settled(Lookahead(32, 60, 40, 0.05, 0.4, push=push), plane()) for push in (AheadLoss(), RawGradient())
    )
    assert off(ahead) < 1e-4
    assert off(raw) > 100 * off(ahead)
    assert peak(ahead).mean() > peak(raw).mean()


@pytest.mark.parametrize("schedule", [VPCosine(), Flow()], ids=repr)
def test_the_exact_weight_gives_the_law_given_the_measurement(schedule):
    """Mean and covariance of a normal prior given g . x0 + noise = y, in many steps of the ODE."""
    cov = normal(4, 4, seed=4)
    cov, mean, g = cov @ cov.T / 4 + 0.2 * torch.eye(4, **FLOAT64), normal(4, seed=5), normal(4, seed=6)
    variance, y, n = 0.09, float(g @ mean) + 2.0, 4000
    gain = cov @ g / (g @ cov @ g + variance)
    want = mean + gain * (y - g @ mean), cov - torch.outer(gain, g @ cov)
    errors = []
    for weight in (AheadLoss(), AheadLoss(Published())):
        aim = Aim(g.expand(n, 4), torch.full((n,), y), variance)
        target = Target(law(mean, cov, schedule=schedule), peak, walk=Pushed(150, push=weight, aim=aim), batch=n)
        x = target.generate(target.prior.noise(Stream(1), range(n)), Stream(1), range(n)).double()
        root = torch.linalg.cholesky(want[1])
        white = torch.linalg.solve_triangular(root, (x - want[0]).T, upper=False)
        errors.append(float((white.cov() - torch.eye(4, **FLOAT64)).abs().max()))
        if weight == AheadLoss():
            assert float(white.mean(1).abs().max()) < 4.5 / n**0.5
    assert errors[0] < 0.12
    assert schedule == VPCosine() or errors[1] > 1  # the published weight on another schedule


def test_where_the_covariance_is_a_projection_the_published_weight_is_the_exact_one():
    found = [
        settled(Lookahead(16, 30, 4, 0.1, 0.3, push=AheadLoss(*w)), plane(), last=1) for w in ((), (Published(),))
    ]
    assert torch.allclose(*found, atol=1e-6)


def test_a_constant_weight_of_nothing_guides_nothing():
    free = settled(Lookahead(16, 20, 3, push=AheadLoss(Constant(0.0))), plane(), last=1)
    assert abs(float((free @ THETA).mean())) < 4 * math.sqrt(ALONG / 16)


def test_the_mean_asks_for_one_gradient_and_each_sample_for_its_own():
    for mean, each in ((True, 1), (False, 6)):
        count = Count()
        target = on(plane(), reward=peak, count=count)
        result = run(Lookahead(6, 5, 3, mean=mean), target, Budget(steps=3), probe=None)
        assert result.meter.nfe == 3 * 6 * 5
        assert result.meter.rewards == count.scored == 3 * 6 + 2 * each
        assert result.meter.grads == 2 * (each + 6 * 5)


@pytest.mark.parametrize(
    "make", [lambda: Lookahead(0), lambda: Lookahead(regularisation=0.0), lambda: Lookahead(delta=-1.0)]
)
def test_options_out_of_range_are_a_sentence(make):
    with pytest.raises(InputError, match="give"):
        make()


def test_the_bound_of_the_weight_counts_for_no_normal_law_and_holds_a_network_that_errs():
    root = normal(6, 6, seed=4)
    covariance, g = root @ root.T + 0.01 * torch.eye(6, dtype=torch.float64), normal(6, seed=5)
    for alpha in (0.01, 0.5, 0.99):
        h = 1 - alpha**2
        pulled = alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + h * torch.eye(6)) @ g
        inner, square = (g @ pulled)[None], pulled.square().sum()[None]
        assert float(Tweedie()(alpha, h, 0.1, inner, square)) == pytest.approx(0.5 / (0.1 + h / alpha * float(inner)))
        wrong = Tweedie()(alpha, h, 0.1, -inner, square)  # a covariance cannot be negative
        assert float(wrong) == pytest.approx(0.5 / (0.1 + h * float(square)))
