"""What stands in for parts of a pipeline while its own call runs: its scheduler, its bar, its networks.

Stand-ins are shallow copies whose class is a subclass of the original's, because pipelines ask what they have. The
originals are never written to.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Silent", "Steps", "Still", "Watched", "drawing", "like", "looking"]


class Watched:
    """Mixed into the scheduler while recording: notices noise added to a given image, and leaves it out."""

    noised = False

    def add_noise(self, original_samples: Tensor, *_: Any, **__: Any) -> Tensor:
        self.noised = True
        return original_samples

    def scale_noise(self, sample: Tensor, *_: Any, **__: Any) -> Tensor:
        self.noised = True
        return sample


class _Answer(tuple[Tensor, Tensor]):
    """What `scheduler.step` returns, as a tuple and by the names that pipelines use."""

    prev_sample = property(lambda self: self[0])
    denoised = pred_original_sample = property(lambda self: self[1])


class Steps:
    """Mixed into the scheduler: the given `timesteps`, and `answer(prediction, latents)` as its step."""

    order = 1
    init_noise_sigma = property(lambda self: 1.0)
    answer: Callable[[Tensor, Tensor], Tensor]

    # pipelines look these names up in the signature
    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Any = None,
        sigmas: Any = None,
        mu: Any = None,
        **_: Any,
    ) -> None:
        pass

    def set_begin_index(self, begin_index: int = 0) -> None:
        pass

    def scale_model_input(self, sample: Tensor, *_: Any, **__: Any) -> Tensor:
        return sample

    add_noise = scale_noise = scale_model_input  # where the walk starts is not decided here

    def step(self, model_output: Tensor, *args: Any, **__: Any) -> tuple[Tensor, Tensor]:
        latents = [v for v in args if isinstance(v, Tensor) and v.shape == model_output.shape]  # their place varies
        result = self.answer(model_output, latents[-1] if latents else model_output)
        return _Answer((result, result))  # the next latents and, for consistency models, the clean ones


class Bar:
    """A progress bar that shows nothing."""

    def __init__(self, iterable: Any = None, total: int | None = None) -> None:
        self.iterable = iterable

    def __iter__(self) -> Iterator[Any]:
        return iter(self.iterable)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, n: int = 1) -> None:
        pass


class Silent:
    """Mixed into the copy of the pipeline: no bar, no hooks moved, the inputs known, the device known."""

    device_of_network: torch.device
    _execution_device = property(lambda self: self.device_of_network)  # asking the networks takes a millisecond

    def progress_bar(self, iterable: Any = None, total: int | None = None) -> Bar:
        return Bar(iterable)

    def maybe_free_model_hooks(self) -> None:
        """Offload hooks stay as they are: the next call needs the same network."""

    def check_inputs(self, *_: Any, **__: Any) -> None:
        """They were checked when they were recorded."""


@functools.lru_cache
def _mixed(mixin: type, kind: type) -> type:
    # a subclass of the object's own class, since pipelines ask which scheduler they have
    return type(kind.__name__, (mixin, kind), {"__module__": kind.__module__})


def like(mixin: type, thing: Any, **attributes: Any) -> Any:
    """A shallow copy with the methods of the mixin and these attributes."""
    other, kind = copy.copy(thing), cast(Any, type(thing))
    other.__class__ = _mixed(mixin, kind)
    other.__dict__.update(attributes)  # past __setattr__, which writes to a pipeline's config
    return other


def drawing(scheduler: Any, generators: list[torch.Generator]) -> Any:
    """The scheduler itself, its steps drawing from these generators, whatever its pipeline hands on."""
    step = scheduler.step
    if "generator" in inspect.signature(step).parameters:

        @functools.wraps(step)  # pipelines look the signature up
        def drawn(*args: Any, **kw: Any) -> Any:
            with _OneRow():
                return step(*args, **kw | {"generator": generators})

        scheduler.step = drawn
    return scheduler


class _OneRow(TorchFunctionMode):
    """`randn_like` is the same for every row: FlowMatchEuler uses it, and no generator, before diffusers 0.39."""

    def __torch_function__(self, f: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        if f is torch.randn_like:
            return f(args[0][:1], *args[1:], **kwargs or {}).expand_as(args[0])
        return f(*args, **kwargs or {})


class Still:
    """Mixed into a copy of a network: returns `out`, what it returned once, past hooks and compiled code."""

    out: Any

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self.out


def looking(checker: Callable[..., Any]) -> Callable[..., Any]:
    """The safety checker on a copy: it makes images of PIL, which have no gradients, and blackens them in place."""

    def look(images: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(images, Tensor):
            return checker(images, *args, **kwargs)
        return images, *checker(images.detach().clone(), *args, **kwargs)[1:]

    return look
