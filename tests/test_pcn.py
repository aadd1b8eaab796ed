"""Preconditioned Crank-Nicolson against laws that are known exactly."""

import math

import pytest
import torch
from helpers import on_flow

import elites as el
from elites import PCN


def target(reward, d=4):
    return el.Target(el.priors.OneStep(lambda z: z, (d,)), reward, batch=64, on_error=el.Worst(limit=1))


def chains(method, to, steps, seed=3):
    """Every state of the chains after the burn-in `(steps, n, d)`, their rewards, and the history."""
    z, rewards, rows = [], [], []
    for event in el.iterate(method, to, el.Budget(steps=method.burn + steps), seed, probe=None):
        if event.step > method.burn:
            z.append(event.state.z)
            rewards.append(event.state.reward)
            rows.append(event.row)
    return torch.stack(z).double(), torch.stack(rewards).double(), rows


def error(f):
    """Standard error of the mean of f `(steps, n)` over independent chains, by its integrated autocorrelation time."""
    centred = f - f.mean()
    variance, time = centred.square().mean(), 1.0
    for lag in range(1, len(f) // 4):
        rho = float((centred[lag:] * centred[:-lag]).mean() / variance)
        if rho < 0.02:
            break
        time += 2 * rho
    return math.sqrt(float(variance) * time / f.numel())


def assert_law(z, mean, variance):
    for i in range(z.shape[2]):
        values = z[:, :, i]
        assert abs(float(values.mean()) - float(mean[i])) < 4 * error(values)
        square = (values - mean[i]).square()
        assert abs(float(square.mean()) - float(variance[i])) < 4 * error(square)


METHOD = PCN(32, burn=100)


def test_a_linear_reward_moves_the_mean_and_keeps_the_variance():
    """N(z; 0, I) exp(w.z / T) is N(w / T, I)."""
    w = torch.tensor([1.0, -0.5, 0.0, 0.25])
    z, rewards, _ = chains(PCN(32, temperature=0.5, burn=100), target(lambda z: (z * w).sum(1)), 800)
    assert_law(z, 2 * w.double(), torch.ones(4))
    assert torch.allclose(rewards, (z * w).sum(2), atol=1e-5)


def test_a_quadratic_reward_gives_the_posterior():
    """-c/2 |z - y|^2 gives N(c y / (1 + c), 1 / (1 + c))."""
    c, y = torch.tensor([8.0, 2.0, 0.5, 0.0]), torch.tensor([1.0, -1.0, 2.0, 5.0])
    z, _, _ = chains(METHOD, target(lambda z: -(c / 2 * (z - y).square()).sum(1)), 800)
    assert_law(z, c.double() * y / (1 + c), 1 / (1 + c.double()))


def test_no_reward_leaves_the_prior_and_every_proposal_is_taken():
    z, _, rows = chains(PCN(32, burn=10), target(lambda z: 0 * z[:, 0]), 200)
    assert_law(z, torch.zeros(4), torch.ones(4))
    assert rows[-1]["acceptance"] == 1
    assert rows[-1]["stride"] > 0.5


@pytest.mark.parametrize("failing", [torch.nan, -torch.inf, torch.inf])
def test_failures_are_never_taken_so_the_law_is_the_prior_cut_off(failing):
    """Half of the prior fails: what is left is the half normal law, of mean sqrt(2 / pi)."""
    z, rewards, _ = chains(PCN(32, burn=50), target(lambda z: torch.where(z[:, 0] > 0, 0 * z[:, 0], failing)), 400)
    assert torch.isfinite(rewards).all()
    assert float(z[:, :, 0].min()) > 0
    mean = math.sqrt(2 / math.pi)
    assert_law(z, torch.tensor([mean, 0, 0, 0], dtype=torch.float64), torch.tensor([1 - mean**2, 1, 1, 1]))


@pytest.mark.parametrize("aim", [0.2, 0.5])
@pytest.mark.parametrize("d", [4, 256])
def test_the_stride_is_adapted_to_the_aim_in_the_burn_in_and_only_there(aim, d):
    method = PCN(16, burn=300, aim=aim, temperature=0.1)
    _, _, rows = chains(method, target(lambda z: -z[:, :4].square().sum(1), d), 300)
    p = torch.tensor([row["acceptance"] for row in rows])
    assert abs(float(p.mean()) - aim) < 0.04
    assert len({row["stride"] for row in rows}) == 1


def test_a_known_reward_is_not_scored_again():
    seen = []

    def reward(z):
        seen.extend(map(tuple, z.tolist()))
        return z[:, 0]

    method, to = PCN(4), el.Target(el.priors.OneStep(lambda z: z, (8,)), reward, batch=4)
    result = el.run(method, to, el.Budget(steps=50), seed=1, probe=None)
    assert len(seen) == len(set(seen)) == result.meter.rewards == 200
    assert {tuple(v) for v in result.state.z.tolist()} <= set(seen)


def test_any_slice_of_the_proposals_is_the_same():
    method, to = PCN(8), target(lambda z: z[:, 0])
    state = el.run(method, to, el.Budget(steps=5), seed=1).state
    stream = el.Stream(1).at(step=9)
    assert torch.equal(method.ask(state, stream, [5, 2]), method.ask(state, stream, range(8))[[5, 2]])


@pytest.mark.parametrize("make", [on_flow, lambda: target(lambda z: z[:, 0])])
def test_samples_are_where_the_chains_are(make):
    """Also where the walk injects noise of its own: the keys of the chains draw it again."""
    method, to = PCN(8), make()
    result = el.run(method, to, el.Budget(steps=30), seed=2)
    scored = to.meter.rewards
    samples = method.samples(to, result.state, 2)
    assert (len(samples), to.meter.rewards) == (8, scored)
    keys = [tuple(key) for key in samples.keys.tolist()]
    assert len({step for step, _ in keys}) > 1
    assert torch.equal(to.score(samples.x, el.Stream(2), keys), samples.reward)


def test_chains_without_a_reward_give_no_samples():
    method, to = PCN(3), target(lambda z: z[:, 0])
    assert len(method.samples(to, method.init(to, el.Stream(0)), 0)) == 0


@pytest.mark.parametrize(
    "options",
    [{"population": 0}, {"burn": -1}, {"temperature": 0.0}, {"stride": 1.5}, {"stride": 0.0}, {"aim": 1.0}],
)
def test_options_out_of_range_are_a_sentence(options):
    with pytest.raises(el.InputError, match="give"):
        PCN(**options)
