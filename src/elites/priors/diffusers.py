"""Any diffusers pipeline as a prior: `Diffusers.from_prompt(pipe, "a lighthouse at dusk", guidance_scale=5.0)`.

Image or video, U-Net or transformer, epsilon, v or flow: the pipeline's own call evaluates the network at one noise
level (see `opened.py`), its scheduler is read as a schedule (`schedulers.py`), and so every method of the library
applies. Nothing here knows an architecture.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..kernel import DDIM, Renoise
from ..schedule import Table
from ..stream import Id, Stream
from ..types import InputError
from . import schedulers
from .arguments import check_call, described
from .folder import load_pipeline
from .gaussian import GaussianPrior
from .network import Tunable
from .onestep import OneStep
from .opened import Opened

__all__ = ["Diffusers", "black_box"]

NETWORKS = ("transformer", "unet")
STEPS = 20  # of the call that is looked at; the shape does not depend on it


@dataclass(frozen=True, eq=False)
class Diffusers:
    """A prior over the objects of a diffusers pipeline, every noise level open to the method.

    Noise, steps and clean guesses are float32 whatever the precision of the network. The latent `shape` is the one of
    the pipeline's loop, packed where the pipeline packs (Flux: tokens by channels). The pipeline is not changed, and
    prompts are encoded once. To be sure of a pipeline that the documentation does not list, call `check`.

    Arguments:
        pipe: the pipeline, or a local folder saved by `save_pretrained`.
        call: arguments of the pipeline's call for one object: `prompt`, `guidance_scale`, `height` and so on.
            `num_inference_steps`, if given, fixes the number of steps; `image` and `strength` start from an image.
        kernel: the transition. By default `Renoise()` where the scheduler re-noises (LCM), else `DDIM()`.

    Attributes:
        shape: of one latent.
        schedule: time to (alpha, sigma); times are the network's timesteps, or sigma for flows.
        device: where the network is.
        dtype: of the network's latents.
        cost: network evaluations per object: 2 with classifier-free guidance.

    Raises:
        InputError: if the pipeline cannot be opened, its scheduler is no schedule of ours, or an argument is wrong.
        ImportError: if diffusers is not installed and a folder is given.

    Differences:
        Where the scheduler's steps are of higher order, or noisy, the walk is first order on the same noise levels,
        and deterministic unless the kernel says otherwise.
    """

    pipe: Any = field(repr=False)
    call: Mapping[str, Any]
    kernel: DDIM | Renoise | None = None
    _opened: Opened = field(init=False, repr=False)
    _levels: schedulers.Levels = field(init=False, repr=False)
    _inner: GaussianPrior = field(init=False, repr=False)
    _grids: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        pipe = load_pipeline(self.pipe) if isinstance(self.pipe, str | Path) else self.pipe
        object.__setattr__(self, "call", dict(self.call))
        check_call(pipe, self.call)
        levels = schedulers.read(pipe.scheduler)
        opened = Opened(pipe, self.call, self.call.get("num_inference_steps", STEPS))
        if opened.blends:
            raise InputError(
                f"{opened.name} puts the image back under the mask between its steps, because its network does not "
                "see the mask: use an inpainting network, or black_box."
            )
        if isinstance(levels.schedule, Table) and any(self.call.get(k) is not None for k in ("timesteps", "sigmas")):
            levels = replace(levels, scale=schedulers.initial_scale(opened.start.scheduler))
        kernel = self.kernel or levels.kernel
        inner = GaussianPrior(
            net=Tunable(self._predict, getattr(pipe, _name(pipe)), self._save) if _name(pipe) else self._predict,
            shape=tuple(opened.start.latents.shape[1:]),
            schedule=levels.schedule,
            predicts=levels.predicts,
            kernel=kernel,
            clip=levels.clip,
            decoder=opened.decode,
            device=opened.device,
            cost=opened.cost,
        )
        for name, value in {"pipe": pipe, "kernel": kernel, "_opened": opened, "_levels": levels}.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_inner", inner)
        if opened.start.noised and "num_inference_steps" not in self.call:
            raise InputError("A walk from an image starts in the middle of the steps: give num_inference_steps=.")

    @classmethod
    def from_prompt(cls, pipe: Any, prompt: str, *, kernel: DDIM | Renoise | None = None, **call: Any) -> Diffusers:
        """The prior of a prompt; `call` are further arguments of the pipeline's call."""
        return cls(pipe, {"prompt": prompt, **call}, kernel)

    def __repr__(self) -> str:
        return f"Diffusers({described(self.pipe, self.call)}, kernel={self.kernel})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one latent."""
        return self._inner.shape

    @property
    def schedule(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Time to (alpha, sigma)."""
        return self._inner.schedule

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._opened.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network's latents."""
        return self._opened.dtype

    @property
    def cost(self) -> int:
        """Network evaluations per object of one `denoise`."""
        return self._inner.cost

    @property
    def noisy(self) -> bool:
        """Whether the kernel draws noise."""
        return self._inner.noisy

    def noise(self, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Standard normal noise of the candidates."""
        return self._inner.noise(stream, ids)

    def grid(self, steps: int) -> Tensor:
        """The times of the pipeline's own loop, and the clean end."""
        steps = self.call.get("num_inference_steps", steps)
        if steps not in self._grids:
            start = self._opened.timesteps(steps)
            self._grids[steps] = schedulers.times(start.scheduler, start.timesteps)
        return self._grids[steps]

    def start(self, z: Tensor) -> Tensor:
        """What the pipeline's loop starts from, for unit noise z."""
        z, start = z.to(self.device), self._opened.start
        if not start.noised:
            return self._levels.scale * z
        alpha, sigma = self.schedule(self.grid(STEPS)[0])
        return alpha * start.latents.to(z) + sigma * z

    def denoise(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """E[x0 | x] from the pipeline's own, guided, prediction."""
        return self._inner.denoise(x, t, z)

    def move(self, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """a x + b x0 + c z."""
        return self._inner.move(x, x0, t, s, z)

    def decode(self, x0: Tensor) -> Any:
        """Images `(B, 3, H, W)` or videos `(B, F, 3, H, W)` in [0, 1], as the pipeline makes them of its latents."""
        return self._inner.decode(x0)

    def check(self, steps: int = 3) -> float:
        """How far the objects of walks are from those of the pipeline's own call with the same transitions.

        Two walks in one batch are compared with two calls, each on its own, that loop, prepare and decode as the
        pipeline does; the answer is relative to the size of the objects. A pipeline that the documentation does not
        list may do something between its steps, or let guidance depend on the step's number. Then this is not of the
        order of rounding (1e-5; 1e-2 in half precision), and `black_box` is to be used. Costs the network evaluations
        of four walks of `steps` steps.
        """
        times = self.grid(steps)
        network = torch.stack([self._network_time(t) for t in times[:-1]])

        def alone(x: Tensor) -> Tensor:
            left = iter(pairwise(times))

            def answer(prediction: Tensor, latents: Tensor) -> Tensor:
                (t, s), x = next(left), latents.float()
                return self.move(x, self._inner.clean(prediction.float(), x, t), t, s).to(latents.dtype)

            return torch.as_tensor(self._opened.loop(x, network, answer))

        with torch.no_grad():
            x = self.start(self.noise(Stream(0), range(2)))
            theirs = torch.cat([alone(x[:1]), alone(x[1:])]).float()
            for t, s in pairwise(times):
                x = self.move(x, self.denoise(x, t), t, s)
            ours = torch.as_tensor(self.decode(x)).float()
        return float((ours - theirs).norm() / theirs.norm())

    def weights(self) -> dict[str, Tensor]:
        """The weights of the pipeline's transformer or U-Net that are trained, by name."""
        return self._inner.weights()

    def with_weights(self, weights: Mapping[str, Tensor]) -> Diffusers:
        """The same prior with other weights in its network; the pipeline itself, and `check`, stay as they are."""
        other = copy.copy(self)
        object.__setattr__(other, "_inner", self._inner.with_weights(weights))
        return other

    def module(self) -> nn.Module:
        """The transformer or U-Net of the pipeline."""
        return self._inner.module()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the pipeline with these weights, in the format of diffusers."""
        self._inner.save_pretrained(folder)

    def _save(self, module: nn.Module, folder: Path) -> None:
        pipe = copy.copy(self.pipe)
        setattr(pipe, _name(pipe), module)
        pipe.save_pretrained(folder)

    def _network_time(self, t: Tensor) -> Tensor:
        return schedulers.network_time(self._levels, t, self._opened.start.timesteps.dtype)

    def _predict(self, x: Tensor, t: Tensor) -> Tensor:
        return self._opened.predict(x, self._network_time(t[0])).to(x.dtype)


def _name(pipe: Any) -> str:
    """The component that is the network; empty if it has another name than usual."""
    return next((name for name in NETWORKS if isinstance(getattr(pipe, name, None), nn.Module)), "")


def black_box(pipe: Any, prompt: str, *, num_inference_steps: int, **call: Any) -> OneStep:
    """A whole pipeline as one step from its initial noise to its objects, with its own scheduler.

    For schedulers and arguments that `Diffusers` refuses, and for who wants exactly the pipeline's own samples: the
    walk has one step, so nothing along it can be steered, and methods search over the initial noise. Noise that the
    scheduler draws on its way is the same for all candidates; the global generators are set for it and set back, so
    it is not for several threads.

    Arguments:
        pipe: the pipeline, or a local folder saved by `save_pretrained`.
        prompt: what the objects are.
        num_inference_steps: of the pipeline's loop.
        call: further arguments of the pipeline's call.

    Raises:
        InputError: if the pipeline takes no latents, or does not accept an argument.
        ImportError: if diffusers is not installed and a folder is given.
    """
    pipe = load_pipeline(pipe) if isinstance(pipe, str | Path) else pipe
    call = {"prompt": prompt, "num_inference_steps": num_inference_steps, **call}
    check_call(pipe, call, ())
    if "latents" not in inspect.signature(type(pipe).__call__).parameters:
        raise InputError(f"{type(pipe).__name__} takes no latents: use OneStep with a function of your own.")
    opened = Opened(pipe, call, num_inference_steps)
    return OneStep(
        f=opened.sample,
        shape=tuple(opened.start.latents.shape[1:]),
        decoder=opened.decode,
        device=opened.device,
        cost=opened.cost * len(opened.start.timesteps),
        name=f"black_box({described(pipe, call)})",
    )
