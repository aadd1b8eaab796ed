"""Priors from a diffusers U-Net saved locally, unconditional or class-conditional."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..kernel import DDIM, Renoise
from ..schedule import Table
from ..types import InputError
from .folder import diffusers, own_memory
from .gaussian import GaussianPrior, check_device
from .network import Tunable
from .schedulers import USE_FLOW, Levels, network_time, read

__all__ = ["from_unet", "to_unit"]


def to_unit(x0: Tensor) -> Tensor:
    """Images in [-1, 1] to images in [0, 1]."""
    return (x0 / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class _Call:
    """A U-Net as a function of (x, t), in its own precision, with one class label for all rows."""

    unet: Any
    label: int | None
    dtype: torch.dtype  # asking the network goes through all its weights
    levels: Levels  # what it is told at a time

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        labels = None if self.label is None else torch.full((len(x),), self.label, device=x.device)
        t = network_time(self.levels, t, t.dtype)
        out = self.unet(x.to(self.dtype), t, class_labels=labels, return_dict=False)[0]
        return out.to(x.dtype)


def from_unet(
    unet: Any,
    scheduler: Any = None,
    *,
    label: int | None = None,
    kernel: DDIM | Renoise | None = None,
    decoder: Callable[[Tensor], Any] = to_unit,
    device: str | torch.device = "cpu",
    name: str = "",
) -> GaussianPrior:
    """A prior from a `UNet2DModel`, or from a local folder that holds one.

    Arguments:
        unet: the network, a folder saved by it, or a pipeline folder with `unet` and `scheduler` in it.
        scheduler: a diffusers scheduler with a table of alphas, or a folder, which is read as one of DDIM whatever the
            sampler; by default the one of the pipeline folder.
        label: class of the objects, for a class-conditional network.
        kernel: `DDIM(eta)`; by default `Renoise()` where the scheduler re-noises (LCM), else `DDIM()`.
        decoder: clean latents to objects; by default images from [-1, 1] to [0, 1].
        device: where to put the network.
        name: how the prior is written in a run.

    The network is moved, frozen and put into evaluation mode in place.

    Raises:
        InputError: if a folder or label is missing or wrong, or the scheduler is of another kind.
        ImportError: if diffusers is not installed.

    Differences:
        Where the scheduler clips the clean guess, the noise is computed anew from the clipped guess
        (`use_clipped_model_output` of diffusers' DDIM).
    """
    device = check_device(device)
    if isinstance(unet, str | Path):
        unet, scheduler = _load(Path(unet), scheduler)
    if scheduler is None:
        raise InputError("The noise levels are unknown: give the scheduler that the network was trained with.")
    if isinstance(scheduler, str | Path):
        scheduler = _scheduler(Path(scheduler))
    levels = read(scheduler)
    if not isinstance(levels.schedule, Table):
        raise InputError(f"{type(scheduler).__name__} has no table of alphas: {USE_FLOW}.")
    _check_label(label, unet.config.num_class_embeds)
    if unet.config.out_channels != unet.config.in_channels:
        raise InputError("The network predicts its variance too: wrap it so that it returns the first half.")
    size = unet.config.sample_size
    if size is None:
        raise InputError("The network does not say its sample_size: set it in its config.")
    height, width = (size, size) if isinstance(size, int) else size
    return GaussianPrior(
        net=Tunable(
            _Call(own_memory(unet.to(device).eval().requires_grad_(False)), label, unet.dtype, levels),
            unet,
            partial(_save, scheduler=scheduler),
        ),
        shape=(unet.config.in_channels, height, width),
        schedule=levels.schedule,
        predicts=levels.predicts,
        kernel=kernel or levels.kernel,
        clip=levels.clip,
        decoder=decoder,
        device=device,
        name=name or f"UNet2DModel(label={label})",
    )


def _load(folder: Path, scheduler: Any) -> tuple[Any, Any]:
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: give one saved by save_pretrained.")
    library = diffusers()
    inner = folder / "unet" if (folder / "unet").is_dir() else folder
    if not (inner / "config.json").is_file():
        raise InputError(f"{inner} has no config.json: give a folder saved by save_pretrained.")
    if scheduler is None and (folder / "scheduler").is_dir():
        scheduler = folder / "scheduler"
    unet = library.UNet2DModel.from_pretrained(str(inner), use_safetensors=True, low_cpu_mem_usage=False)
    return unet, scheduler


def _save(unet: Any, folder: Path, scheduler: Any) -> None:
    """A folder that `from_unet` opens."""
    unet.save_pretrained(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")


def _scheduler(folder: Path) -> Any:
    """The noise levels in a folder, read as those of DDIM whatever the sampler."""
    file = folder / "scheduler_config.json"
    if not file.is_file():
        raise InputError(f"{folder} has no scheduler_config.json: give a folder saved by save_pretrained.")
    if "beta_schedule" not in json.loads(file.read_text()):
        raise InputError(f"{file} has no table of alphas: use GaussianPrior with the schedule of the network.")
    return diffusers().DDIMScheduler.from_pretrained(str(folder))


def _check_label(label: int | None, classes: int | None) -> None:
    if classes is None and label is not None:
        raise InputError("The network knows no classes: leave out label=.")
    if classes is not None and (label is None or not 0 <= label < classes):
        raise InputError(f"The network is class-conditional: give label= from 0 to {classes - 1}, not {label}.")
