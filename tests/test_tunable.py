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


def test_half_precision_is_trained_in_single():
    net = torch.nn.Linear(2, 2).to(torch.bfloat16)
    prior = GaussianPrior(Tunable(lambda x, t: net(x.to(torch.bfloat16)).to(x), net), (2,), Flow(), el.X0())
    target = Target(prior, lambda x: x[:, 0], walk=el.Plain(steps=4))
    state = run(FineTune(RewardWeighted(8), FIT), target, Budget(steps=1), probe=None).state
    assert state.weights["weight"].dtype == torch.float32
    assert any(not torch.equal(v, prior.weights()[k].float()) for k, v in state.weights.items())


def test_networks_that_recompute_or_train_are_refused():
    pipe = FAMILIES["sd"].build(None)
    prior = Diffusers.from_prompt(pipe, FAMILIES["sd"].prompt, **FAMILIES["sd"].call)
    pipe.unet.enable_gradient_checkpointing()
    with pytest.raises(InputError, match="disable_gradient_checkpointing"):
        prior.with_weights(prior.weights())
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    prior = GaussianPrior(Tunable(lambda x, t: net(x), net), (2,), Flow(), el.X0())
    with pytest.raises(InputError, match="eval"):
        prior.with_weights(prior.weights())


def test_weights_of_another_shape_are_refused_and_tied_ones_saved(tmp_path):
    with pytest.raises(InputError, match="of that shape"):
        tunable(2).with_weights({"mean": torch.zeros(5)})
    with pytest.raises(InputError, match="of that shape"):
        unicycle().with_weights({"x": torch.zeros(1)})
    net = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    net[1].weight = net[0].weight
    GaussianPrior(Tunable(lambda x, t: net[1](net[0](x)), net), (2,), Flow(), el.X0()).save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "weights.safetensors")) == {"0.weight", "0.bias", "1.weight", "1.bias"}


@pytest.mark.parametrize("wrap", [lambda p: Fixed(p, torch.arange(6) == 2, torch.ones(6)), lambda p: CFG(p, p, 2.0)])
def test_wrappers_are_saved_as_what_they_wrap(wrap, tmp_path):
    tuned = moved(wrap(tunable()))
    tuned.save_pretrained(tmp_path)
    assert bits(load_file(tmp_path / "weights.safetensors")) == bits(dict(sorted(tuned.weights().items())))


def test_adapters_go_into_what_was_not_tuned():
    pytest.importorskip("peft")
    with pytest.raises(InputError, match="tuned already"):
        lora(moved(digits(3), 0.01))
    with pytest.raises(InputError, match="no network"):
        lora(el.priors.normal(torch.zeros(2), torch.eye(2)))
