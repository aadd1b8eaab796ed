"""Facts written into a prior."""

import math

import pytest
import torch
from helpers import FLOAT64, bell, exact, humps, normal, on

import elites as el
from elites import DDIM, X0, Flow, InputError, Stream
from elites.priors import Fixed

IDS = range(6)


def known(d, *at):
    where = torch.zeros(d, dtype=torch.bool)
    where[list(at)] = True
    return where


def walked(prior, steps=8, key=Stream(3)):  # noqa: B008 (frozen)
    """The walk in float64."""
    return on(prior, steps=steps, batch=4).generate(prior.noise(key, IDS).double(), key, IDS)


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_what_is_known_is_in_the_object_to_the_bit(clean, eta):
    value = 3 * normal(6, seed=4)
    prior = Fixed(humps(kernel=DDIM(eta)), known(6, 0, 4), value, clean)
    x = walked(prior)
    assert torch.equal(x[:, [0, 4]], value[[0, 4]].expand(len(IDS), 2))
    assert x[:, [1, 2, 3, 5]].std(0).min() > 1e-3
    other = torch.zeros_like(x)
    assert torch.equal(prior.decode(other), torch.where(known(6, 0, 4), value, other))


@pytest.mark.parametrize("clean", [False, True])
def test_facts_about_independent_numbers_change_no_other(clean):
    law = el.priors.normal(normal(6, seed=3), torch.diag(0.1 + normal(6, seed=5).square()))
    x = walked(Fixed(law, known(6, 1, 2), torch.full((6,), 9.0), clean))
    assert torch.equal(x[:, [0, 3, 4, 5]], walked(law)[:, [0, 3, 4, 5]])


def test_a_network_that_knows_the_facts_draws_from_the_conditional_law():
    mean, root = normal(6, seed=3), normal(6, 6, seed=2) / 6**0.5
    cov = root @ root.T + 0.1 * torch.eye(6, **FLOAT64)
    free, fixed = [0, 1, 2, 5], [3, 4]
    value = normal(6, seed=7)
    gain = cov[free][:, fixed] @ torch.linalg.inv(cov[fixed][:, fixed])
    spread = cov[free][:, free] - gain @ cov[fixed][:, free]

    def net(x, t):  # reads the facts out of x
        law = el.priors.normal(torch.zeros(4, **FLOAT64), spread)
        shift = mean[free] + (x[:, fixed] - mean[fixed]) @ gain.T
        alpha, _ = law.schedule(t[0])
        x0 = torch.full_like(x, 99)
        x0[:, free] = shift + law.denoise(x[:, free] - alpha * shift, t[0])
        return x0

    law = el.priors.normal(mean, cov)
    prior = el.priors.GaussianPrior(net, (6,), law.schedule, X0())
    got = walked(Fixed(prior, known(6, *fixed), value, clean=True))[:, free]
    want = el.priors.normal(mean[free] + gain @ (value[fixed] - mean[fixed]), spread)
    z = prior.noise(Stream(3), IDS).double()[:, free]
    assert torch.allclose(got, on(want, steps=8, batch=4).generate(z, Stream(3), IDS), atol=1e-9)


@pytest.mark.parametrize("clean", [False, True])
def test_the_network_sees_the_facts_as_noisy_as_the_rest_or_clean(clean):
    seen = []

    def net(x, t):
        seen.append((float(t[0]), x))
        return torch.zeros_like(x)

    value, schedule = torch.full((3,), 2.0, **FLOAT64), el.VPCosine(0.9)
    prior = Fixed(el.priors.GaussianPrior(net, (3,), schedule, X0()), known(3, 1), value, clean)
    z = prior.noise(Stream(3), IDS).double()
    on(prior, steps=5, batch=len(IDS)).generate(z, Stream(3), IDS)
    assert len(seen) == 5
    for t, x in seen:
        alpha, sigma = schedule(torch.tensor(t, **FLOAT64))
        want = value[1].expand(len(IDS)) if clean else alpha * value[1] + sigma * z[:, 1]
        assert torch.allclose(x[:, 1], want, atol=1e-6)
        assert torch.allclose(x[:, 0], sigma * z[:, 0], atol=1e-6)


def test_a_fixed_prior_says_what_it_fixes_and_is_otherwise_its_prior():
    law, value = humps(schedule=Flow(), kernel=DDIM(0.5)), normal(6)
    prior = Fixed(law, known(6, 0), value)
    assert (prior.shape, prior.cost, prior.noisy, prior.kernel) == (law.shape, law.cost, True, law.kernel)
    assert repr(prior) == repr(Fixed(law, known(6, 0), value + 5 * ~known(6, 0)))
    assert repr(prior) != repr(Fixed(law, known(6, 0), value + 1e-6))
    assert repr(prior) != repr(Fixed(law, known(6, 1), value))


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        (known(5, 0), torch.zeros(6), r"where has shape \(5,\)"),
        (known(6, 0), torch.zeros(1), r"value \(1,\): give both the shape of the prior, \(6,\)"),
        (known(6, 0).float(), torch.zeros(6), "give torch.bool"),
        (known(6), torch.zeros(6), "the same everywhere"),
        (known(6, *range(6)), torch.zeros(6), "the same everywhere"),
        (known(6, 0), torch.full((6,), math.nan), "not all finite"),
    ],
)
def test_facts_that_do_not_fit_are_refused(where, value, says):
    with pytest.raises(InputError, match=says):
        Fixed(humps(), where, value)


def test_latents_that_do_not_fit_are_refused():
    prior = Fixed(exact(bell(), X0()), known(6, 0), torch.zeros(6), clean=True)
    with pytest.raises(InputError, match=r"shape \(2, 1\): the prior needs \(2, 6\)"):
        prior.denoise(torch.zeros(2, 1), torch.tensor(0.5))
