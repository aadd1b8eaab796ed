"""A pipeline that becomes a prior stays as it was, and threads, compilers and a safety checker do no harm."""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler
from helpers import generators
from pipeline_parts import SCALED_LINEAR
from pipelines import FAMILIES
from test_diffusers import build, close, latents, prior_of, walk
from torch._dynamo.testing import CompileCounter
from torch.nn import Module
from transformers import BatchFeature

import elites as el
from elites.priors import Diffusers

TABLE = SCALED_LINEAR | {"steps_offset": 1}
UNTOUCHED = ["sd", "sd3", "flux", "inpaint", "img2img", "cogvideox"]


def network(pipe):
    return getattr(pipe, "unet", None) or pipe.transformer


def modules(pipe):
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, Module)}
    return {f"{name}.{inner}": m for name, part in parts.items() for inner, m in part.named_modules()}


def snapshot(pipe):
    """All that a caller could find changed."""
    inside = modules(pipe)
    weights = {f"{name}.{k}": p for name, m in inside.items() for k, p in m.named_parameters(recurse=False)}
    return {
        "attributes": {name: id(value) for name, value in vars(pipe).items()},
        "config": dict(pipe.config),
        "scheduler": {name: (id(value), repr(value)) for name, value in vars(pipe.scheduler).items()},
        "hooks": {name: (list(m._forward_hooks), list(m._forward_pre_hooks)) for name, m in inside.items()},
        "own methods": {name: "forward" in vars(m) for name, m in inside.items()},
        "training": {name: m.training for name, m in inside.items()},
        "weights": {name: (id(p), p._version, p.requires_grad, p.grad) for name, p in weights.items()},
        "gradients": torch.is_grad_enabled(),
        "generators": generators(),
    }


def called(name):
    """A pipeline that its caller has used before: transformers hooks text encoders at their first call."""
    pipe = build(name)
    pipe(**FAMILIES[name].arguments, num_inference_steps=2, output_type="latent")
    return pipe


def brightness(objects):
    return objects.reshape(len(objects), -1).float().mean(1)


def target_of(prior, reward=brightness, **changes):
    return el.Target(prior, reward, **{"walk": el.Plain(steps=2), "batch": 3} | changes)


def search(target, population=4):
    return el.run(el.Elites(population=population), target, el.Budget(steps=1))


@pytest.mark.parametrize("name", UNTOUCHED)
def test_the_callers_pipeline_stays_as_it_was(name):
    pipe = called(name)
    before = snapshot(pipe)
    prior = prior_of(pipe, name)
    assert snapshot(pipe) == before, "after it was opened"
    x = prior.start(latents(prior, 2)).requires_grad_()
    prior.denoise(x, prior.grid(3)[1]).sum().backward()
    for parameter in network(pipe).parameters():
        parameter.grad = None  # the caller's backward filled them
    assert snapshot(pipe) == before, "after a guess"
    prior.decode(x)
    prior.check(2)
    search(target_of(prior))
    assert snapshot(pipe) == before, "after a search"


@pytest.mark.parametrize("name", UNTOUCHED)
def test_the_callers_pipeline_stays_as_it_was_after_an_error(name, monkeypatch):
    pipe = called(name)
    before = snapshot(pipe)
    prior = prior_of(pipe, name)
    z = latents(prior, 2)
    x, t = prior.start(z), prior.grid(3)[1]
    guess = prior.denoise(x, t).detach()

    def fail(*_, **__):
        raise ArithmeticError("broken")

    calls = [
        (network(pipe), "forward", lambda: prior_of(pipe, name)),
        (network(pipe), "forward", lambda: prior.denoise(x, t)),
        (network(pipe), "forward", lambda: prior.check(2)),
        (network(pipe), "forward", lambda: search(target_of(prior))),
        (pipe.vae, "decode", lambda: prior.decode(x)),
    ]
    for thing, method, call in calls:
        with monkeypatch.context() as patch:
            patch.setattr(thing, method, fail)
            with pytest.raises(ArithmeticError, match="broken"):
                call()
        assert snapshot(pipe) == before, (method, call)
    with pytest.raises(el.RewardError, match="broken"):
        search(target_of(prior, fail))
    assert snapshot(pipe) == before
    assert torch.equal(prior.denoise(x, t), guess), "the prior works on"


@pytest.mark.parametrize("name", ["sd", "sd3", "flux", "wan"])
def test_prompts_are_encoded_once(name):
    pipe, calls = build(name), []
    for part, module in pipe.components.items():
        if part.startswith("text_encoder") and module is not None:
            module.register_forward_hook(lambda *_, part=part: calls.append(part))
    prior = prior_of(pipe, name)
    once = list(calls)
    assert set(once) == {p for p in pipe.components if p.startswith("text_encoder") and pipe.components[p]}
    for batch in (2, 3):
        search(target_of(prior, batch=batch))
    assert calls == once
    pipe(**FAMILIES[name].arguments, num_inference_steps=1, output_type="latent")
    assert calls == 2 * once, "as often as in one call of the pipeline"


def test_offloaded_models_work_without_gradients_and_are_refused_with_them():
    pipe = build("sd")
    plain = walk(prior_of(pipe, "sd"), latents(prior_of(pipe, "sd"), 2), 2)
    pipe.enable_model_cpu_offload(device="cpu")
    prior = prior_of(pipe, "sd")
    hooks = [part._hf_hook for part in (pipe.text_encoder, pipe.unet, pipe.vae)]
    z = latents(prior, 2)
    assert torch.equal(walk(prior, z, 2), plain)
    with pytest.raises(el.InputError, match=r"use a method without gradients, or call pipe.remove_all_hooks\(\)"):
        prior.denoise(prior.start(z).requires_grad_(), prior.grid(2)[0])
    assert [part._hf_hook for part in (pipe.text_encoder, pipe.unet, pipe.vae)] == hooks
    assert len(pipe._all_hooks) == 3


@pytest.fixture
def switching():
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("name", ["sd", "flux", "cogvideox"])
def test_two_threads_get_what_each_gets_alone(name, switching):
    prior = prior_of(build(name), name)
    jobs = [(prior.start(latents(prior, n, seed=n)), t) for n, t in zip((1, 2), prior.grid(3)[:2], strict=True)]

    def guess(x, t):
        with torch.no_grad():
            return prior.denoise(x, t)

    alone, both = [guess(*job) for job in jobs], Barrier(2)

    def guesses(job):
        both.wait()
        return [guess(*job) for _ in range(10)]

    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for each, together in zip(alone, pool.map(guesses, jobs), strict=True):
            assert all(torch.equal(each, x0) for x0 in together)


@pytest.mark.parametrize(("name", "wrap"), [("sd3", True), ("flux", False)])
def test_a_compiled_network_is_compiled_for_one_shape(name, wrap):
    torch._dynamo.reset()
    pipe, counter = build(name), CompileCounter()
    if wrap:
        pipe.transformer = torch.compile(pipe.transformer, backend=counter)
    else:
        pipe.transformer.compile(backend=counter)
    prior = prior_of(pipe, name)
    assert counter.frame_count == 0, "opening compiles nothing"
    target, stream = target_of(prior, batch=4), el.Stream(0)
    for population in (5, 8, 3):
        found = target.evaluate(prior.noise(stream, range(population)), stream, range(population))
    assert counter.frame_count == 1
    plain = target_of(prior_of(build(name), name), batch=4)
    close(found.x, plain.evaluate(prior.noise(stream, range(3)), stream, range(3)).x)


LEVELS = {
    "timesteps of Euler": ("sd", EulerDiscreteScheduler(**TABLE), {"timesteps": [999, 749, 499, 249]}),
    "low timesteps of Euler": ("sd", EulerDiscreteScheduler(**TABLE), {"timesteps": [499, 249, 99]}),
    "sigmas of Euler": ("sd", EulerDiscreteScheduler(**TABLE), {"sigmas": [9.0, 3.0, 1.0, 0.2, 0.0]}),
    "timesteps of DPM-Solver": (
        "sd",
        DPMSolverMultistepScheduler(**TABLE, solver_order=1),
        {"timesteps": [900, 600, 300]},
    ),
    "sigmas of a flow": ("flux", None, {"sigmas": [1.0, 0.7, 0.3]}),
    "low sigmas of a flow": ("flux", None, {"sigmas": [0.8, 0.5]}),
}


@pytest.mark.parametrize("case", LEVELS)
def test_levels_of_the_caller_are_walked_as_the_pipeline_does(case):
    name, scheduler, levels = LEVELS[case]
    family = FAMILIES[name]
    pipe = family.build(scheduler)
    prior = Diffusers.from_prompt(pipe, family.prompt, **family.call, **levels)
    z = latents(prior, 1)
    theirs = pipe(**family.arguments, **levels, latents=z, output_type="latent", return_dict=False)[0]
    close(walk(prior, z, decode=False), theirs)
    assert torch.equal(prior.grid(3), prior.grid(50))


class Flags(Module):
    """A safety checker that blackens the images above a brightness."""

    device = torch.device("cpu")

    def forward(self, images, clip_input):
        rejected = [bool(image.mean() > self.above) for image in clip_input]
        for i in [i for i, found in enumerate(rejected) if found]:
            images[i] = 0.0
        return images, rejected


class Pixels:
    def __call__(self, images, return_tensors):
        return BatchFeature({"pixel_values": torch.stack([torch.tensor(np.asarray(i)).float() for i in images])})


def test_what_a_safety_checker_rejects_is_a_failure():
    checker = Flags().eval()
    pipe = build("sd")
    free = target_of(prior_of(pipe, "sd"), batch=3)
    x = latents(free.prior, 6)
    scores = free.score(x, el.Stream(0), range(6))
    checker.above = float(255 * scores.median()) + 0.3
    pipe.safety_checker, pipe.feature_extractor = checker, Pixels()
    target = target_of(prior_of(pipe, "sd"), batch=3)
    found = target.score(x, el.Stream(0), range(6))
    rejected = found == -torch.inf
    assert 0 < int(rejected.sum()) < 6
    assert torch.equal(found[~rejected], scores[~rejected])
    assert {f.reason for f in target.failures} == {"ValueError: the object is not finite"}
    _, _, gradient = target.grad(lambda x: (target.score(x, el.Stream(0), range(len(x))), None), x)
    _, _, freely = free.grad(lambda x: (free.score(x, el.Stream(0), range(len(x))), None), x)
    assert torch.equal(gradient[~rejected], freely[~rejected])
