"""What the tiny pipelines are made of: a tokenizer over characters, text encoders, autoencoders, U-Nets."""

import functools
from contextlib import contextmanager
from string import ascii_lowercase, digits
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLCogVideoX,
    AutoencoderKLWan,
    DDIMScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Sequence, Split, WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

START, END, UNKNOWN = SPECIAL = ("<start>", "<end>", "<unknown>")
VOCABULARY = {token: i for i, token in enumerate((*SPECIAL, *ascii_lowercase, *digits, *".,:;!?'()-"))}
LENGTH = 48  # of a padded prompt, in tokens
WIDTH = 32  # of every text embedding
SCALED_LINEAR = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def tiny(build):
    """Build from a fixed seed with the caller's generator untouched, in eval mode and without progress bars."""

    @functools.wraps(build)
    def seeded(*arguments, **options):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # `torch.manual_seed` would reseed the accelerators as well
            pipeline = build(*arguments, **options)
            for part in pipeline.components.values():
                if isinstance(part, torch.nn.Module):
                    part.eval()
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return seeded


@contextmanager
def doubles():
    """For prompts in float64: CLIP of transformers 4 fills its mask in the default type, where that would overflow."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def tokenizer(length: int = LENGTH) -> PreTrainedTokenizerFast:
    """One token a character; stands in for those of CLIP, T5 and Gemma."""
    characters = Tokenizer(WordLevel(VOCABULARY, unk_token=UNKNOWN))
    characters.normalizer = Lowercase()
    characters.pre_tokenizer = Sequence([WhitespaceSplit(), Split(Regex("."), "isolated")])
    characters.post_processor = TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(token, VOCABULARY[token]) for token in (START, END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=characters,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        model_max_length=length,
    )


def clip(projected: bool = False):
    config = CLIPTextConfig(
        vocab_size=len(VOCABULARY),
        max_position_embeddings=LENGTH,
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        hidden_act="gelu",
        bos_token_id=VOCABULARY[START],
        eos_token_id=VOCABULARY[END],
        pad_token_id=VOCABULARY[END],
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5(config=T5Config, model=T5EncoderModel):
    return model(
        config(
            vocab_size=len(VOCABULARY),
            d_model=WIDTH,
            d_kv=8,
            d_ff=WIDTH,
            num_layers=2,
            num_heads=4,
            is_encoder_decoder=False,
        )
    )


def umt5() -> UMT5EncoderModel:
    return t5(UMT5Config, UMT5EncoderModel)


def gemma() -> Gemma2Model:
    return Gemma2Model(
        Gemma2Config(
            vocab_size=len(VOCABULARY),
            hidden_size=WIDTH,
            head_dim=8,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=2,
            bos_token_id=VOCABULARY[START],
            eos_token_id=VOCABULARY[END],
            pad_token_id=VOCABULARY[END],
        )
    )


def texts(*encoders) -> dict[str, Any]:
    """Encoders and their tokenizers, under the names of pipeline components."""
    parts = {}
    for suffix, encoder in zip(("", "_2"), encoders, strict=False):
        parts |= {f"text_encoder{suffix}": encoder, f"tokenizer{suffix}": tokenizer()}
    return parts


def autoencoder(**changes) -> AutoencoderKL:
    """Four channels, images twice the size of the latent."""
    options = {
        "block_out_channels": (4, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "norm_num_groups": 2,
        "sample_size": 32,
    }
    return AutoencoderKL(**options | changes)


def flow_autoencoder() -> AutoencoderKL:
    """With the shift of SD3 and Flux."""
    return autoencoder(use_quant_conv=False, use_post_quant_conv=False, scaling_factor=1.5305, shift_factor=0.0609)


def deep_autoencoder() -> AutoencoderDC:
    """The deterministic one of Sana."""
    sides = {
        "block_types": ("ResBlock", "EfficientViTBlock"),
        "block_out_channels": (8, 8),
        "layers_per_block": (1, 1),
        "qkv_multiscales": ((), (5,)),
    }
    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
        **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()},
    )


def wan_autoencoder() -> AutoencoderKLWan:
    return AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)


def cogvideox_autoencoder() -> AutoencoderKLCogVideoX:
    """Four times smaller in space and in time."""
    return AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 3,
        up_block_types=("CogVideoXUpBlock3D",) * 3,
        block_out_channels=(4, 4, 4),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        sample_height=16,
        sample_width=16,
    )


def pixel_unet() -> UNet2DModel:
    return UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=4,
    )


def unet(**changes) -> UNet2DConditionModel:
    options = {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**options | changes)


def sd_parts(scheduler=None, **changes) -> dict[str, Any]:
    """The components of Stable Diffusion, `changes` to its network."""
    return {
        "vae": autoencoder(),
        **texts(clip()),
        "unet": unet(**changes),
        "scheduler": scheduler
        or DDIMScheduler(**SCALED_LINEAR, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
