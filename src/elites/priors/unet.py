"""Priors from a diffusers U-Net saved locally, unconditional or class-conditional."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..kernel import DDIM
from ..schedule import X0, Eps, Prediction, Table, V
from ..types import InputError
from .gaussian import GaussianPrior, check_device

__all__ = ["from_unet", "to_unit"]

PREDICTIONS: dict[str, Prediction] = {"epsilon": Eps(), "v_prediction": V(), "sample": X0()}


def to_unit(x0: Tensor) -> Tensor:
    """Images in [-1, 1] to images in [0, 1]."""
    return (x0 / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class _Call:
    """A U-Net as a function of (x, t), in its own precision, with one class label for all rows."""

    unet: Any
    label: int | None
    dtype: torch.dtype  # asking the network goes through all its weights

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        labels = None if self.label is None else torch.full((len(x),), self.label, device=x.device)
        out = self.unet(x.to(self.dtype), t, class_labels=labels, return_dict=False)[0]
        return out.to(x.dtype)


@dataclass(frozen=True, eq=False)
class _Spacing:
    """The times of a diffusers scheduler, from a private copy."""

    scheduler: Any
    known: dict[int, Tensor] = field(default_factory=dict)

    def __call__(self, steps: int) -> Tensor:
        if steps not in self.known:  # a walk asks at every step
            scheduler = copy.deepcopy(self.scheduler)
            scheduler.set_timesteps(steps)
            end = torch.tensor([-1.0], dtype=torch.float64)
            self.known[steps] = torch.cat([scheduler.timesteps.double().cpu(), end])
        return self.known[steps]


def from_unet(
    unet: Any,
    scheduler: Any = None,
    *,
    label: int | None = None,
    kernel: DDIM = DDIM(),  # noqa: B008 (frozen)
    decoder: Callable[[Tensor], Any] = to_unit,
    device: str | torch.device = "cpu",
    name: str = "",
) -> GaussianPrior:
    """A prior from a `UNet2DModel`, or from a local folder that holds one.

    Arguments:
        unet: the network, a folder saved by it, or a pipeline folder with `unet` and `scheduler` in it.
        scheduler: a diffusers scheduler of the DDPM kind, or a folder; by default the one of the pipeline folder.
        label: class of the objects, for a class-conditional network.
        kernel: `DDIM(eta)`.
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
    table, predicts, clip = _read(scheduler)
    _check_label(label, unet.config.num_class_embeds)
    if unet.config.out_channels != unet.config.in_channels:
        raise InputError("The network predicts its variance too: wrap it so that it returns the first half.")
    size = unet.config.sample_size
    if size is None:
        raise InputError("The network does not say its sample_size: set it in its config.")
    height, width = (size, size) if isinstance(size, int) else size
    return GaussianPrior(
        net=_Call(_frozen(unet, device), label, unet.dtype),
        shape=(unet.config.in_channels, height, width),
        schedule=table,
        predicts=predicts,
        kernel=kernel,
        clip=clip,
        decoder=decoder,
        device=device,
        name=name or f"UNet2DModel(label={label})",
    )


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise ImportError("This prior needs diffusers: pip install 'elites[diffusers]'.") from error
    return diffusers


def _load(folder: Path, scheduler: Any) -> tuple[Any, Any]:
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: give one saved by save_pretrained.")
    diffusers = _diffusers()
    inner = folder / "unet" if (folder / "unet").is_dir() else folder
    if not (inner / "config.json").is_file():
        raise InputError(f"{inner} has no config.json: give a folder saved by save_pretrained.")
    if scheduler is None and (folder / "scheduler").is_dir():
        scheduler = folder / "scheduler"
    unet = diffusers.UNet2DModel.from_pretrained(str(inner), use_safetensors=True, low_cpu_mem_usage=False)
    return unet, scheduler


def _scheduler(folder: Path) -> Any:
    """The noise levels in a folder, read as those of DDIM whatever the sampler."""
    file = folder / "scheduler_config.json"
    if not file.is_file():
        raise InputError(f"{folder} has no scheduler_config.json: give a folder saved by save_pretrained.")
    if "beta_schedule" not in json.loads(file.read_text()):
        raise InputError(f"{file} has no table of alphas: use GaussianPrior with the schedule of the network.")
    return _diffusers().DDIMScheduler.from_pretrained(str(folder))


def _read(scheduler: Any) -> tuple[Table, Prediction, float | None]:
    config = scheduler.config
    alphas = getattr(scheduler, "alphas_cumprod", None)
    predicts = PREDICTIONS.get(config.get("prediction_type", "epsilon"))
    kind = type(scheduler).__name__
    if alphas is None or predicts is None:
        raise InputError(f"{kind} has no table of alphas: use GaussianPrior with the schedule of the network.")
    times = _Spacing(scheduler)(min(10, len(alphas)))
    if scheduler.init_noise_sigma != 1 or (times.diff() >= 0).any() or not torch.equal(times, times.round()):
        raise InputError(f"{kind} is not of the DDPM kind: give DDIMScheduler.from_config(scheduler.config).")
    if config.get("thresholding", False):
        raise InputError(f"{kind} uses dynamic thresholding, which changes the law: turn it off.")
    if predicts == Eps() and float(alphas[-1]) == 0:
        raise InputError(f"{kind} has zero terminal SNR, where predicted noise says nothing: use v-prediction.")
    final = 1.0 if config.get("set_alpha_to_one", True) else float(alphas[0])
    clip = float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample", False) else None
    return Table(alphas.double().cpu(), final, _Spacing(scheduler)), predicts, clip


def _check_label(label: int | None, classes: int | None) -> None:
    if classes is None and label is not None:
        raise InputError("The network knows no classes: leave out label=.")
    if classes is not None and (label is None or not 0 <= label < classes):
        raise InputError(f"The network is class-conditional: give label= from 0 to {classes - 1}, not {label}.")


def _frozen(unet: nn.Module, device: torch.device) -> nn.Module:
    """Evaluation mode, no gradients of weights, and weights in memory of their own.

    safetensors maps weights at addresses that are not aligned, where CPU kernels take another path: without the copy,
    a saved and loaded network differs from the one in memory in the last bits.
    """
    unet = unet.to(device).eval().requires_grad_(False)
    for parameter in [*unet.parameters(), *unet.buffers()]:
        parameter.data = parameter.data.clone()
    return unet
