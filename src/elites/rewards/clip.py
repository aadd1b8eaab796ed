r"""Scores of images by CLIP, with gradients: similarity to a prompt, aesthetics, and PickScore.

    e(x) = f(normalise(resize(x))) / |f(...)|          embedding of an image by a CLIP network f
    CLIPScore = e(x) . e(text)
    PickScore = exp(logit scale) e(x) . e(text)        by a network tuned on preferences
    Aesthetic = w . e(x) + b                           by a linear head

Images are `(B, 3, H, W)` in [0, 1]. Resizing is on tensors, bicubic and antialiased, without clipping afterwards, so
gradients reach every pixel; published scorers resize bytes, so their numbers differ in the third digit or so. Nothing
is downloaded: models come from local folders in the format of transformers, or from any network, such as open_clip's.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..types import InputError

__all__ = ["Aesthetic", "CLIPScore", "ImageEncoder", "PickScore"]

Encoder = Callable[[Tensor], Tensor]
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP's training images


@dataclass(frozen=True, eq=False)
class ImageEncoder:
    """Embeddings `(B, D)`, not normalised, of images `(B, 3, H, W)` in [0, 1]: what a CLIP network needs around it.

    The shorter side is resized to `size`, the centre is cut out, and the mean is subtracted and divided by the
    deviation. With open_clip: `ImageEncoder(model.encode_image)`. It is also a `features` for distances and sets.

    Arguments:
        net: pixels `(B, 3, size, size)`, normalised, to embeddings `(B, D)`.
        size: of the network's images, in pixels.
        mean, std: of each channel.
        dtype: that the network computes in.

    Raises:
        InputError: if the size is not positive, or the images have another shape.
    """

    net: Encoder = field(repr=False)
    size: int = 224
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"ImageEncoder(size={self.size}): give a positive number of pixels.")

    def __call__(self, images: Any) -> Tensor:
        x = torch.as_tensor(images)
        if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point():
            raise InputError(f"The images are {x.dtype} of shape {tuple(x.shape)}: give (B, 3, H, W) in [0, 1].")
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        short = min(x.shape[2:])
        if short != self.size:
            sides = [int(self.size * side / short) for side in x.shape[2:]]
            x = F.interpolate(x, sides, mode="bicubic", antialias=True)
        top, left = ((side - self.size) // 2 for side in x.shape[2:])
        x = x[:, :, top : top + self.size, left : left + self.size]
        mean, std = (x.new_tensor(v).reshape(3, 1, 1) for v in (self.mean, self.std))
        return self.net(((x - mean) / std).to(self.dtype))


def _unit(embedding: Tensor) -> Tensor:
    """Along the last axis, in float32 at least."""
    return F.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)), dim=-1)


def _cosine(encode: Encoder, text: Tensor, images: Any) -> Tensor:
    embedding = _unit(encode(images))
    if embedding.ndim != 2 or embedding.shape[1] != len(text):
        raise InputError(f"Images embed to {tuple(embedding.shape)} and the text to ({len(text)},): use one model.")
    return embedding @ _unit(text).to(embedding)


def _check_text(text: Tensor) -> None:
    if text.ndim != 1:
        raise InputError(f"The embedding of the text has shape {tuple(text.shape)}: give that of one prompt, (D,).")


@dataclass(frozen=True, eq=False)
class CLIPScore:
    """Cosine of the embeddings of an image and of a prompt, in [-1, 1]; 0.2 to 0.35 for what fits.

    With open_clip, whose weights may be local files:

        text = model.encode_text(tokenizer(["a red fox"]))[0].detach()
        CLIPScore(ImageEncoder(model.encode_image), text)

    Gradients find images that only the network likes: watch another score beside it.

    Arguments:
        encode: images `(B, 3, H, W)` in [0, 1] to embeddings `(B, D)`, such as an `ImageEncoder`.
        text: embedding `(D,)` of the prompt, of any length.

    Raises:
        InputError: if the text is not one embedding, or has another width than the images.

    References:
        CLIPScore: A Reference-free Evaluation Metric for Image Captioning (Hessel et al., 2021), arXiv:2104.08718.
        Learning Transferable Visual Models From Natural Language Supervision (Radford et al., 2021), arXiv:2103.00020.

    Differences:
        Neither clipped at 0, where it would have no gradient, nor multiplied by 2.5.
    """

    encode: Encoder = field(repr=False)
    text: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        _check_text(self.text)

    @classmethod
    def load(cls, folder: str | Path, prompt: str, device: str | torch.device = "cpu") -> CLIPScore:
        """From a local folder in the format of transformers: a `CLIPModel` in safetensors, and its tokenizer.

        Arguments:
            folder: that holds the model.
            prompt: cut after the tokens that the model takes, 77 for the published ones.
            device: of the network.

        Raises:
            ImportError: without the extra `clip`.
            InputError: if the folder does not hold such a model.
        """
        model, read = _load(folder, device)
        return cls(_encoder(model, Path(folder)), read(prompt))

    def __call__(self, images: Any) -> Tensor:
        """Rewards `(B,)` of images `(B, 3, H, W)` in [0, 1]."""
        return _cosine(self.encode, self.text, images)


@dataclass(frozen=True, eq=False)
class PickScore:
    """What people prefer among images of a prompt: scale times the cosine of a CLIP network tuned on such choices.

    With the published weights (yuvalkirstain/PickScore_v1, CLIP-H) most are 18 to 24, and the difference of two is the
    log-odds that people prefer the first.

    Arguments:
        encode: images `(B, 3, H, W)` in [0, 1] to embeddings `(B, D)`, such as an `ImageEncoder`.
        text: embedding `(D,)` of the prompt, of any length.
        scale: exp of the network's logit scale.

    Raises:
        InputError: if the text is not one embedding, or has another width than the images.

    References:
        Pick-a-Pic: An Open Dataset of User Preferences for Text-to-Image Generation (Kirstain et al., 2023),
        arXiv:2305.01569.
    """

    encode: Encoder = field(repr=False)
    text: Tensor = field(repr=False)
    scale: float = 100.0

    def __post_init__(self) -> None:
        _check_text(self.text)

    @classmethod
    def load(cls, folder: str | Path, prompt: str, device: str | torch.device = "cpu") -> PickScore:
        """As `CLIPScore.load`; the tokenizer is that of laion/CLIP-ViT-H-14-laion2B-s32B-b79K, in the same folder."""
        model, read = _load(folder, device)
        return cls(_encoder(model, Path(folder)), read(prompt), float(model.logit_scale.exp()))

    def __call__(self, images: Any) -> Tensor:
        """Rewards `(B,)` of images `(B, 3, H, W)` in [0, 1]."""
        return self.scale * _cosine(self.encode, self.text, images)


LAYERS = (0, 2, 4, 6, 7)  # places of the linear layers in the published head, which has dropouts between them


@dataclass(frozen=True, eq=False)
class Aesthetic:
    """How much people like an image, 1 to 10, by a linear head on the normalised embedding (LAION's predictor, v2).

    Arguments:
        encode: images `(B, 3, H, W)` in [0, 1] to embeddings `(B, 768)` of CLIP ViT-L/14, such as an `ImageEncoder`.
        layers: weight `(out, in)` and bias `(out,)` of each layer in order; the last has one output. There is nothing
            between them, so they are one affine map.

    Raises:
        InputError: if the layers do not follow one another from the width of the embedding to one number.

    References:
        LAION-5B: An open large-scale dataset for training next generation image-text models (Schuhmann et al., 2022),
        arXiv:2210.08402.
        Implementation of the original: christophschuhmann/improved-aesthetic-predictor, Apache-2.0.
    """

    encode: Encoder = field(repr=False)
    layers: Sequence[tuple[Tensor, Tensor]] = field(repr=False)

    def __post_init__(self) -> None:
        shapes = [tuple(weight.shape) for weight, _ in self.layers]
        plain = all(weight.ndim == 2 and bias.shape == weight.shape[:1] for weight, bias in self.layers)
        if not shapes or not plain or [s[0] for s in shapes] != [*(s[1] for s in shapes[1:]), 1]:
            raise InputError(f"The layers have shapes {shapes}: give a chain that ends in one number.")

    @classmethod
    def load(cls, folder: str | Path, weights: str | Path, device: str | torch.device = "cpu") -> Aesthetic:
        """From local files.

        Arguments:
            folder: CLIP ViT-L/14 in the format of transformers, as for `CLIPScore.load`.
            weights: the head in safetensors, under its published names `layers.0.weight` to `layers.7.bias`; of the
                published file: `save_file(torch.load("sac+logos+ava1-l14-linearMSE.pth", weights_only=True), path)`.
            device: of the network.

        Raises:
            ImportError: without the extra `clip`.
            InputError: if there are no such files.
        """
        from safetensors.torch import load_file

        if not Path(weights).is_file():
            raise InputError(f"There is no file {str(weights)!r}: give the weights of the head in safetensors.")
        head = load_file(str(weights), device=str(device))
        names = {f"layers.{i}.{part}" for i in LAYERS for part in ("weight", "bias")}
        if set(head) != names:
            raise InputError(f"The weights {str(weights)!r} have other names than layers.0.weight to layers.7.bias.")
        layers = [(head[f"layers.{i}.weight"].float(), head[f"layers.{i}.bias"].float()) for i in LAYERS]
        model, _ = _load(folder, device)
        if layers[0][0].shape[1] != model.config.projection_dim:
            width, wanted = model.config.projection_dim, layers[0][0].shape[1]
            raise InputError(f"The embedding has {width} numbers and the head takes {wanted}: use CLIP ViT-L/14.")
        return cls(_encoder(model, Path(folder)), layers)

    def __call__(self, images: Any) -> Tensor:
        """Rewards `(B,)` of images `(B, 3, H, W)` in [0, 1]."""
        x = _unit(self.encode(images))
        if x.ndim != 2 or x.shape[1] != self.layers[0][0].shape[1]:
            wanted = self.layers[0][0].shape[1]
            raise InputError(f"Images embed to {tuple(x.shape)} and the head takes {wanted} numbers: use one model.")
        for weight, bias in self.layers:
            x = F.linear(x, weight.to(x), bias.to(x))
        return x[:, 0]


def _load(folder: str | Path, device: str | torch.device) -> tuple[Any, Callable[[str], Tensor]]:
    """A CLIP model from a local folder, in float32, and what embeds a prompt."""
    try:
        from transformers import AutoTokenizer, CLIPModel
    except ImportError as error:
        raise ImportError("CLIP scores need transformers: pip install 'elites[clip]'.") from error
    if not Path(folder).is_dir():
        raise InputError(f"There is no folder {str(folder)!r}: give one that holds a CLIP model of transformers.")
    try:
        loaded: Any = CLIPModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n", 1)[0]
        raise InputError(f"{str(folder)!r} needs a CLIP model in safetensors and its tokenizer: {reason}") from error
    if loaded[1]["missing_keys"]:
        raise InputError(f"{str(folder)!r} lacks weights of a CLIP model, such as {min(loaded[1]['missing_keys'])}.")
    model = loaded[0].to(device).requires_grad_(False)  # and in eval mode, as loaded

    def read(prompt: str) -> Tensor:
        length = model.config.text_config.max_position_embeddings
        tokens = tokenizer([prompt], truncation=True, max_length=length, return_tensors="pt").to(device)
        with torch.no_grad():
            text = model.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
            return model.text_projection(text.pooler_output)[0]

    return model, read


def _encoder(model: Any, folder: Path) -> ImageEncoder:
    """Of the half of a model that sees, with the mean and deviation in its folder."""
    file = folder / "preprocessor_config.json"
    config = json.loads(file.read_text()) if file.is_file() else {}
    net = functools.partial(_embed, model.vision_model, model.visual_projection)
    mean, std = tuple(config.get("image_mean", MEAN)), tuple(config.get("image_std", STD))
    return ImageEncoder(net, model.config.vision_config.image_size, mean, std)


def _embed(vision: Any, projection: Any, pixels: Tensor) -> Tensor:
    return projection(vision(pixel_values=pixels.to(projection.weight.device)).pooler_output)
