"""Tiny random diffusers pipelines, one of each family, built from configurations in code: nothing is downloaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from pipeline_parts import (
    LENGTH,
    SCALED_LINEAR,
    WIDTH,
    autoencoder,
    clip,
    cogvideox_autoencoder,
    deep_autoencoder,
    flow_autoencoder,
    gemma,
    pixel_unet,
    sd_parts,
    t5,
    texts,
    tiny,
    umt5,
    unet,
    wan_autoencoder,
)


@tiny
def unconditional(scheduler=None) -> DDPMPipeline:
    return DDPMPipeline(pixel_unet(), scheduler or DDPMScheduler())


@tiny
def sd(scheduler=None) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(**sd_parts(scheduler))


@tiny
def img2img(scheduler=None) -> StableDiffusionImg2ImgPipeline:
    return StableDiffusionImg2ImgPipeline(**sd_parts(scheduler))


@tiny
def inpaint(scheduler=None) -> StableDiffusionInpaintPipeline:
    """The network sees the noisy latent, the mask and the masked image: 4 + 1 + 4 channels."""
    return StableDiffusionInpaintPipeline(**sd_parts(scheduler, in_channels=9))


@tiny
def lcm(scheduler=None) -> LatentConsistencyModelPipeline:
    """Guidance is an input of the network."""
    scheduler = scheduler or LCMScheduler(**SCALED_LINEAR, clip_sample=False)
    return LatentConsistencyModelPipeline(**sd_parts(scheduler, time_cond_proj_dim=16))


@tiny
def sdxl(scheduler=None) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.13025),
        **texts(clip(), clip(projected=True)),
        unet=unet(
            cross_attention_dim=2 * WIDTH,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        ),
        scheduler=scheduler or EulerDiscreteScheduler(**SCALED_LINEAR, steps_offset=1, timestep_spacing="leading"),
        add_watermarker=False,
    )


def turbo(scheduler=None) -> StableDiffusionXLPipeline:
    return sdxl(scheduler or EulerAncestralDiscreteScheduler(**SCALED_LINEAR, timestep_spacing="trailing"))


@tiny
def sd3(scheduler=None) -> StableDiffusion3Pipeline:
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=scheduler or FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=flow_autoencoder(),
        **texts(clip(projected=True), clip(projected=True)),
        text_encoder_3=None,
        tokenizer_3=None,
    )


@tiny
def flux(scheduler=None) -> FluxPipeline:
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return FluxPipeline(
        transformer=transformer,
        scheduler=scheduler or FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=flow_autoencoder(),
        **texts(clip(), t5()),
    )


@tiny
def pixart(scheduler=None) -> PixArtAlphaPipeline:
    """The network predicts variances as well, in as many channels again."""
    transformer = PixArtTransformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        caption_channels=WIDTH,
    )
    return PixArtAlphaPipeline(
        transformer=transformer,
        scheduler=scheduler or DPMSolverMultistepScheduler(beta_schedule="linear"),
        vae=autoencoder(),
        **texts(t5()),
    )


@tiny
def sana(scheduler=None) -> SanaPipeline:
    transformer = SanaTransformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=WIDTH,
    )
    scheduler = scheduler or DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return SanaPipeline(
        transformer=transformer,
        scheduler=scheduler,
        vae=deep_autoencoder(),
        **texts(gemma()),
    )


@tiny
def wan(scheduler=None) -> WanPipeline:
    transformer = WanTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=12,
        text_dim=WIDTH,
        freq_dim=32,
        ffn_dim=32,
        rope_max_seq_len=32,
    )
    return WanPipeline(
        transformer=transformer,
        scheduler=scheduler or FlowMatchEulerDiscreteScheduler(shift=7.0),
        vae=wan_autoencoder(),
        **texts(umt5()),
    )


@tiny
def cogvideox(scheduler=None) -> CogVideoXPipeline:
    transformer = CogVideoXTransformer3DModel(
        sample_height=4,
        sample_width=4,
        sample_frames=9,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=4,
        attention_head_dim=8,
        time_embed_dim=8,
        text_embed_dim=WIDTH,
        max_text_seq_length=LENGTH,
    )
    scheduler = scheduler or CogVideoXDDIMScheduler(
        **SCALED_LINEAR,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        snr_shift_scale=3.0,
        clip_sample=False,
    )
    return CogVideoXPipeline(
        transformer=transformer,
        scheduler=scheduler,
        vae=cogvideox_autoencoder(),
        **texts(t5()),
    )


def uniform(*shape: int, seed: int) -> torch.Tensor:
    """In [0, 1], the range of an image."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Family:
    """How to build a pipeline, and the arguments it is called with."""

    build: Callable[..., Any]
    prompt: str | None = "a red fox"  # None: the pipeline has no such argument
    call: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.call) if self.prompt is None else {"prompt": self.prompt, **self.call}


GUIDED = {"guidance_scale": 5.0}
SMALL = {"height": 32, "width": 32}
FILM = {"height": 16, "width": 16}
PADDED = {"max_sequence_length": LENGTH}
EXACT = {"clean_caption": False, "use_resolution_binning": False}
PHOTO = uniform(1, 3, 32, 32, seed=1)
MASK = uniform(1, 1, 32, 32, seed=2).round()

FAMILIES: dict[str, Family] = {
    "unconditional": Family(unconditional, prompt=None),
    "sd": Family(sd, call=GUIDED),
    "sdxl": Family(sdxl, call=GUIDED),
    "sd3": Family(sd3, call=GUIDED | PADDED),
    "flux": Family(flux, call={"guidance_scale": 3.5} | SMALL | PADDED),
    "pixart": Family(pixart, call=GUIDED | PADDED | EXACT),
    "sana": Family(sana, call=GUIDED | SMALL | PADDED | EXACT | {"complex_human_instruction": None}),
    "lcm": Family(lcm, call=GUIDED),
    "turbo": Family(turbo, call={"guidance_scale": 0.0}),
    "wan": Family(wan, call=GUIDED | FILM | PADDED | {"num_frames": 5}),
    "cogvideox": Family(cogvideox, call=GUIDED | FILM | PADDED | {"num_frames": 9}),
    "inpaint": Family(inpaint, call=GUIDED | {"image": PHOTO, "mask_image": MASK}),
    "img2img": Family(img2img, call=GUIDED | {"image": PHOTO, "strength": 0.75}),
}
