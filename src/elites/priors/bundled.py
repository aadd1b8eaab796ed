"""Pretrained priors that come with the library."""

from __future__ import annotations

from importlib.resources import files

import torch

from ..kernel import DDIM
from .gaussian import CFG, GaussianPrior
from .unet import from_unet

__all__ = ["digits"]

NO_CLASS = 10


def digits(
    label: int | None = None,
    *,
    guidance: float = 1.0,
    kernel: DDIM = DDIM(),  # noqa: B008 (frozen)
    device: str | torch.device = "cpu",
) -> GaussianPrior | CFG:
    """Handwritten digits of 8x8 pixels from a U-Net of 0.4 M parameters; needs the diffusers extra.

    Arguments:
        label: 0 to 9 for one digit, `None` for any.
        guidance: scale of classifier-free guidance toward the label; 1 is none.
        kernel: `DDIM(eta)`.
        device: where to put the network.

    Objects are images `(B, 1, 8, 8)` in [0, 1]. `training/digits.py` made it, and its card is in the folder.
    """

    def load(which: int, name: str) -> GaussianPrior:
        folder = str(files("elites") / "data" / "digits")
        return from_unet(folder, label=which, kernel=kernel, device=device, name=name)

    prior = load(NO_CLASS if label is None else label, f"digits(label={label})")
    return prior if guidance == 1 or label is None else CFG(prior, load(NO_CLASS, "digits(label=None)"), guidance)
