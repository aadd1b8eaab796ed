"""Rewards of sets, against closed forms, exact sums and leaving out each object by hand."""

import math

import numpy as np
import pytest
import torch
from helpers import FLOAT64, normal

from elites import Budget, InputError, RandomSearch, RewardError, Stream, Target, run
from elites.priors import OneStep
from elites.rewards.sets import MMD, Frechet


def by_hand(reward, x):
    """What the distance loses without each object."""
    whole = reward.distance(x)
    return torch.stack([reward.distance(torch.cat([x[:i], x[i + 1 :]])) - whole for i in range(len(x))])


def shaped(n, mean, covariance, seed=0):
    """Rows whose empirical mean and covariance are exactly these."""
    x = normal(n, len(mean), seed=seed)
    x = x - x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (n - 1))).T
    return white @ torch.linalg.cholesky(covariance).T + mean


REFERENCE = normal(40, 2, 3, seed=1)
REWARDS = [MMD(REFERENCE), MMD(REFERENCE, (0.5, 2.0)), Frechet(REFERENCE)]


# credits


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("n", [3, 4, 9])
def test_credits_are_what_the_distance_loses_without_each_object(reward, n):
    x = 1.5 * normal(n, 2, 3, seed=2) + 0.3
    assert torch.allclose(reward(x), by_hand(reward, x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reward", REWARDS)
def test_order_changes_nothing_and_the_batch_does(reward):
    x = normal(8, 2, 3, seed=3)
    values = reward(x)
    assert torch.allclose(reward(x.flip(0)), values.flip(0), atol=1e-10)
    assert torch.allclose(reward(x.numpy()), values, atol=1e-12)
    assert not torch.allclose(torch.cat([reward(x[:4]), reward(x[4:])]), values, atol=1e-4)


@pytest.mark.parametrize("reward", [MMD(REFERENCE, (30.0,)), Frechet(REFERENCE)])
@pytest.mark.parametrize("side", [-8.0, 8.0])
def test_an_object_off_the_reference_has_the_lowest_credit(reward, side):
    x = torch.cat([normal(15, 2, 3, seed=4), torch.full((1, 2, 3), side, **FLOAT64)])
    values = reward(x)
    assert values.argmin() == 15
    assert values[15] < 0


def test_beyond_all_bandwidths_nothing_is_seen():
    x = torch.cat([normal(15, 2, 3, seed=4), torch.full((1, 2, 3), 40.0, **FLOAT64)])
    narrow, both = MMD(REFERENCE, (2.0,))(x), MMD(REFERENCE, (2.0, 50.0))(x)
    assert narrow[:15].min() < narrow[15] < narrow[:15].max()
    assert both[15] < both[:15].min()


@pytest.mark.parametrize("make", [lambda y: MMD(y, (0.5,)), Frechet])
def test_what_fills_a_gap_gains_most(make):
    two = torch.tensor([-2.0, 2.0], **FLOAT64).repeat(50)[:, None] + 0.1 * normal(100, 1)
    x = torch.tensor([-2.05, -2.0, -1.95, -2.02, -1.98, 2.0], **FLOAT64)[:, None]
    credits = make(two)(x)
    assert credits.argmax() == 5
    assert credits[5] > 0 > credits[:5].max()


@pytest.mark.parametrize("reward", REWARDS)
def test_an_object_with_a_hole_fails_and_is_not_in_the_set(reward):
    x = normal(6, 2, 3, seed=5)
    x[2, 1, 1] = math.nan
    values = reward(x)
    assert str(values[2]) == "its features are not finite"
    del values[2]
    assert values == pytest.approx(reward(x[[0, 1, 3, 4, 5]]).tolist(), abs=1e-12)


def test_features_are_what_is_compared():
    words = ["a", "bbb", "cc", "dddd", "ee", "f"]
    lengths = lambda texts: torch.tensor([[float(len(t))] for t in texts])
    for make in (MMD, Frechet):
        got = make(["aa", "b", "ccc", "dd"], features=lengths)(words)
        assert torch.allclose(got, make(lengths(["aa", "b", "ccc", "dd"]))(lengths(words)))


# maximum mean discrepancy


def kernel_mean(shift, variance, h):
    """E k(a, b) for a - b normal."""
    return h / math.sqrt(h**2 + variance) * math.exp(-(shift**2) / (2 * (h**2 + variance)))


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (0.8, 1.0), (0.0, 2.0)])
def test_the_estimate_is_unbiased(shift, spread):
    h, draws = 0.7, []
    for seed in range(200):
        x, y = shift + spread * normal(12, 1, seed=2 * seed), normal(20, 1, seed=2 * seed + 1)
        draws.append(float(MMD(y, (h,)).estimate(x)))
    exact = kernel_mean(0, 2 * spread**2, h) + kernel_mean(0, 2, h) - 2 * kernel_mean(shift, spread**2 + 1, h)
    assert exact == pytest.approx(0) or exact > 0.03
    assert np.mean(draws) == pytest.approx(exact, abs=4 * np.std(draws) / math.sqrt(len(draws)))


def test_the_discrepancy_of_points_is_a_sum():
    k = lambda d, h: math.exp(-(d**2) / (2 * h**2))
    x, y = torch.tensor([[0.0], [1.0]], **FLOAT64), torch.tensor([[0.0], [3.0]], **FLOAT64)
    for widths in ((1.0,), (0.5, 2.0)):
        mean = lambda d, widths=widths: sum(k(d, h) for h in widths) / len(widths)
        across = (mean(0) + mean(3) + mean(1) + mean(2)) / 4
        wanted = (1 + mean(1)) / 2 + (1 + mean(3)) / 2 - 2 * across
        assert float(MMD(y, widths).distance(x)) == pytest.approx(wanted, abs=1e-12)
        assert float(MMD(y, widths).estimate(x)) == pytest.approx(mean(1) + mean(3) - 2 * across, abs=1e-12)
    assert float(MMD(REFERENCE).distance(REFERENCE.flip(0))) == pytest.approx(0, abs=1e-12)
    three = torch.tensor([[0.0], [1.0], [5.0]], **FLOAT64)  # distances 1, 4, 5
    assert MMD(three).distance(x) == MMD(three, (4.0,)).distance(x) != MMD(three, (1.0,)).distance(x)


def test_features_far_from_zero_lose_no_digits():
    far, x = 1e7 / 3, normal(9, 2, 3)
    assert torch.allclose(MMD(far + REFERENCE, (1.0,))(far + x), MMD(REFERENCE, (1.0,))(x), atol=1e-9)


def test_credits_of_the_discrepancy_add_up_to_a_spread_so_they_have_no_gradient():
    h, x = 1.5, normal(9, 2, 3)
    rows = x.flatten(1)
    spread = 1 - (-torch.cdist(rows, rows).square() / (2 * h**2)).exp().mean()
    for reward in (MMD(REFERENCE, (h,)), MMD(REFERENCE + 3, (h,))):
        assert float(reward(x).sum()) == pytest.approx(9 / 8**2 * float(spread))
        assert not reward(x.requires_grad_()).requires_grad
        assert torch.autograd.gradcheck(reward.distance, x)
    target = Target(OneStep(lambda z: z, (2, 3)), REWARDS[0], decode_batch=9)
    with pytest.raises(RewardError, match="no gradient"):
        target.grad(lambda x: (target.score(x, Stream(0), range(9)), None), normal(9, 2, 3))


# Frechet distance


def test_the_distance_of_normal_laws_is_the_closed_form():
    one = shaped(50, torch.tensor([1.0], **FLOAT64), torch.tensor([[4.0]], **FLOAT64), seed=1)
    other = shaped(30, torch.tensor([-2.0], **FLOAT64), torch.tensor([[0.25]], **FLOAT64), seed=2)
    assert float(Frechet(one).distance(other)) == pytest.approx(3**2 + (2 - 0.5) ** 2)
    assert float(Frechet(one).distance(one)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("d", [2, 5])
def test_covariances_need_not_commute(d):
    roots = [normal(d, d, seed=s) for s in (1, 2)]
    a, b = (root @ root.T + 0.1 * torch.eye(d, **FLOAT64) for root in roots)
    mean = normal(d, seed=3)
    # tr (a b)^{1/2}: a b is similar to a positive matrix, so its eigenvalues are positive
    cross = torch.linalg.eigvals(a @ b).real.sqrt().sum()
    wanted = mean.square().sum() + a.trace() + b.trace() - 2 * cross
    x, y = shaped(4 * d, mean, a, seed=4), shaped(6 * d, torch.zeros(d, **FLOAT64), b, seed=5)
    assert float(Frechet(y).distance(x)) == pytest.approx(float(wanted), rel=1e-9)
    assert float(Frechet(x).distance(y)) == pytest.approx(float(wanted), rel=1e-9)


def test_fewer_objects_than_features_are_a_degenerate_law():
    y = shaped(60, torch.zeros(6, **FLOAT64), torch.eye(6, **FLOAT64))
    x = torch.zeros(4, 6, **FLOAT64)
    x[:, 0] = torch.tensor([-1.0, -1, 1, 1])  # variance 4/3 along one axis, none along others
    assert float(Frechet(y).distance(x)) == pytest.approx((math.sqrt(4 / 3) - 1) ** 2 + 5)
    assert torch.allclose(Frechet(y)(x), by_hand(Frechet(y), x))


# use


def test_a_search_scores_each_batch_as_one_set():
    reward = Frechet(normal(50, 4, seed=7))
    sizes = []

    def counted(x):
        sizes.append(len(x))
        return reward(x)

    result = run(RandomSearch(16), Target(OneStep(lambda z: z, (4,)), counted, batch=16), Budget(steps=2), probe=None)
    assert sizes == [16, 16]
    assert result.meter.failures == 0
    sizes.clear()
    run(RandomSearch(16), Target(OneStep(lambda z: z, (4,)), counted, batch=8), Budget(steps=1), probe=None)
    assert sizes == [8, 8]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: MMD(torch.zeros(1, 2)), "at least 2"),
        (lambda: Frechet([]), "at least 2"),
        (lambda: MMD(REFERENCE, ()), "positive numbers"),
        (lambda: MMD(REFERENCE, (1.0, 0.0)), "positive numbers"),
        (lambda: MMD(torch.zeros(5, 2))(torch.zeros(5, 2)), "give bandwidths"),
        (lambda: MMD(torch.full((5, 2), torch.nan))(torch.zeros(5, 2)), "leave those objects out"),
        (lambda: MMD(REFERENCE)(torch.zeros(5, 7)), r"shape \(5, 7\): give rows \(n, 6\)"),
        (lambda: Frechet(REFERENCE, lambda x: x)(torch.zeros(5, 2, 3)), r"give rows \(n, D\)"),
        (lambda: Frechet(REFERENCE)(torch.zeros(2, 2, 3)), "at least 3 together"),
        (lambda: MMD(REFERENCE).estimate(torch.zeros(1, 2, 3)), "2 or more"),
        (lambda: Frechet(REFERENCE).distance(torch.zeros(1, 2, 3)), "2 or more"),
        (lambda: MMD(REFERENCE, features=lambda x: x.flatten(1)[:5])(REFERENCE), "one for each"),
    ],
)
def test_what_is_no_set_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(InputError, match=says) as error:
        wrong()
    assert str(error.value).count(". ") == 0
