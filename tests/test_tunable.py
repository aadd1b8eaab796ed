"""Weights of priors: taken out, put back, adapted, and written to folders that open again."""

import pytest
import torch
from helpers import Bell, bits, tunable
from pipelines import FAMILIES
from safetensors.torch import load_file

import elites as el
from elites import Budget, FineTune, Flow, InputError, Stream, Target, run
from elites.priors import (
    CFG,
    Diffusers,
    Fixed,
    GaussianPrior,
    Reschedule,
    Tunable,
    digits,
    from_unet,
    lora,
    pendulum,
    unicycle,
)
from elites.train import Fit, RewardWeighted

KEY, IDS = Stream(4), range(3)
FIT = Fit(2, 0.01, 4, 2, 10)


def guesses(prior, level=2):
    t = prior.grid(5)[level]
    with torch.no_grad():
        return prior.denoise(prior.start(prior.noise(KEY, IDS)), t)


def moved(prior, by=0.05):
    return prior.with_weights({name: v + by for name, v in prior.weights().items()})


def opened(name):
    family = FAMILIES[name]
    return Diffusers.from_prompt(family.build(None), family.prompt, **family.call)


PRIORS = {
    "module": tunable,
    "module, fixed": lambda: Fixed(tunable(), torch.arange(6) == 2, torch.ones(6)),
    "module, rescheduled": lambda: Reschedule(tunable(), el.VPLinear()),
    "guided": lambda: CFG(tunable(), tunable(), 2.0),
    "digits": digits,
    "unicycle": unicycle,
    "pendulum": pendulum,
    "Stable Diffusion": lambda: opened("sd"),
    "Flux": lambda: opened("flux"),
}


@pytest.mark.parametrize("name", PRIORS)
def test_weights_go_in_and_out_and_the_prior_stays(name):
    prior = PRIORS[name]()
    before, weights = guesses(prior), prior.weights()
    assert all(not v.requires_grad for v in weights.values())
    assert bits(guesses(prior.with_weights(weights))) == bits(before)
    other = moved(prior)
    assert bits(guesses(other)) != bits(before)
    assert all(torch.equal(v, weights[k] + 0.05) for k, v in other.weights().items())
    assert bits(guesses(other.with_weights(weights))) == bits(before)
    assert bits(guesses(prior)) == bits(before)


@pytest.mark.parametrize("name", PRIORS)
def test_gradients_reach_the_weights(name):
    prior = PRIORS[name]()
    leaves = {k: v.clone().requires_grad_() for k, v in prior.weights().items()}
    tuned = prior.with_weights(leaves)
    x = tuned.start(tuned.noise(KEY, IDS))
    tuned.denoise(x, tuned.grid(5)[2]).square().sum().backward()
    assert sum(bool(v.grad is not None and v.grad.any()) for v in leaves.values()) > len(leaves) / 2


def test_a_tuned_prior_is_one_like_any_other():
    target = Target(digits(), lambda x: x.mean((1, 2, 3)), walk=el.Plain(steps=4))
    state = run(FineTune(RewardWeighted(8, 0.05), FIT), target, Budget(steps=2), probe=None).state
    tuned = target.prior.with_weights(state.average)
    assert run(el.Elites(4), target.with_prior(tuned), Budget(steps=2), probe=None).best.reward.isfinite().all()


def test_a_saved_unet_opens_again(tmp_path):
    tuned = moved(digits(3), 0.01)
    tuned.save_pretrained(tmp_path / "net")
    assert torch.allclose(guesses(from_unet(tmp_path / "net", label=3)), guesses(tuned), atol=1e-6)


def test_a_saved_pipeline_opens_again(tmp_path):
    tuned = moved(opened("sd"), 0.01)
    tuned.save_pretrained(tmp_path / "pipe")
    family = FAMILIES["sd"]
    again = Diffusers.from_prompt(tmp_path / "pipe", family.prompt, **family.call)
    assert torch.allclose(guesses(again), guesses(tuned), atol=1e-5)


@pytest.mark.parametrize("make", [tunable, unicycle])
def test_other_networks_are_saved_as_their_weights(make, tmp_path):
    tuned = moved(make())
    tuned.save_pretrained(tmp_path / "net")
    again = make().with_weights(load_file(tmp_path / "net" / "weights.safetensors"))
    assert bits(guesses(again)) == bits(guesses(tuned))


def test_a_function_is_trained_by_the_module_inside_it():
    net = Bell(Flow(), 2)
    prior = GaussianPrior(Tunable(lambda x, t: net(2 * x, t) / 2, net), (2,), Flow(), el.X0())
    assert set(prior.weights()) == {"mean", "logv"}
    assert bits(guesses(moved(prior))) != bits(guesses(prior))
    with pytest.raises(InputError, match="Tunable"):
        GaussianPrior(lambda x, t: net(x, t), (2,), Flow(), el.X0()).weights()
    with pytest.raises(InputError, match="no weights"):
        prior.with_weights({"average": torch.zeros(2)})


def test_adapters_are_all_that_is_trained(tmp_path):
    pytest.importorskip("peft")
    prior = digits(3)
    before, size = guesses(prior), sum(v.numel() for v in prior.weights().values())
    prior = lora(prior, rank=2)
    assert bits(guesses(prior)) == bits(before)
    assert all("lora" in name for name in prior.weights())
    assert sum(v.numel() for v in prior.weights().values()) < size / 20
    target = Target(prior, lambda x: x.mean((1, 2, 3)), walk=el.Plain(steps=4))
    state = run(FineTune(RewardWeighted(8, 0.05), FIT), target, Budget(steps=2), probe=None).state
    tuned = prior.with_weights(state.average)
    assert bits(guesses(tuned)) != bits(before)
    tuned.save_pretrained(tmp_path / "net")  # opens without peft
    again = from_unet(tmp_path / "net", label=3)
    assert torch.allclose(guesses(again), guesses(tuned), atol=1e-5)
    assert not any("lora" in name for name in again.weights())


def test_adapters_need_layers_to_be_on():
    pytest.importorskip("peft")
    with pytest.raises(InputError, match="no layers"):
        lora(digits(3), layers=("nowhere",))
    with pytest.raises(InputError, match="torch module"):
        lora(unicycle())
