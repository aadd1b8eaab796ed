"""Noise ascent against optima that are known exactly."""

import math

import pytest
import torch
from helpers import bell, humps, normal, on

import elites as el
from elites import NoiseAscent, RewardError, Stream
from elites.search import Anywhere, ChiNorm, Restart, Typical, Whiteness

LOG2 = math.log(2)


def on_noise(reward, d, **changes):
    return el.Target(el.priors.OneStep(lambda z: z, (d,)), reward, batch=4, **changes)


def climb(method, target, steps, seed=1):
    return el.run(method, target, el.Budget(steps=steps), seed, probe=None)


def linear(d, few=False):
    a = normal(d, seed=5).float()
    if few:
        a[2:] = 0
    return a / a.norm()


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("d", [64, 4096, 65_536])
def test_a_linear_reward_reaches_its_maximum_on_the_shell(d, few):
    """a.z is at most sqrt(d) |a| there."""
    a = linear(d, few)
    result = climb(NoiseAscent(2), on_noise(lambda z: (z * a).sum(1), d), 50)
    assert float(result.best.reward) == pytest.approx(math.sqrt(d), rel=2e-4)
    assert float(result.best.z.square().sum()) == pytest.approx(d, rel=1e-5)


@pytest.mark.parametrize("d", [2, 3, 10, 49])
def test_a_linear_reward_reaches_its_maximum_under_the_cap(d):
    a = linear(d)
    result = climb(NoiseAscent(2), on_noise(lambda z: (z * a).sum(1), d), 60)
    assert float(result.best.reward) == pytest.approx(math.sqrt(Typical()._cap(d)), rel=2e-4)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_of_the_reward_does_not_matter(scale):
    a = linear(64)
    result = climb(NoiseAscent(2), on_noise(lambda z: scale * (z * a).sum(1), 64), 40)
    assert float(result.best.reward) == pytest.approx(8 * scale, rel=1e-3)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_quadratic_through_an_exact_walk_reaches_its_optimum(recompute):
    """DDIM makes the decoder of a Gaussian prior affine, x = A z + c, so that the best z solves a linear system."""
    prior = bell()
    wanted = prior.sample(Stream(4), [0])[0]
    target = on(prior, reward=lambda x: -(x - wanted).square().sum(1), batch=4, steps=8)
    rows = torch.cat([torch.zeros(1, 6), torch.eye(6)])
    c, *columns = target.generate(rows, Stream(0), range(7)).double()
    A = torch.stack([column - c for column in columns], 1)
    best = torch.linalg.solve(A, wanted.double() - c)
    assert float(best.norm()) < 3  # under the cap, so that the optimum of all is the one to find
    result = climb(NoiseAscent(4, restart=None, recompute=recompute), target, 250)
    assert float(result.best.reward) > -1e-4
    assert torch.allclose(result.best.z[0].double(), best, atol=0.1)


def test_it_climbs_and_does_not_descend():
    a = linear(64)
    up, down = (climb(NoiseAscent(2), on_noise(lambda z, s=s: s * (z * a).sum(1), 64), 30).best for s in (1, -1))
    assert float(up.z[0] @ a) > 7.9
    assert float(down.z[0] @ a) < -7.9


def test_a_small_step_leads_up_in_proportion_to_the_gradient():
    """The rise over a first step of length r sqrt(d) is that of finite differences along the shell."""
    target = on(humps(64), reward=lambda x: x[:, 0] * x[:, 1] - x[:, 2].square(), batch=4, steps=5)
    method, stream = NoiseAscent(4, rate=1e-3), Stream(2)
    first, _ = method.step(target, method.init(target, stream), stream.at(step=1))
    z, reward = first.z, first.value
    e = 0.05

    def value(z):
        return target.score(target.generate(z, stream, range(4)), stream, range(4)).double()

    slopes = torch.stack([(value(z + e * v) - value(z - e * v)) / (2 * e) for v in torch.eye(64)], 1)
    tangent = slopes - (slopes * z).sum(1, keepdim=True) / 64 * z
    cosine = torch.nn.functional.cosine_similarity(first.slope.double(), tangent, dim=1)
    assert float(cosine.min()) > 0.999
    _, after = method.step(target, first, stream.at(step=2))
    assert torch.allclose(after.rewards - reward, 8e-3 * tangent.norm(dim=1).float(), rtol=0.1)


def test_the_norm_is_as_its_constraint_says():
    """The reward wants to leave: without a guard it does, a penalty holds it near the shell, the guard on it."""
    a = linear(64)

    def shell(**options):
        method = NoiseAscent(2, restart=None, **options)
        z = climb(method, on_noise(lambda z: (z * a).sum(1), 64), 120).state.z
        return float(z.square().mean())

    assert shell(guard=Anywhere()) > 20
    # a.z - w (|z|^2 / 2 - (d - 1) log|z|) is largest at |z| = (1 + sqrt(1 + 4 w^2 (d - 1))) / (2 w)
    for w in (0.3, 3.0):
        norm = (1 + math.sqrt(1 + 4 * w**2 * 63)) / (2 * w)
        assert shell(guard=Anywhere(), penalty=ChiNorm(w)) == pytest.approx(norm**2 / 64, rel=2e-2)
    assert shell() == pytest.approx(1, rel=1e-5)


def test_the_chi_norm_is_the_log_density_of_the_norm():
    d = 7
    z, other = normal(2, d)
    law = torch.distributions.Chi2(torch.tensor(float(d), dtype=torch.float64))
    charge = [ChiNorm(2.0)(v, Stream(0)) for v in (z, other)]
    r2 = [v.square().sum() for v in (z, other)]
    density = [law.log_prob(r) + r.log() / 2 for r in r2]  # of |z|: p(r) = 2 r p(r^2)
    assert float(charge[0] - charge[1]) == pytest.approx(2 * float(density[1] - density[0]), rel=1e-9)
    leaf = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(ChiNorm(2.0)(leaf, Stream(0)), leaf)
    assert torch.allclose(slope, 2 * z * (1 - (d - 1) / z.square().sum()))


@pytest.mark.parametrize("d", [256, 4099])
def test_whiteness_charges_typical_noise_the_least_and_structure_a_lot(d):
    charge = Whiteness(permutations=10)
    typical = torch.stack([charge(normal(d, seed=seed), Stream(1)) for seed in range(20)])
    assert float(typical.min()) >= 4 * LOG2 - 1e-9
    assert float(typical.median()) < 4 * LOG2 + 0.2
    assert float(typical.max()) < 4 * LOG2 + 5
    assert float(charge(torch.ones(d, dtype=torch.float64), Stream(1))) > d / 4
    wave = math.sqrt(2) * torch.sin(torch.arange(d, dtype=torch.float64) * math.pi / 2 + math.pi / 4)
    twice = normal(d // 4, seed=3).repeat_interleave(4)  # each number four times over, on the shell
    assert float(charge(wave, Stream(1))) > 4 * LOG2 + 5
    assert float(charge(twice, Stream(1))) > 4 * LOG2 + 5


def test_whiteness_is_the_published_formula():
    """Written again with a loop, an SVD and permutations of its own."""
    z, stream, k = 1.5 * normal(50, seed=8) + 0.4, Stream(5, step=3), 4

    def both(z):
        rows = z[:48].reshape(12, k)
        m1 = rows.mean(0).norm()
        m2 = torch.linalg.matrix_norm(rows.T @ rows / 12 - torch.eye(k, dtype=z.dtype), ord=2)
        p1 = min(float(-12 * m1**2 / (2 * k)), -LOG2)
        p2 = min(float(-12 * max((1 + m2) ** 0.5 - 1 - (k / 12) ** 0.5, 0) ** 2 / 2), -LOG2)
        return -(p1 + p2)

    keys = stream.at(purpose=el.stream.Purpose.METHOD)
    shuffled = [both(z[keys.uniform([p], (50,))[0].argsort()]) for p in range(6)]
    want = 0.7 * (both(z) + sum(shuffled) / 6)
    assert float(Whiteness(0.7, permutations=6)(z, stream)) == pytest.approx(want, rel=1e-6)
    assert want > 0.7 * 4 * LOG2 + 0.1


def test_whiteness_holds_back_a_reward_that_buys_structure():
    d = 256

    def reward(z):
        return z.mean(1)  # a constant: on the shell, and never a prior draw

    bare = climb(NoiseAscent(2), on_noise(reward, d), 60).state.z
    held = climb(NoiseAscent(2, penalty=Whiteness(permutations=8)), on_noise(reward, d), 60).state.z
    assert float(bare.mean(1).min()) > 0.99
    assert float(held.mean(1).max()) < 0.3


@pytest.mark.parametrize("bad", [torch.nan, -torch.inf, torch.inf])
def test_an_object_that_fails_moves_nobody_and_starts_again(bad):
    """Half of the space fails, and the best is on its edge: chains come up to it and stay on the good side."""

    def reward(z):
        return torch.where(z[:, 0] > 0, bad, z[:, 0] + 0 * z[:, 1])

    result = climb(NoiseAscent(4, restart=None), on_noise(reward, 64, on_error=el.Worst(limit=1)), 60)
    assert result.meter.failures > 4
    assert bool(result.state.begun.all())
    assert float(result.state.z[:, 0].max()) <= 0
    assert float(result.state.value.min()) > -0.05
    assert torch.isfinite(result.state.z).all()


def test_one_gradient_that_is_not_finite_leaves_the_others_theirs():
    def reward(z):
        gap = z[:, 0] - z[:, 0].detach() + (z[:, 0] <= 1)  # 0 where it breaks: a root of zero has no slope there
        return z[:, 1] + 0 * gap.sqrt()

    def clean(z):
        return z[:, 1]

    method = NoiseAscent(8, restart=None)
    one, other = (climb(method, on_noise(f, 64), 1, seed=3) for f in (reward, clean))
    hit = other.state.z[:, 0] > 1
    assert 0 < int(hit.sum()) < 8
    assert torch.equal(one.state.begun, ~hit)
    assert torch.equal(one.state.slope[~hit], other.state.slope[~hit])
    assert one.meter.failures == 0
    assert torch.isfinite(climb(method, on_noise(reward, 64), 30, seed=3).state.z).all()


def test_a_stall_begins_again_and_loses_nothing():
    a = linear(64)
    bests, begun, target = [], [], on_noise(lambda z: (z * a).sum(1), 64)
    for event in el.iterate(NoiseAscent(2, restart=Restart(3)), target, el.Budget(steps=150), 1, probe=None):
        bests.append(float(event.best.reward[0]))
        begun.append(event.state.begun)
    assert bests == sorted(bests)
    assert not torch.stack(begun[1:]).all()
    assert bests[-1] == pytest.approx(8, rel=1e-4)


def test_a_flat_reward_moves_nothing_and_restarts():
    result = climb(NoiseAscent(2, restart=Restart(4)), on_noise(lambda z: 0 * z[:, 0], 64), 9)
    assert torch.isfinite(result.state.z).all()
    assert len({round(float(v), 4) for v in result.samples.z[:, 0]}) == 4  # two chains, two rounds


def test_the_best_is_kept_by_the_reward_without_the_penalty():
    a = linear(64)
    result = climb(NoiseAscent(2, guard=Anywhere(), penalty=ChiNorm(3.0)), on_noise(lambda z: (z * a).sum(1), 64), 30)
    assert torch.allclose(result.samples.reward, (result.samples.z * a).sum(1), atol=1e-4)
    assert float(result.best.reward) == max(row["best"] for row in result.history)


def test_a_reward_without_gradient_is_a_sentence_after_one_chunk():
    target = on(humps(), reward=lambda x: x[:, 0].detach(), batch=2, steps=5)
    with pytest.raises(RewardError, match="no gradient: use a method that needs none, such as Elites"):
        climb(NoiseAscent(4), target, 3)
    assert target.meter.nfe == 2 * 5


@pytest.mark.parametrize(
    "make",
    [
        lambda: NoiseAscent(0),
        lambda: NoiseAscent(rate=0.0),
        lambda: NoiseAscent(rate=0.6),
        lambda: NoiseAscent(rate=math.nan),
        lambda: NoiseAscent(momentum=1.0),
        lambda: ChiNorm(-1.0),
        lambda: Whiteness(math.nan),
        lambda: Whiteness(block=0),
        lambda: Whiteness(permutations=0),
    ],
)
def test_options_out_of_range_are_a_sentence(make):
    with pytest.raises(el.InputError, match="give"):
        make()


@pytest.mark.parametrize("size", [1e30, 1e18, 1e-25, 1e-35])
def test_the_unit_of_the_reward_does_not_matter(size):
    a = linear(64)
    one, other = (climb(NoiseAscent(2), on_noise(lambda z, c=c: c * (z * a).sum(1), 64), 30) for c in (1.0, size))
    assert float(other.best.reward) == pytest.approx(size * float(one.best.reward), rel=1e-3)


def test_a_reward_or_decoder_in_numpy_is_said_to_have_no_gradient():
    with pytest.raises(RewardError, match="The reward has no gradient"):
        climb(NoiseAscent(), on_noise(lambda z: z.numpy().sum(1), 64), 1)
    target = el.Target(el.priors.OneStep(lambda z: z.numpy(), (64,)), lambda a: a.sum(1))
    with pytest.raises(RewardError, match="The decoder of the prior has no gradient"):
        climb(NoiseAscent(), target, 1)
