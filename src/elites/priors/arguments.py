"""The arguments of a pipeline's call: what is refused, and how they are written in a run."""

from __future__ import annotations

import difflib
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..types import InputError

__all__ = ["LATENTS", "LOOP", "check_call", "described"]

LATENTS = "prepare_latents"
OURS = {
    "eta": "give kernel=DDIM(eta)",
    "generator": "noise comes from the stream of the run",
    "latents": "they are what the prior draws",
    "num_images_per_prompt": "the population is that of the method",
    "num_videos_per_prompt": "the population is that of the method",
    "output_type": "objects are tensors",
    "return_dict": "nobody else sees it",
}
# arguments that change the network's call with the position in the loop
LOOP = (
    "adapter_conditioning_factor",
    "callback",
    "callback_on_step_end",
    "cfg_trunc_ratio",
    "control_guidance_end",
    "control_guidance_start",
    "denoising_end",
    "denoising_start",
    "guidance_interval",
    "skip_guidance_layers",
    "use_dynamic_cfg",
)


def check_call(pipe: Any, call: Mapping[str, Any], loop: Sequence[str] = LOOP) -> None:
    """Refuse arguments that are not the caller's to give, and networks that are not ready.

    Arguments:
        pipe: the pipeline.
        call: arguments of its call.
        loop: names that are refused because they act on the pipeline's own loop.

    Raises:
        InputError: with a sentence about the first that is wrong.
    """
    name, known = type(pipe).__name__, inspect.signature(type(pipe).__call__).parameters
    if not hasattr(pipe, LATENTS):
        raise InputError(
            f"{name} has no {LATENTS}: use priors.from_unet(pipe.unet, pipe.scheduler) if it has a UNet2DModel."
        )
    steps = call.get("num_inference_steps", 1)
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 1:
        raise InputError(f"num_inference_steps={steps!r}: give a whole number of steps, 1 or more.")
    if "prompt" in call and not isinstance(call["prompt"], str):
        raise InputError(f"The prompt is a {type(call['prompt']).__name__}: give one string, for one object.")
    for key, value in call.items():
        if key in OURS:
            raise InputError(f"Leave out {key}=: {OURS[key]}.")
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            raise InputError(
                f"{name} takes no {key}=: " + (f"did you mean {close[0]}=?" if close else "leave it out.")
            )
        if isinstance(value, Tensor) and key.endswith("embeds") and len(value) != 1:
            raise InputError(f"{key} has {len(value)} rows: give one, for one object.")
        if key in loop and value is not None and value != known[key].default:
            raise InputError(f"{key}= acts on the pipeline's own loop, which a walk does not run: use black_box.")
    for part, module in pipe.components.items():
        if isinstance(module, nn.Module) and module.training:
            raise InputError(f"pipe.{part} is in training mode: call pipe.{part}.eval().")
        if getattr(module, "is_cache_enabled", False):
            raise InputError(f"pipe.{part} remembers its previous step: call pipe.{part}.disable_cache().")


def described(pipe: Any, call: Mapping[str, Any]) -> str:
    """The pipeline, its scheduler and its arguments in words: what is long or binary as a digest."""
    config = repr(sorted((k, repr(v)) for k, v in pipe.scheduler.config.items()))
    scheduler = f"scheduler={type(pipe.scheduler).__name__} {_digest(config.encode())}"
    return ", ".join([type(pipe).__name__, *(f"{k}={_short(v)}" for k, v in call.items()), scheduler])


def _short(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, Tensor):
        data = value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
        return f"{kind}{tuple(value.shape)} {_digest(data)}"
    if callable(getattr(value, "tobytes", None)):  # arrays, and images of PIL
        return f"{kind}{getattr(value, 'shape', getattr(value, 'size', ''))} {_digest(value.tobytes())}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_short(v)}' for k, v in value.items())}}}"
    text = repr(value)
    if " at 0x" in text:
        return kind
    return text if len(text) <= 200 else f"{text[:100]}... {_digest(text.encode())}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
