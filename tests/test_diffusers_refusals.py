"""What a pipeline cannot be asked for is said in a sentence, before its network is called."""

import pytest
import torch
from diffusers import FirstBlockCacheConfig, StableDiffusionInpaintPipeline
from pipeline_parts import sd_parts, tiny
from pipelines import FAMILIES
from test_diffusers import build, prior_of
from test_diffusers_guards import network, snapshot, target_of

import elites as el
from elites.priors import Diffusers


def counted(pipe):
    calls = []
    network(pipe).register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("name", ["sd", "flux"])
def test_latents_of_a_wrong_shape_are_refused_with_both_shapes(name):
    pipe = build(name)
    prior, calls = prior_of(pipe, name), counted(pipe)
    wrong = torch.zeros(2, *prior.shape[:-1], prior.shape[-1] // 2)
    want, got = (", ".join(map(str, shape)) for shape in (prior.shape, wrong.shape[1:]))
    for call in (
        lambda: prior.denoise(wrong, prior.grid(3)[1]),
        lambda: target_of(prior).denoise(wrong, prior.grid(3)[1]),
        lambda: target_of(prior).generate(wrong, el.Stream(0), range(2)),
    ):
        with pytest.raises(el.InputError) as error:
            call()
        assert want in str(error.value)
        assert got in str(error.value)
    assert calls == []


REFUSED = {
    "a misspelt argument": ({"guidance_scal": 3.0}, "takes no guidance_scal=: did you mean guidance_scale="),
    "an unknown argument": ({"zzzzzz": 3.0}, "takes no zzzzzz=: leave it out"),
    "latents": ({"latents": torch.zeros(1)}, "Leave out latents=: they are what the prior draws"),
    "eta": ({"eta": 0.5}, r"Leave out eta=: give kernel=DDIM\(eta\)"),
    "a generator": ({"generator": torch.Generator()}, "Leave out generator=: noise comes from the stream"),
    "an output type": ({"output_type": "pil"}, "Leave out output_type=: objects are tensors"),
    "a population": ({"num_images_per_prompt": 2}, "Leave out num_images_per_prompt=: the population"),
    "a callback": ({"callback_on_step_end": print}, "callback_on_step_end= acts on the pipeline's own loop"),
    "several prompts": ({"prompt": ["a", "b"]}, "The prompt is a list: give one string"),
    "no prompt": ({"prompt": None}, "The prompt is a NoneType: give one string"),
    "no steps": ({"num_inference_steps": 0}, "num_inference_steps=0: give a whole number"),
    "half a step": ({"num_inference_steps": 2.5}, "num_inference_steps=2.5: give a whole number"),
    "an odd size": ({"height": 33, "width": 32}, "StableDiffusionPipeline refuses its arguments: .*33"),
    "two prompts to avoid": ({"negative_prompt": ["a", "b"]}, "refuses its arguments: .*same type"),
    "a number to avoid": ({"negative_prompt": 5}, "refuses its arguments: .*same type"),
    "levels it cannot take": ({"timesteps": [999, 1]}, "refuses its arguments: .*DDIMScheduler.* does not support"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_an_argument_is_refused_before_the_first_call(case):
    call, words = REFUSED[case]
    pipe = build("sd")
    calls, before = counted(pipe), snapshot(pipe)
    with pytest.raises(el.InputError, match=words):
        Diffusers(pipe, {"prompt": "a red fox", **call})
    assert calls == []
    assert snapshot(pipe) == before


def test_arguments_that_the_pipelines_loop_would_use_are_refused():
    pipe, call = build("cogvideox"), FAMILIES["cogvideox"].call
    with pytest.raises(el.InputError, match=r"use_dynamic_cfg= acts on the pipeline's own loop.*use black_box"):
        Diffusers.from_prompt(pipe, "a", **call, use_dynamic_cfg=True)
    Diffusers.from_prompt(pipe, "a", **call, use_dynamic_cfg=False)


def test_an_image_needs_its_number_of_steps():
    family = FAMILIES["img2img"]
    with pytest.raises(el.InputError, match="starts in the middle of the steps: give num_inference_steps="):
        Diffusers.from_prompt(build("img2img"), family.prompt, **family.call)


def test_a_mask_that_the_network_does_not_see_is_refused():
    family = FAMILIES["inpaint"]
    blends = tiny(lambda: StableDiffusionInpaintPipeline(**sd_parts()))()
    with pytest.raises(el.InputError, match="use an inpainting network, or black_box"):
        Diffusers.from_prompt(blends, family.prompt, **family.call)


@pytest.mark.parametrize("call", [{}, {"prompt": "a"}])
def test_a_pipeline_without_latents_is_told_where_to_go(call):
    with pytest.raises(el.InputError, match=r"use priors.from_unet\(pipe.unet, pipe.scheduler\)"):
        Diffusers(build("unconditional"), call)


def test_networks_that_change_from_call_to_call_are_refused():
    pipe = build("sd")
    pipe.vae.train()
    with pytest.raises(el.InputError, match=r"training mode: call pipe.vae.eval\(\)"):
        prior_of(pipe, "sd")
    pipe = build("flux")
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    with pytest.raises(el.InputError, match=r"call pipe.transformer.disable_cache\(\)"):
        prior_of(pipe, "flux")
    pipe.transformer.disable_cache()
    prior_of(pipe, "flux")
