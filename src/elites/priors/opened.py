"""A diffusers pipeline, opened: its own call, stopped where it would loop.

The pipeline prepares prompts, guidance, masks, packing, precision and time embeddings in its own way, and nothing of
that is written again here. Its `__call__` runs on a shallow copy of the pipeline with a few attributes of the copy
replaced, and so the pipeline itself, its scheduler, its hooks and its random numbers stay as they were:

- `Opened` runs the call once, for one row, until its loop begins, and records what the methods `encode_*` and
  `prepare_*` returned; later calls replay these records for any number of rows.
- `predict` runs it with a scheduler of one step, which leaves with the (guided) prediction of the network.
- `decode` runs it with the network replaced by its recorded output and a scheduler whose one step changes nothing, so
  that the rest of the call unpacks, scales, decodes and post-processes the given latents.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..types import InputError
from .arguments import LATENTS
from .components import changed_attention, decoder_is_cast, offloaded, same_precision
from .records import Records, rows
from .standins import Silent, Steps, Still, Watched, drawing, like, looking
from .trial import trial

__all__ = ["Opened", "Start"]

CONDITIONS = re.compile(r"_?encode_|prepare_(?!extra_step)")


class _LoopBegins(Exception):
    """Raised where the pipeline starts its progress bar, which it does right before its loop."""


class _Prediction(Exception):
    """Carries what the pipeline handed to `scheduler.step`."""


@dataclass(frozen=True, eq=False)
class Start:
    """Where the pipeline's own loop would begin.

    Attributes:
        scheduler: its scheduler, after `set_timesteps`.
        timesteps: the ones the loop would go through.
        latents: `(1, *shape)`, what the loop would start from; without its noise, if `noised`.
        noised: whether that is a given image with noise added.
    """

    scheduler: Any
    timesteps: Tensor
    latents: Tensor
    noised: bool


class Opened:
    """A pipeline and the arguments of its call.

    Arguments:
        pipe: a diffusers pipeline whose call uses `prepare_latents` and `scheduler.step`.
        call: arguments of its `__call__` for one object.
        steps: of the call that records.

    Attributes:
        start: where its loop begins.
        cost: rows that its network sees in one step of one object: two with classifier-free guidance.
        blends: whether the pipeline puts a given image back under a mask between its steps.
        device, dtype: where the network is, and its latents.

    Raises:
        InputError: if the pipeline cannot be opened, or does not accept the arguments.
    """

    def __init__(self, pipe: Any, call: Mapping[str, Any], steps: int) -> None:
        self.pipe = pipe
        self.name = type(pipe).__name__
        # without its decorator, which turns gradients off
        self._raw: Callable[..., Any] = inspect.unwrap(type(pipe).__call__)
        self._names = inspect.signature(self._raw).parameters
        self._call = dict(call)
        self._scheduler = copy.deepcopy(pipe.scheduler)  # another one, later, is not that of this prior
        self.device = torch.device(pipe._execution_device)
        self._records = Records()
        self._latents: Any = None
        with changed_attention(pipe):
            self.start = self._record(steps)
            self.dtype = self.start.latents.dtype
            self._nets, self.cost = trial(self)

    @property
    def blends(self) -> bool:
        """Whether there is a mask that the network does not see."""
        shape = self.start.latents.shape
        channels = {getattr(self.pipe, name).config.get("in_channels") for name in self._nets}
        return any("mask" in name for name in self._records.kept) and bool(channels & {shape[1], shape[-1]})

    def timesteps(self, steps: int) -> Start:
        """Where the loop would begin with another number of steps."""
        return self._record(steps, self._records)

    def predict(self, x: Tensor, time: Tensor) -> Tensor:
        """What the pipeline hands to `scheduler.step` for latents x `(B, *shape)` at a 0-dim timestep."""

        def stop(prediction: Tensor, _: Tensor) -> Tensor:
            raise _Prediction(prediction)

        try:
            self._run(x, time.reshape(1), stop)
        except _Prediction as found:
            out = found.args[0]
        else:
            raise InputError(f"{self.name} ended without a call of scheduler.step: it cannot be opened.")
        if out.shape != x.shape:
            raise InputError(
                f"{self.name} handed shape {tuple(out.shape)} to scheduler.step for latents of {tuple(x.shape)}: "
                "it cannot be opened."
            )
        return out

    def decode(self, x0: Tensor) -> Any:
        """Objects of clean latents `(B, *shape)`: what the pipeline's call does after its loop, as tensors."""
        if x0.requires_grad and decoder_is_cast(self.pipe):
            raise InputError(
                f"{self.name} casts its decoder to float32 and back, which loses the gradient: load it in bfloat16 or "
                "float32."
            )
        nets: dict[str, Any] = {
            name: like(Still, getattr(self.pipe, name), out=rows(out, len(x0))) for name, out in self._nets.items()
        }
        if checker := getattr(self.pipe, "run_safety_checker", None):
            nets["run_safety_checker"] = looking(checker)
        with same_precision(self.pipe):
            out = self._run(x0, self.start.timesteps[:1], lambda _, latents: latents, **nets)
        objects, rejected = out[0], out[1] if len(out) > 1 else None
        if isinstance(rejected, list) and any(rejected) and isinstance(objects, Tensor):
            # what a safety checker rejects is a failure, not something to score
            shape = -1, *[1] * (objects.ndim - 1)
            objects = objects.masked_fill(torch.tensor(rejected, device=objects.device).reshape(shape), torch.nan)
        return objects

    def loop(self, x: Tensor, times: Tensor, answer: Callable[[Tensor, Tensor], Tensor]) -> Any:
        """The object of one row after the pipeline's own call over these timesteps, nothing of it recorded before."""
        with same_precision(self.pipe):
            return self._run(x, times, answer, recorded=False)[0]

    def sample(self, z: Tensor) -> Tensor:
        """Clean latents `(B, *shape)` that the pipeline's whole call makes of unit noise z `(B, *shape)`."""
        self._check_offload(z)
        same = _generators(len(z))
        scheduler = drawing(copy.deepcopy(self._scheduler), same)
        own = self._own(scheduler, **self._records.replay(self.pipe, len(z)))
        gpu = [self.device] if self.device.type == "cuda" else []
        with same_precision(self.pipe), torch.random.fork_rng(gpu):
            # for what is drawn from the global generators all the same
            for generator in [torch.default_generator, *(torch.cuda.default_generators[d.index or 0] for d in gpu)]:
                generator.manual_seed(0)
            arguments = self._arguments(len(z), latents=z.to(self.dtype), output_type="latent", generator=same)
            return self._raw(own, **arguments)[0].to(z.dtype)

    def _own(self, scheduler: Any, **attributes: Any) -> Any:
        """A shallow copy of the pipeline: the same networks, its own attributes."""
        return like(Silent, self.pipe, scheduler=scheduler, device_of_network=self.device, **attributes)

    def _arguments(self, n: int, **more: Any) -> dict[str, Any]:
        """The arguments of the call for n rows."""
        call: dict[str, Any] = {}
        for name, value in self._call.items():
            if name == "prompt" and isinstance(value, str):
                value = [value] * n
            elif isinstance(value, Tensor) and name.endswith(("embeds", "mask")) and len(value) == 1:
                value = value.expand(n, *value.shape[1:])
            call[name] = value
        call["generator"] = _generators(n)
        call |= more | {"return_dict": False}
        return {k: v for k, v in call.items() if k in self._names}

    def _record(self, steps: int, records: Records | None = None) -> Start:
        """Run the call until its loop begins, and keep what it prepared."""

        def bar(iterable: Any = None, total: int | None = None) -> Any:
            raise _LoopBegins

        scheduler = like(Watched, copy.deepcopy(self._scheduler))
        own = self._own(scheduler, progress_bar=bar)
        if records is None and hasattr(self.pipe, "check_inputs"):
            own.__dict__["check_inputs"] = self.pipe.check_inputs
        new = Records()
        for name in [n for n in dir(own) if CONDITIONS.match(n) or n == "get_timesteps"]:
            own.__dict__[name] = new.listen(name, getattr(own, name))
        if records is not None:
            own.__dict__.update(records.replay(self.pipe, 1))
        try:
            with torch.no_grad():
                arguments = self._arguments(1, num_inference_steps=steps)
                # pipelines want prompt and negative_prompt to be of one type
                self._raw(own, **arguments | {k: v for k, v in self._call.items() if k == "prompt"})
        except _LoopBegins:
            pass
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.name} refuses its arguments: {str(error).rstrip('.')}.") from error
        if LATENTS not in new.kept or getattr(scheduler, "timesteps", None) is None:
            raise InputError(f"{self.name} starts no loop of its own: it cannot be opened.")
        cut = new.kept.pop("get_timesteps", None)
        timesteps = cut[-1][0] if cut else scheduler.timesteps
        prepared = new.kept.pop(LATENTS)[-1]
        if records is None:
            self._records, self._latents = new, prepared
        latents = prepared if isinstance(prepared, Tensor) else prepared[0]
        if len(latents) != 1:
            raise InputError(f"The call makes {len(latents)} objects: give {self.name} arguments for one.")
        if not len(timesteps):
            raise InputError(f"{self.name} has no step left to make: give more num_inference_steps, or strength.")
        return Start(scheduler, timesteps, latents, scheduler.noised)

    def _run(
        self,
        x: Tensor,
        times: Tensor,
        answer: Callable[[Tensor, Tensor], Tensor],
        recorded: bool = True,
        **attributes: Any,
    ) -> Any:
        """One call from these latents, through these timesteps, with this answer to each prediction.

        What the call prepares is replayed if it is to be `recorded`, and prepared once more if not.
        """
        self._check_offload(x)
        n, latents, times = len(x), x.to(self.dtype), times.to(self.device)
        own = self._own(
            like(Steps, self._scheduler, timesteps=times, num_inference_steps=len(times), answer=answer),
            get_timesteps=lambda *_, **__: (times, len(times)),
            **(self._records.replay(self.pipe, n) if recorded else {}),
            **attributes,
        )
        prepare = getattr(own, LATENTS)

        def prepared(*args: Any, **kwargs: Any) -> Any:
            like_these = self._latents if recorded else prepare(*args, **kwargs)
            if isinstance(like_these, Tensor):
                return latents
            return type(like_these)([latents, *(rows(v, n) for v in like_these[1:])])

        own.__dict__[LATENTS] = prepared
        return self._raw(own, **self._arguments(n, num_inference_steps=len(times), output_type="pt"))

    def _check_offload(self, x: Tensor) -> None:
        if x.requires_grad and offloaded(self.pipe):
            raise InputError(
                "Offload moves weights away before the backward pass needs them: use a method without "
                "gradients, or call pipe.remove_all_hooks() and pipe.to(device)."
            )


def _generators(n: int) -> list[torch.Generator]:
    """One a row, none the global one: what a pipeline draws is the same for every row and every call."""
    return [torch.Generator().manual_seed(0) for _ in range(n)]
