"""The networks of a pipeline while its call runs: listening to them, and leaving them as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..types import InputError

__all__ = ["changed_attention", "decoder_is_cast", "listening", "offloaded", "same_precision"]


def _modules(pipe: Any) -> dict[str, nn.Module]:
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


@contextmanager
def listening(pipe: Any, heard: Callable[..., None]) -> Iterator[None]:
    """Forward hooks on the networks, `heard(name, args, kwargs, out)`, for as long as this lasts."""
    hooks = [
        module.register_forward_hook(
            lambda _, args, kwargs, out, name=name: heard(name, args, kwargs, out), with_kwargs=True
        )
        for name, module in _modules(pipe).items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def same_precision(pipe: Any) -> Iterator[None]:
    """Networks that a call casts and, when it fails, leaves cast, are cast back."""
    before = {module: getattr(module, "dtype", None) for module in _modules(pipe).values()}
    try:
        yield
    except BaseException:
        for module, dtype in before.items():
            if dtype is not None and module.dtype != dtype:
                module.to(dtype)
        raise


@contextmanager
def changed_attention(pipe: Any) -> Iterator[None]:
    """Refuse a call that gives its networks other attention processors before its loop, and give them back theirs.

    Raises:
        InputError: afterwards, if it did.
    """

    def processors() -> dict[str, Mapping[str, Any]]:
        return {name: dict(getattr(module, "attn_processors", {})) for name, module in _modules(pipe).items()}

    before = processors()
    try:
        yield
    finally:
        other = [
            name
            for name, now in processors().items()
            if any(now[k] is not v for k, v in before[name].items() if k in now)
        ]
        for name in other:
            getattr(pipe, name).set_attn_processor(dict(before[name]))
    if other:
        raise InputError(
            f"{type(pipe).__name__} changes pipe.{other[0]} for the time of its call: use OneStep with a function of "
            "your own."
        )


def decoder_is_cast(pipe: Any) -> bool:
    """Whether the pipeline decodes in float32 and casts its decoder back before a backward pass could use it."""
    vae = getattr(pipe, "vae", None)
    cast = hasattr(pipe, "upcast_vae") and getattr(getattr(vae, "config", None), "force_upcast", False)
    return bool(cast) and getattr(vae, "dtype", None) == torch.float16


def offloaded(pipe: Any) -> bool:
    """Whether weights move away from the device after a forward pass: model, sequential or group offload."""
    if getattr(pipe, "_all_hooks", None):
        return True
    for module in _modules(pipe).values():
        for part in module.modules():
            registry = getattr(part, "_diffusers_hook", None)
            if getattr(getattr(part, "_hf_hook", None), "offload", False):
                return True
            if registry is not None and registry.get_hook("group_offloading") is not None:
                return True
    return False
