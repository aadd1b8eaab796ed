"""Random pipelines of the size of real ones, for timing on a GPU; the text encoders are small, they run once."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from pipeline_parts import LENGTH, SCALED_LINEAR, VOCABULARY, tokenizer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection


def text(width: int) -> CLIPTextConfig:
    """Two layers of this width."""
    return CLIPTextConfig(
        vocab_size=len(VOCABULARY),
        max_position_embeddings=LENGTH,
        hidden_size=width,
        projection_dim=width,
        intermediate_size=width,
        num_hidden_layers=2,
        num_attention_heads=8,
        bos_token_id=0,
        eos_token_id=1,
    )


def autoencoder(size: int, scaling: float) -> AutoencoderKL:
    """The decoder of both."""
    blocks = 4
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        layers_per_block=2,
        latent_channels=4,
        sample_size=size,
        scaling_factor=scaling,
        force_upcast=False,
    )


def stable_diffusion() -> StableDiffusionPipeline:
    """Stable Diffusion 1.5: 860 M parameters, latents 4 x 64 x 64, images of 512."""
    with torch.device("cpu"):
        scheduler = DDIMScheduler(**SCALED_LINEAR, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    return StableDiffusionPipeline(
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        vae=autoencoder(512, 0.18215),
        text_encoder=CLIPTextModel(text(768)),
        tokenizer=tokenizer(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl() -> StableDiffusionXLPipeline:
    """SDXL: 2.6 G parameters, latents 4 x 128 x 128, images of 1024."""
    with torch.device("cpu"):
        scheduler = EulerDiscreteScheduler(**SCALED_LINEAR, steps_offset=1, timestep_spacing="leading")
    return StableDiffusionXLPipeline(
        unet=UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        vae=autoencoder(1024, 0.13025),
        text_encoder=CLIPTextModel(text(768)),
        text_encoder_2=CLIPTextModelWithProjection(text(1280)),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        scheduler=scheduler,
        add_watermarker=False,
    )


PIPELINES: dict[str, Callable[[], Any]] = {"Stable Diffusion 1.5": stable_diffusion, "SDXL": sdxl}


def on_gpu(name: str) -> Any:
    """The pipeline, in half precision, built where it runs."""
    with torch.device("cuda"):
        pipe = PIPELINES[name]()
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipe.set_progress_bar_config(disable=True)
    return pipe.to("cuda", torch.float16)
