"""Priors from networks, guidance, one-step priors, and the digits that come with the library."""

from dataclasses import replace

import pytest
import torch
from helpers import FLOAT64, bell, bits, exact, humps, normal, on, words
from test_schedule import PREDICTIONS

from elites import (
    DDIM,
    VE,
    X0,
    Budget,
    Elites,
    Eps,
    Flow,
    InputError,
    Score,
    Stream,
    Table,
    V,
    Velocity,
    VPCosine,
    run,
)
from elites.priors import CFG, GaussianPrior, OneStep, digits, mixture
from elites.priors import normal as gaussian
from elites.rewards import digits as data

IDS = range(6)


def walked(prior, steps=8, key=Stream(2)):  # noqa: B008 (frozen)
    """The walk in float64."""
    return on(prior, steps=steps, batch=4).generate(prior.noise(key, IDS).double(), key, IDS)


LAWS = [humps(), humps(schedule=VPCosine()), bell(schedule=VE())]
PAIRS = [(law, kind) for law in LAWS for kind in PREDICTIONS]
PAIRS += [
    (humps(schedule=Flow()), kind) for kind in (X0(), V(), Velocity())
]  # the others say nothing where alpha is 0


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(("law", "kind"), PAIRS, ids=[f"{law.schedule}-{kind}" for law, kind in PAIRS])
def test_a_network_that_predicts_anything_walks_like_the_law_it_knows(law, kind, eta):
    law = replace(law, kernel=DDIM(eta))
    want, got = walked(law), walked(exact(law, kind))
    assert got.dtype == torch.float64
    assert torch.allclose(got, want, rtol=1e-7, atol=1e-7)


def test_the_functions_of_the_package_are_not_hidden_by_its_modules():
    assert callable(gaussian)
    assert callable(mixture)
    assert gaussian(torch.zeros(2), torch.eye(2)).shape == (2,)


def test_clipping_bounds_the_clean_guess_and_nothing_else():
    law, t, x = humps(), torch.tensor(0.4, **FLOAT64), 3 * normal(5, 6)
    free, clipped = exact(law, Eps()), exact(law, Eps(), clip=0.7)
    assert free.denoise(x, t).abs().max() > 0.7
    assert torch.equal(clipped.denoise(x, t), free.denoise(x, t).clamp(-0.7, 0.7))


def test_the_network_sees_one_time_per_row_in_the_precision_of_x():
    seen = []

    def net(x, t):
        seen.append((t.shape, t.dtype, float(t[0])))
        return x

    prior = GaussianPrior(net, (3,), Flow(), X0())
    prior.denoise(torch.zeros(5, 3), torch.tensor(0.25, **FLOAT64))
    assert seen == [(torch.Size([5]), torch.float32, 0.25)]


def test_a_decoder_gives_the_objects_and_the_latents_stay():
    prior = exact(humps(), Eps(), decoder=lambda x0: [f"{v:.2f}" for v in x0[:, 0]])
    result = run(Elites(4), on(prior, reward=lambda objects: [float(o) for o in objects]), Budget(steps=3))
    assert float(result.best.reward[0]) == pytest.approx(float(result.best.x[0, 0]), abs=0.006)


def test_guidance_needs_one_shape_and_costs_both():
    with pytest.raises(InputError, match="guidance needs the same shape"):
        CFG(humps(6), humps(5), 2.0)
    pair = CFG(CFG(humps(), bell(), 2.0), bell(), 3.0)
    assert pair.cost == 3
    assert torch.equal(
        CFG(humps(), humps(), 5.0).denoise(normal(3, 6), torch.tensor(0.5)).round(decimals=8),
        humps().denoise(normal(3, 6), torch.tensor(0.5)).round(decimals=8),
    )


def test_a_one_step_prior_hands_the_noise_to_its_function():
    prior, key = OneStep(words, (6,)), Stream(3)
    target = on(prior, reward=lambda objects: [float(len(o)) for o in objects], steps=50, batch=4)
    samples = target.evaluate(prior.noise(key, IDS), key, IDS)
    assert torch.equal(samples.x, key.normal(IDS, (6,)))
    assert samples.reward.tolist() == [float(len(word)) for word in words(samples.x)]
    assert target.meter.nfe == len(IDS)
    result = run(Elites(8), target, Budget(steps=5))
    assert result.best.reward[0] == len(words(result.best.x)[0]) > result.history[0]["mean"]


@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_a_device_that_is_not_there_is_refused_at_once(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    makers = [
        lambda: GaussianPrior(lambda x, t: x, (3,), Flow(), device=device),
        lambda: OneStep(words, (3,), device=device),
        lambda: digits(device=device),
    ]
    for make in makers:
        with pytest.raises(InputError, match="no usable GPU: use device='cpu'"):
            make()


def test_a_device_with_too_high_a_number_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="this machine has 1 GPU"):
        OneStep(words, (3,), device="cuda:1")


# the bundled digits


@pytest.fixture(scope="module")
def drawn():
    """Two digits of each class, and the classes."""
    pytest.importorskip("diffusers")
    key, ids = Stream(1), range(2)
    images = [
        prior.decode(on(prior, steps=10, batch=2).generate(prior.noise(key, ids), key, ids))
        for prior in (digits(label) for label in range(10))
    ]
    return torch.cat(images), torch.arange(10).repeat_interleave(2)


def test_digits_are_images_of_their_class(drawn):
    images, labels = drawn
    assert images.shape == (20, 1, 8, 8)
    assert 0 <= images.min() < 0.05 < 0.95 < images.max() <= 1
    right = (data.classifier("judge")(images).argmax(1) == labels).double().mean()
    assert right > 0.1 + 4 * (0.1 * 0.9 / len(labels)) ** 0.5  # far above chance


def test_digits_are_the_same_every_time():
    pytest.importorskip("diffusers")
    one, other = (walked(digits(), steps=4) for _ in range(2))
    assert one.shape == (6, 1, 8, 8)
    assert bits(one) == bits(other)


def test_guided_digits_are_the_affine_sum_of_two_guesses():
    pytest.importorskip("diffusers")
    x, t = Stream(0).normal(IDS, (1, 8, 8)), torch.tensor(500.0, **FLOAT64)
    guided = digits(3, guidance=2.0)
    assert (guided.cost, digits(3).cost) == (2, 1)
    u, c = digits().denoise(x, t), digits(3).denoise(x, t)
    assert torch.equal(guided.denoise(x, t), u + 2.0 * (c - u))
    assert not torch.allclose(u, c)


@pytest.mark.parametrize("label", [-1, 11])
def test_a_digit_that_is_none_is_refused(label):
    pytest.importorskip("diffusers")
    with pytest.raises(InputError, match="give label="):
        digits(label)


def test_the_parts_of_the_digits_share_no_image():
    parts = {name: data.images(name) for name in ("prior", "reward", "held_out")}
    assert [len(x) for x, _ in parts.values()] == [1000, 400, 397]
    seen = [bytes((x * 16).to(torch.uint8).flatten().tolist()) for images, _ in parts.values() for x in images]
    assert len(set(seen)) == len(seen) == 1797
    for images, labels in parts.values():
        assert images.shape[1:] == (1, 8, 8)
        assert (images.min(), images.max()) == (0, 1)
        assert set(labels.tolist()) == set(range(10))


@pytest.mark.parametrize("part", ["reward", "judge"])
def test_the_classifiers_know_digits_that_they_never_saw(part):
    images, labels = data.images("prior")
    right = (data.classifier(part)(images).argmax(1) == labels).double().mean()
    assert right > 0.85
    assert not any(p.requires_grad for p in data.classifier(part).parameters())


def test_parts_that_do_not_exist_are_refused():
    for ask in (data.images, data.classifier):
        with pytest.raises(InputError, match="ask for"):
            ask("test")


def test_predictions_that_say_nothing_on_a_schedule_are_refused():
    for predicts in (Eps(), Score()):
        with pytest.raises(InputError, match="alpha = 0"):
            GaussianPrior(lambda x, t: x, (2,), Flow(), predicts)
    table = Table(torch.linspace(0.99, 0.01, 10))
    with pytest.raises(InputError, match="no time derivatives"):
        GaussianPrior(lambda x, t: x, (2,), table, Velocity())
