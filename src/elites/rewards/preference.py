"""What people prefer, by models whose packages are installed apart: ImageReward and HPS v2.

These packages pin old versions of others, so the library names no version of them and imports them only here. Where
they cannot be installed beside it, run them in another environment, as a reward over HTTP or as a command. Both
score Pillow images, so there is no gradient; `CLIPScore` and `PickScore` have one.
"""

from __future__ import annotations

import functools
import importlib
import threading
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from .basic import per_sample
from .images import picture, pixels

__all__ = ["HPS", "ImageReward"]

_LOADING = threading.Lock()  # one model at a time, and each once


def _package(module: str, package: str) -> Any:
    try:
        with warnings.catch_warnings():  # hpsv2 changes the filters
            return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{package} cannot be imported ({error}): pip install {package}, or, as it pins old versions, run it in "
            "another environment as a reward over HTTP or as a command."
        ) from error


@dataclass(frozen=True)
class ImageReward:
    """ImageReward of images for a prompt: standardised, so 0 is the mean of its data and 1 a deviation; -2.3 to 2.

    The package standardises, (raw - 0.167) / 1.033, and the number is passed on as it is. Images are `(B, C, H, W)` in
    [0, 1], and are scored one by one, so a failure is one image's. The weights are loaded at the first call, once in
    a process. The package downloads them unless `name` and `med_config` are files, and a tokenizer in any case.

    Arguments:
        prompt: cut by the package after 35 tokens.
        name: of the model, or the path of its checkpoint, which the package opens with pickle: trust its source.
        med_config: path of the configuration of its text encoder.
        device: of the model; by default the package chooses.

    Raises:
        ImportError: without the package `image-reward`, or if it does not go with what is installed.
        InputError: if the images have another shape.

    References:
        ImageReward: Learning and Evaluating Human Preferences for Text-to-Image Generation (Xu et al., 2023),
        arXiv:2304.05977.
    """

    prompt: str
    name: str = "ImageReward-v1.0"
    med_config: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        _package("ImageReward", "image-reward")

    def __call__(self, images: Any) -> list[Any]:
        """A number, or why it failed, for each image."""
        images = pixels(images)
        with _LOADING:
            model = _image_reward(self.name, self.med_config, self.device)
        with torch.no_grad():
            return per_sample(lambda image: float(model.score(self.prompt, picture(image).convert("RGB"))))(images)


@functools.cache
def _image_reward(name: str, med_config: str | None, device: str | None) -> Any:
    options = {"med_config": med_config, "device": device}
    return _package("ImageReward", "image-reward").load(name, **{k: v for k, v in options.items() if v is not None})


@dataclass(frozen=True)
class HPS:
    """Human Preference Score v2 of images for a prompt: a cosine, 0.2 to 0.35, in float32.

    `hpsv2.score` opens its checkpoint of gigabytes at every call. Here it is called once in a process for each
    version, on a grey image, and the model that it loads is kept. Images are `(B, C, H, W)` in [0, 1].

    Arguments:
        prompt: cut by the package after 77 tokens.
        version: of the weights, "v2.0" or "v2.1"; numbers of the two are not to be compared.
        checkpoint: path of the weights, which the package opens with pickle: trust its source; by default it
            downloads them, and in any case those of the CLIP ViT-H/14 that they replace.

    Raises:
        ImportError: without the package `hpsv2`, or if it does not go with what is installed.
        InputError: if the images have another shape.

    References:
        Human Preference Score v2: A Solid Benchmark for Evaluating Human Preferences of Text-to-Image Synthesis
        (Wu et al., 2023), arXiv:2306.09341.

    Differences:
        On a GPU the package computes in half precision, which rounds its scores to three digits or so.
    """

    prompt: str
    version: str = "v2.1"
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        _package("hpsv2.img_score", "hpsv2")

    def __call__(self, images: Any) -> list[Any]:
        """A number, or why it failed, for each image."""
        images = pixels(images)
        with _LOADING:
            model, view, tokens = _hps(self.version, self.checkpoint)
        device = next(model.parameters()).device
        words = tokens([self.prompt]).to(device)

        def score(image: torch.Tensor) -> float:
            out = model(view(picture(image).convert("RGB"))[None].to(device), words)
            return float((out["image_features"] * out["text_features"]).sum())

        with torch.no_grad():
            return per_sample(score)(images)


@functools.cache
def _hps(version: str, checkpoint: str | None) -> tuple[Any, Any, Any]:
    """The model, what turns a Pillow image into its pixels, and its tokenizer."""
    from PIL import Image

    module = _package("hpsv2.img_score", "hpsv2")
    module.score(Image.new("RGB", (224, 224), "grey"), "", cp=checkpoint, hps_version=version)
    model, view = module.model_dict["model"], module.model_dict["preprocess_val"]
    module.model_dict.clear()  # or the package would load other versions into it
    return model, view, module.get_tokenizer("ViT-H-14")
