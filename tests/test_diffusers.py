"""Every family of diffusers pipelines: the walk is its own sampling, rows are alone, gradients are right."""

import copy
from itertools import pairwise

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from pipeline_parts import SCALED_LINEAR, doubles
from pipelines import FAMILIES

import elites as el
from elites.priors import Diffusers, from_unet
from elites.priors.unet import to_unit

STEPS = 5  # divides 1,000, so that the schedulers' own arithmetic on timesteps agrees with their lists
# a first-order, deterministic scheduler where the family ships with another kind
FIRST = {
    "pixart": lambda: DPMSolverMultistepScheduler(beta_schedule="linear", solver_order=1),
    "sana": lambda: DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, solver_order=1
    ),
    "turbo": lambda: EulerDiscreteScheduler(**SCALED_LINEAR, timestep_spacing="trailing"),
}
OPENED = [name for name in FAMILIES if name != "unconditional"]
DETERMINISTIC = [name for name in OPENED if name != "lcm"]


def build(name, scheduler=None):
    family = FAMILIES[name]
    return family.build(scheduler or (FIRST[name]() if name in FIRST else None))


def prior_of(pipe, name, **changes):
    family = FAMILIES[name]
    if name == "unconditional":
        return from_unet(pipe.unet, pipe.scheduler)
    steps = {"num_inference_steps": 2 * STEPS} if name == "img2img" else {}
    return Diffusers.from_prompt(pipe, family.prompt, **{**family.call, **steps, **changes})


def latents(prior, n, seed=0):
    return prior.noise(el.Stream(seed), range(n))


def walk(prior, z, steps=STEPS, decode=True):
    x, times = prior.start(z), prior.grid(steps)
    with torch.no_grad():
        for t, s in pairwise(times):
            x = prior.move(x, prior.denoise(x, t), t, s)
        return prior.decode(x) if decode else x


def close(a, b, bound=1e-5):
    """Equal up to rounding, relative to the largest value."""
    assert a.shape == b.shape
    assert float((a - b).abs().max()) <= bound * float(b.abs().max()), float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("name", [n for n in DETERMINISTIC if n != "img2img"])
def test_the_walk_is_the_pipelines_own_sampling(name):
    family, pipe = FAMILIES[name], build(name)
    prior = prior_of(pipe, name)
    z = latents(prior, 2)
    call = {**family.arguments, "num_inference_steps": STEPS, "latents": z, "return_dict": False}
    call["prompt"] = [family.prompt] * 2
    if name == "inpaint":  # the latent of the masked image is drawn, for us after the noise of one object
        call["generator"] = torch.Generator().manual_seed(0)
        torch.randn(1, *prior.shape, generator=call["generator"])
    close(walk(prior, z, decode=False), pipe(**call, output_type="latent")[0])
    if name != "inpaint":
        close(walk(prior, z), pipe(**call, output_type="pt")[0])
    assert z.shape[1:] == prior.shape


def test_a_walk_from_an_image_is_the_pipelines_own():
    family, pipe = FAMILIES["img2img"], build("img2img")
    prior = prior_of(pipe, "img2img")
    drawn = []

    class Heard(type(pipe.scheduler)):
        def add_noise(self, x, noise, t):
            drawn.append(noise)
            return super().add_noise(x, noise, t)

    pipe.scheduler = Heard.from_config(pipe.scheduler.config)
    call = {**family.arguments, "num_inference_steps": 2 * STEPS, "generator": torch.Generator().manual_seed(0)}
    theirs = pipe(**call, output_type="latent", return_dict=False)[0]
    close(walk(prior, drawn[0], decode=False), theirs)
    assert len(prior.grid(99)) == 7 + 1, "a strength of three quarters leaves seven of ten steps"


def test_a_few_step_student_is_the_pipelines_own_with_its_noise():
    family, pipe = FAMILIES["lcm"], build("lcm")
    prior = prior_of(pipe, "lcm")
    z = latents(prior, 2)
    theirs = pipe(
        **{**family.arguments, "prompt": [family.prompt] * 2},
        num_inference_steps=4,
        latents=z,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    )[0]
    generator = torch.Generator().manual_seed(7)
    x, times = prior.start(z), prior.grid(4)
    with torch.no_grad():
        for i, (t, s) in enumerate(pairwise(times)):
            noise = torch.randn(z.shape, generator=generator) if i < 3 else torch.zeros_like(z)
            x = prior.move(x, prior.denoise(x, t), t, s, noise)
    close(x, theirs)
    assert prior.noisy
    assert len(times) == 5


@pytest.mark.parametrize("name", OPENED)
def test_the_walk_is_the_same_inside_the_pipelines_loop(name):
    assert prior_of(build(name), name).check(STEPS) < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_a_candidate_of_a_batch_is_the_candidate_alone(name):
    prior = prior_of(build(name), name)
    z = latents(prior, 3)
    x, t = prior.start(z), prior.grid(STEPS)[1]
    with torch.no_grad():
        together, alone = prior.denoise(x, t), torch.cat([prior.denoise(x[i : i + 1], t) for i in range(3)])
        close(together, alone)
        assert float((together[0] - together[1]).norm()) > 0.1 * float(together[0].norm()), "the rows differ"
        objects, one = prior.decode(together), torch.cat([prior.decode(together[i : i + 1]) for i in range(3)])
    close(objects, one)
    assert objects.min() >= 0
    assert objects.max() <= 1


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_finite_differences(name):
    pipe = build(name)
    pipe.to(torch.float64)
    if name == "unconditional":
        pipe.scheduler = DDIMScheduler(clip_sample=False)  # a clipped guess has corners
    with doubles():
        prior = prior_of(pipe, name)
    z = latents(prior, 1).double()
    weights, direction = (latents(prior, 1, seed=s).double() for s in (1, 2))
    t = prior.grid(STEPS)[1]

    def value(x):
        return (weights * prior.denoise(x, t)).sum()

    x = prior.start(z).requires_grad_()
    (gradient,) = torch.autograd.grad(value(x), x)
    exact = float((gradient * direction).sum())
    h = 1e-3  # some pipelines embed times, or guide, in float32
    with torch.no_grad():
        numeric = float(value(x + h * direction) - value(x - h * direction)) / (2 * h)
    assert exact == pytest.approx(numeric, rel=0.01)
    assert abs(exact) > 1e-3


@pytest.mark.parametrize("name", ["sd", "sd3", "wan"])
def test_gradients_flow_through_the_decoder(name):
    pipe = build(name)
    pipe.to(torch.float64)
    with doubles():
        prior = prior_of(pipe, name)
    x, direction = (0.1 * latents(prior, 1, seed=s).double() for s in (0, 1))

    with torch.no_grad():
        inside = (prior.decode(x) - 0.5).abs() < 0.4  # objects are clamped at 0 and 1

    def value(x):
        return prior.decode(x)[inside].square().sum()

    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    h = 1e-3
    with torch.no_grad():
        numeric = float(value(x + h * direction) - value(x - h * direction)) / (2 * h)
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=0.01)


@pytest.mark.parametrize("name", OPENED)
def test_half_precision_stays_in_the_network(name):
    pipe = build(name).to(torch.bfloat16)
    prior = prior_of(pipe, name)
    seen = []
    net = getattr(pipe, "unet", None) or pipe.transformer
    hook = net.register_forward_hook(lambda module, args, out: seen.append(out[0].dtype))
    x = walk(prior, latents(prior, 2), decode=False)
    hook.remove()
    assert set(seen) == {torch.bfloat16}
    assert x.dtype == torch.float32
    full = walk(prior_of(build(name), name), latents(prior, 2), decode=False)
    assert float((x - full).norm() / full.norm()) < 0.1
    assert torch.isfinite(prior.decode(x).float()).all()


@pytest.mark.parametrize("name", ["sd", "flux", "cogvideox"])
def test_a_search_runs_and_a_chunk_size_changes_rounding_only(name):
    prior = prior_of(build(name), name)

    def reward(objects):
        return objects.reshape(len(objects), -1).float().mean(1)

    results = [
        el.run(el.Elites(population=6), el.Target(prior, reward, walk=el.Plain(steps=2), batch=b), el.Budget(steps=2))
        for b in (3, 4)
    ]
    assert results[0].meter.nfe == results[1].meter.nfe
    assert results[0].best.reward.allclose(results[1].best.reward, rtol=1e-4)
    assert results[0].best.x.shape[1:] == prior.shape


def test_packed_latents_keep_the_layout_of_the_pipeline():
    prior = prior_of(build("flux"), "flux")
    assert prior.shape == (64, 16)
    assert prior.decode(latents(prior, 2)).shape == (2, 3, 32, 32)


def test_a_new_schedule_needs_no_new_prior():
    """Shift depends on the number of tokens; the pipeline works it out."""
    pipe = build("flux")
    before = copy.deepcopy(dict(pipe.scheduler.__dict__))
    grids = [prior_of(pipe, "flux").grid(n) for n in (4, 7)]
    assert [len(g) for g in grids] == [5, 8]
    assert grids[0][1] > 0.75, "shifted towards noise"
    assert str(before) == str(pipe.scheduler.__dict__)
    assert isinstance(pipe.scheduler, FlowMatchEulerDiscreteScheduler)


def test_digits_and_pipelines_decode_alike():
    pipe = build("unconditional")
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(prior_of(pipe, "unconditional").decode(x), to_unit(x))
