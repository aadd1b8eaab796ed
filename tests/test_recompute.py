"""Gradients through a walk that keeps no activations: the same gradient, flat memory, and every call counted."""

import weakref

import pytest
import torch
from helpers import PRIORS, Count, hill, normal, on
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from elites import DDIM, RewardError, Stream, VPLinear
from elites.priors import GaussianPrior, OneStep
from elites.schedule import X0

KEY = Stream(3)


def net(depth=6, d=8):
    layers = [m for _ in range(depth) for m in (torch.nn.Linear(d, d), torch.nn.Tanh())]
    model = torch.nn.Sequential(*layers)
    for i, p in enumerate(model.parameters()):
        p.requires_grad_(False).copy_(normal(*p.shape, seed=i) / d**0.5)
    return model


def deep(**changes):
    model = net()
    return GaussianPrior(lambda x, t: model(x), (8,), VPLinear(), X0(), **changes)


def slopes(target, z, recompute):
    def value(leaf, ids):
        return target.score(target.generate(leaf, KEY, ids, recompute=recompute), KEY, ids), None

    return target.grad(value, z, range(len(z)))


@pytest.mark.parametrize(
    "prior",
    [deep(), deep(kernel=DDIM(1.0)), *PRIORS.values()],
    ids=["deep", "deep SDE", *PRIORS],
)
@pytest.mark.parametrize("batch", [2, 5, 8])
def test_the_gradient_is_the_same_to_the_bit(prior, batch):
    reward = (lambda x: [v.sum() for v in x]) if isinstance(prior, OneStep) else hill
    if isinstance(prior, OneStep):
        prior = OneStep(torch.tanh, (6,), decoder=lambda x: x)
    z = normal(5, *prior.shape).float()
    values, _, kept = slopes(on(prior, reward=reward, batch=batch, steps=7), z, False)
    again, _, computed = slopes(on(prior, reward=reward, batch=batch, steps=7), z, True)
    assert torch.equal(values, again)
    assert torch.equal(kept, computed)
    assert kept.abs().max() > 0


@pytest.mark.parametrize("batch", [2, 5])
def test_a_call_in_the_backward_pass_counts(batch):
    for recompute, passes in ((False, 1), (True, 2)):
        count = Count()
        target = on(deep(), count=count, batch=batch, steps=7)
        slopes(target, normal(5, 8).float(), recompute)
        assert count.objects == target.meter.nfe == passes * 5 * 7
        assert (target.meter.grads, target.meter.rewards) == (5, 5)
        assert set(count.sizes) == {batch}


class Peak(TorchDispatchMode):
    """The most bytes alive at once of all that torch makes, forward and backward."""

    def __init__(self):
        super().__init__()
        self.sizes, self.most = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor):
                self.see(t.untyped_storage())
        return out

    def see(self, storage):
        key = id(storage)
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            weakref.finalize(storage, self.sizes.pop, key, None)
            self.most = max(self.most, sum(self.sizes.values()))


def peak(steps, recompute):
    target, z = on(deep(), batch=64, steps=steps), normal(64, 8).float()
    with Peak() as seen:
        slopes(target, z, recompute)
    return seen.most / z.nbytes


def test_memory_grows_by_what_passes_between_levels_and_not_by_the_layers_of_the_network():
    """In units of one batch of latents; the network has twelve layers."""
    short, long = peak(10, True), peak(60, True)
    assert (long - short) / 50 < 1.5
    assert (peak(60, False) - peak(10, False)) / 50 > 5
    assert long < peak(60, False) / 2


@pytest.mark.parametrize(
    ("changes", "who"),
    [
        ({"decoder": lambda x0: x0.detach()}, "decoder of the prior"),
        ({"decoder": lambda x0: (255 * x0).round().to(torch.uint8).float()}, "decoder of the prior"),
        ({}, "reward"),
    ],
)
def test_what_has_no_gradient_is_named(changes, who):
    model = net()
    prior = GaussianPrior(lambda x, t: model(x), (8,), VPLinear(), X0(), **changes)
    target = on(prior, reward=hill if changes else lambda x: hill(x.detach()), batch=2)
    with pytest.raises(RewardError, match=f"The {who} has no gradient: use a method"):
        slopes(target, normal(6, 8).float(), True)
    assert target.meter.nfe == 2 * 4  # one chunk


def test_a_walk_without_a_gradient_is_named():
    prior = OneStep(lambda z: z.detach() + 1, (3,), decoder=lambda x: 2 * x)
    with pytest.raises(RewardError, match="The prior has no gradient"):
        slopes(on(prior), normal(2, 3), True)


def test_rows_keep_their_candidates_in_any_chunk():
    """Each candidate has the noise of its number, and its failures are listed under it."""

    def reward(x):
        return [OSError("gone") if i % 2 else v.sum() for i, v in enumerate(x)]

    prior, z = deep(kernel=DDIM(1.0)), normal(6, 8).float()
    _, _, whole = slopes(on(prior, batch=6), z, True)
    _, _, parts = slopes(on(prior, batch=4), z, True)
    assert torch.allclose(whole, parts, rtol=1e-5, atol=1e-6)
    target = on(prior, batch=4, reward=reward)
    slopes(target, z, True)
    assert [f.candidate for f in target.failures] == [1, 3, 5]
