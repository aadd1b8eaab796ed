r"""A diffusers scheduler, read as a schedule of ours.

A scheduler is three things at once: the noise levels a network was trained on, the levels a walk visits, and a solver.
The first two are read here; the third is our kernel. Two families are told apart by what a scheduler has, not by its
name:

- tables (`alphas_cumprod`): alpha^2 + sigma^2 = 1. Times are the indices of the table, also between them, and -1 is
  the clean end. Some (Euler, Heun, LMS) carry x / alpha instead of x; their `sigmas` are sigma / alpha.
- flows (`use_flow_sigmas`, or `scale_noise` without a table): alpha = 1 - sigma and times are sigma.

What the network is told is a clock of our time (`clocks.py`). Everything read is compared with the scheduler's own
numbers, and a scheduler that says anything else is refused.

References:
    Denoising Diffusion Probabilistic Models (Ho, Jain and Abbeel, 2020), arXiv:2006.11239.
    Elucidating the Design Space of Diffusion-Based Generative Models (Karras, Aittala, Aila and Laine, 2022),
    arXiv:2206.00364.
    Scaling Rectified Flow Transformers for High-Resolution Image Synthesis (Esser et al., 2024), arXiv:2403.03206.

Differences:
    DDIM and PNDM of diffusers step by T // steps, whatever their next time: with `linspace`, and with `trailing` when
    the steps do not divide T, their x is then at another level than the one the network is told, and a little noise is
    left at the end. Here every step ends where the next one starts.
    A time in float32 can tell the network one level too many at the steep end of `squaredcos_cap_v2`, where DPM-Solver
    truncates it. With `final_sigmas_type="sigma_min"` those that carry x / alpha end with x / alpha, and ours with x.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..kernel import DDIM, Renoise
from ..schedule import X0, Eps, Flow, Prediction, Schedule, Table, V, Velocity
from ..types import InputError
from .clocks import Clock, Even, Scaled, between, nudged, ratio, rounded, same, truncated

__all__ = ["Consistency", "Levels", "initial_scale", "network_time", "read", "times"]

PREDICTIONS: dict[str, Prediction] = {"epsilon": Eps(), "v_prediction": V(), "sample": X0()}
PROBE = 30  # steps of the private copy: enough levels between those of the table to tell how times are rounded
OTHERS = {"original_image", "r_timestep"}  # arguments of `step` that belong to walks of another kind
USE_DDIM = "give DDIMScheduler.from_config(scheduler.config)"
USE_FLOW = "use GaussianPrior with predicts=Velocity() and schedule=Flow()"


@dataclass(frozen=True)
class Consistency:
    """The guess of a latent consistency model: c_skip x + c_out X0, which is x itself at t = 0.

    c_skip = s^2 / (u^2 + s^2) and c_out = u / sqrt(u^2 + s^2), with u = scaling t and s = 0.5, the scale of the data.

    Arguments:
        inner: what the network predicts.
        scaling: of the time.
        clip: clamp X0 at +- clip, or `None`; `of` knows nothing of it.

    References:
        Latent Consistency Models: Synthesizing High-Resolution Images with Few-Step Inference (Luo, Tan, Huang, Li and
        Zhao, 2023), arXiv:2310.04378.
    """

    inner: Prediction
    scaling: float = 10.0
    clip: float | None = None

    def _weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        u, s2 = self.scaling * t.double(), 0.25
        return s2 / (u**2 + s2), u / (u**2 + s2).sqrt()

    def x0(self, y: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        """The guess from the network's prediction y at (x, t)."""
        (skip, out), x0 = self._weights(t), self.inner.x0(y, x, schedule, t)
        return skip * x + out * (x0 if self.clip is None else x0.clamp(-self.clip, self.clip))

    def of(self, x0: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        """The network's prediction from the guess at (x, t), t > 0."""
        skip, out = self._weights(t)
        return self.inner.of((x0 - skip * x) / out, x, schedule, t)


@dataclass(frozen=True, eq=False)
class Levels:
    """What a scheduler says about a network.

    Attributes:
        schedule: a `Table`, with the spacing of the scheduler, or `Flow()`.
        predicts: what the network predicts.
        kernel: `Renoise()` where the scheduler re-noises its guess, else `DDIM()`.
        clip: bound of the clean guess, or `None`.
        scale: x at the first time over unit noise. It belongs to the scheduler's own levels, not to custom ones.
        clock: our time to the number that the network is told, float64.
    """

    schedule: Table | Flow
    predicts: Prediction
    kernel: DDIM | Renoise
    clip: float | None
    scale: float
    clock: Clock = field(repr=False)


def network_time(levels: Levels, t: Tensor, dtype: torch.dtype) -> Tensor:
    """What the network is told at our time t, of the shape of t; a whole `dtype` takes the nearest number."""
    told = levels.clock(t)
    return (told if dtype.is_floating_point else told.round()).to(dtype)


def read(scheduler: Any) -> Levels:
    """The levels of a diffusers scheduler, which stays as it is.

    Raises:
        InputError: if no schedule and prediction of ours is what the scheduler assumes.
    """
    kind, options = type(scheduler).__name__, _options(scheduler)
    flow, predicts = _is_flow(scheduler), PREDICTIONS.get(options.get("prediction_type", "epsilon"))
    if flow and options.get("prediction_type", "flow_prediction") == "flow_prediction":
        predicts = Velocity()
    if not flow and not hasattr(scheduler, "alphas_cumprod"):
        raise InputError(f"{kind} has no table of alphas: use GaussianPrior with the schedule of the network.")
    if predicts is None or flow != isinstance(predicts, Velocity):
        raise InputError(f"{kind} has a prediction_type that is not known on its levels: use GaussianPrior.")
    if options.get("thresholding"):
        raise InputError(f"{kind} uses dynamic thresholding, which changes the law: turn it off.")
    if OTHERS & set(inspect.signature(scheduler.step).parameters):
        raise InputError(f"A step of {kind} needs more than x and a time: use a scheduler that does not.")
    probe = _probe(scheduler, options)
    if flow:
        fresh = "scale_factors" in options or options.get("stochastic_sampling", False)
        clock = Scaled(options.get("num_train_timesteps", 1), not probe.timesteps.is_floating_point())
        levels = Levels(Flow(), predicts, Renoise() if fresh else DDIM(), None, 1.0, clock)
    else:
        levels = _read_table(probe, options, predicts, _Spacing(copy.deepcopy(scheduler)))
    _walk(levels, probe)
    return levels


def _read_table(probe: Any, options: dict[str, Any], predicts: Prediction, spacing: _Spacing) -> Levels:
    kind = type(probe).__name__
    if isinstance(predicts, Eps) and bool((probe.alphas_cumprod <= 0).any()):
        raise InputError(f"{kind} has zero terminal SNR, where predicted noise says nothing: use v-prediction.")
    clip = float(options["clip_sample_range"]) if options.get("clip_sample") else None
    if "snr_shift_scale" in options:  # CogVideoX takes the option and does not clip
        clip = None
    kernel: DDIM | Renoise = DDIM()
    if hasattr(probe, "get_scalings_for_boundary_condition_discrete"):
        predicts, kernel, clip = Consistency(predicts, options["timestep_scaling"], clip), Renoise(), None
    elif "original_inference_steps" in options:
        raise InputError(f"{kind} draws noise by a rule of its own: {USE_DDIM}.")
    table = Table(probe.alphas_cumprod, _final(probe), spacing)
    clock = _clock(table, probe)
    return Levels(table, predicts, kernel, clip, initial_scale(probe), clock)


def times(scheduler: Any, timesteps: Tensor | None = None) -> Tensor:
    """Our decreasing times `(m + 1,)`, float64, of a scheduler after `set_timesteps`, with the end of its last step.

    Arguments:
        scheduler: the scheduler, which stays as it is.
        timesteps: the part of `scheduler.timesteps` in use, as in image-to-image; all of them by default.

    Raises:
        InputError: if the walk is not one from level to level.
    """
    t = _walk(read(scheduler), scheduler)
    every = scheduler.timesteps.cpu()
    part = every if timesteps is None else timesteps.cpu()
    places = range(len(every) - len(part) + 1) if len(part) else ()
    first = next((i for i in places if torch.equal(every[i : i + len(part)], part)), None)
    if first is None:
        kind = type(scheduler).__name__
        raise InputError(f"The timesteps are not those of {kind}: give a part of scheduler.timesteps.")
    return t[first : first + len(part) + 1].unique_consecutive()


def _options(scheduler: Any) -> dict[str, Any]:
    """The configuration that its class knows: `from_config` also keeps what belonged to another class."""
    known = inspect.signature(type(scheduler).__init__).parameters
    return {name: value for name, value in scheduler.config.items() if name in known}


def _is_flow(scheduler: Any) -> bool:
    if hasattr(scheduler, "alphas_cumprod"):
        return bool(_options(scheduler).get("use_flow_sigmas"))
    return hasattr(scheduler, "scale_noise") and hasattr(scheduler, "sigmas")


def _probe(scheduler: Any, options: dict[str, Any]) -> Any:
    """A copy with times set."""
    probe, size = copy.deepcopy(scheduler), options.get("num_train_timesteps", PROBE)
    mu = {"mu": 1.0} if options.get("use_dynamic_shifting") else {}
    probe.set_timesteps(max(1, min(PROBE, size // 2, options.get("original_inference_steps", PROBE))), **mu)
    return probe


def _final(probe: Any) -> float:
    """alpha^2 where the last step ends."""
    if hasattr(probe, "sigmas"):
        return 1 / (1 + float(probe.sigmas[-1]) ** 2)
    if hasattr(probe, "get_scalings_for_boundary_condition_discrete"):  # its last step returns the guess
        return 1.0
    return float(getattr(probe, "final_alpha_cumprod", 1.0))


def initial_scale(probe: Any) -> float:
    """Initial x over unit noise, where the scheduler may carry x / alpha."""
    start, copied = float(probe.init_noise_sigma), copy.deepcopy(probe)
    if not hasattr(probe, "sigmas"):
        return start
    if hasattr(copied, "set_begin_index"):  # or it takes the second of two equal times for the first
        copied.set_begin_index(0)
    alpha = float(copied.scale_model_input(torch.ones(1), probe.timesteps[0]))
    if alpha != 1 and not np.isclose(alpha, (1 + float(probe.sigmas[0]) ** 2) ** -0.5, rtol=1e-4):
        raise InputError(f"{type(probe).__name__} scales the input of the network in a way of its own: {USE_DDIM}.")
    return start * alpha


def _clock(table: Table, probe: Any) -> Clock:
    """How the scheduler tells the network a time between levels."""
    told, ends = _said(probe)
    if not hasattr(probe, "sigmas") or len(ends) != len(told) + 1:
        return same
    t = between(table, told, ends[:-1])
    clocks: list[Clock] = [same, Even(table), rounded, truncated]
    return min(clocks, key=lambda clock: float((clock(t) - told).abs().sum()))


def _said(scheduler: Any) -> tuple[Tensor, Tensor]:
    """What the network is told, and sigmas with the end; where there are none, times."""
    told = scheduler.timesteps.double().cpu()
    if hasattr(scheduler, "sigmas"):
        return told, scheduler.sigmas.double().cpu()
    return told, torch.cat([told, -torch.ones(1, dtype=torch.float64)])


def _walk(levels: Levels, scheduler: Any) -> Tensor:
    """Our times of all `scheduler.timesteps`, as often as they occur there, and of the end."""
    (told, ends), schedule, kind = _said(scheduler), levels.schedule, type(scheduler).__name__
    count = getattr(scheduler, "num_inference_steps", None)
    if count is None and not getattr(scheduler, "custom_timesteps", False):
        raise InputError(f"{kind} has no steps yet: call its set_timesteps.")
    level: Clock = same
    path, advice, top = "by sigma from 1 to 0", USE_FLOW, 1.0
    if isinstance(schedule, Table):
        level = partial(ratio, schedule)
        path, advice, top = "down from level to level", USE_DDIM, len(schedule.alphas_cumprod) - 1.0
    down = InputError(f"{kind} does not go {path}: {advice}.")
    if len(ends) != len(told) + 1:
        raise down
    t = ends.clone()
    if isinstance(schedule, Flow):
        t[:-1] = nudged(levels.clock, level, ends[:-1], told)
    elif hasattr(scheduler, "sigmas"):
        t[:-1] = nudged(levels.clock, level, between(schedule, told, ends[:-1]), told)
        t[-1] = -1
    elif t[0] > top:
        raise InputError(f"{kind} starts above its table of {top + 1:.0f} levels: take fewer steps.")
    # Heun and PNDM ask twice at a level; others, like KDPM2, ask in between two of them
    if len(t.unique_consecutive()) > (count or len(told)) + 1 or (t.diff() > 0).any() or t[0] > top:
        raise down
    fits = torch.isclose(level(t), ends, rtol=1e-5, atol=0) if hasattr(scheduler, "sigmas") else torch.ones_like(t) > 0
    fits[:-1] &= (levels.clock(t[:-1]) - told).abs() < 1e-2
    if not fits.all():
        raise InputError(f"{kind} tells the network other times than those of its levels: {advice}.")
    return t


@dataclass(frozen=True, eq=False)
class _Spacing:
    """Number of steps to the times of a scheduler."""

    scheduler: Any
    known: dict[int, Tensor] = field(default_factory=dict)

    def __call__(self, steps: int) -> Tensor:
        if steps not in self.known:  # a walk asks at every step
            try:
                self.scheduler.set_timesteps(steps)
            except ValueError as error:  # LCM takes no more steps than it was distilled with
                kind = type(self.scheduler).__name__
                raise InputError(f"{kind} does not take {steps} steps: ask for fewer.") from error
            self.known[steps] = times(self.scheduler)
        return self.known[steps]
