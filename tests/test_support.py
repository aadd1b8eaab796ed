"""Off-support ratios against subspaces that are known."""

import pytest
import torch
from helpers import FLOAT64, normal

from elites import InputError, VPCosine
from elites.diagnose import Subspace, local_subspace, quantile
from elites.priors import mixture, subspace

D, K = 10, 3
FRAME = torch.linalg.qr(normal(D, K, seed=1)).Q
CENTRE = normal(D, seed=2)
REST = torch.linalg.qr(torch.cat([FRAME, normal(D, D - K, seed=3)], 1)).Q[:, K:]


def same(one, other):
    """The largest angle's sine between two subspaces."""
    return float((other - one @ (one.mT @ other)).norm(dim=-2).max())


def test_the_ratio_is_that_of_the_two_parts():
    on, off = normal(5, K, seed=4), normal(5, D - K, seed=5)
    x = on @ FRAME.T + off @ REST.T
    want = off.norm(dim=1) / on.norm(dim=1)
    assert torch.allclose(Subspace(FRAME).off(x), want)
    assert torch.allclose(Subspace(FRAME, CENTRE).off((x + CENTRE).reshape(5, 2, 5)), want)
    assert torch.allclose(Subspace(FRAME.expand(5, D, K)).off(x.float()), want, atol=1e-5)
    assert Subspace(FRAME).off(on @ FRAME.T).max() < 1e-12


def test_principal_components_find_the_subspace_of_data():
    data = 2 * normal(400, K, seed=6) @ FRAME.T + CENTRE + 0.01 * normal(400, D, seed=7)
    found = Subspace.fitted(data, K)
    assert same(found.basis, FRAME) < 0.01
    assert Subspace.fitted(data[:, None], K).off(data).median() < 0.05
    assert Subspace.fitted(data, 1).off(data).median() > 0.5


def test_the_network_s_own_jacobian_spans_a_thin_prior():
    prior, t = subspace(FRAME, torch.zeros(1, K), 1.0, schedule=VPCosine()), torch.tensor(0.3, **FLOAT64)
    alpha, sigma = prior.schedule(t)
    x = alpha * normal(4, K, seed=8) @ FRAME.T + sigma * normal(4, D, seed=9)
    found, stretch = local_subspace(prior.denoise, x, t, K)
    assert same(found.basis, FRAME.expand(4, D, K)) < 1e-6
    assert torch.allclose(stretch, alpha / (alpha**2 + sigma**2) * torch.ones(4, K, **FLOAT64))
    assert torch.allclose(found.mean, prior.denoise(x, t).flatten(1))
    more = local_subspace(prior.denoise, x, t, K + 1)[1]
    assert more[:, K].max() < 1e-6


def test_between_two_modes_it_is_the_way_from_one_to_the_other():
    """Halfway the noise is all the network cannot tell: J is largest along the difference of the means."""
    a, b = normal(D, seed=10), normal(D, seed=11)
    prior, t = mixture(torch.stack([a, b]), 0.05, schedule=VPCosine()), torch.tensor(0.4, **FLOAT64)
    x = prior.schedule(t)[0] * (a + b)[None] / 2
    found, stretch = local_subspace(prior.denoise, x, t, 1)
    along = (b - a) / (b - a).norm()
    assert float((found.basis[0, :, 0] @ along).abs()) > 0.9999
    alpha, sigma = prior.schedule(t)
    want = alpha / sigma**2 * ((b - a).square().sum() / 4) / (1 + (alpha * 0.05 / sigma) ** 2) ** 2
    assert float(stretch) == pytest.approx(float(want), rel=0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Subspace(2 * FRAME),
        lambda: Subspace.fitted(normal(3, D), 3),
        lambda: local_subspace(lambda x, t: x, normal(2, D), torch.tensor(0.1), 0),
    ],
)
def test_what_does_not_fit_is_a_sentence(make):
    with pytest.raises(InputError, match=r"give|take"):
        make()


def test_the_fewest_components_that_hold_a_share():
    """Of variances 16, 9, 4 and 1 along four axes: 53, 83, 97 and 100 per cent."""
    axes = torch.linalg.qr(normal(2000, 4, seed=20)).Q
    frame = torch.linalg.qr(normal(6, 4, seed=21)).Q
    axes = torch.linalg.qr(axes - axes.mean(0)).Q * torch.tensor([4.0, 3.0, 2.0, 1.0])
    data = axes @ frame.T + normal(6, seed=22)
    for share, rank in ((0.5, 1), (0.6, 2), (0.9, 3), (0.99, 4)):
        space = Subspace.holding(data.reshape(2000, 2, 3), share)
        assert space.basis.shape == (6, rank)
        assert same(space.basis, frame[:, :rank]) < 1e-6
    for share, objects in ((1.0, data), (0.0, data), (0.5, data[:1]), (0.5, data[:1].expand(5, 6))):
        with pytest.raises(InputError, match="give a share below 1"):
            Subspace.holding(objects, share)


def test_an_object_off_the_subspace_is_beyond_what_others_show():
    some, others = (normal(300, K, seed=s) @ FRAME.T + 0.05 * normal(300, D, seed=s + 1) for s in (23, 25))
    space = Subspace.holding(some, 0.95)
    assert space.basis.shape == (D, K)
    honest = quantile(
        space.off(normal(300, K, seed=27) @ FRAME.T + 0.05 * normal(300, D, seed=28)), space.off(others), False
    )
    assert abs(float(honest.mean()) - 0.5) < 4 * (2 / 12 / 300) ** 0.5
    assert (quantile(space.off(others + 3 * REST[:, 0]), space.off(others), False) < 0.01).all()
