"""The denoising loss against its closed form on normal laws."""

import math

import pytest
import torch
from helpers import FLOAT64, Count, Counted, bell, bits, humps, normal, on

from elites import Flow, InputError, Stream, VPCosine
from elites.diagnose import DenoisingLoss, quantile
from elites.priors import OneStep, subspace
from elites.schedule import Table


def closed_form(prior, x0, level):
    """Mean and variance over the noise of alpha^2 / sigma^2 |x0hat - x0|^2 / d, for a normal law."""
    ratio = math.exp(-level)  # sigma^2 / alpha^2
    v = prior.variances[0]
    offset = x0.double() @ prior.basis - prior.means[0]
    # x0hat - x0 = -ratio / (v + ratio) (x0 - m) + v / (v + ratio) sqrt(ratio) z, along each axis
    shift, gain = ratio / (v + ratio) * offset, v / (v + ratio) * ratio**0.5
    mean = (shift**2 + gain**2).mean(1) / ratio
    var = (2 * gain**4 + 4 * shift**2 * gain**2).sum(1) / (len(v) * ratio) ** 2
    return mean, var


@pytest.mark.parametrize("schedule", [VPCosine(), Flow()])
@pytest.mark.parametrize("level", [-1.0, 2.0, 5.0])
def test_it_is_exact_on_a_normal_law(schedule, level):
    prior, draws = bell(schedule=schedule), 400
    x0 = torch.cat([prior.sample(Stream(1), range(3)), 3 * normal(2, 6, seed=5).float()])
    values = DenoisingLoss((level,), draws)(on(prior), x0, Stream(0), range(5))
    mean, var = closed_form(prior, x0, level)
    assert ((values - mean).abs() < 4 * (var / draws).sqrt() + 1e-5 * mean).all()


def test_levels_count_equally():
    prior = bell(schedule=VPCosine())
    x0 = prior.sample(Stream(1), range(3))
    values = DenoisingLoss((1.0, 3.0), 400)(on(prior), x0, Stream(0), range(3))
    parts = [closed_form(prior, x0, level) for level in (1.0, 3.0)]
    mean, var = (sum(p[i] for p in parts) for i in (0, 1))
    assert ((values - mean / 2).abs() < 4 * (var / 400).sqrt() / 2 + 1e-5).all()


def test_on_a_thin_manifold_it_counts_dimensions_and_sees_what_is_off_it():
    """k of d dimensions cost k / d at low noise; a distance r off them costs alpha^2 r^2 / (sigma^2 d) more."""
    frame = torch.linalg.qr(normal(20, 3, seed=1)).Q
    prior, level = subspace(frame, torch.zeros(1, 3), 1.0, schedule=VPCosine()), 6.0
    stream, ids = Stream(0), range(200)
    x0 = prior.sample(Stream(1), ids)
    loss, target = DenoisingLoss((level,), 8), on(prior, batch=64)
    on_it = loss(target, x0, stream, ids)
    assert float(on_it.mean()) == pytest.approx(3 / 20, abs=4 * (2 * 3 / 20**2 / 1600) ** 0.5 + 0.002)
    off = normal(20, seed=2)
    off = 0.2 * (off - frame @ (frame.T @ off)) / (off - frame @ (frame.T @ off)).norm()
    more = loss(target, x0 + off.float(), stream, ids) - on_it  # the same noise, which is never off the manifold
    assert torch.allclose(more, torch.full((200,), math.exp(level) * 0.04 / 20, **FLOAT64), rtol=1e-3)
    assert (quantile(on_it + more, on_it, higher=False) < 0.01).all()


def test_each_object_has_its_own_noise_and_each_call_counts():
    prior, stream = humps(schedule=VPCosine()), Stream(2)
    x0, loss = prior.sample(Stream(1), range(7)), DenoisingLoss((1.0, 2.0), 3)
    small, large = on(prior, batch=2), on(prior, batch=32)
    values = loss(small, x0, stream, range(7))
    assert bits(values) == bits(loss(large, x0, stream, range(7)))
    assert bits(loss(large, x0[3:5], stream, [3, 4])) == bits(values[3:5].clone())
    assert small.meter.nfe == 7 * 6
    assert small.meter.grads == small.meter.rewards == 0
    assert values.dtype == torch.float64


def test_it_refuses_before_the_first_network_call():
    count = Count()
    target = on(Counted(humps(), count))
    with pytest.raises(InputError, match="does not reach the log-SNR 90"):
        DenoisingLoss((2.0, 90.0))(target, torch.zeros(2, 6), Stream(0), range(2))
    with pytest.raises(InputError, match=r"the prior needs \(2, 6\)"):
        DenoisingLoss()(target, torch.zeros(2, 5), Stream(0), range(2))
    with pytest.raises(InputError, match="the prior needs"):
        DenoisingLoss()(target, torch.zeros(0, 6), Stream(0), range(0))
    with pytest.raises(InputError, match="has no noise schedule"):
        DenoisingLoss()(on(OneStep(lambda z: z, (6,))), torch.zeros(2, 6), Stream(0), range(2))
    table = humps(schedule=Table((1 - torch.linspace(0.001, 0.06, 50)).cumprod(0)))
    with pytest.raises(InputError, match="does not reach the log-SNR 8"):  # between the last level and the clean end
        DenoisingLoss((8.0,))(on(Counted(table, count)), torch.zeros(2, 6), Stream(0), range(2))
    with pytest.raises(InputError, match="at least one level"):
        DenoisingLoss(())
    with pytest.raises(InputError, match="at least one draw"):
        DenoisingLoss(draws=0)
    assert count.sizes == []
