"""Pipelines outside the families: what works without having been thought of, and what a user does to a pipeline."""

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    FluxControlPipeline,
    FluxTransformer2DModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
)
from pipeline_parts import SCALED_LINEAR, WIDTH, tiny
from pipelines import FAMILIES, PHOTO
from test_diffusers import STEPS, build, close, latents, prior_of, walk

import elites as el
from elites.priors import Diffusers, black_box

GUIDED = [n for n in FAMILIES if n not in ("unconditional", "lcm", "turbo", "flux")]


@tiny
def controlnet():
    parts = build("sd").components
    net = ControlNetModel.from_unet(parts["unet"], conditioning_embedding_out_channels=(8, 8))
    for block in net.controlnet_down_blocks:  # zero at first, and then nothing is controlled
        torch.nn.init.normal_(block.weight)
    return StableDiffusionControlNetPipeline(**parts, controlnet=net, requires_safety_checker=False)


@tiny
def flux_control():
    """The network sees the control image as further channels; its latent is drawn in the middle of the call."""
    plain = build("flux").components
    transformer = FluxTransformer2DModel.from_config(plain["transformer"].config, in_channels=32, out_channels=16)
    parts = plain | {"transformer": transformer}
    return FluxControlPipeline(**{k: v for k, v in parts.items() if k not in ("image_encoder", "feature_extractor")})


OTHERS = {
    "ControlNet": (controlnet, {"guidance_scale": 5.0, "image": PHOTO}),
    "Flux control": (flux_control, dict(FAMILIES["flux"].call) | {"control_image": PHOTO}),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_pipelines_nobody_thought_of_are_steered_as_the_families_are(kind):
    make, call = OTHERS[kind]
    pipe = make()
    prior = Diffusers.from_prompt(pipe, "a red fox", **call)
    z = latents(prior, 2)
    own = [
        pipe(
            "a red fox",
            **call,
            latents=row,
            num_inference_steps=STEPS,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        )[0]
        for row in z.split(1)
    ]
    close(walk(prior, z), torch.cat(own))
    assert prior.check() < 1e-5
    with torch.no_grad():
        x, t = prior.start(z[:1]), prior.grid(STEPS)[1]
        close(*prior.denoise(x.expand(2, *prior.shape), t))


@pytest.mark.parametrize("name", GUIDED)
def test_something_to_avoid_is_a_string_like_the_prompt(name):
    pipe = build(name)
    z = latents(prior_of(pipe, name), 1)
    with_, without = (
        walk(prior_of(pipe, name, **avoid), z, 2, decode=False) for avoid in ({"negative_prompt": "blue"}, {})
    )
    assert float((with_ - without).norm() / without.norm()) > 1e-3


def test_what_a_call_casts_is_cast_back_when_it_fails():
    """SDXL in float16 decodes in float32 and casts its decoder back only at the end."""
    pipe = build("sdxl").to(torch.float16)
    prior = prior_of(pipe, "sdxl")
    z, decode = latents(prior, 4), pipe.vae.decode

    def small(x, *args, **kwargs):
        if len(x) > 2:
            raise torch.OutOfMemoryError
        return decode(x, *args, **kwargs)

    pipe.vae.decode = small
    target = el.Target(prior, lambda images: images.float().mean((1, 2, 3)), batch=4)
    with pytest.warns(UserWarning, match="decode_batch is now 2"):
        rewards = target.score(z, el.Stream(0), range(4))
    assert torch.isfinite(rewards).all()
    assert pipe.vae.dtype == torch.float16
    with pytest.raises(el.InputError, match="bfloat16 or float32"):
        prior.decode(z.requires_grad_())


def test_a_pipeline_that_changes_its_network_for_a_call_is_refused_and_the_network_as_before():
    parts = build("sd").components
    pipe = StableDiffusionPAGPipeline(**parts, pag_applied_layers="mid", requires_safety_checker=False)
    before = pipe.unet.attn_processors
    with pytest.raises(el.InputError, match=r"changes pipe.unet"):
        Diffusers.from_prompt(pipe, "a red fox", guidance_scale=5.0, pag_scale=2.0)
    assert all(pipe.unet.attn_processors[name] is processor for name, processor in before.items())


def test_another_scheduler_later_is_not_that_of_the_prior():
    pipe = build("sd")
    prior = prior_of(pipe, "sd")
    z = latents(prior, 1)
    want = walk(prior, z, 4)
    pipe.scheduler = DDIMScheduler(**SCALED_LINEAR, prediction_type="v_prediction", timestep_spacing="trailing")
    assert torch.equal(walk(prior_of(build("sd"), "sd"), z, 4), want)
    assert torch.equal(walk(prior, z, 4), want)
    prior._grids.clear()
    assert torch.equal(walk(prior, z, 4), want)


def test_the_arguments_are_those_at_the_start():
    call = {"prompt": "a red fox", "num_inference_steps": 4}
    prior = Diffusers(build("sd"), call)
    call["num_inference_steps"] = 7
    assert len(prior.grid(3)) == 5


def test_two_priors_are_written_alike_only_if_they_are():
    e = torch.randn(1, 48, WIDTH, generator=torch.Generator().manual_seed(0))
    pipe = build("sd")
    other = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="v_prediction")
    photo = np.zeros((32, 32, 3))
    calls = [{"prompt_embeds": e}, {"prompt_embeds": e + 1}, {"prompt": "a" * 300}, {"prompt": "a" * 299 + "b"}]
    written = [repr(Diffusers(pipe, call | {"guidance_scale": 1.0})) for call in calls]
    written.append(repr(Diffusers(build("sd", other), calls[0] | {"guidance_scale": 1.0})))
    written += [repr(prior_of(build("img2img"), "img2img", image=p)) for p in (photo, photo + 0.5)]
    assert len(set(written)) == len(written)
    assert written[0] == repr(Diffusers(build("sd"), calls[0] | {"guidance_scale": 1.0}))
    assert repr(black_box(pipe, "a", num_inference_steps=2)) != repr(black_box(pipe, "b", num_inference_steps=2))


def test_check_sees_what_depends_on_the_number_of_the_step():
    class Fading(StableDiffusionPipeline):
        """Guidance in the last half of the loop only: in a loop of one step, always."""

        @property
        def guidance_scale(self):
            done = getattr(self, "_looked", 0)
            self._looked = done + 1
            return self._guidance_scale if done + 1 > self._num_timesteps / 2 else 1.0

    pipe = Fading(**build("sd").components, requires_safety_checker=False)
    prior = Diffusers.from_prompt(pipe, "a red fox", guidance_scale=5.0)
    assert prior.check(4) > 1e-3
    assert prior_of(build("sd"), "sd").check(4) < 1e-5


def test_rows_that_are_predicted_differently_are_refused():
    pipe = build("sd")
    forward = pipe.unet.forward
    pipe.unet.forward = lambda x, *args, **kw: (
        forward(x, *args, **kw)[0] * torch.arange(1, len(x) + 1)[:, None, None, None],
    )
    with pytest.raises(el.InputError, match="predicts equal rows differently"):
        prior_of(pipe, "sd")


@pytest.mark.parametrize(
    ("name", "call", "words"),
    [
        ("img2img", {"strength": 0.05}, "no step left"),
        ("sd", {"num_inference_steps": True}, "whole number"),
    ],
)
def test_what_leaves_nothing_to_do_is_refused(name, call, words):
    with pytest.raises(el.InputError, match=words):
        prior_of(build(name), name, **call)


def test_embeddings_of_two_prompts_are_refused():
    e = torch.zeros(2, 48, WIDTH)
    with pytest.raises(el.InputError, match="prompt_embeds has 2 rows"):
        Diffusers(build("sd"), {"prompt_embeds": e, "negative_prompt_embeds": e, "guidance_scale": 5.0})


def test_a_whole_number_of_numpy_is_one():
    assert len(Diffusers.from_prompt(build("sd"), "a", num_inference_steps=np.int64(4)).grid(1)) == 5
