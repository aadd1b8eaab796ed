"""A whole pipeline as one step: its own samples, at its own cost, once per candidate."""

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    PNDMScheduler,
    TCDScheduler,
)
from pipeline_parts import doubles
from pipelines import FAMILIES
from test_diffusers import build, close, latents
from test_diffusers_guards import TABLE, brightness, network, snapshot

import elites as el
from elites.priors import Diffusers, OneStep, black_box

STEPS = 4  # as many as Runge-Kutta needs
CASES = {
    "DPM-Solver of order 2": ("sd", lambda: DPMSolverMultistepScheduler(**TABLE, solver_order=2)),
    "Euler with noise": ("sd", lambda: EulerAncestralDiscreteScheduler(**TABLE)),
    "two calls a step": ("sd", lambda: HeunDiscreteScheduler(**TABLE)),
    "Flux": ("flux", lambda: None),
    "Flux with noise": ("flux", lambda: FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True)),
    "SD3": ("sd3", lambda: None),
    "Wan": ("wan", lambda: None),
    "LCM": ("lcm", lambda: None),
    # refused as a walk
    "KDPM2": ("sd", lambda: KDPM2DiscreteScheduler(**TABLE)),
    "KDPM2 with noise": ("sd", lambda: KDPM2AncestralDiscreteScheduler(**TABLE)),
    "Runge-Kutta": ("sd", lambda: PNDMScheduler(**TABLE)),
    "TCD": ("sd", lambda: TCDScheduler(**TABLE)),
}
WITHOUT_GENERATOR = ("Flux with noise",)  # such a pipeline keeps the generator to itself


def opened(case, **changes):
    name, scheduler = CASES[case]
    family = FAMILIES[name]
    pipe = family.build(scheduler())
    return pipe, black_box(pipe, family.prompt, num_inference_steps=STEPS, **family.call, **changes)


def sample(prior, z):
    with torch.no_grad():
        return prior.denoise(prior.start(z), prior.grid(1)[0])


@pytest.mark.parametrize("case", CASES)
def test_samples_are_the_pipelines_own_at_their_cost(case):
    pipe, prior = opened(case)
    z, family = latents(prior, 2), FAMILIES[CASES[case][0]]
    rows = []

    def count(module, args, kwargs, out):
        rows.append(len(next(v for v in [*args, *kwargs.values()] if isinstance(v, torch.Tensor) and v.ndim > 1)))

    hook = network(pipe).register_forward_hook(count, with_kwargs=True)
    found = sample(prior, z)
    hook.remove()
    assert sum(rows) == 2 * prior.cost == 2 * el.Target(prior, brightness).cost.nfe
    call = {**family.arguments, "prompt": [family.prompt] * 2, "num_inference_steps": STEPS, "latents": z}

    def theirs(output):
        same = [torch.Generator().manual_seed(0) for _ in z]
        return pipe(**call, generator=same, output_type=output, return_dict=False)[0]

    if case not in WITHOUT_GENERATOR:
        close(found, theirs("latent"))
        close(prior.decode(found).detach(), theirs("pt"))
    else:
        assert float((found - theirs("latent")).abs().max()) > 0.1


@pytest.mark.parametrize("case", CASES)
def test_a_candidate_of_a_batch_is_the_candidate_alone(case):
    _, prior = opened(case)
    z = latents(prior, 2)
    together = sample(prior, z)
    close(together, torch.cat([sample(prior, z[i : i + 1]) for i in range(2)]))
    assert torch.equal(sample(prior, z), together), "and the same again"
    assert float((together[0] - together[1]).abs().max()) > 0.1


@pytest.mark.parametrize("case", ["KDPM2", "KDPM2 with noise", "Runge-Kutta", "TCD"])
def test_schedulers_that_are_no_walk_are_refused_as_one(case):
    name, scheduler = CASES[case]
    family = FAMILIES[name]
    with pytest.raises(el.InputError, match=r"DDIMScheduler.from_config"):
        Diffusers.from_prompt(family.build(scheduler()), family.prompt, **family.call)


@pytest.mark.parametrize("case", ["Euler with noise", "Flux with noise", "Wan"])
def test_the_callers_pipeline_stays_as_it_was(case):
    name, scheduler = CASES[case]
    family = FAMILIES[name]
    pipe = family.build(scheduler())
    pipe(**family.arguments, num_inference_steps=2, output_type="latent")
    before = snapshot(pipe)
    prior = black_box(pipe, family.prompt, num_inference_steps=STEPS, **family.call)
    target = el.Target(prior, brightness, batch=3)
    el.run(el.Elites(population=4), target, el.Budget(steps=1))
    assert snapshot(pipe) == before

    def fail(objects):
        raise ArithmeticError("broken")

    with pytest.raises(el.RewardError, match="broken"):
        el.run(el.Elites(population=4), el.Target(prior, fail), el.Budget(steps=1))
    assert snapshot(pipe) == before
    network(pipe).forward = fail
    with pytest.raises(TypeError):  # `fail` takes no keywords
        sample(prior, latents(prior, 1))
    del network(pipe).forward
    assert snapshot(pipe) == before


def test_a_run_calls_the_pipeline_once_for_each_candidate(tmp_path):
    _, prior = opened("DPM-Solver of order 2")
    seen, f = [], prior.f

    def counted(z):
        seen.append(z.clone())
        return f(z)

    prior = OneStep(counted, prior.shape, prior.decoder, prior.device, prior.cost)
    target = el.Target(prior, brightness, batch=2)  # full chunks of 16 for the probe, and of 6
    run = el.run(
        el.Elites(population=6),
        target,
        el.Budget(steps=2),
        on=[el.Checkpoint(tmp_path / "run"), el.Report(tmp_path / "run")],
    )
    distinct = torch.cat(seen).unique(dim=0)
    assert len(torch.cat(seen)) == len(distinct) == 16 + 2 * 6, "no candidate is sampled twice"
    assert run.meter.nfe == len(distinct) * prior.cost
    assert list((tmp_path / "run").rglob("*.png")) or list((tmp_path / "run").rglob("*.webp"))
    close(sample(prior, run.best.z), run.best.x)


def test_gradients_of_the_whole_pipeline_are_finite_differences():
    family, pipe = FAMILIES["sd"], FAMILIES["sd"].build()
    pipe.to(torch.float64)
    with doubles():
        prior = black_box(pipe, family.prompt, num_inference_steps=2, **family.call)
    z, weights, direction = (latents(prior, 1, seed=s).double() for s in (0, 1, 2))

    def value(z):
        return (weights * prior.denoise(prior.start(z), prior.grid(1)[0])).sum()

    leaf = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    h = 1e-3
    with torch.no_grad():
        numeric = float(value(z + h * direction) - value(z - h * direction)) / (2 * h)
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=0.01)


def test_what_cannot_be_a_black_box_is_refused():
    family = FAMILIES["img2img"]
    with pytest.raises(el.InputError, match="takes no latents: use OneStep with a function of your own"):
        black_box(build("img2img"), family.prompt, num_inference_steps=4, **family.call)
    with pytest.raises(el.InputError, match=r"use priors.from_unet\(pipe.unet, pipe.scheduler\)"):
        black_box(build("unconditional"), "a", num_inference_steps=4)
    for call, words in (({"guidance_scal": 1.0}, "did you mean"), ({"eta": 0.5}, "Leave out eta=")):
        with pytest.raises(el.InputError, match=words):
            black_box(build("sd"), "a", num_inference_steps=4, **call)
    for steps in (0, 2.5, None):
        with pytest.raises(el.InputError, match="give a whole number of steps"):
            black_box(build("sd"), "a", num_inference_steps=steps)


def test_arguments_of_the_pipelines_loop_are_right_here():
    pipe, family = build("cogvideox"), FAMILIES["cogvideox"]
    prior = black_box(pipe, family.prompt, num_inference_steps=3, **family.call, use_dynamic_cfg=True)
    z = latents(prior, 1)
    call = {**family.arguments, "num_inference_steps": 3, "latents": z, "output_type": "latent", "return_dict": False}
    close(sample(prior, z), pipe(**call, use_dynamic_cfg=True)[0])
    assert not torch.allclose(pipe(**call, use_dynamic_cfg=True)[0], pipe(**call)[0], rtol=1e-3)
