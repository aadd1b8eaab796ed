"""Search the noise of a diffusers pipeline for any score, without gradients: here, pictures that compress badly.

    PIPELINE=path/to/folder elites run examples/diffusers_black_box.py --nfe 20000

The folder is one saved by `pipe.save_pretrained`, with weights as safetensors. Change the prompt, the reward and the
judge; the rest stays.
"""

import io
import os

import torch
from PIL import Image

import elites as el

PIPELINE = os.environ.get("PIPELINE", "path/to/folder")
PROMPT = os.environ.get("PROMPT", "a lighthouse at dusk")
STEPS = int(os.environ.get("STEPS", "10"))  # search with few steps, render the finalists with more

device = "cuda" if torch.cuda.is_available() else "cpu"
pipe = el.priors.load_pipeline(PIPELINE, dtype=torch.float16 if device == "cuda" else torch.float32, device=device)
prior = el.priors.Diffusers.from_prompt(pipe, PROMPT, guidance_scale=5.0)


def size(image, kind):
    """Bytes per pixel of a picture `(3, H, W)` in [0, 1]."""
    pixels = (image.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.tell() / pixels[..., 0].size


@el.per_sample
def detail(image):
    return size(image, "jpeg")


@el.per_sample
def judge(image):
    """Another compressor, which the search never sees."""
    return size(image, "png")


target = el.Target(prior, detail, walk=el.Plain(steps=STEPS), batch=4)
method = el.Elites()
final = el.Final(el.Plain(steps=3 * STEPS), top=4)
budget = el.Budget(nfe=20_000)
